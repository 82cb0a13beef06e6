"""Models of other packages as classifiers that can be attacked, evaluated and, where their layers are known, certified."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from minicereb.attacks.classifier import Guarded, guarded
from minicereb.backend import Array, to_device, to_numpy
from minicereb.certificates.affine import why_not_certifiable
from minicereb.errors import InputError, require
from minicereb.interchange.onnx_reader import read_onnx
from minicereb.interface.predictors import Predictor
from minicereb.models.layers import Dense
from minicereb.models.sequential import Sequential


class AdaptedClassifier(Predictor):
    """A classifier made from another package's model.

    Parameters
    ----------
    name : str
        Name of the original model, for tables.
    network : network
        Layers of this project, or an object that calls the model.
    classes : array-like, shape (classes,)
        Labels, sorted.
    inputs : int
        Number of values in a row.
    image_shape : tuple of int, optional
        Height, width and optionally channels.
    not_converted : str
        The reason why the model itself is called instead of being converted to layers; empty if it was converted.
    """

    def __init__(
        self,
        name: str,
        network: Any,
        classes: Any,
        inputs: int,
        image_shape: tuple[int, ...] | None = None,
        not_converted: str = "",
    ) -> None:
        self.name, self.not_converted = name, not_converted
        self.network_, self.classes_, self.n_features_in_ = network, np.asarray(classes), inputs
        self.image_shape = image_shape

    @property
    def certifiable(self) -> bool:
        """Whether the classifier's robustness can be certified."""
        return why_not_certifiable(self.network_) is None

    def __repr__(self) -> str:
        how = f"called directly: {self.not_converted}" if self.not_converted else "converted"
        return f"{self.name} ({how})"


class OwnFunction:
    """A black box: a function from images to outputs."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def forward(self, x: Array) -> tuple[Array, None]:
        """Return the function's outputs, shape (images, classes), and None, because there is no gradient."""
        return to_device(np.asarray(self.function(to_numpy(x)))), None


def from_callable(
    function: Callable[[Any], Any], inputs: int, classes: Any = None, *, image_shape: tuple[int, ...] | None = None
) -> AdaptedClassifier:
    """Return a classifier made from a function. It is a black box: attacks use only its outputs, and no gradient.

    Parameters
    ----------
    function : callable
        Maps images, float32 in [0, 1] of shape (images, inputs), to outputs of shape (images, classes): scores, logits or
        probabilities, the largest for the predicted class. It receives copies.
    inputs : int
        Number of values in an image.
    classes : array-like, shape (classes,), optional
        Labels in the order of the outputs; they must be ascending. By default they are 0, 1, ...
    image_shape : tuple of int, optional
        Height, width and optionally channels of an image, for Square and for pictures. By default, images are taken to be square
        if `inputs` is a square number.

    Raises
    ------
    InputError
        If the function does not return a table of numbers with a row for each image.
    ModelError
        If the function fails.

    Examples
    --------
    >>> import minicereb
    >>> model = minicereb.from_callable(lambda x: np.stack([x[:, 0], x[:, 1]], axis=1), inputs=2)
    >>> minicereb.attack(model, [[0.6, 0.4]], [0], method="square", steps=100, epsilon=0.2).robust_accuracy
    0.0
    """
    if not callable(function):
        raise InputError("function", type(function).__name__, "a function from images to outputs")
    require(isinstance(inputs, int | np.integer) and inputs >= 1, "inputs", inputs, "the numbers in an image, at least 1")
    network = Guarded(OwnFunction(function))
    outputs = network.forward(to_device(np.full((2, int(inputs)), 0.5, dtype=np.float32)))[0]
    name = getattr(function, "__qualname__", type(function).__name__)
    return AdaptedClassifier(name, network, labels_for(classes, outputs.shape[1]), int(inputs), image_shape, "a black box")


def from_onnx(path: str | Path, classes: Any = None) -> AdaptedClassifier:
    """Return the classifier in an ONNX file, converted to layers, so that gradient attacks and certificates apply.

    Parameters
    ----------
    path : str or Path
        The file, which holds a chain of operators that minicereb reads (docs/formats.md).
    classes : array-like, shape (classes,), optional
        Labels in the order of the outputs; they must be ascending. By default they are 0, 1, ...

    Returns
    -------
    AdaptedClassifier
        It takes rows pixel by pixel, with the channels of a pixel adjacent. So images have the shape (height, width, channels),
        although channels come first in the file.

    Raises
    ------
    MinicerebError
        If the package onnx is missing, or the file cannot be read; the message names the unknown operator.
    """
    path = Path(path)
    read = read_onnx(path)
    inputs = math.prod(read.shape)
    outputs = read.network.forward(to_device(np.zeros((1, inputs), dtype=np.float32)))[0]
    image_shape = None if len(read.shape) != 3 else (read.shape[1], read.shape[2], read.shape[0])
    return AdaptedClassifier(path.name, guarded(read.network), labels_for(classes, outputs.shape[1]), inputs, image_shape)


def labels_for(classes: Any, outputs: int) -> np.ndarray:
    """Return the outputs' labels, by default 0, 1, ...; raise :class:`InputError` unless they are sorted, one per output."""
    require(outputs >= 2, "model", f"{outputs} output", "at least two outputs, one for each class")
    if classes is None:
        return np.arange(outputs)
    found = np.asarray(classes)
    fits = found.shape == (outputs,) and len(np.unique(found)) == outputs and bool((np.unique(found) == found).all())
    require(fits, "classes", found.tolist(), f"{outputs} different labels in ascending order, one per output")
    return found


# -- scikit-learn ------------------------------------------------------------------------------------------------------------


