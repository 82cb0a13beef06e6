"""Estimators of the derivative of a noisy network's mean loss, with one interface: each is a function of given noise.

An estimator gives the *credit* of every neuron: an unbiased estimate of the derivative with respect to its signal v, for
each replication of the noise. The rest is the same as everywhere in the project: the derivative with respect to a weight is
pre-synaptic activity times credit, and the derivative with respect to the input is the first layer's credit sent back through its
weights.

==============  ================================================================================
plain           loss × score of the neuron's own noise (the paper's Eq. 5, 6)
baseline        the same with the mean loss of the other replications subtracted
antithetic      the same over pairs of opposite noise
sobol           the same over scrambled Sobol points
rao-blackwell   the score replaced by its mean given whether the neuron fires (threshold neurons)
flip            density at the threshold × change of the loss if the neuron fires (threshold neurons)
resample        loss × score with one neuron's noise drawn again at a time, in strata and pairs
exact           the sum over all patterns of a small layer of threshold neurons
backprop        derivatives along the noise (smooth activations and losses only)
==============  ================================================================================
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from minicereb.backend import Array, xp_of
from minicereb.calculus.noise import conditional_score
from minicereb.calculus.replicated import ReplicatedLoss
from minicereb.errors import require
from minicereb.learning.credit import Credit, Estimator, GradientEstimate, LastLayer, collect
from minicereb.learning.exact import Exact
from minicereb.learning.noise import Address, Antithetic, Design, Independent, Sobol
from minicereb.models.noisy import Noise, NoisyLayer, NoisyNetwork, Trace
from minicereb.models.noisy_convolution import NoisyConvolution
from minicereb.models.noisy_time import NoisyTime
from minicereb.randomness import signed_uniform

PAIRS = 2  # pairs of nodes at which a neuron's own noise is redrawn
PROBES = 64  # units of a convolution that are changed per image and replication
MOST_DIMENSIONS = 21_201  # the limit of SciPy's Sobol sequence
LossWith = Callable[[Array], Array]  # takes every neuron's other response; returns the loss with that neuron alone changed


def _check_last_layer(network: NoisyNetwork, loss: ReplicatedLoss, estimator: str) -> None:
    """Require a last layer with a derivative: a smooth loss, or a 0-1 loss averaged over the noise of plain outputs."""
    last = network.layers[-1]
    if loss.smooth:
        smooth = last.activation is None or last.activation.smooth
        require(smooth, "estimator", estimator, "plain, baseline, antithetic or sobol for outputs with such an activation")
    else:
        plain = last.law is not None and last.activation is None
        require(plain, "estimator", estimator, "output noise, and no output activation, for a loss without derivative")


def _check_noise(network: NoisyNetwork, estimator: str, hidden_only: bool) -> None:
    """Require noise in every layer, or at least in every hidden one."""
    layers = network.layers[:-1] if hidden_only else network.layers
    noisy = all(layer.law is not None for layer in layers)
    where = "every hidden layer" if hidden_only else "every layer, the outputs included, unless their derivative is used"
    require(noisy, "estimator", estimator, f"noise in {where}, for this estimator")


def _check_threshold(network: NoisyNetwork, estimator: str) -> None:
    """Require threshold neurons in every hidden layer."""
    for activation in (layer.activation for layer in network.layers[:-1]):
        name = activation.name if activation else "none"
        others = "resample, plain, baseline, antithetic, sobol" + (" or backprop" if activation and activation.smooth else "")
        expected = f"--activation threshold, or an estimator of {others}"
        require(name == "threshold", "estimator", f"{estimator} with {name} neurons", expected)


def _check_in_turn(network: NoisyNetwork, in_turn: bool) -> None:
    """Refuse noise in one layer at a time where a layer runs through time."""
    in_time = any(isinstance(layer, NoisyTime) for layer in network.layers)
    require(not (in_turn and in_time), "placement", "in-turn", "all for recurrent and spiking networks")


def _check_sobol(network: NoisyNetwork) -> None:
    """Require no more noise values than a Sobol sequence has dimensions."""
    values = sum(network.widths)
    expected = f"antithetic or baseline: the network draws {values:,} noise values, a Sobol sequence has {MOST_DIMENSIONS:,}"
    require(values <= MOST_DIMENSIONS, "estimator", "sobol", expected)


class NoisyRuns(NamedTuple):
    """Noisy runs of some images, and the loss of each.

    Attributes
    ----------
    trace : Trace
    labels : array of int, shape (images,)
    nodes : array or None
        Noise on each label's own output, if the loss is averaged over the noise on the other outputs.
    value : array, shape (images, replications)
    """

    trace: Trace
    labels: Array
    nodes: Array | None
    value: Array


@dataclass(frozen=True)
class Layerwise(Estimator):
    """Estimators that compute one layer's credit after another, from runs with noise in all layers or in that layer only.

    Parameters
    ----------
    in_turn : bool
        Whether one layer at a time has noise. Each layer then has its own runs, for which the layers below are computed once per
        image. Its credit is the derivative of the mean loss over its own noise, with all other layers noiseless ``[M-TURN]``.
    redraw_last : bool
        Whether the last layer's credit is estimated with one output's noise redrawn at a time ``[M-RESAMPLE]``.
    """

    in_turn: bool = field(default=False, kw_only=True)
    redraw_last: bool = field(default=False, kw_only=True)

    @property
    def derives_last(self) -> bool:
        """Whether the last layer's credit is a derivative."""
        raise NotImplementedError

    def on(
        self, network: NoisyNetwork, loss: ReplicatedLoss, x_t: Array, labels: Array, noise: Any, scales: bool
    ) -> GradientEstimate:
        """Return the estimate from given noise."""
        noise, places = noise if isinstance(noise, Probing) else Probing(noise, (None,) * len(network.layers))
        last, xp = LastLayer(network.layers[-1], loss), xp_of(x_t)
        quiet = network.run(x_t, None) if self.in_turn else None
        run = None if self.in_turn else self._run(last, network.run(x_t, noise), labels)
        inputs, signals, credits, values = [], [], [], []
        for number, e in enumerate(noise):
            if quiet is not None:
                run = self._run(last, quiet if e is None else network.run_above(quiet, number, e), labels)
                values.append(run.value.mean(axis=1))
            assert run is not None
            inputs.append(run.trace.inputs[number])
            signals.append(run.trace.signals[number])
            if number < len(noise) - 1:
                credits.append(self._credit(network, last, run, number, places[number], scales))
            else:
                credits.append(self._last_credit(last, run, scales))
        value = run.value if run is not None and quiet is None else xp.stack(values, axis=1)
        return collect(network, inputs, signals, value, credits, scales)

    def _run(self, last: LastLayer, trace: Trace, labels: Array) -> NoisyRuns:
        nodes = last.nodes(trace.noise[-1], labels) if self.derives_last else None
        return NoisyRuns(trace, labels, nodes, last.value_in(trace, nodes, labels))

    def _last_credit(self, last: LastLayer, run: NoisyRuns, scales: bool) -> Credit:
        if self.redraw_last:
            layer, u = last.layer, run.trace.drives[-1]
            redrawn = _redrawn(layer, run.trace.noise[-1], lambda e: _loss_with_output(last, run, u + e * layer.scale), scales)
            return redrawn.credit(layer.scale)
        return last.credit(run.trace, run.nodes, run.labels)

    def _credit(
        self, network: NoisyNetwork, last: LastLayer, run: NoisyRuns, number: int, places: Array | None, scales: bool
    ) -> Credit:
        raise NotImplementedError


