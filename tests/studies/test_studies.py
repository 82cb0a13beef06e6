"""Studies: complete at smoke scale, resumed where they stopped, their tables made of their records."""

import dataclasses
import itertools

import numpy as np
import pytest
from reading import read_any

from minicereb import datasets
from minicereb.datasets import cifar10
from minicereb.errors import InputError
from minicereb.experiments.carrying_out import EXPERIMENTS
from minicereb.experiments.configs import AttackedModel, Data
from minicereb.experiments.evaluation.settings import EvaluatedModel
from minicereb.randomness import generator
from minicereb.studies import SCALES, STUDIES, study_named
from minicereb.studies.study import carry_out


@pytest.fixture(scope="module")
def small():
    return datasets.load("strokes", train=400, test=60)


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_at_smoke_scale_leaves_records_and_a_table(name, small, tmp_path):
    study = study_named(name)
    steps = list(carry_out(study, "smoke", (0,), small, tmp_path))
    assert steps[-1].done == steps[-1].total
    stored = read_any(tmp_path / "study.json")
    done = [step.doing for step in steps if step.doing.startswith("done: ") and not step.doing.startswith("done: training")]
    assert len(stored["results"]) == len(done)
    assert (tmp_path / "table.md").read_text().count("\n|") > 2


def test_a_study_that_was_stopped_ends_with_the_same_table_and_does_nothing_twice(small, tmp_path):
    study = study_named("objectives")
    list(carry_out(study, "smoke", (0,), small, tmp_path / "elsewhere" / "whole"))
    for stop in (3, 60, 200):
        progress = carry_out(study, "smoke", (0,), small, tmp_path / "stopped")
        list(itertools.islice(progress, stop))
        progress.close()
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "stopped").rglob("attacks/*.json")}
    assert written
    list(carry_out(study, "smoke", (0,), small, tmp_path / "stopped"))
    assert all(path.stat().st_mtime_ns == time for path, time in written.items())
    assert (tmp_path / "stopped" / "table.md").read_text() == (tmp_path / "elsewhere" / "whole" / "table.md").read_text()


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("scale", SCALES)
def test_every_scale_names_its_data_and_plans_distinct_experiments(name, scale):
    study = study_named(name)
    plan = study.plan(Data(study.dataset[scale], "0" * 64), scale, (0, 123))
    assert len(set(plan)) == len(plan) > 0
    assert {type(config) for config in plan} <= EXPERIMENTS.keys()


def test_an_unknown_study_is_named():
    with pytest.raises(InputError, match="study: 'nothing'"):
        study_named("nothing")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A folder in the layout of CIFAR-10: of each class one colour, and noise."""
    folder = tmp_path_factory.mktemp("photographs") / "cifar-10-batches-bin"
    folder.mkdir()
    rng = generator(0, "photographs")
    colours = rng.integers(0, 200, (10, 3))
    for name in cifar10.FILES:
        labels = rng.integers(0, 10, 40)
        pixels = colours[labels][:, :, None] + rng.integers(0, 56, (40, 3, 1024))
        np.concatenate([labels[:, None], pixels.reshape(40, -1)], axis=1).astype(np.uint8).tofile(folder / name)
    return datasets.load(str(folder))


def test_on_photographs_the_ablation_sees_through_an_encoder_and_examines_it_as_well(photographs, tmp_path):
    ablation = study_named("ablation")
    plan = ablation.plan(Data(photographs.name, photographs.sha256), "smoke", (0,))
    examined = {each.train for each in plan if isinstance(each, EvaluatedModel)}
    (network,) = (train for train in examined if train.encoder is None)
    assert len(examined) == 5
    assert {train.encoder for train in examined} == {None, network}
    some = {network, next(train for train in examined if train.batch_size == 10 and train.model.inputs_per_cell)}
    chosen = [each for each in plan if set(each.trainings) <= some]
    smaller = dataclasses.replace(ablation, plan=lambda data, scale, seeds: chosen)
    list(carry_out(smaller, "smoke", (0,), photographs, tmp_path))
    steps = {each.attack.step_size for each in plan if isinstance(each, AttackedModel) and each.attack.method == "pgd"}
    assert steps == {0.01, 2.5 * 2 / 255 / 40, 2.5 * 8 / 255 / 40}
    table = (tmp_path / "table.md").read_text()
    assert "| PGD 8/255 (fitting step) |" in table
    assert "behind an encoder" in table
    assert len(list(tmp_path.glob("runs/*/features-*.npy"))) == 2
