"""Adversarial training ``[M-ADV]``: a network learns from images that were just attacked with its current weights.

Such a network is a positive control for an evaluation method: the evaluation should find that the network is robust.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from minicereb.attacks.ball import ball_around
from minicereb.attacks.gradients import Landscape
from minicereb.attacks.objectives import OBJECTIVES
from minicereb.attacks.pgd import pgd
from minicereb.backend import Array, xp_of
from minicereb.inputs import as_labels, check_images, check_rows
from minicereb.learning.plasticity import Learned
from minicereb.learning.training import Learner
from minicereb.parallel import blocks, one_blas_thread
from minicereb.randomness import Draws
from minicereb.settings import checked, setting


@checked
@dataclass(frozen=True)
class Adversary:
    """The attack used for adversarial training: the last point of PGD in L∞ from a uniformly random point of the ball."""

    epsilon: float = setting(help="Learn from images attacked within this L∞ bound, by PGD.", above=0, option="adversarial")
    step_size: float = setting(help="Step size of the attack in adversarial training.", above=0, option="adversarial-step-size")
    steps: int = setting(
        7, "Number of steps of the attack in adversarial training, on each batch.", at_least=1, option="adversarial-steps"
    )
    objective: str = setting(
        "cross-entropy", "Objective of the attack in adversarial training.", choices=OBJECTIVES, option="adversarial-objective"
    )


class AdversarialTraining:
    """Attacks each batch, and lets another learner learn from the attacked images.

    Losses, outputs and accuracy refer to the attacked images.

    Parameters
    ----------
    learner : Learner
        A learner whose model has an ``input_gradient``: :class:`DeltaRule` or :class:`Backpropagation`.
    adversary : Adversary
    seed : int
        Seed of the random starts, which also depend on the update and on the image's position in its batch.
    total_steps : int
        Total number of updates. Over the first tenth of the updates, bound and step size rise linearly from 0, because a
        network that is trained against the full bound from the start may never get above chance level.

    References
    ----------
    Madry, Makelov, Schmidt, Tsipras and Vladu (2018), arXiv:1706.06083.
    """

    def __init__(self, learner: Learner, adversary: Adversary, seed: int, total_steps: int):
        self.learner, self.adversary, self.seed, self.total_steps = learner, adversary, seed, total_steps
        self.model: Any = learner.model
        self.batch_size, self.batches_ahead = learner.batch_size, learner.batches_ahead

    @property
    def steps(self) -> int:
        """Number of updates so far."""
        return self.learner.steps

    @steps.setter
    def steps(self, steps: int) -> None:
        """Set the number of updates when training is resumed."""
        self.learner.steps = steps

    def arrays(self) -> dict[str, Array]:
        """Return the arrays that learning changes in place, keyed by name."""
        return self.learner.arrays()

    def learn(self, x: Array, labels: Array) -> Iterator[Learned]:
        """Learn from the batches of `x`, shape (images, inputs), and yield the results for the attacked batches.

        Raise :class:`InputError` if a pixel is outside [0, 1], or if the labels do not match the images.
        """
        labels = _checked(x, labels)
        for batch in blocks(len(x), self.batch_size):
            yield from self.learner.learn(self.attacked(x[batch], labels[batch]), labels[batch])

    def attacked(self, x: Array, labels: Array) -> Array:
        """Return the attacked version of a batch; the next update learns from this version."""
        share = min(1.0, 10 * (self.steps + 1) / self.total_steps)
        return self._attacked(x, labels, share, "adversary", self.steps)

    def loss_of(self, outputs: Array, labels: Array) -> Array:
        """Return the loss of each image, shape (images,), for these outputs."""
        return self.learner.loss_of(outputs, labels)

    def hits(self, x: Array, labels: Array, block: int) -> Array:
        """Return which images withstand the full attack, as an array of bool; `block` determines the random starts."""
        labels = _checked(x, labels)
        x_adv = self._attacked(x, labels, 1.0, "adversary held out", block)
        with one_blas_thread():
            return self.model.forward(x_adv)[0].argmax(axis=1) == labels

    def _attacked(self, x: Array, labels: Array, share: float, stream: str, number: int) -> Array:
        """Return the images after an attack whose bound is `share` times ε."""
        xp, adversary = xp_of(x), self.adversary
        ball = ball_around(x, share * adversary.epsilon, "linf")
        draws = Draws(self.seed, stream, (number,), xp.arange(len(x), dtype=xp.int64))
        start = x + ball.epsilon * ball.offsets(draws)
        landscape = Landscape(self.model, OBJECTIVES[adversary.objective], labels)
        with one_blas_thread():
            for point in pgd(landscape, ball, start, adversary.steps, share * adversary.step_size):
                last = point.x
        return last


def _checked(x: Array, labels: Array) -> Array:
    """Check images and labels, and return the labels."""
    check_rows(x)
    check_images(x, wait=False)
    return as_labels(labels, len(x), wait=False)
