"""The cerebellum paper's equations, each as a function of a few lines; images are rows.

These functions are the reference. :class:`minicereb.models.cerebellum.CerebellarNetwork` and
:class:`minicereb.learning.plasticity.DeltaRule` compute the same numbers in blocks of granule cells, without ever storing
the full activity matrix; tests compare their results with these functions. One step of learning, written out:

>>> import numpy as np
>>> x, targets = np.array([[1.0, 0.0], [0.5, 1.0]]), np.array([[1.0], [0.0]])
>>> J, W, mean = np.array([[1.0, -1.0, 0.0], [0.0, 2.0, 1.0]]), np.array([[0.5], [0.0], [1.0]]), np.zeros(3)
>>> h = granule(x, J)
>>> mean = ltd_mean(mean, h, decay=0.5)
>>> value, error = loss(purkinje(h, mean, W), targets)
>>> W -= 0.1 * readout_gradient(h, mean, error)

References
----------
Yuezhang, Li and Chen (2020), Evaluating Adversarial Robustness in Simulated Cerebellum.
"""

from __future__ import annotations

from minicereb.backend import Array, xp_of
from minicereb.calculus.activations import relu, relu_input_gradient, threshold


def granule(x: Array, projection: Array, rest: Array | float = 0.0) -> Array:
    """Granule cells: ``h = max(Jᵀx, 0)`` ``[C1]``.

    Parameters
    ----------
    x : array of float, shape (images, inputs)
        Activity of the mossy fibres.
    projection : array or sparse array, shape (inputs, cells)
        The projection J, which never learns.
    rest : array, shape (cells,), or float
        Drive of each cell when all its inputs are silent, used for codons ``[M-CODON]``; it is added to Jᵀx.

    Returns
    -------
    array, shape (images, cells)

    Examples
    --------
    >>> import numpy as np
    >>> granule(np.array([[1.0, 2.0]]), np.array([[1.0, -1.0], [0.5, 0.0]]))
    array([[2., 0.]])
    """
    return relu(x @ projection + rest)


def ltd_mean(mean: Array, h: Array, decay: float = 0.99) -> Array:
    """Update the mean activity that long-term depression subtracts, ``μ_t = β μ_{t-1} + (1 - β) h_t`` ``[C-LTD]``.

    Parameters
    ----------
    mean : array, shape (cells,)
        The mean activity μ before the batch; not modified.
    h : array, shape (images, cells)
        The batch's responses, whose mean over images is h_t.
    decay : float
        The decay factor β, from 0 to less than 1.

    Returns
    -------
    array, shape (cells,)

    Examples
    --------
    >>> import numpy as np
    >>> ltd_mean(np.array([1.0, 0.0]), np.array([[3.0, 0.0], [1.0, 2.0]]), decay=0.5)
    array([1.5, 0.5])
    """
    return decay * mean + (1 - decay) * h.mean(axis=0)


def purkinje(h: Array, mean: Array, readout: Array) -> Array:
    """Purkinje cells: ``z = h - μ``, ``ŷ = Wᵀz`` ``[C2]``.

    Parameters
    ----------
    h : array, shape (images, cells)
    mean : array, shape (cells,)
        The mean activity μ; during learning, it is already updated with this batch.
    readout : array, shape (cells, classes)
        W.

    Returns
    -------
    array, shape (images, classes)

    Examples
    --------
    >>> import numpy as np
    >>> purkinje(np.array([[2.0, 0.0]]), np.array([1.0, 1.0]), np.array([[1.0, 0.0], [0.0, 3.0]]))
    array([[ 1., -3.]])
    """
    return (h - mean) @ readout


def loss(outputs: Array, targets: Array) -> tuple[Array, Array]:
    """Squared error ``l = ½‖ŷ - y‖²`` and its derivative, the climbing fibre's error ``e = ŷ - y`` ``[C3]``.

    Parameters
    ----------
    outputs, targets : array, shape (images, classes)
        ŷ and the one-hot y; :func:`minicereb.calculus.losses.squared_error` takes labels instead.

    Returns
    -------
    value : array, shape (images,)
    error : array, shape (images, classes)
        Gradient of each image's own loss, not averaged over the batch.

    Examples
    --------
    >>> import numpy as np
    >>> loss(np.array([[2.0, 1.0]]), np.array([[1.0, 0.0]]))
    (array([1.]), array([[1., 1.]]))
    """
    error = outputs - targets
    return 0.5 * (error * error).sum(axis=1), error


