"""The variance of estimates: its numbers against direct computation, and the table against records whose factors are known."""

import dataclasses
from math import sqrt

import numpy as np
import pytest
from written import written

from minicereb.errors import InputError
from minicereb.experiments.architectures import NoisyModel, PerceptronModel
from minicereb.experiments.configs import Data, Train
from minicereb.experiments.kinds.estimator_variance import EstimatorVariance, batch, summary
from minicereb.experiments.kinds.noise_variance import NoiseVariance
from minicereb.experiments.laboratory import Laboratory
from minicereb.experiments.records import check_record
from minicereb.learning.training import Split
from minicereb.randomness import generator
from minicereb.report.figures import svg
from minicereb.studies import variance_depth, variance_noise
from minicereb.studies.results import Results
from minicereb.studies.variance import CONDITIONS, ESTIMATORS, figures, plan, table


@pytest.fixture
def config(strokes):
    train = Train(NoisyModel((6,)), Data("strokes", strokes.sha256), 25, 1, 0.02, "adam")
    return EstimatorVariance(train, False, "plain", "score", 32, 40, images=5)


def measure(config, strokes, out):
    steps = config.run(Laboratory(strokes, out))
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def test_the_summary_is_the_summed_variance_with_the_error_that_leaving_one_out_gives():
    draws = generator(0, "draws").standard_normal((9, 4)) * (1, 2, 3, 4) + 5
    found = summary(draws)
    assert found["variance"] == pytest.approx(draws.var(axis=0, ddof=1).sum(), rel=1e-12)
    without = np.array([np.delete(draws, each, axis=0).var(axis=0, ddof=1).sum() for each in range(9)])
    assert found["standard_error"] == pytest.approx(sqrt(8 / 9 * np.square(without - without.mean()).sum()), rel=1e-12)


def test_on_average_variance_error_and_norm_are_the_true_ones():
    draws = generator(1, "draws").standard_normal((400, 30, 2)) * (1, 2) + (3, 4)
    found = [summary(each) for each in draws]
    variances, norms = ([each[name] for each in found] for name in ("variance", "squared_norm"))
    truth = {"variance": 5, "squared_norm": 25}
    for name, values in (("variance", variances), ("squared_norm", norms)):
        assert abs(np.mean(values) - truth[name]) < 4 * np.std(values) / 20
    assert np.mean([each["standard_error"] for each in found]) == pytest.approx(sqrt(2 * (1 + 16) / 29), rel=0.1)


def test_variance_falls_as_one_over_k_and_each_estimator_has_its_place(config, strokes, tmp_path):
    def found(**changes):
        return measure(dataclasses.replace(config, **changes), strokes, tmp_path)["layers"]

    plain, twice = found(), found(replications=64)
    baseline, flip = found(estimator="baseline"), found(estimator="flip", last_layer="derivative")
    for layer in range(2):
        errors = [each[layer]["standard_error"] / each[layer]["variance"] for each in (plain, twice)]
        ratio = plain[layer]["variance"] / twice[layer]["variance"]
        assert abs(ratio / 2 - 1) < 4 * np.hypot(*errors)
        assert flip[layer]["variance"] < baseline[layer]["variance"] < plain[layer]["variance"]
    assert plain[0]["squared_norm"] == pytest.approx(flip[0]["squared_norm"], abs=3 * plain[0]["variance"] / sqrt(40))


def test_a_measurement_is_the_same_again_apart_from_its_seconds(config, strokes, tmp_path):
    one, again = (measure(dataclasses.replace(config, draws=3), strokes, tmp_path) for _ in range(2))
    assert one["layers"] == again["layers"]
    assert len(one["layers"]) == 2
    assert one["seconds"] > 0


