"""One image through a perceptron or convolutional network, along the path of one pixel.

At every layer the path continues through the unit that transmits most of the pixel's derivative.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from minicereb.attacks.objectives import objective_named
from minicereb.backend import in_float64
from minicereb.calculus.losses import DESCENDED
from minicereb.errors import require
from minicereb.experiments.architectures import ConvolutionalModel, PerceptronModel
from minicereb.explain.drawings import Drawing, Image, Row
from minicereb.explain.explained_image import ExplainedImage, Place, loss_step, switching_units, update_step
from minicereb.explain.fgsm_steps import attack_steps, chosen_pixels
from minicereb.explain.steps import SUBSCRIPT, Derivative, Rows, Step, checked, products
from minicereb.explain.training_step import TrainingStep
from minicereb.models.cerebellum import CerebellarNetwork
from minicereb.models.convolutional import BatchNorm, BatchNormLearning, Convolution, Images, MaxPool
from minicereb.models.layers import Dense, ReLU, ReLULearning
from minicereb.models.sequential import Sequential

Loss = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
NAMES = {"Images": "normalised", "BatchNormLearning": "BatchNorm", "DropoutLearning": "Dropout"}


class PixelPath(NamedTuple):
    """A forward and backward pass, and the path of one pixel through it.

    `values` are the inputs of all layers, then the outputs. `credits` are the gradients of the loss with respect to these
    arrays, and `units` are the flat indices of the path's units in them.
    """

    layers: tuple[Any, ...]
    values: list[np.ndarray]
    credits: list[np.ndarray]
    units: list[int]

    def place(self, number: int) -> tuple[int, ...]:
        """Return the indices of the path's unit in the input of layer `number`, without the image axis."""
        return tuple(int(each) for each in np.unravel_index(self.units[number], self.values[number].shape)[1:])

    def value(self, number: int) -> float:
        """Return the value of the path's unit in the input of layer `number`."""
        return float(self.values[number].ravel()[self.units[number]])

    def credit(self, number: int) -> float:
        """Return the derivative of the loss with respect to the path's unit in the input of layer `number`."""
        return float(self.credits[number].ravel()[self.units[number]])

    def onward(self, number: int) -> np.ndarray:
        """Compute the outputs from the input of layer `number`."""
        return Sequential(self.layers[number:]).forward(self.values[number])[0]


def follow_pixel(
    network: Sequential, x: np.ndarray, labels: np.ndarray, loss: Loss, choose: Callable[[np.ndarray], int]
) -> PixelPath:
    """Run a forward and backward pass, and follow the pixel that `choose` selects from the image's gradient."""
    values, caches = [x.copy()], []
    for layer in network.layers:
        value, cache = layer.forward(values[-1])
        values.append(value)
        caches.append(cache)
    credits = [loss(values[-1], labels)[1]]
    for layer, cache in zip(reversed(network.layers), reversed(caches), strict=True):
        credits.append(layer.input_gradient(credits[-1], cache))
    credits.reverse()
    units = [choose(credits[0])]
    for layer, value, credit in zip(network.layers, values, credits[1:], strict=False):
        units.append(_onward(layer, value, credit, units[-1]))
    return PixelPath(network.layers, values, credits, units)


