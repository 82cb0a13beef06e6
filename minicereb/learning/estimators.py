"""Estimators of the derivative of a noisy network's mean loss, with one interface: each is a function of given noise.

An estimator gives the *credit* of every neuron: an unbiased estimate of the derivative with respect to the neuron's signal v,
for each replication of the noise. The other steps are the same for all estimators: the derivative with respect to a weight is
pre-synaptic activity times credit, and the derivative with respect to the input is the first layer's credit sent back through
its weights.

==============  ================================================================================
plain           loss × score of the neuron's own noise (the paper's Eq. 5, 6)
baseline        the same with the mean loss of the other replications subtracted
antithetic      the same over pairs of opposite noise
sobol           the same over scrambled Sobol points
rao-blackwell   the score replaced by its mean given whether the neuron fires (threshold neurons)
flip            density at the threshold × change of the loss if the neuron fires (threshold neurons)
resample        loss × score, with the noise of one neuron at a time redrawn, in strata and pairs
exact           the sum over all patterns of a small layer of threshold neurons
backprop        derivatives along the noise (smooth activations and losses only)
==============  ================================================================================
"""

from __future__ import annotations

from minicereb.learning.credit import Estimator
from minicereb.learning.exact import Exact
from minicereb.learning.noise import Antithetic, Sobol
from minicereb.learning.one_neuron import Flip, Resample
from minicereb.learning.pathwise import Backprop, Surrogate
from minicereb.learning.scores import ScoreFunction

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
