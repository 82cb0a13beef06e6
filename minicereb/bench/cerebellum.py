"""The two loops that everything else waits for: a learning step, and a step of PGD."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from minicereb.attacks.gradients import Landscape
from minicereb.attacks.objectives import objective_named
from minicereb.backend import Array, to_device, xp_of
from minicereb.bench.timing import Contest
from minicereb.learning.optimizers import RMSprop
from minicereb.learning.plasticity import DeltaRule
from minicereb.models.cerebellum import Cerebellum, initial_cerebellum
from minicereb.models.wiring import draw_wiring
from minicereb.randomness import generator

CELLS, INPUTS, PER_CELL, CLASSES, BATCH, IMAGES = 200_000, 784, 4, 10, 10, 500


def contests(peers: bool) -> Iterator[Contest]:
    """Yield the benchmarks, each with PyTorch's forms of it if `peers`."""
    yield learning_step(peers)
    yield pgd_step(peers)


def _model() -> Cerebellum:
    return initial_cerebellum(draw_wiring("random", CELLS, (INPUTS,), PER_CELL, seed=0), CLASSES, seed=0)


def bench_images(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images as empty as MNIST's: four pixels in five are 0."""
    rng = generator(0, "bench images")
    x = rng.random((count, INPUTS), dtype=np.float32)
    x[x < 0.8] = 0
    return x, rng.integers(0, CLASSES, count)


def learning_step(peers: bool) -> Contest:
    """One step of the delta rule: projection, ReLU, LTD, readout, error, update by RMSprop."""
    model = _model()
    rule = DeltaRule(model, RMSprop(0.5 / CELLS), BATCH, 0.99)
    images, labels = bench_images(64 * BATCH)
    x, y = to_device(images), to_device(labels)
    turn = iter(range(10**9))

    def step() -> None:
        batch = slice(at := next(turn) % 64 * BATCH, at + BATCH)
        for _ in rule.learn(x[batch], y[batch]):
            pass

    competitors = {}
    if peers:
        from minicereb.bench import peers as torch_peers

        competitors = torch_peers.learning_steps(model, images, labels, BATCH)
    # Read and write W, V and the activity; read J (weights and indices) and the mean.
    moved = 4 * CELLS * (2 * CLASSES + 2 * CLASSES + 2 * BATCH + 2 * PER_CELL + 2)
    return Contest(
        f"learning step, {CELLS:,} cells, k = {PER_CELL}, batch {BATCH}",
        step,
        _copy(model, moved),
        f"copy of the {moved / 1e6:.0f} MB that must move",
        competitors,
        repeats=20,
    )


def pgd_step(peers: bool) -> Contest:
    """Outputs, squared error and input gradient for 500 images."""
    model = _model()
    images, labels = bench_images(IMAGES)
    x, y = to_device(images), to_device(labels)
    landscape = Landscape(model, objective_named("mse"), y)
    competitors = {}
    if peers:
        from minicereb.bench import peers as torch_peers

        competitors = torch_peers.pgd_steps(model, images, labels)
    products = 2 * CELLS * IMAGES * (PER_CELL + CLASSES)  # multiply-adds, forward and back
    return Contest(
        f"PGD step, {CELLS:,} cells, k = {PER_CELL}, {IMAGES} images",
        lambda: landscape.value_and_gradient(x),
        product_floor(model.readout, products),
        f"{2 * products / 1e9:.1f} GFLOP at the rate of a matrix product",
        competitors,
    )


def _copy(model: Cerebellum, moved: int) -> Callable[[], object]:
    xp = xp_of(model.readout)
    source = xp.ones(moved // 8, dtype=xp.float32)  # a copy reads and writes
    target = xp.empty_like(source)
    return lambda: xp.copyto(target, source)


def product_floor(like: Array, products: int) -> Callable[[], object]:
    """Matrix products with so many multiply-adds, where `like` lives."""
    xp, side = xp_of(like), 1024
    a = xp.ones((side, side), dtype=xp.float32)
    rows = round(products / side**2)
    b = xp.ones((rows, side), dtype=xp.float32)
    return lambda: b @ a
