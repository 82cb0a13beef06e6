"""``minicereb train``: train a model into a run folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from minicereb import datasets
from minicereb.attacks.adversarial_training import Adversary
from minicereb.attacks.settings import fitting_step, too_short
from minicereb.cli.main import Group
from minicereb.cli.options import (
    PATH,
    RESULTS,
    execution_options,
    from_options,
    numbers,
    remark_on_size,
    remark_on_unused,
    setting_options,
)
from minicereb.cli.output import Answer, Pace, as_json, finish, warn
from minicereb.datasets import Dataset, registry
from minicereb.errors import require
from minicereb.experiments.architectures import IN_TIME, CerebellumModel, ConvolutionalModel, Model, NoisyModel, PerceptronModel
from minicereb.experiments.configs import Data, Train
from minicereb.experiments.identity import config_hash
from minicereb.experiments.runs import Run, TrainingProgress, read_run, run_training
from minicereb.experiments.usual import usual_of_cerebellum, usual_of_noisy
from minicereb.learning.rules import LEAST_SQUARES
from minicereb.models.convolutional import vgg11

Unused = Sequence[tuple[list[str], str]]


def stages(text: str) -> tuple[tuple[int, ...], ...]:
    """Read comma-separated numbers, with a slash between the stages of a convolutional network."""
    return tuple(map(numbers(int, "32,64 or 32,64/128"), text.split("/")))


@click.group(cls=Group)
def train() -> None:
    """Train a model; the same command continues an interrupted training run."""


def training_options(dataset: str = "strokes", **changes: Any) -> Callable[[Callable], Callable]:
    """Add the options common to all kinds of training; `changes` have the form that :func:`setting_options` takes."""
    names = ["batch_size", "learning_rate", "optimizer", "epochs", "seed", "validation", "keep", "choose_on", "schedule"]
    names += [name for name in changes if name not in names]
    changes = {"epochs": 10, "validation": "1/12", **changes}

    def add(command: Callable) -> Callable:
        command = as_json(execution_options(command))
        command = click.option("--out", type=PATH, help="Run folder.  [default: runs/NAME-HASH]")(command)
        command = setting_options(Train, *names, **changes)(command)
        return click.option("--dataset", default=dataset, show_default=True, help=f"{registry.accepted()}.")(command)

    return add


adversarial_options = setting_options(
    Adversary,
    epsilon={"metavar": "EPSILON"},
    step_size={"usual": "2.5 EPSILON / steps"},
    steps={"default": None, "usual": f"{Adversary.steps}"},
    objective={"default": None, "usual": "the loss that the rule descends"},
)


@train.command()
@setting_options(
    CerebellumModel,
    wiring="random",
    cells=200_000,
    inputs_per_cell={"usual": "4; full wiring: all"},
    threshold={"usual": "0.5 with --mossy-fibres threshold"},
    uncertainty={"usual": "0.1 with --rule pessimistic"},
    pessimism={"usual": "0.5 with --rule pessimistic"},
)
@click.option("--encoder", "behind", type=RESULTS, metavar="RUN", help="Learn from the features of this convolutional network.")
@adversarial_options
@training_options(batch_size=10, learning_rate={"default": None, "usual": "0.5 / cells"}, optimizer="rmsprop")
def cerebellum(behind: Path | None, **options: Any) -> Answer:
    """Train a simulated cerebellum: only the synapses onto the Purkinje cells learn."""
    options |= usual_of_cerebellum(options)
    model = from_options(CerebellumModel, options)
    encoder = None if behind is None else read_run(behind)
    unused: Unused = [(["ltd_decay"], "--no-ltd")] if not options["ltd"] else []
    if options["rule"] == LEAST_SQUARES:
        iterative = ["learning_rate", "epochs", "optimizer", "batch_size", "schedule", "keep", "choose_on", "ltd_decay"]
        unused = [(iterative, f"--rule {LEAST_SQUARES}")]
    return train_and_report(model, options, adversary_of(options, options["loss"]), encoder, unused)


@train.command()
@setting_options(
    PerceptronModel,
    hidden=(300, 100),
    interval_bounds={"metavar": "EPSILON"},
    pessimism={"usual": "0.5 with --interval-bounds"},
)
@adversarial_options
@training_options(batch_size=32, learning_rate=1e-3, optimizer="adam")
def mlp(**options: Any) -> Answer:
    """Train a multilayer perceptron by backpropagation, as a control."""
    if options["interval_bounds"] is not None and options["pessimism"] is None:
        options["pessimism"] = 0.5
    return train_and_report(from_options(PerceptronModel, options), options, adversary_of(options, options["loss"]))


@train.command()
@setting_options(
    ConvolutionalModel,
    stages={
        "default": "32,64",
        "show_default": True,
        "type": stages,
        "help": "Output channels of the 3x3 convolutions, with a / between stages: 32,64/128.",
    },
    hidden=(128,),
)
@training_options("mnist", batch_size=64, learning_rate=1e-3, optimizer="adam", augment=False)
def cnn(**options: Any) -> Answer:
    """Train a convolutional network by backpropagation."""
    return train_and_report(from_options(ConvolutionalModel, options), options)


@train.command()
@click.option("--width", type=float, default=1.0, show_default=True, help="Factor for the width of each layer except the last.")
@setting_options(ConvolutionalModel, "dropout", "l2", l2=5e-4)
@training_options("cifar10", batch_size=128, learning_rate=0.05, optimizer="momentum", epochs=20, schedule="cosine", augment=True)
def vgg(width: float, **options: Any) -> Answer:
    """Train the VGG-11 of the cerebellum paper's code by backpropagation."""
    stages, hidden = vgg11(width)
    return train_and_report(from_options(ConvolutionalModel, options, stages=stages, hidden=hidden, batch_norm=True), options)


