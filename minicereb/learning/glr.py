"""Learning from loss values: the generalised likelihood ratio method (the paper's Algorithm 1) ``[G-A1]``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from minicereb.backend import Array, xp_of
from minicereb.calculus.replicated import ReplicatedLoss
from minicereb.errors import choose, require
from minicereb.inputs import as_labels, check_rows
from minicereb.learning.credit import Estimator, GradientEstimate
from minicereb.learning.estimators import LEARNED_BY
from minicereb.learning.history import ALLOCATIONS, BASELINES, NO_HISTORY, History, RunningMean, allocate, by_image
from minicereb.learning.noise import Address, Independent, joined
from minicereb.learning.one_neuron import OneByOne
from minicereb.learning.optimizers import Optimizer, add_penalty
from minicereb.learning.plasticity import Learned
from minicereb.learning.probes import PROBES
from minicereb.learning.scores import ScoreFunction
from minicereb.models.noisy import NoisyLayer, NoisyNetwork
from minicereb.parallel import blocks, images_per_block, keep_freed_memory, one_blas_thread, run_lanes
from minicereb.randomness import signed_uniform

NUMBERS = 3 << 18  # noise values per piece of work on the CPU: enough that threads seldom wait for each other
DEVICE_NUMBERS = 1 << 24  # on a GPU
VALIDATION_RUNS = 32  # noisy runs per validation image

LAST_LAYER = ("score", "derivative", "resample")
PLACEMENTS = ("all", "in-turn")


def estimator_named(name: str, last_layer: str, placement: str = "all", probes: int = PROBES, output_draws: int = 1) -> Estimator:
    """Return the estimator with this name.

    Parameters
    ----------
    name : str
        One of :data:`LEARNED_BY`.
    last_layer : {"score", "derivative", "resample"}
        How the last layer's credit is computed: with the score function, as in the other layers; as a derivative; or from loss
        values, by redrawing the noise of one output at a time. The estimators exact and backprop require "derivative"; flip and
        resample require "derivative" or "resample".
    placement : {"all", "in-turn"}
        Whether all layers have noise at once, or one layer at a time; in the latter case every layer has its own runs.
    probes : int
        For the estimators flip and resample: the number of units of a convolution that are changed in each image and replication.
    output_draws : int
        Number of draws of the outputs' noise for each run: 1 or, for estimators that use the score, an even number of at
        least 4.
    """
    found = choose("estimator", name, LEARNED_BY)
    require(last_layer in LAST_LAYER, "last-layer", last_layer, ", ".join(LAST_LAYER))
    require(placement in PLACEMENTS, "placement", placement, " or ".join(PLACEMENTS))
    in_turn, redraw_last = placement == "in-turn", last_layer == "resample"
    if output_draws != 1:
        _check_output_draws(found, last_layer, placement, output_draws)
    if isinstance(found, ScoreFunction):
        found = replace(found, output_draws=output_draws)
        return replace(found, derivative_last=last_layer == "derivative", redraw_last=redraw_last, in_turn=in_turn)
    if isinstance(found, OneByOne):
        expected = f"derivative or resample with the estimator {name}"
        require(last_layer != "score", "last-layer", last_layer, expected)
        return replace(found, redraw_last=redraw_last, in_turn=in_turn, probes=probes)
    require(last_layer == "derivative", "last-layer", last_layer, f"derivative with the estimator {name}")
    require(not in_turn, "placement", placement, f"all with the estimator {name}")
    return found


def _check_output_draws(estimator: Estimator, last_layer: str, placement: str, draws: int) -> None:
    """Raise an error if several draws of the outputs' noise are requested where they would not help."""
    scored = isinstance(estimator, ScoreFunction)
    require(scored, "output-draws", draws, f"1 with the estimator {estimator.name}, or an estimator by the score")
    require(last_layer == "score", "output-draws", draws, f"1 with the last layer's {last_layer}, or --last-layer score")
    require(placement == "all", "output-draws", draws, "1 with noise in turn: then no output has noise in a hidden layer's runs")
    require(draws >= 4 and draws % 2 == 0, "output-draws", draws, "1, or an even number of at least 4")


def estimator_with(estimator: Estimator, baseline: str, allocation: str) -> Estimator:
    """Return the estimator with the requested baseline, after checking that it allows the requested allocation."""
    require(baseline in BASELINES, "baseline", baseline, ", ".join(BASELINES))
    require(allocation in ALLOCATIONS, "allocation", allocation, " or ".join(ALLOCATIONS))
    if allocation != "equal":
        estimator.check_allocation()
    return estimator if baseline == "mean" else estimator.with_learned_baseline()


