"""One step of FGSM, for any model that has an input gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from minicereb.attacks.ball import ball_around
from minicereb.attacks.gradients import Landscape, exact
from minicereb.attacks.objectives import objective_named
from minicereb.attacks.pgd import fgsm
from minicereb.attacks.search import last
from minicereb.explain.drawings import Bars, Drawing, Image
from minicereb.explain.explained_image import ExplainedImage, loss_step, switching_units
from minicereb.explain.steps import Rows, Step, checked
from minicereb.gradcheck.differences import difference, moving

OBJECTIVE_TAGS = {"mse": "C3", "cross-entropy": "M-CE", "margin": "M-MARGIN", "dlr": "M-DLR"}
PIXELS = 3
CANDIDATES = 12  # number of pixels that are tried to find some without a kink


def chosen_pixels(
    subject: ExplainedImage, gradient: np.ndarray, function: Callable[[np.ndarray], float], count: int
) -> list[int]:
    """Return the pixels to show: those requested, by default those with the largest derivatives and no kink of `function`."""
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
    """Return the objective as a function of the image."""
    return Landscape(subject.model, objective_named(subject.shown.objective), subject.labels, exact)


def attack_steps(
    subject: ExplainedImage, way_back: Callable[[np.ndarray, list[int]], Iterator[Step]], tag: str
) -> Iterator[Step]:
    """Yield the objective, the backward pass to the image, the derivative with respect to the pixels, and the attack's step.

    `way_back` takes two arguments, the derivative with respect to the outputs and a list of the pixels shown; it yields the
    model's own steps. `tag` is the tag of the input gradient's equation.
    """
    landscape = landscape_of(subject)
    point, gradient = landscape.value_and_gradient(subject.x)
    _, d_outputs = landscape.objective(point.outputs, subject.labels)  # type: ignore[call-arg]
    pixels = chosen_pixels(subject, gradient, lambda x: float(landscape.evaluate(x).value[0]), PIXELS)
    yield objective_step(subject, landscape, point.outputs)
    yield from way_back(d_outputs, pixels)
    yield _input_gradient_step(subject, landscape, gradient, pixels, tag)
    yield fgsm_step(subject, landscape, gradient, pixels)


def objective_step(subject: ExplainedImage, landscape: Landscape, outputs: np.ndarray) -> Step:
    """Return the step for the attack's objective."""
    name = subject.shown.objective
    return loss_step(subject, f"The attack's objective ({name})", OBJECTIVE_TAGS[name], landscape.objective, outputs)


def _input_gradient_step(
    subject: ExplainedImage, landscape: Landscape, gradient: np.ndarray, pixels: list[int], tag: str
) -> Step:
    """Return the step with the derivatives of the pixels shown, their finite differences, and the full gradient as an image."""
    moved = subject.x.copy()
    checks = [
        checked(
            f"∂l/∂x[{subject.pixel(pixel)}]",
            gradient[0, pixel],
            moved,
            (0, pixel),
            lambda: landscape.evaluate(moved).value[0],
            kinks=partial(switching_units, subject.model, moved, (0, pixel)),
        )
        for pixel in pixels
    ]
    some, largest = int(np.count_nonzero(gradient)), float(np.abs(gradient).max())
    words = f"Of {gradient.size} derivatives {some} are not 0; the largest in size is {largest:.6g}."
    if any(check.kink for check in checks):
        words += (
            " At a kink the slopes to the left and to the right differ. By convention, a ReLU at v = 0 is silent, and the first "
            "of equal pixels is the largest."
        )
    drawing = Drawing(
        "The derivative with respect to every pixel. Brighter orange or darker blue pixels raise the objective.",
        [Image("x", subject.picture(subject.x)), "→", subject.map("∂l/∂x", gradient)],
    )
    return Step(
        "The derivative with respect to the image", tag, words, {"∂l/∂x": gradient.shape}, (), checks, drawings=[drawing],
        gives={"∂l/∂x": "∂l/∂x"}, uses=("image", "δ"),
    )  # fmt: skip


def fgsm_step(subject: ExplainedImage, landscape: Landscape, gradient: np.ndarray, pixels: list[int]) -> Step:
    """Return the step of FGSM: every pixel moves by ε in the direction in which the objective rises."""
    epsilon = subject.shown.epsilon
    before, after = landscape.evaluate(subject.x), last(fgsm(landscape, ball_around(subject.x, epsilon, "linf")))
    rows = [(subject.pixel(pixel), subject.x[0, pixel], gradient[0, pixel], after.x[0, pixel]) for pixel in pixels]
    outputs = zip(range(before.outputs.shape[1]), before.outputs[0], after.outputs[0], strict=True)
    words = (
        f"ε = {epsilon:g}: the objective goes from {float(before.value[0]):.6g} to {float(after.value[0]):.6g}. "
        f"The model predicted {int(before.outputs[0].argmax())} and now predicts {int(after.outputs[0].argmax())}; the image "
        f"shows a {subject.label}."
    )
    added = Drawing(
        f"Orange pixels became brighter, blue ones darker, by at most ε = {epsilon:g}.",
        [
            *(Image("x", subject.picture(subject.x)), "+", subject.map("x' − x", after.x - subject.x, epsilon), "="),
            Image("x'", subject.picture(after.x)),
        ],
    )
    answer = Drawing(
        "The outputs for the attacked image (outlines: for the image itself).",
        [Bars("ŷ", after.outputs[0], subject.label, before.outputs[0])],
    )
    numbers = [Rows("pixels", ("pixel", "x", "∂l/∂x", "x'"), rows), Rows("outputs", ("class", "before", "after"), outputs)]
    return Step(
        "One step of FGSM", "M-FGSM", words, {"x'": after.x.shape}, numbers, drawings=[added, answer],
        gives={"x'": "x'"}, uses=("image", "∂l/∂x"),
    )  # fmt: skip
