"""The inputs of scikit-learn's users: tables of features and labels of any kind, checked and converted once."""

from __future__ import annotations

import math
import sys
import warnings
from typing import Any

import numpy as np

from minicereb.backend import is_array, to_numpy
from minicereb.errors import ArrayError, DataWarning


def of_scikit_learn(name: str, otherwise: type) -> type:
    """Return an exception or warning class of scikit-learn if the program has imported it, otherwise a substitute."""
    return getattr(sys.modules.get("sklearn.exceptions"), name, otherwise)


def features(x: Any, width: int | None = None, owner: str = "") -> np.ndarray:
    """Return a table of features as rows of uint8 or float32, shape (samples, features), on the host.

    Parameters
    ----------
    x : array-like, shape (samples, features)
        Numbers. Bytes (uint8) are pixels from 0 to 255 and stay bytes; models read them as numbers from 0 to 1.
    width : int, optional
        Number of features that `owner` requires.
    owner : str
        Name of the classifier in error messages.

    Raises
    ------
    ArrayError
        If `x` is not such a table, is empty, or holds numbers that are not finite or too large for float32.
    """
    if hasattr(x, "toarray"):
        raise ArrayError("X is a sparse matrix; expected a dense array: X.toarray()")
    try:
        found = to_numpy(x) if is_array(x) else np.asarray(x)
        if found.dtype.kind in "OUS":
            found = found.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ArrayError(f"X cannot be read as numbers: {' '.join(str(error).split())}") from error
    if found.dtype.kind == "c":
        raise ArrayError(f"Complex data not supported: X has the type {found.dtype}; expected real numbers")
    if found.dtype.kind not in "fiub":
        raise ArrayError(f"X has the type {found.dtype}; expected numbers")
    if found.ndim != 2:
        few = found.ndim < 2
        advice = "X.reshape(1, -1) is one sample" if few else f"X.reshape(len(X), -1) has {math.prod(found.shape[1:])} features"
        raise ArrayError(f"Expected 2D array, got {found.ndim}D array of shape {found.shape}. Reshape your data: {advice}")
    for axis, what in enumerate(("sample", "feature")):
        if found.shape[axis] == 0:
            raise ArrayError(f"Found array with 0 {what}(s) (shape={found.shape}) while a minimum of 1 is required.")
    if width is not None and found.shape[1] != width:
        raise ArrayError(f"X has {found.shape[1]} features, but {owner} is expecting {width} features as input")
    if found.dtype == np.uint8:
        return found
    with np.errstate(over="ignore"):
        found = np.ascontiguousarray(found, dtype=np.float32)
    if not np.isfinite(found).all():
        raise ArrayError("X contains NaN or inf, or a number too large for float32; expected finite numbers")
    return found


def labels(y: Any, samples: int) -> np.ndarray:
    """Return labels of any kind, one per sample, shape (samples,).

    Raises
    ------
    ArrayError
        If there is not exactly one label per sample, or if labels are numbers with a fraction.
    """
    if y is None:
        raise ArrayError("fit requires y to be passed, but the target y is None: give a label for each row of X")
    found = to_numpy(y) if is_array(y) else np.asarray(y)
    if found.ndim == 2 and found.shape[1] == 1:
        words = "A column-vector y was passed when a 1d array was expected: y.ravel() is one"
        warnings.warn(words, of_scikit_learn("DataConversionWarning", DataWarning), stacklevel=4)
        found = found[:, 0]
    if found.ndim != 1:
        raise ArrayError(f"y has the shape {found.shape}; expected a 1d array, or y.argmax(axis=1) if labels are one-hot")
    if len(found) != samples:
        raise ArrayError(f"Found input variables with inconsistent numbers of samples: {samples} rows of X, {len(found)} labels")
    if found.dtype.kind == "f":
        if not np.isfinite(found).all():
            raise ArrayError("Input y contains NaN or infinity; expected a class for each row of X")
        if (found != np.floor(found)).any():
            raise ArrayError("Unknown label type: y is continuous; expected classes, that is whole numbers or names")
    if found.dtype.kind == "c":
        raise ArrayError("Unknown label type: y is complex; expected classes, that is whole numbers or names")
    if found.dtype.kind == "O":
        kinds = {str if isinstance(each, str) else float for each in found.tolist()}
        if any(each is None or each != each for each in found.tolist()):
            raise ArrayError("Input y contains NaN or None; expected a class for each row of X")
        if len(kinds) > 1:
            raise ArrayError("Unknown label type: y holds numbers and texts; expected classes of one kind")
    return found


def class_numbers(y: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the position of each label among the sorted `classes`, int64; raise :class:`ArrayError` for any other label."""
    found = np.minimum(np.searchsorted(classes, y), len(classes) - 1)
    strange = classes[found] != y
    if strange.any():
        known = ", ".join(str(each) for each in classes[:20].tolist())
        raise ArrayError(f"y contains {y[strange][:1].tolist()[0]!r}, which is not one of the classes {known}")
    return found.astype(np.int64)


def shape_of_images(given: Any, inputs: int, known: tuple[int, ...] | None = None) -> tuple[int, ...]:
    """Return height, width and optionally channels of images with this number of inputs.

    The shape is the one `given` or, failing that, the one `known`. If there is neither, images are taken to be square if
    the number of inputs is a square number, and otherwise to be a single row of pixels.
    """
    if given is not None:
        return tuple(int(side) for side in given)
    if known is not None and len(known) > 1:
        return known
    side = math.isqrt(inputs)
    return (side, side) if side * side == inputs else (inputs,)
