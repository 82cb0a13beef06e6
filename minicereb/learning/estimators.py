"""Estimators of the derivative of a noisy network's mean loss: one interface, each a function of given noise.

An estimator says what the *credit* of every neuron is: an unbiased estimate of the derivative by its signal v, for each
replication of the noise. The rest follows as everywhere in the project: the derivative by a weight is pre-synaptic activity
times credit, by the input it is the first layer's credit sent back through its weights.

==============  ================================================================================
plain           loss × score of the neuron's own noise (the paper's Eq. 5, 6)
baseline        the same with the mean loss of the other replications subtracted
antithetic      the same over pairs of opposite noise
sobol           the same over scrambled Sobol points
rao-blackwell   the score replaced by its mean given whether the neuron fires (threshold neurons)
flip            density at threshold × difference that firing makes to the loss (threshold neurons)
resample        loss × score with one neuron's noise drawn again at a time, in strata and pairs
exact           the sum over all patterns of a small layer of threshold neurons
backprop        derivatives along the noise (smooth activations and losses only)
==============  ================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from minicereb.backend import Array, xp_of
from minicereb.calculus.noise import conditional_score
from minicereb.calculus.replicated import ReplicatedLoss, error_probability, error_probability_gradient
from minicereb.errors import InputError, require
from minicereb.learning.noise import Antithetic, Design, Independent, Sobol
from minicereb.models.noisy import NoisyLayer, NoisyNetwork, Trace

PAIRS = 2  # of nodes at which a neuron's own noise is drawn again


class Credit(NamedTuple):
    """Estimated derivative of the loss by the signals of a layer: ``values * weight / divisor``.

    Attributes
    ----------
    values : array, shape (outputs, images, replications)
        A score, or the derivative itself.
    weight : array, shape (images, replications), or None
        What the values are multiplied by: for a score, the loss less its baseline.
    divisor : array, shape (1,), or None
        The noise scale σ, if the values are for noise of unit scale.
    motion : array
        By how much v moves with σ: the noise e; or ``-u/σ``, if the noise itself was averaged over.
    changing_density : int
        Number of neurons whose score's own change with σ counts: the layer's for the score function, else 0.
    by_density : array, shape (images, replications), or None
        In place of the last two: the derivative by σ itself, before the division.
    """

    values: Array
    weight: Array | None
    divisor: Array | None
    motion: Array | None
    changing_density: int = 0
    by_density: Array | None = None

    def by_image(self) -> Array:
        """Return the mean over replications, shape (images, outputs)."""
        xp = xp_of(self.values)
        if self.weight is None:
            mean = self.values.mean(axis=2).T
        else:
            mean = xp.matmul(self.values.transpose(1, 0, 2), self.weight[:, :, None])[:, :, 0] / self.weight.shape[1]
        return mean if self.divisor is None else mean / self.divisor

    def rows(self) -> Array:
        """Return the credit for each image and replication, shape (images · replications, outputs)."""
        credit = self.values if self.weight is None else self.values * self.weight
        rows = credit.reshape(len(credit), -1).T
        return rows if self.divisor is None else rows / self.divisor

    def by_scale(self) -> Array:
        """Return the derivative by σ, mean over replications and summed over images."""
        moved = self.by_density
        if moved is None:
            moved = (self.values * self.motion).sum(axis=0) - self.changing_density
        if self.weight is not None:
            moved = moved * self.weight
        total = moved.mean(axis=1).sum()
        return total if self.divisor is None else total / self.divisor[0]


class Piece(NamedTuple):
    """What an estimator says about some images.

    Attributes
    ----------
    loss : array, shape (images,)
        Mean over replications.
    first_credit : array, shape (images, outputs)
        Of the first layer, mean over replications.
    gradients : list of dict
        For every layer after the first, the derivatives by weight and bias; for every layer, by scale where asked for: means over
        replications, sums over images.
    """

    loss: Array
    first_credit: Array
    gradients: list[dict[str, Array]]


class Estimator(Protocol):
    """An unbiased estimator of the derivatives of a noisy network's mean loss."""

    @property
    def name(self) -> str:
        """By which it is asked for."""

    @property
    def design(self) -> Design:
        """How its noise is drawn."""

    @property
    def baseline(self) -> bool:
        """Whether it subtracts the mean loss of other replications, of which it then needs some."""

    @property
    def columns_per_sample(self) -> int:
        """How many runs of the later layers one sample costs, for the size of blocks."""

    def check(self, network: NoisyNetwork, loss: ReplicatedLoss) -> None:
        """Raise :class:`InputError`, naming what would do, if the estimator does not apply."""

    def on(self, network: NoisyNetwork, loss: ReplicatedLoss, x_t: Array, labels: Array, noise: Any, scales: bool) -> Piece:
        """Return the estimate from given noise for images in columns, shape (inputs, images)."""


