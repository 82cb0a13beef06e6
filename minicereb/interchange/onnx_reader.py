"""Feed-forward classifiers from ONNX files, as layers of :mod:`minicereb.models`.

The graph must be a chain: every operator reads the output of the operator before it, and constants. An operator that is not
listed in :data:`OPERATORS`, or that the layers here do not support in this form, raises an error that names it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minicereb.backend import Array, to_device, to_numpy
from minicereb.calculus.activations import Activation
from minicereb.calculus.batchnorm import EPSILON
from minicereb.errors import MinicerebError, install_command
from minicereb.models.convolutional import BatchNorm, Convolution, Flat, Images, MaxPool
from minicereb.models.layers import Dense, ReLU
from minicereb.models.noisy import NoisyLayer, NoisyNetwork
from minicereb.models.sequential import Sequential
from minicereb.paths import read_bytes

LARGEST_INPUT = 1 << 24


class OnnxModel(NamedTuple):
    """A network that was read from a file.

    Attributes
    ----------
    network : Sequential
        The network takes rows in the order of this project: pixel by pixel, with the channels of a pixel adjacent.
    order : array of int, shape (inputs,), or None
        For each entry of a row, its index in the file's order of the inputs; None if the two orders are the same.
    shape : tuple of int
        Shape of one input, as in the file.
    """

    network: Sequential
    order: np.ndarray | None
    shape: tuple[int, ...]


def read_onnx(path: Path) -> OnnxModel:
    """Read a network from an ONNX file.

    Parameters
    ----------
    path : Path

    Raises
    ------
    MinicerebError
        If the package onnx is missing, or the file cannot be read, is not an ONNX file or holds a network that the layers of this
        project cannot represent; the message names the operator.
    """
    try:
        from onnx import ModelProto
    except ImportError as error:
        raise MinicerebError(f"{path} needs the package onnx, which is not installed: {install_command('onnx')}") from error
    model, content = ModelProto(), read_bytes(path)
    try:
        model.ParseFromString(content)
    except Exception as error:  # an error of protobuf, for which onnx has no public type
        raise MinicerebError(f"{path} is not an ONNX file") from error
    try:
        return _Chain().read(model.graph)
    except Refusal as refusal:
        raise MinicerebError(f"{path}: {refusal}") from None


def network_of(shape: tuple[int, ...], convolutional: bool, steps: Iterable[tuple[str, GraphNode]]) -> Sequential:
    """Return the layers that compute a chain of ONNX operators.

    Parameters
    ----------
    shape : tuple of int
        Shape of one input; images have channels first.
    convolutional : bool
        Whether the chain has layers that take images.
    steps : iterable of (str, GraphNode)
        Names of operators, as in :data:`OPERATORS`, with the operators' attributes and constants.

    Raises
    ------
    Refusal
        If the layers cannot compute an operator, or its output is not a row.
    """
    chain = _Chain()
    chain.begin(shape, convolutional)
    for operator, node in steps:
        OPERATORS[operator](chain, node)
    return chain.finish(shape).network


class Refusal(Exception):
    """The reason why the layers of this project cannot represent a network."""


def _expect(condition: bool, why: str) -> None:
    if not condition:
        raise Refusal(why)


class GraphNode(NamedTuple):
    """An operator: its name for messages, its attributes, and its constant inputs by position."""

    name: str
    attributes: dict[str, Any]
    constants: list[np.ndarray | None]

    def constant(self, place: int) -> np.ndarray:
        """Return the constant input at position `place`, counted from 0; raise :class:`Refusal` if there is none."""
        found = self.constants[place] if place < len(self.constants) else None
        _expect(found is not None, f"{self.name} has no constant as input {place + 1}")
        assert found is not None
        return found

    def expect(self, **allowed: Any) -> None:
        """Raise :class:`Refusal` if an attribute does not have the only value that the layers support."""
        for name, value in allowed.items():
            given = self.attributes.get(name, value)
            _expect(given == value, f"{self.name} with {name} = {given}; only {value} is supported")


@dataclass
class _Chain:
    """The state while reading the graph: the layers so far, and the shape and order of the last layer's outputs."""

    layers: list[Any] = field(default_factory=list)
    shape: tuple[int, ...] = ()  # without the batch; images have channels first, as in the file
    order: np.ndarray | None = None  # for each number of a row, its position in the file's order
    input_order: np.ndarray | None = None
    images: bool = False  # whether the layers have turned rows into images
    convolutional: bool = False

    def begin(self, shape: tuple[int, ...], convolutional: bool) -> None:
        """Start with inputs of this shape (images with channels first); `convolutional` says whether layers for images follow."""
        self.shape, self.convolutional = shape, convolutional
        self.order = self.input_order = pixel_order(shape)

    def finish(self, shape: tuple[int, ...]) -> OnnxModel:
        """Return the network; raise :class:`Refusal` unless its outputs are rows."""
        _expect(len(self.shape) == 1 and not self.images, f"the output has the shape {self.shape}, and must be a row")
        _expect(bool(self.layers), "there is no operator in it")
        if self.order is not None:
            raise Refusal("the outputs are pixels")
        return OnnxModel(Sequential(tuple(self.layers)), self.input_order, shape)

    def read(self, graph: Any) -> OnnxModel:
        """Read the graph of a file."""
        constants = {each.name: _array(each, f"the constant {each.name!r}") for each in graph.initializer}
        inputs = [each for each in graph.input if each.name not in constants]
        _expect(len(inputs) == 1 and len(graph.output) == 1, "a network must have one input and one output")
        dimensions = [each.dim_value for each in inputs[0].type.tensor_type.shape.dim][1:]
        _expect(bool(dimensions) and all(each > 0 for each in dimensions), "the shape of the input is not fixed")
        _expect(math.prod(dimensions) <= LARGEST_INPUT, f"an input of {math.prod(dimensions):,} numbers is too large")
        shape, current = tuple(dimensions), inputs[0].name
        self.begin(shape, any(node.op_type in ("Conv", "MaxPool") for node in graph.node))
        for node in graph.node:
            attributes = {each.name: _attribute(each) for each in node.attribute}
            name = f"{node.op_type} {node.name!r}" if node.name else node.op_type
            if node.op_type == "Constant":
                _expect(isinstance(attributes.get("value"), np.ndarray), f"{name} must hold an array")
                constants[node.output[0]] = attributes["value"]
                continue
            _expect(node.op_type in OPERATORS and node.domain in ("", "ai.onnx"), f"the operator {name} is not supported")
            places = [each for each in node.input if each]
            others = [each for each in places if each not in constants]
            _expect(others == [current], f"{name} must read the output of the operator before it, and constants: {places}")
            read = GraphNode(name, attributes, [constants.get(each) for each in node.input])
            OPERATORS[node.op_type](self, read)
            current = node.output[0]
        _expect(graph.output[0].name == current, "the output is not that of the last operator")
        return self.finish(shape)

    def size(self) -> int:
        return math.prod(self.shape)

    def order_or_rows(self) -> np.ndarray:
        return np.arange(self.size()) if self.order is None else self.order

    # -- operators -----------------------------------------------------------------------------------------------------------

    def identity(self, node: GraphNode) -> None:
        """Add no layer, because Dropout and Identity return their input unchanged at inference."""

    def cast(self, node: GraphNode) -> None:
        node.expect(to=1)  # float32

    def gemm(self, node: GraphNode) -> None:
        node.expect(alpha=1.0, beta=1.0, transA=0)
        weight = node.constant(1)
        _expect(node.constants[0] is None and weight.ndim == 2, f"{node.name} must multiply its input by a constant matrix")
        self.dense(node, weight if node.attributes.get("transB", 0) else weight.T, node.constants[2:3])

    def matmul(self, node: GraphNode) -> None:
        _expect(node.constants[0] is None and node.constant(1).ndim == 2, f"{node.name} must be input times constant matrix")
        self.dense(node, node.constant(1).T, [])

    def dense(self, node: GraphNode, weight: np.ndarray, bias: list[np.ndarray | None]) -> None:
        """Append a dense layer with weights of shape (outputs, inputs)."""
        rows = not self.images and self.shape[-1] == self.size()
        _expect(rows and weight.shape[1] == self.size(), f"{node.name} of shape {weight.shape} on values of shape {self.shape}")
        weight = weight if self.order is None else weight[:, self.order]
        given = bias[0] if bias and bias[0] is not None else np.zeros(1, dtype=np.float32)
        _expect(given.size in (1, len(weight)), f"{node.name} with a bias of shape {given.shape}")
        shift = np.broadcast_to(given.reshape(-1), len(weight))
        self.layers.append(Dense(_device(weight), _device(shift)))
        self.shape, self.order = (len(weight),), None

    def relu(self, node: GraphNode) -> None:
        self.layers.append(ReLU())

    def flatten(self, node: GraphNode) -> None:
        node.expect(axis=1)
        self.flat()

    def flat(self) -> None:
        if self.images:
            self.layers.append(Flat())
            self.order, self.images = pixel_order(self.shape), False
        self.shape = (self.size(),)

    def reshape(self, node: GraphNode) -> None:
        target = [int(each) for each in node.constant(1).reshape(-1)[1:]]
        if -1 in target:
            known = -math.prod(target)
            _expect(target.count(-1) == 1 and known > 0 and self.size() % known == 0, f"{node.name} to {target}")
            target[target.index(-1)] = self.size() // known
        _expect(math.prod(target) == self.size() and min(target, default=0) > 0, f"{node.name} of {self.shape} to {target}")
        if self.images and len(target) == 1:
            self.flat()
        _expect(not self.images or tuple(target) == self.shape, f"{node.name} of images to {target}")
        order = pixel_order(tuple(target))
        if not self.layers and self.order is None:
            self.order = self.input_order = order
        kept = len(target) == 1 or order is self.order or (order is not None and np.array_equal(order, self.order_or_rows()))
        _expect(kept, f"{node.name} to {target}, which would exchange pixels and channels")
        self.shape = tuple(target)

    def as_images(self, node: GraphNode) -> None:
        """Reshape rows of pixels into images, unless they are images already."""
        _expect(len(self.shape) == 3, f"{node.name} on values of shape {self.shape}, which are not images")
        channels, height, width = self.shape
        if not self.images:
            _expect(not self.layers, f"{node.name} after layers of rows")
            self.layers.append(Images((height, width, channels), _device(np.zeros(channels)), _device(np.ones(channels))))
            self.images, self.order = True, None

    def conv(self, node: GraphNode) -> None:
        self.as_images(node)
        weight = node.constant(1)
        _expect(weight.ndim == 4 and weight.shape[1] == self.shape[0], f"{node.name} with weights of shape {weight.shape}")
        outputs, _, height, width = weight.shape
        node.expect(auto_pad="NOTSET", dilations=[1, 1], group=1, kernel_shape=[height, width])
        stride, padding = _single(node, "strides", 1), _single(node, "pads", 0)
        bias = node.constant(2) if len(node.constants) > 2 else np.zeros(outputs, dtype=np.float32)
        sides = [
            (side + 2 * padding - kernel) // stride + 1 for side, kernel in zip(self.shape[1:], (height, width), strict=True)
        ]
        _expect(bias.shape == (outputs,) and min(sides) > 0, f"{node.name} on images of shape {self.shape}")
        self.layers.append(Convolution(_device(weight.transpose(0, 2, 3, 1)), _device(bias), stride, padding))
        self.shape = (outputs, *sides)

    def max_pool(self, node: GraphNode) -> None:
        self.as_images(node)
        size = _single(node, "kernel_shape", 0)
        node.expect(auto_pad="NOTSET", dilations=[1, 1], ceil_mode=0, pads=[0, 0, 0, 0], strides=[size, size])
        _expect(_single(node, "strides", 1) == size > 0, f"{node.name}: size and stride must be equal")
        channels, height, width = self.shape
        _expect(min(height, width) >= size, f"{node.name} of size {size} on images of {height}x{width}")
        self.layers.append(MaxPool(size))
        self.shape = (channels, height // size, width // size)

    def batch_norm(self, node: GraphNode) -> None:
        node.expect(training_mode=0)
        gamma, beta, mean, variance = (node.constant(place) for place in range(1, 5))
        if len(self.shape) == 3:
            self.as_images(node)
        _expect(self.order is None and gamma.shape == (self.shape[0],), f"{node.name} on values of shape {self.shape}")
        variance = variance + np.float32(node.attributes.get("epsilon", EPSILON) - EPSILON)
        self.layers.append(BatchNorm(*map(_device, (gamma, beta, mean, variance))))

    def add(self, node: GraphNode) -> None:
        self.elementwise(node, None, self.other(node))

    def sub(self, node: GraphNode) -> None:
        _expect(node.constants[0] is None, f"{node.name} must subtract a constant from its input")
        self.elementwise(node, None, -node.constant(1))

    def mul(self, node: GraphNode) -> None:
        self.elementwise(node, self.other(node), None)

    def div(self, node: GraphNode) -> None:
        _expect(node.constants[0] is None and bool(node.constant(1).all()), f"{node.name} must divide by a constant, not 0")
        self.elementwise(node, 1 / node.constant(1), None)

    def other(self, node: GraphNode) -> np.ndarray:
        return node.constant(1 if node.constants[0] is None else 0)

    def elementwise(self, node: GraphNode, factor: np.ndarray | None, term: np.ndarray | None) -> None:
        """Scale or shift by a constant: a shift is added to a bias that is exactly 0; otherwise a layer is appended."""
        if not self.layers and self.convolutional and len(self.shape) == 3:
            self.as_images(node)
        scale = self.per_feature(node, np.ones(1) if factor is None else factor)
        shift = self.per_feature(node, np.zeros(1) if term is None else term)
        last = self.layers[-1] if self.layers else None
        if isinstance(last, Images) and scale.all():
            mean, deviation = to_numpy(last.mean), to_numpy(last.deviation)
            self.layers[-1] = Images(last.shape, _device(mean - shift * deviation / scale), _device(deviation / scale))
        elif factor is None and isinstance(last, (Dense, Convolution)) and not bool(last.bias.any()):
            self.layers[-1] = replace(last, bias=_device(shift))
        else:
            self.layers.append(_scaling(scale, shift))

    def per_feature(self, node: GraphNode, constant: np.ndarray) -> np.ndarray:
        """Return one number for each feature of a row, or for each channel of an image."""
        try:
            whole = np.broadcast_to(constant, (1, *self.shape))[0]
        except ValueError:
            raise Refusal(f"{node.name} with a constant of shape {constant.shape} on values of {self.shape}") from None
        if not self.images:
            whole = whole.reshape(-1)
            return whole if self.order is None else whole[self.order]
        channels = whole.reshape(self.shape[0], -1)
        _expect(bool((channels == channels[:, :1]).all()), f"{node.name} with another constant for each pixel")
        return channels[:, 0]

    def sign(self, node: GraphNode) -> None:
        """Read Sign as 1 above 0, otherwise -1, even at 0."""
        self.activation(node, "threshold")
        self.layers.append(_scaling(np.full(self.size(), 2.0), np.full(self.size(), -1.0)))

    def greater(self, node: GraphNode) -> None:
        """Read the operator Greater as a threshold: 1 above a constant, otherwise 0.

        The operator Cast that follows has no effect.
        """
        _expect(node.constants[0] is None, f"{node.name} must compare its input with a constant")
        if node.constant(1).any():
            self.elementwise(node, None, -node.constant(1))
        self.activation(node, "threshold")

    def sigmoid(self, node: GraphNode) -> None:
        self.activation(node, "sigmoid")

    def absolute(self, node: GraphNode) -> None:
        self.activation(node, "absolute")

    def activation(self, node: GraphNode, name: str) -> None:
        _expect(not self.images, f"{node.name} on images")
        last = self.layers[-1] if self.layers else None
        if isinstance(last, Dense):
            self.layers.pop()
        else:
            last = Dense(_device(np.eye(self.size())), _device(np.zeros(self.size())))
        scale = _device(np.ones(1))
        self.layers.append(NoisyNetwork((NoisyLayer(last.weight, last.bias, scale, None, Activation(name)),)))


OPERATORS: dict[str, Callable[[_Chain, GraphNode], None]] = {
    "Abs": _Chain.absolute,
    "Add": _Chain.add,
    "BatchNormalization": _Chain.batch_norm,
    "Cast": _Chain.cast,
    "Conv": _Chain.conv,
    "Div": _Chain.div,
    "Dropout": _Chain.identity,
    "Flatten": _Chain.flatten,
    "Gemm": _Chain.gemm,
    "Greater": _Chain.greater,
    "Identity": _Chain.identity,
    "MatMul": _Chain.matmul,
    "MaxPool": _Chain.max_pool,
    "Mul": _Chain.mul,
    "Relu": _Chain.relu,
    "Reshape": _Chain.reshape,
    "Sigmoid": _Chain.sigmoid,
    "Sign": _Chain.sign,
    "Sub": _Chain.sub,
}


def pixel_order(shape: tuple[int, ...]) -> np.ndarray | None:
    """Return the index of each entry of a row, pixel by pixel, in an image with channels first; None if both orders agree."""
    if len(shape) != 3 or shape[0] == 1:
        return None
    return np.arange(math.prod(shape)).reshape(shape).transpose(1, 2, 0).reshape(-1)


def _scaling(scale: np.ndarray, shift: np.ndarray) -> BatchNorm:
    """Return the layer ``scale · v + shift``, element by element or channel by channel."""
    return BatchNorm(*map(_device, (scale, shift, np.zeros(len(scale)), np.full(len(scale), 1 - EPSILON))))


def _device(array: np.ndarray) -> Array:
    return to_device(np.ascontiguousarray(array, dtype=np.float32))


def _single(node: GraphNode, name: str, default: int) -> int:
    """Return the value of an attribute whose entries must all be equal."""
    values = set(node.attributes.get(name, [default]))
    _expect(len(values) == 1, f"{node.name} with {name} = {node.attributes.get(name)}; all must be equal")
    return int(values.pop())


def _attribute(attribute: Any) -> Any:
    """Return an attribute's number, numbers, text or array."""
    kinds = {1: "f", 2: "i", 3: "s", 6: "floats", 7: "ints"}  # onnx.AttributeProto.AttributeType
    if attribute.type == 4:
        return _array(attribute.t, f"the attribute {attribute.name!r}")
    value = getattr(attribute, kinds[attribute.type], None) if attribute.type in kinds else None
    if isinstance(value, bytes):
        return value.decode("ascii", "replace")
    return list(value) if attribute.type in (6, 7) and value is not None else value


def _array(tensor: Any, what: str) -> np.ndarray:
    """Return a constant; floats must be finite and of single precision."""
    from onnx import numpy_helper

    _expect(tensor.data_location == 0, f"{what} is kept in another file")
    try:
        array = numpy_helper.to_array(tensor)
    except Exception as error:  # a damaged tensor may raise anything
        raise Refusal(f"{what} is damaged") from error
    allowed = array.dtype == np.float32 or array.dtype.kind in "iu"
    _expect(allowed, f"{what} has the type {array.dtype}; only float32 and integers are supported")
    _expect(bool(np.isfinite(array).all()), f"{what} holds numbers that are not finite")
    return array
