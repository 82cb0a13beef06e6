"""Pole balancing as an experiment: its record, its folder and the study's table."""

import json
from dataclasses import replace

import numpy as np
import pytest
from killed_writes import killed_at_each_write
from written import written

from minicereb.errors import DataError, InputError, RunError
from minicereb.experiments.configs import Data
from minicereb.experiments.identity import config_hash, from_json, to_json
from minicereb.experiments.kinds.pole import PoleBalancing, paths_of, pole_in_folder
from minicereb.report.figures import svg
from minicereb.report.pole_figures import animate
from minicereb.studies.pole import CONDITIONS, figures, plan, table
from minicereb.studies.results import Results
from minicereb.tasks.pole_balancing import PoleTask
from minicereb.tasks.pole_learners import ActorCritic

CONFIG = PoleBalancing(PoleTask(cells=300, seconds=2.0), 6, paths=True)


def finish(steps):
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def test_the_record_says_what_the_trials_and_the_tests_came_to():
    record = finish(CONFIG.run())
    assert list(record) == ["seconds", "errors", "succeeded", "learned", "tests", "paths"]
    assert len(record["seconds"]) == len(record["errors"]) == 6
    assert len(record["tests"]) == len(CONFIG.angles)
    first = next((number for number, seconds in enumerate(record["seconds"], 1) if seconds == 2.0), None)
    assert record["succeeded"] == first
    assert len(record["paths"]["first"]) == round(record["seconds"][0] / 0.02)
    assert len(record["paths"]["test"]) == round(record["tests"][3] / 0.02)
    json.dumps(record, allow_nan=False)


def test_a_circuit_that_learns_nothing_is_only_tested():
    record = finish(replace(CONFIG, trials=0).run())
    assert record["seconds"] == []
    assert max(record["tests"]) < 1
    assert list(paths_of(CONFIG, record)) == ["after 0 trials, from 4°"]


def test_what_was_stopped_goes_on_in_its_folder_and_ends_with_the_same_bits(tmp_path):
    whole = finish(pole_in_folder(CONFIG, tmp_path / "whole"))
    steps = pole_in_folder(CONFIG, tmp_path / "stopped")
    for _ in range(3):
        next(steps)
    steps.close()
    begun = np.load(tmp_path / "stopped" / "circuit.npz")
    assert len(begun["seconds"]) == 3
    again = pole_in_folder(CONFIG, tmp_path / "stopped")
    assert "trial 4 of 6" in next(again)
    assert finish(again) == whole == finish(CONFIG.run())
    one, other = (np.load(tmp_path / name / "circuit.npz") for name in ("whole", "stopped"))
    assert set(one.files) == {"readout", "ltd_mean", "seconds", "errors", "hash"}
    assert all(np.array_equal(one[name], other[name]) for name in one.files)
    assert json.loads((tmp_path / "whole" / "result.json").read_text())["record"]["tests"] == whole["tests"]


def test_killed_before_any_of_its_files_has_its_name_it_goes_on(tmp_path):
    whole = finish(pole_in_folder(CONFIG, tmp_path / "whole"))
    for number in killed_at_each_write(lambda number: finish(pole_in_folder(CONFIG, tmp_path / str(number)))):
        assert finish(pole_in_folder(CONFIG, tmp_path / str(number))) == whole
        names = {path.name for path in (tmp_path / str(number)).iterdir()}
        assert names == {".lock", "config.json", "circuit.npz", "result.json"}
    assert number >= 3


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    finish(pole_in_folder(CONFIG, tmp_path / "ours"))
    with pytest.raises(RunError, match="other settings \\(trials: 7 here, 6 there\\)"):
        next(pole_in_folder(replace(CONFIG, trials=7), tmp_path / "ours"))
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "letter.txt").write_text("dear")
    with pytest.raises(RunError, match="not empty"):
        next(pole_in_folder(CONFIG, tmp_path / "theirs"))
    assert [path.name for path in (tmp_path / "theirs").iterdir()] == ["letter.txt"]
    np.savez(tmp_path / "ours" / "circuit.npz", readout=np.zeros((2, 3), dtype=np.float32))
    with pytest.raises(DataError, match=r"circuit.npz .*readout .*delete it to begin again"):
        next(pole_in_folder(CONFIG, tmp_path / "ours"))


