"""The exercise about interval bounds of a layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicereb.calculus.activations import sigmoid, threshold
from minicereb.certificates.relaxations import Unit
from minicereb.diagnosis.hints import Case, Mistake, Task
from minicereb.exercises.definition import Exercise, mistakes, mistakes_of


def _interval(weight: Any, bias: Any, low: Any, high: Any) -> tuple[Any, Any]:
    """Bounds of the pre-activation, shape (batch, units) each."""
    centre, radius = (low + high) / 2, (high - low) / 2
    middle, width = centre @ weight.T + bias, radius @ np.abs(weight).T
    return middle - width, middle + width


def _bounds(weight: Any, bias: Any, low: Any, high: Any) -> Any:
    return np.stack(Unit("relu").interval(*_interval(weight, bias, low, high)))


def _bounds_steps(at: Any, weight: Any, bias: Any, low: Any, high: Any) -> Any:
    """The same, step by step."""
    centre, radius = at("the centre", (low + high) / 2), at("the radius", (high - low) / 2)
    middle = at("the middle", at("the centre through W", centre @ weight.T) + bias)
    width = at("half the width", radius @ at("|W|", np.abs(weight)).T)
    lower, upper = at("the lower end", middle - width), at("the upper end", middle + width)
    return np.stack([at("the lower bound", np.maximum(lower, 0)), at("the upper bound", np.maximum(upper, 0))])


def _from(code: str, text: str, interval: Any) -> Mistake:
    """Bounds after ReLU of a wrong interval before it."""
    return Mistake(code, text, lambda w, b, low, high: np.maximum(np.stack(interval(w, b, low, high)), 0))


def _between(middle: Any, width: Any) -> Any:
    """The bounds with another middle or another half width before ReLU; both are functions of (W, b, c, r)."""

    def bounds(w: Any, b: Any, low: Any, high: Any) -> Any:
        given = w, b, 0.5 * (low + high), 0.5 * (high - low)
        return np.maximum(np.stack([middle(*given) - width(*given), middle(*given) + width(*given)]), 0)

    return bounds


_MIDDLES = mistakes(
    ("sum for centre", "the centre is half of low + high; the whole is taken", lambda w, b, c, r: 2 * c @ w.T + b),
    ("centre halved twice", "the centre is halved once too often", lambda w, b, c, r: 0.5 * c @ w.T + b),
    ("low for the centre", "the middle is the response to low; it is that to the centre", lambda w, b, c, r: (c - r) @ w.T + b),
    ("high for the centre", "the middle is the response to high; it is that to the centre", lambda w, b, c, r: (c + r) @ w.T + b),
    (
        "radius for the centre",
        "the middle is made of the radius; it is the response to the centre",
        lambda w, b, c, r: r @ w.T + b,
    ),
    ("centre through |W|", "the centre goes through |W|; it goes through W", lambda w, b, c, r: c @ np.abs(w).T + b),
    ("bias left out", "the bias is left out", lambda w, b, c, r: c @ w.T),
    ("bias twice", "the bias is added twice", lambda w, b, c, r: c @ w.T + 2 * b),
    ("bias subtracted", "the bias is subtracted", lambda w, b, c, r: c @ w.T - b),
    ("absolute bias", "the bias' sign is lost", lambda w, b, c, r: c @ w.T + np.abs(b)),
    ("middle left out", "the middle is left out: these are bounds of the deviation from it", lambda w, b, c, r: 0 * (c @ w.T)),
)
_WIDTHS = mistakes(
    (
        "no absolute value",
        "|W| is left out: low and high, or the radius, go through W itself; where a weight is negative, the ends change places",
        lambda w, b, c, r: r @ w.T,
    ),
    ("width for radius", "the radius is half of high - low; the whole is taken", lambda w, b, c, r: 2 * r @ np.abs(w).T),
    ("radius too small", "the radius is halved twice", lambda w, b, c, r: 0.5 * r @ np.abs(w).T),
    ("centre alone", "the radius is left out: this is the response to the centre, not bounds", lambda w, b, c, r: 0 * (r @ w.T)),
    ("|W r| for |W| r", "the absolute value is of the sum; it is of each weight", lambda w, b, c, r: np.abs(r @ w.T)),
    ("squared weights", "weights are squared in the width; |W| r belongs there", lambda w, b, c, r: r @ (w * w).T),
    (
        "L2 norm",
        "the width is √(W² r²), the L2 norm; each input may be at its own end: |W| r",
        lambda w, b, c, r: np.sqrt((r * r) @ (w * w).T),
    ),
    ("positive weights only", "only positive weights widen the interval; |W| does", lambda w, b, c, r: r @ np.maximum(w, 0).T),
    ("negative weights only", "only negative weights widen the interval; |W| does", lambda w, b, c, r: r @ np.maximum(-w, 0).T),
    (
        "weights left out",
        "the radius is summed without the weights",
        lambda w, b, c, r: np.broadcast_to(r.sum(axis=1, keepdims=True), (len(r), len(w))),
    ),
    (
        "largest input only",
        "the width is that of the worst single input; all may be at their ends at once",
        lambda w, b, c, r: (r[:, None] * np.abs(w)).max(axis=2),
    ),
    (
        "one radius for all",
        "the largest radius is taken for all inputs; each has its own",
        lambda w, b, c, r: r.max(axis=1)[:, None] * np.abs(w).sum(axis=1),
    ),
    (
        "one radius for all",
        "the mean radius is taken for all inputs; each has its own",
        lambda w, b, c, r: r.mean(axis=1)[:, None] * np.abs(w).sum(axis=1),
    ),
    (
        "bias in the width",
        "the bias widens the interval; it belongs to the middle alone",
        lambda w, b, c, r: r @ np.abs(w).T + np.abs(b),
    ),
    (
        "bias in the width",
        "the bias is added to the width; it belongs to the middle alone",
        lambda w, b, c, r: r @ np.abs(w).T + b,
    ),
)


def _absolute_ends(w: Any, b: Any, low: Any, high: Any) -> tuple[Any, Any]:
    return low @ np.abs(w).T + b, high @ np.abs(w).T + b


_ACTIVATIONS = {
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "threshold": threshold,
    "leaky ReLU": lambda v: np.maximum(v, 0.01 * v),
    "leaky ReLU of slope 0.1": lambda v: np.maximum(v, 0.1 * v),
}


def _activated(name: str, function: Any) -> Mistake:
    return Mistake(f"{name} for ReLU", f"{name} stands where ReLU belongs", lambda *given: function(np.stack(_interval(*given))))


def _relu_of_the_middle(w: Any, b: Any, low: Any, high: Any) -> Any:
    middle, width = np.maximum(0.5 * (low + high) @ w.T + b, 0), 0.5 * (high - low) @ np.abs(w).T
    return np.stack([middle - width, middle + width])


def _sides_swapped(w: Any, b: Any, low: Any, high: Any) -> tuple[Any, Any]:
    middle, width = w @ (0.5 * (low + high)), np.abs(w) @ (0.5 * (high - low))
    return middle + b - width, middle + b + width


def _bounds_case(rng: np.random.Generator, number: int) -> Case:
    batch, inputs, units = (3, 5, 2, 4, 5, 4, 6)[number], (6, 4, 7, 5, 5, 4, 6)[number], (5, 8, 3, 6, 5, 4, 6)[number]
    centre, radius = rng.random((batch, inputs)), 0.3 * rng.random((batch, inputs))
    arguments = {
        "weight": rng.standard_normal((units, inputs)),
        "bias": 0.5 * rng.standard_normal(units),
        "low": centre - radius,
        "high": centre + radius,
    }
    return Case(arguments, {"batch": batch, "inputs": inputs, "units": units})


_MISTAKES = mistakes(
    ("no ReLU", "ReLU is left out: both bounds go through max(·, 0)", lambda *g: np.stack(_interval(*g))),
    ("bounds swapped", "lower and upper are swapped", lambda *g: _bounds(*g)[::-1]),
    ("no ReLU; bounds swapped", "lower and upper are swapped, and ReLU is left out", lambda *g: np.stack(_interval(*g))[::-1]),
    ("ReLU of one end", "ReLU is taken of the lower bound only", lambda *g: np.stack([_bounds(*g)[0], _interval(*g)[1]])),
    ("ReLU of one end", "ReLU is taken of the upper bound only", lambda *g: np.stack([_interval(*g)[0], _bounds(*g)[1]])),
    (
        "not transposed",
        "W is not transposed: x is in rows, so Wx is x @ weight.T",
        lambda w, b, low, high: np.maximum(np.stack(_interval(np.ascontiguousarray(w.T), b, low, high)), 0),
    ),
    (
        "sides swapped",
        "W @ x takes images for columns; they are rows: x @ weight.T",
        lambda w, b, low, high: np.maximum(np.stack(_sides_swapped(w, b, low, high)), 0),
    ),
    *mistakes_of(_between, (lambda w, b, c, r: c @ w.T + b, lambda w, b, c, r: r @ np.abs(w).T), _MIDDLES, _WIDTHS),
    _from("ends through |W|", "low and high go through |W|; the centre goes through W", _absolute_ends),
    _from(
        "sorted ends",
        "the images of low and high are sorted; that is no bound where the weights of a unit differ in sign",
        lambda w, b, low, high: (np.minimum(low @ w.T, high @ w.T) + b, np.maximum(low @ w.T, high @ w.T) + b),
    ),
    _from(
        "bias on one side",
        "the bias is added to the lower bound only",
        lambda w, b, low, high: (_interval(w, b, low, high)[0], _interval(w, 0 * b, low, high)[1]),
    ),
    _from(
        "bias on one side",
        "the bias is added to the upper bound only",
        lambda w, b, low, high: (_interval(w, 0 * b, low, high)[0], _interval(w, b, low, high)[1]),
    ),
    *(_activated(name, function) for name, function in _ACTIVATIONS.items()),
    ("ReLU of the middle", "ReLU is taken of the middle alone; it acts on both ends", _relu_of_the_middle),
    (
        "bias after ReLU",
        "the bias is added after ReLU; it belongs to the pre-activation",
        lambda w, b, low, high: _bounds(w, 0 * b, low, high) + b,
    ),
    (
        "ReLU first",
        "ReLU is taken of the inputs' bounds, before the layer",
        lambda w, b, low, high: np.stack(_interval(w, b, np.maximum(low, 0), np.maximum(high, 0))),
    ),
    ("ReLU by size", "an absolute value is taken in place of ReLU", lambda *g: np.abs(np.stack(_interval(*g)))),
    (
        "centre and radius",
        "these are centre and radius; lower and upper are asked for",
        lambda w, b, low, high: np.stack([0.5 * (low + high) @ w.T + b, 0.5 * (high - low) @ np.abs(w).T]),
    ),
)


CERTIFICATE = Exercise(
    "certificate",
    "Interval bounds of a layer",
    ("M-IBP",),
    "layer_bounds(weight, bias, low, high)",
    "A certificate asks what a network can do for every image of a region. Given bounds low ≤ x ≤ high on each input, return the "
    "tightest bounds that hold for each unit h = max(Wx + b, 0) by itself: with centre c and radius r of the inputs, Wc + b is "
    "the middle of the interval before ReLU and |W| r half its width; ReLU then acts on both ends.",
    """
    Parameters
    ----------
    weight : array of float, shape (units, inputs)
    bias : array of float, shape (units,)
    low, high : array of float, shape (batch, inputs)
        Bounds of the inputs.

    Returns
    -------
    lower, upper : array, shape (batch, units)
        Bounds of the responses, a tuple of two arrays with the dtype of `low`.
    """,
    Task(
        _bounds,
        _MISTAKES,
        parts=2,
        steps=_bounds_steps,
    ),
    _bounds_case,
    (
        Case(
            {
                "weight": np.array([[1.0, -2.0]]),
                "bias": np.array([0.5]),
                "low": np.array([[0.3, 0.1]]),
                "high": np.array([[0.3, 0.1]]),
            },
            note="where low and high are equal, so are the bounds: the response itself",
        ),
    ),
)