def readout_gradient(h: Array, mean: Array, error: Array) -> Array:
    """Gradient of the batch's mean loss with respect to the readout: ``∂l/∂W = z eᵀ``, averaged over images ``[C4]``.

    Each synapse changes by its own granule cell's activity times its own Purkinje cell's error.

    Parameters
    ----------
    h : array, shape (images, cells)
    mean : array, shape (cells,)
    error : array, shape (images, classes)
        e, of :func:`loss`.

    Returns
    -------
    array, shape (cells, classes)

    Examples
    --------
    >>> import numpy as np
    >>> readout_gradient(np.array([[2.0, 0.0], [0.0, 4.0]]), np.array([1.0, 1.0]), np.array([[1.0], [-1.0]]))
    array([[ 1.],
           [-2.]])
    """
    return (h - mean).T @ error / len(h)


def mossy(x: Array, fires_above: float | None = None) -> Array:
    """Mossy fibres, each of which fires if its pixel is above a threshold: ``x' = [x > θ]`` ``[M-FIBRES]``.

    Parameters
    ----------
    x : array of float, shape (images, inputs)
    fires_above : float, optional
        The threshold θ; if None, the fibres are graded and transmit `x` itself.

    Returns
    -------
    array, shape (images, inputs)
        Same dtype as `x`.

    Examples
    --------
    >>> import numpy as np
    >>> mossy(np.array([[0.2, 0.5, 0.6]]), 0.5)
    array([[0., 0., 1.]])
    """
    return x if fires_above is None else threshold(x - x.dtype.type(fires_above))


def mossy_bounds(x: Array, epsilon: float, fires_above: float | None = None) -> tuple[Array, Array]:
    """Smallest and largest activity of the mossy fibres over all images within ε in L∞: ``x'₋`` and ``x'₊`` of ``[M-BOX]``.

    Parameters
    ----------
    x : array of float, shape (images, inputs)
        In [0, 1].
    epsilon : float
        The bound ε, at least 0.
    fires_above : float, optional
        θ, of :func:`mossy`.

    Returns
    -------
    low, high : array, shape (images, inputs)

    Examples
    --------
    >>> import numpy as np
    >>> mossy_bounds(np.array([[0.2, 0.45, 0.6]]), 0.125, 0.5)
    (array([[0., 0., 0.]]), array([[0., 1., 1.]]))
    """
    xp, step = xp_of(x), x.dtype.type(epsilon)
    low, high = xp.maximum(x - step, x.dtype.type(0)), xp.minimum(x + step, x.dtype.type(1))
    return mossy(low, fires_above), mossy(high, fires_above)


def granule_bounds(low: Array, high: Array, projection: Array, rest: Array | float = 0.0) -> tuple[Array, Array]:
    """Bounds on the granule cells' activity for mossy fibres in a box: l and u of ``[M-BOX]``.

    Parameters
    ----------
    low, high : array of float, shape (images, inputs)
        Of :func:`mossy_bounds`.
    projection : array or sparse array, shape (inputs, cells)
        J.
    rest : array, shape (cells,), or float
        Of :func:`granule`.

    Returns
    -------
    l, u : array, shape (images, cells)

    Examples
    --------
    >>> import numpy as np
    >>> granule_bounds(np.array([[0.0, 0.0]]), np.array([[1.0, 1.0]]), np.array([[1.0], [-2.0]]))
    (array([[0.]]), array([[1.]]))
    """
    v, r = (0.5 * (low + high)) @ projection + rest, (0.5 * (high - low)) @ abs(projection)
    return relu(v - r), relu(v + r)


