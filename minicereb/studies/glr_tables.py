"""Tables 1 and 2 and the figures of the likelihood-ratio paper: networks with noisy neurons attacked via a substitute."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from itertools import product
from math import sqrt

import numpy as np

from minicereb.attacks.settings import Attack
from minicereb.calculus.activations import ACTIVATIONS, Activation
from minicereb.experiments.architectures import Model, NoisyModel, PerceptronModel
from minicereb.experiments.configs import Data, Train
from minicereb.experiments.kinds.transfer import TransferredAttack, read_pictures
from minicereb.experiments.laboratory import run_named
from minicereb.experiments.runs import read_run
from minicereb.report.figures import Curves, conclude, curves, image_rows
from minicereb.report.formats import in_words, percent
from minicereb.report.page import Table, Text
from minicereb.studies.published import GLR_TABLES as PUBLISHED
from minicereb.studies.results import Blocks, Figures, Results
from minicereb.studies.study import MNIST14, Study

HIDDEN, BATCH, VALIDATION = (20,), 25, 1 / 12
ATTACK = Attack("fgsm", "cross-entropy", 0.1)  # the paper gives no ε; this one reproduces its Table 1 from the released weights


LearningSettings = namedtuple(
    "LearningSettings", "estimator replications last_layer learning_rate optimizer schedule", defaults=("adam", "cosine")
)
FLIP = LearningSettings("flip", 2, "derivative", 0.04)
RESAMPLE = LearningSettings("resample", 2, "derivative", 0.02)
BACKPROP = LearningSettings("backprop", 1, "derivative", 0.01)
NOISY_BACKPROP = LearningSettings("backprop", 8, "derivative", 0.01)
SUBSTITUTE = LearningSettings("backprop", 1, "derivative", 0.001)  # settings of all substitutes


# A row of the tables: a network, how it is trained, and the scale of its Gaussian noise (None: no noise).
TableNetwork = namedtuple("TableNetwork", "activation loss learning noise_scale", defaults=(2.0,))

ROWS = (
    TableNetwork("sigmoid", "cross-entropy", BACKPROP, None),
    TableNetwork("sigmoid", "cross-entropy", NOISY_BACKPROP),
    TableNetwork("sigmoid", "cross-entropy", RESAMPLE),
    TableNetwork("threshold", "cross-entropy", FLIP),
    TableNetwork("absolute", "cross-entropy", RESAMPLE),
    TableNetwork("arctan-inverse", "cross-entropy", RESAMPLE),
    TableNetwork("log-absolute", "cross-entropy", RESAMPLE),
    TableNetwork("log-absolute-minus", "cross-entropy", RESAMPLE),
    TableNetwork("sigmoid", "zero-one", RESAMPLE),
    TableNetwork("threshold", "zero-one", FLIP),
    TableNetwork("log-absolute", "zero-one", RESAMPLE),
)
# The same networks trained with the paper's own optimiser steps, which train them less far: robustness to transfer falls during
# training.
STEP = (0.1, "sgd", "constant")
PAPERS_STEP = (
    TableNetwork("sigmoid", "cross-entropy", LearningSettings("backprop", 1, "derivative", *STEP), None),
    TableNetwork("sigmoid", "cross-entropy", LearningSettings("backprop", 8, "derivative", *STEP)),
    TableNetwork("sigmoid", "cross-entropy", LearningSettings("resample", 1, "derivative", *STEP)),
    TableNetwork("threshold", "cross-entropy", LearningSettings("flip", 1, "derivative", *STEP)),
)
# At paper scale only: «variance σ = 2» may also mean this standard deviation; the paper's step takes many epochs with 0-1 loss.
AT_PAPER_SCALE = (
    TableNetwork("threshold", "zero-one", LearningSettings("flip", 1, "derivative", *STEP)),
    TableNetwork("sigmoid", "cross-entropy", RESAMPLE, sqrt(2)),
    TableNetwork("threshold", "cross-entropy", FLIP, sqrt(2)),
)
# The paper gives the number of hidden layers only; two of 300 and 100 units are in the authors' code, the five are our choice.
SUBSTITUTES = (300, 100), (300, 200, 100, 100, 100)

# Per scale: epochs by loss and of the substitutes, images attacked, noisy runs for LAP, most replications in training.
GlrScale = namedtuple("GlrScale", "cross_entropy zero_one substitute images lap replications", defaults=(10_000,))
SIZES = {
    "smoke": GlrScale(1, 1, 1, 60, 50, 8),
    "course": GlrScale(3, 4, 3, 1_000, 500),
    "paper": GlrScale(12, 24, 10, 5_000, 10_000),
}


def plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[TransferredAttack]:
    """Attack the network of every row via every substitute; network, substitute and prediction noise have the same seed."""
    size = SIZES[scale]
    rows = ROWS + PAPERS_STEP + (AT_PAPER_SCALE if scale == "paper" else ())
    experiments = []
    for seed, row, hidden in product(seeds, rows, SUBSTITUTES):
        trainings = target(row, data, size, seed), substitute(hidden, data, size, seed)
        experiments.append(TransferredAttack(*trainings, ATTACK, size.images, size.lap, seed))
    return experiments


def target(row: TableNetwork, data: Data, size: GlrScale, seed: int) -> Train:
    """Return the training run of a row's network."""
    learning, scale = row.learning, row.noise_scale
    model = NoisyModel(
        HIDDEN,
        row.activation,
        noise="none" if scale is None else "gaussian",
        noise_scale=() if scale is None else (scale,),
        loss=row.loss,
        estimator=learning.estimator,
        replications=min(learning.replications, size.replications),
        last_layer=learning.last_layer,
    )
    return _training(model, data, BATCH, size.cross_entropy if row.loss == "cross-entropy" else size.zero_one, learning, seed)


