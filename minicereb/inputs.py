"""Checks of a user's images, labels, image indices and model outputs, made once where they enter the program.

Every ``forward`` checks shapes and types, which is cheap. Each function that takes images from outside checks their values once:
every pixel finite and in the box, every label a class. All checks raise :class:`InputError`.
"""

from __future__ import annotations

import math

import numpy as np

from minicereb.backend import Array, is_array, to_numpy, xp_of
from minicereb.errors import InputError, MinicerebError, require

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
ARRAY = "a NumPy or CuPy array"
MOST_CLASSES = 1 << 31  # the limit if their number is unknown, since class and target are stored together in 64 bits


def check_rows(rows: Array, width: int | None = None, setting: str = "x", stored: bool = False) -> None:
    """Require rows of float32 or float64, shape (images, inputs); values are not checked.

    Parameters
    ----------
    rows : array
    width : int, optional
        Required number of inputs.
    setting : str
        Name of the argument in the error message.
    stored : bool
        Whether uint8 and other numeric types are accepted too, because the caller converts them to float32.
    """
    if not is_array(rows):
        raise InputError(setting, type(rows).__name__, ARRAY)
    shape, dtype = rows.shape, rows.dtype
    if len(shape) == 2 and (width is None or shape[1] == width) and (dtype in FLOATS or (stored and dtype.kind in "fiub")):
        return
    if len(shape) != 2 or width not in (None, shape[1]):
        wanted = f"shape (images, {'inputs' if width is None else width}), one image per row"
        raise InputError(setting, f"shape {shape}", wanted + _as_rows(shape, width, setting))
    if stored:
        raise InputError(setting, str(dtype), "uint8, or float in [0, 1]")
    divided = "; minicereb.datasets.transforms.to_unit makes float32 in [0, 1] of uint8" if dtype == np.uint8 else ""
    raise InputError(setting, str(dtype), f"float32 or float64{divided}")


def _as_rows(shape: tuple[int, ...], width: int | None, setting: str) -> str:
    """Return advice on turning an array of another shape into rows, or an empty string if that is impossible."""
    if len(shape) == 1 and width in (None, *shape):
        return f": {setting}[None] is one image"
    if len(shape) == 2 and shape[0] == width:
        return f": {setting}.T, if images are columns"
    if len(shape) > 2 and width in (None, math.prod(shape[1:])):
        if len(shape) == 4 and shape[1] == 3 != shape[3]:
            return f": {setting}.transpose(0, 2, 3, 1).reshape(len({setting}), -1), for here channels come last"
        return f": {setting}.reshape(len({setting}), -1)"
    return ""


def check_credit(credit: Array, shape: tuple[int, ...]) -> None:
    """Require `credit`, a derivative with respect to the outputs, to be an array of the outputs' shape."""
    if getattr(credit, "shape", None) != shape:
        found = f"shape {credit.shape}" if is_array(credit) else type(credit).__name__
        raise InputError("d_outputs", found, f"an array of shape {shape}, that of the outputs")


def as_labels(labels: Array, images: int, classes: int | None = None, setting: str = "labels", wait: bool = True) -> Array:
    """Return labels as int64, shape (images,).

    Parameters
    ----------
    labels : array of int, shape (images,) or (images, 1)
    images : int
    classes : int, optional
        Labels must be below this number; by default any label from 0 is accepted.
    setting : str
        Name of the argument in the error message.
    wait : bool
        Whether to check values on a GPU too, which means waiting for the GPU. Learning does not check the values again,
        because its data were checked on the host.
    """
    if not is_array(labels):
        raise InputError(setting, type(labels).__name__, f"{ARRAY} of whole numbers")
    if labels.shape != (images,):
        if labels.shape != (images, 1):
            one_hot = f": {setting}.argmax(axis=1), if they are one-hot" if labels.ndim == 2 and len(labels) == images else ""
            raise InputError(setting, f"shape {labels.shape}", f"shape ({images},), one for each image{one_hot}")
        labels = labels.reshape(images)
    if labels.dtype.kind not in "iu":
        raise InputError(setting, str(labels.dtype), f"whole numbers: {setting}.astype(int), if they are")
    found = labels.astype(np.int64, copy=False)
    most = MOST_CLASSES if classes is None else classes
    look = images and (wait or isinstance(found, np.ndarray))
    if look and int(found.view(np.uint64).max()) >= most:  # as unsigned, a negative number becomes very large
        wrong = int(labels.min()) if int(labels.min()) < 0 else int(labels.max())
        known = "indices of classes" if classes is None else f"indices of the {classes} classes"
        raise InputError(setting, wrong, f"{known}, from 0 to {most - 1}")
    return found


