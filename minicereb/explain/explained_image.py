"""The image and model to explain, the numbers to show, and the steps common to all models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicereb.attacks.objectives import objective_named
from minicereb.backend import in_float64, to_device, to_numpy
from minicereb.calculus.losses import one_hot
from minicereb.datasets.dataset import Dataset
from minicereb.datasets.transforms import to_unit
from minicereb.errors import InputError, require
from minicereb.experiments.configs import Train
from minicereb.explain.drawings import Bars, Drawing, Image, Map, Row, Svg
from minicereb.explain.steps import Rows, Step, checked
from minicereb.explain.training_step import WARM, TrainingStep, take_step
from minicereb.gradcheck.differences import CLOSER
from minicereb.inputs import as_labels, check_images, check_rows
from minicereb.models.cerebellum import CerebellarNetwork
from minicereb.models.convolutional import MaxPool
from minicereb.models.layers import ReLU
from minicereb.report.circuit import circuit

Place = tuple[str, str, tuple[int, ...]]  # symbol, array and indices of a parameter
FEW = 4  # cells named individually
UPDATES = {"sgd": "M-SGD", "momentum": "M-MOMENTUM", "rmsprop": "M-RMSPROP", "adam": "M-ADAM"}


@dataclass(frozen=True)
class Shown:
    """Which numbers an explanation shows, and which attack it tries.

    Parameters
    ----------
    cells, classes, pixels : tuple of int
        Indices of units, classes and pixels; if empty, the most important ones are chosen.
    objective : {"mse", "cross-entropy", "margin", "dlr"}
        Objective of the attack.
    epsilon : float
        Bound of the attack in L∞.
    """

    cells: tuple[int, ...] = ()
    classes: tuple[int, ...] = ()
    pixels: tuple[int, ...] = ()
    objective: str = "margin"
    epsilon: float = 0.1

    def __post_init__(self) -> None:
        objective_named(self.objective)
        require(0 <= self.epsilon < float("inf"), "epsilon", self.epsilon, "a number of at least 0")


@dataclass(frozen=True, eq=False)
class ExplainedImage:
    """One image, and the model that is explained with it.

    All computations use `model`, a float64 copy of `trained`. `image` is the index of the test image `x`, which is float64 with
    the shape (1, inputs); `labels` has the shape (1,). An `encoder`, in float64, maps the images of `dataset` to the inputs of
    `model`.
    """

    config: Train
    dataset: Dataset
    trained: Any
    model: Any
    image: int
    x: np.ndarray
    labels: np.ndarray
    shown: Shown
    encoder: Any = None

    @property
    def label(self) -> int:
        """The class of the image."""
        return int(self.labels[0])

    def picture(self, x: np.ndarray) -> np.ndarray:
        """Return a row of pixels as an image."""
        shape = self.dataset.image_shape
        image = np.clip(x.reshape(shape if len(shape) > 1 else (1, -1)), 0, 1)
        return image.mean(axis=2) if image.ndim == 3 and image.shape[2] != 3 else image

    def map(self, name: str, values: np.ndarray, full: float = 0.0) -> Map:
        """Return an array as a map; if it has as many numbers as the image, they are arranged like the pixels."""
        shape = self.dataset.image_shape
        if values.size == self.dataset.inputs and len(shape) > 1:
            return Map(name, values.reshape(*shape[:2], -1).mean(axis=2), full)
        return Map(name, values[0] if values.ndim > 1 and len(values) == 1 else values, full)

    def drawn(self, name: str, values: np.ndarray) -> Bars | Map:
        """Return bars if there is one number per class, otherwise a map."""
        return Bars(name, values.ravel(), self.label) if values.size == self.dataset.classes else self.map(name, values)

    def pixel(self, number: int) -> str:
        """Return the index of a pixel, followed by its position in the image, as text."""
        if self.x.size != self.dataset.inputs:  # a feature, not a pixel
            return str(number)
        place = np.unravel_index(number, self.dataset.image_shape)
        return f"{number} ({', '.join(str(int(each)) for each in place)})" if len(place) > 1 else str(number)

    def classes(self, outputs: np.ndarray) -> list[int]:
        """Return the classes to show: those requested, or the label and the likeliest wrong class."""
        likely = [int(each) for each in np.argsort(-outputs[0], kind="stable") if each != self.label]
        return list(self.shown.classes) or [self.label, *likely[:1]]

    def step(self) -> TrainingStep:
        """Return the step that training would take on this image."""
        return take_step(self.config, self.dataset, self.model, self.x, self.labels, self.encoder)


def pixel_number(text: str, image_shape: tuple[int, ...]) -> int:
    """Return the index of a pixel from text: the index itself, or its comma-separated position in the image."""
    expected = f"a number, or {' and '.join(('row', 'column', 'channel')[: len(image_shape)])} within {image_shape}"
    try:
        place = tuple(map(int, text.split(",")))
        return place[0] if len(place) == 1 else int(np.ravel_multi_index(place, image_shape))
    except ValueError as error:
        raise InputError("pixel", text, expected) from error


def explained_image(config: Train, dataset: Dataset, trained: Any, image: int, shown: Shown) -> ExplainedImage:
    """Return the image with its model; raise :class:`InputError` for an image, class or pixel that does not exist."""
    count = len(dataset.x_test)
    require(0 <= image < count, "image", image, f"the number of a test image, 0 to {count - 1}")
    for name, chosen, number in (("class", shown.classes, dataset.classes), ("pixel", shown.pixels, dataset.inputs)):
        for each in chosen:
            require(0 <= each < number, name, each, f"a whole number from 0 to {number - 1}")
    x = to_numpy(to_unit(dataset.x_test[image : image + 1])).astype(np.float64)
    check_rows(x)
    check_images(x, np.array([image]))
    labels = as_labels(dataset.y_test[image : image + 1], 1, dataset.classes)
    return ExplainedImage(config, dataset, trained, in_float64(trained), image, x, labels, shown)


def chosen_cells(subject: ExplainedImage, usual: list[int], count: int, what: str) -> list[int]:
    """Return the requested cells, by default `usual`; raise :class:`InputError` for an index that is not below `count`."""
    for each in subject.shown.cells:
        require(0 <= each < count, "cell", each, f"a whole number from 0 to {count - 1}: there are {count:,} {what}")
    return list(subject.shown.cells) or usual


def the_image(subject: ExplainedImage) -> Step:
    """Return the step that shows the image, and the model's outputs in float64 and in float32."""
    outputs, _ = subject.model.forward(subject.x)
    as_trained = to_numpy(subject.trained.forward(to_device(subject.x.astype(np.float32)))[0])
    rows = zip(range(outputs.size), outputs[0], as_trained[0], strict=True)
    ink = int(np.count_nonzero(subject.x))
    attacked = " Learning uses the image after an attack, as in training." if subject.config.adversary else ""
    seen: Row = [Image("x", subject.picture(subject.x)), "→", Bars("ŷ", outputs[0], subject.label)]
    drawings = [Drawing("The image, and the outputs of the model; ✓ marks the right class.", seen)]
    if isinstance(subject.model, CerebellarNetwork):
        wiring = subject.model.wiring
        drawn = circuit(wiring.width, wiring.cells, None if wiring.inputs is None else wiring.inputs.shape[1], outputs.size)
        drawings.append(Drawing("The circuit, and what each part of it computes.", [Svg("the circuit", drawn)]))
    return Step(
        f"Image {subject.image} of the test images of {subject.dataset.name}",
        "",
        f"It shows a {subject.label}; the model predicts {int(outputs[0].argmax())}. {ink} of its {subject.x.size} numbers are "
        "not 0. Every number below is computed by the functions that train and attack, on a copy of the model in float64."
        + attacked,
        {"x": subject.x.shape, "ŷ": outputs.shape},
        [Rows("outputs", ("class", "in float64", "as trained"), rows)],
        drawings=drawings,
        gives={"x": "x", "image": "x", "ŷ": "ŷ"},
    )


