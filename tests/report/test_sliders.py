"""Figures with sliders: static wherever there is no live notebook, and drawn anew in one."""

import sys
import types

import pytest

from minicereb.report.sliders import STATIC, sliders


def draw(k=4, ltd=False):
    return f"<svg>k = {k}, ltd = {ltd}</svg>".encode()


@pytest.fixture
def live(monkeypatch):
    """A notebook's kernel."""
    shell = pytest.importorskip("IPython.core.getipython", reason="IPython is not installed (extra notebook)")
    monkeypatch.setattr(shell, "get_ipython", lambda: types.SimpleNamespace(kernel=object()))
    monkeypatch.delenv(STATIC, raising=False)


def static(figure):
    """Whether this is the figure for the defaults, without sliders."""
    from IPython.display import SVG

    return isinstance(figure, SVG) and figure.data == draw().decode()


def test_outside_a_notebook_the_figure_is_that_of_the_defaults():
    pytest.importorskip("IPython", reason="IPython is not installed (extra notebook)")
    assert static(sliders(draw, k=(1, 4), ltd=(False, True)))


def test_without_ipywidgets_the_figure_is_that_of_the_defaults(live, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    assert static(sliders(draw, k=(1, 4)))


def test_where_the_documentation_is_built_the_figure_is_that_of_the_defaults(live, monkeypatch):
    monkeypatch.setenv(STATIC, "1")
    assert static(sliders(draw, k=(1, 4)))


def test_in_a_notebook_a_slider_draws_the_figure_again(live):
    pytest.importorskip("ipywidgets", reason="ipywidgets is not installed (extra notebook)")
    shown = sliders(draw, k=(1, 4, 20), ltd=(False, True))
    k, ltd, picture = shown.children
    assert (k.description, k.value, ltd.description, ltd.value, picture.value) == ("k", 4, "ltd", False, draw())
    k.value = 20
    assert picture.value == draw(20)
    ltd.value = True
    assert picture.value == draw(20, True)
    bundle = shown._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert bundle["image/svg+xml"] == draw().decode()  # for viewers without sliders
