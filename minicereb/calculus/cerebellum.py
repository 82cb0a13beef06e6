"""The cerebellum paper's equations, each as a function of a few lines; images are rows.

These functions are the reference. :class:`minicereb.models.cerebellum.Cerebellum` and
:class:`minicereb.learning.plasticity.DeltaRule` compute the same numbers in blocks of granule cells, without ever holding the
whole activity, and the tests compare the two. One step of learning, written out:

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

from minicereb.backend import Array
from minicereb.calculus.activations import relu, relu_input_gradient


def granule(x: Array, projection: Array) -> Array:
    """Granule cells: ``h = max(Jᵀx, 0)`` ``[C1]``.

    Parameters
    ----------
    x : array of float, shape (images, inputs)
        Activity of the mossy fibres.
    projection : array or sparse array, shape (inputs, cells)
        J, which never learns.

    Returns
    -------
    array, shape (images, cells)

    Examples
    --------
    >>> import numpy as np
    >>> granule(np.array([[1.0, 2.0]]), np.array([[1.0, -1.0], [0.5, 0.0]]))
    array([[2., 0.]])
    """
    return relu(x @ projection)


def ltd_mean(mean: Array, h: Array, decay: float = 0.99) -> Array:
    """Long-term depression: the mean activity it subtracts, ``μ_t = β μ_{t-1} + (1 - β) h_t`` ``[C-LTD]``.

    Parameters
    ----------
    mean : array, shape (cells,)
        μ before the batch; left as it is.
    h : array, shape (images, cells)
        The batch's responses, whose mean over images is h_t.
    decay : float
        β, from 0 to less than 1.

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
        μ; while learning, after the batch has moved it.
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
        Of each image's own loss: no mean over the batch is taken.

    Examples
    --------
    >>> import numpy as np
    >>> loss(np.array([[2.0, 1.0]]), np.array([[1.0, 0.0]]))
    (array([1.]), array([[1., 1.]]))
    """
    error = outputs - targets
    return 0.5 * (error * error).sum(axis=1), error


def readout_gradient(h: Array, mean: Array, error: Array) -> Array:
    """Derivative of the batch's mean loss by the readout: ``∂l/∂W = z eᵀ``, averaged over images ``[C4]``.

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


def input_gradient(d_outputs: Array, h: Array, projection: Array, readout: Array) -> Array:
    """Derivative by the mossy fibres, along which an attack moves: ``∂l/∂x = J ((W ∂l/∂ŷ) ⊙ [h > 0])`` ``[M-DX]``.

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
