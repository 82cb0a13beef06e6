"""Processes that note every epoch trained, so that a test can tell what was computed twice."""

import os
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from multiprocessing import get_context

from minicereb.experiments import executors, laboratory
from minicereb.experiments.runs import run_training

LOG = "MINICEREB_TEST_EPOCHS"  # the environment's name for the file


def training_noted(config, dataset, folder, encoder=None):
    with closing(run_training(config, dataset, folder, encoder)) as training:
        for progress in training:
            if progress.done is not None and LOG in os.environ:
                with open(os.environ[LOG], "a") as file:
                    file.write(f"{folder} {progress.done.epoch}\n")
            yield progress


def dask_setup(worker):
    """Prepare a Dask worker that has this module as ``--preload``."""
    laboratory.run_training = training_noted


def begin_worker():
    executors._begin_worker()
    laboratory.run_training = training_noted


def processes(workers):
    """As :func:`minicereb.experiments.executors.processes`."""
    context = get_context("spawn")
    return executors.WorkerPool(lambda: ProcessPoolExecutor(1, context, begin_worker), workers, workers, workers)


def assert_no_epoch_was_learned_again(log):
    """An epoch is noted when its checkpoint is written: what comes twice was computed twice for nothing."""
    noted = log.read_text().splitlines()
    assert noted
    assert len(noted) == len(set(noted))