@dataclass(frozen=True)
class ScoreFunction(Layerwise):
    """Loss × score ``[G5]`` ``[G6]``: a neuron's credit is ``(L - b) s(e) / σ``.

    Parameters
    ----------
    name : str
    design : Design
        How the noise is drawn.
    baseline : bool
        Whether the mean loss of the other groups of replications is subtracted ``[M-LOO]``.
    conditional : bool
        Whether the score of threshold neurons is replaced by its mean given whether they fire ``[M-RB]``. Through time this is
        the score of the spikes ``[M-PATH]``, with less variance than the score of the noise ``[M-PATHVAR]``.
    derivative_last : bool
        Whether the last layer's credit is the pathwise derivative instead; the 0-1 loss is first averaged over the output noise.
    in_turn, redraw_last : bool
        As for :class:`Layerwise`.
    """

    name: str = "plain"
    design: Design = Independent()
    baseline: bool = False
    conditional: bool = False
    derivative_last: bool = False

    @property
    def derives_last(self) -> bool:
        """Whether the last layer's credit is a derivative."""
        return self.derivative_last

    def check(self, network: NoisyNetwork, loss: ReplicatedLoss) -> None:
        """Raise :class:`InputError` if it does not apply."""
        if self.conditional:
            _check_threshold(network, self.name)
        if isinstance(self.design, Sobol):
            _check_sobol(network)
        _check_in_turn(network, self.in_turn)
        if self.derivative_last:
            _check_last_layer(network, loss, self.name)
        _check_noise(network, self.name, hidden_only=self.derivative_last)

    def _last_credit(self, last: LastLayer, run: NoisyRuns, scales: bool) -> Credit:
        if self.derivative_last or self.redraw_last:
            return super()._last_credit(last, run, scales)
        return self._scored(last.layer, run, len(run.trace.noise) - 1)

    def _credit(
        self, network: NoisyNetwork, last: LastLayer, run: NoisyRuns, number: int, places: Array | None, scales: bool
    ) -> Credit:
        return self._scored(network.layers[number], run, number)

    def _scored(self, layer: NoisyLayer, run: NoisyRuns, number: int) -> Credit:
        law, e, trace = layer.law, run.trace.noise[number], run.trace
        weight = run.value - self.design.others(run.value) if self.baseline else run.value
        assert law is not None
        assert e is not None
        if self.conditional and layer.activation is not None and layer.activation.name == "threshold":
            a, fires = trace.drives[number] / layer.scale, layer.activation(trace.signals[number])
            return Credit(conditional_score(law, fires, a), weight, layer.scale, -a)
        return Credit(law.score(e), weight, layer.scale, e, len(e))


