"""Exercises about attacks and what withstands them: FGSM, the projection of PGD, interval bounds of a layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicereb.attacks.ball import ball_around, unit_rows
from minicereb.calculus.relaxations import Unit
from minicereb.check.hints import Case, Mistake, Task
from minicereb.exercises.exercise import Exercise


def _box(x: Any) -> Any:
    return np.clip(x, 0, 1)


def _linf(x: Any, epsilon: float) -> Any:
    return ball_around(x, epsilon, "linf")


# -- FGSM --------------------------------------------------------------------------------------------------------------------


def _fgsm(x: Any, gradient: Any, epsilon: float) -> Any:
    ball = _linf(x, epsilon)
    return ball.project(x + epsilon * ball.ascent(gradient))


def _step(code: str, text: str, direction: Any) -> Mistake:
    """FGSM along something else than the gradient's sign."""
    return Mistake(code, text, lambda x, gradient, epsilon: _box(x + epsilon * direction(gradient)))


def _fgsm_case(rng: np.random.Generator, number: int) -> Case:
    images, inputs = (4, 6, 3, 5, 5, 4, 6)[number], (7, 5, 8, 9, 5, 4, 6)[number]
    arguments = {"x": rng.random((images, inputs)), "gradient": 2 * rng.standard_normal((images, inputs)),
                 "epsilon": (0.3, 0.15, 0.45, 0.2, 0.3, 0.15, 0.45)[number]}
    return Case(arguments, {"images": images, "inputs": inputs})


FGSM = Exercise(
    "fgsm",
    "The fast gradient sign method",
    ("M-FGSM",),
    "fgsm(x, gradient, epsilon)",
    "Return the images moved by ε in the direction in which the objective rises: each pixel by ε, up or down as the sign of its "
    "derivative says, and then kept within [0, 1]. A pixel whose derivative is 0 stays.",
    """
    Parameters
    ----------
    x : array of float, shape (images, inputs)
        Pixels in [0, 1].
    gradient : array of float, same shape
        Derivative of the objective by the pixels.
    epsilon : float
        ε, at least 0.

    Returns
    -------
    array
        Shape and dtype of `x`.
    """,
    Task(
        _fgsm,
        (
            Mistake("not clipped", "the result leaves [0, 1]: clip it, after the step", lambda x, g, e: x + e * np.sign(g)),
            Mistake("descent", "this goes down the objective; an attack goes up: + belongs there", lambda x, g, e: _box(x - e * np.sign(g))),
            Mistake("descent; not clipped", "this goes down the objective, and it leaves [0, 1]", lambda x, g, e: x - e * np.sign(g)),
            _step("no sign", "the gradient itself is added; only its sign belongs there", lambda g: g),
            Mistake("no sign; not clipped", "the gradient itself is added, not its sign, and nothing is clipped", lambda x, g, e: x + e * g),
            _step("L2 step", "the gradient is divided by each image's L2 norm; the sign belongs there", unit_rows),
            _step("L2 step", "the gradient is divided by the L2 norm of all images; the sign belongs there",
                  lambda g: g / np.linalg.norm(g)),
            _step("largest step 1", "the gradient is divided by its largest number; the sign belongs there",
                  lambda g: g / np.abs(g).max(axis=1, keepdims=True)),
            _step("largest step 1", "the gradient is divided by the largest number of all images; the sign belongs there",
                  lambda g: g / np.abs(g).max()),
            _step("L1 step", "the gradient is divided by its L1 norm; the sign belongs there",
                  lambda g: g / np.abs(g).sum(axis=1, keepdims=True)),
            _step("absolute value", "the absolute gradient is taken: every pixel goes up", np.abs),
            _step("squashed", "tanh is no sign", np.tanh),
            _step("gradient clipped", "the gradient is clipped to [-1, 1]; its sign belongs there", lambda g: np.clip(g, -1, 1)),
            _step("only up", "pixels with a negative derivative stay; they go down", lambda g: (g > 0) * 1.0),
            _step("only down", "pixels with a positive derivative stay; they go up", lambda g: np.minimum(np.sign(g), 0)),
            _step("one pixel", "only the pixel with the largest derivative moves; all do",
                  lambda g: np.sign(g) * (np.abs(g) == np.abs(g).max(axis=1, keepdims=True))),
            _step("sign of the mean", "the sign is of the images' mean gradient; each image has its own",
                  lambda g: np.broadcast_to(np.sign(g.mean(axis=0)), g.shape)),
            _step("everything goes up", "every pixel goes up: the gradient is left out", np.ones_like),
            Mistake("only the change", "this is the change alone: add it to x", lambda x, g, e: e * np.sign(g)),
            Mistake("only the change", "this is the change alone, clipped: add it to x", lambda x, g, e: _box(e * np.sign(g))),
            Mistake("only the change", "this is how far the pixels move, not where to", lambda x, g, e: _fgsm(x, g, e) - x),
            Mistake("half a box", "it is not kept above 0: the box is [0, 1], not [-1, 1]", lambda x, g, e: np.minimum(x + e * np.sign(g), 1)),
            Mistake("half a box", "it is not kept below 1", lambda x, g, e: np.maximum(x + e * np.sign(g), 0)),
            Mistake("clipped to ε", "it is clipped to [-ε, ε], where only the change is that small",
                    lambda x, g, e: np.clip(x + e * np.sign(g), -e, e)),
            Mistake("clipped to ε", "it is clipped to [0, ε]", lambda x, g, e: np.clip(x + e * np.sign(g), 0, e)),
            Mistake("step of 1", "the step is 1; it is ε", lambda x, g, e: _box(x + np.sign(g))),
            Mistake("step without sign, within ε", "the gradient is added and the change kept within ε; the whole ε is taken",
                    lambda x, g, e: _box(x + np.clip(g, -e, e))),
            Mistake("brought back", "pixels that would leave [0, 1] stay where they were; they go to the edge",
                    lambda x, g, e: np.where((x + e * np.sign(g) > 1) | (x + e * np.sign(g) < 0), x, x + e * np.sign(g))),
            Mistake("wrapped", "pixels that leave [0, 1] come in at the other end; they stay at the edge",
                    lambda x, g, e: (x + e * np.sign(g)) % 1),
            Mistake("scaled into the box", "the image is stretched into [0, 1]; it is clipped",
                    lambda x, g, e: _stretched(x + e * np.sign(g))),
            Mistake("multiplied", "x is multiplied by 1 + ε sign; the change is added", lambda x, g, e: _box(x * (1 + e * np.sign(g)))),
        ),
    ),
    _fgsm_case,
    (
        Case({"x": np.full((1, 3), 0.5), "gradient": np.array([[0.0, 1e-20, -1e20]]), "epsilon": 0.1},
             note="a pixel whose derivative is 0 stays: np.sign gives 0 there, a comparison does not"),
        Case({"x": np.array([[0.0, 1.0]]), "gradient": np.array([[1.0, 1.0]]), "epsilon": 0.0}, note="for ε = 0 nothing moves"),
    ),
)


