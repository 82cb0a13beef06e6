"""One image through a network with neuronal noise: one replication in full, then the mean over many."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from minicereb.attacks.gradients import Landscape, fitting_estimator, source_named
from minicereb.calculus.replicated import OfRows, ReplicatedLoss, loss_named
from minicereb.experiments.architectures import NoisyModel
from minicereb.explain import means
from minicereb.explain.drawings import Bars, Drawing, Map, Row
from minicereb.explain.explained_image import ExplainedImage, Place, chosen_cells, loss_step, update_step
from minicereb.explain.few_runs import FewRuns, address_of, baseline_in_words, few_runs
from minicereb.explain.fgsm_steps import PIXELS, attack_steps, fgsm_step, landscape_of, objective_step
from minicereb.explain.noisy_layer_steps import drawn_in_words, forward_steps, path_step, shaped
from minicereb.explain.shared_weight_steps import learning_steps, shared_weights, shown_unit
from minicereb.explain.steps import CONFIDENCE, Derivative, EstimatedMean, Rows, Step, checked, compared
from minicereb.explain.training_step import TrainingStep
from minicereb.gradcheck.differences import difference, moving
from minicereb.learning.credit import LastLayer
from minicereb.learning.estimators import LEARNED_BY
from minicereb.learning.glr import estimator_named
from minicereb.learning.one_neuron import Flip
from minicereb.learning.pathwise import Backprop, Surrogate
from minicereb.learning.scores import ScoreFunction
from minicereb.models.noisy import Noise, NoisyLayer, Trace
from minicereb.models.noisy_convolution import NoisyConvolution
from minicereb.models.noisy_time import NoisyTime

CREDIT_TAGS = {
    "plain": "G5", "baseline": "M-LOO", "antithetic": "M-LOO", "sobol": "M-LOO", "rao-blackwell": "M-RB",
    "flip": "M-FLIP", "resample": "M-RESAMPLE", "exact": "M-EXACT", "backprop": "G3", "surrogate": "M-SURROGATE",
}  # fmt: skip
BIASED = " The surrogate is biased, so its mean need not be the expected value."


def learning(subject: ExplainedImage) -> Iterator[Step]:
    """Yield the steps of learning from the image by the likelihood ratio method."""
    settings, network = subject.config.model, subject.model
    assert isinstance(settings, NoisyModel)
    taken, loss, first = subject.step(), loss_named(settings.loss), network.layers[0]
    few = few_runs(subject, settings, loss, taken)
    trace = few.trace
    random = any(layer.law is not None for layer in network.layers)
    shared = [] if type(first) is NoisyLayer else shared_weights(subject, few)
    seen = [(weight.name, weight.entry) for weight in shared]
    reference = _reference(subject, settings.estimator, loss, settings.placement, seen) if random else None
    classes = subject.classes(trace.outputs[:, :, 0].T)
    tag = _credit_tag(settings, first)
    if shared:
        cells = list(dict.fromkeys(weight.cell for weight in shared))
        convolves = isinstance(first, NoisyConvolution)
        kernels = (weight for weight in shared if weight.name == "weight")
        units = [shown_unit(subject, few, weight) for weight in kernels] if convolves else cells
        yield from forward_steps(subject, trace, units, classes)
        if isinstance(first, NoisyTime) and isinstance(few.estimator, ScoreFunction):
            yield path_step(trace, first, cells)
        yield _loss(subject, loss, trace)
        about = baseline_in_words(settings, few, taken)
        yield from learning_steps(subject, settings, few, shared, tag, about)
        places = [weight.place for weight in shared]
    else:
        strength = np.abs(taken.gradients["weight_0"]).max(axis=1)
        if reference is not None:
            strength = np.abs(reference.credit.mean(axis=0))
        cells = chosen_cells(subject, [int(a) for a in np.argsort(-strength, kind="stable")[:2]], len(strength), "neurons")
        pixel = next(iter(subject.shown.pixels), int(subject.x[0].argmax()))
        yield from forward_steps(subject, trace, cells, classes)
        yield _loss(subject, loss, trace)
        yield _credit_step(subject, settings, few, taken, cells, tag)
        places = [(f"θ_0[{a}, {pixel}]", "weight_0", (a, pixel)) for a in cells]
        seen = [("weight", (a, pixel)) for a in cells]
    last = len(network.layers) - 1
    before = cells[0] if last == 1 and not shared else 0
    if reference is not None:
        if len(reference.credit) == 1:
            yield _exact_step(subject, loss, reference, cells)
        yield _mean_step(subject, settings, few, reference, places, before, tag)
    places += [(f"θ_{last}[{c}, {before}]", f"weight_{last}", (c, before)) for c in classes]
    words = f"The gradient is the estimator's, with the training's own noise and K = {settings.replications}."
    uses = ("image", *dict.fromkeys(weight.name for weight in shared)) if shared else ("image", "credit")
    yield update_step(subject, taken, places, words, uses)


def _credit_tag(settings: NoisyModel, first: NoisyLayer) -> str:
    """Return the tag of the equation for the first layer's credit."""
    name = settings.estimator
    by_score = isinstance(LEARNED_BY[name], ScoreFunction)
    if isinstance(first, NoisyTime) and (by_score or name == "backprop"):
        return "M-PATH" if by_score else "M-BPTT"
    if by_score and settings.placement == "in-turn":
        return "M-TURN"
    return "M-LEARNED" if settings.baseline != "mean" and name != "rao-blackwell" else CREDIT_TAGS[name]


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