def test_the_batch_is_of_images_that_the_training_learns_from(config, strokes, tmp_path):
    laboratory = Laboratory(strokes, tmp_path)
    ids = batch(config.train, config.images, 0, laboratory)
    assert len(set(ids)) == 5
    assert set(ids) <= set(Split(strokes, config.train.validation, config.train.seed).training)
    assert (batch(config.train, config.images, 1, laboratory) != ids).any()
    with pytest.raises(InputError, match="at most the 550 learned from"):
        batch(config.train, 551, 0, laboratory)


def test_only_a_trained_network_stands_on_a_training(config):
    assert config.trainings == ()
    assert dataclasses.replace(config, trained=True).trainings == (config.train,)


@pytest.mark.parametrize(
    "changes",
    [
        {"estimator": "antithetic", "replications": 33},
        {"estimator": "flip"},
        {"estimator": "nothing"},
        {"draws": 2},
        {"images": 0},
        {"train": Train(PerceptronModel((6,)), Data("strokes", "0" * 64), 25, 1, 0.02)},
    ],
)
def test_what_cannot_be_measured_is_refused(config, changes):
    with pytest.raises(InputError):
        dataclasses.replace(config, **changes)


# Factors by which an invented estimator is better than plain in the two layers, and its time for a replication.
INVENTED = {name: (factor, factor**1.2, 0.25) for name, factor in zip(ESTIMATORS, (1, 4, 2.5, 7, 150, 4, 7, 1e5), strict=True)}


def invented(seeds=(0,)):
    results = []
    for config in plan(Data("strokes14", "0" * 64), "course", seeds):
        name = next(name for name, form in ESTIMATORS.items() if form == (config.estimator, config.last_layer))
        first, second, seconds = INVENTED[name]
        if config.estimator != "plain" and config.train.seed == 1:
            first *= 4
        layers = [{"variance": 1 / (factor * config.replications), "squared_norm": 1.0} for factor in (first, second)]
        for layer in layers:
            layer["standard_error"] = 0.05 * layer["variance"]
        record = {"layers": layers, "seconds": config.replications * (1.0 if name == "plain" else seconds)}
        results.append((config, record | ({"test_accuracy": 0.9} if config.trained else {})))
    return results


def row(text, name, number=0):
    return [line for line in text.splitlines() if line.startswith(f"| {name} |")][number].split(" | ")[1:]


def test_the_table_shows_factors_at_equal_k_and_marks_where_the_earlier_ones_differ():
    text = written(table, invented())
    cells = row(text, "mean baseline")
    assert len(cells) == len(CONDITIONS)
    assert cells[0] == "4 [3.48, 4.59] / 4.6"
    assert cells[1:4] == ["4 [3.48, 4.59] / 2.6", "4 [3.48, 4.59] / 2.6", "4 [3.48, 4.59] / 10.7 **(!)**"]
    assert row(text, "flip")[5].startswith("100,000 [87,100, 115,000] / 297 **(!)**")
    assert row(text, "mean baseline, derivative last")[0] == "4 [3.48, 4.59]"
    assert row(text, "flip", 1)[0].startswith("1,000,000 ")
    assert row(text, "plain")[0] == "8,190 s; 1"
    assert row(text, "mean baseline", 2)[0] == "2,050 s; 16"
    assert "test accuracy: cross-entropy, half trained, 90.0%; cross-entropy, trained, 90.0%" in text


def test_over_seeds_the_table_has_the_geometric_mean_and_a_narrower_interval():
    assert row(written(table, invented((0, 1))), "antithetic")[0].startswith("5 [4.53, 5.51]")


def test_the_figure_is_drawn():
    assert svg(figures(Results(invented()))["variance"])