def estimate(
    network: NoisyNetwork,
    loss: ReplicatedLoss,
    estimator: Estimator,
    x: Array,
    labels: Array,
    replications: int,
    at: Address,
    scales: bool = False,
    wait: bool = True,
    history: History = NO_HISTORY,
) -> GradientEstimate:
    """Estimate the derivatives of a noisy network's mean loss, using all threads.

    The work is divided into pieces of fixed size, so the result does not depend on the number of threads.

    Parameters
    ----------
    network : NoisyNetwork
    loss : ReplicatedLoss
    estimator : Estimator
        An estimator whose method ``check`` accepts the network and the loss.
    x : array, shape (images, inputs)
    labels : array of int, shape (images,)
    replications : int
        Number K of replications per image; the memory needed does not grow with K.
    at : Address
        Seed, stream and numbers from which the noise is drawn.
    scales : bool
        Whether to estimate the gradients of the noise scales too.
    wait : bool
        As for :func:`minicereb.inputs.as_labels`.
    history : History
        Statistics from earlier steps for these images.

    Raises
    ------
    InputError
        If `x` does not have the network's width, or a label is not one of the classes.
    """
    labels = _checked(network, x, labels, wait)
    require(len(x) >= 1, "images", len(x), "at least one")
    with one_blas_thread():
        return _estimated(network, loss, estimator, x, labels, replications, at, scales, history)


