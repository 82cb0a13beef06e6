"""The page: one file without an address, equal bytes, and in a browser what a reader does with it."""

import base64
import json
import re
import zlib

import numpy as np
import pytest
from browser import CHROMIUM, browser

from minicereb.datasets import Dataset
from minicereb.explore import writer
from minicereb.explore.attack_story import Exploration, attack_story
from minicereb.explore.motor_story import eyelid_story, pole_story
from minicereb.models.mlp import initial_mlp
from minicereb.randomness import generator
from minicereb.report.circuit import circuit
from minicereb.tasks.eyelid_conditioning import Eyelid
from minicereb.tasks.pole_balancing import PoleTask

SETTINGS = Exploration(images=3, epsilons=(0.02, 0.1, 0.3), steps=6)
in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: the page was not tried in a browser")


def result(story):
    """What a generator returns."""
    while True:
        try:
            next(story)
        except StopIteration as stop:
            return stop.value


@pytest.fixture(scope="module")
def stories(drawn, learned):
    return {
        "attack": result(attack_story(learned, drawn, SETTINGS, "analytic")),
        "eyelid": result(eyelid_story(Eyelid(acquisition=12, cells=500))),
        "pole": result(pole_story(PoleTask(cells=500, seconds=2.0), 6)),
    }


def page_of(stories):
    pole = {"degrees": "12", "settings": "500 cells"}
    return writer.html("Watch <it>", "A test & no more.", stories, circuit(), {"pole": pole} if "pole" in stories else {})


@pytest.fixture(scope="module")
def page(stories):
    return page_of(stories)


def unpacked(page):
    """The JSON in a page, and its arrays."""
    about = json.loads(re.search(r'<script type="application/json" id="about">(.*?)</script>', page, re.DOTALL)[1])
    content = zlib.decompress(base64.b64decode(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1]))
    arrays = {}
    for name, place in about["arrays"].items():
        size = int(np.prod(place["shape"], dtype=np.int64))
        arrays[name] = np.frombuffer(content, np.dtype(place["type"]).newbyteorder("<"), size, place["at"]).reshape(
            place["shape"]
        )
    return about, arrays


def test_the_page_holds_the_numbers_of_the_stories(page, stories):
    about, arrays = unpacked(page)
    for name, story in stories.items():
        assert about[name] == json.loads(json.dumps(story.about))
        for array, values in story.arrays.items():
            assert np.array_equal(arrays[f"{name}/{array}"], values)
    assert len(arrays) == sum(len(story.arrays) for story in stories.values())


def test_the_page_needs_nothing_else(page):
    beyond = re.sub(r'(id="data">|data:image/svg\+xml;base64,)[\w+/=]*', "", page)
    assert re.findall(r"https?:|//\w|src=\"(?!\")|url\(|@import|<link|<iframe", beyond) == []
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-")
    assert "Watch &lt;it&gt;" in page
    assert "A test &amp; no more." in page


def test_equal_stories_give_equal_bytes(page, drawn, learned, cerebellum):
    quick = Exploration(images=2, epsilons=(0.1,), methods=("fgsm",), tasks=False)
    first, second = (result(writer.explore(cerebellum, learned, drawn, quick)) for _ in range(2))
    assert first == second
    assert "the first 2 test images of strokes" in first
    assert 'id="eyelid"' not in first
    assert len(page) < 1_000_000


# -- in a browser ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium():
    with browser() as page:
        yield page


