"""``minicereb task pole``: what it prints and writes, and the errors it tells in one line."""

import json

import pytest
from commands import invoke

from minicereb.bench import loops
from minicereb.tasks.pole_balancing import PoleTask

POLE = ("task", "pole", "--cells", "300", "--seconds", "2", "--trials", "5")


def test_it_prints_trials_and_tests_and_writes_weights_figures_and_a_film(tmp_path):
    result = invoke(*POLE[:-1], "1", "--out", "balanced", "--animate", "film.gif")
    assert result.exit_code == 0, result.output
    assert "error, 300 cells, 1 trials, seed 0" in result.stdout
    assert "-6°" in result.stdout
    assert (tmp_path / "film.gif").read_bytes().startswith(b"GIF89a")
    for name in ("circuit.npz", "result.json", "pole-path.png", "pole-path.svg", "pole-learning.png"):
        assert (tmp_path / "balanced" / name).exists()
    again = invoke(*POLE[:-1], "1", "--out", "balanced", "--json")
    assert (
        json.loads(again.stdout)["seconds"]
        == json.loads((tmp_path / "balanced" / "result.json").read_text())["record"]["seconds"]
    )


@pytest.mark.parametrize("method", ["error", "actor-critic"])
def test_json_has_the_stable_keys_and_equal_seeds_give_equal_documents(method):
    one, again = (invoke(*POLE, "--method", method, "--seed", "3", "--json").stdout for _ in range(2))
    assert one == again
    assert list(json.loads(one)) == ["seconds", "errors", "succeeded", "learned", "tests", "files"]


def test_untrained_and_without_trials_it_is_only_tested():
    result = invoke(*POLE[:-1], "0")
    assert result.exit_code == 0
    assert "nothing was learned" in result.stdout


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--lesion", "cortex"), "'cortex' is not one of 'none', 'olive', 'granule', 'left', 'right'"),
        (("--step", "0.5"), "step: 0.5 is not valid; expected at most 0.05"),
        (("--trials", "-1"), "trials: -1"),
        (("--cells", "-10"), "cells: -10"),
        (("--seconds", "-2"), "seconds: -2.0"),
        (("--seed", "-1"), "seed: -1"),
        (("--rate", "-0.1"), "rate: -0.1"),
        (("--method", "actor-critic", "--rate", "1"), "rate: 1.0"),
        (("--animate", "film.mp4"), "animate: 'film.mp4'"),
        (("--animate", f"{'n' * 252}.gif"), "file name too long"),
    ],
)
def test_a_mistake_is_told_in_one_line_and_nothing_is_written(options, told, tmp_path):
    result = invoke(*POLE, "--out", "balanced", *options)
    assert result.exit_code == 2
    assert told in result.stderr
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_benchmark_times_a_trial_that_lasts_to_the_end(monkeypatch):
    monkeypatch.setattr(loops, "POLE", PoleTask(cells=300, seconds=2.0))
    result = invoke("bench", "--only", "pole", "--json")
    assert result.exit_code == 0, result.output
    learning, acting = json.loads(result.stdout)["rows"]
    assert learning["name"] == "pole trial of 2 s, 300 cells, k = 4, learning"
    assert acting["name"] == "pole trial of 2 s, 300 cells, k = 4, nothing learned"
    assert all(row["seconds"] > 0 and row["floor_seconds"] > 0 and row["peer"] is None for row in (learning, acting))


def test_the_trial_that_is_timed_comes_out_the_same_each_time():
    balancer, again = loops.successful_trial(PoleTask(cells=300, seconds=2.0))
    lasted, readout = list(balancer.lasted), balancer.circuit.readout.copy()
    again()
    assert balancer.lasted == lasted
    assert (balancer.circuit.readout == readout).all()
    assert balancer.succeeded(lasted[-1])
