"""The Legendre delay basis, a few numbers that represent the recent past; its exact time step; and the motion of the eyelid."""

from __future__ import annotations

import math

import numpy as np
from scipy.linalg import expm

from minicereb.errors import require


def legendre_system(order: int, window: float) -> tuple[np.ndarray, np.ndarray]:
    """Return A and B of the delay basis ``dm/dt = A m + B u`` ``[M-DELAY]``.

    The q states of the basis are the coefficients of the Legendre polynomials that approximate u over the last `window`
    milliseconds.

    Parameters
    ----------
    order : int
        Number q of states, at least 1.
    window : float
        Length θ of the window in ms, above 0.

    Returns
    -------
    A : array of float64, shape (order, order)
        In 1/ms.
    B : array of float64, shape (order,)
        In 1/ms.

    References
    ----------
    Voelker, Kajić and Eliasmith (2019), Legendre Memory Units.
    """
    require(order >= 1, "order", order, "a whole number of at least 1")
    require(0 < window < math.inf, "window", window, "a time in ms above 0")
    i = np.arange(order, dtype=np.float64)
    signs = np.where(i[:, None] < i, -1.0, (-1.0) ** (i[:, None] - i + 1))
    rates = (2 * i + 1) / window
    return rates[:, None] * signs, rates * (-1.0) ** i


def exact_step(a: np.ndarray, b: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Return Ā and B̄ of ``m(t + Δ) = Ā m(t) + B̄ u``, which is exact if u is constant during the step ``[M-EXACT-STEP]``.

    Parameters
    ----------
    a, b : array of float64, shapes (order, order) and (order,)
    step : float
        The time step Δ, above 0, in the unit of time used for `a`.
    """
    require(0 < step < math.inf, "step", step, "a time above 0")
    order = len(b)
    joint = np.zeros((order + 1, order + 1), dtype=np.float64)
    joint[:order, :order], joint[:order, order] = a * step, b * step
    found = expm(joint)
    return found[:order, :order], found[:order, order]


def delay_basis(signal: np.ndarray, order: int, window: float, step: float) -> np.ndarray:
    """Return the states of the delay basis at the end of each bin, starting from rest ``[M-DELAY]``.

    Parameters
    ----------
    signal : array of float, shape (bins,)
        The input u, constant within each bin.
    order : int
    window, step : float
        Length θ of the window, and width of a bin, in ms.

    Returns
    -------
    array of float64, shape (bins, order)
    """
    a, b = exact_step(*legendre_system(order, window), step)
    states = np.zeros((len(signal), order), dtype=np.float64)
    state = np.zeros(order, dtype=np.float64)
    for number, value in enumerate(signal):
        state = a @ state + b * value
        states[number] = state
    return states


def eyelid_closure(spikes: np.ndarray) -> np.ndarray:
    """Return how far the eyelid is closed, in percent, given the nuclear spikes that command it ``[M-LID]``.

    Parameters
    ----------
    spikes : array of float, shape (milliseconds,)
        Nuclear spikes in each ms.

    Returns
    -------
    array of float64, shape (milliseconds,)
        From 0 (open) to below 100. Without spikes the lid opens with a time constant of 50 ms.
    """
    decay, conductance, closed = math.exp(-1 / 11), 0.0, 0.0
    found = np.empty(len(spikes), dtype=np.float64)
    for number, count in enumerate(spikes.tolist()):
        conductance = decay * conductance + 0.012 * count
        closed += -0.02 * closed + max(conductance - 0.1, 0.0) * (100 - closed)
        found[number] = closed
    return found
