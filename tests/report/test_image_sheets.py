"""Images, weights and attacks as SVG: the pixels are those given, the animation ends with the last step, nothing is loaded."""

import base64
import io
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from browser import CHROMIUM, browser
from matplotlib.image import imread

from minicereb.report.image_sheets import film, sheet, signed, tiles

SVG = "{http://www.w3.org/2000/svg}"


def pixels(picture):
    """The images in an SVG, as bytes of uint8."""
    found = re.findall(r"data:image/png;base64,([\w+/=]+)", picture)
    return [np.rint(255 * imread(io.BytesIO(base64.b64decode(each)))).astype(np.uint8) for each in found]


def test_a_sheet_holds_the_images_it_was_given():
    images = np.random.default_rng(0).random((3, 5, 4)).astype(np.float32)
    picture = sheet([("digits", images, ["one", "two <", ""])])
    ET.fromstring(picture)
    found = pixels(picture)
    assert len(found) == 3
    for image, shown in zip(images, found, strict=True):
        assert np.array_equal(shown, np.rint(255 * image))
    assert "two &lt;" in picture


def test_signs_are_colours_and_sizes_opacity():
    colours = signed(np.array([[0.0, 1.0], [-0.5, 2.0]]))
    assert colours[..., 3].tolist() == [[0, 128], [64, 255]]
    assert tuple(colours[0, 1, :3]) == tuple(colours[1, 1, :3]) != tuple(colours[1, 0, :3])
    assert signed(np.zeros((2, 2)))[..., 3].max() == 0
    assert np.array_equal(pixels(sheet([("", colours[None], [])]))[0], colours)


def test_tiles_stand_a_pixel_apart():
    whole = tiles(np.arange(1, 4).reshape(3, 1, 1) * np.ones((3, 2, 2), dtype=np.int64), 2)
    assert whole.tolist() == [[1, 1, 0, 2, 2], [1, 1, 0, 2, 2], [0, 0, 0, 0, 0], [3, 3, 0, 0, 0], [3, 3, 0, 0, 0]]


@pytest.fixture
def steps():
    images = np.stack([np.full((1, 4, 4), 0.5 + 0.02 * step) for step in range(6)]).astype(np.float32)
    outputs = np.zeros((6, 1, 3), dtype=np.float32)
    outputs[:, 0, 0], outputs[:, 0, 2] = np.linspace(1, 0, 6), np.linspace(0, 1, 6)
    return images, outputs


def test_a_film_says_what_the_steps_do_and_rests_at_the_last(steps):
    picture = film(*steps, [0], ["zero", "one", "two"])
    root = ET.fromstring(picture)
    words = root.find(f"{SVG}title").text
    assert words == (
        "An attack of 5 steps; no pixel changes by more than 0.1: a zero, read as zero before the attack and as two after it."
    )
    assert len(pixels(picture)[1][0]) == 6 * 4  # the changes of all steps, side by side
    still = re.sub(r"@keyframes.*?\}\}|@media.*?\}\}", "", picture)
    assert still.count("transform:scaleY(0.000)") >= 1
    assert "transform:scaleY(1.000)" in still
    assert "no-preference" in picture


def test_a_film_loads_nothing_and_runs_nothing(steps):
    picture = film(*steps, [0], ["a", "b", "c"], "dark")
    assert re.findall(r"href='(?!data:)|<script|url\(|https?:(?!//www\.w3\.org/2000/svg)", picture) == []


def test_two_films_on_a_page_keep_their_rules_apart(steps):
    images, outputs = steps
    names = [set(re.findall(r"@keyframes (\w+)", film(images, each, [0], ["a", "b", "c"]))) for each in (outputs, 2 * outputs)]
    assert all(names)
    assert not names[0] & names[1]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: the film was not tried in a browser")
def test_in_a_browser_a_film_moves_unless_the_reader_wants_less_motion(steps, tmp_path):
    page = tmp_path / "film.html"
    head = "<!doctype html><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
    page.write_text(head + film(*steps, [0], ["a", "b", "c"]), encoding="utf-8")
    moving = "document.getAnimations().length"
    with browser() as window:
        window.open(page.as_uri(), 400)
        assert window.run(moving) > 0
        assert window.run("document.documentElement.scrollWidth") <= 400
        window.open(page.as_uri(), 400, reduced=True)
        assert window.run(moving) == 0
        assert window.run("getComputedStyle(document.querySelector('.true')).transform") == "matrix(1, 0, 0, 0, 0, 0)"
        assert window.complaints == []
