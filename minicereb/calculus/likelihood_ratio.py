"""The likelihood-ratio paper's equations, each as a function of a few lines; rows are replications of the noise.

These functions are the reference for :class:`minicereb.models.noisy.NoisyLayer` and for the estimators ``plain`` and
``backprop`` (:mod:`minicereb.learning.estimators`), which compute the same quantities for many images at a time; tests compare
their results with these functions.

References
----------
Xiao, Peng, Hong and Ke (2019), Training Artificial Neural Networks by Generalized Likelihood Ratio Method.
"""

from __future__ import annotations

from collections.abc import Callable

from minicereb.backend import Array
from minicereb.calculus.dense import dense


def noisy_layer(x: Array, weight: Array, bias: Array, noise: Array, activation: Callable[[Array], Array]) -> tuple[Array, Array]:
    """Return the signals and responses of neurons with noise, ``v = θᵀ[1; x] + r``, ``x' = φ(v)`` ``[G1]``.

    Parameters
    ----------
    x : array of float, shape (rows, inputs)
    weight : array, shape (outputs, inputs)
        The weights θ without the bias.
    bias : array, shape (outputs,)
    noise : array, shape (rows, outputs)
        r = σe.
    activation : callable
        The activation φ, for example :func:`minicereb.calculus.activations.threshold`.

    Returns
    -------
    signals, responses : array, shape (rows, outputs)
        v and x'.

    Examples
    --------
    >>> import numpy as np
    >>> from minicereb.calculus.activations import threshold
    >>> noisy_layer(np.array([[1.0], [1.0]]), np.array([[2.0]]), np.array([-1.0]), np.array([[0.5], [-1.5]]), threshold)
    (array([[ 1.5],
           [-0.5]]), array([[1.],
           [0.]]))
    """
    signals = dense(x, weight, bias) + noise
    return signals, activation(signals)


def signal_gradient(d_next: Array, next_weight: Array, slope: Array) -> Array:
    """Backpropagate from one layer to the one below: ``δ_l = φ'(v_l) ⊙ (θ_{l+1}ᵀ δ_{l+1})`` ``[G3]``.

    The derivative with respect to the layer's weights is then ``δ_l x_lᵀ``
    (:func:`minicereb.calculus.dense.dense_weight_gradient`).

    Parameters
    ----------
    d_next : array of float, shape (rows, outputs of the next layer)
        The derivatives δ of the next layer.
    next_weight : array, shape (outputs of the next layer, outputs)
    slope : array, shape (rows, outputs)
        The slopes φ'(v) of this layer.

    Returns
    -------
    array, shape (rows, outputs)

    Examples
    --------
    >>> import numpy as np
    >>> signal_gradient(np.array([[2.0]]), np.array([[1.0, 3.0]]), np.array([[1.0, 0.5]]))
    array([[2., 3.]])
    """
    return slope * (d_next @ next_weight)


def likelihood_ratio_gradient(losses: Array, score: Array, x: Array) -> Array:
    """Estimate the weight gradient of the mean loss from loss values alone: ``E[L x_b s(r_a)]`` ``[G5]``.

    Parameters
    ----------
    losses : array of float, shape (rows,)
        The loss L of each replication.
    score : array, shape (rows, outputs)
        The scores s(r), from :func:`gaussian_score` or another distribution.
    x : array, shape (rows, inputs)
        Input of the layer; a column of ones gives the gradient of the bias.

    Returns
    -------
    array, shape (outputs, inputs)
        The mean over rows, an unbiased estimate if the noise of different rows is independent.

    Examples
    --------
    A neuron with standard normal noise fires with a probability whose slope at v = 0 is 1/√(2π) = 0.399.

    >>> import numpy as np
    >>> noise = np.random.default_rng(0).standard_normal((100_000, 1))
    >>> fires = (noise[:, 0] > 0).astype(np.float64)
    >>> likelihood_ratio_gradient(fires, gaussian_score(noise, 1.0), np.ones((100_000, 1))).round(2)
    array([[0.4]])
    """
    return (losses[:, None] * score).T @ x / len(losses)


def unit_credit(losses: Array, baseline: Array | float, score: Array) -> Array:
    """Estimate each unit's credit ``∂L/∂v`` from loss values: ``(L - b) s(r)`` ``[M-SHARED]``.

    Parameters
    ----------
    losses : array of float, shape (rows,)
        The loss L of each replication.
    baseline : array, shape (rows,), or float
        The baseline b. The number for a row must not depend on the noise of this row.
    score : array, shape (rows, ...)
        The score s(r) of every unit; the axes after the first are the axes of the layer.

    Returns
    -------
    array
        The credit, with the shape of `score`; its mean over rows is unbiased.

    Examples
    --------
    >>> import numpy as np
    >>> unit_credit(np.array([3.0, 1.0]), 2.0, np.array([[0.5, -1.0], [2.0, 1.0]]))
    array([[ 0.5, -1. ],
           [-2. , -1. ]])
    """
    return (losses - baseline).reshape(-1, *(1,) * (score.ndim - 1)) * score


def shared_weight_gradient(
    credit: Array, x: Array, weight_gradient: Callable[[Array, Array], dict[str, Array]], runs: int
) -> dict[str, Array]:
    """Estimate the gradient of the mean loss for weights that several units share ``[M-SHARED]``.

    A shared weight moves the drive of every unit that uses it, so its derivative is a sum over these units. The layer's
    own weight gradient computes this sum: over the positions of a convolution, or over time if the rows are the time
    steps of each run.

    Parameters
    ----------
    credit : array of float, shape (rows, ...)
        From :func:`unit_credit`.
    x : array, shape (rows, ...)
        Input of the layer, with the same rows as `credit`.
    weight_gradient : callable
        Takes `credit` and `x` and returns gradients summed over rows, such as
        :meth:`minicereb.models.convolutional.Convolution.weight_gradient`. The gradients must be new arrays, because they
        are divided in place.
    runs : int
        Number of losses from which the credits were computed: the number of rows or, if the rows are time steps, the
        number of rows divided by the number of steps.

    Returns
    -------
    dict of array
        Each gradient, averaged over the runs.

    Examples
    --------
    One weight moves two units, with inputs 1 and 2; there are two runs.

    >>> import numpy as np
    >>> credit, x = np.array([[0.5, 1.0], [0.0, 1.0]]), np.array([[1.0, 2.0], [1.0, 2.0]])
    >>> shared_weight_gradient(credit, x, lambda credit, x: {"weight": (credit * x).sum(axis=(0, 1), keepdims=True)}, 2)
    {'weight': array([[2.25]])}
    """
    gradients = weight_gradient(credit, x)
    for total in gradients.values():
        total /= runs
    return gradients


def gaussian_score(noise: Array, scale: float) -> Array:
    """Score of Gaussian noise, ``s(r) = r/σ²`` ``[G6]``; other distributions are in :mod:`minicereb.calculus.noise`.

    Parameters
    ----------
    noise : array of float, any shape
        r.
    scale : float
        The standard deviation σ of the noise.

    Returns
    -------
    array
        Shape of `noise`.

    Examples
    --------
    >>> import numpy as np
    >>> gaussian_score(np.array([1.0, -2.0]), 2.0)
    array([ 0.25, -0.5 ])
    """
    return noise / (scale * scale)
