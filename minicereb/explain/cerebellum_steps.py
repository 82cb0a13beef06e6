"""One image through the cerebellum: forward pass, error, weight change, long-term depression, and back to the pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from scipy.sparse import csr_array

from minicereb.calculus import cerebellum as paper
from minicereb.calculus.activations import relu, relu_input_gradient
from minicereb.calculus.losses import DESCENDED, one_hot, pessimistic_squared_error
from minicereb.experiments.architectures import CerebellumModel, total_steps
from minicereb.explain.drawings import Bars, Drawing, Image, Map, Row, marked
from minicereb.explain.explained_image import ExplainedImage, Place, chosen_cells, loss_step, update_step
from minicereb.explain.fgsm_steps import attack_steps, landscape_of
from minicereb.explain.layer_steps import Loss, forward_and_back
from minicereb.explain.steps import Derivative, Rows, Step, checked, compared, products
from minicereb.explain.training_step import TrainingStep
from minicereb.gradcheck.differences import difference, moving
from minicereb.learning.pessimistic import reached
from minicereb.learning.rules import LEAST_SQUARES, PESSIMISTIC
from minicereb.models.cerebellum import CerebellarNetwork
from minicereb.models.visual import VisualCerebellum

FEW = 3  # number of cells whose inputs are drawn
TILES = 9  # number of largest outputs that are drawn in addition to the label's output


def learning(subject: ExplainedImage) -> Iterator[Step]:
    """Yield the steps of learning from the image."""
    settings = subject.config.model
    assert isinstance(settings, CerebellumModel)
    if isinstance(subject.model, VisualCerebellum):
        yield _features_step(subject)
        subject = _behind(subject)
    taken = subject.step()
    fibres = paper.mossy(taken.x, subject.model.fires_above)
    drive, h = _granule(subject.model, fibres)
    mean = taken.after["ltd_mean"]
    outputs = taken.learned.outputs
    cells, classes = _cells(subject, drive, taken), subject.classes(outputs)
    if subject.model.fires_above is not None:
        yield _fibres_step(subject, taken.x, fibres)
    yield _granule_step(subject, fibres, drive, h, cells)
    if settings.ltd and settings.rule != LEAST_SQUARES:
        yield _ltd_step(settings.ltd_decay, taken, h, cells)
    model = replace(subject.model, ltd_mean=mean)  # the mean is updated before the step uses it
    yield _purkinje_step(subject, model, fibres, h, outputs, cells, classes)
    descended, pairs = DESCENDED[settings.loss], [(a, c) for a in cells for c in classes]
    error = loss_step(subject, "The climbing fibre's error", "C3" if settings.loss == "mse" else "M-CE", descended, outputs)
    yield replace(error, gives={"e": "e"})
    if settings.rule in ("delta", LEAST_SQUARES):  # other rules need not follow a derivative
        yield _weight_step(subject, descended, model, taken, h, pairs)
    if settings.rule == PESSIMISTIC:
        yield _box_step(subject, settings, model, taken.x, cells)
        yield _pessimistic_step(subject, settings, model, taken, pairs)
    if settings.rule != LEAST_SQUARES:
        places: list[Place] = [(f"W[{a}, {c}]", "readout", (a, c)) for a, c in pairs]
        after, _ = taken.model.forward(taken.x)
        was, now = (float(descended(each, subject.labels)[0][0]) for each in (outputs, after))
        said = f"On this image l goes from {was:.6g} to {now:.6g}."
        uses = ("∂l/∂W", "g") if settings.rule in ("delta", PESSIMISTIC) else ("h", "μ", "e")
        yield update_step(subject, taken, places, said, uses, after)
    else:
        words = (
            "This readout was solved in closed form, so no step follows. The sum of ∂l/∂W over all training images is -λW there; "
            "a single image still has an error."
        )
        solved = Map(f"W[:, {subject.label}]", subject.model.readout[:, subject.label])
        drawing = Drawing("The weights of every granule cell onto the Purkinje cell of the right class.", [solved])
        yield Step(
            "No step: the readout is a solution", "M-LS", words, {"W": subject.model.readout.shape}, drawings=[drawing],
            gives={"W": "W"},
        )  # fmt: skip


def attack(subject: ExplainedImage) -> Iterator[Step]:
    """Yield the steps of an attack on the image."""
    inner = _behind(subject)
    drive, _ = _granule(inner.model, paper.mossy(inner.x, inner.model.fires_above))

    def way_back(d_outputs: np.ndarray, pixels: list[int]) -> Iterator[Step]:
        if inner is subject:
            return iter([_back_step(subject, drive, d_outputs, pixels)])
        return forward_and_back(subject, pixels[0], lambda path: iter([_back_step(inner, drive, d_outputs, path.units[-2:-1])]))

    yield from attack_steps(subject, way_back, "M-DX")


def _behind(subject: ExplainedImage) -> ExplainedImage:
    """Return the subject with its encoder's features in place of the image; without an encoder, return it unchanged."""
    if not isinstance(subject.model, VisualCerebellum):
        return subject
    features, _ = subject.model.encoder.forward(subject.x)
    trained = subject.trained.cerebellum
    return replace(subject, model=subject.model.cerebellum, trained=trained, x=features, encoder=subject.model.encoder)