def as_ids(ids: object, images: int, setting: str = "ids") -> np.ndarray:
    """Return `ids`, the indices of chosen images, as int64 on the host, shape (chosen,); `images` is the number of all images."""
    found = to_numpy(ids) if is_array(ids) else np.asarray(ids)
    if found.ndim != 1:
        raise InputError(setting, f"shape {found.shape}", "shape (chosen,), the indices of images")
    if found.size == 0:
        return found.astype(np.int64)
    if found.dtype.kind not in "iu":
        chosen = f": numpy.flatnonzero({setting})" if found.dtype.kind == "b" else ""
        raise InputError(setting, str(found.dtype), f"indices of images{chosen}")
    low, high = int(found.min()), int(found.max())
    if low < 0 or high >= images:
        raise InputError(setting, low if low < 0 else high, f"indices of the {images} images, from 0 to {images - 1}")
    return found.astype(np.int64, copy=False)


def check_count(values: Array, count: int, setting: str, each: str = "image") -> None:
    """Require `count` entries, one for each image or other item."""
    if len(values) != count:
        raise InputError(setting, f"{len(values)} of them", f"{count}, one for each {each}")


def check_image_shape(image_shape: tuple[int, ...], inputs: int) -> None:
    """Require that `image_shape` is a valid shape for an image of `inputs` numbers."""
    fitting = len(image_shape) in (1, 2, 3) and min(image_shape) >= 1 and math.prod(image_shape) == inputs
    require(fitting, "image_shape", image_shape, f"(height, width) or (height, width, channels) of {inputs} inputs")


def check_images(x: Array, ids: np.ndarray | None = None, wait: bool = True) -> None:
    """Require all pixels to be in [0, 1], and not NaN.

    Parameters
    ----------
    x : array of float, shape (images, inputs)
    ids : array of int, shape (images,), optional
        Image indices, on the host, for the message.
    wait : bool
        As for :func:`as_labels`.
    """
    if not (wait or isinstance(x, np.ndarray)):
        return
    xp = xp_of(x)
    inside = (x >= 0) & (x <= 1)
    if bool(inside.all()):
        return
    outside = to_numpy(~inside.all(axis=1)).nonzero()[0]
    row = x[int(outside[0])]
    low, high = float(xp.min(row)), float(xp.max(row))
    number = outside[0] if ids is None else ids[outside[0]]
    holds = "NaN" if math.isnan(low) else f"values from {low:g} to {high:g}"
    found = f"{holds} in image {number} ({len(outside)} such images)"
    expected = "float in [0, 1], or uint8 from 0 to 255"
    if low >= 0 and 2 < high <= 255:
        expected += ": divide by 255"
    elif low < 0 and high < 50:
        expected += ": if your images are standardised, do that inside the model, on images in [0, 1]"
    raise InputError("images", found, expected)


def check_finite(x: Array, setting: str = "x") -> None:
    """Require that no number is NaN or infinite."""
    if not bool(xp_of(x).isfinite(x).all()):
        raise InputError(setting, "NaN or infinity", "finite numbers")


def check_outputs(outputs: Array, labels: Array) -> None:
    """Require a row of outputs for every label, with one output per class; raise :class:`MinicerebError` if one is not finite."""
    classes = int(labels.max()) + 1
    shape = getattr(outputs, "shape", ())
    if len(shape) != 2 or len(outputs) != len(labels) or outputs.shape[1] < max(classes, 2):
        expected = f"one row of at least {max(classes, 2)} outputs for each of {len(labels)} images"
        raise InputError("model", f"outputs of shape {shape}", expected)
    if not bool(xp_of(outputs).isfinite(outputs).all()):
        raise MinicerebError("the model's outputs are not finite; an attack on them would prove nothing")
