"""Jobs: their order, what fails and what is full, what another process is doing, how a study stands and what it would cost."""

import dataclasses
import itertools
import os
import pickle
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import pytest
from toy_study import ATTACKS, TOY, assert_equal, assert_kept, command, plan, results_of, study

from minicereb.errors import MinicerebError, RunError
from minicereb.experiments import executors, jobs
from minicereb.experiments.architectures import CerebellumModel
from minicereb.experiments.configs import Data
from minicereb.experiments.costs import estimates
from minicereb.experiments.executors import WorkerPool, processes
from minicereb.experiments.jobs import NotDone, do_job, jobs_of, survey, surveys
from minicereb.experiments.kinds.attacked import AttackedModel
from minicereb.experiments.laboratory import Laboratory
from minicereb.files import file_lock, is_locked


def test_jobs_come_after_what_they_stand_on_and_once():
    ordered = list(jobs_of(plan(Data("data", "0" * 64), "smoke", (0,))))
    assert len(ordered) == 12
    assert all(ordered.index(job.train) < ordered.index(job) for job in ordered if isinstance(job, AttackedModel))


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
    assert str(pickle.loads(pickle.dumps(told.value))) == str(told.value)  # noqa: S301  (it may come from another process)
    assert "2 of 14 jobs were not done" in str(told.value)
    assert "inputs-per-cell: 785" in str(told.value)
    assert "depends on a job that was not done: training random k=785" in str(told.value)
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
        steps.extend(study(small, tmp_path, WorkerPool(Doomed, 1, 1, 1)))
    assert sum(step.doing.startswith("again: ") for step in steps) == 4 * 3


def test_an_error_in_the_program_is_told_with_its_place(small, tmp_path, monkeypatch):
    monkeypatch.setattr(Laboratory, "run_experiment", lambda laboratory, config: iter([1 / 0]))
    with pytest.raises(NotDone, match=r"ZeroDivisionError: division by zero \(test_jobs.py, line \d+\)"):
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
    order = executors.JobRequest(
        plan(Data("data", "0" * 64), "", ())[0].train, small.name, "0" * 64, tmp_path, tmp_path / "no", 1, "cpu", 1, 1 << 26
    )
    assert "does not see the study's folder" in executors.work(order)
    assert "under the name" in executors.work(dataclasses.replace(order, mark=tmp_path))


# -- together ----------------------------------------------------------------------------------------------------------------


def test_a_job_that_another_process_is_doing_is_waited_for(small, tmp_path):
    laboratory = Laboratory(small, tmp_path)
    train = dataclasses.replace(plan(Data("data", "0" * 64), "", ())[0].train, data=Data(small.name, small.sha256), epochs=1)
    steps = do_job(train, laboratory)
    lock = jobs.notice_path(tmp_path, jobs.config_hash(train)[:16]).with_suffix(".lock")
    with file_lock(lock, "it"):
        assert is_locked(lock)
        assert next(steps).startswith("waiting: training")
    list(steps)
    assert laboratory.is_done(train)
    assert not is_locked(lock)


def test_two_studies_in_one_folder_at_once_share_the_work(small, whole, tmp_path):
    both = [command(small, tmp_path, workers) for workers in (0, 0)]
    with ThreadPoolExecutor(2) as pool:  # both are read at once: one that cannot print would not let go of its lock
        said = list(pool.map(lambda process: process.communicate(timeout=120), both))
    assert [process.returncode for process in both] == [0, 0], said
    assert_equal(tmp_path, whole)
    trained = [line for out, _ in said for line in out.splitlines() if "epoch 12.00 of 12" in line]
    assert len(trained) == 4


def test_status_tells_running_from_stopped_and_guesses_the_time_left(small, tmp_path, monkeypatch):
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
    later = time.time() + 1_000
    monkeypatch.setattr(time, "time", lambda: later)
    (still,) = surveys(tmp_path)  # it has said nothing since
    assert still.running[0]["seconds"] - stand.running[0]["seconds"] > 900
    progress.close()
    assert survey(tmp_path, "toy").running == []


def test_a_dry_run_names_every_job_and_writes_nothing(small, tmp_path, monkeypatch):
    jobs = jobs_of(plan(Data(small.name, small.sha256), "smoke", (0,)))
    expected = list(estimates(jobs, Laboratory(small, tmp_path)))
    assert [each.job for each in expected] == list(jobs)
    assert all(0 < each.seconds < 60 and not each.done for each in expected)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr("minicereb.experiments.costs.Probes.attack", lambda *asked: (0.25, 0.5))  # before the steps, per step
    seconds = {
        each.job.attack: (each.seconds, each.job.images)
        for each in estimates(jobs, Laboratory(small, tmp_path))
        if isinstance(each.job, AttackedModel)
    }
    assert {attack: spent / images for attack, (spent, images) in seconds.items()} == {ATTACKS[0]: 0.75, ATTACKS[1]: 2.75}
    list(study(small, tmp_path))
    assert {(each.done, each.seconds) for each in estimates(jobs, Laboratory(small, tmp_path))} == {(True, 0.0)}


def test_a_notice_that_a_failing_machine_left_empty_is_as_if_it_were_not_there(small, tmp_path):
    list(study(small, tmp_path))
    for notice in tmp_path.glob("jobs/[0-9a-f]*.json"):
        notice.write_bytes(b"")
    assert survey(tmp_path, "toy").done == 0
    list(study(small, tmp_path))
    assert survey(tmp_path, "toy").done == 12