def _reference(
    subject: ExplainedImage, own: str, loss: ReplicatedLoss, placement: str = "all",
    weights: Sequence[tuple[str, tuple[int, ...]]] = (),
) -> means.GroupedEstimates:  # fmt: skip
    at = address_of(subject, "explained reference")
    return means.reference_for(own, subject.model, loss, subject.x, subject.labels, at, placement, weights)


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
    subject: ExplainedImage, settings: NoisyModel, few: FewRuns, taken: TrainingStep, cells: list[int], tag: str
) -> Step:
    """Return the step with the estimated credit of a few neurons of the first layer."""
    name, estimator, loss, found = settings.estimator, few.estimator, few.loss, few.found
    checks: list[Derivative] = []
    rows: list[tuple[Any, ...]] = []
    head: tuple[str, ...] = ("neuron", "credit")
    for a in cells:
        if isinstance(estimator, ScoreFunction | Flip):
            if isinstance(estimator, ScoreFunction):
                head, more, compared_with = _by_score(few, a)
            else:
                head, more, compared_with = _by_flip(subject, found.first_credit[0, a], few.trace, a)
            rows += more
            checks += compared_with
        else:
            rows.append((a, found.first_credit[0, a]))
            if type(estimator) is Backprop:
                first, pixel, along = subject.model.layers[0], int(subject.x[0].argmax()), _along(subject, loss, few.noise)
                by_weight = first.weight_gradient(found.first_credit, subject.x)["weight"][a, pixel]
                checks.append(checked(f"∂L/∂v[{a}]", found.first_credit[0, a], first.bias, a, along))
                checks.append(checked(f"∂L/∂θ_0[{a}, {pixel}]", by_weight, first.weight, (a, pixel), along))
    mean = [(a, found.first_credit[0, a]) for a in cells]
    numbers = [Rows("each replication", head, rows), Rows("mean: the estimate of ∂E[L]/∂v", ("neuron", "credit"), mean)]
    words = f"The estimator is {name}; its credit estimates the derivative of the mean loss with respect to the neuron's signal."
    if isinstance(estimator, ScoreFunction):
        words += f" {baseline_in_words(settings, few, taken)}"
    if settings.output_draws > 1:
        words += f" The loss of a replication is the mean over {settings.output_draws} draws of the outputs' noise."
    if settings.placement == "in-turn":
        words += " One layer at a time has noise; in the runs shown it is the first."
    shapes = {"credit": found.first_credit.shape}
    drawing = Drawing(
        "The credit of every neuron of the first layer, from these few replications.", [Map("credit", found.first_credit[0])]
    )
    return Step(
        f"The credit of a neuron ({name})", tag, words, shapes, numbers, checks, drawings=[drawing],
        gives={"credit": "credit"}, uses=("h₁", "L"),
    )  # fmt: skip


def _along(subject: ExplainedImage, loss: ReplicatedLoss, noise: Noise) -> Callable[[], float]:
    x_t = np.ascontiguousarray(subject.x.T)
    return lambda: float(loss.value(subject.model.run(x_t, noise).outputs, subject.labels).mean())


def _by_score(few: FewRuns, a: int) -> tuple:
    """Return a table of loss × score for each replication, and a comparison of the score with the slope of -ln f."""
    assert few.at is not None
    assert few.credit is not None
    layer, trace, (losses, baselines) = few.at.layer, few.trace, few.losses
    law, own = layer.law, few.credit.each()[a, 0]
    assert law is not None
    rows, checks = [], []
    conditional = few.estimator.conditional and layer.activation is not None and layer.activation.name == "threshold"  # type: ignore[attr-defined]
    for k, (left, b) in enumerate(zip(losses, baselines, strict=True)):
        e = np.array([trace.noise[0][a, 0, k]])  # type: ignore[index]
        what = f"{'E[s | h]' if conditional else 's(e)'} of neuron {a}, replication {k}"
        score = few.credit.values[a, 0, k]
        if conditional:
            e, sign = trace.drives[0][a, 0, :1] / layer.scale, 2 * float(trace.responses[0][a, 0, k]) - 1
            checks.append(checked(what, score, e, 0, lambda e, sign: np.log(law.distribution(sign * e)), e, sign))
        else:
            checks.append(checked(what, score, e, 0, lambda e: -np.log(law.density(e)), e))
        rows.append((a, k, left, b, score, own[k]))
    return ("neuron", "replication", "L", "baseline b", "score", "(L - b) score/σ"), rows, checks