def substitute(hidden: tuple[int, ...], data: Data, size: GlrScale, seed: int) -> Train:
    """Return the training run of a substitute, by backpropagation."""
    return _training(PerceptronModel(hidden), data, 32, size.substitute, SUBSTITUTE, seed)


def _training(model: Model, data: Data, batch: int, epochs: int, learning: LearningSettings, seed: int) -> Train:
    """Return a training run that keeps the last epoch; the held-out images are used for learning curves, not for selection."""
    rate, optimizer, schedule = learning.learning_rate, learning.optimizer, learning.schedule
    return Train(model, data, batch, epochs, rate, optimizer, seed=seed, validation=VALIDATION, keep="last", schedule=schedule)


HEAD = ["network", "all: orig OT", "adv OT", "adv LAP", "filtered: orig OT", "adv OT", "adv LAP", "paper: orig", "OT", "LAP"]
COLUMNS = [f"{images}.{of}" for images in ("all", "filtered") for of in ("original_ot", "adversarial_ot", "adversarial_lap")]


def table(results: Results) -> Blocks:
    """Show a table for each substitute, means over seeds in percent, with the paper's numbers in the last columns."""
    blocks: Blocks = []
    for chosen in results.by(lambda config: config.substitute.model.hidden).values():
        rows = []
        for name, group in chosen.by(lambda config: name_of(config.target)).items():
            measured = [percent(group.mean(f"{column}.accuracy")) for column in COLUMNS]
            rows.append([name, *measured, *_published(group[0][0])])
        blocks += [Table(HEAD, rows), Text(_legend(chosen))]
    return [*blocks, Text(_notes(results))]


def name_of(train: Train) -> str:
    """Return the name of a row: its network, and how it was trained."""
    return row_name(train.model) + ", the paper's step" * (train.optimizer == "sgd")


