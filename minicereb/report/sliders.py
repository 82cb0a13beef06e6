"""Figures that have sliders in a running notebook, and are static everywhere else."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Sequence
from typing import Any

STATIC = "MINICEREB_STATIC"  # an environment variable; if it is set, figures have no sliders


def sliders(draw: Callable[..., bytes], **values: Sequence[Any]) -> Any:
    """Return a figure for a notebook, with a slider for each argument of the function that draws the figure.

    Without ipywidgets, outside a notebook, or if the environment variable ``MINICEREB_STATIC`` is set, the result is only
    the figure for the default arguments. The documentation is built with this variable set. A notebook that is saved with
    sliders contains this figure too, for viewers that cannot show sliders.

    Parameters
    ----------
    draw : callable
        Function that returns a figure as SVG; all its arguments must have defaults.
    **values : sequence
        The values that each slider offers, in order, keyed by the name of the argument; the default is one of them.

    Returns
    -------
    IPython.display.SVG or ipywidgets.VBox
    """
    from IPython.core.getipython import get_ipython  # only for notebooks, where it is installed
    from IPython.display import SVG

    parameters = inspect.signature(draw).parameters
    drawn = functools.cache(draw)
    first = drawn(**{name: parameters[name].default for name in values})
    try:
        if STATIC in os.environ or not hasattr(get_ipython(), "kernel"):
            return SVG(first)
        import ipywidgets
    except ImportError:
        return SVG(first)

    class Figure(ipywidgets.VBox):
        def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
            return {**super()._repr_mimebundle_(**kwargs), "image/svg+xml": first.decode()}

    def redraw(_: object) -> None:
        picture.value = drawn(**{name: slider.value for name, slider in chosen.items()})

    picture = ipywidgets.Image(value=first, format="svg+xml")
    chosen = {
        name: ipywidgets.SelectionSlider(
            options=list(options), value=parameters[name].default, description=name, continuous_update=False
        )
        for name, options in values.items()
    }
    for slider in chosen.values():
        slider.observe(redraw, "value")
    return Figure([*chosen.values(), picture])
