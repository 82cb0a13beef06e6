"""An estimate of the gradient from a few noisy runs of one image, with everything that goes into the estimate."""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

import numpy as np

from minicereb.calculus.replicated import ReplicatedLoss
from minicereb.errors import InputError
from minicereb.experiments.architectures import NoisyModel
from minicereb.explain.explained_image import ExplainedImage
from minicereb.explain.training_step import TrainingStep
from minicereb.learning.credit import Credit, Estimator, GradientEstimate
from minicereb.learning.exact import Exact
from minicereb.learning.glr import estimator_named, estimator_with
from minicereb.learning.history import NO_HISTORY, History
from minicereb.learning.layerwise import Layerwise
from minicereb.learning.noise import Address, Independent
from minicereb.learning.noisy_runs import RunsOfLayer
from minicereb.models.noisy import NoisyLayer, Trace

FEWEST = (1, 2, 4)  # numbers of replications to try, the smallest first
SHARED = 4  # replications for weights that several units share


class FewRuns(NamedTuple):
    """A few noisy runs of the image, and the estimate that they give.

    Attributes
    ----------
    estimator : Estimator
    loss : ReplicatedLoss
    noise : tuple or None
        The noise that the estimator drew; None for the estimator that sums over all patterns.
    history : History
        The statistics of earlier steps, with the learned baseline if there is one.
    trace : Trace
        The runs from which the first layer's credit is computed.
    found : GradientEstimate
    at : RunsOfLayer or None
        The runs of `trace` with their losses, for an estimator that handles one layer after another.
    places : array or None
        Random numbers that select the units to probe.
    credit : Credit or None
        The first layer's credit, with its factors.
    """

    estimator: Estimator
    loss: ReplicatedLoss
    noise: Any
    history: History
    trace: Trace
    found: GradientEstimate
    at: RunsOfLayer | None = None
    places: np.ndarray | None = None
    credit: Credit | None = None

    @property
    def losses(self) -> tuple[np.ndarray, np.ndarray]:
        """The loss L and the baseline b of each run, for an estimator that multiplies them by the score."""
        assert self.at is not None
        assert self.credit is not None
        assert self.credit.weight is not None
        value = self.at.runs.value[0]
        return value, value - self.credit.weight[0]

    def credits(self, layer: NoisyLayer) -> np.ndarray:
        """Return the credit of each first-layer unit's input in each run, shape (units, runs)."""
        if self.credit is None:  # one run
            return self.found.first_credit.T
        return layer.carried(self.credit.each()[:, 0], self.trace.signals[0][:, 0])


def few_runs(subject: ExplainedImage, settings: NoisyModel, loss: ReplicatedLoss, taken: TrainingStep) -> FewRuns:
    """Run the network on the image, and estimate the gradient with the estimator that trained it.

    The number of runs is the smallest that the estimator allows. If units share weights, it is four for an estimator that handles
    one layer after another and one for any other estimator.
    """
    network, x_t = subject.model, np.ascontiguousarray(subject.x.T)
    named = estimator_named(settings.estimator, settings.last_layer, settings.placement, settings.probes, settings.output_draws)
    estimator = estimator_with(named, settings.baseline, settings.allocation)
    history = NO_HISTORY if taken.baseline is None else History(np.array([taken.baseline], dtype=np.float64))
    layerwise = isinstance(estimator, Layerwise)
    for replications in FEWEST if network.is_dense else (SHARED if layerwise else 1,):
        with contextlib.suppress(InputError):
            estimator.design.check(replications, estimator.baseline)
            break
    at = address_of(subject)
    if isinstance(estimator, Exact):
        noise = Independent().draw(subject.x, [layer.law for layer in network.layers], network.widths, 1, replications, at)
        found = estimator.on(network, loss, x_t, subject.labels, None, False)
        return FewRuns(estimator, loss, None, history, network.run(x_t, noise), found)
    noise = estimator.draw(network, subject.x, 1, replications, at)
    found = estimator.on(network, loss, x_t, subject.labels, noise, False, history)
    if not isinstance(estimator, Layerwise):
        return FewRuns(estimator, loss, noise, history, network.run(x_t, noise), found)
    first, places = next(estimator.runs(network, loss, x_t, subject.labels, noise, history))
    credit = estimator.layer_credit(first, places, False)
    return FewRuns(estimator, loss, noise, history, first.runs.trace, found, first, places, credit)


def address_of(subject: ExplainedImage, stream: str = "explained noise") -> Address:
    """Return the :class:`Address` that determines the random generator of an image's noise."""
    return Address(subject.config.seed, (subject.image,), stream)


def baseline_in_words(settings: NoisyModel, few: FewRuns, taken: TrainingStep) -> str:
    """Describe in words which baseline b is used, and where it comes from."""
    if taken.baseline is not None:
        own = " A test image has no mean of its own, so it is that of its class alone." if settings.baseline == "image" else ""
        return (
            f"The training subtracts a running mean of the loss of each class, here b = {taken.baseline:.6g}. A complete run "
            f"does not keep it, so it is computed again from the run's first {taken.warmed} batches, at these weights.{own}"
        )
    if not few.estimator.baseline:
        return "There is no baseline: b = 0."
    groups = {"antithetic": "pairs of opposite noise", "sobol": "scramble of the Sobol sequence"}
    return f"b is the mean loss of the other {groups.get(settings.estimator, 'runs of the image')}."
