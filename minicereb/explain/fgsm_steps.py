"""One step of FGSM, for any model that has an input gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from minicereb.attacks.ball import ball_around
from minicereb.attacks.fgsm import fgsm
from minicereb.attacks.gradients import Landscape, exact
from minicereb.attacks.objectives import objective_named
from minicereb.attacks.search import last
from minicereb.explain.explained_image import ExplainedImage, loss_step
from minicereb.explain.kinks import switching_units
from minicereb.explain.steps import Drawing, Rows, Step, checked_derivative
from minicereb.gradcheck.differences import difference, moving

OBJECTIVE_TAGS = {"mse": "C3", "cross-entropy": "M-CE", "margin": "M-MARGIN", "dlr": "M-DLR"}
PIXELS = 3


CANDIDATES = 12  # pixels tried in search of some without a kink


def chosen_pixels(
    subject: ExplainedImage, gradient: np.ndarray, function: Callable[[np.ndarray], float], count: int
) -> list[int]:
    """Pixels to show: those asked for, or those with the largest derivatives where there is no kink.

    Parameters
    ----------
    subject : ExplainedImage
    gradient : array of float64, shape (1, inputs)
    function : callable
        From the image to what the gradient is of.
    count : int
    """
    if subject.shown.pixels:
        return list(subject.shown.pixels)
    x = subject.x.copy()
    order = [int(n) for n in np.argsort(-np.abs(gradient[0]) * (x[0] > 0), kind="stable")[:CANDIDATES]]
    smooth: list[int] = []
    for pixel in order:
        if len(smooth) < count and not difference(moving(x, (0, pixel), lambda: function(x))).kink:
            smooth.append(pixel)
    return smooth or order[:count]


def landscape_of(subject: ExplainedImage) -> Landscape:
    """The objective as a function of the image."""
    return Landscape(subject.model, objective_named(subject.shown.objective), subject.labels, exact)


def attack_steps(
    subject: ExplainedImage, way_back: Callable[[np.ndarray, list[int]], Iterator[Step]], tag: str
) -> Iterator[Step]:
    """Yield the objective, the backward pass to the image, the derivative by the pixels, and the attack's step.

    Parameters
    ----------
    subject : ExplainedImage
    way_back : callable
        From the derivative by the outputs and the pixels shown to the model's own steps.
    tag : str
        Of the equation of the input gradient.
    """
    landscape = landscape_of(subject)
    point, gradient = landscape.value_and_gradient(subject.x)
    _, d_outputs = landscape.objective(point.outputs, subject.labels)  # type: ignore[call-arg]
    pixels = chosen_pixels(subject, gradient, lambda x: float(landscape.evaluate(x).value[0]), PIXELS)
    name = subject.shown.objective
    yield loss_step(subject, f"What the attack ascends ({name})", OBJECTIVE_TAGS[name], landscape.objective, point.outputs)
    yield from way_back(d_outputs, pixels)
    yield input_gradient_step(subject, landscape, gradient, pixels, tag)
    yield fgsm_step(subject, landscape, gradient, pixels)


def input_gradient_step(subject: ExplainedImage, landscape: Landscape, gradient: np.ndarray, pixels: list[int], tag: str) -> Step:
    """The derivative by the pixels shown, beside differences through the whole model, and all of it as an image."""
    moved = subject.x.copy()
    checks = tuple(
        checked_derivative(
            f"∂l/∂x[{subject.pixel(pixel)}]",
            gradient[0, pixel],
            difference(moving(moved, (0, pixel), lambda: landscape.evaluate(moved).value[0])),
            partial(switching_units, subject.model, moved, (0, pixel)),
        )
        for pixel in pixels
    )
    some, largest = int(np.count_nonzero(gradient)), float(np.abs(gradient).max())
    words = f"Of {gradient.size} derivatives {some} are not 0; the largest in size is {largest:.6g}."
    if any(check.kink for check in checks):
        words += (
            " At a kink the slopes to the left and to the right differ; the project's value is that of a ReLU at v = 0 being "
            "silent, and of the first of equal pixels being the largest."
        )
    picture = Drawing(
        "input-gradient",
        "The derivative by every pixel: grey is 0, white raises the objective most.",
        (("image", subject.picture(subject.x)), ("∂l/∂x", subject.picture(0.5 + 0.5 * gradient / (largest or 1.0)))),
    )
    return Step("The derivative by the image", tag, words, {"∂l/∂x": gradient.shape}, (), checks, drawings=(picture,))


def fgsm_step(subject: ExplainedImage, landscape: Landscape, gradient: np.ndarray, pixels: list[int]) -> Step:
    """Every pixel moves by ε to where the objective rises."""
    ball = ball_around(subject.x, subject.shown.epsilon, "linf")
    before, after = landscape.evaluate(subject.x), last(fgsm(landscape, ball))
    rows = [
        (subject.pixel(pixel), float(subject.x[0, pixel]), float(gradient[0, pixel]), float(after.x[0, pixel]))
        for pixel in pixels
    ]
    outputs = [(j, float(before.outputs[0, j]), float(after.outputs[0, j])) for j in range(before.outputs.shape[1])]
    words = (
        f"ε = {subject.shown.epsilon:g}: the objective goes from {float(before.value[0]):.6g} to {float(after.value[0]):.6g}. "
        f"The model answered {int(before.outputs[0].argmax())} and answers {int(after.outputs[0].argmax())}; "
        f"the image shows a {subject.label}."
    )
    picture = Drawing(
        "fgsm",
        f"The image before and after one step of FGSM at ε = {subject.shown.epsilon:g}.",
        (("before", subject.picture(subject.x)), ("after", subject.picture(after.x))),
    )
    numbers = (
        Rows("pixels", ("pixel", "x", "∂l/∂x", "x'"), tuple(rows)),
        Rows("outputs", ("class", "before", "after"), tuple(outputs)),
    )
    return Step("One step of FGSM", "M-FGSM", words, {"x'": after.x.shape}, numbers, drawings=(picture,))
