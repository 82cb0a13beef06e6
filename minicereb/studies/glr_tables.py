"""Tables 1 and 2 of the likelihood-ratio paper: networks with noisy neurons, attacked by way of a substitute."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import sqrt
from typing import NamedTuple

from minicereb.attacks.settings import Attack
from minicereb.experiments.architectures import Model, NoisyModel, PerceptronModel
from minicereb.experiments.configs import Data, Train
from minicereb.experiments.kinds.transfer import TransferredAttack
from minicereb.experiments.laboratory import Record
from minicereb.report.pipes import markdown
from minicereb.studies.glr_figures import figures
from minicereb.studies.published import GLR_TABLE_1, GLR_TABLE_2, Transferred
from minicereb.studies.study import Results, Study

HIDDEN, BATCH, VALIDATION = (20,), 25, 1 / 12
ATTACK = Attack("fgsm", "cross-entropy", 0.1)  # the paper gives no ε; this one reproduces its Table 1 from the released weights


class Learning(NamedTuple):
    """How a row's network learns."""

    estimator: str
    replications: int
    last_layer: str
    learning_rate: float
    optimizer: str = "adam"
    schedule: str = "cosine"


FLIP = Learning("flip", 2, "derivative", 0.04)
RESAMPLE = Learning("resample", 2, "derivative", 0.02)
BACKPROP = Learning("backprop", 1, "derivative", 0.01)
NOISY_BACKPROP = Learning("backprop", 8, "derivative", 0.01)
SUBSTITUTE = Learning("backprop", 1, "derivative", 0.001)  # all substitutes; a perceptron knows no other estimator


class Row(NamedTuple):
    """A row of the tables: activation, loss, how it learns, scale of the Gaussian noise (None: no noise)."""

    activation: str
    loss: str
    learning: Learning
    noise_scale: float | None = 2.0


ROWS = (
    Row("sigmoid", "cross-entropy", BACKPROP, None),
    Row("sigmoid", "cross-entropy", NOISY_BACKPROP),
    Row("sigmoid", "cross-entropy", RESAMPLE),
    Row("threshold", "cross-entropy", FLIP),
    Row("absolute", "cross-entropy", RESAMPLE),
    Row("arctan-inverse", "cross-entropy", RESAMPLE),
    Row("log-absolute", "cross-entropy", RESAMPLE),
    Row("log-absolute-minus", "cross-entropy", RESAMPLE),
    Row("sigmoid", "zero-one", RESAMPLE),
    Row("threshold", "zero-one", FLIP),
    Row("log-absolute", "zero-one", RESAMPLE),
)
# The same networks after the paper's own steps, which do not take them as far: robustness to transfer falls as they learn on.
STEP = (0.1, "sgd", "constant")
PAPERS_STEP = (
    Row("sigmoid", "cross-entropy", Learning("backprop", 1, "derivative", *STEP), None),
    Row("sigmoid", "cross-entropy", Learning("backprop", 8, "derivative", *STEP)),
    Row("sigmoid", "cross-entropy", Learning("resample", 1, "derivative", *STEP)),
    Row("threshold", "cross-entropy", Learning("flip", 1, "derivative", *STEP)),
)
# At paper scale only: «variance σ = 2» may also mean this standard deviation; the paper's step takes many epochs with 0-1 loss.
AT_PAPER_SCALE = (
    Row("threshold", "zero-one", Learning("flip", 1, "derivative", *STEP)),
    Row("sigmoid", "cross-entropy", RESAMPLE, sqrt(2)),
    Row("threshold", "cross-entropy", FLIP, sqrt(2)),
)
# The paper gives the number of hidden layers only; two of 300 and 100 units are in the authors' code, the five are our choice.
SUBSTITUTES = {(300, 100): GLR_TABLE_1, (300, 200, 100, 100, 100): GLR_TABLE_2}


class Size(NamedTuple):
    """Epochs by loss and of the substitutes, images attacked, noisy runs for an answer by LAP, most replications in learning."""

    cross_entropy: int
    zero_one: int
    substitute: int
    images: int
    lap: int
    replications: int = 10_000


