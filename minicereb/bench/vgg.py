"""Benchmarks of the paper's VGG-11: a batch's forward and backward pass, as in training, and each convolution alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from minicereb.backend import Array, execution, to_device
from minicereb.bench.loops import CLASSES, peers_of, product_floor
from minicereb.bench.memory import in_fresh_process, peak_since, process_memory
from minicereb.bench.timing import Benchmark
from minicereb.calculus import direct
from minicereb.calculus.winograd import applies
from minicereb.models.convolutional import Convolution, MaxPool, initial_convolutional, vgg11
from minicereb.models.layers import Dense
from minicereb.models.sequential import Sequential
from minicereb.parallel import run_lanes
from minicereb.randomness import generator

DROPOUT = (0.25, 0.5)


@dataclass(frozen=True)
class VggSize:
    """The size of the network and its batch; `width` multiplies the number of outputs of every layer."""

    batch: int = 128
    side: int = 32
    width: float = 1.0
    turns: int = 5


FULL = VggSize()
QUICK = VggSize(batch=4, side=8, width=1 / 16, turns=1)


def convolutional(peers: bool) -> Iterator[Benchmark]:
    """Yield benchmarks of the whole network, then of its convolutions in order; `peers` adds PyTorch in both memory layouts."""
    yield _learning_step(peers, FULL)
    yield from _convolutions(FULL)


def network_of(size: VggSize) -> tuple[Sequential, np.ndarray, np.ndarray]:
    """Return the network, a batch of images, and a derivative with respect to the outputs."""
    stages, hidden = vgg11(size.width)
    model = initial_convolutional(
        (size.side, size.side, 3),
        CLASSES,
        0,
        stages=stages,
        hidden=hidden,
        batch_norm=True,
        dropout=DROPOUT,
        normalisation=(np.full(3, 0.5, dtype=np.float64), np.full(3, 0.25, dtype=np.float64)),
    )
    rng = generator(0, "bench images")
    images = rng.random((size.batch, 3 * size.side**2), dtype=np.float32)
    return model, images, rng.standard_normal((size.batch, CLASSES), dtype=np.float32)


def _learning_step(peers: bool, size: VggSize) -> Benchmark:
    """Return a benchmark of the outputs and the gradients with respect to all weights, but not to the pixels."""
    model, images, credit = network_of(size)
    products = 3 * sum(_multiply_adds(model, size)) - _multiply_adds(model, size)[0]
    return Benchmark(
        f"VGG-11 forward and back, width {size.width:g}, batch {size.batch}, {size.side} x {size.side} pixels",
        ours_of(model, images, credit),
        product_floor(to_device(credit), products),
        f"{2 * products / 1e9:.1f} GFLOP at the rate of a matrix product",
        peers_of("convolutional_steps", model, images, credit) if peers else {},
        turns=size.turns,
        peak=lambda name: peak_of(name, size),
    )


def ours_of(model: Sequential, images: np.ndarray, credit: np.ndarray) -> Callable[[], object]:
    """Return a function for a batch's forward and backward pass as in :class:`minicereb.learning.backprop.Backpropagation`."""
    x, d_outputs, turn = to_device(images), to_device(credit), iter(range(10**9))

    def step(number: int) -> object:
        bound = model.while_learning(0, number)
        return bound.weight_gradients(d_outputs, bound.forward(x)[1])

    return lambda: run_lanes(step, [next(turn)])


def _convolutions(size: VggSize) -> Iterator[Benchmark]:
    """Yield a benchmark for each shape of convolution: forward pass, and backward pass to its input and its weights."""
    model, _, _ = network_of(size)
    rng, side, seen = generator(0, "bench convolutions"), size.side, set[tuple[int, tuple[int, ...]]]()
    for layer in model.layers:
        side = side // 2 if isinstance(layer, MaxPool) else side
        if not isinstance(layer, Convolution) or (side, layer.weight.shape) in seen:
            continue
        seen.add((side, layer.weight.shape))
        outputs, _, _, channels = layer.weight.shape
        shapes = (size.batch, side, side, channels), (size.batch, side, side, outputs)
        x, credit = (to_device(rng.standard_normal(shape, dtype=np.float32)) for shape in shapes)
        yield _convolution(layer, x, credit, size.turns, "its derivatives")
        _, height, width, _ = layer.weight.shape
        learning = layer.while_learning(0)
        if applies(height, width, layer.stride, layer.padding, x.shape, outputs):
            yield _convolution(learning, x, credit, size.turns, "its derivatives by minimal filtering")
        elif direct.applies(x, layer.weight[0].size, outputs):
            yield _convolution(learning, x, credit, size.turns, "its weights' gradient by loops", by_input=False)


def _convolution(layer: Convolution, x: Array, credit: Array, turns: int, back: str, by_input: bool = True) -> Benchmark:
    outputs, _, _, channels = layer.weight.shape
    products = (2 + by_input) * credit.size * layer.weight[0].size

    def work() -> None:
        layer.forward(x)
        layer.weight_gradient(credit, x)
        if by_input:
            layer.input_gradient(credit, x)

    return Benchmark(
        f"convolution {channels} to {outputs}, {x.shape[1]} x {x.shape[2]} pixels, batch {len(x)}, and {back}",
        work,
        product_floor(credit, products),
        f"{2 * products / 1e9:.1f} GFLOP at the rate of a matrix product",
        turns=turns,
    )


def _multiply_adds(model: Sequential, size: VggSize) -> list[int]:
    """Return the multiply-adds of the forward pass of each layer with weights, for the whole batch."""
    side, found = size.side, []
    for layer in model.layers:
        side = side // 2 if isinstance(layer, MaxPool) else side
        if isinstance(layer, (Convolution, Dense)):
            found.append(size.batch * layer.weight.size * (side * side if isinstance(layer, Convolution) else 1))
    return found


# -- memory ------------------------------------------------------------------------------------------------------------------


def peak_of(name: str | None, size: VggSize) -> int | None:
    """Return the peak memory, in bytes beyond the model's, of two steps of a peer (or of our work, if `name` is None).

    The steps run in a separate process. The result is None if the system does not report the peak.
    """
    if execution().device != "cpu" or process_memory("VmHWM") is None:
        return None
    return in_fresh_process(_peak_here, name, size)


def _peak_here(name: str | None, size: VggSize) -> int | None:
    model, images, credit = network_of(size)
    if name is None:
        step = ours_of(model, images, credit)
    else:
        step = peers_of("convolutional_steps", model, images, credit, (name,))[name]
    before = process_memory("VmRSS")
    for _ in range(2):
        step()
    return peak_since(before)
