"""Figures of an evaluation: bounds are drawn as far as they hold, and no further."""

import numpy as np

from minicereb.experiments.evaluation_figures import accuracy_figure


def record(certified):
    entries = [(0.1, 0.6, certified and 0.3), (0.2, 0.4, certified and 0.1)]
    named = [{"epsilon": epsilon, "attacked": attacked, "certified": below} for epsilon, attacked, below in entries]
    return {"clean_accuracy": 0.9, "epsilons": named, "curve": {"epsilon": [0.0, 0.2], "attacked": [0.9, 0.4]}}


def drawn(record):
    (axes,) = accuracy_figure(record).axes
    return {line.get_label(): np.transpose(line.get_data()).tolist() for line in axes.lines}


def test_an_attack_bounds_what_is_above_its_epsilon_and_a_certificate_what_is_below():
    lines = drawn(record(True))
    assert lines["attacked"] == [[0.0, 0.9], [0.1, 0.9], [0.1, 0.6], [0.2, 0.6], [0.2, 0.4]]
    assert lines["certified"] == [[0.0, 0.3], [0.1, 0.3], [0.1, 0.1], [0.2, 0.1]]


def test_without_certificates_there_is_no_line_for_them():
    assert list(drawn(record(None))) == ["nothing nearer found", "attacked"]