def _features_step(subject: ExplainedImage) -> Step:
    features, _ = subject.model.encoder.forward(subject.x)
    words = (
        f"The cerebellum's mossy fibres carry the features of an encoder that does not learn: {features.size:,} numbers, of "
        f"which {int(np.count_nonzero(features)):,} are not 0; the largest is {features.max():.6g}. An attack passes both."
    )
    seen: Row = [Image("x", subject.picture(subject.x)), "→", Map("features", features[0])]
    return Step(
        "The encoder", "M-CONV", words, {"x": subject.x.shape, "features": features.shape},
        drawings=[Drawing("The image, and its features, in the order of the mossy fibres that carry them.", seen)],
        gives={"x": "features"}, uses=("x",),
    )  # fmt: skip


def _fibres_step(subject: ExplainedImage, x: np.ndarray, fibres: np.ndarray) -> Step:
    threshold, nearest = subject.model.fires_above, np.argsort(abs(x[0] - subject.model.fires_above), kind="stable")[:3]
    rows = [(subject.pixel(int(i)), x[0, i], fibres[0, i]) for i in nearest]
    words = f"θ = {threshold:g}: {int(fibres.sum()):,} of {fibres.size:,} fibres fire."
    words += " Within ε only pixels that are within ε of θ can change theirs."
    tables = [Rows("pixels nearest to θ", ("pixel", "x", "x'"), rows)]
    seen: Row = [_carried(subject, "x", x), "→", _carried(subject, "x'", fibres)]
    return Step(
        "Mossy fibres fire or are silent", "M-FIBRES", words, {"x": x.shape, "x'": fibres.shape}, tables,
        drawings=[Drawing("The image, and the fibres that fire.", seen)], gives={"x": "x'"}, uses=("x",),
    )  # fmt: skip


def _box_step(
    subject: ExplainedImage, settings: CerebellumModel, model: CerebellarNetwork, x: np.ndarray, cells: list[int]
) -> Step:
    """Return the step with the intervals of the chosen cells' drive and activity at the full ε of the settings."""
    epsilon, tables, rows = settings.uncertainty or 0.0, [], []
    least, most = paper.mossy_bounds(x, epsilon, model.fires_above)
    low, high = paper.granule_bounds(least, most, _projection(model), _rest(model))
    for a in cells:
        inputs, weights = _synapses(model, a)
        reach = [(subject.pixel(int(i)), abs(w), 0.5 * (most[0, i] - least[0, i])) for i, w in zip(inputs, weights, strict=True)]
        r = sum(w * half for _, w, half in reach)
        tables.append(products(f"granule cell {a}", ("mossy fibre", "|J|", "(x'₊ - x'₋)/2"), reach, (f"r[{a}]", r)))
        rows.append((a, r, low[0, a], high[0, a]))
    words = (
        f"Within ε = {epsilon:g} {int((most > least).sum()):,} of {x.size:,} mossy fibres can change, and with them the activity "
        f"of {int((high > low).sum()):,} of {low.size:,} granule cells. Each cell's interval is exact; but not all cells can "
        "reach their worst values at once."
    )
    tables.append(Rows("intervals", ("cell", "r", "l", "u"), rows))
    full = float(high.max(initial=0.0))
    room: Row = [Map("u", high[0], full), "−", Map("l", low[0], full), "=", Map("u − l", high[0] - low[0], full)]
    return Step(
        "What the granule cells can do", "M-BOX", words, {"x'₋": least.shape, "l": low.shape}, tables,
        drawings=[Drawing("The largest and the smallest response of each granule cell within ε, and the difference between them.",
        room)], gives={"u, l": "u, l"}, uses=("x",),
    )  # fmt: skip


