"""Benchmarks of the inner loops: steps of learning and of attacks, estimates of gradients, trials of motor tasks."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minicereb.attacks.gradients import Landscape
from minicereb.attacks.objectives import objective_named
from minicereb.attacks.run import attack_images
from minicereb.attacks.settings import Attack
from minicereb.backend import Array, to_device, to_numpy, xp_of
from minicereb.bench.timing import Benchmark
from minicereb.certificates.certify import certify
from minicereb.learning.optimizers import RMSprop
from minicereb.learning.pessimistic import PessimisticDeltaRule
from minicereb.learning.plasticity import DeltaRule
from minicereb.models.cerebellum import CerebellarNetwork, initial_cerebellum
from minicereb.models.wiring import draw_wiring
from minicereb.randomness import generator
from minicereb.tasks.cartpole import State
from minicereb.tasks.circuit import BIN
from minicereb.tasks.eyelid_conditioning import Eyelid, Session
from minicereb.tasks.pole_balancing import PoleBalancer, PoleTask

CELLS, INPUTS, PER_CELL, CLASSES, BATCH, IMAGES = 200_000, 784, 4, 10, 10, 500
FEW_CELLS, LARGE_BATCH = 20_000, 100  # for the pessimistic rule
CERTIFIED_IMAGES, CERTIFIED_EPSILON = 1_000, 0.02
# APGD takes as many steps as in its paper, within a bound so small that it does not end early.
APGD_CELLS, APGD_IMAGES, APGD_STEPS, APGD_EPSILON = 5_000, 256, 100, 0.002
# Square uses a bound so small that nearly all images take part to the end; the larger model is as large as the pretrained `base`.
SQUARE_QUERIES, SQUARE_EPSILON, SQUARE_FLOOR = 5_000, 0.002, 50
SQUARE_SIZES = (("random", FEW_CELLS, PER_CELL, 100), ("full", 5_970, None, 20))  # wiring, cells, inputs per cell, images
EYELID = Eyelid(trial=1_000, acquisition=100, cells=10_000)
POLE = PoleTask()
TRIALS = 200  # trials at most; the first successful one is timed


def cerebellum(peers: bool) -> Iterator[Benchmark]:
    """Yield benchmarks of one step of the delta rule, the pessimistic rule and PGD; `peers` adds a comparison with PyTorch."""
    model = _cerebellum()
    rule = DeltaRule(model, RMSprop(0.5 / CELLS), BATCH, 0.99)
    images, labels = images_like_mnist(64 * BATCH)
    x, y = to_device(images), to_device(labels)
    turn = iter(range(10**9))

    def step() -> None:
        batch = slice(at := next(turn) % 64 * BATCH, at + BATCH)
        for _ in rule.learn(x[batch], y[batch]):
            pass

    # Read and write W, V and the activity; read J (weights and indices) and the mean.
    moved = 4 * CELLS * (2 * CLASSES + 2 * CLASSES + 2 * BATCH + 2 * PER_CELL + 2)
    source = (xp := xp_of(model.readout)).ones(moved // 8, dtype=xp.float32)  # a copy reads and writes
    target = xp.empty_like(source)
    yield Benchmark(
        f"learning step, {CELLS:,} cells, k = {PER_CELL}, batch {BATCH}",
        step,
        lambda: xp.copyto(target, source),
        f"copy of the {moved / 1e6:.0f} MB that must move",
        peers_of("learning_steps", model, images, labels, BATCH) if peers else {},
        repeats=20,
    )
    model = initial_cerebellum(draw_wiring("random", FEW_CELLS, (INPUTS,), PER_CELL, seed=0), CLASSES, seed=0, fires_above=0.5)
    images, labels = images_like_mnist(64 * LARGE_BATCH)
    x, y, turns = to_device(images), to_device(labels), itertools.count()
    plain = DeltaRule(model, RMSprop(0.5 / FEW_CELLS), LARGE_BATCH, 0.99)
    pessimistic = PessimisticDeltaRule(model, RMSprop(0.5 / FEW_CELLS), LARGE_BATCH, 0.99, 0.1, 0.5, 1)

    def learn(rule: DeltaRule) -> None:
        batch = slice(at := next(turns) % 64 * LARGE_BATCH, at + LARGE_BATCH)
        for _ in rule.learn(x[batch], y[batch]):
            pass

    yield Benchmark(
        f"pessimistic step, {FEW_CELLS:,} cells that see threshold fibres, k = {PER_CELL}, batch {LARGE_BATCH}",
        lambda: learn(pessimistic),
        lambda: learn(plain),
        "step of the plain delta rule",
        repeats=5,
    )
    model = _cerebellum()
    images, labels = images_like_mnist(IMAGES)
    x = to_device(images)
    landscape = Landscape(model, objective_named("mse"), to_device(labels))
    products = 2 * CELLS * IMAGES * (PER_CELL + CLASSES)  # multiply-adds of the forward and backward pass
    yield Benchmark(
        f"PGD step, {CELLS:,} cells, k = {PER_CELL}, {IMAGES} images",
        lambda: landscape.value_and_gradient(x),
        product_floor(model.readout, products),
        f"{2 * products / 1e9:.1f} GFLOP at the rate of a matrix product",
        peers_of("pgd_steps", model, images, labels) if peers else {},
    )


def attacks(peers: bool) -> Iterator[Benchmark]:
    """Yield a benchmark of a whole attack, APGD on a cerebellum with full wiring; `peers` adds the same attack in PyTorch."""
    model = initial_cerebellum(draw_wiring("full", APGD_CELLS, (INPUTS,), None, seed=0), CLASSES, seed=0)
    images, _ = images_like_mnist(APGD_IMAGES)
    labels = to_numpy(model.forward(to_device(images))[0].argmax(axis=1))
    attack = Attack("apgd", "cross-entropy", APGD_EPSILON, steps=APGD_STEPS)
    ids = np.arange(APGD_IMAGES, dtype=np.int64)
    products = 2 * APGD_CELLS * APGD_IMAGES * (INPUTS + CLASSES) * APGD_STEPS  # multiply-adds of the forward and backward pass
    yield Benchmark(
        f"APGD on the cross-entropy, {APGD_CELLS:,} cells, full wiring, {APGD_IMAGES} images, {APGD_STEPS} steps",
        lambda: list(attack_images(model, attack, images, labels, ids)),
        product_floor(model.readout, products),
        f"{2 * products / 1e9:.0f} GFLOP at the rate of a matrix product",
        peers_of("apgd_runs", model, images, labels, APGD_EPSILON, APGD_STEPS) if peers else {},
    )


def square(peers: bool) -> Iterator[Benchmark]:
    """Yield benchmarks of Square on sparse and on full wiring; `peers` adds AutoAttack's Square in PyTorch."""
    for kind, cells, per_cell, count in SQUARE_SIZES:
        model = initial_cerebellum(draw_wiring(kind, cells, (INPUTS,), per_cell, seed=0), CLASSES, seed=0)
        images, _ = images_like_mnist(count)
        labels = to_numpy(model.forward(to_device(images))[0].argmax(axis=1))
        yield _square_run(model, f"k = {per_cell}" if per_cell else "full wiring", images, labels, peers)


