"""The page of an explanation in a browser: one screen for each step, moved through by keys, links and touch."""

import re

import pytest
from browser import CHROMIUM, browser

from minicereb import datasets
from minicereb.datasets.transforms import to_unit
from minicereb.experiments.architectures import CerebellumModel, build_learner
from minicereb.experiments.configs import Data, Train
from minicereb.explain import explanation
from minicereb.explain.screens import html

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: the page was not tried in a browser")

NOW = "1 + screens.findLastIndex((each) => each.getBoundingClientRect().top < innerHeight / 2)"


@pytest.fixture(scope="module")
def steps():
    data = datasets.load("strokes", train=300, test=20)
    config = Train(CerebellumModel("random", 300, 4), Data("strokes", "0" * 64), 10, 2, 1e-3, optimizer="rmsprop")
    rule = build_learner(config, data)
    list(rule.learn(to_unit(data.x_train[:40]), data.y_train[:40]))
    return list(explanation(config, data, rule.model, 7))


@pytest.fixture(scope="module")
def address(steps, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(html("A title", "A lead.", steps), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def chromium():
    with browser() as page:
        yield page


def show(chromium, address, width, height, **look):
    chromium.complaints.clear()
    chromium.requests.clear()
    chromium.open(address, width, height, **look)


@pytest.mark.parametrize(("width", "height"), [(400, 800), (1366, 768)])
def test_keys_and_links_turn_the_page(chromium, address, steps, width, height):
    show(chromium, address, width, height)
    assert chromium.run("screens.length") == len(steps)
    assert chromium.run("document.documentElement.scrollWidth") <= width
    assert chromium.run("screens.every((each) => each.getBoundingClientRect().height >= innerHeight - 1)")
    for key, code, expected in (("ArrowRight", 39, 2), ("ArrowRight", 39, 3), ("ArrowLeft", 37, 2), ("ArrowLeft", 37, 1)):
        chromium.key(key, code)
        chromium.until(f"{NOW} === {expected}")
    chromium.key("ArrowLeft", 37)  # there is nothing before the first
    assert chromium.run(NOW) == 1
    turn = chromium.tap if width == 400 else lambda selector: chromium.drag(selector, 0.5, 0.5)
    turn("#step-1 [aria-label='Next step']")
    chromium.until(f"{NOW} === 2")
    map_shown = "on-narrow" if width == 400 else "on-wide"
    turn(f"#step-2 .{map_shown} [href='#step-4'] circle")
    chromium.until(f"{NOW} === 4 && location.hash === '#step-4'")
    assert chromium.complaints == []
    assert [each for each in chromium.requests if not each.startswith("data:")] == [address]


def test_a_long_screen_scrolls_before_the_page_turns(chromium, address):
    show(chromium, address, 1366, 768)
    chromium.run("document.querySelectorAll('#step-4 details').forEach((each) => { each.open = true; })")
    chromium.run("document.getElementById('step-4').scrollIntoView()")
    assert chromium.run("document.getElementById('step-4').getBoundingClientRect().height > 1.2 * innerHeight")
    start = chromium.run("scrollY")
    chromium.key("PageDown", 34)
    chromium.until(f"scrollY > {start}")
    assert chromium.run(NOW) == 4
    chromium.run("document.getElementById('step-5').scrollIntoView()")
    chromium.key("PageDown", 34)
    chromium.until(f"{NOW} === 6")


@pytest.mark.parametrize(("width", "height"), [(400, 800), (1366, 768)])
def test_every_picture_is_drawn_and_every_table_is_folded(chromium, address, steps, width, height):
    show(chromium, address, width, height)
    assert chromium.run("[...document.images].every((each) => each.complete && each.naturalWidth > 0)")
    assert chromium.run("document.querySelectorAll('details[open]').length") == 0
    tables = sum(len(step.numbers) + bool(step.derivatives) + bool(step.estimates) for step in steps)
    assert chromium.run("document.querySelectorAll('details table').length") == tables
    ends = "[...document.querySelectorAll('figure, .map svg, .told')].map((each) => each.getBoundingClientRect().right)"
    assert max(chromium.run(ends)) <= width
    formulas = "[...document.querySelectorAll('.formula')].filter((each) => each.scrollWidth > each.clientWidth + 1)"
    assert chromium.run(f"{formulas}.length") == 0
    if width == 1366:
        heights = chromium.run("screens.map((each) => each.getBoundingClientRect().height)")
        assert max(heights) <= 1.03 * height


def test_colours_follow_the_theme_and_paper_gets_every_screen(chromium, address, steps):
    colour = "getComputedStyle(document.body).backgroundColor"
    show(chromium, address, 1366, 768, dark=True, reduced=True)
    assert chromium.run(colour) == "rgb(22, 24, 26)"
    show(chromium, address, 1366, 768)
    assert chromium.run(colour) == "rgb(255, 255, 255)"
    assert len(re.findall(rb"/Type\s*/Page\b", chromium.pdf())) == len(steps)