def _pessimistic_step(
    subject: ExplainedImage,
    settings: CerebellumModel,
    model: CerebellarNetwork,
    taken: TrainingStep,
    pairs: list[tuple[int, int]],
) -> Step:
    """Return the step with the worst activity of the chosen synapses, and what it adds to their gradient, at the full ε."""
    epsilon, targets = settings.uncertainty or 0.0, one_hot(subject.labels, taken.learned.outputs)
    low, high = paper.granule_bounds(*paper.mossy_bounds(taken.x, epsilon, model.fires_above), _projection(model), _rest(model))
    at_worst = pessimistic_squared_error if settings.loss == "mse" else DESCENDED[settings.loss]

    def value() -> float:
        return at_worst(paper.worst_outputs(low, high, model.ltd_mean, model.readout, targets), subject.labels)[0][0]

    _, error = at_worst(paper.worst_outputs(low, high, model.ltd_mean, model.readout, targets), subject.labels)
    found = paper.pessimistic_gradient(low, high, model.ltd_mean, error, model.readout, targets)
    now = reached(epsilon, taken.warmed, total_steps(subject.config, subject.dataset))
    rows = []
    for a, c in pairs:
        least = (model.readout[a, c] > 0) == (targets[0, c] > 0)
        worst = (low if least else high)[0, a] - model.ltd_mean[a]
        rows.append((f"W[{a}, {c}]", low[0, a], high[0, a], worst, error[0, c], found[a, c]))
    checks = [checked(f"∂l/∂W[{a}, {c}]", found[a, c], model.readout, (a, c), value) for a, c in pairs]
    words = (
        f"A synapse sees the end, l or u, that its own sign makes the worse one. This counts {settings.pessimism:g}, z eᵀ the "
        f"rest. ε grows to {epsilon:g} over half the training; the change below is of step {taken.warmed + 1}, at {now:.3g}."
    )
    tables = [Rows("synapses", ("synapse", "l", "u", "worst - μ", "ẽ", "product"), rows)]
    outputs, c = paper.worst_outputs(low, high, model.ltd_mean, model.readout, targets)[0], pairs[0][1]
    seen: Row = [
        Bars("ŷ at the worst", outputs, subject.label, taken.learned.outputs[0]),
        "→",
        Map(f"worst part of g[:, {c}]", found[:, c]),
    ]
    drawing = Drawing(
        "Every output at its own worst case (outlines: unchanged), and the resulting part of one output's gradient.", seen
    )
    return Step(
        "The worst activity", "M-PESSIMISTIC", words, {"l": low.shape, "ẽ": error.shape}, tables, checks,
        drawings=[drawing], gives={"g": "g"}, uses=("u, l", "μ", "e"),
    )  # fmt: skip


def _carried(subject: ExplainedImage, name: str, x: np.ndarray) -> Image | Map:
    """Return a picture of the mossy fibres' activity: the image, or a map of features."""
    return Image(name, subject.picture(x)) if x.size == subject.dataset.inputs else Map(name, x[0])


def _projection(model: CerebellarNetwork) -> csr_array:
    return csr_array(model.wiring.csr(), shape=(model.wiring.cells, model.wiring.width)).T


def _rest(model: CerebellarNetwork) -> np.ndarray:
    return np.zeros(model.wiring.cells) if model.wiring.rest is None else model.wiring.rest


