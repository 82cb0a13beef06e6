"""One image through a network with neuronal noise: one replication in full, then the mean over many."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from minicereb.attacks.gradients import Landscape, fitting_estimator, source_named
from minicereb.calculus.noise import conditional_score
from minicereb.calculus.replicated import OfRows, ReplicatedLoss, loss_named
from minicereb.errors import InputError, require
from minicereb.experiments.architectures import NoisyModel
from minicereb.explain import means
from minicereb.explain.drawings import Bars, Drawing, Image, Map, Row
from minicereb.explain.explained_image import ExplainedImage, Place, chosen_cells, loss_step, update_step
from minicereb.explain.fgsm_steps import PIXELS, attack_steps, fgsm_step, landscape_of, objective_step
from minicereb.explain.steps import CONFIDENCE, SUBSCRIPT, Derivative, EstimatedMean, Rows, Step, checked, compared, products
from minicereb.gradcheck.differences import difference, moving
from minicereb.learning.credit import Estimator, LastLayer
from minicereb.learning.exact import Exact
from minicereb.learning.glr import estimator_named
from minicereb.learning.noise import Address, Independent
from minicereb.learning.one_neuron import Flip
from minicereb.learning.pathwise import Backprop
from minicereb.learning.scores import ScoreFunction
from minicereb.models.noisy import Noise, Trace

CREDIT_TAGS = {
    "plain": "G5", "baseline": "M-LOO", "antithetic": "M-LOO", "sobol": "M-LOO", "rao-blackwell": "M-RB",
    "flip": "M-FLIP", "resample": "M-RESAMPLE", "exact": "M-EXACT", "backprop": "G3",
}  # fmt: skip
FEWEST = (1, 2, 4)  # numbers of replications to try, the smallest first


def learning(subject: ExplainedImage) -> Iterator[Step]:
    """Yield the steps of learning from the image by the likelihood ratio method."""
    settings, network = subject.config.model, subject.model
    assert isinstance(settings, NoisyModel)
    expected = "a network of dense layers: noisy convolutions and layers in time cannot be explained"
    require(network.is_dense, "model", settings.description, expected)
    taken, loss = subject.step(), loss_named(settings.loss)
    estimator = estimator_named(settings.estimator, settings.last_layer)
    noise = _few(subject, estimator)
    trace = network.run(np.ascontiguousarray(subject.x.T), noise)
    random = any(layer.law is not None for layer in network.layers)
    reference = _reference(subject, settings.estimator, loss) if random else None
    strength = np.abs(taken.gradients["weight_0"]).max(axis=1)
    if reference is not None:
        strength = np.abs(reference.credit.mean(axis=0))
    cells = chosen_cells(subject, [int(a) for a in np.argsort(-strength, kind="stable")[:2]], len(strength), "neurons")
    pixel = next(iter(subject.shown.pixels), int(subject.x[0].argmax()))
    classes = subject.classes(trace.outputs[:, :, 0].T)
    yield from _forward_steps(subject, trace, cells, classes)
    yield _loss(subject, loss, trace)
    yield _credit_step(subject, settings.estimator, estimator, loss, noise, trace, cells)
    last = len(network.layers) - 1
    before = cells[0] if last == 1 else 0
    if reference is not None:
        if len(reference.credit) == 1:
            yield _exact_step(subject, loss, reference, cells)
        yield _mean_step(subject, settings.estimator, estimator, loss, reference, cells, pixel, before)
    places: list[Place] = [(f"θ_0[{a}, {pixel}]", "weight_0", (a, pixel)) for a in cells]
    places += [(f"θ_{last}[{c}, {before}]", f"weight_{last}", (c, before)) for c in classes]
    words = f"The gradient is the estimator's, with the training's own noise and K = {settings.replications}."
    yield update_step(subject, taken, places, words, ("image", "credit"))


def attack(subject: ExplainedImage) -> Iterator[Step]:
    """Yield the steps of an attack on the image, along the derivative if there is one, otherwise along an estimate."""
    network = subject.model
    name = fitting_estimator(network)
    if name == "backprop":
        yield from attack_steps(subject, lambda d_outputs, pixels: iter(()), "G3")
        return
    plain = landscape_of(subject)
    landscape = Landscape(network, plain.objective, subject.labels, source_named(name, network, 32, 0))
    point, gradient = landscape.value_and_gradient(subject.x)
    yield objective_step(subject, plain, point.outputs)
    pixels = list(subject.shown.pixels) or [int(n) for n in np.argsort(-np.abs(gradient[0]), kind="stable")[:PIXELS]]
    yield _pixel_step(subject, name, OfRows(plain.objective), pixels)  # type: ignore[arg-type]
    yield fgsm_step(subject, landscape, gradient, pixels)


def _few(subject: ExplainedImage, estimator: Estimator) -> Noise:
    """Return noise with as few replications as the estimator accepts."""
    design = Independent() if isinstance(estimator, Exact) else estimator.design
    for replications in FEWEST:
        with contextlib.suppress(InputError):
            design.check(replications, estimator.baseline)
            break
    laws = [layer.law for layer in subject.model.layers]
    return design.draw(subject.x, laws, subject.model.widths, 1, replications, _address(subject))


def _address(subject: ExplainedImage, stream: str = "explained noise") -> Address:
    return Address(subject.config.seed, (subject.image,), stream)


def _reference(subject: ExplainedImage, own: str, loss: ReplicatedLoss) -> means.GroupedEstimates:
    return means.reference_for(own, subject.model, loss, subject.x, subject.labels, _address(subject, "explained reference"))


def _forward_steps(subject: ExplainedImage, trace: Trace, cells: list[int], classes: list[int]) -> Iterator[Step]:
    """Yield a step for each layer: drive, noise, signal and response of a few neurons in the first replication."""
    network = subject.model
    for number, layer in enumerate(network.layers):
        x, u, v, h = (each[number][:, 0, 0] for each in (trace.inputs, trace.drives, trace.signals, trace.responses))
        e = trace.noise[number]
        last = number == len(network.layers) - 1
        neurons = classes if last else cells if not number else [int(a) for a in np.argsort(-np.abs(u), kind="stable")[:2]]
        tables, rows, checks = [], [], []
        for a in neurons:
            terms = list(zip(range(len(x)), layer.weight[a], x, strict=True))
            total, bias = (f"u[{a}]", u[a]), [("bias", layer.bias[a])]
            tables.append(products(f"neuron {a}", ("input", "weight θ", "x"), terms, total, bias))
            unit = 0.0 if e is None else float(e[a, 0, 0])
            rows.append((a, u[a], unit, unit * float(layer.scale[0]), v[a], h[a]))
            if layer.activation is not None and layer.activation.smooth:
                one = v[a : a + 1].copy()
                checks.append(checked(f"∂φ/∂v[{a}]", np.asarray(layer.slope(one)).item(), one, 0, layer.respond, one))
        tables.append(Rows("neurons", ("neuron", "drive u", "noise e", "r = σe", "v = u + r", "φ(v)"), rows))
        noise = "no noise" if e is None else f"{layer.law.name} noise of scale {layer.scale[0]:g}"  # type: ignore[union-attr]
        activation = "no activation" if layer.activation is None else f"{layer.activation.name} neurons"
        words = f"{len(v)} neurons, {noise}, {activation}; the first of {trace.outputs.shape[2]} replications drawn here."
        if layer.activation is not None and layer.activation.name == "threshold":
            words += f" {int(h.sum())} of them fire."
        shapes = {"x": x.shape, "θ": layer.weight.shape, "u": trace.drives[number].shape, "v": trace.signals[number].shape}
        r = np.zeros(len(u)) if e is None else e[:, 0, 0] * float(layer.scale[0])
        full = float(np.abs(np.stack([u, r, v])).max())
        carried = Map("x", x) if number else Image("x", subject.picture(x))
        parts: Row = [
            carried,
            "θ →",
            Map("u", u, full),
            "+",
            Map("r", r, full),
            "=",
            Map("v", v, full),
            "φ →",
            subject.drawn("φ(v)", h),
        ]
        drawings = [Drawing("The input, and every neuron's drive, noise, signal and response.", parts)]
        if not number:
            seen: Row = [subject.map(f"θ of neuron {a}", layer.weight[a]) for a in neurons[:PIXELS]]
            drawings.append(Drawing("The weights of some neurons: orange pixels excite, blue ones inhibit.", seen))
        hidden = f"h{number + 1}".translate(SUBSCRIPT)
        yield Step(
            f"Layer {number + 1}, one replication", "G1", words, shapes, tables, checks, drawings=drawings,
            gives={"ŷ": "ŷ"} if last else {"x": hidden, hidden: hidden}, uses=("x",),
        )  # fmt: skip


def _loss(subject: ExplainedImage, loss: ReplicatedLoss, trace: Trace) -> Step:
    """Return the step with the loss of the first replication and, if there is one, its derivative with respect to the outputs."""
    outputs = trace.outputs[:, :, 0].T.copy()
    if loss.smooth:

        def rows(outputs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            replicated = np.ascontiguousarray(outputs.T)[:, :, None]
            return loss.value(replicated, labels)[:, 0], loss.derivative(replicated, labels)[:, :, 0].T

        return replace(loss_step(subject, "The loss of this replication", "M-CE", rows, outputs, "L"), gives={"L": "L"})
    value = float(loss.value(trace.outputs, subject.labels)[0, 0])
    words = f"L = {value:g}: the prediction is {'right' if value == 0 else 'wrong'}. This loss has no derivative."
    checks: list[Derivative] = []
    last = LastLayer(subject.model.layers[-1], loss)
    nodes = last.nodes(trace.noise[-1], subject.labels)
    if nodes is not None and last.layer.activation is None:
        words += " Averaged over the noise of the other outputs, it has one:"
        one = Trace(*([each if each is None else each[:, :, :1] for each in part] for part in trace))
        drive, nodes = one.drives[-1].copy(), nodes[:, :, :1]
        credit = last.credit(one, nodes, subject.labels).values

        def mean() -> float:
            return last.value(drive, nodes, subject.labels)[0, 0]

        checks = [checked(f"∂E[L]/∂u[{j}]", credit[j, 0, 0], drive, (j, 0, 0), mean) for j in range(len(drive))]
    numbers = [Rows("outputs", ("class", "z"), enumerate(outputs[0]))]
    tag = "M-ZEROONE" if checks else "G-ZEROONE"
    drawing = Drawing("The outputs of this replication; ✓ marks the right class.", [Bars("z", outputs[0], subject.label)])
    return Step(
        "The loss of this replication", tag, words, {"z": outputs.shape}, numbers, checks, drawings=[drawing],
        gives={"L": "L"}, uses=("ŷ",),
    )  # fmt: skip


def _credit_step(
    subject: ExplainedImage, name: str, estimator: Estimator, loss: ReplicatedLoss, noise: Noise, trace: Trace, cells: list[int]
) -> Step:
    """Return the step with the estimated credit of a few neurons of the first layer."""
    network = subject.model
    given = (None,) * len(noise) if isinstance(estimator, Exact) else noise
    piece = estimator.on(network, loss, np.ascontiguousarray(subject.x.T), subject.labels, given, False)
    checks: list[Derivative] = []
    rows: list[tuple[Any, ...]] = []
    head: tuple[str, ...] = ("neuron", "credit")
    for a in cells:
        if isinstance(estimator, ScoreFunction | Flip):
            if isinstance(estimator, ScoreFunction):
                head, more, found = _by_score(subject, estimator, loss, trace, a)
            else:
                head, more, found = _by_flip(subject, piece.first_credit[0, a], trace, a)
            rows += more
            checks += found
        else:
            rows.append((a, piece.first_credit[0, a]))
            if isinstance(estimator, Backprop):
                first, pixel, along = network.layers[0], int(subject.x[0].argmax()), _along(subject, loss, noise)
                by_weight = first.weight_gradient(piece.first_credit, subject.x)["weight"][a, pixel]
                checks.append(checked(f"∂L/∂v[{a}]", piece.first_credit[0, a], first.bias, a, along))
                checks.append(checked(f"∂L/∂θ_0[{a}, {pixel}]", by_weight, first.weight, (a, pixel), along))
    mean = [(a, piece.first_credit[0, a]) for a in cells]
    numbers = [Rows("each replication", head, rows), Rows("mean: the estimate of ∂E[L]/∂v", ("neuron", "credit"), mean)]
    words = f"The estimator is {name}; its credit estimates the derivative of the mean loss with respect to the neuron's signal."
    shapes = {"credit": piece.first_credit.shape}
    found = Map("credit", piece.first_credit[0])
    drawing = Drawing("The credit of every neuron of the first layer, from these few replications.", [found])
    return Step(
        f"The credit of a neuron ({name})", CREDIT_TAGS[name], words, shapes, numbers, checks, drawings=[drawing],
        gives={"credit": "credit"}, uses=("h₁", "L"),
    )  # fmt: skip


def _along(subject: ExplainedImage, loss: ReplicatedLoss, noise: Noise) -> Callable[[], float]:
    x_t = np.ascontiguousarray(subject.x.T)
    return lambda: float(loss.value(subject.model.run(x_t, noise).outputs, subject.labels).mean())


def _by_score(subject: ExplainedImage, estimator: ScoreFunction, loss: ReplicatedLoss, trace: Trace, a: int) -> tuple:
    """Return loss × score for each replication; the score is compared with the slope of -ln f."""
    layer = subject.model.layers[0]
    law, last = layer.law, LastLayer(subject.model.layers[-1], loss)
    nodes = last.nodes(trace.noise[-1], subject.labels) if estimator.derivative_last else None
    value = last.value_in(trace, nodes, subject.labels)
    baseline = estimator.design.others(value) if estimator.baseline else np.zeros_like(value)
    rows, checks = [], []
    conditional = estimator.conditional and layer.activation is not None and layer.activation.name == "threshold"
    for k in range(value.shape[1]):
        e = np.array([trace.noise[0][a, 0, k]])  # type: ignore[index]
        what = f"{'E[s | h]' if conditional else 's(e)'} of neuron {a}, replication {k}"
        if conditional:
            e, fires = trace.drives[0][a, 0, :1] / layer.scale, trace.responses[0][a, 0, k : k + 1]
            score, sign = conditional_score(law, fires, e)[0], 2 * float(fires[0]) - 1
            checks.append(checked(what, score, e, 0, lambda e, sign: np.log(law.distribution(sign * e)), e, sign))
        else:
            score = law.score(e.copy())[0]
            checks.append(checked(what, score, e, 0, lambda e: -np.log(law.density(e)), e))
        left, b = value[0, k], baseline[0, k]
        rows.append((a, k, left, b, score, (left - b) * score / layer.scale[0]))
    return ("neuron", "replication", "L", "baseline b", "score", "(L - b) score/σ"), rows, checks


def _by_flip(subject: ExplainedImage, credit: float, trace: Trace, a: int) -> tuple:
    """Return the effect of firing on the loss, and the derivative of the firing probability."""
    layer = subject.model.layers[0]
    law, sigma = layer.law, float(layer.scale[0])
    u = trace.drives[0][a, 0, :1].copy()
    density = float(law.density(u / sigma)[0]) / sigma
    made = float(credit) / density if density else 0.0
    rows = [(a, float(u[0]), float(trace.responses[0][a, 0, 0]), density, made, float(credit))]
    sign = -1.0 if u[0] > 0 else 1.0  # the probability of the rarer event, which does not round to 1
    what = "is silent" if sign < 0 else "fires"
    chance = moving(u, 0, lambda: law.distribution(sign * u / sigma)[0])
    checks = [
        compared(f"∂P(neuron {a} {what})/∂u", sign * density, difference(chance)),
        compared(f"∂E[L | the other noise]/∂u[{a}]", credit, difference(lambda t: sign * made * chance(t))),
    ]
    return ("neuron", "u", "fires", "f(u/σ)/σ", "L(fires) - L(does not)", "credit"), rows, checks


def _exact_step(subject: ExplainedImage, loss: ReplicatedLoss, reference: means.GroupedEstimates, cells: list[int]) -> Step:
    """Return the step with the closed form, compared with finite differences of the exact mean loss."""
    network, exact = subject.model, estimator_named("exact", "derivative")
    x_t = np.ascontiguousarray(subject.x.T)

    def mean_loss() -> float:
        return float(exact.on(network, loss, x_t, subject.labels, (None,) * len(network.layers), False).loss[0])

    found, bias = reference.credit[0], network.layers[0].bias
    checks = [checked(f"∂E[L]/∂u[{a}]", found[a], bias, a, mean_loss) for a in cells]
    words = f"E[L] = {mean_loss():.9g}: the hidden layer has 2^{len(bias)} patterns, each with its probability."
    numbers = [Rows("exact derivatives", ("neuron", "∂E[L]/∂u"), [(a, found[a]) for a in cells])]
    drawing = Drawing(
        "The exact derivative of the mean loss with respect to the drive of every neuron.", [Map("∂E[L]/∂u", found)]
    )
    return Step(
        "The exact mean", "M-EXACT", words, {"h": (1 << len(bias), len(bias))}, numbers, checks, drawings=[drawing],
        gives={"E[L]": "E[L]"}, uses=("image",),
    )  # fmt: skip


def _compared_means(
    names: list[str], of: Callable[[means.GroupedEstimates], list[means.Series]], found: means.GroupedEstimates,
    reference: means.GroupedEstimates,
) -> tuple[list[EstimatedMean], list[Rows], list[Drawing]]:  # fmt: skip
    """Return means with their expected values and, unless it is exact, how the first of them converges."""
    series, expected = of(found), of(reference)
    estimates = [means.estimate_of(*row, reference.origin) for row in zip(names, series, expected, strict=True)]
    if len(found.credit) == 1:
        return estimates, [], []
    table, drawing = means.running(names[0], series[0], expected[0])
    return estimates, [table], [drawing]


def _mean_step(
    subject: ExplainedImage, name: str, estimator: Estimator, loss: ReplicatedLoss, reference: means.GroupedEstimates,
    cells: list[int], pixel: int, before: int,
) -> Step:  # fmt: skip
    """Return the step with the mean derivatives of a few weights over a growing number of replications."""
    found = means.groups_of(estimator, subject.model, loss, subject.x, subject.labels, _address(subject, "explained mean"))
    x, last, label = float(subject.x[0, pixel]), len(subject.model.layers) - 1, subject.label

    def series(each: means.GroupedEstimates) -> list[means.Series]:
        return [means.weight_series(each, a, x) for a in cells] + [means.last_series(each, label, before)]

    names = [f"∂E[L]/∂θ_0[{a}, {pixel}]" for a in cells] + [f"∂E[L]/∂θ_{last}[{label}, {before}]"]
    estimates, tables, drawings = _compared_means(names, series, found, reference)
    words = (
        f"The derivative with respect to a weight is the activity of its input times the credit. These are {CONFIDENCE:.1%} "
        "intervals: in a hundred such pages with ten estimates each, about one lies outside."
    )
    shapes = {"∂E[L]/∂θ_0": subject.model.layers[0].weight.shape}
    both: Row = [Map("mean credit", found.credit.mean(axis=0)), "≈", Map("expected", reference.credit.mean(axis=0))]
    drawings.append(Drawing("The mean credit of every neuron of the first layer, and its expected value.", both))
    title, gives, uses = f"The mean over the noise ({name})", {"∂E[L]/∂θ": "∂E[L]/∂θ"}, ("image", "credit", "E[L]")
    return Step(title, CREDIT_TAGS[name], words, shapes, tables, (), estimates, drawings, gives, uses)


def _pixel_step(subject: ExplainedImage, name: str, loss: OfRows, pixels: list[int]) -> Step:
    """Return the step with the estimated gradient of the mean objective with respect to the pixels."""
    network, reference = subject.model, _reference(subject, name, loss)
    estimator = estimator_named(name, "derivative")
    found = means.groups_of(estimator, network, loss, subject.x, subject.labels, _address(subject, "explained mean"))
    names = [f"∂E[l]/∂x[{subject.pixel(pixel)}]" for pixel in pixels]

    def series(each: means.GroupedEstimates) -> list[means.Series]:
        return [means.pixel_series(each, network, pixel) for pixel in pixels]

    estimates, tables, drawings = _compared_means(names, series, found, reference)
    words = (
        f"These neurons have no derivative, but the mean of the objective over their noise has one: {name} estimates the credit "
        "of the first layer, which goes back through its weights. The attack below uses the mean over 32 replications."
    )
    shapes = {"∂E[l]/∂x": subject.x.shape}
    back = network.layers[0].input_gradient(found.credit.mean(axis=0)[None])
    seen: Row = [Map("credit", found.credit.mean(axis=0)), "θ →", subject.map("∂E[l]/∂x", back)]
    drawings.append(Drawing("The mean credit of the first layer, and the resulting gradient of the pixels.", seen))
    title, gives, uses = "The derivative with respect to the image", {"∂l/∂x": "∂E[l]/∂x"}, ("image", "δ")
    return Step(title, CREDIT_TAGS[name], words, shapes, tables, (), estimates, drawings, gives, uses)