SIZES = {"smoke": Size(1, 1, 1, 60, 50, 8), "course": Size(3, 4, 3, 1_000, 500), "paper": Size(12, 24, 10, 5_000, 10_000)}


def plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[TransferredAttack]:
    """Every row by way of every substitute; network, substitute and noise of an answer have the same seed."""
    size = SIZES[scale]
    rows = ROWS + PAPERS_STEP + (AT_PAPER_SCALE if scale == "paper" else ())
    experiments = []
    for seed, row, hidden in product(seeds, rows, SUBSTITUTES):
        trainings = target(row, data, size, seed), substitute(hidden, data, size, seed)
        experiments.append(TransferredAttack(*trainings, ATTACK, size.images, size.lap, seed))
    return experiments


def target(row: Row, data: Data, size: Size, seed: int) -> Train:
    """Return the training of a row's network."""
    learning = row.learning
    model = NoisyModel(
        HIDDEN,
        row.activation,
        noise="none" if row.noise_scale is None else "gaussian",
        noise_scale=() if row.noise_scale is None else (row.noise_scale,),
        loss=row.loss,
        estimator=learning.estimator,
        replications=min(learning.replications, size.replications),
        last_layer=learning.last_layer,
    )
    epochs = size.cross_entropy if row.loss == "cross-entropy" else size.zero_one
    return _training(model, data, BATCH, epochs, learning, seed)


def substitute(hidden: tuple[int, ...], data: Data, size: Size, seed: int) -> Train:
    """Return the training of a substitute, by backpropagation."""
    return _training(PerceptronModel(hidden), data, 32, size.substitute, SUBSTITUTE, seed)


def _training(model: Model, data: Data, batch: int, epochs: int, learning: Learning, seed: int) -> Train:
    """The last epoch is kept: the images held out are for the learning curves, nothing is chosen by them."""
    rate, optimizer, schedule = learning.learning_rate, learning.optimizer, learning.schedule
    return Train(model, data, batch, epochs, rate, optimizer, seed=seed, validation=VALIDATION, keep="last", schedule=schedule)


HEAD = ["network", "all: orig OT", "adv OT", "adv LAP", "filtered: orig OT", "adv OT", "adv LAP", "paper: orig", "OT", "LAP"]
COLUMNS = tuple(product(("all", "filtered"), ("original_ot", "adversarial_ot", "adversarial_lap")))


def table(results: Results) -> str:
    """Return a table for each substitute, means over seeds in percent, with the paper's figures in the last columns."""
    parts = []
    for number, (hidden, published) in enumerate(SUBSTITUTES.items(), 1):
        chosen = [(config, record) for config, record in results if config.substitute.model.hidden == hidden]
        networks = list(dict.fromkeys(name_of(config.target) for config, _ in chosen))
        rows = []
        for name in networks:
            of_network = [(config, record) for config, record in chosen if name_of(config.target) == name]
            measured = [_mean([record[subset][column] for _, record in of_network]) for subset, column in COLUMNS]
            rows.append([name, *measured, *_published(of_network[0][0].target.model, published)])
        parts.append("\n".join([*markdown(HEAD, rows), "", _caption(number, chosen)]))
    return "\n\n".join([*parts, _notes(results)])


def name_of(train: Train) -> str:
    """Return what a row is called: its network, and how it learned."""
    return row_name(train.model) + (", the paper's step" if train.optimizer == "sgd" else "")


def row_name(model: Model) -> str:
    """Return what a network is called: activation, by what it was trained, loss, noise."""
    assert isinstance(model, NoisyModel)
    name = model.activation
    name += f" (trained by BP, {'without' if model.noise == 'none' else 'with'} noise)" if model.estimator == "backprop" else ""
    name += ", 0-1 loss" if model.loss == "zero-one" else ""
    return name + (f", σ = {model.noise_scale[0]:.3g}" if model.noise_scale not in ((), (2.0,)) else "")


def _published(model: NoisyModel, published: dict[tuple[str, str, str], Transferred]) -> list[str]:
    if model.estimator == "backprop" and model.noise != "none":
        return ["-", "-", "-"]
    activation = "log-absolute" if model.activation == "log-absolute-minus" else model.activation
    row = published[model.loss, activation, "BP" if model.estimator == "backprop" else "GLR"]
    return ["-" if share is None else f"{100 * share:.0f}" for share in row]


