"""Studies side by side: the same bytes as one after the other, whoever is killed."""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import recorded_epochs
from recorded_epochs import assert_no_epoch_was_learned_again
from toy_study import assert_equal, assert_kept, command, results_of, study

from minicereb.errors import MinicerebError, RunError
from minicereb.experiments import executors
from minicereb.experiments.executors import TRIES, WorkerPool, dask, processes
from minicereb.experiments.jobs import survey


def test_worker_processes_leave_the_same_bytes_and_what_is_done_is_not_done_again(small, whole, tmp_path):
    steps = list(study(small, tmp_path, processes(2)))
    assert max(step.doing for step in steps if step.doing.endswith("running")) == "2 jobs running"
    assert_equal(tmp_path, whole)
    written = results_of(tmp_path)
    assert [step.doing for step in study(small, tmp_path, processes(2))] == []
    assert_kept(tmp_path, written)


def test_any_executor_will_do(small, whole, tmp_path):
    list(study(small, tmp_path, WorkerPool(lambda: ThreadPoolExecutor(3), workers=3, share=3)))
    assert_equal(tmp_path, whole)


# -- killed ------------------------------------------------------------------------------------------------------------------

KILLS = 10  # in each test, in as many studies as it takes: a fast machine is through with one before all have fallen


@pytest.fixture
def log(tmp_path, monkeypatch):
    """Where every process notes the epochs that have been trained."""
    monkeypatch.setenv(recorded_epochs.LOG, str(tmp_path / "epochs"))
    return tmp_path / "epochs"


def folders(tmp_path):
    """Folders for one study after the other, none beside another."""
    return (tmp_path / str(number) / "study" for number in itertools.count())


def running(out):
    try:
        return survey(out, "toy").running
    except MinicerebError:  # not begun
        return []


def worker_of(notice):
    return int(notice["worker"].split()[-1])


def wait_until(condition, seconds=120):
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
def test_the_study_killed_at_random_moments_goes_on_and_its_workers_do_not_outlive_it(small, whole, tmp_path, log):
    rng, killed = random.Random(0), 0
    for out in folders(tmp_path):
        written, ended = {}, None
        while ended != 0:
            process = command(small, out, 2)
            wait_until(lambda: running(out) or process.poll() is not None)  # noqa: B023
            workers = [worker_of(notice) for notice in running(out)]
            if killed < KILLS:
                time.sleep(rng.uniform(0, 0.5))
                process.kill()
            said = process.communicate()
            ended = process.returncode
            assert ended in (0, -signal.SIGKILL), said
            killed += ended != 0
            wait_until(lambda: not any(map(alive, workers)))  # noqa: B023
            assert_kept(out, written)
            written = results_of(out)
        assert_equal(out, whole)
        assert_no_epoch_was_learned_again(log)
        if killed == KILLS:
            break


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no kill -9")
def test_a_worker_process_killed_at_random_moments_costs_its_job_alone(small, whole, tmp_path, log):
    rng, killed = random.Random(1), 0
    for out in folders(tmp_path):
        written, dead, lost = {}, set(), Counter()
        for step in study(small, out, recorded_epochs.processes(2)):
            assert_kept(out, written)
            what, _, rest = step.doing.partition(": ")
            lost[rest.rpartition(": ")[0]] += what == "again"
            if killed < KILLS and lost.total() == len(dead):
                victims = [notice for notice in running(out) if lost[notice["job"]] < TRIES - 2]
                time.sleep(rng.uniform(0, 0.2))
                written = results_of(out)
                pid = worker_of(rng.choice(victims)) if victims else None
                if pid is not None and pid not in dead:
                    os.kill(pid, signal.SIGKILL)
                    killed += 1
                    dead.add(pid)
        assert_kept(out, written)
        assert_equal(out, whole)
        assert_no_epoch_was_learned_again(log)
        if killed == KILLS:
            break


@pytest.fixture
def cluster(tmp_path, log):
    """A scheduler as the documentation starts it: its address, and what starts a worker."""
    pytest.importorskip("distributed", reason="Dask distributed is not installed (extra cluster)")
    file, started = tmp_path / "scheduler.json", []
    where = {"cwd": tmp_path, "env": os.environ | {"PYTHONPATH": str(Path(recorded_epochs.__file__).parent)}}

    def start(*arguments):
        command = [sys.executable, "-m", "dask", *arguments, "--scheduler-file", str(file), "--no-dashboard"]
        started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **where))
        return started[-1]

    try:
        start("scheduler", "--host", "127.0.0.1", "--port", "0")
        wait_until(file.exists)
        address = json.loads(file.read_text())["address"]
        yield address, lambda: start("worker", "--nthreads", "1", "--no-nanny", "--preload", "recorded_epochs")
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
def test_dask_workers_leave_the_same_bytes_and_they_may_be_killed_at_random_moments(small, whole, tmp_path, log, cluster):
    (address, start), rng = cluster, random.Random(2)
    workers, killed = [start(), start(), start()], Counter()
    for out in folders(tmp_path):
        wait_until(lambda: has_workers(address, 3))  # also for those that came for the ones killed in the folder before
        with dask(address) as crew:
            assert crew.share == crew.workers
            written = {}
            for _ in study(small, out, crew):
                assert_kept(out, written)
                victims = [notice for notice in running(out) if killed[notice["job"], out] < TRIES - 2]
                if killed.total() < KILLS and victims:
                    time.sleep(rng.uniform(0, 0.2))
                    written, victim = results_of(out), rng.choice(victims)
                    for process in [process for process in workers if process.pid == worker_of(victim)]:
                        process.kill()
                        process.wait()
                        workers.remove(process)
                        workers.append(start())
                        killed[victim["job"], out] += 1
        assert_kept(out, written)
        assert_equal(out, whole)
        assert_no_epoch_was_learned_again(log)
        if killed.total() == KILLS:
            break


def test_a_scheduler_that_is_not_there_is_told_in_one_line(monkeypatch):
    pytest.importorskip("distributed", reason="Dask distributed is not installed (extra cluster)")
    monkeypatch.setattr(executors, "SECONDS_TO_ANSWER", 0.5)
    with pytest.raises(RunError, match="nothing answers at tcp://127.0.0.1:9; start it"), dask("tcp://127.0.0.1:9"):
        pass


def test_closed_a_study_stops_its_workers_and_goes_on_where_they_were(small, whole, tmp_path):
    progress = study(small, tmp_path, processes(2))
    next(step for step in progress if any("epoch" in notice["doing"] for notice in running(tmp_path)) or results_of(tmp_path))
    progress.close()  # two jobs at most have been handed out beside those that are done: it cannot be complete
    assert running(tmp_path) == []
    written = results_of(tmp_path)
    assert written.keys() < results_of(whole).keys() | written.keys()
    list(study(small, tmp_path))
    assert_kept(tmp_path, written)
    assert_equal(tmp_path, whole)
