"""Complete evaluations of shipped models: the standard ensemble and, for comparison, AutoAttack on the same weights."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicereb.backend import to_device, to_numpy
from minicereb.bench.loops import CLASSES, peers_of
from minicereb.datasets.registry import load
from minicereb.datasets.transforms import to_unit
from minicereb.experiments.pretrained import pretrained
from minicereb.robustness.catalogue import STANDARD
from minicereb.robustness.evaluate import EvaluationPlan, EvaluationTarget, evaluate_images
from minicereb.robustness.outcomes import BROKEN, no_outcomes

MODELS = (("robust", 0.1), ("cerebellum", 0.02), ("base", 0.02))  # shipped models, and ε in L∞
BLOCK = 250  # images per batch, as in AutoAttack


@dataclass(frozen=True)
class Ensemble:
    """An evaluation of one model: its time in seconds, and the number of images misclassified with or without an attack.

    The fields that begin with ``peer`` are those of AutoAttack; ``only_ours`` and ``only_peer`` count the images that only
    one of the two breaks. All of them are None if AutoAttack was not run.
    """

    model: str
    epsilon: float
    images: int
    seconds: float
    broken: int
    peer_seconds: float | None = None
    peer_broken: int | None = None
    only_ours: int | None = None
    only_peer: int | None = None


def run_ensembles(images: int, peers: bool) -> Iterator[Ensemble]:
    """Evaluate each of :data:`MODELS` once on the first test images of MNIST and, if `peers` is true, also with AutoAttack.

    Our evaluation has no checklist and no certificates. Both ensembles have the same budgets; ours also runs FMN.
    """
    data = load("mnist")
    x, labels = to_unit(data.x_test[:images]), np.asarray(data.y_test[:images]).ravel().astype(np.int64)
    for name, epsilon in MODELS:
        model = pretrained(name, data)
        began = time.perf_counter()
        ours = _broken(model, x, labels, data.image_shape, epsilon)
        seconds = time.perf_counter() - began
        row: dict[str, Any] = {}
        if peers:
            attack = peers_of("autoattack", model, x, labels, data.image_shape, epsilon, BLOCK)["AutoAttack"]
            began = time.perf_counter()
            attacked = np.asarray(attack())
            row["peer_seconds"] = time.perf_counter() - began
            theirs = to_numpy(model.forward(to_device(attacked))[0].argmax(axis=1)) != labels
            row |= {"peer_broken": int(theirs.sum())}
            row |= {"only_ours": int((ours & ~theirs).sum()), "only_peer": int((theirs & ~ours).sum())}
        yield Ensemble(name, epsilon, len(x), seconds, int(ours.sum()), **row)


def _broken(model: Any, x: np.ndarray, labels: np.ndarray, shape: tuple[int, ...], epsilon: float) -> np.ndarray:
    """Return a mask of the images that are misclassified under the standard ensemble."""
    target = EvaluationTarget(model, x, labels, shape, CLASSES)
    broken = []
    for start in range(0, len(x), BLOCK):
        ids = np.arange(start, min(start + BLOCK, len(x)), dtype=np.int64)
        outcomes = no_outcomes(ids, labels[ids], x.shape[1], 1, len(STANDARD))
        for _ in evaluate_images(target, EvaluationPlan((epsilon,), STANDARD), outcomes, 0):
            pass
        broken.append((outcomes.tried[0] == BROKEN).any(axis=0) | ~outcomes.clean)
    return np.concatenate(broken)
