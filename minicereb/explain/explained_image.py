"""The image and model to explain, which numbers to show, and the steps common to all models."""

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
from minicereb.explain.steps import Drawing, Rows, Step, checked_derivative
from minicereb.explain.training_step import TrainingStep, take_step
from minicereb.gradcheck.differences import difference, moving
from minicereb.inputs import as_labels, check_images, check_rows

Place = tuple[str, str, tuple[int, ...]]  # of a parameter: its symbol, its array, its indices
UPDATES = {"sgd": "M-SGD", "momentum": "M-MOMENTUM", "rmsprop": "M-RMSPROP", "adam": "M-ADAM"}


@dataclass(frozen=True)
class Shown:
    """Which numbers to show, and which attack to try.

    Parameters
    ----------
    cells, classes, pixels : tuple of int
        Numbers of units, classes and pixels; if empty, those that matter most are chosen.
    objective : {"mse", "cross-entropy", "margin", "dlr"}
        What the attack ascends.
    epsilon : float
        Its bound in L∞.
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
    """One image and the model that is explained on it.

    Parameters
    ----------
    config : Train
    dataset : Dataset
    trained : model
        As it was trained.
    model : model
        Its float64 copy, used for all computations.
    image : int
        Number of the test image.
    x : array of float64, shape (1, inputs)
    labels : array of int64, shape (1,)
    shown : Shown
    encoder : Sequential, optional
        In float64: maps the data set's images to this model's inputs.
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
        """The right answer."""
        return int(self.labels[0])

    def picture(self, x: np.ndarray) -> np.ndarray:
        """Return a row of pixels as an image to be drawn."""
        shape = self.dataset.image_shape
        image = np.clip(x.reshape(shape if len(shape) > 1 else (1, -1)), 0, 1)
        return image.mean(axis=2) if image.ndim == 3 and image.shape[2] != 3 else image

    def pixel(self, number: int) -> str:
        """Name a pixel: by its number and where it is."""
        if self.x.size != self.dataset.inputs:  # a feature, not a pixel
            return str(number)
        place = np.unravel_index(number, self.dataset.image_shape)
        return f"{number} ({', '.join(str(int(each)) for each in place)})" if len(place) > 1 else str(number)

    def classes(self, outputs: np.ndarray) -> list[int]:
        """Classes to show: those requested, or the label and the likeliest wrong class."""
        likely = [int(each) for each in np.argsort(-outputs[0], kind="stable") if each != self.label]
        return list(self.shown.classes) or [self.label, *likely[:1]]

    def step(self) -> TrainingStep:
        """Return the step that training would take from here."""
        return take_step(self.config, self.dataset, self.model, self.x, self.labels, self.encoder)


def pixel_number(text: str, image_shape: tuple[int, ...]) -> int:
    """Return the number of a pixel that is named by it, or by its place in the image, with commas between."""
    expected = f"a number, or {' and '.join(('row', 'column', 'channel')[: len(image_shape)])} within {image_shape}"
    try:
        place = tuple(map(int, text.split(",")))
        return place[0] if len(place) == 1 else int(np.ravel_multi_index(place, image_shape))
    except ValueError as error:
        raise InputError("pixel", text, expected) from error


def explained_image(config: Train, dataset: Dataset, trained: Any, image: int, shown: Shown) -> ExplainedImage:
    """Return the image with its model; :class:`InputError` for an image, class or pixel that does not exist."""
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
    """Return the requested cells, or the usual ones; :class:`InputError` for one that is not among the `count`."""
    for each in subject.shown.cells:
        require(0 <= each < count, "cell", each, f"a whole number from 0 to {count - 1}: there are {count:,} {what}")
    return list(subject.shown.cells) or usual


def the_image(subject: ExplainedImage) -> Step:
    """The image, and the model's outputs in float64 and in float32."""
    outputs, _ = subject.model.forward(subject.x)
    as_trained = to_numpy(subject.trained.forward(to_device(subject.x.astype(np.float32)))[0])
    rows = [(j, float(outputs[0, j]), float(as_trained[0, j])) for j in range(outputs.shape[1])]
    ink = int(np.count_nonzero(subject.x))
    attacked = " Learning begins with the image as the training's adversary leaves it." if subject.config.adversary else ""
    return Step(
        f"Image {subject.image} of the test images of {subject.dataset.name}",
        "",
        f"It shows a {subject.label}; the model answers {int(outputs[0].argmax())}. {ink} of its {subject.x.size} numbers are "
        "not 0. Every number below is computed by the functions that train and attack, on a copy of the model in float64."
        + attacked,
        {"x": subject.x.shape, "ŷ": outputs.shape},
        (Rows("outputs", ("class", "in float64", "as trained"), tuple(rows)),),
        drawings=(Drawing("image", f"Test image {subject.image}.", ((f"a {subject.label}", subject.picture(subject.x)),)),),
    )


def loss_step(
    subject: ExplainedImage, title: str, tag: str, function: Callable[..., Any], outputs: np.ndarray, symbol: str = "l"
) -> Step:
    """A loss or an objective at the outputs, and its derivative by each of them."""
    value, d_outputs = function(outputs, subject.labels)
    target, moved = one_hot(subject.labels, outputs), outputs.copy()
    rows = tuple((j, float(outputs[0, j]), float(target[0, j])) for j in range(outputs.shape[1]))
    checks = tuple(
        checked_derivative(
            f"∂{symbol}/∂ŷ[{j}]", each, difference(moving(moved, (0, j), lambda: function(moved, subject.labels)[0][0]))
        )
        for j, each in enumerate(d_outputs[0])
    )
    return Step(
        title,
        tag,
        f"{symbol} = {float(value[0]):.9g}.",
        {"ŷ": outputs.shape, f"∂{symbol}/∂ŷ": d_outputs.shape},
        (Rows("each output", ("class", "ŷ", "target y"), rows),),
        checks,
    )


def update_step(subject: ExplainedImage, taken: TrainingStep, places: list[Place], words: str) -> Step:
    """How the optimiser changes the weights.

    Parameters
    ----------
    subject : ExplainedImage
    taken : TrainingStep
    places : list of Place
    words : str
        Text to add.
    """
    rows = []
    for symbol, name, place in places:
        before, after = float(taken.before[name][place]), float(taken.after[name][place])
        rows.append((symbol, before, float(taken.gradients[name][place]), after - before, after))
    name, batch = subject.config.optimizer, subject.config.batch_size
    memory = f"{name} has no memory of earlier gradients."
    if taken.warmed:
        memory = (
            f"A complete run does not keep the memory of {name}, and from an empty one the first step is far too large. So the "
            f"gradients of the run's first {taken.warmed} batches, at these weights, have filled it first."
        )
    said = (
        f"{memory} The learning rate is {taken.rate:g}, that of step {taken.warmed + 1}. This is what {name} does from here to a "
        f"batch of this image alone (the training's batches have {batch}): bit for bit. {words}"
    )
    head = ("weight", "before", "gradient", "change", "after")
    shapes = {name: taken.after[name].shape for _, name, _ in places}
    return Step(f"The weights change ({name})", UPDATES[name], said.strip(), shapes, (Rows("in full", head, tuple(rows)),))