def _stretched(a: Any) -> Any:
    return (a - a.min()) / (a.max() - a.min())


# -- the projection of PGD ---------------------------------------------------------------------------------------------------


def _project(z: Any, x: Any, epsilon: float) -> Any:
    return _linf(x, epsilon).project(z)


def _in_l2(z: Any, x: Any, epsilon: float) -> Any:
    return ball_around(x, epsilon, "l2").project(z)


def _clipped_to_both(z: Any, x: Any, low: Any, high: Any) -> Any:
    return np.minimum(np.maximum(z, low), high)


def _projection_case(rng: np.random.Generator, number: int) -> Case:
    images, inputs = (4, 6, 3, 5, 5, 4, 6)[number], (7, 5, 8, 9, 5, 4, 6)[number]
    x = rng.random((images, inputs))
    z = x + 0.8 * rng.standard_normal((images, inputs))
    z[0] = x[0] + 0.1 * (z[0] - x[0])  # within the ball
    return Case({"z": z, "x": x, "epsilon": (0.3, 0.2, 0.45, 0.25, 0.3, 0.2, 0.45)[number]}, {"images": images, "inputs": inputs})


PGD = Exercise(
    "pgd-projection",
    "The projection of PGD",
    ("M-PGD",),
    "project(z, x, epsilon)",
    "After every step, PGD takes the nearest point that it may choose: no pixel of z may be farther than ε from the image's, and all "
    "are in [0, 1]. Return that point.",
    """
    Parameters
    ----------
    z : array of float, shape (images, inputs)
        Where the step led.
    x : array of float, same shape
        The images that are attacked, in [0, 1].
    epsilon : float
        ε, at least 0.

    Returns
    -------
    array
        Shape and dtype of `z`.
    """,
    Task(
        _project,
        (
            Mistake("box left out", "the result leaves [0, 1]: the box is left out", lambda z, x, e: np.clip(z, x - e, x + e)),
            Mistake("ball left out", "the ball is left out: only the box is kept", lambda z, x, e: _box(z)),
            Mistake("ball around 0", "the ball is around 0; it is around x", lambda z, x, e: _box(np.clip(z, -e, e))),
            Mistake("ball around 0", "the ball is around 0, and the box is left out", lambda z, x, e: np.clip(z, -e, e)),
            Mistake("only the change", "this is the change alone: add x to it", lambda z, x, e: np.clip(z - x, -e, e)),
            Mistake("only the change", "this is the change alone, clipped to the box: add x to it", lambda z, x, e: _box(np.clip(z - x, -e, e))),
            Mistake("only the change", "this is the change alone: add x to it", lambda z, x, e: _project(z, x, e) - x),
            Mistake("wrong sign of the change", "x - z is clipped in place of z - x", lambda z, x, e: _box(x + np.clip(x - z, -e, e))),
            Mistake("z in place of the change", "z is clipped to [-ε, ε] and added to x; it is the change z - x that is that small",
                    lambda z, x, e: _box(x + np.clip(z, -e, e))),
            Mistake("added to z", "the clipped change is added to z; it belongs to x", lambda z, x, e: _box(z + np.clip(z - x, -e, e))),
            Mistake("L2 ball", "this is the projection onto the L2 ball; here the ball is L∞", _in_l2),
            Mistake("L2 ball", "this is the projection onto the L2 ball, and the box is left out",
                    lambda z, x, e: x + unit_rows(z - x) * np.minimum(np.linalg.norm(z - x, axis=1, keepdims=True), e)),
            Mistake("L2 sphere", "the change is brought to length ε in L2; here the ball is L∞", lambda z, x, e: _box(x + e * unit_rows(z - x))),
            Mistake("scaled", "the whole change is scaled into the ball; the nearest point has each pixel clipped",
                    lambda z, x, e: _box(x + (z - x) * np.minimum(1, e / np.abs(z - x).max(axis=1, keepdims=True)))),
            Mistake("to the corner", "every pixel is moved by the whole ε; those within the ball stay",
                    lambda z, x, e: _box(x + e * np.sign(z - x))),
            Mistake("half of the ball", "nothing keeps z below x + ε", lambda z, x, e: _box(np.maximum(z, x - e))),
            Mistake("half of the ball", "nothing keeps z above x - ε", lambda z, x, e: _box(np.minimum(z, x + e))),
            Mistake("half of the box", "nothing keeps the result above 0: the box is [0, 1], not [-1, 1]", lambda z, x, e: np.minimum(np.clip(z, x - e, x + e), 1)),
            Mistake("half of the box", "nothing keeps the result below 1", lambda z, x, e: np.maximum(np.clip(z, x - e, x + e), 0)),
            Mistake("box in place of the ball", "the change is kept in [0, 1], not the image",
                    lambda z, x, e: x + np.clip(np.clip(z - x, -e, e), 0, 1)),
            Mistake("box shrunk", "the box is [ε, 1 - ε]; it is [0, 1]", lambda z, x, e: np.clip(np.clip(z, x - e, x + e), e, 1 - e)),
            Mistake("sent back", "pixels outside the ball go back to x; they go to its edge",
                    lambda z, x, e: _box(np.where(np.abs(z - x) > e, x, z))),
            Mistake("sent back", "images outside the ball go back to x as a whole; each pixel goes to the edge",
                    lambda z, x, e: _box(np.where(np.abs(z - x).max(axis=1, keepdims=True) > e, x, z))),
            Mistake("z and x swapped", "z and x are swapped: the ball is around z", lambda z, x, e: _box(np.clip(x, z - e, z + e))),
            Mistake("z and x swapped; box left out", "z and x are swapped, and the box is left out", lambda z, x, e: np.clip(x, z - e, z + e)),
            Mistake("edges swapped", "the edges x - ε and x + ε are swapped", lambda z, x, e: _box(np.minimum(np.maximum(z, x + e), x - e))),
            Mistake("in the wrong order", "box first, then the ball around what is clipped to [ε, 1 - ε]",
                    lambda z, x, e: _clipped_to_both(z, x, np.clip(x, e, 1 - e) - e, np.clip(x, e, 1 - e) + e)),
            Mistake("of all images", "the change is scaled by the largest of all images; each pixel is clipped",
                    lambda z, x, e: _box(x + (z - x) * min(1.0, e / float(np.abs(z - x).max())))),
        ),
    ),
    _projection_case,
    (
        Case({"z": np.array([[0.2, 0.9]]), "x": np.array([[0.5, 0.6]]), "epsilon": 0.0}, note="for ε = 0 the result is x itself"),
        Case({"z": np.array([[-9.0, 9.0]]), "x": np.array([[0.0, 1.0]]), "epsilon": 0.1}, note="at the edge of the box ball and box both hold"),
    ),
)

