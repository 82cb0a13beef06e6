"""The exercise on the interval bounds of a layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicereb.calculus.activations import sigmoid, threshold
from minicereb.certificates.relaxations import Unit
from minicereb.diagnosis.hints import Task
from minicereb.exercises.definition import Exercise, mistakes, mistakes_of


def _interval(weight: Any, bias: Any, low: Any, high: Any) -> Any:
    """Return the bounds of the pre-activation, shape (2, batch, units)."""
    centre, radius = (low + high) / 2, (high - low) / 2
    middle, width = centre @ weight.T + bias, radius @ np.abs(weight).T
    return np.stack([middle - width, middle + width])


def _bounds(weight: Any, bias: Any, low: Any, high: Any) -> Any:
    return np.stack(Unit("relu").interval(*_interval(weight, bias, low, high)))


def _bounds_steps(at: Any, weight: Any, bias: Any, low: Any, high: Any) -> Any:
    centre, radius = at("the centre", (low + high) / 2), at("the radius", (high - low) / 2)
    middle = at("the middle", at("the centre through W", centre @ weight.T) + bias)
    width = at("half the width", radius @ at("|W|", np.abs(weight)).T)
    lower, upper = at("the lower end", middle - width), at("the upper end", middle + width)
    return np.stack([at("the lower bound", np.maximum(lower, 0)), at("the upper bound", np.maximum(upper, 0))])


def _relu_of(interval: Any) -> Any:
    """Return a known mistake: the bounds after ReLU for a wrong interval before ReLU."""
    return lambda w, b, low, high: np.maximum(np.stack(interval(w, b, low, high)), 0)


def _then(activation: Any) -> Any:
    """Return a known mistake: the right interval, with another function in place of ReLU."""
    return lambda *given: activation(_interval(*given))


def _between(middle: Any, width: Any) -> Any:
    """Return a known mistake: the interval with a wrong middle or half-width, given as functions of (W, b, c, r)."""

    def interval(w: Any, b: Any, low: Any, high: Any) -> Any:
        given = w, b, 0.5 * (low + high), 0.5 * (high - low)
        return [middle(*given) - width(*given), middle(*given) + width(*given)]

    return interval


def _from_columns(w: Any, b: Any, low: Any, high: Any) -> Any:
    middle, width = w @ (0.5 * (low + high)) + b, np.abs(w) @ (0.5 * (high - low))
    return [middle - width, middle + width]


def _sorted_ends(w: Any, b: Any, low: Any, high: Any) -> Any:
    return [np.minimum(low @ w.T, high @ w.T) + b, np.maximum(low @ w.T, high @ w.T) + b]


def _relu_of_middle(w: Any, b: Any, low: Any, high: Any) -> Any:
    middle, width = np.maximum(0.5 * (low + high) @ w.T + b, 0), 0.5 * (high - low) @ np.abs(w).T
    return np.stack([middle - width, middle + width])


def _relu_first(w: Any, b: Any, low: Any, high: Any) -> Any:
    return _interval(w, b, np.maximum(low, 0), np.maximum(high, 0))


def _centre_and_radius(w: Any, b: Any, low: Any, high: Any) -> Any:
    return np.stack([0.5 * (low + high) @ w.T + b, 0.5 * (high - low) @ np.abs(w).T])


def _draw(rng: np.random.Generator, batch: int, inputs: int, units: int) -> tuple[Any, ...]:
    centre, radius = rng.random((batch, inputs)), 0.3 * rng.random((batch, inputs))
    return rng.standard_normal((units, inputs)), 0.5 * rng.standard_normal(units), centre - radius, centre + radius


_MIDDLES = mistakes(
    ("sum for centre", "the centre is (low + high)/2; the factor ½ is missing", lambda w, b, c, r: 2 * c @ w.T + b),
    ("centre halved twice", "the centre is divided by 2 once too often", lambda w, b, c, r: 0.5 * c @ w.T + b),
    ("low for the centre", "the middle is the response to low instead of the centre", lambda w, b, c, r: (c - r) @ w.T + b),
    ("high for the centre", "the middle is the response to high instead of the centre", lambda w, b, c, r: (c + r) @ w.T + b),
    ("radius for the centre", "the middle is the response to the radius instead of the centre", lambda w, b, c, r: r @ w.T + b),
    ("centre through |W|", "the centre is multiplied by |W| instead of W", lambda w, b, c, r: c @ np.abs(w).T + b),
    ("bias left out", "the bias is left out", lambda w, b, c, r: c @ w.T),
    ("bias twice", "the bias is added twice", lambda w, b, c, r: c @ w.T + 2 * b),
    ("bias subtracted", "the bias is subtracted", lambda w, b, c, r: c @ w.T - b),
    ("absolute bias", "the sign of the bias is lost", lambda w, b, c, r: c @ w.T + np.abs(b)),
    ("middle left out", "the middle is left out: these are bounds on the deviation from it", lambda w, b, c, r: 0 * (c @ w.T)),
)
_WIDTHS = mistakes(
    ("no absolute value", "W is used instead of |W|: negative weights exchange the two ends", lambda w, b, c, r: r @ w.T),
    ("width for radius", "the radius is (high - low)/2; the factor ½ is missing", lambda w, b, c, r: 2 * r @ np.abs(w).T),
    ("radius too small", "the radius is divided by 2 once too often", lambda w, b, c, r: 0.5 * r @ np.abs(w).T),
    ("centre alone", "the radius is left out: this is the response to the centre, not bounds", lambda w, b, c, r: 0 * (r @ w.T)),
    ("|W r| for |W| r", "the absolute value is that of the sum instead of each weight", lambda w, b, c, r: np.abs(r @ w.T)),
    ("squared weights", "the weights are squared; the half width is |W| r", lambda w, b, c, r: r @ (w * w).T),
    ("L2 norm", "the half width is √(W² r²), an L2 norm, instead of |W| r", lambda w, b, c, r: np.sqrt((r * r) @ (w * w).T)),
    ("positive weights only", "only positive weights widen the interval; |W| does", lambda w, b, c, r: r @ np.maximum(w, 0).T),
    ("negative weights only", "only negative weights widen the interval; |W| does", lambda w, b, c, r: r @ np.maximum(-w, 0).T),
    ("weights left out", "the radius is summed without the weights", lambda w, b, c, r: r @ np.ones_like(w).T),
    ("largest input only", "only one input moves; all may at once", lambda w, b, c, r: (r[:, None] * np.abs(w)).max(axis=2)),
    ("one radius for all", "all inputs get the largest radius", lambda w, b, c, r: r.max(1)[:, None] * np.abs(w).sum(1)),
    ("one radius for all", "all inputs get the mean radius", lambda w, b, c, r: r.mean(1)[:, None] * np.abs(w).sum(1)),
    ("bias in the width", "the bias widens the interval, but should not", lambda w, b, c, r: r @ np.abs(w).T + np.abs(b)),
    ("bias in the width", "the bias is added to the half width", lambda w, b, c, r: r @ np.abs(w).T + b),
)
_INTERVALS = mistakes(
    ("not transposed", "W is not transposed; use x @ weight.T", lambda w, *given: _interval(w.T.copy(), *given)),
    ("sides swapped", "W @ x expects images as columns; they are rows: x @ weight.T", _from_columns),
    *mistakes_of(_between, (lambda w, b, c, r: c @ w.T + b, lambda w, b, c, r: r @ np.abs(w).T), _MIDDLES, _WIDTHS),
    ("ends through |W|", "low and high are multiplied by |W|", lambda w, b, *ends: [end @ np.abs(w).T + b for end in ends]),
    ("sorted ends", "the images of low and high are sorted; weights of both signs make this wrong", _sorted_ends),
    ("bias on one side", "the bias is added to the lower bound only", lambda w, b, *e: _interval(w, 0 * b, *e) + [[b], [0 * b]]),
    ("bias on one side", "the bias is added to the upper bound only", lambda w, b, *e: _interval(w, 0 * b, *e) + [[0 * b], [b]]),
    of=_relu_of,
)
_ACTIVATIONS = mistakes(
    ("no ReLU", "the ReLU is left out: both bounds should go through max(·, 0)", lambda ends: ends),
    ("bounds swapped", "lower and upper bound are swapped", lambda ends: np.maximum(ends, 0)[::-1]),
    ("no ReLU; bounds swapped", "lower and upper bound are swapped, and the ReLU is left out", lambda ends: ends[::-1]),
    ("ReLU of one end", "the ReLU is applied to the lower bound only", lambda ends: np.stack([np.maximum(ends[0], 0), ends[1]])),
    ("ReLU of one end", "the ReLU is applied to the upper bound only", lambda ends: np.stack([ends[0], np.maximum(ends[1], 0)])),
    ("tanh for ReLU", "tanh is used instead of ReLU", np.tanh),
    ("sigmoid for ReLU", "the sigmoid is used instead of ReLU", sigmoid),
    ("threshold for ReLU", "the threshold function is used instead of ReLU", threshold),
    ("leaky ReLU for ReLU", "leaky ReLU is used instead of ReLU", lambda ends: np.maximum(ends, 0.01 * ends)),
    ("leaky ReLU of slope 0.1 for ReLU", "leaky ReLU is used instead of ReLU", lambda ends: np.maximum(ends, 0.1 * ends)),
    ("ReLU by size", "the absolute value is used instead of ReLU", np.abs),
    of=_then,
)
_OTHERS = mistakes(
    ("ReLU of the middle", "the ReLU is applied to the middle alone; it should be applied to both ends", _relu_of_middle),
    ("bias after ReLU", "the bias is added after the ReLU", lambda w, b, low, high: _bounds(w, 0 * b, low, high) + b),
    ("ReLU first", "the ReLU is applied to the bounds of the inputs, before the layer", _relu_first),
    ("centre and radius", "these are centre and radius; return the lower and the upper bound", _centre_and_radius),
)

CERTIFICATE = Exercise(
    "certificate",
    "Interval bounds of a layer",
    ("M-IBP",),
    "layer_bounds(weight, bias, low, high)",
    "A certificate is a statement about a network's outputs for every image of a region. Given bounds low ≤ x ≤ high on each "
    "input, return the tightest bounds on each unit h = max(Wx + b, 0), taken by itself. With centre c and radius r of the "
    "inputs, Wc + b "
    "is the middle of the interval before the ReLU and |W| r is half its width; the ReLU is then applied to both ends.",
    {
        "weight : array of float, shape (units, inputs)": "",
        "bias : array of float, shape (units,)": "",
        "low, high : array of float, shape (batch, inputs)": "Bounds of the inputs.",
    },
    ("lower, upper : array, shape (batch, units)", "Bounds of the responses, a tuple of two arrays with the dtype of `low`."),
    Task(_bounds, _ACTIVATIONS + _INTERVALS + _OTHERS, parts=2, steps=_bounds_steps),
    _draw,
    {"batch": (3, 5, 2, 4), "inputs": (6, 4, 7, 5), "units": (5, 8, 3, 6)},
    special={
        "where low and high are equal, so are the bounds: both are the response itself": (
            [[1, -2]],
            [0.5],
            [[0.3, 0.1]],
            [[0.3, 0.1]],
        )
    },
    points=2,
)