@pytest.fixture(scope="module")
def address(page, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "explore.html"
    path.write_text(page, encoding="utf-8")
    return path.as_uri()


def show(chromium, address, width, **look):
    chromium.complaints.clear()
    chromium.requests.clear()
    chromium.open(address, width, **look)
    chromium.until("document.getElementById('message').hidden")


def text(chromium, name):
    return chromium.run(f"document.getElementById({name!r}).textContent")


def value(chromium, name):
    return float(chromium.run(f"document.getElementById({name!r}).value"))


def play(chromium, button, press):
    """Press a button that plays, and wait until it has ended by itself."""
    watch = "new MutationObserver(() => words.push(button.textContent)).observe(button, {childList: true})"
    chromium.run(f"{{ globalThis.words = []; const button = document.getElementById({button!r}); {watch} }}")
    press()
    chromium.until("words.length >= 2")
    assert chromium.run("words") == ["Pause", "Play"]


def outputs(chromium):
    """The numbers beside the bars."""
    words = chromium.run("[...document.querySelectorAll('#outputs text')].map((each) => each.textContent)")[1::2]
    return [float(each.split(" ")[0].replace("−", "-")) for each in words]


@in_a_browser
@pytest.mark.parametrize("width", [400, 1366])
def test_an_attack_is_watched(chromium, address, stories, width):
    show(chromium, address, width)
    about, arrays = stories["attack"]
    assert chromium.run("document.documentElement.scrollWidth") <= width
    choose = chromium.tap if width == 400 else lambda selector: chromium.drag(selector, 0.5, 0.5)
    choose("#images .choice:nth-child(2)")
    choose("#objectives .choice:nth-child(1)")
    choose("#methods .choice:nth-child(3)")
    assert chromium.run("[...document.querySelectorAll(':checked')].map((each) => each.value)") == ["1", "0", "2"]
    chromium.drag("#epsilon", 2 / 3, 0.99)
    assert (value(chromium, "epsilon"), text(chromium, "epsilon-value")) == (3, "ε = 0.3")
    chromium.drag("#step", 0.99, 0.01)
    assert value(chromium, "step") == 0
    play(chromium, "play", lambda: choose("#play"))
    assert value(chromium, "step") == 6
    for key, code, step in (("ArrowLeft", 37, 5), ("Home", 36, 0), ("ArrowRight", 39, 1)):
        chromium.run("document.getElementById('step').focus()")
        chromium.key(key, code)
        assert value(chromium, "step") == step
        expected = arrays["output/apgd"][2, 1, :, step] * about["units"]["output"]
        assert np.allclose(outputs(chromium), expected, rtol=6e-3, atol=1e-9)
        answer, label = arrays["answer/apgd"][2, 1, step], about["labels"][1]
        assert f"The model answers {answer}" in text(chromium, "said")
        assert text(chromium, "said").startswith("✓" if answer == label else "✗")
    chromium.drag("#margin", 0.1, 0.9)
    assert value(chromium, "step") >= 5
    chromium.drag("#epsilon", 0.99, 0.01)
    assert (text(chromium, "step-value"), chromium.run("document.getElementById('step').disabled")) == ("0 of 0", True)
    assert chromium.complaints == []
    assert [each for each in chromium.requests if not each.startswith("data:")] == [address]


@in_a_browser
@pytest.mark.parametrize("width", [400, 1366])
def test_lid_and_pole_are_watched(chromium, address, stories, width):
    show(chromium, address, width)
    chromium.run("document.getElementById('tab-attack').focus()")
    chromium.key("ArrowRight", 39)
    assert chromium.run("document.activeElement.id") == "tab-eyelid"
    assert chromium.run("[...document.querySelectorAll('[role=tabpanel]')].map((each) => each.hidden)") == [True, False, True]
    chromium.run("document.getElementById('lid-play').focus()")
    play(chromium, "lid-play", lambda: chromium.key(" ", 32))
    assert value(chromium, "lid-trial") == 12
    closure = round(stories["eyelid"].about["closure"][11])
    assert text(chromium, "lid-said") == f"Trial 12 of 12, acquisition: the lid closes by {closure}%."
    chromium.run("document.getElementById('tab-eyelid').focus()")
    chromium.key("End", 35)
    chromium.drag("#pole-trial", 0.01, 0.99)
    trials = len(stories["pole"].about["seconds"])
    assert value(chromium, "pole-trial") == trials
    play(chromium, "pole-play", lambda: chromium.drag("#pole-play", 0.5, 0.5))
    assert value(chromium, "pole-time") == stories["pole"].about["steps"][-1]
    assert chromium.run("document.documentElement.scrollWidth") <= width
    assert chromium.complaints == []


@in_a_browser
def test_colours_follow_the_theme_and_motion_the_readers_wish(chromium, address):
    page_colour = "getComputedStyle(document.body).backgroundColor"
    show(chromium, address, 1366)
    light = chromium.run(page_colour)
    show(chromium, address, 1366, dark=True, reduced=True)
    assert (light, chromium.run(page_colour)) == ("rgb(255, 255, 255)", "rgb(22, 24, 26)")
    assert value(chromium, "step") == 6  # nothing moves by itself
    record = "step.addEventListener('input', () => times.push([Number(step.value), performance.now()]))"
    chromium.run(f"{{ globalThis.times = []; const step = document.getElementById('step'); {record} }}")
    chromium.drag("#play", 0.5, 0.5)
    chromium.until("times.length >= 3")
    (zero, begun), _, (step, ended) = chromium.run("times")[:3]  # the first is the return to step 0
    assert zero == 0
    assert ended - begun > 1000 * step  # more than a second for a step
    assert chromium.complaints == []


@in_a_browser
@pytest.mark.parametrize("shape", [(5, 4, 3), (30,)])
def test_other_images_and_a_linear_model_are_drawn(chromium, tmp_path, shape):
    rng, inputs = generator(0, "images of a page"), int(np.prod(shape))
    x, y = rng.random((8, inputs), dtype=np.float32), rng.integers(0, 14, 8)
    data = Dataset("own", x, y, x, y, shape, 14)
    story = result(attack_story(initial_mlp(inputs, (), 14, seed=0), data, SETTINGS, "analytic"))
    path = tmp_path / "page.html"
    path.write_text(page_of({"attack": story}), encoding="utf-8")
    show(chromium, path.as_uri(), 1366)
    assert chromium.run("document.querySelectorAll('#outputs .bar').length") == 14
    size = chromium.run("[document.getElementById('clean').height, document.getElementById('clean').width]")
    assert size == (list(shape[:2]) if len(shape) > 1 else [1, 30])
    red, green, blue, _ = chromium.run("[...document.getElementById('clean').getContext('2d').getImageData(0, 0, 1, 1).data]")
    expected = [round(255 * float(value)) for value in x[0, :3]] if len(shape) > 1 else [round(255 * float(x[0, 0]))] * 3
    assert np.abs(np.array([red, green, blue]) - expected).max() <= 1
    assert chromium.complaints == []