LINEAR = ("LogisticRegression", "LogisticRegressionCV", "LinearSVC", "RidgeClassifier", "SGDClassifier", "Perceptron")
ACTIVATIONS = {"relu": "relu", "identity": "", "logistic": "sigmoid", "tanh": "sigmoid"}


def from_sklearn(model: Any) -> AdaptedClassifier:
    """Return a fitted scikit-learn classifier, converted to float32 layers, so that gradient attacks and certificates apply.

    Parameters
    ----------
    model : MLPClassifier, LogisticRegression or another linear classifier, or a Pipeline
        In a pipeline, StandardScaler, MinMaxScaler and MaxAbsScaler may precede the classifier; ε is still a change of the images
        themselves. For any other model use ``from_callable(model.predict_proba, inputs)``.

    Returns
    -------
    AdaptedClassifier
        Its outputs are the model's scores before the softmax; with two classes they are 0 and the score of the second.

    Raises
    ------
    InputError
        If the model is of another kind, or is not fitted.

    Examples
    --------
    >>> import minicereb
    >>> from sklearn.linear_model import LogisticRegression
    >>> x = np.random.default_rng(0).random((200, 4))
    >>> y = (x[:, 0] > x[:, 1]).astype(int)
    >>> model = minicereb.from_sklearn(LogisticRegression().fit(x, y))
    >>> minicereb.attack(model, x, y, epsilon=0.5).robust_accuracy < 0.5
    True
    """
    found = getattr(model, "best_estimator_", model)
    *before, last = [step for _, step in found.steps] if hasattr(found, "steps") else [found]
    kind = type(last).__name__
    own = "the classifier itself, with images already scaled to [0, 1]: this pipeline cannot be converted"
    require(not isinstance(last, Predictor), "model", kind, own)
    ours = type(last).__module__.partition(".")[0] == "sklearn"
    expected = f"MLPClassifier, {', '.join(LINEAR)}, or a pipeline that ends with one; else minicereb.from_callable"
    require(ours and kind in (*LINEAR, "MLPClassifier"), "model", kind, expected)
    weights, shifts = ("coefs_", "intercepts_") if kind == "MLPClassifier" else ("coef_", "intercept_")
    require(hasattr(last, weights), "model", f"{kind} that is not fitted", "a fitted model: call fit(x, y) first")
    if kind == "MLPClassifier":
        coefficients = [np.asarray(each, dtype=np.float64).T for each in getattr(last, weights)]
        intercepts = [np.asarray(each, dtype=np.float64) for each in getattr(last, shifts)]
        activation = last.activation
        require(
            last.out_activation_ in ("softmax", "logistic") and last.classes_.ndim == 1, "model", kind, "one label per sample"
        )
    else:
        coefficients = [np.atleast_2d(np.asarray(last.coef_, dtype=np.float64))]
        intercepts = [np.broadcast_to(np.asarray(last.intercept_, dtype=np.float64), len(coefficients[0]))]
        activation = "identity"
    classes = np.asarray(last.classes_)
    if len(classes) == 2 and len(coefficients[-1]) == 1:
        coefficients[-1] = np.concatenate((0 * coefficients[-1], coefficients[-1]))
        intercepts[-1] = np.concatenate((0 * intercepts[-1], intercepts[-1]))
    require(len(coefficients[-1]) == len(classes), "model", kind, "a score for each class")
    for step in reversed(before):
        scale, shift = _affine_step(step, coefficients[0].shape[1])
        intercepts[0] = intercepts[0] + coefficients[0] @ shift
        coefficients[0] = coefficients[0] * scale
    name = " + ".join(type(step).__name__ for step in (*before, last))
    network = _network(coefficients, intercepts, activation)
    return AdaptedClassifier(name, network, classes, coefficients[0].shape[1])


def _affine_step(step: Any, inputs: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the factor and the offset of a scaler, float64."""
    kind, one, none = type(step).__name__, np.ones(inputs), np.zeros(inputs)
    if step == "passthrough":
        return one, none
    if kind == "StandardScaler":
        scale = one if step.scale_ is None else 1 / step.scale_
        return scale, none if step.mean_ is None or not step.with_mean else -step.mean_ * scale
    if kind == "MinMaxScaler" and not step.clip:
        return step.scale_ * one, step.min_ * one
    if kind == "MaxAbsScaler":
        return 1 / step.scale_, none
    raise InputError("model", kind, "StandardScaler, MinMaxScaler or MaxAbsScaler before the classifier")


def _network(coefficients: list[np.ndarray], intercepts: list[np.ndarray], activation: str) -> Sequential:
    """Return dense layers with an activation between them.

    As tanh(v) = 2σ(2v) - 1, the layer after a tanh contains the 2 and the -1.
    """
    from minicereb.calculus.activations import Activation
    from minicereb.models.layers import ReLU
    from minicereb.models.noisy import NoisyLayer, NoisyNetwork

    def single(array: np.ndarray) -> Array:
        return to_device(np.ascontiguousarray(array, dtype=np.float32))

    layers: list[Any] = []
    for number, (weight, shift) in enumerate(zip(coefficients, intercepts, strict=True)):
        if activation == "tanh" and number:
            weight, shift = 2 * weight, shift - weight.sum(axis=1)
        if number == len(coefficients) - 1 or ACTIVATIONS[activation] in ("", "relu"):
            layers.append(Dense(single(weight), single(shift)))
            if number < len(coefficients) - 1 and activation == "relu":
                layers.append(ReLU())
        else:
            steep = Activation("sigmoid", 2.0 if activation == "tanh" else 1.0)
            layers.append(NoisyNetwork((NoisyLayer(single(weight), single(shift), single(np.ones(1)), None, steep),)))
    return Sequential(tuple(layers))
