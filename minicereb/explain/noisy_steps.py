"""One image through a network with neuronal noise: one replication in full, then the mean over many."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minicereb.attacks.gradients import Landscape, source_named
from minicereb.calculus.noise import Law, conditional_score
from minicereb.calculus.replicated import OfRows, ReplicatedLoss, loss_named
from minicereb.errors import InputError
from minicereb.experiments.architectures import NoisyModel
from minicereb.explain.explained_image import ExplainedImage, Place, chosen_cells, loss_step, update_step
from minicereb.explain.fgsm_steps import OBJECTIVE_TAGS, PIXELS, attack_steps, fgsm_step, landscape_of
from minicereb.explain.means import (
    CONFIDENCE,
    Reference,
    estimate_of,
    groups_of,
    last_series,
    pixel_series,
    reference_for,
    running,
    weight_series,
)
from minicereb.explain.steps import Derivative, Rows, Step, checked_derivative, products
from minicereb.gradcheck.differences import difference, moving
from minicereb.learning.credit import Estimator, LastLayer
from minicereb.learning.estimators import Backprop, Flip, ScoreFunction
from minicereb.learning.exact import Exact
from minicereb.learning.glr import estimator_named
from minicereb.learning.noise import Address, Independent
from minicereb.models.noisy import Noise, NoisyNetwork, Trace

CREDIT_TAGS = {
    "plain": "G5", "baseline": "M-LOO", "antithetic": "M-LOO", "sobol": "M-LOO", "rao-blackwell": "M-RB",
    "flip": "M-FLIP", "resample": "M-RESAMPLE", "exact": "M-EXACT", "backprop": "G3",
}  # fmt: skip
FEWEST = (1, 2, 4)  # replications to try, fewest first
STREAM = "explained noise"


def learning(subject: ExplainedImage) -> Iterator[Step]:
    """Yield the steps of learning from the image by the likelihood ratio method."""
    settings, network = subject.config.model, subject.model
    assert isinstance(settings, NoisyModel)
    taken, loss = subject.step(), loss_named(settings.loss)
    estimator = estimator_named(settings.estimator, settings.last_layer)
    noise = _few(subject, estimator)
    trace = network.run(np.ascontiguousarray(subject.x.T), noise)
    random = any(layer.law is not None for layer in network.layers)
    reference = _reference(subject, settings.estimator, loss) if random else None
    strength = (
        np.abs(taken.gradients["weight_0"]).max(axis=1) if reference is None else np.abs(reference.found.credit.mean(axis=0))
    )
    cells = chosen_cells(subject, [int(a) for a in np.argsort(-strength, kind="stable")[:2]], len(strength), "neurons")
    pixel = next(iter(subject.shown.pixels), int(subject.x[0].argmax()))
    classes = subject.classes(trace.outputs[:, :, 0].T)
    yield from _forward_steps(network, trace, cells, classes)
    yield _loss(subject, loss, trace)
    yield _credit_step(subject, settings.estimator, estimator, loss, noise, trace, cells)
    if reference is not None and reference.exact:
        yield _exact_step(subject, loss, reference, cells)
    if reference is not None:
        yield _mean_step(subject, settings.estimator, estimator, loss, reference, (cells, pixel, subject.label))
    last = len(network.layers) - 1
    places: list[Place] = [(f"θ_0[{a}, {pixel}]", "weight_0", (a, pixel)) for a in cells]
    before = cells[0] if last == 1 else 0
    places += [(f"θ_{last}[{c}, {before}]", f"weight_{last}", (c, before)) for c in classes]
    words = f"The gradient is the estimator's, with the training's own noise and K = {settings.replications}."
    yield update_step(subject, taken, places, words)


def attack(subject: ExplainedImage) -> Iterator[Step]:
    """Yield the steps of an attack on the image: along the derivative where there is one, else along an estimate."""
    network = subject.model
    activations = [layer.activation for layer in network.layers if layer.activation is not None]
    if all(activation.smooth for activation in activations):
        yield from attack_steps(subject, lambda d_outputs, pixels: iter(()), "G3")
        return
    name = "flip" if all(activation.name == "threshold" for activation in activations) else "resample"
    plain = landscape_of(subject)
    landscape = Landscape(network, plain.objective, subject.labels, source_named(name, network, 32, 0))
    point, gradient = landscape.value_and_gradient(subject.x)
    objective = subject.shown.objective
    yield loss_step(subject, f"What the attack ascends ({objective})", OBJECTIVE_TAGS[objective], plain.objective, point.outputs)
    order = np.argsort(-np.abs(gradient[0]), kind="stable")[:PIXELS]
    pixels = list(subject.shown.pixels) or [int(n) for n in order]
    yield _pixel_step(subject, name, OfRows(plain.objective), pixels)  # type: ignore[arg-type]
    yield fgsm_step(subject, landscape, gradient, pixels)


def _few(subject: ExplainedImage, estimator: Estimator) -> Noise:
    """Noise of as few replications as the estimator accepts."""
    design = Independent() if isinstance(estimator, Exact) else estimator.design
    replications = next(n for n in FEWEST if _enough(design, n, estimator.baseline))
    laws = [layer.law for layer in subject.model.layers]
    return design.draw(subject.x, laws, subject.model.widths, 1, replications, _address(subject))


def _enough(design: Any, replications: int, baseline: bool) -> bool:
    try:
        design.check(replications, baseline)
    except InputError:
        return False
    return True


def _address(subject: ExplainedImage, stream: str = STREAM) -> Address:
    return Address(subject.config.seed, (subject.image,), stream)


def _reference(subject: ExplainedImage, own: str, loss: ReplicatedLoss) -> Reference:
    return reference_for(own, subject.model, loss, subject.x, subject.labels, _address(subject, "explained reference"))


def _forward_steps(network: NoisyNetwork, trace: Trace, cells: list[int], classes: list[int]) -> Iterator[Step]:
    """One step for each layer: drive, noise, signal, response of a few neurons, in the first replication."""
    for number, layer in enumerate(network.layers):
        x, u, v, h = (each[number][:, 0, 0] for each in (trace.inputs, trace.drives, trace.signals, trace.responses))
        e = trace.noise[number]
        last = number == len(network.layers) - 1
        neurons = classes if last else cells if not number else [int(a) for a in np.argsort(-np.abs(u), kind="stable")[:2]]
        tables, rows, checks = [], [], []
        for a in neurons:
            terms = [(i, float(layer.weight[a, i]), float(x[i])) for i in range(len(x))]
            total = (f"u[{a}]", float(u[a]))
            tables.append(products(f"neuron {a}", ("input", "weight θ", "x"), terms, [("bias", float(layer.bias[a]))], total))
            unit = 0.0 if e is None else float(e[a, 0, 0])
            rows.append((a, float(u[a]), unit, unit * float(layer.scale[0]), float(v[a]), float(h[a])))
            if layer.activation is not None and layer.activation.smooth:
                one = v[a : a + 1].copy()
                slope = difference(moving(one, 0, layer.respond, one))
                checks.append(checked_derivative(f"∂φ/∂v[{a}]", np.asarray(layer.slope(one)).item(), slope))
        tables.append(Rows("neurons", ("neuron", "drive u", "noise e", "r = σe", "v = u + r", "φ(v)"), tuple(rows)))
        noise = "no noise" if e is None else f"{layer.law.name} noise of scale {layer.scale[0]:g}"  # type: ignore[union-attr]
        activation = "no activation" if layer.activation is None else f"{layer.activation.name} neurons"
        words = f"{len(v)} neurons, {noise}, {activation}; the first of {trace.outputs.shape[2]} replications drawn here."
        if layer.activation is not None and layer.activation.name == "threshold":
            words += f" {int(h.sum())} of them fire."
        shapes = {"x": x.shape, "θ": layer.weight.shape, "u": trace.drives[number].shape, "v": trace.signals[number].shape}
        yield Step(f"Layer {number + 1}, one replication", "G1", words, shapes, tuple(tables), tuple(checks))


def _loss(subject: ExplainedImage, loss: ReplicatedLoss, trace: Trace) -> Step:
    """The loss of the first replication; where it has a derivative, that by the outputs."""
    outputs = trace.outputs[:, :, 0].T.copy()
    if loss.smooth:

        def rows(outputs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            replicated = np.ascontiguousarray(outputs.T)[:, :, None]
            return loss.value(replicated, labels)[:, 0], loss.derivative(replicated, labels)[:, :, 0].T

        return loss_step(subject, "The loss of this replication", "M-CE", rows, outputs, "L")
    value = float(loss.value(trace.outputs, subject.labels)[0, 0])
    words = f"L = {value:g}: the answer is {'right' if value == 0 else 'wrong'}. The loss has no derivative by the outputs."
    numbers: tuple[Rows, ...] = (Rows("outputs", ("class", "z"), tuple((j, float(z)) for j, z in enumerate(outputs[0]))),)
    checks: tuple[Derivative, ...] = ()
    last = LastLayer(subject.model.layers[-1], loss)
    nodes = last.nodes(trace.noise[-1], subject.labels)
    if nodes is not None and last.layer.activation is None:
        words += " Averaged over the noise of the other outputs it has one:"
        one = Trace(*([each if each is None else each[:, :, :1] for each in part] for part in trace))
        drive, nodes = one.drives[-1].copy(), nodes[:, :, :1]
        credit = last.credit(one, nodes, subject.labels).values
        checks = tuple(
            checked_derivative(
                f"∂E[L]/∂u[{j}]",
                credit[j, 0, 0],
                difference(moving(drive, (j, 0, 0), lambda: last.value(drive, nodes, subject.labels)[0, 0])),
            )
            for j in range(len(drive))
        )
    return Step(
        "The loss of this replication", "M-ZEROONE" if checks else "G-ZEROONE", words, {"z": outputs.shape}, numbers, checks
    )


def _credit_step(
    subject: ExplainedImage, name: str, estimator: Estimator, loss: ReplicatedLoss, noise: Noise, trace: Trace, cells: list[int]
) -> Step:
    """The estimated credit of a few neurons of the first layer."""
    network = subject.model
    given = (None,) * len(noise) if isinstance(estimator, Exact) else noise
    piece = estimator.on(network, loss, np.ascontiguousarray(subject.x.T), subject.labels, given, False)
    checks: list[Derivative] = []
    rows: list[tuple[Any, ...]] = []
    head: tuple[str, ...] = ("neuron", "credit")
    for a in cells:
        if isinstance(estimator, ScoreFunction):
            head, more, found = _by_score(subject, estimator, loss, trace, a)
            rows += more
            checks += found
        elif isinstance(estimator, Flip):
            head, more, found = _by_flip(subject, piece.first_credit[0, a], trace, a)
            rows += more
            checks += found
        else:
            rows.append((a, float(piece.first_credit[0, a])))
            if isinstance(estimator, Backprop):
                first, loss_now = network.layers[0], _along(subject, loss, noise)
                by_weight = first.weight_gradient(piece.first_credit, subject.x)["weight"]
                pixel = int(subject.x[0].argmax())
                checks += [
                    checked_derivative(f"∂L/∂v[{a}]", piece.first_credit[0, a], difference(moving(first.bias, a, loss_now))),
                    checked_derivative(
                        f"∂L/∂θ_0[{a}, {pixel}]", by_weight[a, pixel], difference(moving(first.weight, (a, pixel), loss_now))
                    ),
                ]
    mean = tuple((a, float(piece.first_credit[0, a])) for a in cells)
    numbers = (Rows("each replication", head, tuple(rows)), Rows("mean: the estimate of ∂E[L]/∂v", ("neuron", "credit"), mean))
    words = f"The estimator is {name}; its credit is an estimate of the derivative of the mean loss by the neuron's signal."
    return Step(
        f"The credit of a neuron ({name})", CREDIT_TAGS[name], words, {"credit": piece.first_credit.shape}, numbers, tuple(checks)
    )


def _along(subject: ExplainedImage, loss: ReplicatedLoss, noise: Noise) -> Callable[[], float]:
    x_t = np.ascontiguousarray(subject.x.T)
    return lambda: float(loss.value(subject.model.run(x_t, noise).outputs, subject.labels).mean())


def _by_score(subject: ExplainedImage, estimator: ScoreFunction, loss: ReplicatedLoss, trace: Trace, a: int) -> tuple:
    """Loss × score for each replication; the score is compared with the slope of -ln f."""
    layer = subject.model.layers[0]
    law, last = layer.law, LastLayer(subject.model.layers[-1], loss)
    nodes = last.nodes(trace.noise[-1], subject.labels) if estimator.derivative_last else None
    value = last.value_in(trace, nodes, subject.labels)
    baseline = estimator.design.others(value) if estimator.baseline else np.zeros_like(value)
    rows, checks = [], []
    conditional = estimator.conditional and layer.activation is not None and layer.activation.name == "threshold"
    for k in range(value.shape[1]):
        e = np.array([trace.noise[0][a, 0, k]])  # type: ignore[index]
        if conditional:
            e, fires = trace.drives[0][a, 0, :1] / layer.scale, trace.responses[0][a, 0, k : k + 1]
            score, sign = conditional_score(law, fires, e)[0], 2 * float(fires[0]) - 1
            slope = difference(moving(e, 0, _log_chance, law, sign, e))
            what = f"E[s | h] of neuron {a}, replication {k}"
        else:
            score = law.score(e.copy())[0]
            slope = difference(moving(e, 0, _minus_log_density, law, e))
            what = f"s(e) of neuron {a}, replication {k}"
        left, b = float(value[0, k]), float(baseline[0, k])
        rows.append((a, k, left, b, float(score), float((left - b) * score / layer.scale[0])))
        checks.append(checked_derivative(what, score, slope))
    return ("neuron", "replication", "L", "baseline b", "score", "(L - b) score/σ"), rows, checks


def _minus_log_density(law: Law, e: np.ndarray) -> np.ndarray:
    return -np.log(law.density(e))


def _log_chance(law: Law, sign: float, e: np.ndarray) -> np.ndarray:
    return np.log(law.distribution(sign * e))


def _by_flip(subject: ExplainedImage, credit: float, trace: Trace, a: int) -> tuple:
    """The effect of firing on the loss, and the derivative of the probability of firing."""
    layer = subject.model.layers[0]
    law, sigma = layer.law, float(layer.scale[0])
    u = trace.drives[0][a, 0, :1].copy()
    density = float(law.density(u / sigma)[0]) / sigma
    made = float(credit) / density if density else 0.0
    rows = [(a, float(u[0]), float(trace.responses[0][a, 0, 0]), density, made, float(credit))]
    sign = -1.0 if u[0] > 0 else 1.0  # the chance of what is rarer, which does not round to 1
    what = "is silent" if sign < 0 else "fires"
    chance = moving(u, 0, lambda: law.distribution(sign * u / sigma)[0])
    checks = [
        checked_derivative(f"∂P(neuron {a} {what})/∂u", sign * density, difference(chance)),
        checked_derivative(f"∂E[L | the other noise]/∂u[{a}]", credit, difference(lambda t: sign * made * chance(t))),
    ]
    return ("neuron", "u", "fires", "f(u/σ)/σ", "L(fires) - L(does not)", "credit"), rows, checks


def _exact_step(subject: ExplainedImage, loss: ReplicatedLoss, reference: Reference, cells: list[int]) -> Step:
    """The closed form, compared with differences of the exact mean loss."""
    network, exact = subject.model, estimator_named("exact", "derivative")
    x_t = np.ascontiguousarray(subject.x.T)

    def mean_loss() -> float:
        return float(exact.on(network, loss, x_t, subject.labels, (None,) * len(network.layers), False).loss[0])

    found = reference.found.credit[0]
    bias = network.layers[0].bias
    checks = tuple(checked_derivative(f"∂E[L]/∂u[{a}]", found[a], difference(moving(bias, a, mean_loss))) for a in cells)
    words = f"E[L] = {mean_loss():.9g}: the hidden layer has 2^{len(bias)} patterns, each with its probability."
    numbers = (Rows("exact derivatives", ("neuron", "∂E[L]/∂u"), tuple((a, float(found[a])) for a in cells)),)
    return Step("The exact mean", "M-EXACT", words, {"h": (1 << len(bias), len(bias))}, numbers, checks)


def _mean_step(
    subject: ExplainedImage, name: str, estimator: Estimator, loss: ReplicatedLoss, reference: Reference,
    places: tuple[list[int], int, int],
) -> Step:  # fmt: skip
    """The mean of the derivatives by a few weights over more and more replications."""
    cells, pixel, label = places
    before = cells[0] if len(subject.model.layers) == 2 else 0
    found = groups_of(estimator, subject.model, loss, subject.x, subject.labels, _address(subject, "explained mean"))
    x, last = float(subject.x[0, pixel]), len(subject.model.layers) - 1
    both = [[weight_series(each, a, x) for a in cells] + [last_series(each, label, before)] for each in (found, reference.found)]
    names = [f"∂E[L]/∂θ_0[{a}, {pixel}]" for a in cells] + [f"∂E[L]/∂θ_{last}[{label}, {before}]"]
    estimates = [estimate_of(name, mean, should, reference.by) for name, mean, should in zip(names, *both, strict=True)]
    shown = [running(names[0], both[0][0], both[1][0])] if len(found.credit) > 1 else []
    words = (
        f"The derivative by a weight is the activity of its input times the credit. Intervals of {CONFIDENCE:.1%}: of a hundred "
        "such pages with ten estimates each, one may lie outside."
    )
    shapes = {"∂E[L]/∂θ_0": subject.model.layers[0].weight.shape}
    return Step(
        f"The mean over the noise ({name})",
        CREDIT_TAGS[name],
        words,
        shapes,
        tuple(table for table, _ in shown),
        (),
        tuple(estimates),
        tuple(drawing for _, drawing in shown),
    )


def _pixel_step(subject: ExplainedImage, name: str, loss: OfRows, pixels: list[int]) -> Step:
    """The estimated derivative of the mean objective by the pixels."""
    network, estimator = subject.model, estimator_named(name, "derivative")
    reference = reference_for(name, network, loss, subject.x, subject.labels, _address(subject, "explained reference"))
    found = groups_of(estimator, network, loss, subject.x, subject.labels, _address(subject, "explained mean"))
    both = [[pixel_series(each, network, pixel) for pixel in pixels] for each in (found, reference.found)]
    names = [f"∂E[l]/∂x[{subject.pixel(pixel)}]" for pixel in pixels]
    estimates = [estimate_of(name, mean, should, reference.by) for name, mean, should in zip(names, *both, strict=True)]
    table, drawing = running(names[0], both[0][0], both[1][0])
    words = (
        f"These neurons have no derivative, but the mean of the objective over their noise has: {name} estimates the credit of "
        "the first layer, which goes back through its weights. The attack below takes the mean over 32 replications."
    )
    shapes = {"∂E[l]/∂x": subject.x.shape}
    return Step("The derivative by the image", CREDIT_TAGS[name], words, shapes, (table,), (), tuple(estimates), (drawing,))