def row_name(model: Model) -> str:
    """Return the name of a network: activation, how it was trained, loss, noise."""
    assert isinstance(model, NoisyModel)
    name = model.activation
    name += f" (trained by BP, {'without' if model.noise == 'none' else 'with'} noise)" if model.estimator == "backprop" else ""
    name += ", 0-1 loss" if model.loss == "zero-one" else ""
    return name + (f", σ = {model.noise_scale[0]:.3g}" if model.noise_scale not in ((), (2.0,)) else "")


def _published(config: TransferredAttack) -> list[str]:
    """Return the paper's three accuracies for a network under this attack, in percent, or dashes."""
    model, number = config.target.model, SUBSTITUTES.index(config.substitute.model.hidden)  # type: ignore[union-attr, arg-type]
    assert isinstance(model, NoisyModel)
    if model.estimator == "backprop" and model.noise != "none":
        return ["-", "-", "-"]
    activation = "log-absolute" if model.activation == "log-absolute-minus" else model.activation
    row = PUBLISHED[model.loss, activation, "BP" if model.estimator == "backprop" else "GLR"][number]
    return ["-" if share is None else f"{100 * share:.0f}" for share in row]


def published_for(config: TransferredAttack) -> dict[str, str]:
    """Return the paper's accuracies for an experiment; the keys are the names of the measurements in the report."""
    names = ("filtered original_ot", "filtered adversarial_ot", "filtered adversarial_lap")
    return dict(zip(names, _published(config), strict=True))


def _legend(chosen: Results) -> str:
    config, record = chosen[0]
    hidden = config.substitute.model.hidden
    by_seed = Results((config, record) for config, record in {c.substitute: (c, r) for c, r in chosen}.values())
    clean, broken = (percent(by_seed.mean(f"substitute.{kind}.accuracy")) for kind in ("original", "adversarial"))
    intervals = (each for column in COLUMNS for each in chosen.values(column) if each["of"])
    widest = 100 * max(high - low for low, high in (each["interval"] for each in intervals))
    return (
        f"Accuracy in %, for Table {SUBSTITUTES.index(hidden) + 1} of the paper. Substitute: {len(hidden)} hidden layers "
        f"({'-'.join(map(str, hidden))} ReLU); its own accuracy is {clean} % on the images and {broken} % on the adversarial "
        f"images made against it (FGSM, ε = {config.attack.epsilon:g}). {config.target.data.name}, first {record['images']:,} "
        "test images, held out from all training; filtered: those that the substitute classifies correctly before the attack. "
        f"LAP: {config.replications:,} noisy runs. {in_words(chosen.seeds).capitalize()}{', means' * (len(chosen.seeds) > 1)}; "
        f"95% intervals for one seed are at most {widest:.1f} points wide."
    )


def _notes(results: Results) -> str:
    names = {"cross-entropy": "cross-entropy", "zero-one": "0-1 loss"}
    by_loss = {names[config.target.model.loss]: config.target.epochs for config, _ in results}
    epochs = ", ".join(f"{loss} {number}" for loss, number in by_loss.items())
    return (
        f"{HIDDEN[0]} hidden neurons, trained with the GLR method and cross-entropy unless stated otherwise; Gaussian noise of "
        f"standard deviation 2 in every neuron unless another σ is given. Epochs: {epochs}. The paper's step: gradient descent "
        "with a constant rate of 0.1; otherwise Adam, its rate falling to 0. The paper's figures, by its authors' code, count "
        "filtered images only, on some of which its networks were trained. Its «y = ln -x» may be log-absolute or "
        "log-absolute-minus and is shown next to both."
    )


# -- figures 2, 5, 6 and 7 ---------------------------------------------------------------------------------------------------

JUMPING = ("threshold", "arctan-inverse", "log-absolute", "log-absolute-minus")  # not to be drawn through v = 0


