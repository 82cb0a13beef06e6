"""Estimators that use the score: a neuron's credit is the loss times the score of its own noise."""

from __future__ import annotations

from dataclasses import dataclass

from minicereb.backend import Array
from minicereb.calculus.noise import conditional_score
from minicereb.calculus.replicated import ReplicatedLoss
from minicereb.errors import require
from minicereb.learning.credit import Credit
from minicereb.learning.layerwise import Layerwise, check_in_turn, check_last_layer, check_noise, check_threshold
from minicereb.learning.noise import Design, Independent, Sobol
from minicereb.learning.noisy_runs import RunsOfLayer
from minicereb.models.noisy import NoisyNetwork

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
            check_threshold(network, self.name)
        if isinstance(self.design, Sobol):
            _check_sobol(network)
        check_in_turn(network, self.in_turn)
        if self.derivative_last:
            check_last_layer(network, loss, self.name)
        check_noise(network, self.name, hidden_only=self.derivative_last)

    def _last_credit(self, at: RunsOfLayer, scales: bool) -> Credit:
        return super()._last_credit(at, scales) if self.derivative_last or self.redraw_last else self._scored(at)

    def _credit(self, at: RunsOfLayer, places: Array | None, scales: bool) -> Credit:
        return self._scored(at)

    def _scored(self, at: RunsOfLayer) -> Credit:
        layer, e, loss = at.layer, at.noise, at.runs.value
        law, weight = layer.law, loss - self.design.others(loss) if self.baseline else loss
        assert law is not None
        assert e is not None
        if self.conditional and layer.activation is not None and layer.activation.name == "threshold":
            a, fires = at.drives / layer.scale, layer.activation(at.signals)
            return Credit(conditional_score(law, fires, a), weight, layer.scale, -a)
        return Credit(law.score(e), weight, layer.scale, e, len(e))


def _check_sobol(network: NoisyNetwork) -> None:
    """Require no more noise values than a Sobol sequence has dimensions."""
    values = sum(network.widths)
    expected = f"antithetic or baseline: the network draws {values:,} noise values, a Sobol sequence has {MOST_DIMENSIONS:,}"
    require(values <= MOST_DIMENSIONS, "estimator", "sobol", expected)