class Probing(NamedTuple):
    """Noise and, for each layer with shared weights, the numbers that choose the units to change, (images, replications)."""

    noise: Noise
    places: tuple[Array | None, ...]


@dataclass(frozen=True)
class OneByOne(Layerwise):
    """Estimators that change one hidden neuron at a time, all other noise held fixed, and rerun the later layers.

    In a dense layer every neuron is changed. In a convolution `probes` units are changed, drawn anew for every image and
    replication, and their credit is divided by their probability of being drawn ``[M-PROBE]``. The last layer's credit is the
    derivative of the loss or, with `redraw_last`, is estimated from loss values too.

    Parameters
    ----------
    probes : int
    in_turn, redraw_last : bool
        As for :class:`Layerwise`.
    """

    probes: int = PROBES
    columns_per_sample = 32
    threshold_only = False

    @property
    def derives_last(self) -> bool:
        """Whether the last layer's credit is a derivative."""
        return not self.redraw_last

    def check(self, network: NoisyNetwork, loss: ReplicatedLoss) -> None:
        """Raise :class:`InputError` if it does not apply."""
        require(self.probes >= 1, "probes", self.probes, "at least 1")
        self._check_time(network)
        _check_in_turn(network, self.in_turn)
        if self.threshold_only:
            _check_threshold(network, self.name)
        if not self.redraw_last:
            _check_last_layer(network, loss, self.name)
        _check_noise(network, self.name, hidden_only=not self.redraw_last)

    def _check_time(self, network: NoisyNetwork) -> None:
        """Refuse recurrent layers, where one response influences all neurons, and, for resample, any layer in time."""
        for layer in network.layers:
            if isinstance(layer, NoisyTime):
                able = self.threshold_only and layer.recurrent is None
                where = f"{self.name} with {'spiking' if layer.recurrent is None else 'recurrent'} neurons"
                fits = "flip, rao-blackwell" if layer.recurrent is None else "rao-blackwell (threshold)"
                require(able, "estimator", where, f"{fits}, antithetic, baseline or plain")

    def draw(self, network: NoisyNetwork, like: Array, images: int, replications: int, at: Address) -> Any:
        """Draw the noise, and the numbers that choose the units of convolutions."""
        noise = super().draw(network, like, images, replications, at)
        if network.is_dense:
            return noise
        places = []
        for number, layer in enumerate(network.layers):
            numbers = (*at.numbers, number)
            uniform = signed_uniform(like, at.seed, f"{at.stream}, units", numbers, images * replications)
            chooses = isinstance(layer, NoisyConvolution)
            places.append(abs(uniform).reshape(images, replications) if chooses else None)
        return Probing(noise, tuple(places))

    def numbers_per_sample(self, network: NoisyNetwork) -> int:
        """Return how many numbers each replication of an image takes: the later layers are run once per changed unit."""
        if network.is_dense:
            return super().numbers_per_sample(network)
        return 4 * sum(network.widths) + self.probes * sum(network.widths[1:])

    def _credit(
        self, network: NoisyNetwork, last: LastLayer, run: NoisyRuns, number: int, places: Array | None, scales: bool
    ) -> Credit:
        layer = network.layers[number]
        if places is not None and isinstance(layer, NoisyConvolution):
            return self._probed(network, last, run, number, layer, places, scales)
        if isinstance(layer, NoisyTime):
            return self._in_time(layer, run, number, functools.partial(_loss_with, network, last, run, number))
        return self._changed(layer, run, number, functools.partial(_loss_with, network, last, run, number), scales)

    def _changed(self, layer: NoisyLayer, run: NoisyRuns, number: int, loss_with: LossWith, scales: bool) -> Credit:
        """Return the credit of a dense layer."""
        raise NotImplementedError

    def _probed(
        self,
        network: NoisyNetwork,
        last: LastLayer,
        run: NoisyRuns,
        number: int,
        layer: NoisyConvolution,
        places: Array,
        scales: bool,
    ) -> Credit:
        """Return the credit of a convolution."""
        raise NotImplementedError

    def _in_time(self, layer: NoisyTime, run: NoisyRuns, number: int, loss_with: LossWith) -> Credit:
        """Return the credit of a layer in time."""
        raise NotImplementedError