def test_variance_by_layer_and_depth_is_related_to_the_gradient_and_the_evaluations():
    """Invented records: the ratio per evaluation, its interval, and a gradient that is too small to be seen."""
    experiments = variance_depth.plan(Data("strokes14", "0" * 64), "smoke", (0,))
    found = []
    for config in experiments:
        model = config.measured_model
        one = {"variance": 2 / config.replications, "standard_error": 0.2 / config.replications, "squared_norm": 4.0}
        layers = [dict(one) for _ in range(len(model.hidden) + len(model.channels) + 1)]
        layers[-1]["squared_norm"] = -0.1
        found.append((config, {"layers": layers, "seconds": 1.0, "test_accuracy": 0.5}))
        config.check_record(found[-1][1])
    tables = variance_depth.table(Results(found))
    assert [len(each.rows) for each in tables[:-1]] == [len(variance_depth.WAYS)] * len(variance_depth.NETWORKS)
    rows = {row[0]: row[1:] for row in tables[1].rows}
    assert rows["mean baseline"] == ["0.5 [0.411, 0.608]"] * 2 + ["gradient not distinguishable from 0"]
    assert rows["mean baseline, in turn"][0].startswith("1.5 ")  # three layers, each with runs of its own
    assert rows["flip, outputs resampled"][0].startswith("20.5 ")  # 1 + 40 evaluations
    convolutional = {row[0]: row[1:] for row in tables[3].rows}
    assert convolutional["flip, outputs resampled"][0].startswith("26.5 ")  # 1 + 20 + 32


def test_the_parts_of_the_variance_are_measured_and_shown(strokes, tmp_path):
    train = Train(NoisyModel((6,)), Data("strokes", strokes.sha256), 25, 1, 0.02, "adam")
    config = NoiseVariance(train, False, 300, images=4)
    record = measure(config, strokes, tmp_path)
    assert record == measure(config, strokes, tmp_path)
    check_record(config, record)
    parts = [record[name]["value"] for name in ("single", "within", "between")]
    assert sum(parts) == pytest.approx(1, abs=1e-12)
    assert parts[0] > 0.8
    assert record["dimension"]["value"] >= 1 - 3 * record["dimension"]["standard_error"]
    assert sum(each["value"] for each in record["alone"]) + record["between"]["value"] == pytest.approx(1, abs=1e-12)
    assert config.trainings == ()
    assert dataclasses.replace(config, trained=True).trainings == (train,)


@pytest.mark.parametrize("model", [PerceptronModel((3,)), NoisyModel((3,), noise="none", noise_scale=(), estimator="surrogate")])
def test_parts_of_a_variance_need_noise(model):
    with pytest.raises(InputError, match=r"model: 'mlp'|noise: 'none'"):
        NoiseVariance(Train(model, Data("strokes", "0" * 64), 25, 1, 0.02, "adam"), False, 10)


def test_the_table_of_parts_shows_each_network_before_and_after():
    found, truth = [], {"single": 0.5, "within": 0.25, "between": 0.25, "dimension": 1.5}
    for config in variance_noise.plan(Data("strokes14", "0" * 64), "smoke", (0, 1)):
        count = len(config.measured_model.channels) + len(config.measured_model.hidden) + 1
        if isinstance(config, NoiseVariance):
            record = {name: {"value": value, "standard_error": 0.01} for name, value in truth.items()}
            record |= {name: [{"value": 0.25, "standard_error": 0.01}] * count for name in ("alone", "total")}
        else:
            variance = 8.0 if config.estimator == "baseline" else 2.0
            layer = {"variance": variance, "standard_error": 0.0, "squared_norm": 1.0}
            record = {"layers": [layer] * count, "seconds": 1.0} | ({"test_accuracy": 0.5} if config.trained else {})
        found.append((config, record))
    parts, layers, text = variance_noise.table(Results(found))
    assert [row[0] for row in parts.rows] == [f"{n}, {s}" for n in variance_noise.NETWORKS for s in variance_noise.STATES]
    assert parts.rows[0][1:] == [
        "50 [48.6, 51.4]",
        "25 [23.6, 26.4]",
        "25 [23.6, 26.4]",
        "1.5 [1.49, 1.51]",
        "4 [4, 4]",
        "4 [4, 4]",
    ]
    assert layers.rows[2][1] == "25, 25, 25"
    assert "K = 16" in str(text)