def _by_flip(subject: ExplainedImage, credit: float, trace: Trace, a: int) -> tuple:
    """Return a table of the effect of firing on the loss, and checks of the derivative of the firing probability."""
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
    """Return means with their expected values and, unless the means are exact, how the first of them converges."""
    series, expected = of(found), of(reference)
    estimates = [means.estimate_of(*row, reference.origin) for row in zip(names, series, expected, strict=True)]
    if len(found.credit) == 1:
        return estimates, [], []
    table, drawing = means.running(names[0], series[0], expected[0])
    return estimates, [table], [drawing]


def _mean_step(
    subject: ExplainedImage, settings: NoisyModel, few: FewRuns, reference: means.GroupedEstimates, places: list[Place],
    before: int, tag: str,
) -> Step:  # fmt: skip
    """Return the step with the mean derivatives of a few weights over a growing number of replications."""
    name, network, at = settings.estimator, subject.model, address_of(subject, "explained mean")
    layer, last, label = network.layers[0], len(network.layers) - 1, subject.label
    dense, given = network.is_dense, (network, few.loss, subject.x, subject.labels, at)
    weights = [(name.removesuffix("_0"), index) for _, name, index in places]
    found = means.groups_of(few.estimator, *given, history=few.history, weights=[] if dense else weights)

    def series(each: means.GroupedEstimates) -> list[means.Series]:
        if dense:
            first = [means.weight_series(each, a, float(subject.x[0, pixel])) for _, (a, pixel) in weights]
        else:
            first = [means.Series(each.weights[:, number], each.size, 0.0) for number in range(len(weights))]
        return [*first, means.last_series(each, label, before)]

    names = [f"∂E[L]/∂{symbol}" for symbol, _, _ in places] + [f"∂E[L]/∂θ_{last}[{label}, {before}]"]
    estimates, tables, drawings = _compared_means(names, series, found, reference)
    words = (
        f"The derivative with respect to a weight is the activity of its input times the credit{'' if dense else ', summed'}. "
        f"These are {CONFIDENCE:.1%} intervals: in a hundred such pages with ten estimates each, about one lies outside."
    )
    words += BIASED if isinstance(few.estimator, Surrogate) else ""
    shapes = {"∂E[L]/∂θ_0": layer.weight.shape}
    both: Row = [Map("mean credit", shaped(layer, found.credit.mean(axis=0))), "≈"]
    both.append(Map("expected", shaped(layer, reference.credit.mean(axis=0))))
    caption = f"The mean credit of every unit of the first layer, and its expected value.{drawn_in_words(layer)}"
    drawings.append(Drawing(caption, both))
    title, gives, uses = f"The mean over the noise ({name})", {"∂E[L]/∂θ": "∂E[L]/∂θ"}, ("image", "credit", "E[L]")
    return Step(title, tag, words, shapes, tables, (), estimates, drawings, gives, uses)


def _pixel_step(subject: ExplainedImage, name: str, loss: OfRows, pixels: list[int]) -> Step:
    """Return the step with the estimated gradient of the mean objective with respect to the pixels."""
    network, reference = subject.model, _reference(subject, name, loss)
    estimator = estimator_named(name, "derivative")
    found = means.groups_of(estimator, network, loss, subject.x, subject.labels, address_of(subject, "explained mean"))
    names = [f"∂E[l]/∂x[{subject.pixel(pixel)}]" for pixel in pixels]

    def series(each: means.GroupedEstimates) -> list[means.Series]:
        return [means.pixel_series(each, network, pixel) for pixel in pixels]

    estimates, tables, drawings = _compared_means(names, series, found, reference)
    words = (
        f"These neurons have no derivative, but the mean of the objective over their noise has one: {name} estimates the credit "
        "of the first layer, which goes back through its weights. The attack below uses the mean over 32 replications."
    )
    shapes = {"∂E[l]/∂x": subject.x.shape}
    words += BIASED if isinstance(estimator, Surrogate) else ""
    layer, credit = network.layers[0], found.credit.mean(axis=0)
    back = layer.input_gradient(credit[None])
    seen: Row = [Map("credit", shaped(layer, credit)), "θ →", subject.map("∂E[l]/∂x", back)]
    drawings.append(Drawing("The mean credit of the first layer, and the resulting gradient of the pixels.", seen))
    title, gives, uses = "The derivative with respect to the image", {"∂l/∂x": "∂E[l]/∂x"}, ("image", "δ")
    return Step(title, CREDIT_TAGS[name], words, shapes, tables, (), estimates, drawings, gives, uses)
