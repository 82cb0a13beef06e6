"""The dimension of a granule layer as an experiment, and what the study of the optimum makes of such records."""

import dataclasses

import numpy as np
import pytest
from written import written

from minicereb import backend
from minicereb.calculus.dimension import threshold_dimension
from minicereb.errors import InputError
from minicereb.experiments.architectures import CerebellumModel, build_model
from minicereb.experiments.configs import Data, Train
from minicereb.experiments.evaluation.settings import EvaluatedModel
from minicereb.experiments.identity import from_json, to_json
from minicereb.experiments.jobs import name_of
from minicereb.experiments.kinds.dimension import Dimension
from minicereb.experiments.kinds.paired import PairedComparison
from minicereb.experiments.laboratory import Laboratory
from minicereb.models.dimension import granule_gram
from minicereb.report.figures import svg
from minicereb.studies import sparsity
from minicereb.studies.results import Results
from minicereb.studies.sparsity import MEASURES, dimensions, figures, plan, table


@pytest.fixture
def config(strokes):
    return Dimension(CerebellumModel("random", 800, 4), Data("strokes", strokes.sha256), images=80)


def measure(config, dataset, out):
    steps = config.run(Laboratory(dataset, out))
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def test_it_is_the_same_again_and_another_with_another_seed(config, strokes, tmp_path):
    one, again = (measure(config, strokes, tmp_path) for _ in range(2))
    assert one == again
    assert one["images"] == 80
    assert one["inputs"] == 784
    assert one["interval"][0] < one["dimension"] < one["interval"][1]
    assert measure(dataclasses.replace(config, seed=1), strokes, tmp_path)["dimension"] != one["dimension"]


@pytest.mark.parametrize(("inputs", "units"), [("images", "relu"), ("pixels", "threshold"), ("normal", "threshold")])
def test_every_device_measures_the_same(xp_device, config, strokes, tmp_path, inputs, units):
    ours = dataclasses.replace(config, inputs=inputs, units=units, weights="equal")
    found = measure(ours, strokes, tmp_path)
    backend.configure(device="cpu")
    assert found["dimension"] == pytest.approx(measure(ours, strokes, tmp_path)["dimension"], rel=1e-3)


def test_the_wiring_is_that_of_a_model_trained_with_the_seed(config, strokes, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "minicereb.experiments.kinds.dimension.granule_gram", lambda w, *rest: seen.append(w) or granule_gram(w, *rest)
    )
    measure(dataclasses.replace(config, seed=3), strokes, tmp_path)
    train = Train(config.model, config.data, 10, 1, 0.1, seed=3)
    assert seen[0].sha256() == build_model(train, strokes).wiring.sha256()


def test_on_normal_inputs_threshold_cells_of_equal_weights_have_the_dimension_of_the_closed_form(config, strokes, tmp_path):
    normal = dataclasses.replace(config, inputs="normal", units="threshold", weights="equal", images=400)
    found = measure(normal, strokes, tmp_path)
    assert found["active"] == pytest.approx(0.1, abs=0.005)
    assert found["dimension"] == pytest.approx(threshold_dimension(784, 4, 800, 0.1), rel=0.04)


def test_pixels_apart_are_pixels_of_the_images_in_their_places(config, strokes, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "minicereb.experiments.kinds.dimension.granule_gram", lambda w, x, t: seen.append(x) or granule_gram(w, x, t)
    )
    images, apart = (measure(dataclasses.replace(config, inputs=kind), strokes, tmp_path) for kind in ("images", "pixels"))
    rows = strokes.x_test.astype(np.float32) * np.float32(1 / 255)
    assert len({row.tobytes() for row in seen[0]} & {row.tobytes() for row in rows}) == 80
    assert not {row.tobytes() for row in seen[1]} & {row.tobytes() for row in rows}
    assert all(np.isin(seen[1][:, pixel], rows[:, pixel]).all() for pixel in range(784))
    assert apart["dimension"] > images["dimension"]


def test_threshold_cells_fire_at_most_as_often_as_they_should_on_images(config, strokes, tmp_path):
    found = measure(dataclasses.replace(config, units="threshold", level=0.2), strokes, tmp_path)
    assert 0.02 < found["active"] < 0.25


def test_no_more_test_images_are_used_than_there_are_and_normal_inputs_as_many_as_asked(config, strokes, tmp_path):
    assert measure(dataclasses.replace(config, images=500), strokes, tmp_path)["images"] == 100
    assert measure(dataclasses.replace(config, inputs="normal", images=150), strokes, tmp_path)["images"] == 150