def _estimated(
    network: NoisyNetwork,
    loss: ReplicatedLoss,
    estimator: Estimator,
    x: Array,
    labels: Array,
    replications: int,
    at: Address,
    scales: bool,
    history: History,
) -> GradientEstimate:
    """Do the work of :func:`estimate`, after its checks and with BLAS on one thread."""
    xp, images = xp_of(x), len(x)
    x_t = xp.ascontiguousarray(x.T)
    on_host = isinstance(x, np.ndarray)
    numbers = NUMBERS if on_host else DEVICE_NUMBERS
    at_most = max(2, numbers // estimator.numbers_per_sample(network))  # the same for any number of threads and any budget
    counts = estimator.design.pieces(replications, at_most)
    work = list(enumerate((chosen, count) for chosen in blocks(images, at_most // counts[0]) for count in counts))

    def drawn(part: tuple[int, tuple[slice, int]]) -> Any:
        number, (chosen, count) = part
        return estimator.draw(network, x, x_t[:, chosen].shape[1], count, at.of(number))

    def found(chosen: slice, noise: Any) -> GradientEstimate:
        return estimator.on(network, loss, x_t[:, chosen], labels[chosen], noise, scales, history.of(chosen))

    keep_freed_memory()
    if on_host and len(counts) == 1 and images * replications * estimator.numbers_per_sample(network) <= 2 * NUMBERS:
        # A few long operations cost less than many short ones; the noise keeps the addresses of the pieces.
        whole = slice(0, images)
        results, taken = [found(whole, joined([drawn(part) for part in work]))], [(whole, replications)]
    else:
        results, taken = run_lanes(lambda part: found(part[1][0], drawn(part)), work), [part for _, part in work]
    value, credit = xp.zeros(images, dtype=x.dtype), xp.zeros((images, network.widths[0]), dtype=x.dtype)
    gradients: list[dict[str, Array]] = [{} for _ in network.layers]
    for (chosen, count), result in zip(taken, results, strict=True):
        share = count / replications
        value[chosen] += result.loss * share
        credit[chosen] += result.first_credit * share
        for total, gradient in zip(gradients, result.gradients, strict=True):
            for name, array in gradient.items():
                array *= share / images
                if name in total:
                    total[name] += array
                else:
                    total[name] = array
    gradients[0] |= network.layers[0].weight_gradient(credit / images, x)
    return GradientEstimate(value, credit, gradients)


def _checked(network: NoisyNetwork, x: Array, labels: Array, wait: bool = False) -> Array:
    """Check labels and images, and return the labels."""
    check_rows(x, network.layers[0].inputs)
    return as_labels(labels, len(x), network.widths[-1], wait=wait)


class GLR:
    """Learns the weights, the biases and, optionally, the noise scales of a noisy network, in place ``[G-A1]``.

    Parameters
    ----------
    network : NoisyNetwork
    loss : ReplicatedLoss
    estimator : Estimator
    optimizer : SGD, Momentum, RMSprop or Adam
    batch_size : int
    replications : int
        K.
    seed : int
        Seed of the noise.
    l2, l1 : float
        Penalties ``½ l2 Σθ² + l1 Σ|θ|`` on all weights except biases ``[M-PENALTY]``; reported losses do not include
        them.
    learn_scale : bool
        Whether the noise scales are learned too, as ``log σ``.
    baseline : {"mean", "class", "image"}
        The baseline that score estimators subtract from the loss: the mean of the image's other replications, a running mean
        for the image's class from earlier steps, or this class mean plus a running mean of the image's deviation from it
        ``[M-LEARNED]``.
    allocation : {"equal", "scatter"}
        Whether every image of a batch has exactly K replications, or K on average, with more replications for images
        whose gradient scattered more in earlier steps ``[M-NEYMAN]``.
    images : int
        Number of training images, needed if statistics are kept for each image.
    """

    batches_ahead = 16  # converted from uint8 together

    def __init__(
        self,
        network: NoisyNetwork,
        loss: ReplicatedLoss,
        estimator: Estimator,
        optimizer: Optimizer,
        batch_size: int,
        replications: int,
        seed: int,
        *,
        l2: float = 0.0,
        l1: float = 0.0,
        learn_scale: bool = False,
        baseline: str = "mean",
        allocation: str = "equal",
        images: int = 0,
    ):
        estimator = estimator_with(estimator, baseline, allocation)
        estimator.check(network, loss)
        estimator.design.check(replications, estimator.baseline)
        require(0 <= l2 < float("inf"), "l2", l2, "a number of at least 0")
        require(0 <= l1 < float("inf"), "l1", l1, "a number of at least 0")
        self.model, self.loss, self.estimator, self.optimizer = network, loss, estimator, optimizer
        self.batch_size, self.replications, self.seed = batch_size, replications, seed
        self.l2, self.l1, self.learn_scale = l2, l1, learn_scale
        self.steps = 0
        self._places: list[tuple[int, str]] = []
        for number, layer in enumerate(network.layers):
            names = ["weight", "bias"] + (["log_scale"] if learn_scale and layer.law is not None else [])
            names += ["recurrent"] if getattr(layer, "recurrent", None) is not None else []
            self._places += [(number, name) for name in names]
        # All parameters are also kept in one vector: updating it once costs less than updating each small array.
        parts = [self._now(network.layers[number], name).ravel() for number, name in self._places]
        self.learned = xp_of(parts[0]).concatenate(parts)
        self.state = optimizer.state(self.learned)
        classes = network.widths[-1]
        own = images if baseline == "image" else 0
        self.mean_loss = None if baseline == "mean" else RunningMean(self.learned, classes, own)
        self.scatter = None if allocation == "equal" else RunningMean(self.learned, classes, images)

    @staticmethod
    def _now(layer: NoisyLayer, name: str) -> Array:
        return xp_of(layer.scale).log(layer.scale) if name == "log_scale" else getattr(layer, name)

    def arrays(self) -> dict[str, Array]:
        """Return the arrays that learning changes in place, keyed by name."""
        state = {f"learned_{kind}": array for kind, array in self.state.items()}
        for kind, mean in (("loss", self.mean_loss), ("scatter", self.scatter)):
            if mean is not None:
                state |= {f"{kind}_by_class": mean.by_class}
                state |= {f"{kind}_by_image": mean.by_image} if len(mean.by_image) else {}
        return {**self.model.parameters, "learned": self.learned, **state}

    @property
    def numbered(self) -> bool:
        """Whether :meth:`learn` uses the images' indices in the data set."""
        return self.mean_loss is not None or self.scatter is not None

    def learn(self, x: Array, labels: Array, ids: Array | None = None) -> Iterator[Learned]:
        """Learn from the batches of `x`, shape (images, inputs), one after another, and yield the result of each.

        `ids` are the images' indices in the data set; if `ids` is None, only the statistics of the classes are used. Raise
        :class:`InputError` under the same conditions as :func:`estimate`.
        """
        labels = _checked(self.model, x, labels)
        batches = list(blocks(len(x), self.batch_size))
        for group in blocks(len(batches), self.batches_ahead):
            with one_blas_thread():  # once for several batches: this call takes a tenth of the time of a small batch
                learned = [
                    self._learn_batch(x[batch], labels[batch], None if ids is None else ids[batch]) for batch in batches[group]
                ]
            yield from learned

    def loss_of(self, outputs: Array, labels: Array) -> Array:
        """Return the loss of each image, shape (images,), for the outputs of one run."""
        return self.loss.value(xp_of(outputs).ascontiguousarray(outputs.T)[:, :, None], labels)[:, 0]

    def losses(self, x: Array, labels: Array, block: int) -> Array:
        """Return the mean loss of each image over 32 noisy runs, shape (images,).

        A block has the same noise after every epoch. The noise of all its images is drawn at once, but the images are then run in
        parts that fit into the memory budget.
        """
        labels = _checked(self.model, x, labels)
        laws = [layer.law for layer in self.model.layers]
        runs = VALIDATION_RUNS if any(laws) else 1
        at = Address(self.seed, (block,), "validation noise")
        noise = Independent().draw(x, laws, self.model.widths, len(x), runs, at)
        means = []
        for part in blocks(len(x), images_per_block(self.model.bytes_per_image * runs)):
            own = tuple(None if e is None else e[:, part] for e in noise)
            with one_blas_thread():
                outputs = self.model.run(xp_of(x).ascontiguousarray(x[part].T), own).outputs
                means.append(self.loss.value(outputs, labels[part]).mean(axis=1))
        return xp_of(x).concatenate(means)

    def _learn_batch(self, x: Array, labels: Array, ids: Array | None) -> Learned:
        outputs, _ = self.model.forward(x)
        at, history = Address(self.seed, (self.steps,)), NO_HISTORY
        if self.mean_loss is not None:
            history = History(baseline=self.mean_loss.of(labels, ids))
        if self.scatter is not None:
            loss, gradients = self._allocated(x, labels, ids, at, history)
        else:
            found = self._estimate(x, labels, self.replications, at, history)
            loss, gradients = found.loss, found.gradients
            if self.mean_loss is not None:
                self.mean_loss.update(labels, ids, loss, xp_of(loss).ones_like(loss), self.steps)
        self.steps += 1
        self._change(gradients)
        return Learned(loss, outputs)

    def _estimate(self, x: Array, labels: Array, replications: int, at: Address, history: History) -> GradientEstimate:
        given = (self.model, self.loss, self.estimator, x, labels, replications, at, self.learn_scale)
        return estimate(*given, wait=False, history=history)

    def _allocated(
        self, x: Array, labels: Array, ids: Array | None, at: Address, history: History
    ) -> tuple[Array, list[dict[str, Array]]]:
        """Return an estimate of each image's loss, and the gradients, with different numbers of replications for the images."""
        assert self.scatter is not None
        least = self.estimator.design.least(self.estimator.baseline)
        start = abs(signed_uniform(x, at.seed, f"{at.stream}, images", at.numbers, 1))
        draws = max(1, len(x) * self.replications // least)
        drawn = allocate(self.scatter.of(labels, ids), start, draws)
        own = drawn.images
        history = History(None if history.baseline is None else history.baseline[own], drawn.weights)
        found = self._estimate(x[own], labels[own], least, at, history)
        times, loss, weighted = (
            by_image(values, own, len(x)) for values in (drawn.weights * 0 + 1, found.loss, found.loss * drawn.weights)
        )
        seen = xp_of(x).maximum(times, 1)
        if self.mean_loss is not None:
            self.mean_loss.update(labels, ids, loss / seen, times, self.steps)
        norm = xp_of(x).sqrt((found.first_credit**2).sum(axis=1) * (1 + (x[own] * x[own]).sum(axis=1))) / drawn.weights
        self.scatter.update(labels, ids, by_image(norm, own, len(x)) / seen, times, self.steps)
        return weighted * (len(x) / draws), found.gradients

    def _change(self, gradients: list[dict[str, Array]]) -> None:
        xp, layers = xp_of(self.learned), self.model.layers
        parts = [self._gradient(layers[number], name, gradients[number]).ravel() for number, name in self._places]
        gradient = xp.concatenate(parts)
        self.optimizer.update(self.learned, gradient, self.state, self.steps, xp.empty_like(gradient))
        end = 0
        for (number, name), part in zip(self._places, parts, strict=True):
            end += part.size
            learned = self.learned[end - part.size : end]
            if name == "log_scale":
                xp.exp(learned, out=layers[number].scale)
            else:
                array = getattr(layers[number], name)
                array[...] = learned.reshape(array.shape)

    def _gradient(self, layer: NoisyLayer, name: str, gradient: dict[str, Array]) -> Array:
        if name == "log_scale":
            return gradient["scale"] * layer.scale
        if name in ("weight", "recurrent"):
            add_penalty(gradient[name], getattr(layer, name), self.l2, self.l1)
        return gradient[name]
