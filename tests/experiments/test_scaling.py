"""Studies side by side: the same bytes as one after the other, whoever is killed; failures told when the others are done."""

import dataclasses
import inspect
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress

import numpy as np
import pytest

from minicereb import datasets
from minicereb.attacks.settings import Attack
from minicereb.errors import MinicerebError, RunError
from minicereb.experiments import jobs, scaling
from minicereb.experiments.configs import AttackedModel, CerebellumModel, Data, Train
from minicereb.experiments.estimate import estimates
from minicereb.experiments.jobs import NotDone, do_job, is_done, jobs_of
from minicereb.experiments.laboratory import Laboratory
from minicereb.experiments.runs import read_run
from minicereb.experiments.scaling import Crew, dask, processes
from minicereb.experiments.status import survey, surveys
from minicereb.experiments.studies.study import Study, carry_out
from minicereb.files import file_lock, is_locked

ATTACKS = (Attack("fgsm", "mse", 0.1), Attack("pgd", "margin", 0.1, steps=5))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Data that every process finds: a file."""
    drawn = datasets.load("strokes", train=400, test=60)
    images = {split: getattr(drawn, split).reshape(-1, 28, 28) for split in ("x_train", "x_test")}
    path = tmp_path_factory.mktemp("data") / "small.npz"
    np.savez(path, **images, y_train=drawn.y_train, y_test=drawn.y_test)
    return datasets.load(str(path))


def plan(data, scale, seeds):
    trains = [Train(CerebellumModel("random", 1000, 4), data, 5, 12, 0.5 / 1000, seed=seed) for seed in range(4)]
    return [AttackedModel(train, attack, 30) for train in trains for attack in ATTACKS]


def table(results):
    return "\n".join(f"| {record['test_accuracy']} | {record['robust_accuracy']} |" for _, record in results)


TOY = Study("toy", "Do they agree?", {"smoke": "strokes"}, plan, table)


def study(dataset, out, crew=None, study=TOY):
    return carry_out(study, "smoke", (0,), dataset, out, crew)


@pytest.fixture(scope="module")
def whole(small, tmp_path_factory):
    """What comes of the study when nothing happens to it."""
    out = tmp_path_factory.mktemp("whole")
    assert [step.done for step in study(small, out)][-1] == 12
    return out


def assert_equal(out, whole):
    for pattern in ("table.md", "runs/*/model.npz", "runs/*/metrics.jsonl"):
        found = sorted(whole.glob(pattern))
        assert found
        for path in found:
            assert (out / path.relative_to(whole)).read_bytes() == path.read_bytes()
    assert len(list(out.glob("runs/*/attacks/*.json"))) == 8
    assert not list(out.glob("jobs/wanted-*"))


def results_of(out):
    """When each result was written: it stays so if nothing is done twice."""
    runs = [run for run in out.glob("runs/*") if (run / "manifest.json").exists() and read_run(run).result]
    paths = [path for run in runs for path in (run / "model.npz", *run.glob("attacks/*.json"))]
    return {path: path.stat().st_mtime_ns for path in paths}


def assert_kept(out, written):
    assert written.items() <= results_of(out).items()


def test_worker_processes_leave_the_same_bytes_and_what_is_done_is_not_done_again(small, whole, tmp_path):
    steps = list(study(small, tmp_path, processes(2)))
    assert max(step.doing for step in steps if step.doing.endswith("running")) == "2 jobs running"
    assert_equal(tmp_path, whole)
    written = results_of(tmp_path)
    assert [step.doing for step in study(small, tmp_path, processes(2))] == []
    assert_kept(tmp_path, written)


def test_any_executor_will_do(small, whole, tmp_path):
    list(study(small, tmp_path, Crew(lambda: ThreadPoolExecutor(3), workers=3, share=3)))
    assert_equal(tmp_path, whole)


def test_jobs_come_after_what_they_stand_on_and_once(small):
    ordered = list(jobs_of(plan("data", "smoke", (0,))))
    assert len(ordered) == 12
    assert all(ordered.index(job.train) < ordered.index(job) for job in ordered if isinstance(job, AttackedModel))


# -- killed ------------------------------------------------------------------------------------------------------------------


def running(out):
    try:
        return survey(out, "toy").running
    except MinicerebError:  # not begun
        return []


def command(small, out, workers):
    code = """
        from pathlib import Path
        from minicereb import datasets
        from minicereb.attacks.settings import Attack
        from minicereb.experiments.configs import AttackedModel, CerebellumModel, Train
        from minicereb.experiments.scaling import processes
        from minicereb.experiments.studies.study import Study, carry_out
        ATTACKS = (Attack("fgsm", "mse", 0.1), Attack("pgd", "margin", 0.1, steps=5))
    """
    code = textwrap.dedent(code) + inspect.getsource(plan) + inspect.getsource(table)
    code += 'toy = Study("toy", "Do they agree?", {"smoke": "strokes"}, plan, table)\n'
    crew = f"processes({workers})" if workers else "None"
    code += f"steps = carry_out(toy, 'smoke', (0,), datasets.load({small.name!r}), Path({str(out)!r}), {crew})\n"
    code += "for step in steps: print(step.doing, flush=True)\n"
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_until(condition, seconds=60):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no kill -9")
def test_the_study_killed_at_random_moments_goes_on_and_its_workers_do_not_outlive_it(small, whole, tmp_path):
    rng = random.Random(0)
    for _ in range(3):
        process = command(small, tmp_path, 2)
        wait_until(lambda: running(tmp_path) or process.poll() is not None)  # noqa: B023
        workers = [int(notice["worker"].split()[-1]) for notice in running(tmp_path)]
        time.sleep(rng.uniform(0, 0.5))
        process.kill()
        process.communicate()
        wait_until(lambda: not any(map(alive, workers)))  # noqa: B023
        written = results_of(tmp_path)
    list(study(small, tmp_path, processes(1)))
    assert_kept(tmp_path, written)
    assert_equal(tmp_path, whole)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no kill -9")
def test_a_worker_process_killed_at_random_moments_costs_its_job_alone(small, whole, tmp_path):
    rng, again, written = random.Random(1), 0, {}
    progress, killed = study(small, tmp_path, processes(2)), 0
    for step in progress:
        assert_kept(tmp_path, written)
        again += step.doing.startswith("again")
        if killed < 3 and again == killed and (victims := running(tmp_path)):
            time.sleep(rng.uniform(0, 0.2))
            written = results_of(tmp_path)
            with suppress(ProcessLookupError):  # of the notice of a worker that was killed before
                os.kill(int(rng.choice(victims)["worker"].split()[-1]), signal.SIGKILL)
                killed += 1
    assert 1 <= again <= killed == 3
    assert_equal(tmp_path, whole)


@pytest.fixture
def cluster(tmp_path):
    """A scheduler and two workers as the documentation starts them: its address and the workers' processes."""
    pytest.importorskip("distributed", reason="Dask distributed is not installed (extra cluster)")
    file, started = tmp_path / "scheduler.json", []

    def start(*arguments):
        command = [sys.executable, "-m", "dask", *arguments, "--scheduler-file", str(file)]
        started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path))

    try:
        start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        wait_until(file.exists)
        for _ in range(2):
            start("worker", "--nthreads", "1", "--no-nanny", "--no-dashboard")
        address = json.loads(file.read_text())["address"]
        wait_until(lambda: has_workers(address, 2))
        yield address, started[1:]
    finally:
        for process in started:
            process.kill()
            process.wait()


