"""Trained networks as ONNX files, for other programs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from minicereb.backend import Array, to_numpy
from minicereb.calculus.batchnorm import EPSILON
from minicereb.errors import InputError, MinicerebError, install_command
from minicereb.files import atomic_write
from minicereb.interchange.onnx_reader import pixel_order
from minicereb.models.cerebellum import CerebellarNetwork
from minicereb.models.convolutional import BatchNorm, Convolution, Dropout, Flat, Images, MaxPool
from minicereb.models.layers import Dense, ReLU
from minicereb.models.noisy import NoisyLayer, NoisyNetwork
from minicereb.models.noisy_convolution import NoisyConvolution
from minicereb.models.noisy_time import NoisyTime
from minicereb.models.sequential import Sequential

OPSET, IR_VERSION = 13, 8
LARGEST = (1 << 31) - (1 << 20)  # bytes; the format does not allow larger files


def write_onnx(model: Any, inputs: int, path: Path) -> list[str]:
    """Write a network to an ONNX file and return its operators in order.

    Convolutional networks take images with channels first, (N, channels, height, width); all others take rows, (N, inputs). A
    sparse projection is written as a dense matrix. A noisy network is written without noise, because it also predicts without
    noise.

    Parameters
    ----------
    model : network
        A network of layers from :mod:`minicereb.models`.
    inputs : int
        Number of values in one image.
    path : Path

    Raises
    ------
    InputError
        If a layer has no operator in ONNX, or the file would be larger than the format allows.
    MinicerebError
        If the package onnx is missing, or the file cannot be written.
    """
    graph = _Graph(inputs)
    for layer in layers_of(model):
        graph.add(layer)
    if sum(each.nbytes for each in graph.constants.values()) > LARGEST:
        raise InputError("model", "more than 2 GB of weights", "a network that fits in one ONNX file")
    try:
        from onnx import TensorProto, helper, numpy_helper
    except ImportError as error:
        raise MinicerebError(f"{path} needs the package onnx, which is not installed: {install_command('onnx')}") from error
    value = partial(helper.make_tensor_value_info, elem_type=TensorProto.FLOAT)
    written = helper.make_graph(
        [helper.make_node(kind, list(read), [out], **attributes) for kind, read, out, attributes in graph.nodes],
        "minicereb",
        [value("x", shape=["N", *graph.input_shape])],
        [value(graph.current, shape=["N", graph.width])],
        [numpy_helper.from_array(array, name) for name, array in graph.constants.items()],
    )
    document = helper.make_model(
        written, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="minicereb"
    )
    with atomic_write(path) as file:
        file.write(document.SerializeToString(deterministic=True))
    return [kind for kind, *_ in graph.nodes]


def layers_of(model: Any) -> list[Any]:
    """Return the layers of a model in order, including the layers of nested networks."""
    return [layer for each in model.layers for layer in layers_of(each)] if isinstance(model, Sequential) else [model]


class _Graph:
    """The operators of an ONNX graph in order, and their constants."""

    def __init__(self, inputs: int):
        self.nodes: list[tuple[str, tuple[str, ...], str, dict[str, Any]]] = []
        self.constants: dict[str, np.ndarray] = {}
        self.current, self.width = "x", inputs
        self.input_shape: list[int] = [inputs]
        self.shape: tuple[int, ...] = ()  # shape of images, channels first
        self.order: np.ndarray | None = None  # for rows that were images: their positions with channels first

    def add(self, layer: Any) -> None:
        match layer:
            case Dense():
                self.dense(layer.weight, layer.bias)
            case ReLU():
                self.operator("Relu")
            case Images():
                height, width, channels = layer.shape
                self.shape = (channels, height, width)
                self.input_shape = list(self.shape)
                if to_numpy(layer.mean).any():
                    self.operator("Sub", mean=_per_channel(layer.mean))
                if (to_numpy(layer.deviation) != 1).any():
                    self.operator("Div", deviation=_per_channel(layer.deviation))
            case Convolution():
                self.convolution(layer, layer.padding)
            case MaxPool():
                self.operator("MaxPool", {"kernel_shape": [layer.size] * 2, "strides": [layer.size] * 2})
                channels, height, width = self.shape
                self.shape = (channels, height // layer.size, width // layer.size)
            case BatchNorm():
                arrays = {name: to_numpy(getattr(layer, name)) for name in ("gamma", "beta", "mean", "variance")}
                self.operator("BatchNormalization", {"epsilon": EPSILON}, **arrays)
            case Flat():
                self.operator("Flatten", {"axis": 1})
                self.order = pixel_order(self.shape)
            case Dropout():
                pass
            case CerebellarNetwork():
                size = (layer.wiring.cells, layer.wiring.width)
                if 4 * size[0] * size[1] > LARGEST:
                    raise InputError(
                        "model", f"{size[0]:,} granule cells", "fewer: the dense projection of the file exceeds 2 GB"
                    )
                if layer.fires_above is not None:
                    self.threshold(layer.fires_above)
                self.dense(scipy.sparse.csr_array(layer.wiring.csr(), shape=size).toarray(), layer.wiring.rest)
                self.operator("Relu")
                if to_numpy(layer.ltd_mean).any():
                    self.operator("Sub", ltd_mean=to_numpy(layer.ltd_mean))
                self.dense(to_numpy(layer.readout).T, None)
            case NoisyNetwork():
                for number, each in enumerate(layer.layers):
                    self.noisy(each, layer.layers[number + 1 :])
            case _:
                raise InputError("model", type(layer).__name__, "a network whose layers all have an operator in ONNX")

    def noisy(self, layer: NoisyLayer, above: tuple[NoisyLayer, ...]) -> None:
        """Append a layer of a noisy network, without its noise."""
        if isinstance(layer, NoisyTime):
            expected = "layers without time steps, or an .npz file, which holds the arrays of any model"
            raise InputError("model", "a layer with time steps", expected)
        if not isinstance(layer, NoisyConvolution):
            self.dense(layer.weight, layer.bias)
        else:
            if not self.shape:
                height, width, channels = layer.image
                self.shape = (channels, height, width)
                self.input_shape = list(self.shape)
            self.convolution(layer, 0)
        if layer.activation is not None:
            self.activation(layer.activation.name, layer.activation.slope)
        if isinstance(layer, NoisyConvolution):
            if layer.pool > 1:
                kind = "MaxPool" if layer.pooling == "max" else "AveragePool"
                self.operator(kind, {"kernel_shape": [layer.pool] * 2, "strides": [layer.pool] * 2})
            rows, columns, channels = layer.pooled
            self.shape = (channels, rows, columns)
            if not isinstance(above[0], NoisyConvolution):
                self.operator("Flatten", {"axis": 1})
                self.order = pixel_order(self.shape)

    def convolution(self, layer: Convolution | NoisyConvolution, padding: int) -> None:
        weight = to_numpy(layer.weight).transpose(0, 3, 1, 2)
        attributes = {"strides": [layer.stride] * 2, "pads": [padding] * 4, "kernel_shape": list(weight.shape[2:])}
        self.operator("Conv", attributes, weight=weight, bias=to_numpy(layer.bias))
        sides = (side + 2 * padding - size for side, size in zip(self.shape[1:], weight.shape[2:], strict=True))
        self.shape = (len(weight), *(side // layer.stride + 1 for side in sides))

    def dense(self, weight: Array, bias: Array | None) -> None:
        weight = to_numpy(weight)
        if self.order is not None:  # the rows of the file have channels first
            weight = weight[:, np.argsort(self.order)]
        arrays = {"weight": weight} | ({} if bias is None else {"bias": to_numpy(bias)})
        self.operator("Gemm", {"transB": 1}, **arrays)
        self.width, self.order = len(weight), None

    def activation(self, name: str, slope: float) -> None:
        if name == "sigmoid":
            if slope != 1:
                self.operator("Mul", slope=np.array([slope], dtype=np.float32))
            self.operator("Sigmoid")
        elif name == "threshold":
            self.threshold(0.0)
        elif name == "absolute":
            self.operator("Abs")
        else:
            raise InputError("model", f"the activation {name}", "sigmoid, threshold or absolute, which have operators in ONNX")

    def threshold(self, above: float) -> None:
        self.operator("Greater", threshold=np.array([above]))
        self.operator("Cast", {"to": 1})

    def operator(self, kind: str, attributes: dict[str, Any] | None = None, **constants: np.ndarray) -> None:
        """Append an operator that reads the current value and some constants."""
        number = len(self.nodes)
        names = {name: f"{number}.{name}" for name in constants}
        self.constants |= {names[name]: np.ascontiguousarray(array, dtype=np.float32) for name, array in constants.items()}
        self.nodes.append((kind, (self.current, *names.values()), f"{number}.{kind}", attributes or {}))
        self.current = f"{number}.{kind}"


def _per_channel(values: Array) -> np.ndarray:
    return to_numpy(values).reshape(1, -1, 1, 1)
