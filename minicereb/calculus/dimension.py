"""The dimension of a population's activity: the participation ratio of its covariance, measured and in closed form."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.special import gammaln, ndtri, stdtrit

from minicereb.errors import require

FEWEST_IMAGES = 6
SMALLEST = 1e-13  # a smaller share of the squared trace is rounding error
NODES = 64  # nodes of the Gauss-Legendre rule; the integrand is smooth, so fewer would already give double precision


class ParticipationRatio(NamedTuple):
    """An estimate of the dimension D, with its components.

    Attributes
    ----------
    value : float
        ``squared_trace / trace_of_square``; infinite if no two images share any activity.
    low, high : float
        95% interval, by the jackknife over images. The interval is 1 to infinity if leaving out one of the images makes
        the activity constant.
    squared_trace, trace_of_square : float
        Unbiased estimates of (tr C)² and tr C².
    """

    value: float
    low: float
    high: float
    squared_trace: float
    trace_of_square: float


def participation_ratio(gram: np.ndarray) -> ParticipationRatio:
    """Estimate the dimension of an activity from the inner products between images ``[M-DIM]`` ``[M-DIM-U]``.

    Numerator and denominator are U-statistics: means over tuples of different images, in which no image is paired with
    itself. For fixed cells, both are unbiased for independent images of any distribution with fourth moments, however few
    images and however many cells there are. Neither of the two is ever negative. The quotient is consistent, with a bias
    that falls as 1/P for P images. The interval for log D is Student's interval with P - 1 degrees of freedom. The
    interval is too wide if there are few images relative to the dimension, because the jackknife then counts the
    variance twice. The interval is too narrow if there are only hundreds of images and a few of them account for much
    of the variance. The interval accounts for the random choice of images, but not of cells.

    Parameters
    ----------
    gram : array of float64, shape (images, images)
        ``G_pq = h_p · h_q``, symmetric; at least six images. Adding a constant to the activity of a cell does not change the
        result.

    Raises
    ------
    InputError
        If there are too few images, or if the activity is the same for all images or for all but one.

    References
    ----------
    Chen, Zhang and Zhong (2010), Journal of the American Statistical Association 105, Sec. 2, for tr C² and its variance.
    """
    images = len(gram)
    require(images >= FEWEST_IMAGES, "images", images, f"at least {FEWEST_IMAGES}")
    means = gram.mean(axis=1)
    # products of deviations from the images' mean, in which fewer digits cancel
    products = gram - means[:, None] - means[None, :] + means.mean()
    squares = np.diagonal(products).copy()
    distances = 0.5 * (squares[:, None] + squares[None, :]) - products
    np.fill_diagonal(products, 0)
    np.fill_diagonal(distances, 0)
    squared_trace, without = _over_different_images(distances)[2]
    varies = squared_trace > SMALLEST * float(np.square(np.trace(gram)))
    require(varies, "activity", "the same for all images, or all but one", "one that varies")
    pairs, paths, quadruples = _over_different_images(products)
    trace_of_square = pairs[0] - 2 * paths[0] + quadruples[0]
    squares_without = pairs[1] - 2 * paths[1] + quadruples[1]
    value = squared_trace / trace_of_square if trace_of_square > SMALLEST * squared_trace else math.inf
    if value == math.inf or min(without.min(), squares_without.min()) <= SMALLEST * squared_trace:
        return ParticipationRatio(value, 1.0, math.inf, squared_trace, trace_of_square)
    logarithms = np.log(without / squares_without)
    error = math.sqrt((images - 1) / images * float(np.square(logarithms - logarithms.mean()).sum()))
    factor = math.exp(float(stdtrit(images - 1, 0.975)) * error)
    return ParticipationRatio(value, value / factor, value * factor, squared_trace, trace_of_square)


def _over_different_images(a: np.ndarray) -> list[tuple[float, np.ndarray]]:
    """Return the means of a_pq², a_pq a_pr and a_pq a_rs over different p, q, r, s; each also with one image left out.

    `a` is symmetric with a diagonal of zeros.
    """
    images = len(a)
    rows, squares = a.sum(axis=1), np.square(a).sum(axis=1)
    total, of_rows, of_squares = rows.sum(), np.square(rows).sum(), squares.sum()
    totals = np.append(total, total - 2 * rows)
    rows_squared = np.append(of_rows, of_rows - np.square(rows) - 2 * (a @ rows) + squares)
    squared = np.append(of_squares, of_squares - 2 * squares)
    sums = (squared, rows_squared - squared, np.square(totals) - 4 * rows_squared + 2 * squared)
    means = []
    for different, each in zip((2, 3, 4), sums, strict=True):
        each[0] /= math.perm(images, different)
        each[1:] /= math.perm(images - 1, different)
        means.append((float(each[0]), each[1:]))
    return means


def threshold_dimension(inputs: int, per_cell: int, cells: int, level: float) -> float:
    """Dimension of threshold cells with equal weights on independent standard normal inputs ``[M-DIM-T]``.

    The formula is exact for the mean of tr C² over wirings. For other inputs, weights or units it is only a rough guide.

    Parameters
    ----------
    inputs : int
        Number N of inputs. Each cell receives `per_cell` distinct inputs, and all sets of that size are equally likely.
    per_cell : int
        Number K of inputs per cell, from 1 to N.
    cells : int
        Number M of cells, at least 1.
    level : float
        f, the fraction of input patterns for which a cell fires, above 0 and below 1.

    Returns
    -------
    float
        The dimension; 1 if every cell receives every input, because then all cells are identical.

    Raises
    ------
    InputError
        If a number is out of range.

    References
    ----------
    Litwin-Kumar et al. (2017), Neuron 93, Methods.
    """
    require(1 <= per_cell <= inputs, "per_cell", per_cell, f"a whole number from 1 to the {inputs} inputs")
    require(cells >= 1, "cells", cells, "a whole number of at least 1")
    require(0 < level < 1, "level", level, "a share above 0 and below 1")
    shared = np.arange(max(0, 2 * per_cell - inputs), per_cell + 1, dtype=np.float64)
    logarithm = _log_choose(per_cell, shared) + _log_choose(inputs - per_cell, per_cell - shared) - _log_choose(inputs, per_cell)
    correlation = threshold_covariance(shared / per_cell, level) / (level * (1 - level))
    mean_square = float((np.exp(logarithm) * np.square(correlation)).sum())
    return 1 / (1 / cells + (1 - 1 / cells) * mean_square)


def threshold_covariance(correlation: np.ndarray, level: float) -> np.ndarray:
    """Covariance of two threshold cells whose drives are jointly normal with a correlation from 0 to 1 ``[M-DIM-T]``.

    The substitution ``r = sin t`` turns the integral of ``φ₂(θ, θ; r)`` over r from 0 to ρ into the integral of
    ``exp(-θ²/(1 + sin t))/2π`` over t, whose integrand has no singularity.

    Parameters
    ----------
    correlation : array of float64, shape (pairs,)
    level : float
        f, the probability with which each cell fires.

    Returns
    -------
    array of float64, shape (pairs,)
        0 at correlation 0, f - f² at correlation 1.
    """
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    half = 0.5 * np.arcsin(correlation)
    angles = half[:, None] * (nodes + 1)
    covariance: np.ndarray = half / (2 * math.pi) * (np.exp(-(ndtri(level) ** 2) / (1 + np.sin(angles))) @ weights)
    return covariance


def _log_choose(total: int, chosen: np.ndarray | int) -> np.ndarray:
    logarithm: np.ndarray = gammaln(total + 1) - gammaln(np.asarray(chosen) + 1) - gammaln(total - np.asarray(chosen) + 1)
    return logarithm
