"""The balancing circuit: tuned mossy fibres, a granule layer, and two opposing microzones of Purkinje cells."""

from __future__ import annotations

import numpy as np

from minicereb.backend import check_indices, to_numpy
from minicereb.calculus.activations import relu
from minicereb.compiled import compiled
from minicereb.errors import require
from minicereb.models.wiring import Wiring, draw_wiring
from minicereb.tasks.cartpole import State

LEFT, RIGHT = 0, 1
LESIONS = ("none", "olive", "granule", "left", "right")
LTD_DECAY = 0.99  # β of [C-LTD], per step


class TunedFibres:
    """Mossy fibres with Gaussian tuning. The fibres of each variable have centres evenly spaced over its range ``[M-TUNING]``.

    Parameters
    ----------
    ranges : tuple of float
        Largest coded absolute value of each variable, in its unit; larger values are clipped.
    each : int
        Number of fibres for each variable, at least 2. The tuning width (standard deviation) is the distance between the
        centres of neighbouring fibres.
    """

    def __init__(self, ranges: tuple[float, ...], each: int):
        require(each >= 2, "fibres", each, "a whole number of at least 2 for each variable")
        self.count = len(ranges) * each
        self._most = (each - 1) / 2
        self._preferred = np.linspace(-self._most, self._most, each, dtype=np.float64)  # in tuning widths, like all values below
        self._scale = self._most / np.array(ranges, dtype=np.float64)

    def rates(self, values: tuple[float, ...]) -> np.ndarray:
        """Return the fibres' rates, float32 of shape (fibres, 1), each in (0, 1]; the fibres of a variable are contiguous."""
        coded = np.minimum(np.maximum(np.array(values, dtype=np.float64) * self._scale, -self._most), self._most)
        away = coded[:, None] - self._preferred
        away *= away
        away *= -0.5
        return np.exp(away, out=away).astype(np.float32).reshape(-1, 1)


def activity_loop(weights: np.ndarray, inputs: np.ndarray, rates: np.ndarray, out: np.ndarray) -> None:
    """Write the activity ``max(Jᵀx, 0)`` ``[C1]`` for one vector of rates to `out`, shape (cells,).

    The result has the same bits as if NumPy had computed it.
    """
    u, zero = np.uint64, out.dtype.type(0)  # unsigned indices spare Numba a test for negative ones
    for cell in range(len(weights)):
        v = zero
        for synapse in range(weights.shape[1]):
            v += weights[u(cell), u(synapse)] * rates[u(inputs[u(cell), u(synapse)])]
        out[u(cell)] = zero if v < zero else v


class Microzones:
    """A granule layer read out by two microzones, one for each direction of the force.

    The circuit always runs on the host, because a single state is too little work for a GPU. Purkinje cells inhibit their
    nuclei, so the lower a zone's Purkinje output ŷ, the harder it pushes to its own side: the command is ``u = ŷ_left -
    ŷ_right`` ``[M-ZONES]``.

    Parameters
    ----------
    ranges : State
        Largest absolute value that mossy fibres code, for each variable.
    fibres : int
        Number of mossy fibres for each variable.
    cells, inputs_per_cell : int
        Number of granule cells, and of mossy fibres per granule cell.
    ltd : bool
        Whether the running mean of a granule cell's activity is subtracted from the activity ``[C-LTD]``.
    lesion : {"none", "olive", "granule", "left", "right"}
        ``granule``: mossy fibres reach the Purkinje cells directly; ``left``, ``right``: the output of that zone is 0;
        ``olive`` leaves the circuit intact and affects only the learning rule.
    seed : int
        Seed of the wiring.

    Attributes
    ----------
    readout : array of float32, shape (2, cells)
        The weights W of ``[C2]``, a row for each zone; they are 0 at first, so that the cart is not pushed.
    ltd_mean : array of float32, shape (cells,)
        The mean activity μ, which stays 0 without LTD.
    gain : float
        1 over the squared length of the granule layer's response to the state at rest. A weight change of ``η · gain · z``
        changes the output by η in any state with a response of that length, for any number of cells.
    """

    def __init__(self, ranges: State, fibres: int, cells: int, inputs_per_cell: int, ltd: bool, lesion: str, seed: int):
        require(lesion in LESIONS, "lesion", lesion, ", ".join(LESIONS))
        self.fibres, self.ltd, self.lesion = TunedFibres(ranges, fibres), ltd, lesion
        if lesion == "granule":
            each = np.arange(self.fibres.count, dtype=np.int32)[:, None]
            self.wiring = Wiring(np.ones(each.shape, dtype=np.float32), each, self.fibres.count)
        else:
            drawn = draw_wiring("random", cells, (self.fibres.count,), inputs_per_cell, seed)
            self.wiring = Wiring(to_numpy(drawn.weights), None if drawn.inputs is None else to_numpy(drawn.inputs), drawn.width)
        self.readout = np.zeros((2, self.wiring.cells), dtype=np.float32)
        self.ltd_mean = np.zeros(self.wiring.cells, dtype=np.float32)
        self._layers = [np.empty((self.wiring.cells, 1), dtype=np.float32) for _ in range(2)]
        wiring, self._loop = self.wiring, None
        if wiring.inputs is not None and wiring.matrix is None:
            check_indices(wiring.inputs, wiring.width)
            self._loop = compiled(activity_loop, wiring.weights, wiring.inputs)
        rest = self.respond(State(0, 0, 0, 0))
        self.gain = 1 / max(float(rest @ rest), 1e-12)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the circuit's arrays that learning changes in place, keyed by name."""
        return {"readout": self.readout, "ltd_mean": self.ltd_mean}

    def respond(self, state: State, learning: bool = False) -> np.ndarray:
        """Return the granule layer's activity z, shape (cells,) ``[C1]``; the array is overwritten two calls later.

        If `learning` is true, the mean that LTD subtracts is updated with the activity.
        """
        self._layers.reverse()
        layer, rates = self._layers[0], self.fibres.rates(state)
        z = layer[:, 0]
        if self._loop is not None:
            self._loop(self.wiring.weights, self.wiring.inputs, rates[:, 0], z)
        else:
            relu(self.wiring.project(slice(0, self.wiring.cells), rates, layer), out=layer)
        if self.ltd:
            if learning:
                self.ltd_mean *= LTD_DECAY
                self.ltd_mean += (1 - LTD_DECAY) * z
            z -= self.ltd_mean
        return z

    def command(self, z: np.ndarray) -> float:
        """Return the command u, which is positive to the right; its size depends on the learning method."""
        left, right = (self.readout @ z).tolist()
        return left * (self.lesion != "left") - right * (self.lesion != "right")