def _square_run(model: CerebellarNetwork, wiring: str, images: np.ndarray, labels: np.ndarray, peers: bool) -> Benchmark:
    attack = Attack("square", "margin", SQUARE_EPSILON, steps=SQUARE_QUERIES)
    ids, x, shape = np.arange(len(images), dtype=np.int64), to_device(images), (28, 28)

    def floor() -> None:
        for _ in range(SQUARE_FLOOR):
            model.forward(x)

    return Benchmark(
        f"Square, {SQUARE_QUERIES:,} queries, {len(images)} images, {model.wiring.cells:,} cells, {wiring}",
        lambda: list(attack_images(model, attack, images, labels, ids, image_shape=shape)),
        floor,
        f"{SQUARE_FLOOR} forward passes of all images, one for every {SQUARE_QUERIES // SQUARE_FLOOR} queries",
        peers_of("square_runs", model, images, labels, shape, SQUARE_EPSILON, SQUARE_QUERIES) if peers else {},
        turns=3,
    )


def certificates(peers: bool) -> Iterator[Benchmark]:
    """Yield a benchmark that certifies images by intervals and linear relaxation, compared with intervals alone."""
    model = initial_cerebellum(draw_wiring("random", FEW_CELLS, (INPUTS,), PER_CELL, seed=0), CLASSES, seed=0)
    weights = generator(0, "bench readout").standard_normal(model.readout.shape, dtype=np.float32)
    model = dataclasses.replace(model, readout=to_device(weights / FEW_CELLS))
    x = to_device(images_like_mnist(CERTIFIED_IMAGES)[0])
    labels = to_numpy(model.forward(x)[0].argmax(axis=1))
    yield Benchmark(
        f"certificates of {CERTIFIED_IMAGES:,} images, {FEW_CELLS:,} cells, k = {PER_CELL}, ε = {CERTIFIED_EPSILON:g}",
        lambda: certify(model, x, labels, CERTIFIED_EPSILON),
        lambda: certify(model, x, labels, CERTIFIED_EPSILON, method="interval"),
        "intervals alone, without linear relaxation",
        repeats=1,
        turns=1,
    )