@dataclass(frozen=True)
class Flip(OneByOne):
    """``f(u/σ)/σ · (L(h=1) - L(h=0))`` for every threshold neuron, all other noise held fixed ``[M-FLIP]``.

    Parameters
    ----------
    probes, in_turn, redraw_last
        As for :class:`OneByOne`. The units of a convolution are drawn with probabilities proportional to f(u/σ) times the change
        of the pooled response, so units without influence are never drawn.
    """

    name = "flip"
    threshold_only = True

    def _changed(self, layer: NoisyLayer, run: NoisyRuns, number: int, loss_with: LossWith, scales: bool) -> Credit:
        fires = run.trace.responses[number]
        flipped = loss_with(1 - fires)
        a = run.trace.drives[number] / layer.scale
        assert layer.law is not None
        return Credit((flipped - run.value) * (1 - 2 * fires) * layer.law.density(a), None, layer.scale, -a)

    def _probed(
        self,
        network: NoisyNetwork,
        last: LastLayer,
        run: NoisyRuns,
        number: int,
        layer: NoisyConvolution,
        places: Array,
        scales: bool,
    ) -> Credit:
        assert layer.law is not None
        assert layer.activation is not None
        trace, xp = run.trace, xp_of(run.value)
        fires = layer.activation(trace.signals[number])
        a = trace.drives[number] / layer.scale
        chance = layer.flip_effect(fires) * layer.law.density(a)
        drawn = draw_units(chance, places, self.probes)
        at = drawn.units, xp.arange(drawn.units.shape[0])[:, None]
        direction = 1 - 2 * _columns(fires)[at]
        effect = layer.response_change(fires, drawn.units, 1 - _columns(fires)[at])
        found = _loss_after(network, last, run, number, layer.response_of_unit()[drawn.units], effect)
        density = _columns(xp.broadcast_to(layer.law.density(a), fires.shape))[at]
        found = (found - run.value.reshape(-1, 1)) * direction * density
        return Credit(drawn.scatter(found, fires.shape), None, layer.scale, -a)

    def _in_time(self, layer: NoisyTime, run: NoisyRuns, number: int, loss_with: LossWith) -> Credit:
        """Flip every neuron in every step; its later spikes are computed from its own noise."""
        assert layer.law is not None
        assert layer.activation is not None
        u, v = run.trace.drives[number], run.trace.signals[number]
        flipped = xp_of(v).concatenate([loss_with(layer.after_flip(v, u, t)) for t in range(layer.steps)])
        fires, a = layer.activation(v), u / layer.scale
        return Credit((flipped - run.value) * (1 - 2 * fires) * layer.law.density(a), None, layer.scale, -a)


