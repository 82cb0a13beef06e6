"""Outputs of many runs with one response of a layer changed, computed by a Numba loop that keeps each run in the cache.

:meth:`minicereb.learning.noisy_runs.RunsOfLayer.losses_after` contains the NumPy version. The loop adds in a different order,
and computes the sigmoid with a rational approximation.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minicereb.backend import Array
from minicereb.calculus.activations import Activation, half_tanh, loop_slope
from minicereb.compiled import add_product, compiled, line_length, load_line, store
from minicereb.parallel import blocks, run_lanes

RUNS = 4  # changed runs at a time, whose sums the processor takes beside each other


def changed_outputs(
    base: Array, by_input: Array, places: Array, change: Array, activation: Activation | None, by_neuron: Array, bias: Array
) -> Array | None:
    """Return the outputs after a change of one input of the hidden neurons, or None if the loop does not support the case.

    Parameters
    ----------
    base : array, shape (runs, neurons)
        Signals of the hidden neurons before the change, noise included.
    by_input : array, shape (inputs, neurons)
        Weights of the hidden neurons.
    places : array of int, shape (runs, places)
        Index of the input that changes, which is the same in every alternative.
    change : array, shape (runs, alternatives · places)
        Amount by which the input changes.
    activation : Activation or None
    by_neuron : array, shape (neurons, outputs)
        Weights of the outputs.
    bias : array, shape (outputs,)

    Returns
    -------
    array, shape (outputs, runs, alternatives · places), or None
    """
    length, (neurons, outputs) = line_length(base.dtype), by_neuron.shape
    half_slope = loop_slope(activation, base.dtype) if outputs <= length else None
    loop = None if half_slope is None else compiled(changed_outputs_loop, base, by_input, places, change)
    if loop is None:
        return None
    weights = np.zeros((neurons, length), dtype=base.dtype)
    weights[:, :outputs] = by_neuron
    found = np.empty((*change.shape, length), dtype=base.dtype)

    def work(part: slice) -> None:
        tile = np.empty((RUNS, neurons), dtype=base.dtype)
        loop(base[part], by_input, places[part], change[part], half_slope or None, weights, tile, found[part])

    run_lanes(work, list(blocks(len(base), max(1, -(-len(base) // 4)))))
    return np.add(found[:, :, :outputs].transpose(2, 0, 1), bias[:, None, None], order="C")


def changed_outputs_loop(
    base: Array, by_input: Array, places: Array, change: Array, half_slope: Any, weights: Array, tile: Array, out: Array
) -> None:
    """Compute the outputs for :func:`changed_outputs`, without the bias, four changes of a run at a time.

    Parameters
    ----------
    base, by_input, places, change
        As for :func:`changed_outputs`.
    half_slope : float or None
        Half the slope of the sigmoid; None for a threshold, so that Numba compiles no sigmoid.
    weights : array, shape (neurons, length)
        The outputs' weights, padded with zeros.
    tile : array, shape (4, neurons)
        Overwritten.
    out : array, shape (runs, changes, length)
        Overwritten.
    """
    u, real = np.uint64, base.dtype.type
    runs, changes = change.shape
    neurons = base.shape[1]
    for run in range(runs):
        for first in range(0, changes, RUNS):
            for number in range(RUNS):
                at = min(first + number, changes - 1)  # the last change is computed again in place of those beyond it
                place, by = places[run, at % places.shape[1]], change[run, at]
                if half_slope is not None:
                    for j in range(neurons):
                        tile[number, j] = real(0.5) + half_tanh((base[run, j] + by_input[place, j] * by) * half_slope)
                else:
                    for j in range(neurons):
                        tile[number, j] = real(1) if base[run, j] + by_input[place, j] * by > 0 else real(0)
            line = load_line(weights, u(0))
            s0, s1, s2, s3 = tile[0, 0] * line, tile[1, 0] * line, tile[2, 0] * line, tile[3, 0] * line
            for j in range(1, neurons):
                line = load_line(weights, u(j))
                s0 = add_product(s0, tile[0, j], line)
                s1 = add_product(s1, tile[1, j], line)
                s2 = add_product(s2, tile[2, j], line)
                s3 = add_product(s3, tile[3, j], line)
            last = changes - 1
            store(out, s0, run, first)
            store(out, s1, run, min(first + 1, last))
            store(out, s2, run, min(first + 2, last))
            store(out, s3, run, min(first + 3, last))
