"""Activations, each with its derivative beside it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from minicereb.backend import Array, xp_of
from minicereb.compiled import part_of_loop
from minicereb.errors import InputError, choose, require
from minicereb.parallel import zeros_for


def relu(v: Array, out: Array | None = None) -> Array:
    """Rectified linear units: ``h = max(v, 0)``, the granule cells' response ``[C1]``.

    Parameters
    ----------
    v : array of float, any shape
        Pre-activation.
    out : array, optional
        Array to write into; may be `v`.
    """
    return xp_of(v).maximum(v, zeros_for(v), out=out)


def relu_input_gradient(d_h: Array, active: Array, out: Array | None = None) -> Array:
    """Input gradient of :func:`relu`: ``d_v = d_h * (v > 0)``, which is 0 at v = 0.

    Parameters
    ----------
    d_h : array of float, any shape
        Derivative of the objective with respect to the response.
    active : array of bool, same shape
        ``v > 0``, equivalently ``relu(v) > 0``.
    """
    return xp_of(d_h).multiply(d_h, active, out=out)


def sigmoid(v: Array, slope: float = 1.0, out: Array | None = None) -> Array:
    """Sigmoid: ``h = 1/(1 + exp(-s v))`` with slope s ``[G-SIGMOID]``, computed without overflow.

    Parameters
    ----------
    v : array of float, any shape
    slope : float
        The slope s, above 0; for large s the response approaches :func:`threshold`.
    out : array, optional
        Array to write into; may be `v`.
    """
    # ½(1 + tanh(½sv)) neither overflows nor branches.
    xp = xp_of(v)
    h = xp.multiply(v, v.dtype.type(0.5 * slope), out=out)
    h = xp.tanh(h, out=h)
    h += 1
    h *= v.dtype.type(0.5)
    return h


def threshold(v: Array, out: Array | None = None) -> Array:
    """Threshold: ``h = 1 if v > 0 else 0`` ``[G-THRESHOLD]``, which is 0 at v = 0, where the paper gives no value."""
    xp = xp_of(v)
    fires = v > 0
    if out is None:
        return fires.astype(v.dtype)
    xp.copyto(out, fires)
    return out


def absolute(v: Array, out: Array | None = None) -> Array:
    """Absolute value: ``h = |v|`` ``[G-ABS]``."""
    return xp_of(v).abs(v, out=out)


def arctan_inverse(v: Array, out: Array | None = None) -> Array:
    """Arctangent of 1/v: ``h = arctan(1/v) = ±π/2 - arctan v`` ``[G-ARCTAN]``, with the value -π/2 at the jump, v = 0."""
    xp = xp_of(v)
    side = (v > 0) * v.dtype.type(math.pi) - v.dtype.type(math.pi / 2)
    h = xp.arctan(v, out=out)
    return xp.subtract(side, h, out=out)


LOG_FLOOR = 1e-6


def log_absolute(v: Array, out: Array | None = None) -> Array:
    """Logarithm: ``h = ln |v|`` ``[G-LOG]``, with the constant value ln 1e-6 where ``|v|`` is below 1e-6."""
    xp = xp_of(v)
    h = xp.abs(v, out=out)
    h = xp.maximum(h, v.dtype.type(LOG_FLOOR), out=h)
    return xp.log(h, out=h)


def log_absolute_minus(v: Array, out: Array | None = None) -> Array:
    """Logarithm minus v, as in the paper's Fig. 7(c): ``h = ln |v| - v`` ``[G-LOGMINUS]``, with the first term from
    :func:`log_absolute`.
    """
    return xp_of(v).subtract(log_absolute(v), v, out=out)


def sigmoid_derivative(v: Array, slope: float = 1.0) -> Array:
    """Return ``s h (1 - h)``, the derivative of :func:`sigmoid`."""
    h = sigmoid(v, slope)
    return h * (1 - h) * v.dtype.type(slope)


class ActivationFormula(NamedTuple):
    """A row of :data:`ACTIVATIONS`.

    Attributes
    ----------
    response : callable
        Takes signals, the slope if `has_slope`, and ``out``; returns responses.
    tag : str
        Tag of the activation's equation.
    derivative : callable or None
        Takes the same arguments except ``out`` and returns derivatives. None if the response has a jump or a pole,
        because derivatives do not pass through these.
    has_slope : bool
    """

    response: Callable[..., Array]
    tag: str
    derivative: Callable[..., Array] | None = None
    has_slope: bool = False


@dataclass(frozen=True)
class Activation:
    """A named activation of noisy neurons.

    Parameters
    ----------
    name : str
        One of :data:`ACTIVATIONS`.
    slope : float
        Slope of the sigmoid; 1 for all other activations.
    """

    name: str
    slope: float = 1.0

    def __post_init__(self) -> None:
        sloped = choose("activation", self.name, ACTIVATIONS).has_slope
        require(0 < self.slope < float("inf"), "slope", self.slope, "a number above 0")
        require(self.slope == 1 or sloped, "slope", self.slope, "1: only the sigmoid has a slope")

    def __call__(self, v: Array, out: Array | None = None) -> Array:
        """Return the responses to the signals `v`; `out` may be `v`."""
        return ACTIVATIONS[self.name].response(v, *self._slope, out)

    @property
    def smooth(self) -> bool:
        """Whether the activation has neither jump nor pole, so that it has a derivative everywhere except at kinks."""
        return ACTIVATIONS[self.name].derivative is not None

    def derivative(self, v: Array) -> Array:
        """Return ``φ'(v)``, which is 0 at the kink of ``|v|``; raise :class:`InputError` if the activation has a jump or a
        pole.
        """
        derivative = ACTIVATIONS[self.name].derivative
        if derivative is None:
            smooth = " or ".join(name for name, formula in ACTIVATIONS.items() if formula.derivative is not None)
            raise InputError("activation", self.name, f"{smooth}: derivatives do not pass through a jump or a pole")
        return derivative(v, *self._slope)

    @property
    def _slope(self) -> tuple[float, ...]:
        return (self.slope,) if ACTIVATIONS[self.name].has_slope else ()


ACTIVATIONS = {
    "sigmoid": ActivationFormula(sigmoid, "G-SIGMOID", sigmoid_derivative, has_slope=True),
    "threshold": ActivationFormula(threshold, "G-THRESHOLD"),
    "absolute": ActivationFormula(absolute, "G-ABS", lambda v: xp_of(v).sign(v)),
    "arctan-inverse": ActivationFormula(arctan_inverse, "G-ARCTAN"),
    "log-absolute": ActivationFormula(log_absolute, "G-LOG"),
    "log-absolute-minus": ActivationFormula(log_absolute_minus, "G-LOGMINUS"),
}


def loop_slope(activation: Activation | None, dtype: Any) -> Any:
    """Return the number that describes an activation to a compiled loop: half the slope of a sigmoid, 0 for a threshold.

    Return None for all other activations, and for a sigmoid in float64, for which :func:`half_tanh` is not precise enough.
    """
    number = np.dtype(dtype).type
    if activation is not None and activation.name == "sigmoid" and number is np.float32:
        return number(0.5 * activation.slope)
    return number(0) if activation is not None and activation.name == "threshold" else None


@part_of_loop
def half_tanh(v: Any) -> Any:
    """Return ``½ tanh v`` in float32 with an error below 3e-7.

    The value is the quotient of two polynomials, which the processor evaluates for many v at once.
    """
    f = np.float32
    v = min(max(v, f(-7.9053111)), f(7.9053111))
    s = v * v
    p = f(-2.76076847742355e-16) * s + f(2.00018790482477e-13)
    p = p * s + f(-8.60467152213735e-11)
    p = p * s + f(5.12229709037114e-08)
    p = p * s + f(1.48572235717979e-05)
    p = p * s + f(6.37261928875436e-04)
    p = p * s + f(4.89352455891786e-03)
    q = f(1.19825839466702e-06) * s + f(1.18534705686654e-04)
    q = q * s + f(2.26843463243900e-03)
    q = q * s + f(4.89352518554385e-03)
    return f(0.5) * v * p / q
