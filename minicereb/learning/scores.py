"""Estimators that use the score: a neuron's credit is the loss times the score of its own noise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from minicereb.backend import Array, xp_of
from minicereb.calculus.noise import conditional_score, draw_noise
from minicereb.calculus.replicated import ReplicatedLoss
from minicereb.errors import require
from minicereb.learning.credit import Credit
from minicereb.learning.layerwise import Layerwise, check_in_turn, check_last_layer, check_noise, check_threshold
from minicereb.learning.noise import Address, Antithetic, Design, Independent, Sobol
from minicereb.learning.noisy_runs import OutputDraws, RunsOfLayer, WithOutputs
from minicereb.models.noisy import NoisyLayer, NoisyNetwork

MOST_DIMENSIONS = 21_201  # the limit of SciPy's Sobol sequence


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
        Whether the score of threshold neurons is replaced by its mean given whether they fire ``[M-RB]``. In spiking layers
        this is the score of the spikes ``[M-PATH]``, with less variance than the score of the noise ``[M-PATHVAR]``.
    output_draws : int
        Number of draws of the outputs' noise for every run, 1 or an even number; for the hidden layers, the loss is averaged
        over the draws ``[M-OUTPUTS]``.
    derivative_last : bool
        Whether the last layer's credit is the pathwise derivative instead. If the loss is the 0-1 loss, which has no useful
        derivative, it is first averaged over the output noise.
    in_turn, redraw_last : bool
        As for :class:`Layerwise`.
    """

    name: str = "plain"
    design: Design = Independent()
    baseline: bool = False
    conditional: bool = False
    derivative_last: bool = False
    output_draws: int = 1

    @property
    def derives_last(self) -> bool:
        """Whether the last layer's credit is computed as a derivative of the loss."""
        return self.derivative_last

    def check(self, network: NoisyNetwork, loss: ReplicatedLoss) -> None:
        """Raise :class:`InputError` if the estimator does not apply."""
        if self.conditional:
            check_threshold(network, self.name)
        if isinstance(self.design, Sobol):
            _check_sobol(network)
        check_in_turn(network, self.in_turn)
        if self.derivative_last:
            check_last_layer(network, loss, self.name)
        check_noise(network, self.name, hidden_only=self.derivative_last)
        if self.output_draws > 1:
            require(network.layers[-1].law is not None, "output-draws", self.output_draws, "1 without output noise")

    def draw(self, network: NoisyNetwork, like: Array, images: int, replications: int, at: Address) -> Any:
        """Draw the noise that :meth:`on` needs; the outputs' noise may be drawn several times, in pairs of opposite noise."""
        if self.output_draws == 1:
            return super().draw(network, like, images, replications, at)
        *laws, law = (layer.law for layer in network.layers)
        noise = self.design.draw(like, [*laws, None], network.widths, images, replications, at)
        shape = (network.widths[-1], images, replications, self.output_draws // 2)
        (half,) = draw_noise(like, [law], [shape], at.seed, f"{at.stream}, outputs", at.numbers)
        pairs: Any = xp_of(like).concatenate((half, -half), axis=3)  # type: ignore[operator]
        return WithOutputs(noise, pairs.reshape(network.widths[-1], images, -1))

    def numbers_per_sample(self, network: NoisyNetwork) -> int:
        """Return the number of values to store per image and replication, which determines the block size."""
        return super().numbers_per_sample(network) + (self.output_draws - 1) * network.widths[-1]

    def with_learned_baseline(self) -> ScoreFunction:
        """Return this estimator with a baseline from earlier steps ``[M-LEARNED]`` instead of one from the other replications."""
        require(self.baseline, "baseline", f"learned with the estimator {self.name}", "mean, or --estimator baseline")
        return replace(self, baseline=False)

    def check_allocation(self) -> None:
        """Raise :class:`InputError` for Sobol points, because every image needs the whole sequence."""
        fits = "equal: a Sobol sequence needs all replications of an image"
        require(not isinstance(self.design, Sobol), "allocation", "scatter with the estimator sobol", fits)

    def _last_credit(self, at: RunsOfLayer, scales: bool) -> Credit:
        if at.runs.outputs is not None:
            return _scored_outputs(at.layer, at.runs.outputs)
        return super()._last_credit(at, scales) if self.derivative_last or self.redraw_last else self._scored(at)

    def _credit(self, at: RunsOfLayer, places: Array | None, scales: bool) -> Credit:
        return self._scored(at)

    def _scored(self, at: RunsOfLayer) -> Credit:
        layer, e, loss = at.layer, at.noise, at.runs.value
        law, weight = layer.law, loss - self.design.others(loss) if self.baseline else loss
        if at.runs.baseline is not None:
            weight = weight - at.runs.baseline[:, None]
        assert law is not None
        assert e is not None
        if self.conditional and layer.activation is not None and layer.activation.name == "threshold":
            a, fires = at.drives / layer.scale, layer.activation(at.signals)
            return Credit(conditional_score(law, fires, a), weight, layer.scale, -a)
        return Credit(law.score(e), weight, layer.scale, e, len(e))


def _scored_outputs(layer: NoisyLayer, draws: OutputDraws) -> Credit:
    """Return the credit of the outputs: the loss times the score, averaged over the draws.

    The mean loss of the other pairs is first subtracted from the loss.
    """
    e, loss, law = draws.noise, draws.loss, layer.law
    assert law is not None
    weight = loss - Antithetic().others(loss.reshape(-1, loss.shape[2])).reshape(loss.shape)
    score = law.score(e)
    moved = (((score * e).sum(axis=0) - len(e)) * weight).mean(axis=2)
    return Credit((score * weight).mean(axis=3), None, layer.scale, None, by_density=moved)


def _check_sobol(network: NoisyNetwork) -> None:
    """Raise :class:`InputError` if the network draws more noise values than a Sobol sequence has dimensions."""
    values = sum(network.widths)
    expected = f"antithetic or baseline: the network draws {values:,} noise values, a Sobol sequence has {MOST_DIMENSIONS:,}"
    require(values <= MOST_DIMENSIONS, "estimator", "sobol", expected)