def _onward(layer: Any, value: np.ndarray, credit: np.ndarray, unit: int) -> int:
    """Return which output unit of a layer transmits most of the derivative with respect to the layer's input `unit`."""
    if isinstance(layer, MaxPool):
        image, row, column, channel = np.unravel_index(unit, value.shape)
        down, across = credit.shape[1:3]
        place = image, min(row // layer.size, down - 1), min(column // layer.size, across - 1), channel
        return int(np.ravel_multi_index(place, credit.shape))
    if isinstance(layer, CerebellarNetwork):
        return int(np.abs(credit).argmax())
    if not isinstance(layer, Dense | Convolution):
        return unit  # each unit has its own output
    alone = np.zeros_like(value)
    still = layer.forward(alone)[0]
    alone.ravel()[unit] = 1
    reached = np.abs(layer.forward(alone)[0] - still)
    passed = reached * np.abs(credit)
    return int((passed if passed.any() else reached).argmax())  # any connected unit, if nothing is transmitted


def learning(subject: ExplainedImage) -> Iterator[Step]:
    """Yield the steps of learning from the image by backpropagation."""
    settings = subject.config.model
    assert isinstance(settings, PerceptronModel | ConvolutionalModel)
    _only_pixels(subject)
    taken = subject.step()
    name = settings.loss if isinstance(settings, PerceptronModel) else "cross-entropy"
    loss, seed = DESCENDED[name], subject.config.seed if isinstance(settings, ConvolutionalModel) else 0
    network = in_float64(subject.model).while_learning(seed, taken.warmed)
    # ReLU, unlike ReLULearning, leaves its input unchanged.
    network = Sequential(tuple(ReLU() if isinstance(layer, ReLULearning) else layer for layer in network.layers))

    def value(outputs: np.ndarray) -> float:
        return float(loss(outputs, subject.labels)[0][0])

    def choose(gradient: np.ndarray) -> int:
        return chosen_pixels(subject, gradient, lambda x: value(network.forward(x)[0]), 1)[0]

    walked = follow_pixel(network, taken.x, subject.labels, loss, choose)
    yield from _forward_steps(subject, walked)
    tag = {"mse": "C3", "cross-entropy": "M-CE"}[name]
    yield loss_step(subject, f"The loss ({name})", tag, loss, walked.values[-1])
    penalties = (settings.l2, settings.l1 if isinstance(settings, PerceptronModel) else 0.0)
    places: list[Place] = []
    for block in reversed(_blocks(walked)):
        found = list(_parameters(walked, block))
        checks = [_weight_check(walked, *each, taken, value, penalties) for each in found]
        yield _backward_step(subject, walked, block, _credit_checks(walked, block, value) + checks)
        places += [place for _, _, place in found]
    after, _ = taken.model.while_learning(seed, taken.warmed).forward(taken.x)
    words = f"On this image the loss goes from {taken.learned.loss[0]:.6g} to {loss(after, subject.labels)[0][0]:.6g}."
    uses = tuple(_numbered("δ", block) for block in _blocks(walked))
    yield update_step(subject, taken, places[::-1], words, uses, after)


def attack(subject: ExplainedImage) -> Iterator[Step]:
    """Yield the steps of an attack on the image."""
    _only_pixels(subject)

    convolutional = any(isinstance(layer, Convolution) for layer in subject.model.layers)
    tag = "M-CONV-DX" if convolutional else "M-BP"
    yield from attack_steps(subject, lambda d_outputs, pixels: forward_and_back(subject, pixels[0]), tag)


def forward_and_back(
    subject: ExplainedImage, pixel: int, beyond: Callable[[PixelPath], Iterator[Step]] | None = None
) -> Iterator[Step]:
    """Yield the steps along a pixel's path to the outputs, then the steps from `beyond`, then the steps of the backward pass."""
    loss = objective_named(subject.shown.objective)
    walked = follow_pixel(subject.model, subject.x, subject.labels, loss, lambda _: pixel)

    def value(outputs: np.ndarray) -> float:
        return float(loss(outputs, subject.labels)[0][0])

    yield from _forward_steps(subject, walked)
    if beyond is not None:
        yield from beyond(walked)
    for block in reversed(_blocks(walked)):
        yield _backward_step(subject, walked, block, _credit_checks(walked, block, value))


def _only_pixels(subject: ExplainedImage) -> None:
    require(not subject.shown.cells, "cell", subject.shown.cells, "no cells for this model: --pixel chooses the path shown")


def _blocks(walked: PixelPath) -> list[range]:
    """Return groups of layers that are explained together: a layer with weights, and all layers without weights after it."""
    starts = [number for number, layer in enumerate(walked.layers) if isinstance(layer, Dense | Convolution)]
    end = len(walked.layers) - isinstance(walked.layers[-1], CerebellarNetwork)  # a cerebellum has its own steps
    return [range(start, end) for start, end in zip(starts, [*starts[1:], end], strict=True)]


def _called(layer: Any) -> str:
    name = type(layer).__name__
    return NAMES.get(name, name)


def _numbered(symbol: str, block: range) -> str:
    return f"{symbol}{block.start + 1}".translate(SUBSCRIPT)


def _title(walked: PixelPath, block: range) -> str:
    layers = walked.layers[block.start : block.stop]
    return f"Layer {block.start + 1}: {', '.join(map(_called, layers))}"


def _forward_steps(subject: ExplainedImage, walked: PixelPath) -> Iterator[Step]:
    """Yield a step for each layer with weights: the weighted sum of the path's unit, and the path's values in later layers."""
    for block in _blocks(walked):
        first, layer = block.start, walked.layers[block.start]
        x, v, unit = walked.values[first][0], walked.values[first + 1], walked.place(first + 1)
        dense = enumerate(zip(layer.weight[unit[0]], x, strict=True)) if isinstance(layer, Dense) else ()
        terms = [(str(i), w, each) for i, (w, each) in dense] or list(
            window_terms(layer.weight, x, unit, layer.stride, layer.padding)
        )
        total, bias = (f"v{list(unit)}", walked.value(first + 1)), ("bias b", layer.bias[unit[-1]])
        tables = [products(f"unit {list(unit)}", ("input", "weight θ", "value x"), terms, total, [bias])]
        pixel = subject.pixel(walked.units[0])
        if first == 1 and isinstance(walked.layers[0], Images):
            pixels = [(f"pixel {pixel}", walked.value(0)), ("minus its mean, divided by its deviation", walked.value(1))]
            tables.insert(0, Rows("the pixel, normalised", ("", "value"), pixels))
        rows = [(_called(walked.layers[n]), str(list(walked.place(n + 1))), walked.value(n + 1)) for n in block]
        tables.append(Rows("the path of the pixel", ("layer", "unit", "value"), rows))
        tables += [_normalised(walked, n) for n in block if isinstance(walked.layers[n], BatchNorm | BatchNormLearning)]
        shapes = {"x": walked.values[first].shape, "θ": layer.weight.shape, "v": v.shape, "out": walked.values[block.stop].shape}
        words = f"The path shown is that of pixel {pixel}; it arrives at input {list(walked.place(first))}."
        words += f" Of {v.size:,} signals {int((v > 0).sum()):,} are above 0; the largest is {v.max():.6g}."
        drawings = _forward_drawings(subject, walked, block)
        out = "ŷ" if block.stop == len(walked.layers) else _numbered("h", block)
        gives = {_numbered("h", block): out, "x": out, out: out}
        yield Step(_title(walked, block), _tags(layer)[0], words, shapes, tables, drawings=drawings, gives=gives, uses=("x",))


def _forward_drawings(subject: ExplainedImage, walked: PixelPath, block: range) -> list[Drawing]:
    """Draw the input and output of the layers, and the weights of the unit on the path."""
    first, layer, unit = block.start, walked.layers[block.start], walked.place(block.start + 1)
    x = subject.map("x", walked.values[first]) if first else Image("x", subject.picture(walked.values[0]))
    through: Row = [x, "→", subject.drawn("v", walked.values[first + 1])]
    if len(block) > 1:
        through += ["→", subject.drawn("out", walked.values[block.stop])]
    caption = "The input, the weighted sums v, and the output" if len(block) > 1 else "The input, and the weighted sums v"
    caption += ": one map for each channel." if isinstance(layer, Convolution) else "."
    weights = layer.weight[unit[-1]]
    parts: Row = [subject.map(f"θ of unit {list(unit)}", weights)]
    return [Drawing(caption, through), Drawing("The weights of the unit on the path of the pixel.", parts)]


def window_terms(
    weight: np.ndarray, x: np.ndarray, unit: tuple[int, ...], stride: int, padding: int = 0
) -> Iterator[tuple[str, float, float]]:
    """Yield the index, weight and value of each input that a kernel sees at one place, without the padding."""
    row, column, output = unit
    for i in range(weight.shape[1]):
        for j in range(weight.shape[2]):
            r, c = row * stride + i - padding, column * stride + j - padding
            if 0 <= r < x.shape[0] and 0 <= c < x.shape[1]:
                for channel in range(x.shape[2]):
                    yield str([r, c, channel]), weight[output, i, j, channel], x[r, c, channel]


def _normalised(walked: PixelPath, number: int) -> Rows:
    """Return the quantities of batch normalisation for the unit's channel [M-BN]."""
    layer, channel = walked.layers[number], walked.place(number)[-1]
    learning = isinstance(layer, BatchNormLearning)
    own = layer.layer if learning else layer
    cache = layer.forward(walked.values[number])[1]
    mean, variance = (cache.mean, cache.variance) if learning else (own.mean, own.variance)
    arrays = {"mean μ": mean, "variance σ²": variance, "γ": own.gamma, "β": own.beta}
    middle = [(name, array[channel]) for name, array in arrays.items()]
    rows = [("v", walked.value(number)), *middle, ("h", walked.value(number + 1))]
    return Rows(f"batch normalisation, statistics {'of this image' if learning else 'fixed'}", ("", f"channel {channel}"), rows)


def _tags(layer: Any) -> tuple[str, str]:
    """Return the equation tags of a layer's forward and backward pass."""
    return ("M-CONV", "M-CONV-DX") if isinstance(layer, Convolution) else ("M-DENSE", "M-BP")


def _backward_step(subject: ExplainedImage, walked: PixelPath, block: range, checks: list[Derivative]) -> Step:
    places = ((n, _called(walked.layers[n]), str(list(walked.place(n)))) for n in reversed(block))
    rows = [(name, unit, walked.credit(n + 1), walked.credit(n)) for n, name, unit in places]
    shapes = {"δ": walked.credits[block.start + 1].shape, "∂l/∂x": walked.credits[block.start].shape}
    words = "The credit of a unit is the sum of what later units pass back. The differences go through all later layers."
    if any(isinstance(walked.layers[n], BatchNormLearning) for n in block):
        words += " A bias before batch normalisation has no effect: its derivative is 0 up to rounding."
    numbers = [Rows("credits", ("back through", "to unit", "credit after", "credit before"), rows)]
    after, before = (subject.drawn(f"∂l/∂{name}", walked.credits[n]) for name, n in (("out", block.stop), ("x", block.start)))
    drawing = Drawing("The credit of the output of these layers, and of their input.", [after, "→", before])
    own = _numbered("δ", block)
    return Step(
        f"Back: {_title(walked, block)}", _tags(walked.layers[block.start])[1], words, shapes, numbers, checks,
        drawings=[drawing], gives={own: own, "δ": own}, uses=("δ", _numbered("h", block)),
    )  # fmt: skip


def _credit_checks(walked: PixelPath, block: range, value: Callable[[np.ndarray], float]) -> list[Derivative]:
    """Return checks of the derivatives with respect to the signal and the input of the path's unit."""
    checks = []
    for number, symbol in ((block.start + 1, "v"), (block.start, "x")):
        array = walked.values[number]
        place: Any = np.unravel_index(walked.units[number], array.shape)
        kinks = partial(switching_units, Sequential(walked.layers[number:]), array, place)
        of, onward = f"∂l/∂{symbol}{list(walked.place(number))}", lambda n: value(walked.onward(n))
        checks.append(checked(of, walked.credit(number), array, place, onward, number, kinks=kinks))
    return checks


def _parameters(walked: PixelPath, block: range) -> Iterator[tuple[int, np.ndarray, Place]]:
    """Yield, for each parameter of a block, the index of its layer, its array, and its entry on the path."""
    for number in reversed(block):
        layer = walked.layers[number]
        count = sum(hasattr(each, "weight_gradient") for each in walked.layers[:number])
        owner = layer.layer if isinstance(layer, BatchNormLearning) else layer
        for name, array in getattr(owner, "parameters", {}).items():
            place = _place_of(walked, number) if name == "weight" else (walked.place(number + 1)[-1],)
            yield number, array, (f"{name}_{count}{list(place)}", f"{name}_{count}", place)


def _weight_check(
    walked: PixelPath, number: int, array: np.ndarray, parameter: Place, taken: TrainingStep,
    value: Callable[[np.ndarray], float], penalties: tuple[float, float],
) -> Derivative:  # fmt: skip
    """Check the derivative with respect to one entry of a parameter; only weights are penalised."""
    symbol, name, place = parameter
    l2, l1 = penalties if name.startswith("weight") else (0.0, 0.0)

    def loss() -> float:
        return value(walked.onward(number)) + 0.5 * l2 * float(array[place]) ** 2 + l1 * abs(float(array[place]))

    return checked(f"∂l/∂{symbol}", taken.gradients[name][place], array, place, loss)


def _place_of(walked: PixelPath, number: int) -> tuple[int, ...]:
    """Return the indices of the weight between the path's units before and after a layer."""
    layer, before, after = walked.layers[number], walked.place(number), walked.place(number + 1)
    if isinstance(layer, Dense):
        return after[0], before[0]
    (row, column, channel), (down, across, output) = before, after
    return output, row - down * layer.stride + layer.padding, column - across * layer.stride + layer.padding, channel