def figures(results: Results) -> Figures:
    """Draw the activations, the losses over the epochs and some pairs of images."""
    responses: dict[str, Callable[..., np.ndarray]] = {f"sigmoid, s = {s:g}": Activation("sigmoid", s) for s in (1.0, 2.0, 10.0)}
    responses["threshold"] = ACTIVATIONS["threshold"].response
    further = [(name, _drawn({name: ACTIVATIONS[name].response})) for name in ("absolute", *JUMPING[1:])]
    pairs = read_pictures(results.folder, results[0][0])
    labels, answers = [str(y) for y in pairs["y"]], [f"seen as {answer}" for answer in pairs["adversarial_substitute"]]
    losses = _losses(results)
    lowest = [
        f"{np.nanmin(lines['validation'][1]):.2f} ({title})"
        for title, lines in losses
        if np.isfinite(lines["validation"][1]).any()
    ]
    said = f"Lowest validation loss: {', '.join(lowest)}." if lowest else ""
    misread = int((pairs["adversarial_substitute"] != pairs["y"]).sum())
    images = image_rows([("original", pairs["x"], labels), ("adversarial", pairs["x_adv"], answers)])
    return {
        "fig2-activations": curves([("", _drawn(responses))], "signal v", "response"),
        "fig7-activations": curves(further, "signal v", "response"),
        "fig5-losses": curves(losses, "epoch", "mean cross-entropy over noise", from_zero=True, conclusion=said),
        "fig6-pairs": conclude(images, f"The substitute misreads {misread} of these {len(labels)} images after the attack."),
    }


def _drawn(functions: dict[str, Callable[..., np.ndarray]]) -> Curves:
    v = np.linspace(-5, 5, 1001)
    drawn = {name: (v, function(v)) for name, function in functions.items()}
    for name in drawn.keys() & set(JUMPING):
        drawn[name][1][len(v) // 2] = np.nan
    return drawn


def _losses(results: Results) -> list[tuple[str, Curves]]:
    """Return the training loss (epoch mean, measured before each update) and the validation loss (at the end of each epoch)."""
    panels: list[tuple[str, Curves]] = []
    networks = {config.target: record["runs"][0] for config, record in results.where(seed=results[0][0].seed)}
    for train, run in networks.items():
        model = train.model
        likelihood_ratio = model.loss == "cross-entropy" and model.estimator != "backprop" and model.noise_scale == (2.0,)
        if likelihood_ratio and model.activation in ("sigmoid", "threshold"):
            metrics = read_run(run_named(results.folder, run)).metrics()
            epochs = np.array([each["epoch"] for each in metrics])
            losses = {"training": "loss", "validation": "validation_loss"}
            values = {name: [np.nan if each.get(key) is None else each[key] for each in metrics] for name, key in losses.items()}
            lines = {name: (epochs, np.array(each, dtype=np.float64)) for name, each in values.items()}
            panels.append((f"{model.activation}, {train.optimizer} {train.learning_rate:g}", lines))
    return panels


GLR_TABLES = Study(
    "glr-tables",
    "Are networks that learned from loss values with noisy neurons harder to fool with a substitute's adversarial images?",
    plan,
    table,
    figures,
    "The likelihood-ratio paper (Xiao, Peng, Hong and Ke, 2019) says that networks trained by its method, from loss "
    "values and with noisy neurons, are significantly more defensive against adversarial images than one trained by "
    "backpropagation: in its Table 1 0.41 to 0.59 of the adversarial images are classified correctly against 0.28, "
    "in its Table 2 0.77 to 0.84 against 0.62, both printed without intervals.",
    published_for,
    captions={
        "fig2-activations": "Response of a neuron over its signal, without unit: steeper sigmoids approach the threshold.",
        "fig5-losses": (
            "Mean cross-entropy (nats) over noise by epoch, first seed: on the training images, before each update, and on the "
            "held-out images, at the end of the epoch."
        ),
        "fig6-pairs": (
            "The first eight test images with their labels, and after one step of FGSM against the first substitute, with its "
            "answers."
        ),
        "fig7-activations": "Response of a neuron over its signal, without unit, for the paper's further activations.",
    },
    dataset=MNIST14,
)