@train.command()
@setting_options(
    NoisyModel,
    hidden={"default": None, "usual": "20; 128 unless --network dense", "type": numbers(int, "20 or 64,32")},
    noise_scale={
        "default": None,
        "usual": "2; with --network cnn 0.3 for convolutions, 0.5 for outputs; if recurrent or spiking 0.5,1",
        "type": numbers(float, "2 or 2,1"),
    },
    channels={"default": None, "usual": "16 with --network cnn", "type": numbers(int, "16 or 8,16")},
    presentation={"default": None, "usual": "whole with --network spiking, otherwise rows"},
    estimator={
        "default": None,
        "usual": "flip for threshold neurons, otherwise resample; without noise, backprop or surrogate",
    },
    persistence={"default": None, "usual": "12 with --network recurrent and flip or resample, otherwise 0"},
    replications={
        "default": None,
        "usual": "10000 for plain; 128 for sobol; 1 for flip, resample, exact, backprop and surrogate; otherwise 100",
    },
    last_layer={
        "default": None,
        "usual": "score for dense and cnn, if the estimator uses it; resample for cnn with flip or resample; else derivative",
    },
)
@training_options(
    "strokes14",
    batch_size=50,
    learning_rate={"default": None, "usual": "0.06; cnn: 0.02, recurrent and spiking: 0.01"},
    optimizer="adam",
    epochs=30,
    schedule="cosine",
    validation=0.0,
)
def glr(**options: Any) -> Answer:
    """Train a network with neuronal noise from its loss values (the generalised likelihood ratio method)."""
    options |= usual_of_noisy(options)
    return train_and_report(from_options(NoisyModel, options), options, unused=_without_effect(options))


def _without_effect(options: dict[str, Any]) -> Unused:
    """Return the options of a noisy network that have no effect with its other settings."""
    network, estimator = options["network"], options["estimator"]
    unused = [(["noise_scale", "output_noise"], "--noise none")] if options["noise"] == "none" else []
    draws = network in ("cnn", "recurrent") or (network == "spiking" and estimator != "flip")
    if network != "cnn":
        unused.append((["kernel", "stride", "pool", "pooling"] + ["probes"] * (not draws), f"--network {network}"))
    elif options["pool"] == 1:
        unused.append((["pooling"], "--pool 1"))
    if draws and estimator not in ("flip", "resample"):
        unused.append((["probes"], f"--estimator {estimator}"))
    if network not in IN_TIME:
        unused.append((["steps"], f"--network {network}"))
    elif options["presentation"] == "rows":
        unused.append((["steps"], "--presentation rows"))
    if network != "spiking":
        unused.append((["leak"], f"--network {network}"))
    return unused


