"""The table of glr-regularisers from invented records."""

import numpy as np
from written import written

from minicereb.experiments.configs import Data
from minicereb.report.figures import svg
from minicereb.studies.glr_regularisers import GLR_REGULARISERS, LINES, figures, plan, table
from minicereb.studies.results import Results


def invented(scale="course", seeds=(0, 1, 2)):
    found = []
    for config in plan(Data("mnist14", "0" * 64), scale, seeds):
        model = config.train.model
        share = 0.4 + 0.1 * (model.l1 > 0) + 0.2 * (model.l2 > 0)
        intervals = {"attacked_interval": [0.3, 0.7], "certified_interval": [0.1, 0.4]}
        record = {
            "test_accuracy": 0.9 + 0.01 * config.seed,
            "test_images": 28_000,
            "clean_accuracy": 0.92,
            "images": config.images,
        }
        record["run"] = f"{model.description} {model.l1} {model.l2} {config.seed}"
        record["epsilons"] = [
            {"epsilon": e, "attacked": share - e, "certified": max(0.0, share - 10 * e), **intervals} for e in config.epsilons
        ]
        found.append((config, record))
    return Results(found)


def row(text, name):
    return next(line for line in text.splitlines() if line.startswith(f"| {name} |")).strip("| ").split(" | ")[1:]


def test_every_setting_differs_from_the_common_one_in_one_respect_or_has_a_penalty_as_well():
    trains = [config.train for config in plan(Data("mnist14", "0" * 64), "course", GLR_REGULARISERS.seeds["course"])]
    found = [(train.model.noise_scale[0], train.model.l1, train.model.l2) for train in trains]
    assert len(set(found)) == 11
    assert all(found.count(each) == 3 for each in found)
    common = (2.0, 0.0, 0.0)
    for each in set(found):
        assert sum(value != usual for value, usual in zip(each, common, strict=True)) <= 1 or each[1:] == (1e-4, 0.0)
    assert {(train.model.estimator, train.model.last_layer, train.learning_rate) for train in trains} == {
        ("flip", "resample", 0.06)
    }


def test_the_table_has_a_row_for_each_setting_with_means_over_the_seeds():
    text = written(table, invented())
    assert row(text, "noise 2")[0] == "91.0 (88.5-93.5)"
    assert [cell.split()[0] for cell in row(text, "noise 2")[1:]] == ["92.0", "39.5", "35.0", "35.0", "0.0"]
    assert row(text, "noise 2, l2 0.001")[2].startswith("59.5 (")
    assert row(text, "noise 4, l1 0.0001")[2].startswith("49.5 (")
    assert "seeds 0, 1, 2" in text


def test_the_figure_has_a_line_for_each_regulariser():
    drawn = figures(invented())["regularisers"]
    assert [axes.get_title() for axes in drawn.axes] == ["certified, ε = 0.005", "attacked, ε = 0.05"]
    for axes, shares in zip(drawn.axes, ([35, 55, 55, 55], [35, 55, 55, 55]), strict=True):
        lines = dict(zip(LINES, axes.lines, strict=True))
        assert [len(line.get_xdata()) for line in lines.values()] == [len(settings) for settings in LINES.values()]
        np.testing.assert_allclose(lines["l2"].get_ydata(), shares)
    assert svg(drawn)
    assert svg(figures(invented("smoke", (0,)))["regularisers"])