def collect(network: NoisyNetwork, trace: Trace, loss: Array, credits: list[Credit], scales: bool) -> Piece:
    """Turn the credits of all layers into gradients."""
    gradients: list[dict[str, Array]] = []
    for number, (layer, credit) in enumerate(zip(network.layers, credits, strict=True)):
        gradient = {}
        if number:
            x = trace.inputs[number]
            replications = x.shape[2]
            gradient = layer.weight_gradient(credit.rows(), x.reshape(len(x), -1).T)
            gradient = {name: total / replications for name, total in gradient.items()}
        if scales and layer.law is not None:
            gradient["scale"] = credit.by_scale().reshape(1)
        gradients.append(gradient)
    return Piece(loss.mean(axis=1), credits[0].by_image(), gradients)


# -- the last layer ----------------------------------------------------------------------------------------------------------


class _Last(NamedTuple):
    """The last layer of a network with its loss, in the form that has a derivative.

    A smooth loss is taken at the noisy outputs; the 0-1 loss is averaged over their noise.
    """

    layer: NoisyLayer
    loss: ReplicatedLoss

    def value(self, drive: Array, noise: Array | None, nodes: Array | None, labels: Array) -> Array:
        if nodes is not None:
            assert self.layer.law is not None
            return error_probability(drive, labels, self.layer.law, self.layer.scale, nodes)
        return self.loss.value(self.layer.respond(drive if noise is None else drive + noise * self.layer.scale), labels)

    def nodes(self, noise: Array | None, labels: Array) -> Array | None:
        """The noise on each label's own output, given which the 0-1 loss is averaged over that on the others."""
        return None if self.loss.smooth or noise is None else noise[labels, xp_of(noise).arange(len(labels))][None]

    def credit(self, trace: Trace, nodes: Array | None, labels: Array) -> Credit:
        drive, signal, noise = trace.drives[-1], trace.signals[-1], trace.noise[-1]
        if nodes is None:
            derivative = self.loss.derivative(trace.outputs, labels) * self.layer.slope(signal)
            return Credit(derivative, None, None, noise)
        assert self.layer.law is not None
        derivative = error_probability_gradient(drive, labels, self.layer.law, self.layer.scale, nodes)
        return Credit(derivative, None, None, -drive / self.layer.scale)


def _check_last(network: NoisyNetwork, loss: ReplicatedLoss, estimator: str) -> None:
    """The last layer must have a derivative: a smooth loss, or noise on plain outputs to average the 0-1 loss over."""
    last = network.layers[-1]
    if loss.smooth:
        smooth = last.activation is None or last.activation.smooth
        require(smooth, "estimator", estimator, "plain, baseline, antithetic or sobol for outputs with such an activation")
    else:
        plain = last.law is not None and last.activation is None
        require(plain, "estimator", estimator, "used with output noise and no output activation for a loss without derivative")


def _check_noise(network: NoisyNetwork, estimator: str, hidden_only: bool) -> None:
    layers = network.layers[:-1] if hidden_only else network.layers
    noisy = all(layer.law is not None for layer in layers)
    where = "every hidden layer" if hidden_only else "every layer, the outputs included, unless their derivative is used"
    require(noisy, "estimator", estimator, f"used with noise in {where}")


def _check_threshold(network: NoisyNetwork, estimator: str) -> None:
    for layer in network.layers[:-1]:
        name = layer.activation.name if layer.activation else "none"
        if name != "threshold":
            expected = "resample, plain, baseline, antithetic, sobol" + (
                " or backprop" if layer.activation and layer.activation.smooth else ""
            )
            raise InputError(
                "estimator", f"{estimator} with {name} neurons", f"--activation threshold, or an estimator of {expected}"
            )