def loss_step(
    subject: ExplainedImage, title: str, tag: str, function: Callable[..., Any], outputs: np.ndarray, symbol: str = "l"
) -> Step:
    """Return the step for a loss or an objective of the outputs, with its derivative with respect to each output."""
    by_output = f"∂{symbol}/∂ŷ"
    value, d_outputs = function(outputs, subject.labels)
    target, moved = one_hot(subject.labels, outputs), outputs.copy()
    rows = zip(range(outputs.shape[1]), outputs[0], target[0], strict=True)
    checks = [
        checked(f"∂{symbol}/∂ŷ[{j}]", each, moved, (0, j), lambda: function(moved, subject.labels)[0][0])
        for j, each in enumerate(d_outputs[0])
    ]
    shapes = {"ŷ": outputs.shape, by_output: d_outputs.shape}
    numbers = [Rows("each output", ("class", "ŷ", "target y"), rows)]
    seen: Row = [Bars("ŷ", outputs[0], subject.label), "→", Bars(by_output, d_outputs[0], subject.label)]
    drawing = Drawing(f"The outputs, and how {symbol} changes with each of them.", seen)
    words = f"{symbol} = {float(value[0]):.9g}."
    return Step(
        title, tag, words, shapes, numbers, checks, drawings=[drawing], gives={by_output: by_output, "δ": by_output}, uses=("ŷ",)
    )