def worst_outputs(low: Array, high: Array, mean: Array, readout: Array, targets: Array) -> Array:
    """Purkinje outputs if each synapse receives its granule cell's worst possible activity: ŵ of ``[M-WORST]``.

    The true class gets the smallest output that the granule cells' bounds allow, and every other class the largest.

    Parameters
    ----------
    low, high : array, shape (images, cells)
        Of :func:`granule_bounds`.
    mean : array, shape (cells,)
    readout : array, shape (cells, classes)
    targets : array, shape (images, classes)
        One-hot.

    Returns
    -------
    array, shape (images, classes)

    Examples
    --------
    >>> import numpy as np
    >>> l, u = np.array([[1.0]]), np.array([[2.0]])
    >>> worst_outputs(l, u, np.array([0.0]), np.array([[3.0, -3.0]]), np.array([[1.0, 0.0]]))
    array([[ 3., -3.]])
    """
    return (0.5 * (low + high) - mean) @ readout + (1 - 2 * targets) * ((0.5 * (high - low)) @ abs(readout))


def pessimistic_loss(worst: Array, targets: Array) -> tuple[Array, Array]:
    """One-sided squared error ``½‖ẽ‖²`` and its derivative ẽ ``[M-PESSIMISTIC]``.

    The output of the true class counts as an error only if it is below 1, the other outputs only if they are above 0.

    Parameters
    ----------
    worst : array, shape (images, classes)
        ŵ, of :func:`worst_outputs`.
    targets : array, shape (images, classes)
        One-hot.

    Returns
    -------
    value : array, shape (images,)
    error : array, shape (images, classes)
        Derivative of the loss with respect to the worst outputs.

    Examples
    --------
    >>> import numpy as np
    >>> pessimistic_loss(np.array([[0.5, -1.0, 1.0]]), np.array([[1.0, 0.0, 0.0]]))
    (array([0.625]), array([[-0.5,  0. ,  1. ]]))
    """
    xp, error = xp_of(worst), worst - targets
    zero = error.dtype.type(0)
    error = xp.where(targets > 0, xp.minimum(error, zero), xp.maximum(error, zero))
    return 0.5 * (error * error).sum(axis=1), error


def pessimistic_gradient(low: Array, high: Array, mean: Array, error: Array, readout: Array, targets: Array) -> Array:
    """Part of the weight gradient due to the worst activity: ``z̃ ẽᵀ`` of ``[M-PESSIMISTIC]``, averaged over images, without
    the factor λ.

    Each synapse changes by its granule cell's worst activity, chosen by the synapse's sign, times its own Purkinje cell's error.

    Parameters
    ----------
    low, high : array, shape (images, cells)
        Of :func:`granule_bounds`.
    mean : array, shape (cells,)
    error : array, shape (images, classes)
        ẽ, of :func:`pessimistic_loss`.
    readout : array, shape (cells, classes)
    targets : array, shape (images, classes)
        One-hot.

    Returns
    -------
    array, shape (cells, classes)

    Examples
    --------
    >>> import numpy as np
    >>> l, u, targets = np.array([[1.0]]), np.array([[2.0]]), np.array([[1.0, 0.0]])
    >>> pessimistic_gradient(l, u, np.array([0.0]), np.array([[-1.0, 1.0]]), np.array([[3.0, 3.0]]), targets)
    array([[-1.,  2.]])
    """
    sign = xp_of(readout).where(readout > 0, 1, -1).astype(readout.dtype)
    worst = sign * ((0.5 * (high - low)).T @ ((1 - 2 * targets) * error))
    return ((0.5 * (low + high) - mean).T @ error + worst) / len(low)


def input_gradient(d_outputs: Array, h: Array, projection: Array, readout: Array) -> Array:
    """Gradient with respect to the mossy fibres, which attacks follow: ``∂l/∂x = J ((W ∂l/∂ŷ) ⊙ [h > 0])`` ``[M-DX]``.

    Parameters
    ----------
    d_outputs : array, shape (images, classes)
        ∂l/∂ŷ; for the squared error this is e.
    h : array, shape (images, cells)
    projection : array or sparse array, shape (inputs, cells)
        J.
    readout : array, shape (cells, classes)
        W.

    Returns
    -------
    array, shape (images, inputs)

    Examples
    --------
    >>> import numpy as np
    >>> input_gradient(np.array([[1.0]]), np.array([[2.0, 0.0]]), np.array([[1.0, -1.0], [0.5, 0.0]]), np.array([[2.0], [5.0]]))
    array([[2., 1.]])
    """
    return relu_input_gradient(d_outputs @ readout.T, h > 0) @ projection.T
