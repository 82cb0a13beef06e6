"""Measurements of first calls: in a new process, the first call waits until Numba is imported and the loops are compiled."""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from minicereb.attacks.run import attack_images
from minicereb.attacks.settings import Attack
from minicereb.bench import loops, noisy_passes, vgg
from minicereb.bench.memory import in_fresh_process
from minicereb.bench.timing import Benchmark
from minicereb.compiled import machine_code
from minicereb.models.cerebellum import initial_cerebellum
from minicereb.models.wiring import draw_wiring
from minicereb.tasks.pole_balancing import PoleBalancer

Work = Callable[[], object]
QUERIES = 100  # of Square; so few that the call mostly waits for the compiler


@dataclass(frozen=True)
class FirstCall:
    """Seconds that some work takes in the first and second call in a new process, and in the first call in a later process.

    `loops` is the number of compiled loops that the work uses. In the later process their machine code is read from disk.
    """

    name: str
    first: float
    kept: float
    second: float
    loops: int


def _of(benchmarks: Callable[[bool], Iterator[Benchmark]], number: int) -> Work:
    return next(itertools.islice(benchmarks(False), number, None)).ours


def _square(number: int) -> Work:
    kind, cells, per_cell, count = loops.SQUARE_SIZES[number]
    model = initial_cerebellum(draw_wiring(kind, cells, (loops.INPUTS,), per_cell, seed=0), loops.CLASSES, seed=0)
    images, _ = loops.images_like_mnist(count)
    attack, ids = Attack("square", "margin", loops.SQUARE_EPSILON, steps=QUERIES), np.arange(count, dtype=np.int64)
    # Without right labels, which would take a forward pass, all images are attacked.
    labels = np.zeros(count, dtype=np.int64)
    return lambda: list(attack_images(model, attack, images, labels, ids, image_shape=(28, 28), include_misclassified=True))


def _pole() -> Work:
    return lambda: next(PoleBalancer(loops.POLE).learn(1))  # its construction computes the activity of a state


def _vgg() -> Work:
    return vgg.ours_of(*vgg.network_of(vgg.FULL))


WORKS: dict[str, Callable[[], Work]] = {
    "learning step": partial(_of, loops.cerebellum, 0),
    "pessimistic step": partial(_of, loops.cerebellum, 1),
    "PGD step": partial(_of, loops.cerebellum, 2),
    f"Square, {QUERIES} queries, sparse wiring": partial(_square, 0),
    f"Square, {QUERIES} queries, full wiring": partial(_square, 1),
    "GLR iteration, threshold": partial(_of, noisy_passes.glr, 0),
    "GLR iteration, sigmoid": partial(_of, noisy_passes.glr, 1),
    "GLR by flips, convolutional": partial(_of, noisy_passes.glr, 2),
    "GLR by redrawn noise, convolutional": partial(_of, noisy_passes.glr, 3),
    "GLR by scores, convolutional": partial(_of, noisy_passes.glr, 4),
    "GLR by flips, spiking": partial(_of, noisy_passes.glr, 5),
    "VGG-11 forward and back": _vgg,
    "session of eyelid conditioning": partial(_of, loops.eyelid, 0),
    "first trial of pole balancing": _pole,
}


def measure(name: str, folder: str) -> tuple[float, float, int]:
    """Return the seconds of the first and the second call in this process, which must be new, and the number of compiled loops.

    Parameters
    ----------
    name : str
        Name of the work in :data:`WORKS`.
    folder : str
        Folder in which Numba keeps the machine code.
    """
    os.environ["NUMBA_CACHE_DIR"] = folder
    work = WORKS[name]()
    if "numba" in sys.modules:
        raise RuntimeError(f"the preparation of {name} imported Numba, so that a part of the wait would not be measured")
    return _seconds(work), _seconds(work), machine_code.cache_info().currsize


def _seconds(work: Work) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def run_first_calls() -> Iterator[FirstCall]:
    """Measure each piece of work in two successive processes: the second finds the machine code that the first has stored."""
    for name in WORKS:
        with tempfile.TemporaryDirectory() as folder:
            first, second, count = in_fresh_process(measure, name, folder)
            kept, _, _ = in_fresh_process(measure, name, folder)
        yield FirstCall(name, first, kept, second, count)
