"""An attack as a whole: APGD on the cross-entropy of a cerebellum with full wiring."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from minicereb.attacks.run import attack_images
from minicereb.attacks.settings import Attack
from minicereb.backend import to_device, to_numpy
from minicereb.bench.cerebellum import CLASSES, INPUTS, bench_images, product_floor
from minicereb.bench.timing import Contest
from minicereb.models.cerebellum import initial_cerebellum
from minicereb.models.wiring import draw_wiring

CELLS, IMAGES, STEPS, EPSILON = 5_000, 256, 100, 0.002  # steps as published; so small a bound that the attack does not end early


def contests(peers: bool) -> Iterator[Contest]:
    """Yield the benchmark, with the same attack in PyTorch if `peers`."""
    yield apgd_run(peers)


def apgd_run(peers: bool) -> Contest:
    """The attack with all that belongs to it, and the second look at the result."""
    model = initial_cerebellum(draw_wiring("full", CELLS, (INPUTS,), None, seed=0), CLASSES, seed=0)
    images, _ = bench_images(IMAGES)
    labels = to_numpy(model.forward(to_device(images))[0].argmax(axis=1))
    attack, ids = Attack("apgd", "cross-entropy", EPSILON, steps=STEPS), np.arange(IMAGES, dtype=np.int64)
    competitors = {}
    if peers:
        from minicereb.bench import peers as torch_peers

        competitors = torch_peers.apgd_runs(model, images, labels, EPSILON, STEPS)
    products = 2 * CELLS * IMAGES * (INPUTS + CLASSES) * STEPS  # multiply-adds, forward and back
    return Contest(
        f"APGD on the cross-entropy, {CELLS:,} cells, full wiring, {IMAGES} images, {STEPS} steps",
        lambda: list(attack_images(model, attack, images, labels, ids)),
        product_floor(model.readout, products),
        f"{2 * products / 1e9:.0f} GFLOP at the rate of a matrix product",
        competitors,
    )