@dataclass(frozen=True)
class Resample(OneByOne):
    """The score function with one neuron's noise redrawn at a time, all other noise held fixed ``[M-RESAMPLE]``.

    ``mean_q L(e_q) s(e_q) / σ`` over nodes e_q in pairs ±, one pair in each of PAIRS strata of the neuron's noise distribution.
    The neuron's own noise determines the position within the stratum. The effect of the other neurons' noise on the loss cancels
    in the difference of a pair. Works for any activation.

    Parameters
    ----------
    probes, in_turn, redraw_last
        As for :class:`OneByOne`; the units of a convolution are drawn with equal probability.
    """

    name = "resample"

    def _changed(self, layer: NoisyLayer, run: NoisyRuns, number: int, loss_with: LossWith, scales: bool) -> Credit:
        u, e = run.trace.drives[number], run.trace.noise[number]
        return _redrawn(layer, e, lambda e: loss_with(layer.respond(u + e * layer.scale)), scales).credit(layer.scale)

    def _probed(
        self,
        network: NoisyNetwork,
        last: LastLayer,
        run: NoisyRuns,
        number: int,
        layer: NoisyConvolution,
        places: Array,
        scales: bool,
    ) -> Credit:
        trace, xp = run.trace, xp_of(run.value)
        v, e = trace.signals[number], trace.noise[number]
        assert e is not None
        drawn = draw_units(xp.ones_like(v), places, self.probes)
        at = drawn.units, xp.arange(drawn.units.shape[0])[:, None]
        h, index = layer.respond_alone(v), layer.response_of_unit()[drawn.units]
        u, own = (_columns(xp.broadcast_to(each, v.shape))[at] for each in (trace.drives[number], e))

        def loss_at(noise: Array) -> Array:
            effect = layer.response_change(h, drawn.units, layer.respond_alone(u + noise * layer.scale))
            return _loss_after(network, last, run, number, index, effect)

        found = _redrawn(layer, own, loss_at, scales)
        moved = None if found.moved is None else (found.moved / drawn.times).sum(axis=1).reshape(v.shape[1:])
        return Credit(drawn.scatter(found.values, v.shape), None, layer.scale, None, by_density=moved)


class DrawnUnits(NamedTuple):
    """Units of a layer drawn for every run.

    Attributes
    ----------
    units : array of int, shape (runs, draws)
    times : array of float, same shape
        How often each unit is drawn on average, above 0.
    """

    units: Array
    times: Array

    def scatter(self, found: Array, shape: tuple[int, ...]) -> Array:
        """Return an unbiased estimate of every unit's value, (units, images, replications), from those drawn."""
        xp, runs = xp_of(found), len(found)
        places = self.units * runs + xp.arange(runs)[:, None]
        total = xp.bincount(places.ravel(), (found / self.times).ravel(), shape[0] * runs)
        return total.astype(found.dtype).reshape(shape)


def draw_units(chance: Array, places: Array, draws: int) -> DrawnUnits:
    """Draw units of every run with probabilities in proportion to `chance`, by systematic sampling ``[M-PROBE]``.

    Parameters
    ----------
    chance : array, shape (units, images, replications)
        At least 0; a unit with 0 is not drawn unless all are 0.
    places : array, shape (images or 1, replications), values from 0 to 1
        The random start of the equally spaced points, as a share of their distance.
    draws : int

    References
    ----------
    Madow (1949), On the theory of systematic sampling, II.
    """
    xp, units = xp_of(chance), len(chance)
    sums = xp.cumsum(_columns(chance).T, axis=1, dtype=xp.float64)
    runs, total = len(sums), sums[:, -1:]
    share = sums / xp.where(total > 0, total, 1.0)
    share[:, -1] = 1.0
    share += xp.arange(runs, dtype=xp.float64)[:, None]
    start = xp.broadcast_to(places, chance.shape[1:]).reshape(-1, 1).astype(xp.float64)
    points = (xp.arange(draws, dtype=xp.float64) + start) / draws + xp.arange(runs, dtype=xp.float64)[:, None]
    found = xp.searchsorted(share.ravel(), points.ravel(), side="right").reshape(runs, draws)
    found = xp.clip(found - units * xp.arange(runs)[:, None], 0, units - 1)
    own = _columns(chance)[found, xp.arange(runs)[:, None]].astype(xp.float64)
    times = xp.where(own > 0, draws * own / xp.where(total > 0, total, 1.0), 1.0)
    return DrawnUnits(found, times.astype(chance.dtype))


def _columns(array: Array) -> Array:
    """(units, images, replications) as (units, runs)."""
    return array.reshape(len(array), -1)


