"""The picture of the circuit."""

from xml.etree import ElementTree

import pytest

from minicereb.report.circuit import circuit

SVG = "{http://www.w3.org/2000/svg}"


def texts(**sizes):
    """Every text of the picture, without markup."""
    return ["".join(each.itertext()) for each in ElementTree.fromstring(circuit(**sizes)).iter(f"{SVG}text")]


def test_every_symbol_of_the_equations_is_on_it():
    assert {"x", "J", "h", "z", "W", "ŷ", "e"} <= set(texts())
    assert {"h = max(Jᵀx, 0)", "z = h − μ", "ŷ = Wᵀz", "e = ŷ − y"} <= set(texts())


def test_sizes_are_those_given():
    assert {"784 pixels", "m cells", "J fixed, k = 4 inputs per cell", "10 classes"} <= set(texts())
    assert {"64 pixels", "2,000 cells", "J fixed, full wiring", "3 classes"} <= set(
        texts(pixels=64, cells=2000, inputs_per_cell=None, classes=3)
    )


@pytest.mark.parametrize("theme", ["auto", "light", "dark"])
def test_colours_follow_the_theme_and_nothing_is_loaded(theme):
    picture = circuit(theme=theme)
    page = ElementTree.fromstring(picture).find(f"{SVG}style").text
    assert ("prefers-color-scheme" in page) == (theme == "auto")
    assert (".fill-page{fill:#ffffff}" in page) == (theme != "dark")
    assert (".fill-page{fill:#16181a}" in page) == (theme != "light")
    assert picture.count("http") == 1  # the name of SVG itself
    assert "<script" not in picture


def test_equal_sizes_give_equal_bytes():
    assert circuit(cells=20_000) == circuit(cells=20_000)
