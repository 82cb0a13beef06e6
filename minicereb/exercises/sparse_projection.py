"""The exercise on the backward pass through a sparse projection."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicereb.calculus.projection import add_project_input_gradient
from minicereb.diagnosis.hints import Task
from minicereb.exercises.definition import Exercise, mistakes


def _projection(weights: Any, inputs: Any, d_v: Any, width: int) -> Any:
    d_x = np.zeros((width, d_v.shape[1]), dtype=d_v.dtype)
    if inputs.min() < 0 or inputs.max() >= width or weights.shape != inputs.shape or len(d_v) != len(weights):
        raise ValueError("these arrays do not belong together")  # the engine's product does not check
    numbers = np.ascontiguousarray(inputs, dtype=np.int32)
    return add_project_input_gradient(np.ascontiguousarray(weights), numbers, np.ascontiguousarray(d_v), d_x)


def _projection_steps(at: Any, weights: Any, inputs: Any, d_v: Any, width: int) -> Any:
    d_x = np.zeros((width, d_v.shape[1]), dtype=d_v.dtype)
    np.add.at(d_x, inputs, at("the credit of a synapse", weights[:, :, None] * d_v[:, None]))
    return d_x


def _overwritten(weights: Any, inputs: Any, d_v: Any, width: int, add: bool = True) -> Any:
    d_x = np.zeros((width, d_v.shape[1]), dtype=d_v.dtype)
    for synapse in range(weights.shape[1]):
        share = weights[:, synapse, None] * d_v
        d_x[inputs[:, synapse]] = share + (d_x[inputs[:, synapse]] if add else 0)
    return d_x


def _at_once(weights: Any, inputs: Any, d_v: Any, width: int) -> Any:
    d_x = np.zeros((width, d_v.shape[1]), dtype=d_v.dtype)
    d_x[inputs] += weights[:, :, None] * d_v[:, None]
    return d_x


def _counted(weights: Any, inputs: Any, d_v: Any, width: int) -> Any:
    return _projection(weights, inputs, d_v, width) / np.maximum(np.bincount(inputs.ravel(), minlength=width), 1)[:, None]


def _draw(rng: np.random.Generator, cells: int, inputs_per_cell: int, images: int, width: int) -> tuple[Any, ...]:
    inputs = rng.permuted(np.tile(np.arange(width, dtype=np.int32), (cells, 1)), axis=1)[:, :inputs_per_cell].copy()
    return rng.standard_normal((cells, inputs_per_cell)), inputs, rng.standard_normal((cells, images)), width


_LAST = "synapses with the same input overwrite each other, as with = or d_x[inputs] += …; np.add.at adds them all"
_MISTAKES = mistakes(
    ("overwritten", _LAST, _overwritten),
    ("overwritten", _LAST, _at_once),
    ("overwritten", _LAST, lambda w, i, d, n: _overwritten(w, i, d, n, add=False)),
    ("only the first synapse", "the others are left out", lambda w, i, d, n: _projection(w[:, :1], i[:, :1], d, n)),
    ("only the last synapse", "the others are left out", lambda w, i, d, n: _projection(w[:, -1:], i[:, -1:], d, n)),
    ("averaged over synapses", "the credit of an input is averaged over its synapses instead of summed", _counted),
    ("forward again", "this gathers from d_v; it should scatter", lambda w, i, d, n: (w[:, :, None] * d[i % len(d)]).sum(axis=1)),
    ("masked", "negative credit is set to 0; this step has no ReLU", lambda w, i, d, n: _projection(w, i, np.maximum(d, 0), n)),
)

PROJECTION = Exercise(
    "sparse-projection",
    "Input gradient of the sparse projection",
    ("C1", "M-DX"),
    "projection_input_gradient(weights, inputs, d_v, width)",
    "Each granule cell receives few mossy fibres: v[c] = Σ_j weights[c, j] x[inputs[c, j]]. Given the derivative d_v of an "
    "objective by v, return its derivative by x, d_x = J d_v: every synapse passes its cell's credit, times its weight, back to "
    "its own input. An input that no cell receives gets 0.",
    """
    Parameters
    ----------
    weights : array of float, shape (cells, inputs per cell)
    inputs : array of int32, shape (cells, inputs per cell)
        The number of the mossy fibre that each synapse comes from.
    d_v : array of float, shape (cells, images)
        Derivative by the pre-activation, one column per image.
    width : int
        Number of mossy fibres.

    Returns
    -------
    array, shape (width, images)
        Dtype of `d_v`.
    """,
    Task(_projection, _MISTAKES, steps=_projection_steps),
    _draw,
    {"cells": (9, 11, 8, 12), "inputs_per_cell": (3, 2, 4, 3), "images": (4, 6, 5, 2)},
    {"width": (7, 5, 6, 10, 7, 6, 8)},
    {
        "a cell may have two synapses from the same input, and both count: d_x[inputs] += … keeps one; np.add.at adds all": (
            np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]),
            np.array([[0, 2, 2], [3, 3, 3]], dtype=np.int32),
            np.array([[1.0, -1.0], [2.0, 0.5]]),
            5,
        )
    },
)
