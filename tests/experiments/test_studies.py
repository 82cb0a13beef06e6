"""Studies: complete at smoke scale, resumed where they stopped, their tables made of their records."""

import itertools

import pytest

from minicereb import datasets
from minicereb.errors import InputError
from minicereb.experiments.carrying_out import EXPERIMENTS
from minicereb.experiments.configs import Data
from minicereb.experiments.studies import SCALES, STUDIES, study_named
from minicereb.experiments.studies.study import carry_out
from minicereb.files import read_json


@pytest.fixture(scope="module")
def small():
    return datasets.load("strokes", train=400, test=60)


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_at_smoke_scale_leaves_records_and_a_table(name, small, tmp_path):
    study = study_named(name)
    steps = list(carry_out(study, "smoke", (0,), small, tmp_path))
    assert steps[-1].done == steps[-1].total
    stored = read_json(tmp_path / "study.json")
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