class Redrawn(NamedTuple):
    """Derivatives from redrawn noise, times σ: with respect to a neuron's signal and, if requested, to σ itself."""

    values: Array
    moved: Array | None

    def credit(self, scale: Array) -> Credit:
        """Return the credit of a whole layer, from arrays of shape (neurons, images, replications)."""
        return Credit(self.values, None, scale, None, by_density=None if self.moved is None else self.moved.sum(axis=0))


def _redrawn(layer: NoisyLayer, e: Array | None, loss_at: Callable[[Array], Array], scales: bool) -> Redrawn:
    """Redraw the noise `e` of some neurons, one at a time; `loss_at` returns each one's loss, in the shape of `e`."""
    law = layer.law
    assert law is not None
    assert e is not None
    edge = e.dtype.type(1e-6)
    place = law.distribution(e)
    still: Any = loss_at(0 * e) if scales else None
    values: Any = 0
    moved: Any = 0
    for stratum in range(PAIRS):
        q = law.quantile(xp_of(e).clip((stratum + place) / e.dtype.type(2 * PAIRS), edge, 0.5))
        above, below, score = loss_at(-q), loss_at(q), law.score(-q)
        values = values + (above - below) * score
        if scales:
            moved = moved + (above + below - 2 * still) * (-q * score - 1)
    return Redrawn(values / (2 * PAIRS), moved / (2 * PAIRS) if scales else None)


def _loss_with_output(last: LastLayer, run: NoisyRuns, signals: Array) -> Array:
    """Return, for each output, the loss with that output's signal changed: shape (outputs, images, replications)."""
    xp, v = xp_of(signals), run.trace.signals[-1]
    outputs, images, replications = v.shape
    each = xp.repeat(v[:, None], outputs, axis=1)
    each[xp.arange(outputs), xp.arange(outputs)] = signals
    each = each.reshape(outputs, outputs * images, replications)
    return last.value(each, None, xp.concatenate([run.labels] * outputs)).reshape(v.shape)


def _loss_with(network: NoisyNetwork, last: LastLayer, run: NoisyRuns, number: int, response: Array) -> Array:
    """Return, for each neuron of layer `number`, the loss with its response changed: shape (neurons, images, replications).

    `response`, of the same shape, is each neuron's changed response; all noise stays the same.
    """
    trace, nodes, labels = run.trace, run.nodes, run.labels
    xp = xp_of(labels)
    was = trace.responses[number]
    neurons, images, replications = was.shape

    def joined(array: Array) -> Array:
        """Merge neurons and images into one axis."""
        return array.reshape(len(array), neurons * images, replications)

    layer = network.layers[number + 1]
    drive = trace.drives[number + 1][:, None] + layer.weight[:, :, None, None] * (response - was)
    for later in range(number + 1, len(network.layers) - 1):
        if trace.noise[later] is not None:
            drive += (trace.noise[later] * layer.scale)[:, None]
        response, layer = layer.respond(drive), network.layers[later + 1]
        drive = layer.drive(joined(response)).reshape(-1, neurons, images, replications)
    all_nodes, e = None, trace.noise[-1]
    if nodes is not None:
        all_nodes = joined(xp.broadcast_to(nodes[:, None], (len(nodes), *was.shape)))
    elif e is not None:
        drive += (e * layer.scale)[:, None]
    return last.value(joined(drive), all_nodes, xp.concatenate([labels] * neurons)).reshape(was.shape)


def _loss_after(network: NoisyNetwork, last: LastLayer, run: NoisyRuns, number: int, places: Array, change: Array) -> Array:
    """Return every run's loss after each of several changes of one response of layer `number`: shape (runs, changes).

    `places` are the responses, `change` is by how much, both (runs, changes); all noise stays the same.
    """
    trace, xp = run.trace, xp_of(change)
    shape = run.trace.signals[number].shape[1:]

    def each(array: Array) -> Array:
        """(units, images, replications) as (units, runs, 1)."""
        return xp.broadcast_to(array, (len(array), *shape)).reshape(len(array), -1, 1)

    layer = network.layers[number + 1]
    drive = layer.drive_change(places, change)
    drive += each(trace.drives[number + 1])
    for later in range(number + 1, len(network.layers) - 1):
        e = trace.noise[later]
        if e is not None:
            drive += each(e * layer.scale)
        response, layer = layer.respond(drive), network.layers[later + 1]
        drive = layer.drive(response)
    nodes, e = run.nodes, trace.noise[-1]
    if nodes is None and e is not None:
        drive += each(e * layer.scale)
    labels = xp.repeat(run.labels, shape[1])
    return last.value(drive, None if nodes is None else each(nodes), labels)


