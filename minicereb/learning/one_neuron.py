"""Estimators that change one neuron at a time, with all other noise held fixed: flips and resampling."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from minicereb.backend import Array, xp_of
from minicereb.calculus.replicated import ReplicatedLoss
from minicereb.errors import require
from minicereb.learning.credit import Credit
from minicereb.learning.layerwise import Layerwise, check_in_turn, check_last_layer, check_noise, check_threshold
from minicereb.learning.noise import Address
from minicereb.learning.noisy_runs import RunsOfLayer
from minicereb.learning.probes import PROBES, DrawnUnits, Probing, draw_units
from minicereb.learning.resampling import redrawn
from minicereb.models.noisy import NoisyLayer, NoisyNetwork
from minicereb.models.noisy_convolution import NoisyConvolution
from minicereb.models.noisy_time import NoisyTime
from minicereb.randomness import signed_uniform

Probed = NoisyConvolution | NoisyTime  # layers of which only some units are changed
LossWith = Callable[[Array], Array]  # takes every neuron's other response; returns the loss with that neuron alone changed


@dataclass(frozen=True)
class OneByOne(Layerwise):
    """Base class of estimators that change one hidden neuron at a time, with all other noise held fixed, and rerun the later
    layers.

    In a dense layer every neuron is changed. In a convolution or a layer with time steps, only `probes` units are changed.
    These units are drawn anew for every image and replication, and their credit is divided by the probability of drawing them
    ``[M-PROBE]``. In a layer with time steps, a unit is one neuron at one step, and the later steps are computed again. An
    exception is the flip of spiking neurons without recurrent weights: there, every neuron is changed at every step. The last
    layer's credit is the derivative of the loss or, if `redraw_last` is true, is estimated from loss values too.

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
        """Whether the last layer's credit is computed as a derivative of the loss."""
        return not self.redraw_last

    def check(self, network: NoisyNetwork, loss: ReplicatedLoss) -> None:
        """Raise :class:`InputError` if the estimator does not apply."""
        require(self.probes >= 1, "probes", self.probes, "at least 1")
        check_in_turn(network, self.in_turn)
        if self.threshold_only:
            check_threshold(network, self.name)
        if not self.redraw_last:
            check_last_layer(network, loss, self.name)
        check_noise(network, self.name, hidden_only=not self.redraw_last)

    def _draws(self, layer: NoisyLayer) -> bool:
        """Return whether only randomly drawn units of this layer are changed."""
        return isinstance(layer, Probed)

    def draw(self, network: NoisyNetwork, like: Array, images: int, replications: int, at: Address) -> Any:
        """Draw the noise and, for layers of which only some units are changed, the numbers that choose these units."""
        noise = super().draw(network, like, images, replications, at)
        if network.is_dense:
            return noise
        places: list[Array | None] = []
        for number, layer in enumerate(network.layers):
            chosen = None
            if self._draws(layer):
                numbers = (*at.numbers, number)
                uniform = signed_uniform(like, at.seed, f"{at.stream}, units", numbers, images * replications)
                chosen = abs(uniform).reshape(images, replications)
            places.append(chosen)
        return Probing(noise, tuple(places))

    def numbers_per_sample(self, network: NoisyNetwork) -> int:
        """Return the number of values to store per image and replication; the later layers are run once per changed unit."""
        if network.is_dense:
            return super().numbers_per_sample(network)
        again = [4 * len(layer.bias) for layer in network.layers if isinstance(layer, NoisyTime) and self._draws(layer)]
        return 4 * sum(network.widths) + self.probes * (sum(network.widths[1:]) + sum(again))

    def _credit(self, at: RunsOfLayer, places: Array | None, scales: bool) -> Credit:
        layer = at.layer
        if isinstance(layer, Probed) and self._draws(layer):
            assert places is not None
            return self._probed(at, layer, places, scales)
        return self._changed(at, scales)

    def _changed(self, at: RunsOfLayer, scales: bool) -> Credit:
        """Return the credit of a layer in which every unit is changed."""
        raise NotImplementedError

    def _probed(self, at: RunsOfLayer, layer: Probed, places: Array, scales: bool) -> Credit:
        """Return the credit of a layer in which only drawn units are changed: a convolution, or a layer with time steps."""
        raise NotImplementedError

    def probe(self, at: RunsOfLayer, layer: Probed, chance: Array, places: Array) -> tuple[DrawnUnits, LossWith]:
        """Draw units of a convolution or of a layer with time steps, with probabilities proportional to `chance`.

        Return the drawn units, and a function that takes a changed response for each drawn unit: shape (runs, draws), or (runs,
        alternatives · draws) for several alternatives. The function returns an array of the same shape: the loss if only that
        unit's response changes.
        """
        drawn = draw_units(chance, places, self.probes)
        if isinstance(layer, NoisyTime):
            xp = xp_of(places)

            def loss_in_time(response: Array) -> Array:
                alternatives = xp.split(response, response.shape[1] // self.probes, axis=1)
                changes = (layer.after_changes(at.signals, at.drives, drawn.units, one) for one in alternatives)
                return xp.concatenate([at.losses_after_all(change) for change in changes], axis=1)

            return drawn, loss_in_time
        h = at.unpooled
        losses = at.losses_after(layer.response_of_unit()[drawn.units])

        def loss_with(response: Array) -> Array:
            units = drawn.units
            units = units if units.shape == response.shape else xp_of(units).tile(units, response.shape[1] // self.probes)
            return losses(layer.response_change(h, units, response))

        return drawn, loss_with


@dataclass(frozen=True)
class Flip(OneByOne):
    """``f(u/σ)/σ · (L(h=1) - L(h=0))`` for every threshold neuron, with all other noise held fixed ``[M-FLIP]``.

    Parameters
    ----------
    probes, in_turn, redraw_last
        As for :class:`OneByOne`. Units are drawn with probabilities proportional to f(u/σ) and, in a convolution, also to the
        change of the pooled response. So units without influence are never drawn.
    """

    name = "flip"
    threshold_only = True

    def _draws(self, layer: NoisyLayer) -> bool:
        spiking = isinstance(layer, NoisyTime) and layer.recurrent is None
        return super()._draws(layer) and not spiking  # a spike that no other neuron receives is cheap to flip

    def _changed(self, at: RunsOfLayer, scales: bool) -> Credit:
        if isinstance(at.layer, NoisyTime):
            return self._in_time(at, at.layer)
        fires = at.runs.trace.responses[at.number]
        return self._flipped(at, fires, at.loss_with(1 - fires))

    def _flipped(self, at: RunsOfLayer, fires: Array, loss: Array) -> Credit:
        """Return the credit, given which units fire and the loss with each unit flipped."""
        layer = at.layer
        assert layer.law is not None
        a = at.drives / layer.scale
        return Credit((loss - at.runs.value) * (1 - 2 * fires) * layer.law.density(a), None, layer.scale, -a)

    def _probed(self, at: RunsOfLayer, layer: Probed, places: Array, scales: bool) -> Credit:
        assert layer.law is not None
        fires, a = at.unpooled, at.drives / layer.scale
        density = layer.law.density(a)
        drawn, loss_with = self.probe(at, layer, layer.flip_effect(fires) * density, places)
        fired = drawn.of(fires)
        found = (loss_with(1 - fired) - at.runs.value.reshape(-1, 1)) * (1 - 2 * fired)
        found = found * drawn.of(xp_of(fires).broadcast_to(density, fires.shape))
        return Credit(drawn.scatter(found, fires.shape), None, layer.scale, -a)

    def _in_time(self, at: RunsOfLayer, layer: NoisyTime) -> Credit:
        """Return the credit of spiking neurons: each is flipped at every step, and its later spikes are recomputed with the
        same noise.
        """
        u, v = at.drives, at.signals
        response = at.runs.trace.responses[at.number]
        flipped = xp_of(v).concatenate([at.loss_with(layer.after_flip(v, u, t, response)) for t in range(layer.steps)])
        assert layer.activation is not None
        return self._flipped(at, layer.activation(v), flipped)


@dataclass(frozen=True)
class Resample(OneByOne):
    """The score function, with the noise of one neuron at a time redrawn and all other noise held fixed ``[M-RESAMPLE]``.

    The credit is ``mean_q L(e_q) s(e_q) / σ``. The nodes e_q come in pairs of opposite sign, one pair in each of PAIRS strata
    of the noise distribution. The neuron's own noise determines their position within the stratum. The effect of the other
    neurons' noise on the loss cancels in the difference of a pair. The estimator works for any activation.

    Parameters
    ----------
    probes, in_turn, redraw_last
        As for :class:`OneByOne`; units are drawn with equal probability.
    """

    name = "resample"

    def _changed(self, at: RunsOfLayer, scales: bool) -> Credit:
        layer, u = at.layer, at.drives

        def losses(nodes: list[Array]) -> Iterator[Array]:
            return (at.loss_with(layer.respond(u + e * layer.scale)) for e in nodes)

        return redrawn(layer, at.noise, losses, scales).credit(layer.scale)

    def _probed(self, at: RunsOfLayer, layer: Probed, places: Array, scales: bool) -> Credit:
        v, e, xp = at.signals, at.noise, xp_of(at.signals)
        assert e is not None
        drawn, loss_with = self.probe(at, layer, xp.ones_like(v), places)
        u, own = (drawn.of(xp.broadcast_to(each, v.shape)) for each in (at.drives, e))

        def losses(nodes: list[Array]) -> list[Array]:
            response = layer.respond_alone(xp.concatenate([u + e * layer.scale for e in nodes], axis=1))
            return list(xp.split(loss_with(response), len(nodes), axis=1))

        found = redrawn(layer, own, losses, scales)
        moved = None if found.moved is None else (found.moved / drawn.times).sum(axis=1).reshape(v.shape[1:])
        return Credit(drawn.scatter(found.values, v.shape), None, layer.scale, None, by_density=moved)
