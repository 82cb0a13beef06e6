"""The exercise about the way back through a sparse projection."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicereb.calculus.projection import add_project_input_gradient
from minicereb.diagnosis.hints import Case, Mistake, Task
from minicereb.exercises.definition import Exercise, mistakes


def _projection(weights: Any, inputs: Any, d_v: Any, width: int) -> Any:
    d_x = np.zeros((width, d_v.shape[1]), dtype=d_v.dtype)
    if inputs.min() < 0 or inputs.max() >= width or weights.shape != inputs.shape or len(d_v) != len(weights):
        raise ValueError("these arrays do not belong together")  # the engine's product does not look
    numbers = np.ascontiguousarray(inputs, dtype=np.int32)
    return add_project_input_gradient(np.ascontiguousarray(weights), numbers, np.ascontiguousarray(d_v), d_x)


def _projection_steps(at: Any, weights: Any, inputs: Any, d_v: Any, width: int) -> Any:
    """The same, step by step."""
    d_x = np.zeros((width, d_v.shape[1]), dtype=d_v.dtype)
    np.add.at(d_x, inputs, at("the share of a synapse", weights[:, :, None] * d_v[:, None]))
    return d_x


def _overwritten(weights: Any, inputs: Any, d_v: Any, width: int, add: bool = True) -> Any:
    d_x = np.zeros((width, d_v.shape[1]), dtype=d_v.dtype)
    for synapse in range(weights.shape[1]):
        share = weights[:, synapse, None] * d_v
        d_x[inputs[:, synapse]] = share + (d_x[inputs[:, synapse]] if add else 0)
    return d_x


def _assigned(weights: Any, inputs: Any, d_v: Any, width: int) -> Any:
    return _overwritten(weights, inputs, d_v, width, add=False)


def _at_once(weights: Any, inputs: Any, d_v: Any, width: int) -> Any:
    d_x = np.zeros((width, d_v.shape[1]), dtype=d_v.dtype)
    d_x[inputs] += weights[:, :, None] * d_v[:, None]
    return d_x


def _counted(weights: Any, inputs: Any, d_v: Any, width: int) -> Any:
    return _projection(weights, inputs, d_v, width) / np.maximum(np.bincount(inputs.ravel(), minlength=width), 1)[:, None]


def _projection_case(rng: np.random.Generator, number: int) -> Case:
    cells, per_cell, width, images = (
        (9, 11, 8, 12, 5, 4, 6)[number],
        (3, 2, 4, 3, 5, 4, 6)[number],
        (7, 5, 6, 10, 7, 6, 8)[number],
        (4, 6, 5, 2, 5, 4, 6)[number],
    )
    inputs = rng.permuted(np.tile(np.arange(width, dtype=np.int32), (cells, 1)), axis=1)[:, :per_cell].copy()
    arguments = {
        "weights": rng.standard_normal((cells, per_cell)),
        "inputs": inputs,
        "d_v": rng.standard_normal((cells, images)),
        "width": width,
    }
    return Case(arguments, {"cells": cells, "inputs per cell": per_cell, "images": images})


_TWICE = Case(
    {
        "weights": np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]),
        "inputs": np.array([[0, 2, 2], [3, 3, 3]], dtype=np.int32),
        "d_v": np.array([[1.0, -1.0], [2.0, 0.5]]),
        "width": 5,
    },
    note="a cell may have two synapses from the same input, and both count: d_x[inputs] += … keeps one; np.add.at adds all",
)
_MISTAKES = mistakes(
    *(
        Mistake(
            "overwritten",
            "synapses on one input overwrite each other: = or d_x[inputs] += … keeps the last of them; np.add.at adds all",
            function,
        )
        for function in (_overwritten, _at_once, _assigned)
    ),
    (
        "only the first synapse",
        "only the first synapse of each cell counts; all do",
        lambda weights, inputs, d_v, width: _projection(weights[:, :1], inputs[:, :1], d_v, width),
    ),
    (
        "only the last synapse",
        "only the last synapse of each cell counts; all do",
        lambda weights, inputs, d_v, width: _projection(weights[:, -1:], inputs[:, -1:], d_v, width),
    ),
    ("averaged over synapses", "each input's share is divided by how many synapses it has: a sum belongs there", _counted),
    (
        "forward again",
        "this gathers from d_v by the numbers of inputs; the way back scatters to them",
        lambda weights, inputs, d_v, width: (weights[:, :, None] * d_v[inputs % len(d_v)]).sum(axis=1),
    ),
    (
        "masked",
        "credit below 0 is cut off; there is no ReLU in this step",
        lambda weights, inputs, d_v, width: _projection(weights, inputs, np.maximum(d_v, 0), width),
    ),
)


PROJECTION = Exercise(
    "sparse-projection",
    "Input gradient of the sparse projection",
    ("C1", "M-DX"),
    "projection_input_gradient(weights, inputs, d_v, width)",
    "Each granule cell sees few mossy fibres: v[c] = Σ_j weights[c, j] x[inputs[c, j]]. Given the derivative d_v of an objective "
    "by v, return its derivative by x, d_x = J d_v: every synapse gives its cell's credit, times its weight, back to its own "
    "input. An input that no cell sees gets 0.",
    """
    Parameters
    ----------
    weights : array of float, shape (cells, inputs per cell)
    inputs : array of int32, shape (cells, inputs per cell)
        The number of the mossy fibre that each synapse comes from.
    d_v : array of float, shape (cells, images)
        Derivative by the pre-activation, one column an image.
    width : int
        Number of mossy fibres.

    Returns
    -------
    array, shape (width, images)
        Dtype of `d_v`.
    """,
    Task(
        _projection,
        _MISTAKES,
        steps=_projection_steps,
    ),
    _projection_case,
    (_TWICE,),
)