# -- the score function ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ScoreFunction:
    """Loss × score ``[G5]`` ``[G6]``: a neuron's credit is ``(L - b) s(e) / σ``.

    Parameters
    ----------
    name : str
    design : Design
        How the noise is drawn.
    baseline : bool
        Whether the mean loss of the other groups of replications is subtracted ``[M-LOO]``.
    conditional : bool
        Whether the score of threshold neurons is replaced by its mean given whether they fire ``[M-RB]``.
    derivative_last : bool
        Whether the last layer's credit is a derivative instead (pathwise; for the 0-1 loss after averaging over output noise).
    """

    name: str = "plain"
    design: Design = field(default_factory=Independent)
    baseline: bool = False
    conditional: bool = False
    derivative_last: bool = False
    columns_per_sample = 1

    def check(self, network: NoisyNetwork, loss: ReplicatedLoss) -> None:
        """Raise :class:`InputError` if the estimator does not apply."""
        if self.conditional:
            _check_threshold(network, self.name)
        if self.derivative_last:
            _check_last(network, loss, self.name)
        _check_noise(network, self.name, hidden_only=self.derivative_last)

    def on(self, network: NoisyNetwork, loss: ReplicatedLoss, x_t: Array, labels: Array, noise: Any, scales: bool) -> Piece:
        """Return the estimate from given noise."""
        trace = network.run(x_t, noise)
        last = _Last(network.layers[-1], loss)
        nodes = last.nodes(trace.noise[-1], labels) if self.derivative_last else None
        value = last.value(trace.drives[-1], None, nodes, labels) if nodes is not None else loss.value(trace.outputs, labels)
        weight = value - self.design.others(value) if self.baseline else value
        credits = [self._credit(layer, trace, number, weight) for number, layer in enumerate(network.layers[:-1])]
        if self.derivative_last:
            credits.append(last.credit(trace, nodes, labels))
        else:
            credits.append(self._credit(network.layers[-1], trace, len(credits), weight))
        return collect(network, trace, value, credits, scales)

    def _credit(self, layer: NoisyLayer, trace: Trace, number: int, weight: Array) -> Credit:
        law, e = layer.law, trace.noise[number]
        assert law is not None
        assert e is not None
        if self.conditional and layer.activation is not None and layer.activation.name == "threshold":
            a = trace.drives[number] / layer.scale
            return Credit(conditional_score(law, trace.responses[number], a), weight, layer.scale, -a)
        return Credit(law.score(e), weight, layer.scale, e, len(e))


# -- flips -------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Flip:
    """``f(u/σ)/σ · (L(h=1) - L(h=0))`` for every threshold neuron, the rest of the noise held fixed ``[M-FLIP]``.

    The last layer's credit is the derivative of the loss. Every neuron's two outcomes are run through all later layers.
    """

    name = "flip"
    design: Design = field(default_factory=Independent)
    baseline = False
    columns_per_sample = 32

    def check(self, network: NoisyNetwork, loss: ReplicatedLoss) -> None:
        """Raise :class:`InputError` if the estimator does not apply."""
        _check_threshold(network, self.name)
        _check_last(network, loss, self.name)
        _check_noise(network, self.name, hidden_only=True)

    def on(self, network: NoisyNetwork, loss: ReplicatedLoss, x_t: Array, labels: Array, noise: Any, scales: bool) -> Piece:
        """Return the estimate from given noise."""
        trace = network.run(x_t, noise)
        last = _Last(network.layers[-1], loss)
        nodes = last.nodes(trace.noise[-1], labels)
        value = last.value(trace.drives[-1], trace.noise[-1], nodes, labels)
        credits = []
        for number, layer in enumerate(network.layers[:-1]):
            fires = trace.responses[number]
            flipped = _loss_with(network, last, trace, number, 1 - fires, nodes, labels)
            a = trace.drives[number] / layer.scale
            assert layer.law is not None
            credits.append(Credit((flipped - value) * (1 - 2 * fires) * layer.law.density(a), None, layer.scale, -a))
        credits.append(last.credit(trace, nodes, labels))
        return collect(network, trace, value, credits, scales)


def _loss_with(
    network: NoisyNetwork, last: _Last, trace: Trace, number: int, response: Array, nodes: Array | None, labels: Array
) -> Array:
    """Loss with one neuron of layer `number` responding otherwise, for each of them: shape (neurons, images, replications).

    `response`, of the same shape, is each neuron's other response; all noise stays as it was.
    """
    xp = xp_of(labels)
    was = trace.responses[number]
    neurons, images, replications = was.shape
    following = network.layers[number + 1]
    drive = trace.drives[number + 1][:, None] + following.weight[:, :, None, None] * (response - was)
    drive = drive.reshape(len(drive), neurons * images, replications)

    def for_each_neuron(array: Array) -> Array:
        """Repeat what belongs to an image and replication for every neuron that responds otherwise."""
        shape = (len(array), neurons, images, replications)
        return xp.broadcast_to(array[:, None], shape).reshape(len(array), neurons * images, replications)

    for later in range(number + 1, len(network.layers) - 1):
        e = trace.noise[later]
        layer = network.layers[later]
        drive = network.layers[later + 1].drive(layer.respond(drive + for_each_neuron(e) * layer.scale))
    e = trace.noise[-1]
    all_nodes = None if nodes is None else for_each_neuron(nodes)
    all_noise = None if e is None or nodes is not None else for_each_neuron(e)
    return last.value(drive, all_noise, all_nodes, xp.tile(labels, neurons)).reshape(neurons, images, replications)


