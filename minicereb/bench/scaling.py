"""Measurements of time and memory as functions of the number of cells, images, replications or worker processes."""

from __future__ import annotations

import itertools
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minicereb import datasets
from minicereb.attacks.run import attack_images
from minicereb.attacks.settings import Attack
from minicereb.backend import available_cores, to_device
from minicereb.bench import loops, noisy_passes
from minicereb.bench.memory import in_fresh_process, peak_since, process_memory
from minicereb.calculus.activations import Activation
from minicereb.calculus.noise import Gaussian
from minicereb.calculus.replicated import CrossEntropy
from minicereb.experiments.executors import processes
from minicereb.learning.estimators import ESTIMATORS
from minicereb.learning.glr import estimate
from minicereb.learning.noise import Address
from minicereb.learning.optimizers import RMSprop
from minicereb.learning.plasticity import DeltaRule
from minicereb.models.cerebellum import CerebellarNetwork, initial_cerebellum
from minicereb.models.noisy import initial_noisy
from minicereb.models.wiring import draw_wiring
from minicereb.report.figures import COLOURS, panels_of
from minicereb.studies import study_named
from minicereb.studies.study import carry_out

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Work = Callable[[], object]
CELLS = (10_000, 50_000, 200_000, 1_000_000, 10_000_000)
IMAGES = (100, 1_000, 10_000)
REPLICATIONS = (100, 1_000, 10_000, 100_000)
SEEDS_OF_STUDY = 4
# least and largest number of timed calls at one size, and the seconds that they should take together
FEWEST, MOST, ENOUGH = 3, 50, 1.0
ATTACKED = Attack("pgd", "margin", 0.1, steps=5)


@dataclass(frozen=True)
class Growth:
    """A quantity that grows: its sizes, and the work whose time and memory are measured at each size.

    `prepare` maps a size to the work. `expected` is the exponent with which the time of an ideal implementation grows.
    """

    quantity: str
    work: str
    sizes: tuple[int, ...]
    prepare: Callable[[int], Work]
    expected: int = 1


@dataclass(frozen=True)
class SizeTiming:
    """The median time of the work at one size, in seconds, and its peak memory in bytes.

    The peak is measured in a new process and does not include the memory that the process has after its imports. For
    workers the peak is the sum over all workers, each counted as large as the largest, and it includes the memory that they
    have after their imports.
    """

    quantity: str
    size: int
    seconds: float
    peak: int | None


def cerebellum(cells: int) -> CerebellarNetwork:
    """Return an untrained cerebellum for images of MNIST's size."""
    return initial_cerebellum(draw_wiring("random", cells, (loops.INPUTS,), loops.PER_CELL, seed=0), loops.CLASSES, seed=0)


def learning_step(cells: int) -> Work:
    """Return a function that takes a step of the delta rule; the model and the optimiser's state count as its memory."""
    rule = DeltaRule(cerebellum(cells), RMSprop(0.5 / cells), loops.BATCH, 0.99)
    images, labels = loops.images_like_mnist(loops.BATCH)
    x, y = to_device(images), to_device(labels)
    return lambda: [None for _ in rule.learn(x, y)]


def attack(images: int) -> Work:
    """Return a function that attacks images by PGD, block by block; only the clean images, as bytes, are in memory together."""
    model, some = cerebellum(loops.FEW_CELLS), (loops.images_like_mnist(100)[0] * 255).astype(np.uint8)
    rows = np.resize(some, (images, loops.INPUTS))
    labels, ids = np.zeros(images, dtype=np.int64), np.arange(images, dtype=np.int64)
    return lambda: [None for _ in attack_images(model, ATTACKED, rows, labels, ids, include_misclassified=True)]


def likelihood_ratio(replications: int) -> Work:
    """Return a function that runs an iteration of the paper's estimator for threshold neurons."""
    noise: dict[str, Any] = {"law": Gaussian(), "scales": (2.0,), "output_noise": True}
    network = initial_noisy(
        noisy_passes.GLR_INPUTS, (noisy_passes.GLR_HIDDEN,), loops.CLASSES, 0, activation=Activation("threshold"), **noise
    )
    images, labels = loops.images_like_mnist(noisy_passes.GLR_BATCH)
    x, y, turn = to_device(images[:, : noisy_passes.GLR_INPUTS].copy()), to_device(labels), itertools.count()
    return lambda: estimate(network, CrossEntropy(), ESTIMATORS["plain"], x, y, replications, Address(0, (next(turn),)))