def test_it_stands_on_no_training_and_is_a_value(config):
    assert config.trainings == ()
    assert from_json(to_json(config)) == config
    assert name_of(config) == "Dimension of random k=4, 800 relu cells, gaussian weights, on 80 images, seed 0"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"inputs": "noise"}, "inputs: 'noise'"),
        ({"units": "sigmoid"}, "units: 'sigmoid'"),
        ({"weights": "sparse"}, "weights: 'sparse'"),
        ({"level": 0.0}, "level: 0.0"),
        ({"level": 1.0}, "level: 1.0"),
        ({"images": 5}, "images: 5"),
        ({"seed": -1}, "seed: -1"),
        ({"model": CerebellumModel("random", 9, 4, replacement=True), "inputs": "normal", "units": "threshold"}, "replacement"),
    ],
)
def test_what_cannot_be_measured_is_refused(config, changes, told):
    with pytest.raises(InputError, match=told):
        dataclasses.replace(config, **changes)


# -- the study ---------------------------------------------------------------------------------------------------------------

DATA = Data("mnist", "0" * 64)
LEFT = {1: 2, 2: 40, 4: 50, 10: 80, 20: 45, 50: 60, 784: 48}  # images that an invented model keeps


def invented(seeds=(0,)):
    """Records as the study has them: k = 10 keeps more images than 4, k = 1 fewer; the dimension is 10 k, or 100 k."""
    results = []
    for config in plan(DATA, "course", seeds):
        if isinstance(config, Dimension):
            value = 10.0 * (config.model.inputs_per_cell or 784) * (10 if config.inputs == "normal" else 1)
            value *= 1.1**config.seed
            record = {"dimension": value, "interval": [value * 0.95, value * 1.05], "images": 1_000, "inputs": 784}
        elif isinstance(config, EvaluatedModel):
            left = LEFT[sparsity.inputs_of(config.train)] / 100
            entry = {"attacked": left, "certified": left / 2}
            record = {"run": f"{hash(config)}", "test_accuracy": 0.5 + left / 2, "test_images": 10_000, "images": 100}
            record |= {"epsilons": [entry for _ in config.epsilons]}
        else:
            record = {"images": 100, "clean": difference(config), "epsilons": []}
            record["epsilons"] = [{"epsilon": e, "attacked": difference(config), "certified": None} for e in config.epsilons]
        results.append((config, record))
    return results


def difference(config):
    one, other = (LEFT[sparsity.inputs_of(train)] / 100 for train in config.trainings)
    p = 1e-9 if abs(one - other) > 0.2 else 0.5
    found = {"one": one, "other": other, "difference": one - other, "interval": [-0.1, 0.1], "p": p}
    return found | {"only_one": 3, "only_other": 4}


def row(text, name):
    return next(line for line in text.splitlines() if line.startswith(f"| {name} |")).strip("| ").split(" | ")


def test_the_table_says_which_k_is_best_and_which_differ_from_four():
    text = written(table, invented())
    assert row(text, "test accuracy, %")[1:] == ["10 (90.0)", "75.0", "10, 50", "1, 2, 20", "784"]
    assert row(text, "attacked 0.1, %")[1:] == ["10 (80.0)", "50.0", "10", "1", "2, 20, 50, 784"]
    assert row(text, "dimension: images, ReLU")[1:] == ["784 (7,840)", "40", "10, 20, 50, 784", "1, 2", "-"]
    assert row(text, "dimension: closed form")[1] == "10 (3,820)"
    assert row(text, "4")[1:3] == ["20,000", "75.0 (74.1-75.8)"]
    assert row(text, "10")[3] == "80.0 (70.8-87.3)"


def test_over_seeds_the_dimension_is_the_geometric_mean_with_an_interval_over_them():
    found = dimensions(Results(invented((0, 1, 2))))["images, ReLU"][4]
    assert found.value == pytest.approx(44)
    assert found.low < 40 < 48.4 < found.high
    assert found.low * found.high == pytest.approx(44**2)


def test_a_difference_that_one_seed_does_not_show_is_not_told_apart():
    results = invented((0, 1))
    for number, (config, record) in enumerate(results):
        if isinstance(config, PairedComparison) and config.one.seed == 1:
            entries = [entry | {"attacked": entry["attacked"] | {"p": 1.0}} for entry in record["epsilons"]]
            results[number] = (config, record | {"epsilons": entries})
    assert row(written(table, results), "attacked 0.1, %")[3:] == ["-", "-", "1, 2, 10, 20, 50, 784"]


def test_the_trainings_are_those_of_the_study_of_sparsity():
    for scale in ("smoke", "course", "paper"):
        ours = {train for config in plan(DATA, scale, (0, 123)) for train in config.trainings}
        theirs = {train for config in sparsity.SPARSITY.plan(DATA, scale, (0, 123)) for train in config.trainings}
        assert ours <= theirs
        assert scale == "course" or ours == theirs
    measured = [config for config in plan(DATA, "paper", (0, 123)) if isinstance(config, Dimension)]
    assert len(measured) == 2 * 10 * len(MEASURES)


def test_the_figures_are_drawn():
    drawn = figures(Results(invented()))
    assert {*drawn} == {"optimum-accuracy", "optimum-dimension"}
    assert all(svg(figure) for figure in drawn.values())
