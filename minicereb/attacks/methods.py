"""The table of attack methods. A new attack is a file with its search and a row here.

Other packages add methods through entry points in the group ``minicereb.attacks``; each names a :class:`Method` (see
:mod:`minicereb.extensions`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from minicereb.attacks.apgd import apgd
from minicereb.attacks.fab import fab
from minicereb.attacks.flips import beam, square_of_flips
from minicereb.attacks.fmn import fmn
from minicereb.attacks.objectives import OBJECTIVES
from minicereb.attacks.pgd import fgsm, momentum, pgd
from minicereb.attacks.random_points import random_points
from minicereb.attacks.search import Search
from minicereb.attacks.square import square
from minicereb.errors import InputError
from minicereb.extensions import load, names

GROUP = "minicereb.attacks"
BEGINS = ("image", "ball", "nearby", "draws")
KEEPS = ("best", "first", "nearest")
# Settings that minicereb.attacks.run uses itself; all other settings of a method are passed to its search.
OF_THE_RUN = ("restarts", "random_start", "keep", "targets")


@dataclass(frozen=True)
class Method:
    """An attack method: its search and its settings.

    Parameters
    ----------
    search : callable
        ``search(landscape, ball, ...)``, a generator as in :mod:`minicereb.attacks.search`. The third argument of
        ``search`` depends on `begins`; the settings named in `settings` are keyword arguments.
    begins : {"image", "ball", "nearby", "draws"}
        Where the search begins. ``"image"``: at the clean image; the search has no third argument. ``"ball"``: at a uniformly
        random point of the ball, or at the clean image if ``random_start`` is off; the third argument is an array of these
        points. ``"nearby"``: first at the clean image, and in restarts at a random point within half the distance of the nearest
        misclassified point so far. ``"draws"``: the search chooses; its third argument is a source of random numbers
        (:class:`minicereb.randomness.Draws`).
    settings : tuple of str
        The fields of :class:`minicereb.attacks.settings.Attack` that the method uses besides those common to all methods. Two
        more names are possible: ``"image_shape"`` if the search takes height, width and channels of the images (or None), and
        ``"points"`` if it takes an argument that says which of its points are needed: ``"every"`` one, the ``"best"``, or the
        ``"first"`` that is misclassified.
    steps : int
        Default number of steps.
    keeps : {"best", "first", "nearest"}
        Which point of a search is kept. ``"best"``: a misclassified point if one was found; among several, the one with the
        largest objective. ``"first"``: like ``"best"``, but the search ends at its first misclassified point. ``"nearest"``: the
        last point, which is the nearest misclassified one.
    gradient : bool
        Whether the method needs the input gradient.
    objectives : tuple of str
        The objectives that the method can ascend.
    not_climbing : str
        The reason why the method's objective need not rise at every step; empty if it should rise.
    flips : bool
        Whether the method needs a model with a binary first stage (:func:`minicereb.attacks.gradients.binary_stage`).
    """

    search: Callable[..., Search]
    begins: str
    settings: tuple[str, ...]
    steps: int = 40
    keeps: str = "best"
    gradient: bool = True
    objectives: tuple[str, ...] = tuple(OBJECTIVES)
    not_climbing: str = ""
    flips: bool = False

    def __post_init__(self) -> None:
        for name, value, choices in (("begins", self.begins, BEGINS), ("keeps", self.keeps, KEEPS)):
            if value not in choices:
                raise InputError(f"a method's {name}", value, ", ".join(choices))

    def has(self, setting: str) -> bool:
        """Return whether a setting of an attack has an effect on this method."""
        return setting in self.settings

    def passed(self, attack: Any, **of_the_run: Any) -> dict[str, Any]:
        """Return the search's keyword arguments: the attack's settings, and the entries of `of_the_run` that the search takes."""
        taken = {name: value for name, value in of_the_run.items() if self.has(name)}
        given = {name: getattr(attack, name) for name in self.settings if name not in (*OF_THE_RUN, *of_the_run)}
        return given | taken


_WALKS = ("steps", "restarts", "random_start", "keep", "targets")
_DRAWS: dict[str, Any] = {"begins": "draws", "keeps": "first", "gradient": False}
_FLIPS: dict[str, Any] = {**_DRAWS, "flips": True}
_BEAM = ("steps", "restarts", "keep", "targets")
_NEAREST: dict[str, Any] = {"begins": "nearby", "settings": ("steps", "restarts", "targets"), "steps": 100, "keeps": "nearest"}
METHODS: dict[str, Method] = {
    "fgsm": Method(fgsm, "image", ("targets",), not_climbing="FGSM has one step"),
    "pgd": Method(pgd, "ball", (*_WALKS, "step_size")),
    "momentum": Method(momentum, "ball", (*_WALKS, "step_size", "decay", "nesterov"), keeps="first"),
    "apgd": Method(apgd, "ball", _WALKS, steps=100, keeps="first"),
    "fab": Method(fab, **_NEAREST, objectives=("margin",), not_climbing="FAB minimises the distance, not its objective"),
    "fmn": Method(fmn, **_NEAREST, objectives=("margin",)),
    "square": Method(square, settings=(*_BEAM, "rescale", "image_shape", "points"), steps=5_000, **_DRAWS),
    "greedy": Method(beam, settings=_BEAM, steps=200, not_climbing="greedy ends where no flip is better", **_FLIPS),
    "beam": Method(beam, settings=(*_BEAM, "width"), steps=200, not_climbing="beam ends where no flip is better", **_FLIPS),
    "square-bits": Method(square_of_flips, settings=(*_BEAM, "rescale", "image_shape"), steps=1_000, **_FLIPS),
    "random": Method(
        random_points, settings=("steps", "keep"), steps=100, not_climbing="random points follow no objective", **_DRAWS
    ),
}


def method_names() -> tuple[str, ...]:
    """Return the names of all methods: first minicereb's own, then the methods of other packages."""
    return names(GROUP, METHODS)


def method_named(name: str) -> Method:
    """Return the method with this name.

    An :class:`InputError` is raised if there is no such method, and an :class:`ExtensionError` if loading it fails.
    """
    if name in METHODS:
        return METHODS[name]
    if name not in method_names():
        raise InputError("method", name, ", ".join(method_names()))
    return load(GROUP, name, Method)
