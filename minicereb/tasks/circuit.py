"""One microzone in a closed loop: granule cells, Purkinje cells, nuclei and olive, with the learning rule used for images.

Rows are time bins instead of images. :class:`minicereb.learning.plasticity.DeltaRule` learns from the bins of a trial as from a
batch of images. This module adds Golgi cells, an olive that the nuclei inhibit, and bounds on the weights.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from minicereb.backend import Array, to_device, to_numpy, xp_of
from minicereb.calculus.activations import relu
from minicereb.errors import InputError, require
from minicereb.inputs import check_count, check_rows
from minicereb.learning.optimizers import SGD
from minicereb.learning.plasticity import DeltaRule
from minicereb.learning.rules import RULES
from minicereb.models.cerebellum import CerebellarNetwork
from minicereb.models.wiring import Wiring
from minicereb.parallel import blocks, cell_blocks
from minicereb.randomness import generator
from minicereb.settings import Setting

BIN = 5  # ms
LESIONS = {
    "granule": "parallel fibres are silent",
    "granule-shuffle": "every granule cell's time course is turned by a random time, anew in each trial",
    "golgi": "no inhibition of granule cells: half of them are active",
    "purkinje": "Purkinje cells are silent: nothing inhibits the nuclei",
    "pf-plasticity": "synapses of parallel fibres do not learn",
    "nuclei": "nuclei are silent",
    "nuclear-plasticity": "synapses of mossy fibres in the nuclei do not learn",
    "nucleo-olivary": "nuclei do not inhibit the olive",
    "olive": "climbing fibres are silent",
}
LEVEL = Setting(
    "Share of the granule cells that Golgi cells leave active.",
    above=0,
    at_most=0.5,
    expected="a share above 0 and at most 0.5: half the cells are silent without inhibition",
)
FORGETTING = Setting("Share of the learned change that a parallel fibre's synapse loses per trial.", at_least=0, below=1)
RULE = Setting("Learning rule of the parallel fibres' synapses.", choices=tuple(RULES))
LESION = Setting("Parts missing from the circuit from the first trial on.", choices=LESIONS, option="lesion")
# These were chosen once, and are the same for every interval, protocol and lesion.
DRIVE = 20.0  # mean input to a Purkinje cell from the stimulus to the US, in units of its resting rate
RATE = 0.015  # average change of a bin's Purkinje activity per trial that is due to its own credit
BOUND = 0.5  # bound of W: synapses are between 0 and 1 and begin at ½, which interneurons balance
ELIGIBLE = (50, 150)  # ms by which activity precedes the climbing fibre's signal that changes its synapses
INHIBITION = 2.0  # κ
SPONTANEOUS = 0.02  # e₀: one spike per second, while the US causes one in 20 ms
TONIC = 0.5  # b: half of what Purkinje cells inhibit at rest
NUCLEAR_BOUND, NUCLEAR_LTP, NUCLEAR_LTD = 0.4, 2e-4, 5e-6
PAUSE, FIRING = 0.5, 0.9  # limits of Purkinje activity for a pause and for firing


class CircuitSignals(NamedTuple):
    """The signals of a trial, before the circuit learns from it. All arrays are float64 of shape (bins,).

    Attributes
    ----------
    purkinje : array
        The Purkinje cells' output P, which is 1 at rest.
    nuclei : array
        The nuclear activity N, which is 0 at rest.
    climbing_fibre : array
        The climbing fibre's signal e: 0 is spontaneous activity, 1 is the response to the unconditioned stimulus.
    nuclear_synapses : float
        The strength v of the nuclear synapses at the beginning of the trial.
    """

    purkinje: np.ndarray
    nuclei: np.ndarray
    climbing_fibre: np.ndarray
    nuclear_synapses: float


def respond(wiring: Wiring, states: np.ndarray, level: float | None, out: Array) -> Array:
    """Return the granule cells' responses in the bins of a trial, with Golgi inhibition ``[C1]`` ``[M-GOLGI]``.

    Parameters
    ----------
    wiring : Wiring
    states : array of float, shape (bins, fibres)
        Activity of the mossy fibres.
    level : float or None
        Largest fraction of the cells that are active in a bin; None without Golgi cells.
    out : array of float32, shape (cells, columns)
        Array that is overwritten and returned: one column per bin, then columns of zeros.
    """
    xp, cells = xp_of(out), wiring.cells
    check_rows(states, wiring.width, "states")
    if len(out) != cells or out.shape[1] < len(states):
        raise InputError("out", f"shape {out.shape}", f"{cells} rows and at least {len(states)} columns")
    x_t = np.zeros((states.shape[1], out.shape[1]), dtype=np.float32)
    x_t[:, : len(states)] = states.T
    x_t = to_device(x_t)
    for part in cell_blocks(out, cells, out.shape[1]):
        wiring.project(part, x_t, out[part])
    if level is not None:
        rank = cells - 1 - max(1, round(level * cells))
        for columns in blocks(out.shape[1], 32):
            ranked = xp.partition(xp.ascontiguousarray(out[:, columns].T), rank, axis=1)
            out[:, columns] -= xp.maximum(ranked[:, rank], 0)
    return relu(out, out=out)


def eligibility(bins: int) -> np.ndarray:
    """Return K of ``[M-ELIGIBLE]``: row t is the mean over the bins from 150 to 50 ms before bin t."""
    last, first = (ms // BIN for ms in ELIGIBLE)
    before = np.arange(bins, dtype=np.int64)[:, None] - np.arange(bins, dtype=np.int64)
    return ((before > last) & (before <= first)).astype(np.float64) / (first - last)


class Circuit:
    """A microzone that receives the same stimulus in every trial.

    Granule cells do not learn and there is no noise, so their response to the stimulus, cells × bins, is computed once and
    stored.

    Parameters
    ----------
    wiring : Wiring
        Wiring from mossy fibres to granule cells.
    states : array of float, shape (bins, fibres)
        Activity of the mossy fibres over a trial.
    stimulus : array of float, shape (bins,)
        The direct drive c of the nuclei by mossy fibres, 0 or 1.
    span : slice
        Bins over which the granule cells' activity is normalised.
    level, forgetting : float
        Coding level, above 0 and at most ½; forgetting λ, at least 0 and below 1.
    rule : {"delta", "ltd-ltp"}
        Whether a parallel fibre's synapse changes in proportion to the fibre's activity, or equally whenever the fibre is
        active ``[M-LTDLTP]``.
    lesions : collection of str
        Some of :data:`LESIONS`.
    seed : int
    """

    def __init__(
        self,
        wiring: Wiring,
        states: np.ndarray,
        stimulus: np.ndarray,
        span: slice,
        *,
        level: float = 0.1,
        forgetting: float = 0.01,
        rule: str = "delta",
        lesions: Collection[str] = (),
        seed: int = 0,
    ):
        LEVEL.check("level", level, float)
        FORGETTING.check("forgetting", forgetting, float)
        RULE.check("rule", rule, str)
        LESION.check("lesion", tuple(lesions), tuple[str, ...])
        self.stimulus, self.forgetting, self.lesions, self.seed = stimulus, forgetting, frozenset(lesions), seed
        check_count(stimulus, len(states), "stimulus", "bin")
        self.bins, cells = len(states), wiring.cells
        require(cells >= 2, "cells", cells, "a whole number of at least 2")
        zeros = np.zeros((cells, 1), dtype=np.float32)
        self.model = CerebellarNetwork(wiring, to_device(zeros[:, 0].copy()), to_device(zeros))
        self.rule = DeltaRule(self.model, SGD(0.0), self.bins, None, self._climbing_fibre, RULES[rule])
        self.activity = self.rule.activity[: cells * self.rule.columns].reshape(cells, self.rule.columns)
        respond(wiring, states, None if "golgi" in self.lesions else level, self.activity)
        self._scale(span, rule)
        self.kernel = eligibility(self.bins)
        self.nuclear_synapses = 0.0
        self.signals: CircuitSignals | None = None
        self.granule = self.activity.copy() if "granule-shuffle" in self.lesions else self.activity

    def _scale(self, span: slice, rule: str) -> None:
        """Normalise the Purkinje cells' mean input, so that the learning rate does not depend on the cells."""
        xp, cells = xp_of(self.activity), len(self.activity)
        mean = float(self.activity[:, span].sum(axis=0).mean())
        require(mean > 0, "cells", cells, "more cells, or another seed: no cell responds before the US")
        self.activity *= self.activity.dtype.type(DRIVE / mean)
        effect = DRIVE if rule == "ltd-ltp" else float(xp.square(self.activity[:, span]).sum(axis=0).mean())
        self.rule.optimizer = SGD(RATE * self.bins / effect)
        if "granule" in self.lesions:
            self.activity[...] = 0

    @property
    def weights(self) -> np.ndarray:
        """Weights from parallel fibres to Purkinje cells, from 0 to 1, shape (cells,)."""
        return to_numpy(self.model.readout)[:, 0] + np.float32(BOUND)

    def trial(self, unconditioned: np.ndarray, number: int) -> CircuitSignals:
        """Simulate one trial and learn from it.

        Parameters
        ----------
        unconditioned : array of float32, shape (bins,)
            The signal u, which is 1 while the unconditioned stimulus (US) excites the olive, and otherwise 0.
        number : int
            Index of the trial; only the shuffling of time courses depends on it.
        """
        check_count(unconditioned, self.bins, "unconditioned", "bin")
        if self.granule is not self.activity:
            self._shuffle(number)
        self.rule.learn_known(self.activity, to_device(unconditioned))
        readout = self.model.readout
        readout *= readout.dtype.type(1 - self.forgetting)
        xp_of(readout).clip(readout, -BOUND, BOUND, out=readout)
        assert self.signals is not None
        if "nuclear-plasticity" not in self.lesions:
            self._learn_in_the_nuclei(self.signals.purkinje)
        return self.signals

    def _climbing_fibre(self, outputs: Array, unconditioned: Array) -> tuple[Array, Array]:
        """Return the loss and the error that the climbing fibre signals ``[M-PURKINJE]`` ``[M-NUCLEI]`` ``[M-OLIVE]``."""
        purkinje = np.maximum(1 + to_numpy(outputs)[:, 0].astype(np.float64), 0)
        if "purkinje" in self.lesions:
            purkinje[...] = 0
        nuclei = np.maximum(TONIC + self.nuclear_synapses * self.stimulus - purkinje, 0)
        if "nuclei" in self.lesions:
            nuclei[...] = 0
        error = to_numpy(unconditioned).astype(np.float64)
        if "nucleo-olivary" not in self.lesions:
            error -= INHIBITION * (self.kernel @ nuclei)
        error = np.maximum(error, -SPONTANEOUS)
        if "olive" in self.lesions:
            error[...] = -SPONTANEOUS
        self.signals = CircuitSignals(purkinje, nuclei, error, self.nuclear_synapses)
        credit = self.kernel.T @ error  # [M-ELIGIBLE]
        if "pf-plasticity" in self.lesions:
            credit[...] = 0
        loss = 0.5 * error * error
        return to_device(loss.astype(np.float32)), to_device(credit[:, None].astype(np.float32))

    def _learn_in_the_nuclei(self, purkinje: np.ndarray) -> None:
        driven = purkinje[self.stimulus > 0]  # [M-SAVINGS]
        change = NUCLEAR_LTP * int((driven <= PAUSE).sum()) - NUCLEAR_LTD * int((driven >= FIRING).sum())
        self.nuclear_synapses = min(max(self.nuclear_synapses + change, 0.0), NUCLEAR_BOUND)

    def _shuffle(self, number: int) -> None:
        """Shift each cell's time course cyclically by its own random time."""
        xp = xp_of(self.activity)
        turns = to_device(generator(self.seed, "granule shuffle", number).integers(0, self.bins, len(self.activity)))
        places = xp.arange(self.bins)
        for part in self.rule.parts:
            turned = (places + turns[part, None]) % self.bins
            self.activity[part, : self.bins] = xp.take_along_axis(self.granule[part, : self.bins], turned, axis=1)
