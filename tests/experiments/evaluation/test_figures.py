"""Figures of an evaluation: what was measured is drawn, and nothing between."""

import numpy as np

from minicereb.datasets.dataset import Dataset
from minicereb.experiments.evaluation.figures import accuracy_figure, nearest_figure


def record(certified, attack="apgd-t", epsilons=(0.1, 0.2)):
    def entry(epsilon, attacked, below):
        sides = {"attacked": attacked, "attacked_interval": [attacked - 0.1, attacked + 0.1], "certified": below}
        between = None if below is None else [below - 0.1, below + 0.1]
        return {"epsilon": epsilon, **sides, "certified_interval": between, "by_attack": {attack: attacked}}

    entries = [entry(epsilons[0], 0.6, certified and 0.3), entry(epsilons[1], 0.4, certified and 0.1)]
    curve = {"epsilon": [0.0, 0.05, 0.1, 0.15, 0.2], "attacked": [0.9, 0.9, 0.6, 0.5, 0.4]}
    return {"clean_accuracy": 0.9, "epsilons": entries, "curve": curve}


def drawn(record):
    (axes,) = accuracy_figure(record).axes
    return {line.get_label(): (np.transpose(line.get_data()).tolist(), line.get_linestyle(), line) for line in axes.lines}


def test_what_was_measured_is_drawn_as_points_that_nothing_joins():
    lines = drawn(record(True))
    assert lines["attacked"][0] == [[0.0, 0.9], [0.1, 0.6], [0.2, 0.4]]
    assert lines["certified"][0] == [[0.1, 0.3], [0.2, 0.1]]
    assert list(lines) == ["attacked", "certified"]
    for _, style, line in lines.values():
        assert style == "None"
        assert line.get_marker() == "o"


def test_one_epsilon_is_two_points_and_no_cliff():
    one = record(None)
    one["epsilons"] = one["epsilons"][:1]
    assert {name: points for name, (points, *_) in drawn(one).items()} == {"attacked": [[0.0, 0.9], [0.1, 0.6]]}


def test_the_clean_accuracy_is_drawn_once():
    assert drawn(record(None, epsilons=(0.0, 0.2)))["attacked"][0] == [[0.0, 0.9], [0.2, 0.4]]


def test_the_nearest_are_a_curve_from_the_smallest_epsilon_on_where_they_were_looked_for():
    points, style, _ = drawn(record(None, attack="fab-t"))["nothing nearer found"]
    assert points == [[0.1, 0.6], [0.15, 0.5], [0.2, 0.4]]
    assert style == "-"
    assert drawn(record(None, attack="fab-t", epsilons=(0.0, 0.2)))["nothing nearer found"][0][0] == [0.0, 0.9]


def test_images_with_two_channels_are_no_picture(tmp_path):
    empty = np.zeros((1, 8), dtype=np.uint8)
    dataset = Dataset("two", empty, np.zeros(1, dtype=np.int64), empty, np.zeros(1, dtype=np.int64), (2, 2, 2), 2)
    assert nearest_figure(tmp_path, dataset) is None