def test_it_is_a_value():
    assert from_json(json.loads(json.dumps(to_json(CONFIG)))) == CONFIG
    other = replace(CONFIG, task=replace(CONFIG.task, method=ActorCritic()))
    assert from_json(to_json(other)) == other
    assert len({config_hash(each) for each in (CONFIG, other, replace(CONFIG, trials=7))}) == 3
    assert CONFIG.trainings == ()


@pytest.mark.parametrize(
    ("changes", "told"),
    [({"trials": -1}, "trials: -1"), ({"angles": (13.0,)}, "angles: .* -12 to 12"), ({"angles": ()}, "angles")],
)
def test_what_cannot_be_done_is_refused(changes, told):
    with pytest.raises(InputError, match=told):
        replace(CONFIG, **changes)


def test_an_animation_has_a_picture_every_40_ms_and_leaves_nothing_else(tmp_path):
    path = np.zeros((12, 5), dtype=np.float64)
    path[:, 0], path[:, 2], path[:, 4] = np.linspace(0, 1, 12), np.linspace(0, 0.2, 12), 5.0
    pictures = animate({"one": path, "other": path[:3]}, 0.02, 0.5, 2.4, tmp_path / "film.gif")
    assert pictures == 6 + 2
    assert (tmp_path / "film.gif").read_bytes().startswith(b"GIF89a")
    assert [each.name for each in tmp_path.iterdir()] == ["film.gif"]


# -- the study ---------------------------------------------------------------------------------------------------------------


def invented(seeds):
    """Records as the study has them: what learns lasts longer by a second a trial, and its tests all to the end."""
    results = []
    for config in plan(Data("strokes", "0" * 64), "course", seeds):
        learns = config.trials > 0 and config.task.lesion == "none"
        seconds = [float(n + config.task.seed % 2) for n in range(1, 5)] + [100.0] * learns if config.trials else []
        record = {"seconds": seconds, "errors": [2] * len(seconds), "succeeded": 5 if learns else None, "learned": learns}
        record["tests"] = [100.0 if learns else 1.0] * len(config.angles)
        if config.paths:
            record["paths"] = {name: [[0.1, 0.2, 0.01, 0.3, 2.0]] * 20 for name in ("first", "test")}
        results.append((config, record))
    return results


def row(text, name):
    return next(line for line in text.splitlines() if line.startswith(f"| {name} |")).strip("| ").split(" | ")[1:]


def test_every_condition_is_planned_with_every_seed_and_two_paths_are_kept():
    planned = plan(Data("strokes", "0" * 64), "course", (3, 4))
    assert len(planned) == 2 * len(CONDITIONS)
    assert [config.description for config in planned if config.paths] == [
        "error, 4,000 cells, 200 trials, seed 3",
        "actor-critic, 4,000 cells, 200 trials, seed 3",
    ]
    assert len({config.description for config in planned}) == len(planned)


def test_the_table_has_a_row_for_each_condition_with_the_spread_over_seeds():
    text = written(table, invented((0, 1)))
    same = "22.4 (22.2-22.6)"
    assert row(text, "error-driven")[:5] == [same, same, "2 of 2", "2 of 2", "5 (5-5)"]
    assert row(text, "error-driven")[5:] == ["100.0 (100.0-100.0)", "12 of 12", "0.09 (0.09-0.09)"]
    assert row(text, "untrained") == ["-", "-", "-", "-", "-", "1.0 (1.0-1.0)", "0 of 12", "-"]
    assert row(text, "olive lesioned")[2:5] == ["0 of 2", "0 of 2", "-"]
    assert "±4, 5, 6° from upright; training trials begin within 2.9°" in text


def test_the_figures_are_drawn():
    drawn = figures(Results(invented((0, 1))))
    assert {*drawn} == {"pole-learning", "pole-path-error-driven", "pole-path-actor-critic"}
    assert all(svg(figure) for figure in drawn.values())