def published_for(config: TransferredAttack) -> dict[str, str]:
    """Return what the paper prints for an experiment, as a report names what was measured."""
    table = SUBSTITUTES[config.substitute.model.hidden]  # type: ignore[union-attr, index]
    printed = _published(config.target.model, table)  # type: ignore[arg-type]
    return dict(zip(("filtered original_ot", "filtered adversarial_ot", "filtered adversarial_lap"), printed, strict=True))


def _mean(shares: list[Record | None]) -> str:
    accuracies = [share["accuracy"] for share in shares if share is not None and share["accuracy"] is not None]
    return f"{100 * sum(accuracies) / len(accuracies):.1f}" if accuracies else "-"


def _caption(number: int, chosen: Results) -> str:
    config, record = chosen[0]
    hidden = config.substitute.model.hidden
    seeds = sorted({c.target.seed for c, _ in chosen})
    by_seed = {c.substitute: r["substitute"] for c, r in chosen}.values()
    clean, fooled = (_mean([each[kind] for each in by_seed]) for kind in ("original", "adversarial"))
    widest = 100 * max(high - low for _, r in chosen for low, high in _intervals(r))
    return (
        f"Accuracy in %, for Table {number} of the paper. Substitute: {len(hidden)} hidden layers "
        f"({'-'.join(map(str, hidden))} ReLU), itself right on {clean} % of the images and on {fooled} % of its own adversarial "
        f"images (FGSM, ε = {config.attack.epsilon:g}). {config.target.data.name}, first {record['images']:,} test images, held "
        f"out from all training; filtered: those that the substitute classifies correctly before the attack. LAP: "
        f"{config.replications:,} noisy runs. Seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
        f"{', means' * (len(seeds) > 1)}; 95% intervals for one seed are at most {widest:.1f} points wide."
    )


def _intervals(record: Record) -> Iterator[list[float]]:
    for subset, column in COLUMNS:
        share = record[subset][column]
        if share is not None and share["of"]:
            yield share["interval"]


def _notes(results: Results) -> str:
    names = {"cross-entropy": "cross-entropy", "zero-one": "0-1 loss"}
    by_loss = {names[config.target.model.loss]: config.target.epochs for config, _ in results}
    epochs = ", ".join(f"{loss} {number}" for loss, number in by_loss.items())
    return (
        f"{HIDDEN[0]} hidden neurons, trained with the GLR method and cross-entropy unless something else is named; Gaussian "
        f"noise of standard deviation 2 in every neuron unless another σ is named. Epochs: {epochs}. The paper's step: gradient "
        "descent with a constant rate of 0.1; else Adam, its rate falling to 0. The paper's numbers, by its authors' code, count "
        "filtered images only, on some of which its networks were trained. Its «y = ln -x» may be log-absolute or "
        "log-absolute-minus and stands beside both."
    )


GLR_TABLES = Study(
    "glr-tables",
    "Are networks that learned from loss values with noisy neurons harder to fool by a substitute's adversarial images?",
    {"smoke": "strokes14", "course": "mnist14", "paper": "mnist14"},
    plan,
    table,
    figures,
    expectation=(
        "The likelihood-ratio paper (Xiao, Peng, Hong and Ke, 2019) says that networks trained by its method, from loss "
        "values and with noisy neurons, are significantly more defensive against adversarial images than one trained by "
        "backpropagation: in its Table 1 0.41 to 0.59 of the adversarial images are classified correctly against 0.28, "
        "in its Table 2 0.77 to 0.84 against 0.62, both printed without intervals."
    ),
    published=published_for,
    captions={
        "fig2-activations": (
            "The response of a neuron over its signal, without unit: sigmoids of growing slope come close to the threshold."
        ),
        "fig5-losses": (
            "Mean cross-entropy (nats) over noise by epoch, of the first seed: on the images learned from, before "
            "each update, and on those held out, at the end of the epoch."
        ),
        "fig6-pairs": (
            "The first eight test images with their labels, and after one step of FGSM against the first "
            "substitute with its answers."
        ),
        "fig7-activations": "The response of a neuron over its signal, without unit, for the paper's further activations.",
    },
)