def _granule(model: CerebellarNetwork, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the drive v and the activity h of every granule cell ``[C1]``."""
    projection, rest = _projection(model), _rest(model)
    return (x @ projection + rest)[0], paper.granule(x, projection, rest)[0]


def _cells(subject: ExplainedImage, drive: np.ndarray, taken: TrainingStep) -> list[int]:
    """Return the two cells whose weights change most, and the first silent cell."""
    strength = np.abs(taken.gradients["readout"]).max(axis=1) * (drive > 0)
    usual = [int(a) for a in np.argsort(-strength, kind="stable")[:2]] + [int(a) for a in np.flatnonzero(drive < 0)[:1]]
    return chosen_cells(subject, list(dict.fromkeys(usual)), len(drive), "granule cells")


def _synapses(model: CerebellarNetwork, cell: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mossy fibres that a granule cell receives, and their weights."""
    wiring = model.wiring
    inputs = np.arange(wiring.width, dtype=np.int64) if wiring.inputs is None else wiring.inputs[cell]
    return inputs, wiring.weights[cell]


def _granule_step(subject: ExplainedImage, x: np.ndarray, drive: np.ndarray, h: np.ndarray, cells: list[int]) -> Step:
    model, tables, checks = subject.model, [], []
    for a in cells:
        inputs, weights = _synapses(model, a)
        rows = [(subject.pixel(int(i)), w, x[0, i]) for i, w in zip(inputs, weights, strict=True)]
        rest = [] if model.wiring.rest is None else [("at rest", model.wiring.rest[a])]
        head = ("mossy fibre", "weight J", "activity x")
        tables.append(products(f"granule cell {a}", head, rows, (f"v[{a}]", drive[a]), rest))
        v = drive[a : a + 1].copy()
        slope = relu_input_gradient(np.ones(1, dtype=v.dtype), v > 0)[0]
        checks.append(checked(f"∂h[{a}]/∂v[{a}]", slope, v, 0, relu, v))
    tables.append(Rows("responses", ("cell", "v", "h"), [(a, drive[a], h[a]) for a in cells]))
    active, still = int((drive > 0).sum()), int((drive == 0).sum())
    words = f"{active:,} of {len(drive):,} cells are active; {still:,} are at the kink v = 0"
    words += ", since all their inputs are black." if model.wiring.rest is None else "."
    words += f" The mean of h is {h.mean():.6g}, the largest {h.max():.6g}. J does not learn."
    shapes = {"x": x.shape, "J": (x.shape[1], len(drive)), "h": h.shape}
    tag = "C1" if model.wiring.rest is None else "M-CODON"
    image = x.size == subject.dataset.inputs
    seen: Row = [_carried(subject, "x" if image else "features", x), "J →", Map("h", h)]
    said = f"The {'image' if image else 'features'}, and the activity of all granule cells: one square for each, in their order."
    drawings = [Drawing(said, seen)]
    if image:
        drawings.append(_wired_drawing(subject, x, h, cells))
    return Step(
        "Mossy fibres drive granule cells", tag, words, shapes, tables, checks, drawings=drawings, gives={"h": "h"}, uses=("x",)
    )


def _wired_drawing(subject: ExplainedImage, x: np.ndarray, h: np.ndarray, cells: list[int]) -> Drawing:
    """Draw the pixels that drive the cells shown or, if a cell receives many pixels, the weights of these pixels."""
    parts: Row = []
    for a in cells[:FEW]:
        inputs, weights = _synapses(subject.model, a)
        wired, name = np.zeros(x.size), f"cell {a}: h = {h[a]:.3g}"
        np.add.at(wired, inputs, weights)
        many = len(inputs) > x.size // 8
        parts.append(subject.map(name, wired) if many else Image(name, marked(subject.picture(x), wired)))
    return Drawing("The pixels that drive some cells: orange excites, blue inhibits.", parts)


def _ltd_step(decay: float, taken: TrainingStep, h: np.ndarray, cells: list[int]) -> Step:
    before, after = taken.before["ltd_mean"], taken.after["ltd_mean"]
    words = (
        f"β = {decay:g}. Before it is used, the mean activity moves towards the response to this batch of one image; outside "
        "training it is constant. It does not depend on an error, so there is nothing to differentiate."
    )
    rows = [(a, before[a], h[a], after[a], h[a] - after[a]) for a in cells]
    numbers = [Rows("chosen cells", ("cell", "μ before", "h", "μ after", "z = h - μ"), rows)]
    full = float(abs(np.concatenate([before, after])).max())
    moved: Row = [Map("β μ", decay * before, full), "+", Map("(1 − β) h", (1 - decay) * h, full), "=", Map("μ", after, full)]
    full = float(h.max())
    centred: Row = [Map("h", h, full), "−", Map("μ", after, full), "=", Map("z", h - after, full)]
    drawings = [Drawing("The mean moves a little towards this response.", moved)]
    drawings.append(Drawing("The activity minus the mean drives the Purkinje cells.", centred))
    return Step(
        "Long-term depression", "C-LTD", words, {"μ": after.shape}, numbers, drawings=drawings, gives={"μ": "μ"}, uses=("h",)
    )


def _purkinje_step(
    subject: ExplainedImage, model: CerebellarNetwork, fibres: np.ndarray, h: np.ndarray, outputs: np.ndarray,
    cells: list[int], classes: list[int],
) -> Step:  # fmt: skip
    z, tables, checks, a = h - model.ltd_mean, [], [], cells[0]

    def output(c: int) -> float:
        return paper.purkinje(h, model.ltd_mean, model.readout)[c]

    for c in classes:
        rows = list(zip(range(len(z)), z, model.readout[:, c], strict=True))
        tables.append(products(f"Purkinje cell {c}", ("granule cell", "z", "weight W"), rows, (f"ŷ[{c}]", outputs[0, c])))
        checks.append(checked(f"∂ŷ[{c}]/∂W[{a}, {c}]", z[a], model.readout, (a, c), output, c))
    shapes = {"z": z.shape, "W": model.readout.shape, "ŷ": outputs.shape}
    words = "Each Purkinje cell sums all parallel fibres; only these synapses learn. z is never formed: Wᵀz = Wᵀh - Wᵀμ."
    words += " If μ has moved, the outputs have changed since the first step."
    c = classes[0]
    weighed: Row = [Map("z", z), "×", Map(f"W[:, {c}]", model.readout[:, c]), "Σ →", subject.drawn("ŷ", outputs)]
    drawings = [
        Drawing(f"The activity, its weights onto Purkinje cell {c}, and the sums of their products for all of them.", weighed)
    ]
    if fibres.size == subject.dataset.inputs:
        drawings.append(_seen_drawing(subject, model, outputs))
    return Step(
        "Parallel fibres drive Purkinje cells", "C2", words, shapes, tables, checks, drawings=drawings,
        gives={"ŷ": "ŷ"}, uses=("h", "μ"),
    )  # fmt: skip


def _seen_drawing(subject: ExplainedImage, model: CerebellarNetwork, outputs: np.ndarray) -> Drawing:
    """Draw the effect of each pixel on each output: the weights of the active cells, carried back through J."""
    order = np.argsort(-outputs[0], kind="stable").tolist()
    shown = sorted([subject.label, *[c for c in order if c != subject.label][:TILES]])
    cache = model.forward(subject.x)[1]
    back = [model.fibre_gradient(np.eye(outputs.shape[1])[[c]], cache) for c in shown]
    full = max(float(abs(each).max()) for each in back)
    parts: Row = [subject.map(f"∂ŷ[{c}]/∂x", each, full) for c, each in zip(shown, back, strict=True)]
    return Drawing(
        f"W of the active cells, carried back through J: orange pixels raise it. Full colour: {full:.3g}.",
        parts,
    )


def _weight_step(
    subject: ExplainedImage,
    descended: Loss,
    model: CerebellarNetwork,
    taken: TrainingStep,
    h: np.ndarray,
    pairs: list[tuple[int, int]],
) -> Step:
    _, error = descended(taken.learned.outputs, subject.labels)
    z, gradient = h - model.ltd_mean, taken.gradients["readout"]

    def value() -> float:
        return descended(paper.purkinje(h[None], model.ltd_mean, model.readout), subject.labels)[0][0]

    rows = [(f"W[{a}, {c}]", z[a], error[0, c], gradient[a, c]) for a, c in pairs]
    checks = [checked(f"∂l/∂W[{a}, {c}]", gradient[a, c], model.readout, (a, c), value) for a, c in pairs]
    words = "Presynaptic activity times the climbing fibre's error: each synapse needs only what is available locally."
    shapes = {"z": z.shape, "e": error.shape, "∂l/∂W": gradient.shape}
    numbers = [Rows("synapses", ("synapse", "z", "e", "z e"), rows)]
    c = pairs[0][1]
    outer: Row = [Map("z", z), "×", Bars("e", error[0], subject.label), "→", Map(f"∂l/∂W[:, {c}]", gradient[:, c])]
    drawing = Drawing(
        f"Activity times error: the derivatives of the synapses onto Purkinje cell {c} are the activity times e[{c}].", outer
    )
    return Step(
        "The derivative with respect to the weights", "C4", words, shapes, numbers, checks, drawings=[drawing],
        gives={"∂l/∂W": "∂l/∂W"}, uses=("h", "μ", "e"),
    )  # fmt: skip


def _back_step(subject: ExplainedImage, drive: np.ndarray, d_outputs: np.ndarray, pixels: list[int]) -> Step:
    """Return the step of the backward pass from the outputs to the granule cells and to the pixels shown."""
    model, wiring = subject.model, subject.model.wiring
    d_granule = model.readout @ d_outputs[0]
    d_drive = relu_input_gradient(d_granule, drive > 0)
    gradient = model.fibre_gradient(d_outputs, model.forward(subject.x)[1])
    tables = []
    for pixel in pixels:
        found = wiring.weights[:, [pixel]] if wiring.inputs is None else wiring.weights * (wiring.inputs == pixel)
        weights = found.sum(axis=1)
        rows = [(int(a), weights[a], d_drive[a]) for a in np.flatnonzero(found.any(axis=1))]
        total = (f"∂l/∂x[{subject.pixel(pixel)}]", gradient[0, pixel])
        tables.append(products(f"pixel {subject.pixel(pixel)}", ("granule cell", "weight J", "∂l/∂v"), rows, total))
    cells = chosen_cells(subject, [int(a) for a in np.argsort(-np.abs(d_drive), kind="stable")[:2]], len(drive), "granule cells")
    rows_of_cells = [(a, d_granule[a], "yes" if drive[a] > 0 else "no", d_drive[a]) for a in cells]
    tables.append(Rows("granule cells", ("cell", "W ∂l/∂ŷ", "active", "∂l/∂v"), rows_of_cells))
    words = "The credit goes back through W to the granule cells, stops at those that are silent, and continues through J."
    if model.fires_above is not None:
        words += " There it ends: a threshold is flat, so the gradient of the pixels is 0; the fibres' gradient is shown."
    shapes = {"W": model.readout.shape, "∂l/∂v": d_drive.shape, "J": (wiring.width, wiring.cells)}
    checks = [check for a in cells for check in _by_drive(subject, a, d_drive[a])]
    by_drive = Map("∂l/∂v", d_drive)
    back: Row = [Bars("∂l/∂ŷ", d_outputs[0], subject.label), "W →", Map("∂l/∂h", d_granule), "⊙ [h > 0] →", by_drive]
    drawings = [Drawing("From the outputs to every granule cell, and on to the active ones.", back)]
    drawings.append(Drawing("From the granule cells to their mossy fibres.", [by_drive, "J →", subject.map("∂l/∂x", gradient)]))
    return Step(
        "Back to the granule cells and the pixels", "M-DX", words, shapes, tables, checks, drawings=drawings,
        gives={"δ": "∂l/∂v"}, uses=("x", "∂l/∂ŷ"),
    )  # fmt: skip


def _by_drive(subject: ExplainedImage, cell: int, value: float) -> Iterator[Derivative]:
    """Yield a check of the derivative with respect to a cell's drive, unless all its mossy fibres are silent."""
    wiring, fibres = subject.model.wiring, paper.mossy(subject.x, subject.model.fires_above)[0]
    activity = fibres[_synapses(subject.model, cell)[0]]
    if not activity.any():
        return
    synapse = int(activity.argmax())
    landscape, fibre = landscape_of(subject), _synapses(subject.model, cell)[0][synapse]
    used, place = (wiring.weights, synapse) if wiring.matrix is None else (wiring.matrix, fibre)
    objective = moving(used, (cell, place), lambda: landscape.evaluate(subject.x).value[0])
    yield compared(f"∂l/∂v[{cell}]", value, difference(lambda t: objective(t / fibres[fibre])))
