"""The least-squares readout in closed form, to which the delta rule converges ``[M-LS]``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from minicereb.backend import Array, execution, to_device, to_numpy, xp_of
from minicereb.calculus.activations import relu
from minicereb.calculus.cerebellum import mossy
from minicereb.calculus.losses import one_hot
from minicereb.errors import InputError, require
from minicereb.inputs import as_labels, check_finite, check_rows
from minicereb.models.cerebellum import CerebellarNetwork
from minicereb.models.wiring import Wiring
from minicereb.parallel import blocks, cell_blocks, one_blas_thread, run_lanes


def least_squares_readout(
    cerebellum: CerebellarNetwork, batches: Iterator[tuple[Array, Array]], ridge: float = 1e-3, centre: bool = True
) -> CerebellarNetwork:
    """Return the cerebellum with the readout that minimises ``½‖ŷ - y‖²`` over all images, plus a small ridge penalty.

    Parameters
    ----------
    cerebellum : CerebellarNetwork
        Provides the wiring and the number of classes; its readout is not used.
    batches : iterator of (x, labels)
        Batches of images, as rows of floats, and their labels; each image occurs once.
    ridge : float
        The ridge penalty λ, at least 0, in ``(ZᵀZ/n + λ s I) W = ZᵀY/n``, where s is the mean of the diagonal of ZᵀZ/n.
    centre : bool
        Whether to subtract each cell's mean over all images, as LTD does, and to store the means as ``ltd_mean``.

    Returns
    -------
    CerebellarNetwork
        Its arrays are float32, on the device of the wiring. The equations are solved in float64, on the host.

    Raises
    ------
    InputError
        If the m × m matrix of the m granule cells exceeds the memory budget, if there are no images, if an image has the wrong
        width or a value that is not finite, or if a label is not one of the classes.
    """
    require(ridge >= 0, "ridge", ridge, "a number of at least 0")
    wiring, classes = cerebellum.wiring, cerebellum.readout.shape[1]
    cells = wiring.cells
    if 16 * cells * cells > execution().memory:
        most = int((execution().memory / 16) ** 0.5)
        raise InputError("cells", cells, f"at most {most} for the closed form within the memory budget (--memory raises it)")
    gram = np.zeros((cells, cells), dtype=np.float64)
    product, images = np.zeros((cells, classes), dtype=np.float64), 0
    activity, targets = np.zeros(cells, dtype=np.float64), np.zeros(classes, dtype=np.float64)
    for x, labels in batches:
        check_rows(x, wiring.width)
        check_finite(x)
        labels = as_labels(labels, len(x), classes)
        xp = xp_of(x)
        x_t, h = xp.ascontiguousarray(mossy(x, cerebellum.fires_above).T), xp.empty((cells, len(x)), dtype=x.dtype)
        run_lanes(partial(_project, wiring=wiring, x_t=x_t, h=h), cell_blocks(x, cells, len(x)))
        h = to_numpy(h)
        y = to_numpy(one_hot(labels, xp.empty((len(x), classes), dtype=x.dtype)))
        run_lanes(partial(_add_moments, h=h, y=y, gram=gram, product=product), list(blocks(cells, 512)))
        activity += h.sum(axis=1)
        targets += y.sum(axis=0)
        images += len(x)
    require(images > 0, "images", images, "at least one")
    for array in (gram, product, activity, targets):
        array /= images
    mean = activity if centre else np.zeros_like(activity)
    gram -= np.outer(mean, mean)  # now ZᵀZ / n
    product -= np.outer(mean, targets)
    gram[np.diag_indices(cells)] += max(ridge * np.trace(gram) / cells, np.finfo(np.float64).tiny)
    try:
        with one_blas_thread():
            readout = cho_solve(cho_factor(gram, overwrite_a=True), product)
    except np.linalg.LinAlgError as error:
        raise InputError("ridge", ridge, "a larger number: the cells' activities are linearly dependent") from error
    return replace(cerebellum, readout=to_device(readout.astype(np.float32)), ltd_mean=to_device(mean.astype(np.float32)))


def _project(part: slice, wiring: Wiring, x_t: Array, h: Array) -> None:
    relu(wiring.project(part, x_t, h[part]), out=h[part])


def _add_moments(part: slice, h: np.ndarray, y: np.ndarray, gram: np.ndarray, product: np.ndarray) -> None:
    gram[part] += h[part] @ h.T
    product[part] += h[part] @ y