# -- a certificate -----------------------------------------------------------------------------------------------------------


def _interval(weight: Any, bias: Any, low: Any, high: Any) -> tuple[Any, Any]:
    """Bounds of the pre-activation, shape (batch, units) each."""
    centre, radius = (low + high) / 2, (high - low) / 2
    middle, width = centre @ weight.T + bias, radius @ np.abs(weight).T
    return middle - width, middle + width


def _bounds(weight: Any, bias: Any, low: Any, high: Any) -> Any:
    return np.stack(Unit("relu").interval(*_interval(weight, bias, low, high)))


def _from(code: str, text: str, interval: Any) -> Mistake:
    """Bounds after ReLU of a wrong interval before it."""
    return Mistake(code, text, lambda w, b, low, high: np.maximum(np.stack(interval(w, b, low, high)), 0))


def _mixed(w: Any, b: Any, low: Any, high: Any, scale: float = 0.5, centre: float = 0.5, size: Any = np.abs) -> tuple[Any, Any]:
    """The interval with another share of the width, of the sum, or another |W|."""
    middle, width = centre * (low + high) @ w.T + b, scale * (high - low) @ size(w).T
    return middle - width, middle + width


def _bias_in_width(w: Any, b: Any, low: Any, high: Any) -> tuple[Any, Any]:
    middle, width = 0.5 * (low + high) @ w.T, 0.5 * (high - low) @ np.abs(w).T
    return middle - width - np.abs(b), middle + width + np.abs(b)


