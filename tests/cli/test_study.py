"""``minicereb study``: workers, status from another shell, dry runs, failures reported at the end, Ctrl-C."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from commands import document, invoke, succeed

from minicereb import datasets
from minicereb.cli import study as command
from minicereb.cli.output import Status, clock
from minicereb.experiments.architectures import CerebellumModel
from minicereb.experiments.kinds.attacked import AttackedModel
from minicereb.studies import study_named


@pytest.fixture(autouse=True)
def _small_data(_in_an_empty_folder):
    drawn = datasets.load("strokes", train=200, test=60)
    images = {split: getattr(drawn, split).reshape(-1, 28, 28) for split in ("x_train", "x_test")}
    np.savez("small.npz", **images, y_train=drawn.y_train, y_test=drawn.y_test)


OBJECTIVES = ("study", "objectives", "--dataset", "small.npz", "--out", "study")


def test_with_workers_the_table_is_the_same_and_status_says_done():
    alone = succeed(*OBJECTIVES)
    spread = succeed(*OBJECTIVES[:-1], "elsewhere/spread", "--workers", "2")
    assert spread.stdout == alone.stdout
    assert len([line for line in spread.stderr.splitlines() if "done: " in line]) == 56
    assert succeed("study", "status", "elsewhere/spread").stdout == "objectives smoke: 56 of 56 jobs done, 0 running\n"
    (stand,) = document("study", "status", "elsewhere/spread")["studies"]
    assert (stand["done"], stand["total"], stand["seconds_left"]) == (56, 56, 0)
    assert succeed(*OBJECTIVES, "--json").stderr == ""


def test_a_seed_given_twice_is_one_seed(tmp_path):
    once = succeed("study", "isi", "--seed", "3", "--out", "once")
    twice = succeed("study", "isi", "--seed", "3", "--seed", "3", "--out", "twice")
    assert twice.stdout.replace("twice", "once") == once.stdout
    assert json.loads((tmp_path / "twice" / "study.json").read_text())["seeds"] == [3]


@pytest.mark.parametrize("address", ["foo", "tcp:/there", "127.0.0.1:8786", ""])
def test_an_address_that_is_none_is_told_in_one_line(address):
    result = invoke(*OBJECTIVES, "--scheduler", address)
    assert result.exit_code == 2
    assert "such as tcp://host:8786" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_dry_run_lists_jobs_and_costs_and_does_nothing(tmp_path):
    said = succeed(*OBJECTIVES, "--dry-run", "--workers", "2").stdout
    assert "56 of 56 jobs to do" in said
    assert "training full, 300 cells, LTD, batch 1, seed 0" in said
    report = document(*OBJECTIVES, "--dry-run")
    assert len(report["jobs"]) == 56
    assert min(report["seconds"], report["memory"], report["disk"]) > 0
    assert [path.name for path in tmp_path.iterdir()] == ["small.npz"]


def test_failures_are_told_at_the_end_with_exit_code_2(monkeypatch):
    objectives = study_named("objectives")

    def plan(data, scale, seeds):
        first = objectives.plan(data, scale, seeds)[0]
        impossible = dataclasses.replace(first.train, model=CerebellumModel("random", 100, 785))
        return [AttackedModel(impossible, first.attack, 30), first]

    monkeypatch.setattr(command, "all_studies", lambda: {"objectives": dataclasses.replace(objectives, plan=plan)})
    result = invoke(*OBJECTIVES)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "4/4" not in result.stderr
    assert "2/4  done: AttackedModel of full" in result.stderr
    assert "2 of 4 jobs were not done" in result.stderr
    assert "inputs-per-cell: 785" in result.stderr
    assert "failed: training random k=785" in succeed("study", "status", "study").stdout


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_ctrl_c_stops_the_workers_and_the_same_command_goes_on(tmp_path):
    code = "from minicereb.cli.main import main; main()"
    arguments = [sys.executable, "-c", code, *OBJECTIVES, "--workers", "2"]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    until = time.monotonic() + 60
    while not list(tmp_path.glob("study/runs/*/model.npz")) and time.monotonic() < until:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
    out, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert out == ""
    assert error.splitlines()[-1].startswith("interrupted; study holds the work so far")
    assert "Traceback" not in error
    assert 0 < document("study", "status", "study")["studies"][0]["done"] < 56
    succeed(*OBJECTIVES)


def test_lines_on_a_terminal_are_written_over(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    lines = Status(every=1)
    assert lines.due()
    lines.update("one", "x" * 1000)
    assert not lines.due()
    lines.close()
    written = capsys.readouterr().err
    assert written.startswith("one\n")
    assert written.endswith("\x1b[1F\x1b[J")
    assert max(map(len, written.splitlines())) < 1000
    assert [clock(seconds) for seconds in (5, 83, 3_725)] == ["0:05", "1:23", "1:02:05"]
