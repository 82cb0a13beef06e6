"""Figures: names beside the lines where there is room, and above them what they show."""

import importlib.util
import json
import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest

from minicereb.report.figures import captioned, conclude, curves, panels_of, svg
from minicereb.studies.masking import _typical_change
from minicereb.studies.pole import _who_learns
from minicereb.studies.tables import what_is_left
from minicereb.tasks.pole_balancing import PoleTask

ROOT = Path(__file__).parents[2]
X = np.array([0.0, 0.1, 0.2])


def lines(**ends):
    """Lines over ε that fall from 1 to these values."""
    return {name: (X, np.array([1.0, (1 + end) / 2, end])) for name, end in ends.items()}


def names(figure):
    """The names that stand beside lines, with the height of each as a share of the panel."""
    return {text.get_text(): text.xyann[1] for axes in figure.axes for text in axes.texts}


def legends(figure):
    return [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend())]


def test_names_stand_beside_the_ends_in_their_order():
    figure = curves([("", lines(low=0.1, high=0.9, middle=0.5))], "ε", "share")
    heights = names(figure)
    assert not legends(figure)
    assert sorted(heights, key=heights.get) == ["low", "middle", "high"]


def test_names_of_lines_that_end_together_keep_their_distance():
    heights = sorted(names(curves([("", lines(a=0.0, b=0.0, c=0.01))], "ε", "share")).values())
    assert len(heights) == 3
    assert min(np.diff(heights)) >= 0.065 - 1e-9


def test_lines_with_the_same_names_in_all_panels_are_named_once_where_they_are_apart():
    figure = curves([("", lines(a=0.0, b=0.0)), ("", lines(a=0.1, b=0.9))], "ε", "share")
    assert [len(axes.texts) for axes in figure.axes] == [0, 2]
    assert not legends(figure)


def test_peaks_apart_are_named_where_they_are_when_the_ends_are_not():
    x = np.linspace(0, 1, 101)
    figure = curves([("", {f"{peak:g}": (x, np.exp(-200 * (x - peak) ** 2)) for peak in (0.2, 0.5, 0.8)})], "", "", marked=False)
    places = {text.get_text(): text.xyann for text in figure.axes[0].texts}
    assert sorted(places, key=lambda name: places[name][0]) == ["0.2", "0.5", "0.8"]
    assert min(height for _, height in places.values()) > 0.9


def test_too_many_lines_have_a_legend():
    figure = curves([("", lines(**{f"line {n}": 0.0 for n in range(12)}))], "ε", "share")
    assert not names(figure)
    assert len(legends(figure)) == 1


def test_a_conclusion_stands_above_a_figure_and_in_its_file():
    figure, _ = panels_of(3, 2)
    assert "<title>" not in svg(figure).decode()
    conclude(figure, "Fewer than a & b, by far, which takes more than one line.")
    assert "\n" in figure.get_suptitle()
    assert "<title>Fewer than a &amp; b, by far, which takes more than one line.</title>" in svg(figure).decode()
    assert captioned(figure, "In %.") == "Fewer than a & b, by far, which takes more than one line. In %."


def test_what_is_left_follows_from_the_numbers():
    says, left = lines(base=0.5, other=0.4), lines(base=0.0, other=0.3)
    assert what_is_left(says, left) == (
        "base: PGD on the squared error leaves 50% at ε = 0.2, all attacks together 0%. "
        "At ε = 0.2 they leave 0% (base) to 30% (other)."
    )
    assert what_is_left(left, left) == "At ε = 0.2 all attacks together leave 0% (base) to 30% (other)."
    assert what_is_left(lines(a=0.2, b=0.2), lines(a=0.2, b=0.2)) == ""


def test_a_typical_entry_of_the_gradient():
    middles = np.array([-3.0, -2.0, -1.0])
    shares = {"clean": (middles, np.array([1.0, 0.0, 0.0])), "attacked": (middles, np.array([0.0, 0.5, 0.0]))}
    assert _typical_change(shares) == pytest.approx(10)


def test_who_learns_to_balance():
    task, end = PoleTask(seconds=5.0), np.array([1.0, 5.0])
    panels = {"whole": [end, end], "half": [end, end[:1]], "none": [end[:1]]}
    assert _who_learns(panels, task) == "Every seed balances to the end: whole. Some seeds: half (1 of 2). No seed: none."


def script(name):
    """A module of the documentation."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("folder", ["isi", "width", "pole", pytest.param("sparsity", marks=pytest.mark.slow)])
def test_the_figures_of_the_results_say_what_their_records_do(folder):
    """If this fails: python docs/redraw.py."""
    place = ROOT / "docs" / "results" / folder
    page = (place / "report.md").read_text(encoding="utf-8")
    pictures = script("redraw").pictures_of(place)
    assert pictures
    for picture in pictures:
        kept = (place / f"report-{picture.name}.svg").read_text(encoding="utf-8")
        assert title(kept) == title(picture.content.decode()) != ""
        assert script("redraw").with_caption(page, f"report-{picture.name}.svg", picture.caption) == page


def title(picture):
    found = re.search(r"<title>(.*?)</title>", picture)
    return unescape(found[1]) if found else ""


def test_every_figure_with_a_conclusion_has_it_in_its_report():
    pictures = sorted((ROOT / "docs" / "results").glob("*/report-*.svg"))
    titled = {path: title(path.read_text(encoding="utf-8")) for path in pictures}
    assert sum(map(bool, titled.values())) > 30
    for path, words in titled.items():
        assert words.replace("_", "\\_") in path.with_name("report.md").read_text(encoding="utf-8")
    studied = [json.loads(path.read_text(encoding="utf-8"))["study"] for path in pictures[0].parents[1].glob("*/study.json")]
    assert {"ablation", "isi"} <= set(studied)
