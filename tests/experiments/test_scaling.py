"""Studies side by side: the same bytes as one after the other, whoever is killed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from toy_study import assert_equal, assert_kept, command, results_of, study

from minicereb.errors import MinicerebError, RunError
from minicereb.experiments import scaling
from minicereb.experiments.scaling import Crew, dask, processes
from minicereb.experiments.status import survey


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


# -- killed ------------------------------------------------------------------------------------------------------------------


def running(out):
    try:
        return survey(out, "toy").running
    except MinicerebError:  # not begun
        return []


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