class Backprop(Estimator):
    """Backpropagation ``[G3]`` along given noise, or without noise: the special case of smooth networks, and a control.

    In a layer in time it is backpropagation through time ``[M-BPTT]``.
    """

    name = "backprop"

    def check(self, network: NoisyNetwork, loss: ReplicatedLoss) -> None:
        """Raise :class:`InputError` if it does not apply."""
        expected = "resample, plain, baseline, antithetic, sobol or flip for a loss without derivative"
        require(loss.smooth, "estimator", self.name, expected)
        for activation in (layer.activation for layer in network.layers if layer.activation is not None):
            require(activation.smooth, "estimator", self.name, f"another estimator: {activation.name} neurons have no derivative")

    def _slope(self, layer: NoisyLayer, v: Array) -> Array | float:
        """Return φ'(v)."""
        return layer.slope(v)

    def on(
        self, network: NoisyNetwork, loss: ReplicatedLoss, x_t: Array, labels: Array, noise: Any, scales: bool
    ) -> GradientEstimate:
        """Return the estimate from given noise."""
        trace = network.run(x_t, noise)
        value = loss.value(trace.outputs, labels)
        d_response = loss.derivative(trace.outputs, labels)
        credits: list[Credit] = []
        for number in reversed(range(len(network.layers))):
            layer = network.layers[number]
            v = trace.signals[number]
            d_v = layer.signal_gradient(d_response, v, self._slope(layer, v))
            credits.append(Credit(d_v, None, None, trace.noise[number]))
            if number:
                d_response = layer.send_back(d_v)
        return collect(network, trace.inputs, trace.signals, value, credits[::-1], scales)


class Surrogate(Backprop):
    """Backpropagation along given noise, with a surrogate for the derivative of the threshold: a control.

    The threshold itself has the derivative 0, and none at the step. The surrogate slope is ``1 / (2σ (1 + |v|/σ)²)``
    ``[M-SURROGATE]``, with σ = 1 for neurons without noise. The result is biased.

    References
    ----------
    Zenke and Ganguli (2018), SuperSpike; Neftci, Mostafa and Zenke (2019), Surrogate gradient learning in spiking networks.
    """

    name = "surrogate"

    def check(self, network: NoisyNetwork, loss: ReplicatedLoss) -> None:
        """Raise :class:`InputError` if it does not apply."""
        require(loss.smooth, "estimator", self.name, "rao-blackwell, antithetic or baseline for a loss without derivative")
        for activation in (layer.activation for layer in network.layers if layer.activation is not None):
            expected = "backprop, or --activation threshold" if activation.smooth else "--activation threshold"
            require(activation.name == "threshold", "estimator", f"{self.name} with {activation.name} neurons", expected)

    def _slope(self, layer: NoisyLayer, v: Array) -> Array | float:
        """Return the surrogate at v; 1 for outputs without an activation."""
        if layer.activation is None:
            return 1.0
        scale = layer.scale if layer.law is not None else xp_of(v).ones_like(layer.scale)
        return surrogate_slope(v / scale) / scale


def surrogate_slope(a: Array) -> Array:
    """Stand-in for the derivative of a threshold, ``1 / (2 (1 + |a|)²)``, of integral 1 ``[M-SURROGATE]``."""
    near = 1 + abs(a)
    return 0.5 / (near * near)


ESTIMATORS: dict[str, Estimator] = {
    "plain": ScoreFunction(),
    "baseline": ScoreFunction("baseline", baseline=True),
    "antithetic": ScoreFunction("antithetic", Antithetic(), baseline=True),
    "sobol": ScoreFunction("sobol", Sobol(), baseline=True),
    "rao-blackwell": ScoreFunction("rao-blackwell", baseline=True, conditional=True),
    "flip": Flip(),
    "resample": Resample(),
    "exact": Exact(),
    "backprop": Backprop(),
}
CONTROLS: dict[str, Estimator] = {"surrogate": Surrogate()}  # which are biased
LEARNED_BY = {**ESTIMATORS, **CONTROLS}
