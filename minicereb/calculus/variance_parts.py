"""Sobol' indices: how much independent inputs contribute to a function's variance, from samples with exchanged inputs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Exchanged(NamedTuple):
    """The contribution of some inputs to the variance of f, with one unbiased estimate per sample.

    Attributes
    ----------
    alone : array of float64, shape (..., samples)
        The variance of the mean of f given these inputs: the part that they explain alone.
    total : array of float64, same shape
        The mean of the variance of f when all inputs except these are given: the part that these inputs explain alone or
        together with others; at least 0.
    """

    alone: np.ndarray
    total: np.ndarray


def exchanged(f: np.ndarray, other: np.ndarray, mixed: np.ndarray) -> Exchanged:
    """Estimate the contribution of some inputs to the variance of f, from pairs of independent samples ``[M-INDEX]``.

    Parameters
    ----------
    f, other : array of float64, shape (..., samples)
        f at the samples e, and at the independent samples e'; at least two samples.
    mixed : array of float64, same shape
        f at e', but with the inputs in question taken from e.

    Returns
    -------
    Exchanged
        Both means over the samples are unbiased. For `alone`, this holds because ``mixed - other`` has mean 0, and the centre c
        that is subtracted from f is the mean of the other samples. Small contributions have small variances.

    References
    ----------
    Saltelli (2002) and Owen (2013), Better estimation of small Sobol' sensitivity indices, for `alone`; Jansen (1999) for
    `total`.

    Examples
    --------
    Of the variance of ``f = e₁ + 3 e₂``, which is 10, the first input contributes 1 and the second 9.

    >>> one, two = np.random.default_rng(0).standard_normal((2, 2, 100_000))
    >>> found = exchanged(one[0] + 3 * one[1], two[0] + 3 * two[1], one[0] + 3 * two[1])
    >>> float(found.alone.mean().round(1)), float(found.total.mean().round(1))
    (1.0, 1.0)
    """
    both = f + other
    centre = (both.sum(axis=-1, keepdims=True) - both) / (2 * (f.shape[-1] - 1))
    change = mixed - other
    return Exchanged((f - centre) * change, 0.5 * change * change)


class Share(NamedTuple):
    """A ratio of two means, with its standard error."""

    value: float
    standard_error: float


def share(part: np.ndarray, variance: np.ndarray) -> Share:
    """Return the mean of a part of the variance divided by the mean of the variance.

    Both arrays have the shape (samples,). The standard error is estimated by the jackknife.
    """
    number, (a, v) = len(part), (float(each.sum()) for each in (part, variance))
    without = (a - part) / (v - variance)
    error = np.sqrt((number - 1) / number * np.square(without - without.mean()).sum())
    return Share(a / v, float(error))