def update_step(
    subject: ExplainedImage, taken: TrainingStep, places: list[Place], words: str, uses: tuple[str, ...],
    answer: np.ndarray | None = None,
) -> Step:  # fmt: skip
    """Return the step that shows how the optimiser changes the weights at `places`.

    `words` are added to the step's text, `uses` names the dependencies of the gradient, and `answer` is the model's output
    after the change.
    """
    rows = []
    for symbol, name, place in places:
        before, after = taken.before[name][place], taken.after[name][place]
        rows.append((symbol, before, taken.gradients[name][place], after - before, after))
    name, batch = subject.config.optimizer, subject.config.batch_size
    memory = f"{name} has no memory of earlier gradients."
    if WARM[name] and taken.warmed:
        memory = (
            f"A complete run does not keep the memory of {name}, and from an empty one the first step is far too large. So the "
            f"gradients of the run's first {taken.warmed} batches, at these weights, have filled it first."
        )
    said = (
        f"{memory} The learning rate is {taken.rate:g}, that of step {taken.warmed + 1}. The change is bit for bit what {name} "
        f"does from here to a batch of this image alone (the training's batches have {batch}). {words}"
    )
    head = ("weight", "before", "gradient", "change", "after")
    shapes = {name: taken.after[name].shape for _, name, _ in places}
    drawings = [_change_drawing(subject, taken, places)]
    if answer is not None:
        now = Bars("ŷ", answer[0], subject.label, taken.learned.outputs[0])
        drawings.append(Drawing("The outputs after the change; outlines: before it.", [now]))
    numbers, title = [Rows("in full", head, rows)], f"The weights change ({name})"
    return Step(title, UPDATES[name], said.strip(), shapes, numbers, drawings=drawings, gives={"ΔW": "ΔW"}, uses=uses)


def _change_drawing(subject: ExplainedImage, taken: TrainingStep, places: list[Place]) -> Drawing:
    """Draw the weights onto one unit before and after the update: a Purkinje cell, or a unit of the first layer shown."""
    _, name, place = next(each for each in places if each[1].startswith(("weight", "readout")))
    before, after = (
        each[name].T[place[1]] if name == "readout" else each[name][place[0]] for each in (taken.before, taken.after)
    )
    onto = f"W[:, {place[1]}]" if name == "readout" else f"{name}[{place[0]}]"
    parts: Row = [subject.map(onto, before), "+", subject.map("its change", after - before), "=", subject.map("after", after)]
    return Drawing("The weights onto one unit. Orange is above 0, blue below; the change has its own scale.", parts)


def switching_units(model: Any, x: np.ndarray, place: tuple[int, ...]) -> str:
    """Name the units that cause a kink at `x`, because they switch when the number at `place` moves slightly up or down.

    The result is, for example, ``"ReLU of layer 2 at v = 0 (3 units)"``. `x`, of shape (1, …), is restored before return.
    """
    caches, was = [], x[place]
    for step in (-CLOSER, CLOSER):
        x[place] = was + step
        caches.append(model.forward(x)[1])
    x[place] = was
    left, right = caches
    if isinstance(model, CerebellarNetwork):
        cells = np.flatnonzero((left.active != right.active).any(axis=1))
        named = ", ".join(map(str, cells[:FEW])) + (f" and {len(cells) - FEW} more" if len(cells) > FEW else "")
        return f"granule cells at v = 0: {named}" if len(cells) else ""
    found = []
    for number, (layer, before, after) in enumerate(zip(model.layers, left, right, strict=True), 1):
        if isinstance(layer, ReLU):
            count, what = int((before != after).sum()), f"ReLU of layer {number} at v = 0"
        elif isinstance(layer, CerebellarNetwork):
            count, what = int((before.active != after.active).sum()), "granule cells at v = 0"
        elif isinstance(layer, MaxPool):
            count, what = int((before[0] != after[0]).sum()), f"MaxPool of layer {number} with equal pixels"
        elif hasattr(layer, "activation") and layer.activation is not None:
            count, what = int((np.sign(before) != np.sign(after)).sum()), f"{layer.activation.name} of layer {number} at v = 0"
        else:
            continue
        if count:
            found.append(f"{what} ({count} unit{'s' * (count > 1)})")
    return ", ".join(found)