def _absolute_ends(w: Any, b: Any, low: Any, high: Any) -> tuple[Any, Any]:
    return low @ np.abs(w).T + b, high @ np.abs(w).T + b


def _bounds_case(rng: np.random.Generator, number: int) -> Case:
    batch, inputs, units = (3, 5, 2, 4, 5, 4, 6)[number], (6, 4, 7, 5, 5, 4, 6)[number], (5, 8, 3, 6, 5, 4, 6)[number]
    centre, radius = rng.random((batch, inputs)), 0.3 * rng.random((batch, inputs))
    arguments = {"weight": rng.standard_normal((units, inputs)), "bias": 0.5 * rng.standard_normal(units),
                 "low": centre - radius, "high": centre + radius}
    return Case(arguments, {"batch": batch, "inputs": inputs, "units": units})


CERTIFICATE = Exercise(
    "certificate",
    "Interval bounds of a layer",
    ("M-IBP",),
    "layer_bounds(weight, bias, low, high)",
    "A certificate asks what a network can do for every image of a region. Given bounds low ≤ x ≤ high on each input, return the "
    "tightest bounds that hold for each unit h = max(Wx + b, 0) by itself: with centre c and radius r of the inputs, Wc + b is the "
    "middle of the interval before ReLU and |W| r half its width; ReLU then acts on both ends.",
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
        (
            Mistake("no ReLU", "ReLU is left out: both bounds go through max(·, 0)", lambda *g: np.stack(_interval(*g))),
            Mistake("bounds swapped", "lower and upper are swapped", lambda *g: _bounds(*g)[::-1]),
            Mistake("no ReLU; bounds swapped", "lower and upper are swapped, and ReLU is left out", lambda *g: np.stack(_interval(*g))[::-1]),
            Mistake("ReLU of one end", "ReLU is taken of the lower bound only", lambda *g: np.stack([_bounds(*g)[0], _interval(*g)[1]])),
            Mistake("ReLU of one end", "ReLU is taken of the upper bound only", lambda *g: np.stack([_interval(*g)[0], _bounds(*g)[1]])),
            Mistake("not transposed", "W is not transposed: x is in rows, so Wx is x @ weight.T", lambda w, b, low, high: np.maximum(
                np.stack(_interval(np.ascontiguousarray(w.T), b, low, high)), 0)),
            Mistake("sides swapped", "W @ x takes images for columns; they are rows: x @ weight.T", lambda w, b, low, high: np.maximum(
                np.stack(_sides_swapped(w, b, low, high)), 0)),
            _from("no absolute value", "|W| is left out: low and high, or the radius, go through W itself; where a weight is negative, the ends "
                  "change places",
                  lambda *g: _mixed(*g, size=lambda w: w)),
            _from("ends through |W|", "low and high go through |W|; the centre goes through W", _absolute_ends),
            _from("sorted ends", "the images of low and high are sorted; that is no bound where the weights of a unit differ in sign",
                  lambda w, b, low, high: (np.minimum(low @ w.T, high @ w.T) + b, np.maximum(low @ w.T, high @ w.T) + b)),
            _from("width for radius", "the radius is half of high - low; the whole is taken", lambda *g: _mixed(*g, scale=1.0)),
            _from("radius too small", "the radius is halved twice", lambda *g: _mixed(*g, scale=0.25)),
            _from("sum for centre", "the centre is half of low + high; the whole is taken", lambda *g: _mixed(*g, centre=1.0)),
            _from("half the bounds", "centre and radius are both halved once too often", lambda *g: _mixed(*g, scale=0.25, centre=0.25)),
            _from("centre alone", "the radius is left out: this is the response to the centre, not bounds", lambda *g: _mixed(*g, scale=0.0)),
            _from("bias left out", "the bias is left out", lambda w, b, low, high: _interval(w, 0 * b, low, high)),
            _from("bias twice", "the bias is added twice", lambda w, b, low, high: _interval(w, 2 * b, low, high)),
            _from("bias subtracted", "the bias is subtracted", lambda w, b, low, high: _interval(w, -b, low, high)),
            _from("bias in the width", "the bias belongs to the middle; it widens the interval here", _bias_in_width),
            _from("bias on one side", "the bias is added to the lower bound only", lambda w, b, low, high: (
                _interval(w, b, low, high)[0], _interval(w, 0 * b, low, high)[1])),
            _from("bias on one side", "the bias is added to the upper bound only", lambda w, b, low, high: (
                _interval(w, 0 * b, low, high)[0], _interval(w, b, low, high)[1])),
            _from("absolute bias", "the bias' sign is lost", lambda w, b, low, high: _interval(w, np.abs(b), low, high)),
            _from("squared weights", "the width is √(W² r²), the L2 norm; each input may be at its own end: |W| r",
                  lambda w, b, low, high: _root_width(w, b, low, high)),
            _from("largest input only", "the width is that of the worst single input; all may be at their ends at once",
                  lambda w, b, low, high: _largest_width(w, b, low, high)),
            _from("one radius for all", "the largest radius is taken for all inputs; each has its own",
                  lambda w, b, low, high: _same_width(w, b, low, high, np.max)),
            _from("one radius for all", "the mean radius is taken for all inputs; each has its own",
                  lambda w, b, low, high: _same_width(w, b, low, high, np.mean)),
            _from("low for the centre", "the middle is the response to low; it is that to the centre", lambda w, b, low, high: (
                low @ w.T + b - 0.5 * (high - low) @ np.abs(w).T, low @ w.T + b + 0.5 * (high - low) @ np.abs(w).T)),
            Mistake("bias after ReLU", "the bias is added after ReLU; it belongs to the pre-activation",
                    lambda w, b, low, high: _bounds(w, 0 * b, low, high) + b),
            Mistake("ReLU first", "ReLU is taken of the inputs' bounds, before the layer",
                    lambda w, b, low, high: np.stack(_interval(w, b, np.maximum(low, 0), np.maximum(high, 0)))),
            Mistake("ReLU by size", "an absolute value is taken in place of ReLU", lambda *g: np.abs(np.stack(_interval(*g)))),
            Mistake("centre and radius", "these are centre and radius; lower and upper are asked for", lambda w, b, low, high: np.stack(
                [0.5 * (low + high) @ w.T + b, 0.5 * (high - low) @ np.abs(w).T])),
        ),
        parts=2,
    ),
    _bounds_case,
    (
        Case({"weight": np.array([[1.0, -2.0]]), "bias": np.array([0.5]), "low": np.array([[0.3, 0.1]]), "high": np.array([[0.3, 0.1]])},
             note="where low and high are equal, so are the bounds: the response itself"),
    ),
)


def _sides_swapped(w: Any, b: Any, low: Any, high: Any) -> tuple[Any, Any]:
    middle, width = w @ (0.5 * (low + high)), np.abs(w) @ (0.5 * (high - low))
    return middle + b - width, middle + b + width


def _around(w: Any, b: Any, low: Any, high: Any, width: Any) -> tuple[Any, Any]:
    middle = 0.5 * (low + high) @ w.T + b
    return middle - width, middle + width


def _root_width(w: Any, b: Any, low: Any, high: Any) -> tuple[Any, Any]:
    return _around(w, b, low, high, np.sqrt((0.5 * (high - low)) ** 2 @ (w * w).T))


def _largest_width(w: Any, b: Any, low: Any, high: Any) -> tuple[Any, Any]:
    return _around(w, b, low, high, (0.5 * (high - low)[:, None] * np.abs(w)).max(axis=2))


def _same_width(w: Any, b: Any, low: Any, high: Any, of: Any) -> tuple[Any, Any]:
    radius = of(0.5 * (high - low), axis=1)[:, None]
    return _around(w, b, low, high, radius * np.abs(w).sum(axis=1))
