"""PyTorch modules as classifiers, and classifiers as PyTorch modules; PyTorch is imported only when needed."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from typing import Any

import numpy as np

from minicereb.attacks.classifier import Guarded
from minicereb.backend import Array, to_device, to_numpy
from minicereb.errors import InputError, MinicerebError, install_command, require
from minicereb.interchange.onnx_reader import GraphNode, Refusal, network_of
from minicereb.interface.adapted import AdaptedClassifier, labels_for
from minicereb.interface.predictors import Predictor
from minicereb.randomness import generator

PROBES = 8  # random images on which the converted layers must agree with the module
AGREE = 1e-4  # largest allowed difference of their outputs, as a share of the largest output
TRAINED_OTHERWISE = ("dropout", "batchnorm")  # parts of the names of layers that behave differently in training mode


def import_torch() -> Any:
    """Return the package torch; if it is missing, a :class:`MinicerebError` says how to install it."""
    try:
        import torch
    except ImportError as error:
        raise MinicerebError(f"PyTorch is not installed: {install_command('torch')}") from error
    return torch


class OwnModule:
    """A PyTorch module that is called directly, with its gradient by autograd. Rows of pixels are reshaped for the module.

    Parameters
    ----------
    module : torch.nn.Module
    image_shape : tuple of int
        Height, width and channels, or (inputs,) if the module takes rows.
    bytes_per_image : int
        Memory for the signals of one image.
    """

    def __init__(self, module: Any, image_shape: tuple[int, ...], bytes_per_image: int = 0) -> None:
        self.module, self.image_shape, self.bytes_per_image = module, image_shape, bytes_per_image
        first: Any = next(module.parameters(), None)
        self.device: Any = None if first is None else first.device
        self.dtype: Any = None if first is None else first.dtype

    def forward(self, x: Array) -> tuple[Array, Any]:
        """Return outputs, shape (images, classes), and the values that the gradient needs."""
        torch = import_torch()
        rows = torch.from_numpy(to_numpy(x)).to(device=self.device).requires_grad_()
        with torch.enable_grad():
            seen = rows if self.dtype is None else rows.to(self.dtype)
            outputs = self.module(as_images(seen, self.image_shape))
        return to_device(outputs.detach().cpu().numpy()), (rows, outputs)

    def input_gradient(self, d_outputs: Array, cache: Any) -> Array:
        """Return the gradient with respect to the rows, shape (images, inputs)."""
        torch = import_torch()
        rows, outputs = cache
        given = torch.from_numpy(to_numpy(d_outputs)).to(device=outputs.device, dtype=outputs.dtype)
        (gradient,) = torch.autograd.grad(outputs, rows, given, retain_graph=True)
        return to_device(gradient.cpu().numpy())


def as_images(rows: Any, image_shape: tuple[int, ...]) -> Any:
    """Return rows as images with channels first, or unchanged if `image_shape` has only one axis."""
    if len(image_shape) == 1:
        return rows
    height, width, channels = (*image_shape, 1)[:3]
    return rows.reshape(len(rows), height, width, channels).permute(0, 3, 1, 2)


def from_torch(module: Any, image_shape: tuple[int, ...] | None = None, classes: Any = None) -> AdaptedClassifier:
    """Return the classifier of a PyTorch module.

    A chain of dense and convolutional layers, ReLU, max pooling, batch normalisation and arithmetic with constants is converted
    to layers of minicereb, so that gradient attacks and certificates apply. Any other module is called directly, in float32, with
    its gradient by autograd. ``repr`` shows whether the module was converted, and ``not_converted`` says why it was not.

    Parameters
    ----------
    module : torch.nn.Module
        Maps images in [0, 1], shape (images, channels, height, width) or (images, inputs), to outputs, (images, classes), such as
        logits. Normalise images inside the module, and call ``module.eval()`` first. The module is neither copied nor changed.
    image_shape : tuple of int, optional
        (height, width) or (height, width, channels); by default the module takes rows with as many numbers as its first dense
        layer has inputs.
    classes : array-like, shape (classes,), optional
        Labels in the order of the outputs; they must be ascending. By default they are 0, 1, ...

    Returns
    -------
    AdaptedClassifier
        It takes rows pixel by pixel, with the channels of a pixel adjacent, that is, images of shape (height, width, channels).

    Raises
    ------
    MinicerebError
        If PyTorch is not installed.
    InputError
        If it is not a module, is in training mode with dropout or batch normalisation, or the shape of its images is unknown.
    ModelError
        If the module fails on images of this shape.
    """
    torch = import_torch()
    if not isinstance(module, torch.nn.Module):
        raise InputError("module", type(module).__name__, "an object of torch.nn.Module")
    wild = [type(each).__name__ for each in module.modules() if each.training and _depends_on_training(each)]
    require(not wild, "module", f"{wild[0]} in training mode" if wild else "", "module.eval() called first")
    shape = _shape_of(module, image_shape, torch)
    own = OwnModule(module, shape)
    asked = Guarded(own)
    probes = to_device(generator(0, "probes").random((PROBES, math.prod(shape)), dtype=np.float32))
    outputs = asked.forward(probes)[0]
    own.bytes_per_image = _bytes_per_image(module, own, probes[:1])
    names, kind = labels_for(classes, outputs.shape[1]), type(module).__name__
    try:
        network = _converted(module, shape, torch)
        found = network.forward(probes)[0]
        apart = float(abs(found - outputs).max())
        if found.shape != outputs.shape or not apart <= AGREE * max(float(abs(outputs).max()), 1e-6):
            raise Refusal(f"layers and module differ by {apart:.2g}")
    except (Refusal, MinicerebError) as why:
        return AdaptedClassifier(kind, asked, names, math.prod(shape), image_shape, str(why))
    return AdaptedClassifier(kind, network, names, math.prod(shape), image_shape)


def _depends_on_training(module: Any) -> bool:
    return any(word in type(module).__name__.lower() for word in TRAINED_OTHERWISE) and getattr(module, "p", 1.0) != 0


def _shape_of(module: Any, image_shape: tuple[int, ...] | None, torch: Any) -> tuple[int, ...]:
    if image_shape is not None:
        given = tuple(int(side) for side in image_shape)
        require(
            len(given) in (1, 2, 3) and min(given) >= 1,
            "image_shape",
            image_shape,
            "(height, width) or (height, width, channels)",
        )
        return given
    first = next((each for each in module.modules() if isinstance(each, (torch.nn.Linear, torch.nn.modules.conv._ConvNd))), None)
    if not isinstance(first, torch.nn.Linear):
        raise InputError("image_shape", None, "(height, width) or (height, width, channels) of the images that the module takes")
    return (first.in_features,)


def _bytes_per_image(module: Any, own: OwnModule, probe: Array) -> int:
    """Return the memory that one image takes: every signal, its derivative, and the values that autograd stores."""
    numbers: list[int] = []
    hooks = [
        each.register_forward_hook(lambda _module, _inputs, output: numbers.append(getattr(output, "numel", int)()))
        for each in module.modules()
    ]
    try:
        own.forward(probe)
    finally:
        for hook in hooks:
            hook.remove()
    return 16 * sum(numbers)


# -- conversion --------------------------------------------------------------------------------------------------------------


def _converted(module: Any, image_shape: tuple[int, ...], torch: Any) -> Any:
    """Return the layers of a module; if it cannot be converted, a :class:`Refusal` says why."""
    from torch import fx

    try:
        graph = fx.Tracer().trace(module)
    except Exception as error:  # tracing may raise anything for a module that is not a fixed graph
        raise Refusal("its calculation depends on its input") from error
    within = dict(module.named_modules())
    shape = image_shape if len(image_shape) == 1 else ((*image_shape, 1)[2], *image_shape[:2])
    convolves = any(isinstance(each, (torch.nn.Conv2d, torch.nn.MaxPool2d)) for each in within.values())
    convolves |= any("max_pool2d" in str(node.target) for node in graph.nodes)
    return network_of(shape, convolves, _chain(graph, within, module, torch))


def _chain(graph: Any, within: dict[str, Any], module: Any, torch: Any) -> Iterator[tuple[str, GraphNode]]:
    """Yield the operators of a traced module; raise :class:`Refusal` unless each reads the output of the one before it."""
    current, sizes = None, set[Any]()
    for node in graph.nodes:
        if node.op in ("placeholder", "output"):
            ends = node.op == "output"
            if (current is not None) != ends or (ends and node.args[0] is not current):
                raise Refusal("it has more than one input or output, or its layers are not a chain")
            current = node
            continue
        is_size = node.op == "call_method" and node.target == "size"
        if node.op == "get_attr" or is_size or node.target in (getattr, operator.getitem):
            sizes.add(node)
            continue
        if {each for each in node.all_input_nodes if each not in sizes} != {current}:
            raise Refusal(f"{node.name} reads something other than the layer before it")
        yield from _steps(node, current, within, module, torch)
        current = node


def _steps(node: Any, current: Any, within: dict[str, Any], module: Any, torch: Any) -> list[tuple[str, GraphNode]]:
    """Return the ONNX operators that a node corresponds to."""
    functional = torch.nn.functional
    target = within[node.target] if node.op == "call_module" else node.target
    what = type(target).__name__ if node.op == "call_module" else getattr(target, "__name__", str(target))

    def step(name: str, *constants: Any, **attributes: Any) -> list[tuple[str, GraphNode]]:
        arrays = [None if each is None else _array(each) for each in constants]
        return [(name, GraphNode(what, attributes, [None, *arrays]))]

    if node.op == "call_module":
        nn = torch.nn
        if isinstance(target, nn.Linear):
            return step("Gemm", target.weight, target.bias, transB=1)
        if isinstance(target, nn.Conv2d):
            _expect(target.padding_mode == "zeros" and not isinstance(target.padding, str), f"{what} with this padding")
            sides = {"strides": [*target.stride], "pads": [*target.padding] * 2, "kernel_shape": [*target.kernel_size]}
            zeros = np.zeros(target.out_channels, dtype=np.float32)
            bias = zeros if target.bias is None else target.bias
            return step("Conv", target.weight, bias, dilations=[*target.dilation], group=target.groups, **sides)
        if isinstance(target, (nn.BatchNorm1d, nn.BatchNorm2d)):
            _expect(target.affine and target.track_running_stats, f"{what} without fixed statistics")
            constants = target.weight, target.bias, target.running_mean, target.running_var
            return step("BatchNormalization", *constants, epsilon=float(target.eps))
        if isinstance(target, nn.MaxPool2d):
            return _pool(step, target.kernel_size, target.stride, target.padding, target.dilation, target.ceil_mode)
        if isinstance(target, nn.Flatten):
            _expect(target.start_dim == 1 and target.end_dim == -1, f"{what} of some axes")
            return step("Flatten")
        if isinstance(target, nn.Unflatten):
            _expect(target.dim == 1, f"{what} of another axis")
            return step("Reshape", np.array([0, *target.unflattened_size]))
        for kind, name in ((nn.ReLU, "Relu"), (nn.Sigmoid, "Sigmoid"), (nn.Identity, "Identity")):
            if isinstance(target, kind):
                return step(name)
        if isinstance(target, nn.modules.dropout._DropoutNd):
            return step("Identity")
    elif what in ("relu", "sigmoid") and len(node.args) == 1:
        return step({"relu": "Relu", "sigmoid": "Sigmoid"}[what])
    elif what == "flatten":
        _expect(node.args[1:] == (1,) or node.kwargs == {"start_dim": 1}, f"{what} of some axes")
        return step("Flatten")
    elif what in ("view", "reshape"):
        wanted = node.args[1] if isinstance(node.args[1], (tuple, list)) else node.args[1:]
        _expect(all(isinstance(each, int) for each in wanted[1:]), f"{what} to a size that is not fixed")
        return step("Reshape", np.array([0, *wanted[1:]]))
    elif target in (functional.max_pool2d, torch.max_pool2d):
        given = (
            dict(zip(("kernel_size", "stride", "padding", "dilation", "ceil_mode"), node.args[1:], strict=False)) | node.kwargs
        )
        size = given["kernel_size"]
        places = given.get("stride") or size, given.get("padding", 0), given.get("dilation", 1), given.get("ceil_mode", False)
        return _pool(step, size, *places)
    elif what == "dropout" and node.kwargs.get("training") is not True:
        return step("Identity")
    elif what in ("add", "sub", "mul", "truediv", "div") and len(node.args) == 2:
        name = {"add": "Add", "sub": "Sub", "mul": "Mul"}.get(what, "Div")
        first, second = node.args
        if first is current:
            return step(name, _constant(second, module, torch))
        _expect(name in ("Add", "Mul"), f"{what} of a constant and the signal")
        return step(name, _constant(first, module, torch))
    raise Refusal(f"it uses {what}")


def _pool(step: Any, size: Any, stride: Any, padding: Any, dilation: Any, ceil: bool) -> list[tuple[str, GraphNode]]:
    def both(value: Any) -> list[int]:
        return [value, value] if isinstance(value, int) else [*value]

    sides = {"kernel_shape": both(size), "strides": both(stride or size), "pads": both(padding) * 2, "dilations": both(dilation)}
    found: list[tuple[str, GraphNode]] = step("MaxPool", ceil_mode=int(ceil), **sides)
    return found


def _constant(value: Any, module: Any, torch: Any) -> Any:
    """Return a number, or a tensor stored in the module."""
    if isinstance(value, int | float):
        return np.array([value], dtype=np.float32)
    found = module
    _expect(getattr(value, "op", "") == "get_attr", "it combines two signals")
    for part in value.target.split("."):
        found = getattr(found, part)
    _expect(isinstance(found, torch.Tensor), "it combines two signals")
    return found


def _expect(condition: bool, why: str) -> None:
    if not condition:
        raise Refusal(f"it uses {why}")


def _array(value: Any) -> np.ndarray:
    array = value if isinstance(value, np.ndarray) else value.detach().cpu().numpy()
    return array if array.dtype.kind in "iu" else array.astype(np.float32)


# -- the other way -----------------------------------------------------------------------------------------------------------


def to_torch(model: Predictor) -> Any:
    """Return a PyTorch module that wraps a classifier and its gradient, so that attacks written for PyTorch run on it.

    Parameters
    ----------
    model : classifier
        A fitted classifier of minicereb, or one from ``from_sklearn``, ``from_onnx`` and the like, with a gradient.

    Returns
    -------
    torch.nn.Module
        Maps images in [0, 1], float32, (images, inputs) or (images, channels, height, width), to outputs, (images, classes). It
        has no parameters.

    Raises
    ------
    MinicerebError
        If PyTorch is not installed.
    NotFittedError
        If the classifier is not fitted.
    """
    torch = import_torch()
    model._require_network()
    network = model.network_

    function: Any = torch.autograd.Function
    base: Any = torch.nn.Module

    class Asked(function):
        """The outputs of the network and their derivative with respect to the images."""

        @staticmethod
        def forward(ctx: Any, rows: Any) -> Any:
            outputs, ctx.cache = network.forward(to_device(rows.detach().cpu().numpy()))
            ctx.where = rows.device
            return torch.from_numpy(to_numpy(outputs)).to(rows.device)

        @staticmethod
        def backward(ctx: Any, d_outputs: Any) -> Any:
            gradient = network.input_gradient(to_device(d_outputs.cpu().numpy()), ctx.cache)
            return torch.from_numpy(to_numpy(gradient)).to(ctx.where)

    class Module(base):
        """A classifier of minicereb as a PyTorch module."""

        def forward(self, images: Any) -> Any:
            rows = images if images.dim() == 2 else images.permute(0, 2, 3, 1).reshape(len(images), -1)
            return Asked.apply(rows.to(torch.float32))

    return Module().eval()


def to_foolbox(model: Predictor) -> Any:
    """Return a classifier as a model of foolbox, so that foolbox's attacks run on it.

    Parameters
    ----------
    model : classifier
        As for :func:`to_torch`.

    Returns
    -------
    foolbox.PyTorchModel
        It takes images in [0, 1] like the module of :func:`to_torch`.

    Raises
    ------
    MinicerebError
        If foolbox or PyTorch is not installed.
    """
    module = to_torch(model)
    try:
        from foolbox import PyTorchModel
    except ImportError as error:
        raise MinicerebError(f"foolbox is not installed: {install_command('foolbox')}") from error
    return PyTorchModel(module, bounds=(0, 1), device="cpu")


def to_art(model: Predictor, image_shape: tuple[int, ...] | None = None) -> Any:
    """Return a classifier as an estimator of the Adversarial Robustness Toolbox (ART), so that ART's attacks run on it.

    Parameters
    ----------
    model : classifier
        A fitted classifier of minicereb, or one from ``from_sklearn``, ``from_torch`` and the like.
    image_shape : tuple of int, optional
        (height, width, channels) of the images, for attacks such as Square; by default the estimator takes rows.

    Returns
    -------
    estimator
        With ``predict``, ``loss_gradient`` (of the cross-entropy of the outputs as logits) and ``class_gradient``, for images in
        [0, 1], channels last.

    Raises
    ------
    MinicerebError
        If ART is not installed.
    NotFittedError
        If the classifier is not fitted.
    """
    try:
        from art.estimators.classification.classifier import ClassGradientsMixin, ClassifierMixin
        from art.estimators.estimator import BaseEstimator, LossGradientsMixin, NeuralNetworkMixin
    except ImportError as error:
        what = "the Adversarial Robustness Toolbox"
        raise MinicerebError(f"{what} is not installed: {install_command('adversarial-robustness-toolbox')}") from error
    from minicereb.calculus.losses import cross_entropy

    model._require_network()
    network, classes = model.network_, len(model.classes_)
    shape = (model.n_features_in_,) if image_shape is None else tuple(image_shape)
    require(math.prod(shape) == model.n_features_in_, "image_shape", shape, f"the shape of {model.n_features_in_} inputs")

    def rows_of(x: Any) -> Array:
        return to_device(np.ascontiguousarray(np.asarray(x).reshape(len(x), -1), dtype=np.float32))

    class Estimator(ClassGradientsMixin, ClassifierMixin, LossGradientsMixin, NeuralNetworkMixin, BaseEstimator):
        """A classifier of minicereb in the form of an ART neural network, which attacks such as Square require."""

        def __init__(self) -> None:
            super().__init__(model=model, clip_values=(0.0, 1.0), channels_first=False)
            self._input_shape, self.nb_classes = shape, classes

        @property
        def input_shape(self) -> tuple[int, ...]:
            return shape

        def fit(self, x: Any, y: Any, **kwargs: Any) -> None:
            raise NotImplementedError("the classifier has learned already")

        def get_activations(self, x: Any, layer: Any, batch_size: int, framework: bool = False) -> np.ndarray:
            raise NotImplementedError("hidden layers are in the classifier's network_")

        def __repr__(self) -> str:
            return f"to_art({model!r})"

        def predict(self, x: Any, **kwargs: Any) -> np.ndarray:
            return model.outputs(np.asarray(x, dtype=np.float32).reshape(len(x), -1))

        def loss_gradient(self, x: Any, y: Any, **kwargs: Any) -> np.ndarray:
            outputs, cache = network.forward(rows_of(x))
            numbers = np.asarray(y).argmax(axis=1) if np.ndim(y) == 2 else np.asarray(y)
            gradient = network.input_gradient(cross_entropy(outputs, to_device(numbers.astype(np.int64)))[1], cache)
            return to_numpy(gradient).reshape(np.shape(x))

        def class_gradient(self, x: Any, label: Any = None, **kwargs: Any) -> np.ndarray:
            outputs, cache = network.forward(rows_of(x))
            wanted = [np.full(len(x), each) for each in range(classes)] if label is None else [np.broadcast_to(label, len(x))]
            found = []
            for each in wanted:
                credit = np.zeros((len(x), classes), dtype=np.float32)
                credit[np.arange(len(x)), each] = 1
                found.append(to_numpy(network.input_gradient(to_device(credit), cache)).reshape(np.shape(x)))
            return np.stack(found, axis=1)

    return Estimator()
