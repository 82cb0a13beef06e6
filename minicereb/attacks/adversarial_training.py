"""Adversarial training ``[M-ADV]``: a network learns from images that were attacked on it as it is at that moment.

The positive control of an evaluation: where robustness has been learned, the instruments should find it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from minicereb.attacks.ball import ball_around
from minicereb.attacks.draws import Draws
from minicereb.attacks.gradients import Landscape
from minicereb.attacks.objectives import objective_named
from minicereb.attacks.pgd import pgd
from minicereb.backend import Array, xp_of
from minicereb.documents import typed
from minicereb.errors import require
from minicereb.inputs import as_labels, check_images, check_rows
from minicereb.learning.plasticity import Learned
from minicereb.learning.training import Learner
from minicereb.parallel import blocks, one_blas_thread


@typed
@dataclass(frozen=True)
class Adversary:
    """Whom a network learns against: PGD in L∞, from a uniform random point of the ball; its last point counts.

    Parameters
    ----------
    epsilon : float
        Bound on the change of each pixel, above 0.
    step_size : float
        Length of a step, in the units of a pixel.
    steps : int
        For each batch.
    objective : {"mse", "cross-entropy", "margin", "dlr"}
        What is ascended.
    """

    epsilon: float = field(metadata={"option": "adversarial"})
    step_size: float = field(metadata={"option": "adversarial_step_size"})
    steps: int = field(default=7, metadata={"option": "adversarial_steps"})
    objective: str = "cross-entropy"

    def __post_init__(self) -> None:
        require(0 < self.epsilon < float("inf"), "adversarial", self.epsilon, "a bound above 0")
        require(0 < self.step_size < float("inf"), "adversarial-step-size", self.step_size, "a number above 0")
        require(self.steps >= 1, "adversarial-steps", self.steps, "a whole number of at least 1")
        objective_named(self.objective)


class AdversarialTraining:
    """Lets a learning rule learn from attacked images: attack a batch, learn from it, and so on.

    Losses and outputs that it yields, and its hits, are of the attacked images.

    Parameters
    ----------
    learner : Learner
        Whose model has an ``input_gradient``: :class:`DeltaRule` or :class:`Backpropagation`.
    adversary : Adversary
    seed : int
        Of the random starts, which depend besides on the update and the image's place in its batch.
    total_steps : int
        Updates in all. Over the first tenth bound and step size rise from 0 in proportion: against the full bound from the
        start a network may never leave chance.

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
        """Updates so far: those of the rule."""
        return self.learner.steps

    @steps.setter
    def steps(self, steps: int) -> None:
        """Set them, when a training is taken up."""
        self.learner.steps = steps

    def arrays(self) -> dict[str, Array]:
        """Everything that learning changes, by name; written in place."""
        return self.learner.arrays()

    def learn(self, x: Array, labels: Array) -> Iterator[Learned]:
        """Learn from the batches of `x`, shape (images, inputs), one after the other, and yield what each showed attacked.

        :class:`InputError` if an image is not in the box, or there is not a label for each.
        """
        labels = _checked(x, labels)
        for batch in blocks(len(x), self.batch_size):
            share = min(1.0, 10 * (self.steps + 1) / self.total_steps)
            x_adv = self._attacked(x[batch], labels[batch], share, "adversary", self.steps)
            yield from self.learner.learn(x_adv, labels[batch])

    def loss_of(self, outputs: Array, labels: Array) -> Array:
        """Loss of each image, shape (images,), at these outputs."""
        return self.learner.loss_of(outputs, labels)

    def hits(self, x: Array, labels: Array, block: int) -> Array:
        """Which images are still right when attacked within the full bound, array of bool.

        The same `block` has the same starts after every epoch.
        """
        labels = _checked(x, labels)
        x_adv = self._attacked(x, labels, 1.0, "adversary held out", block)
        with one_blas_thread():
            return self.model.forward(x_adv)[0].argmax(axis=1) == labels

    def _attacked(self, x: Array, labels: Array, share: float, stream: str, number: int) -> Array:
        """The images after an attack within `share` of the bound."""
        xp, adversary = xp_of(x), self.adversary
        ball = ball_around(x, share * adversary.epsilon, "linf")
        draws = Draws(self.seed, stream, (number,), xp.arange(len(x), dtype=xp.int64))
        start = x + ball.epsilon * ball.offsets(draws)
        landscape = Landscape(self.model, objective_named(adversary.objective), labels)
        with one_blas_thread():
            for point in pgd(landscape, ball, start, adversary.steps, share * adversary.step_size):
                last = point.x
        return last


def _checked(x: Array, labels: Array) -> Array:
    """The labels, after a look at them and at the images."""
    check_rows(x)
    check_images(x, wait=False)
    return as_labels(labels, len(x), wait=False)
