"""Attacks of every kind with quick settings, and models and images for them."""

import dataclasses

import numpy as np
import pytest

from minicereb.attacks.run import Attacked, attack_images
from minicereb.attacks.settings import Attack
from minicereb.backend import to_device, to_numpy

IMAGES = 24
FGSM = Attack("fgsm", "mse", 0.125)
PGD = Attack("pgd", "margin", 0.125, steps=5, step_size=0.03125)
ATTACKS = [
    FGSM,
    PGD,
    *(dataclasses.replace(PGD, objective=objective) for objective in ("mse", "cross-entropy")),
    dataclasses.replace(PGD, keep="last"),
    dataclasses.replace(PGD, random_start=False),
    dataclasses.replace(PGD, restarts=3, seed=5),
    Attack("pgd", "dlr", 0.5, steps=5, step_size=0.2, norm="l2"),
    Attack("fgsm", "margin", 0.5, norm="l2"),
    Attack("pgd", "cross-entropy", 0.125, steps=5, step_size=0.03125, targets=2),
    Attack("momentum", "margin", 0.125, steps=5, step_size=0.03125),
    Attack("momentum", "cross-entropy", 0.125, steps=8, step_size=0.03125, restarts=2, decay=0.5, nesterov=True),
    Attack("momentum", "dlr", 0.5, steps=5, norm="l2", targets=2, nesterov=True),
    Attack("apgd", "cross-entropy", 0.125, steps=12),
    Attack("apgd", "dlr", 0.125, steps=12, targets=9, restarts=2),
    Attack("apgd", "margin", 0.5, steps=12, norm="l2", random_start=False),
    Attack("fab", "margin", 0.125, steps=12, targets=9),
    Attack("fab", "margin", 0.5, steps=12, norm="l2", restarts=2),
    Attack("fmn", "margin", 0.125, steps=12, targets=9),
    Attack("fmn", "margin", 0.5, steps=12, norm="l2", restarts=2),
    Attack("square", "margin", 0.125, steps=60),
    Attack("square", "margin", 0.125, steps=60, rescale=False),
    Attack("square", "margin", 0.5, steps=60, norm="l2", restarts=2),
    Attack("random", "margin", 0.125, steps=40),
    Attack("random", "dlr", 0.5, steps=40, norm="l2"),
]
every_attack = pytest.mark.parametrize("attack", ATTACKS, ids=range(len(ATTACKS)))


def rows_and_labels(model):
    """Return stored images, and labels of which about two thirds are the model's predictions."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 256, (IMAGES, 30), dtype=np.uint8)
    answers = to_numpy(model.forward(to_device(rows.astype(np.float32) / 255))[0].argmax(axis=1))
    return rows, np.where(rng.random(IMAGES) < 0.5, answers, rng.integers(0, 3, IMAGES))


SHAPE = (5, 6)


def run(model, attack, rows, labels, ids=None, **options):
    """Join all blocks of an attack."""
    ids = np.arange(len(rows)) if ids is None else np.asarray(ids)
    shape = SHAPE if rows.shape[1] == 30 else None
    blocks = attack_images(model, attack, rows, labels, ids, image_shape=shape, **options)
    return Attacked(*map(np.concatenate, zip(*blocks, strict=True)))


class Student:
    """A linear classifier with the two methods that an attack needs, and nothing else."""

    def __init__(self, weight):
        self.weight = weight

    def forward(self, x):
        return x @ self.weight, None

    def input_gradient(self, d_outputs, cache):
        return d_outputs @ self.weight.T


WEIGHT = np.random.default_rng(0).standard_normal((30, 3)).astype(np.float32)
WEIGHT -= WEIGHT.mean(axis=0)  # every class is some image's answer


class Level:
    """Always predicts the first class, with constant outputs and a gradient of zeros."""

    def __init__(self, classes):
        self.classes = classes

    def forward(self, x):
        return np.tile(np.arange(self.classes, 0, -1, dtype=np.float32), (len(x), 1)), x.shape

    def input_gradient(self, d_outputs, shape):
        return np.zeros(shape, dtype=np.float32)