def adversary_of(options: dict[str, Any], objective: str) -> Adversary | None:
    """Return the adversary that the options describe, or None if they give no bound.

    Without a bound, the adversary's other options are refused.
    """
    epsilon, step_size, steps, objective_given = (options[name] for name in ("epsilon", "step_size", "steps", "objective"))
    if epsilon is None:
        for name, value in (("step-size", step_size), ("steps", steps), ("objective", objective_given)):
            require(value is None, f"adversarial-{name}", value, "no value without --adversarial")
        return None
    remark_on_size("adversarial", epsilon)
    remark_on_size("adversarial-step-size", step_size)
    steps = Adversary.steps if steps is None else steps
    step_size = fitting_step(epsilon, max(1, steps)) if step_size is None else step_size
    adversary = Adversary(epsilon, step_size, steps, objective_given or objective)
    if short := too_short(epsilon, steps, step_size):
        warn(f"adversarial: {short}")
    return adversary


def train_and_report(
    model: Model,
    options: dict[str, Any],
    adversary: Adversary | None = None,
    encoder: Run | None = None,
    unused: Unused = (),
) -> Answer:
    """Train, show the progress, and return the accuracies.

    `unused` lists parameters, each group with the setting that makes it useless.
    """
    dataset = datasets.load(options["dataset"])
    data, behind = Data(dataset.name, dataset.sha256), None if encoder is None else encoder.config
    config = from_options(Train, options, model=model, data=data, adversary=adversary, encoder=behind)
    for names, beside in unused:
        remark_on_unused(names, beside)
    run = train_with_progress(config, dataset, options["out"] or default_folder(config), encoder)
    result = run.result or {}
    document = {name: result[name] for name in ("test_accuracy", "train_accuracy", "validation_accuracy", "seconds")}
    if run.warning:
        warn(run.warning)
        document["warning"] = run.warning
    chosen = " chosen on these images" if config.choose_on == "test" else ""
    return Answer(
        {"run": run.folder, **document},
        f"{run.folder}: test accuracy {result['test_accuracy']:.2%} on {len(dataset.x_test):,} images "
        f"(training {result['train_accuracy']:.2%}, epoch {result['epoch']}{chosen}, {result['seconds']:.1f} s)",
    )


def default_folder(config: Train) -> Path:
    """Return the default run folder.

    If this run already has a folder that was made when its data had a different name, return that folder.
    """
    key = config_hash(config)
    usual = Path("runs") / f"{config.model.family}-{Path(config.data.name).stem}-{key[:12]}"
    if usual.exists() or not usual.parent.is_dir():
        return usual
    before = sorted(each for each in usual.parent.glob(f"{config.model.family}-*-{key[:12]}") if (each / "config.json").is_file())
    return next((each for each in before if read_run(each).hash == key), usual)


def train_with_progress(config: Train, dataset: Dataset, out: Path, encoder: Run | None = None) -> Run:
    """Train into the folder `out` and return the complete run; on Ctrl-C save, say how to continue, and exit with code 130."""
    pace = Pace()

    def describe(progress: TrainingProgress) -> str:
        position, done = progress.position, progress.done
        if progress.remark is not None:
            warn(progress.remark)
        if progress.encoded is not None:
            return f"features of {progress.encoded:,} images"
        if done is not None:
            loss, accuracy, seen = done.loss, done.train_accuracy, 0
        else:
            loss, accuracy, seen = position.loss_sum / position.seen, position.correct / position.seen, position.seen
        seen, total = position.epoch * progress.images + seen, config.epochs * progress.images
        return (
            f"epoch {min(position.epoch + 1, config.epochs)}/{config.epochs}  {seen / total:4.0%}  loss {loss:.4f}  "
            f"accuracy {accuracy:.4f}  {pace.describe(seen, total)}"
        )

    finish(run_training(config, dataset, out, encoder), describe, out)
    return read_run(out)