# -- resampling --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Resample:
    """The score function with one neuron's noise drawn again at a time, all other noise held fixed ``[M-RESAMPLE]``.

    ``mean_q L(e_q) s(e_q) / σ`` over nodes e_q in pairs ±, one pair in each of PAIRS strata of the neuron's law, placed by its
    own noise: what the other neurons' noise does to the loss cancels in the difference of a pair. For any activation. The last
    layer's credit is the derivative of the loss.
    """

    name = "resample"
    design: Design = field(default_factory=Independent)
    baseline = False
    columns_per_sample = 32

    def check(self, network: NoisyNetwork, loss: ReplicatedLoss) -> None:
        """Raise :class:`InputError` if the estimator does not apply."""
        _check_last(network, loss, self.name)
        _check_noise(network, self.name, hidden_only=True)

    def on(self, network: NoisyNetwork, loss: ReplicatedLoss, x_t: Array, labels: Array, noise: Any, scales: bool) -> Piece:
        """Return the estimate from given noise."""
        trace = network.run(x_t, noise)
        last = _Last(network.layers[-1], loss)
        nodes = last.nodes(trace.noise[-1], labels)
        value = last.value(trace.drives[-1], trace.noise[-1], nodes, labels)
        credits = [self._credit(network, last, trace, number, nodes, labels, scales) for number in range(len(network.layers) - 1)]
        credits.append(last.credit(trace, nodes, labels))
        return collect(network, trace, value, credits, scales)

    def _credit(
        self, network: NoisyNetwork, last: _Last, trace: Trace, number: int, nodes: Array | None, labels: Array, scales: bool
    ) -> Credit:
        layer, e, u = network.layers[number], trace.noise[number], trace.drives[number]
        xp, law = xp_of(labels), layer.law
        assert law is not None
        assert e is not None
        edge = e.dtype.type(1e-6)
        place = law.distribution(e)

        def loss_at(noise: Array | float) -> Array:
            return _loss_with(network, last, trace, number, layer.respond(u + noise * layer.scale), nodes, labels)

        still: Any = loss_at(0 * e) if scales else None
        values, moved = 0, 0
        for stratum in range(PAIRS):
            q = law.quantile(xp.clip((stratum + place) / e.dtype.type(2 * PAIRS), edge, 0.5))
            above, below, score = loss_at(-q), loss_at(q), law.score(-q)
            values = values + (above - below) * score
            if scales:
                moved = moved + ((above + below - 2 * still) * (-q * score - 1)).sum(axis=0)
        return Credit(values / (2 * PAIRS), None, layer.scale, None, by_density=moved / (2 * PAIRS))


# -- derivatives along the noise ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Backprop:
    """Backpropagation ``[G3]`` along given noise, or without any: the smooth special case, and the control."""

    name = "backprop"
    design: Design = field(default_factory=Independent)
    baseline = False
    columns_per_sample = 1

    def check(self, network: NoisyNetwork, loss: ReplicatedLoss) -> None:
        """Raise :class:`InputError` if the estimator does not apply."""
        require(loss.smooth, "estimator", self.name, "plain, baseline, antithetic, sobol or flip for a loss without derivative")
        for layer in network.layers:
            smooth = layer.activation is None or layer.activation.smooth
            require(
                smooth,
                "estimator",
                self.name,
                f"another for {layer.activation and layer.activation.name}, which has no derivative",
            )

    def on(self, network: NoisyNetwork, loss: ReplicatedLoss, x_t: Array, labels: Array, noise: Any, scales: bool) -> Piece:
        """Return the estimate from given noise."""
        trace = network.run(x_t, noise)
        value = loss.value(trace.outputs, labels)
        d_response = loss.derivative(trace.outputs, labels)
        credits: list[Credit] = []
        for number in reversed(range(len(network.layers))):
            layer = network.layers[number]
            d_v = d_response * layer.slope(trace.signals[number])
            credits.append(Credit(d_v, None, None, trace.noise[number]))
            if number:
                d_response = layer.weight.T @ d_v.reshape(len(d_v), -1)
                d_response = d_response.reshape(len(d_response), *d_v.shape[1:])
        return collect(network, trace, value, credits[::-1], scales)


ESTIMATORS: dict[str, Any] = {
    "plain": ScoreFunction(),
    "baseline": ScoreFunction("baseline", baseline=True),
    "antithetic": ScoreFunction("antithetic", Antithetic(), baseline=True),
    "sobol": ScoreFunction("sobol", Sobol(), baseline=True),
    "rao-blackwell": ScoreFunction("rao-blackwell", baseline=True, conditional=True),
    "flip": Flip(),
    "resample": Resample(),
    "backprop": Backprop(),
}