def has_workers(address, number):
    try:
        with dask(address) as crew:
            return crew.workers >= number
    except RunError:
        return False


@pytest.mark.filterwarnings("default")
def test_dask_workers_leave_the_same_bytes_and_one_may_be_killed(small, whole, tmp_path, cluster):
    address, workers = cluster
    killed = None
    with dask(address) as crew:
        assert (crew.workers, crew.share) == (2, 2)
        for _ in study(small, tmp_path / "study", crew):
            written = results_of(tmp_path / "study")
            if killed is None and len(written) >= 2 and len(running(tmp_path / "study")) == 2:
                killed, kept = workers[0], written
                killed.kill()
    assert killed is not None
    assert_kept(tmp_path / "study", kept)
    assert_equal(tmp_path / "study", whole)


def test_a_scheduler_that_is_not_there_is_told_in_one_line(monkeypatch):
    pytest.importorskip("distributed", reason="Dask distributed is not installed (extra cluster)")
    monkeypatch.setattr(scaling, "SECONDS_TO_ANSWER", 0.5)
    with pytest.raises(RunError, match="nothing answers at tcp://127.0.0.1:9; start it"), dask("tcp://127.0.0.1:9"):
        pass


def test_closed_a_study_leaves_checkpoints_behind_and_goes_on_from_them(small, whole, tmp_path):
    progress = study(small, tmp_path, processes(2))
    next(step for step in progress if any("epoch" in notice["doing"] for notice in running(tmp_path)) or results_of(tmp_path))
    wait_until(lambda: running(tmp_path))
    progress.close()
    assert running(tmp_path) == []
    assert results_of(tmp_path).keys() < results_of(whole).keys() | results_of(tmp_path).keys()
    list(study(small, tmp_path))
    assert_equal(tmp_path, whole)


# -- failing -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("crew", [None, processes(2)], ids=["one after another", "processes"])
def test_what_fails_is_told_at_the_end_with_what_stands_on_it_while_the_others_finish(crew, small, whole, tmp_path):
    def with_one_impossible(data, scale, seeds):
        possible = plan(data, scale, seeds)
        impossible = dataclasses.replace(possible[0].train, model=CerebellumModel("random", 100, 785))
        return [AttackedModel(impossible, ATTACKS[0], 30), *possible]

    toy = dataclasses.replace(TOY, plan=with_one_impossible)
    with pytest.raises(NotDone) as told:
        list(study(small, tmp_path, crew, toy))
    assert len(told.value.reasons) == 2
    assert "2 of 14 jobs were not done" in str(told.value)
    assert "inputs-per-cell: 785" in str(told.value)
    assert "stands on what was not done: training random k=785" in str(told.value)
    assert not (tmp_path / "study.json").exists()
    assert len(survey(tmp_path, "toy").failed) == 1
    list(study(small, tmp_path))
    assert_equal(tmp_path, whole)


