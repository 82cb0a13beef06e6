"""A user's classifier: its inputs and outputs are copied, and any exception becomes a one-line error."""

from __future__ import annotations

from typing import Any

from minicereb.backend import Array, xp_of
from minicereb.errors import InputError, MinicerebError, ModelError, NoGradientError, one_line


class Guarded:
    """Wraps a user's classifier, so that it receives copies of the inputs, and its results are copied.

    The classifier may change its input in place, keep it, return a view of it, or return the same buffer at every call: no
    other array is affected. All other attributes are passed on from the classifier.

    Parameters
    ----------
    model : classifier
        An object with a method ``forward`` and, unless it is a black box, a method ``input_gradient``.
    dtype : {"float32", "float64"}
        Dtype of the images that the classifier receives, independent of the caller's precision; a classifier may rely on float32.
    """

    def __init__(self, model: Any, dtype: str = "float32"):
        self.model, self.dtype = model, dtype

    def __getattr__(self, name: str) -> Any:
        if name in ("model", "dtype"):  # before __init__ has run, as during copying
            raise AttributeError(name)
        return getattr(self.model, name)

    def forward(self, x: Array) -> tuple[Array, Any]:
        """Return the outputs, shape (images, classes), and a cache for :meth:`input_gradient`.

        Outputs are float32 if float32 represents the classifier's dtype exactly (float16, float32, integers of up to 16
        bits), otherwise float64.

        Raises
        ------
        ModelError
            If the classifier fails or does not return a pair.
        InputError
            If the outputs are not an array with a row for each image.
        """
        try:
            answer = self.model.forward(x.astype(self.dtype))
        except MinicerebError:
            raise
        except (Exception, SystemExit) as error:  # a user's method may raise anything
            raise ModelError(f"model: forward(x) failed for x of shape {x.shape} and {self.dtype}: {one_line(error)}") from error
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise ModelError(f"model: forward(x) for x of shape {x.shape} did not return (outputs, cache)")
        outputs, cache = answer
        outputs = _numbers(outputs, x, "outputs")
        if outputs.ndim != 2 or len(outputs) != len(x):
            raise InputError("model", f"outputs of shape {outputs.shape}", f"a row of outputs for each of {len(x)} images")
        exact = outputs.dtype.kind == "f" and outputs.dtype.itemsize <= 4 or outputs.dtype.itemsize <= 2
        return outputs.astype("float32" if exact else "float64"), (x, cache)

    def input_gradient(self, d_outputs: Array, cache: Any) -> Array:
        """Return the input gradient, with the shape and dtype of the images.

        Raises
        ------
        NoGradientError
            If the classifier has no input gradient.
        ModelError
            If the classifier fails.
        InputError
            If the gradient is not an array of the shape of the images.
        """
        x, cache = cache
        if not callable(getattr(self.model, "input_gradient", None)):
            raise NoGradientError("model: it has no input_gradient, so it has no input gradient")
        try:
            gradient = self.model.input_gradient(d_outputs.copy(), cache)
        except NotImplementedError as error:
            raise NoGradientError("model: it has no input gradient (input_gradient raises NotImplementedError)") from error
        except MinicerebError:
            raise
        except (Exception, SystemExit) as error:  # a user's method may raise anything
            raise ModelError(f"model: input_gradient(d_outputs, cache) failed: {one_line(error)}") from error
        gradient = _numbers(gradient, x, "an input gradient")
        if gradient.shape != x.shape:
            raise InputError("model", f"an input gradient of shape {gradient.shape}", f"one of shape {x.shape}, as the images")
        return gradient.astype(x.dtype)


def _numbers(values: Any, x: Array, what: str) -> Array:
    """Return `values`; raise :class:`InputError` unless they are an array of real numbers on the device of `x`."""
    xp = xp_of(x)
    if not isinstance(values, xp.ndarray):
        kind = f"{type(values).__module__}.{type(values).__qualname__}"
        library = type(x).__module__.partition(".")[0]
        raise InputError("model", f"{what} of type {kind}", f"an array of {library}, as the images are")
    if values.dtype.kind not in "fiub":
        raise InputError("model", f"{what} of {values.dtype}", "float32 or float64")
    return values


def guarded(model: Any) -> Any:
    """Return a classifier of this project unchanged, and any other classifier wrapped in :class:`Guarded`."""
    return model if isinstance(model, Guarded) or _ours(model) else Guarded(model)


def unguarded(model: Any) -> Any:
    """Return the classifier without its guard."""
    return model.model if isinstance(model, Guarded) else model


def _ours(model: Any) -> bool:
    """Return whether a model and all its layers belong to this project's own classes, which never write into their inputs."""
    return type(model).__module__.partition(".")[0] == "minicereb" and all(map(_ours, getattr(model, "layers", ())))