def eyelid(peers: bool) -> Iterator[Benchmark]:
    """Yield a benchmark of a session of eyelid conditioning; there is no other implementation to compare it with."""
    bins, cells = EYELID.trial // BIN, EYELID.cells
    rng = generator(0, "bench activity")
    activity, weights = rng.random((cells, bins), dtype=np.float32), rng.random(cells, dtype=np.float32)
    credit = rng.random(bins, dtype=np.float32)

    def products() -> None:
        for _ in range(EYELID.acquisition):
            activity.T @ weights
            activity @ credit

    yield Benchmark(
        f"{EYELID.acquisition} trials of eyelid conditioning, {EYELID.trial} ms in bins of {BIN} ms, {cells:,} cells",
        lambda: list(Session(EYELID).trials()),
        products,
        "two products of the activity with a vector in each trial",
        turns=5,
    )


def pole(peers: bool) -> Iterator[Benchmark]:
    """Yield benchmarks of a trial of pole balancing, with and without learning; there is no other implementation."""
    balancer, again = successful_trial(POLE)
    about = f"of {POLE.seconds:g} s, {POLE.cells:,} cells, k = {POLE.inputs_per_cell}"
    read = 4 * POLE.cells * (2 * POLE.inputs_per_cell + 4)  # a step reads J and W, and writes and reads the activity
    source = np.ones(read // 8, dtype=np.float32)  # a copy reads and writes
    target = np.empty_like(source)

    def floor() -> None:
        for _ in range(POLE.steps):
            np.copyto(target, source)

    rest = State(0.0, 0.0, 0.0, 0.0)
    for name, work in (("learning", again), ("nothing learned", lambda: balancer.balance(rest))):
        moved = f"copies of the {read / 1e6:.2g} MB that each step must read or write"
        yield Benchmark(f"pole trial {about}, {name}", work, floor, moved, turns=5)


def successful_trial(task: PoleTask) -> tuple[PoleBalancer, Callable[[], None]]:
    """Return a balancer after its first successful trial, and a function that repeats that trial."""
    balancer = PoleBalancer(task)
    for number in range(TRIALS):
        before = {name: array.copy() for name, array in balancer.arrays().items()}
        trial = next(balancer.learn(number + 1))
        if balancer.succeeded(trial.seconds):
            break
    else:
        raise RuntimeError(f"none of {TRIALS} trials lasted to the end")

    def again() -> None:
        for name, array in balancer.arrays().items():
            array[...] = before[name]
        del balancer.lasted[-1], balancer.errors[-1]
        next(balancer.learn(number + 1))

    return balancer, again


def product_floor(like: Array, products: int) -> Callable[[], object]:
    """Return a function that computes a matrix product of this many multiply-adds, on the device of `like`."""
    xp, side = xp_of(like), 1024
    a = xp.ones((side, side), dtype=xp.float32)
    b = xp.ones((round(products / side**2), side), dtype=xp.float32)
    return lambda: b @ a


def _cerebellum() -> CerebellarNetwork:
    return initial_cerebellum(draw_wiring("random", CELLS, (INPUTS,), PER_CELL, seed=0), CLASSES, seed=0)


def images_like_mnist(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return random images, in which four of five pixels are 0, as in MNIST, and random labels."""
    rng = generator(0, "bench images")
    x = rng.random((count, INPUTS), dtype=np.float32)
    x[x < 0.8] = 0
    return x, rng.integers(0, CLASSES, count)


def peers_of(function: str, *arguments: Any) -> dict[str, Callable[[], object]]:
    """Call a function of :mod:`minicereb.bench.peers` or ``noisy_peers`` by its name; PyTorch is imported only then."""
    from minicereb.bench import noisy_peers, peers

    return getattr(peers if hasattr(peers, function) else noisy_peers, function)(*arguments)