def study(workers: int) -> Work:
    """Return a function that runs a study of short jobs on this many workers, in a new folder."""
    data = datasets.load("strokes")

    def work() -> None:
        with tempfile.TemporaryDirectory() as folder:
            seeds = tuple(range(SEEDS_OF_STUDY))
            for _ in carry_out(study_named("objectives"), "smoke", seeds, data, Path(folder) / "study", processes(workers)):
                pass

    return work


def growths() -> dict[str, Growth]:
    """Return the quantities whose growth is measured, by name."""
    doubled = [2**power for power in range(available_cores().bit_length())]
    found = (
        Growth("cells", f"learning step, k = {loops.PER_CELL}, batch {loops.BATCH}", CELLS, learning_step),
        Growth("images", f"PGD, {ATTACKED.steps} steps, {loops.FEW_CELLS:,} cells", IMAGES, attack),
        Growth("replications", f"GLR iteration, threshold, batch {noisy_passes.GLR_BATCH}", REPLICATIONS, likelihood_ratio),
        Growth("workers", "study objectives, smoke, processes", tuple(doubled), study, expected=-1),
    )
    return {each.quantity: each for each in found}


def measure(quantity: str, size: int) -> SizeTiming:
    """Measure the work of one size in this process, which should be new."""
    before = process_memory("VmRSS")
    work = growths()[quantity].prepare(size)
    seconds = [_seconds(work)]
    peak = peak_since(before)
    if quantity == "workers":
        # each process counted as large as the largest
        peak = peak and size * 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    else:  # the first call compiles, and takes memory from the system
        turns = max(FEWEST, min(MOST, round(ENOUGH / seconds[0])))
        seconds = [_seconds(work) for _ in range(turns)]
    return SizeTiming(quantity, size, statistics.median(seconds), peak)


def _seconds(work: Work) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def run_scaling() -> Iterator[SizeTiming]:
    """Measure every size of every quantity, each in a separate process."""
    for growth in growths().values():
        for size in growth.sizes:
            yield in_fresh_process(measure, growth.quantity, size)


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float | None:
    """Return the exponent of growth, from a least-squares line through the logarithms: 1 if values are proportional to sizes.

    The result is None for a single size.
    """
    if len(sizes) < 2:
        return None
    x, y = np.log(np.array(sizes, dtype=np.float64)), np.log(np.array(values, dtype=np.float64))
    return float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())


def draw_scaling(measured: list[SizeTiming]) -> Figure:
    """Draw time and memory against size on logarithmic scales, a column per quantity; dotted lines show proportional growth."""
    found = growths()
    figure, grid = panels_of(3 * len(found), 5, 2, len(found), sharex="col", sharey="row")
    for column, growth in enumerate(found.values()):
        rows = [each for each in measured if each.quantity == growth.quantity]
        sizes = np.array([each.size for each in rows], dtype=np.float64)
        seconds = np.array([each.seconds for each in rows], dtype=np.float64)
        peaks = np.array([each.peak / 2**20 if each.peak else np.nan for each in rows], dtype=np.float64)
        time_axes, memory_axes = grid[:, column]
        time_axes.loglog(sizes, seconds, "o-", color=COLOURS[0])
        time_axes.loglog(sizes, seconds[-1] * (sizes / sizes[-1]) ** growth.expected, ":", color="grey")
        if (peaks > 0).any():
            memory_axes.loglog(sizes, peaks, "o-", color=COLOURS[1])
        power = exponent(list(sizes), list(seconds))
        time_axes.set_title(growth.work + ("" if power is None else f"\ntime ~ {growth.quantity}^{power:.2f}"), fontsize=8)
        memory_axes.set_xlabel(growth.quantity)
    grid[0, 0].set_ylabel("seconds")
    grid[1, 0].set_ylabel("peak memory, MiB")
    return figure
