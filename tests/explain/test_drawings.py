"""Pictures: the colours of their pixels and the lengths of their bars are the numbers."""

import base64
import io
import re
from xml.etree import ElementTree

import numpy as np
from matplotlib.image import imread

from minicereb.explain.drawings import EDGE, LEFT, WIDTH, Bars, Drawing, Image, Map, grid, marked
from minicereb.report.image_sheets import ABOVE, BELOW


def pixels(picture):
    """The pixels of the PNG in a picture's markup, 0 to 255."""
    content = re.search(r"data:image/png;base64,([\w+/=]+)", picture.html())[1]
    return np.rint(255 * imread(io.BytesIO(base64.b64decode(content)))).astype(int)


def test_an_image_is_drawn_as_it_is():
    image = np.linspace(0, 1, 12).reshape(3, 4)
    assert np.array_equal(pixels(Image("x", image))[:, :, 0], np.rint(255 * image))
    colours = np.arange(24).reshape(2, 4, 3) / 23
    assert np.array_equal(pixels(Image("x", colours))[:, :, :3], np.rint(255 * colours))
    assert pixels(Image("x", np.ones((1, 7)))).shape[:2] == (3, 3)


def test_a_map_shows_sign_and_size():
    found = pixels(Map("g", np.array([[2.0, -1.0, 0.0]]).reshape(1, 3)))
    assert [tuple(each) for each in found[0]] == [(*ABOVE, 255), (*BELOW, 128), (*BELOW, 0)]
    assert "full colour: 2" in Map("g", np.array([2.0, -1.0])).html()
    assert pixels(Map("g", np.array([[1.0]]), full=4.0))[0, 0, 3] == 64
    assert pixels(Map("g", np.array([[9.0]]), full=4.0))[0, 0, 3] == 255
    assert pixels(Map("nothing", np.zeros((2, 2)))).max(axis=(0, 1))[3] == 0
    vector = pixels(Map("h", np.arange(1.0, 6.0)))
    assert vector.shape == (2, 3, 4)
    assert tuple(vector[1, 2]) == EDGE


def test_channels_lie_side_by_side():
    values = np.arange(2 * 3 * 3, dtype=float).reshape(2, 3, 3)
    sheet = grid(values)
    assert sheet.shape == (5, 7)
    assert np.array_equal(sheet[:2, :3], values[:, :, 0])
    assert np.array_equal(sheet[:2, 4:], values[:, :, 1])
    assert np.array_equal(sheet[3:, :3], values[:, :, 2])
    assert np.isnan(sheet[2]).all()
    assert np.isnan(sheet[3:, 3:]).all()


def test_wired_pixels_are_coloured():
    weights = np.array([0.5, 0.0, -0.5, 0.0])
    found = marked(np.full((2, 2), 0.5), weights)
    assert np.allclose(found[0, 0] * 255, ABOVE)
    assert np.allclose(found[1, 0] * 255, BELOW)
    assert np.allclose(found[:, 1], 0.3)
    assert marked(np.full((2, 1, 3), 0.5), np.array([1.0, 0, 0, 0, 0, 0])).shape == (2, 1, 3)


def test_bars_are_as_long_as_their_numbers():
    svg = re.search(r"<svg.*</svg>", Bars("ŷ", np.array([1.0, -0.5, 3.0]), 0, np.array([2.0, 0.0, 0.0])).html())[0]
    root = ElementTree.fromstring(svg)
    bars = [(each.get("class"), float(each.get("width"))) for each in root.iter("rect")]
    unit = WIDTH / 3.5
    expected = [("above", 1), ("before", 2), ("below", 0.5), ("before", 0), ("above", 3), ("before", 0)]
    assert [style for style, _ in bars] == [style for style, _ in expected]
    assert np.allclose([length for _, length in bars], [unit * each for _, each in expected], atol=0.06)
    begins = [float(each.get("x")) for each in root.iter("rect")]
    assert np.allclose(begins[::2], [LEFT + 0.5 * unit, LEFT, LEFT + 0.5 * unit], atol=0.06)
    words = [each.text for each in root.iter("text")]
    assert words == ["0 ✓", "1", "1", "−0.5", "2", "3"]
    assert [each.text for each in root.iter("text") if each.get("class") == "strong"] == ["2", "3"]


def test_of_many_classes_the_largest_and_the_right_one_are_shown():
    markup = Bars("ŷ", np.arange(100.0), 3).html()
    assert markup.count("<rect") == 17
    assert "3 ✓" in markup
    assert "ŷ (17 of 100)" in markup


def test_a_drawing_is_a_row_with_signs_and_escaped_words():
    markup = Drawing("a < b", [Map("h", np.ones(4)), "→", Map("<z>", np.ones(4))]).html()
    assert re.findall(r'class="sign">(.*?)<', markup) == ["→"]
    assert "a &lt; b" in markup
    assert "&lt;z&gt;" in markup