def test_a_job_whose_workers_are_lost_again_and_again_is_given_up(small, tmp_path):
    class Doomed(Executor):
        def submit(self, function, order):
            future = Future()
            future.set_exception(BrokenProcessPool("gone"))
            return future

    steps = []
    with pytest.raises(NotDone, match="its worker was lost"):
        steps.extend(study(small, tmp_path, Crew(Doomed, 1, 1, 1)))
    assert sum(step.doing.startswith("again: ") for step in steps) == 4 * 3


def test_an_error_in_the_program_is_told_with_its_place(small, tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "carry_out_experiment", lambda config, laboratory: iter([1 / 0]))
    with pytest.raises(NotDone, match=r"ZeroDivisionError: division by zero \(test_scaling.py, line \d+\)"):
        list(study(small, tmp_path))


def test_a_disk_that_fills_is_told_and_no_run_is_damaged(small, whole, tmp_path, monkeypatch):
    import errno

    calls, sync = itertools.count(), os.fsync

    def full(descriptor):
        if next(calls) > 40:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(NotDone, match="no space left on the device"):
            list(study(small, tmp_path))
    written = results_of(tmp_path)
    assert written
    list(study(small, tmp_path))
    assert_kept(tmp_path, written)
    assert_equal(tmp_path, whole)


def test_a_folder_that_cannot_be_written_is_told(small, tmp_path):
    (tmp_path / "jobs").touch()
    with pytest.raises(MinicerebError, match="cannot write .*jobs/study-toy.json"):
        list(study(small, tmp_path))


def test_a_worker_that_does_not_see_the_folder_or_has_other_data_says_so(small, tmp_path):
    order = scaling.Order(plan("data", "", ())[0].train, small.name, "0" * 64, tmp_path, tmp_path / "no", 1, "cpu", 1, 1 << 26)
    assert "does not see the study's folder" in scaling.work(order)
    assert "has other data under the name" in scaling.work(dataclasses.replace(order, mark=tmp_path))


# -- together ----------------------------------------------------------------------------------------------------------------


def test_a_job_that_another_process_is_doing_is_waited_for(small, tmp_path):
    laboratory = Laboratory(small, tmp_path)
    train = dataclasses.replace(plan(None, "", ())[0].train, data=Data(small.name, small.sha256), epochs=1)
    steps = do_job(train, laboratory)
    lock = jobs.notice_path(tmp_path, jobs.config_hash(train)[:16]).with_suffix(".lock")
    with file_lock(lock, "it"):
        assert is_locked(lock)
        assert next(steps).startswith("waiting: training")
    list(steps)
    assert is_done(train, laboratory)
    assert not is_locked(lock)


def test_two_studies_in_one_folder_at_once_share_the_work(small, whole, tmp_path):
    both = [command(small, tmp_path, workers) for workers in (0, 0)]
    said = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert_equal(tmp_path, whole)
    trained = [line for out, _ in said for line in out.splitlines() if "epoch 12.00 of 12" in line]
    assert len(trained) == 4


def test_status_tells_running_from_stopped_and_guesses_the_time_left(small, tmp_path):
    with pytest.raises(RunError, match="is not the folder of a study"):
        surveys(tmp_path)
    progress = study(small, tmp_path)
    for step in progress:
        if step.done == 3 and "epoch" in step.doing:
            break
    (stand,) = surveys(tmp_path)
    assert (stand.done, stand.total, len(stand.running), stand.failed) == (3, 12, 1, [])
    assert stand.running[0]["worker"].endswith(f" {os.getpid()}")
    assert 0 < stand.seconds_left < 60
    progress.close()
    assert survey(tmp_path, "toy").running == []


def test_a_dry_run_names_every_job_and_writes_nothing(small, tmp_path):
    jobs = jobs_of(plan(Data(small.name, small.sha256), "smoke", (0,)))
    expected = list(estimates(jobs, Laboratory(small, tmp_path)))
    assert [each.job for each in expected] == list(jobs)
    assert all(0 < each.seconds < 60 and not each.done for each in expected)
    assert list(tmp_path.iterdir()) == []
    seconds = {each.job.attack: each.seconds for each in expected if isinstance(each.job, AttackedModel)}
    assert seconds[ATTACKS[1]] > seconds[ATTACKS[0]]
    list(study(small, tmp_path))
    assert {(each.done, each.seconds) for each in estimates(jobs, Laboratory(small, tmp_path))} == {(True, 0.0)}
