"""``minicereb train``: train a model into a run folder."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from minicereb import datasets
from minicereb.attacks.adversarial_training import Adversary
from minicereb.attacks.objectives import OBJECTIVES
from minicereb.attacks.settings import fitting_step, too_short
from minicereb.calculus.activations import ACTIVATIONS
from minicereb.calculus.noise import LAWS
from minicereb.calculus.replicated import LOSSES
from minicereb.cli.main import Group
from minicereb.cli.options import Number, as_json, execution_options, remark_on_size
from minicereb.cli.output import Pace, StatusLine, interruption, print_json, stop_interrupted, warn
from minicereb.datasets import Dataset, registry
from minicereb.errors import InputError, require
from minicereb.experiments.architectures import CerebellumModel, ConvolutionalModel, Model, NoisyModel, PerceptronModel
from minicereb.experiments.configs import Data, Train
from minicereb.experiments.identity import config_hash
from minicereb.experiments.runs import Progress, Run, read_run, run_training
from minicereb.learning.backprop import DESCENDED
from minicereb.learning.estimators import ESTIMATORS, ScoreFunction
from minicereb.learning.glr import LAST_LAYER
from minicereb.learning.optimizers import OPTIMIZERS, SCHEDULES
from minicereb.learning.rules import rule_names
from minicereb.learning.training import CHOOSE_ON
from minicereb.models.convolutional import vgg11

AUGMENT = "Shift each image by up to 4 pixels and mirror half of them, anew in every epoch."


@click.group(cls=Group)
def train() -> None:
    """Train a model; the same command takes up an interrupted training."""


def training_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that every kind of training has."""
    for option in (
        click.option(
            "--dataset",
            default="strokes",
            show_default=True,
            help=f"{registry.accepted()}.",
        ),
        click.option("--epochs", type=int, default=10, show_default=True),
        click.option(
            "--seed", type=int, default=0, show_default=True, help="Seed of wiring, initial weights, orders and validation split."
        ),
        click.option(
            "--validation",
            type=float,
            default=1 / 12,
            show_default="1/12",
            help="Share of the training images held out for choosing.",
        ),
        click.option(
            "--keep",
            type=click.Choice(["best", "last"]),
            default="best",
            show_default=True,
            help="The epoch kept: the best on the held-out images, or the last.",
        ),
        click.option(
            "--choose-on",
            type=click.Choice(CHOOSE_ON),
            default="validation",
            show_default=True,
            help="The images that say which epoch is best: those held out, or the test images, which makes it look too good.",
        ),
        click.option(
            "--schedule",
            type=click.Choice(SCHEDULES),
            default="constant",
            show_default=True,
            help="The learning rate stays, or rises over the first twentieth and falls to 0 along a cosine.",
        ),
        click.option("--out", type=click.Path(path_type=Path), help="Run folder.  [default: runs/NAME-HASH]"),
    ):
        command = option(command)
    return as_json(execution_options(command))


def adversarial_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of adversarial training."""
    for option in (
        click.option(
            "--adversarial-objective",
            type=click.Choice(list(OBJECTIVES)),
            help="What that attack ascends.  [default: what the rule descends]",
        ),
        click.option("--adversarial-step-size", type=Number(), help="Step size of that attack.  [default: 2.5 EPSILON / steps]"),
        click.option("--adversarial-steps", type=int, help="Steps of PGD for each batch.  [default: 7]"),
        click.option(
            "--adversarial", type=Number(), metavar="EPSILON", help="Learn from images attacked within this L∞ bound (PGD)."
        ),
    ):
        command = option(command)
    return command


@train.command()
@click.option("--wiring", type=click.Choice(["full", "random", "local"]), default="random", show_default=True)
@click.option("--cells", type=int, default=200_000, show_default=True, help="Granule cells.")
@click.option("--inputs-per-cell", type=int, help="Mossy fibres that reach a granule cell.  [default: 4; full wiring: all]")
@click.option(
    "--replacement", is_flag=True, help="Random wiring: draw a cell's inputs with replacement, as the authors' code does."
)
@click.option("--patch", is_flag=True, help="Local wiring: a patch of the image instead of a window of its rows.")
@click.option(
    "--ltd/--no-ltd", default=True, show_default=True, help="Centre the granule cells' activity by long-term depression."
)
@click.option("--ltd-decay", type=float, default=0.99, show_default=True, help="Decay of the moving average.")
@click.option(
    "--rule",
    type=click.Choice(rule_names()),
    default="delta",
    show_default=True,
    help="How the readout is learned: by a local rule, or (least-squares) in closed form.",
)
@click.option("--batch-size", type=int, default=10, show_default=True)
@click.option("--learning-rate", type=float, help="Step size of the optimizer.  [default: 0.5 / cells]")
@click.option("--optimizer", type=click.Choice(list(OPTIMIZERS)), default="rmsprop", show_default=True)
@click.option(
    "--encoder",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="A convolutional network, trained on the same data: learn from the features that its convolutions make.",
)
@adversarial_options
@training_options
def cerebellum(**options: Any) -> None:
    """Train a simulated cerebellum: only the synapses onto the Purkinje cells learn."""
    if options["inputs_per_cell"] is None and options["wiring"] != "full":
        options["inputs_per_cell"] = 4
    names = ("wiring", "cells", "inputs_per_cell", "replacement", "patch", "ltd", "ltd_decay", "rule")
    model = CerebellumModel(**{name: options[name] for name in names})
    if options["learning_rate"] is None:
        options["learning_rate"] = 0.5 / model.cells
    encoder = None if options["encoder"] is None else read_run(options["encoder"])
    train_and_report(model, options, adversary_of(options, "mse"), encoder)


@train.command()
@click.option("--hidden", default="300,100", show_default=True, help="Units of each hidden layer; empty for a linear classifier.")
@click.option("--loss", type=click.Choice(list(DESCENDED)), default="cross-entropy", show_default=True)
@click.option("--l2", type=float, default=0.0, show_default=True, help="Penalty ½ l2 Σθ² on the weights.")
@click.option("--l1", type=float, default=0.0, show_default=True, help="Penalty l1 Σ|θ| on the weights.")
@click.option("--batch-size", type=int, default=32, show_default=True)
@click.option("--learning-rate", type=float, default=1e-3, show_default=True)
@click.option("--optimizer", type=click.Choice(list(OPTIMIZERS)), default="adam", show_default=True)
@adversarial_options
@training_options
def mlp(**options: Any) -> None:
    """Train a multilayer perceptron by backpropagation: the control."""
    hidden = numbers("hidden", options["hidden"], int, "300,100")
    model = PerceptronModel(hidden, options["l2"], options["l1"], options["loss"])
    train_and_report(model, options, adversary_of(options, options["loss"]))


@train.command(context_settings={"default_map": {"dataset": "mnist"}})
@click.option(
    "--stages", default="32,64", show_default=True, help="Outputs of the 3x3 convolutions; a / ends a stage: 32,64/128."
)
@click.option("--hidden", default="128", show_default=True, help="Units of each dense hidden layer.")
@click.option("--batch-norm/--no-batch-norm", default=False, show_default=True, help="Normalise each convolution by its batch.")
@click.option("--dropout", default="0.25,0.5", show_default=True, help="Silenced while learning, after pooling and dense layers.")
@click.option("--l2", type=float, default=0.0, show_default=True, help="Penalty ½ l2 Σθ² on the weights.")
@click.option("--batch-size", type=int, default=64, show_default=True)
@click.option("--learning-rate", type=float, default=1e-3, show_default=True)
@click.option("--optimizer", type=click.Choice(list(OPTIMIZERS)), default="adam", show_default=True)
@click.option("--augment/--no-augment", default=False, show_default=True, help=AUGMENT)
@training_options
def cnn(**options: Any) -> None:
    """Train a convolutional network by backpropagation."""
    stages = tuple(numbers("stages", stage, int, "32,64 or 32,64/128") for stage in options["stages"].split("/"))
    hidden = numbers("hidden", options["hidden"], int, "128")
    model = ConvolutionalModel(stages, hidden, options["batch_norm"], shares_silenced(options["dropout"]), options["l2"])
    train_and_report(model, options)


@train.command(context_settings={"default_map": {"epochs": 20, "schedule": "cosine", "dataset": "cifar10"}})
@click.option("--width", type=float, default=1.0, show_default=True, help="Factor of the outputs of every layer but the last.")
@click.option("--dropout", default="0.25,0.5", show_default=True, help="Silenced while learning, after pooling and dense layers.")
@click.option("--l2", type=float, default=5e-4, show_default=True, help="Penalty ½ l2 Σθ² on the weights.")
@click.option("--batch-size", type=int, default=128, show_default=True)
@click.option("--learning-rate", type=float, default=0.05, show_default=True)
@click.option("--optimizer", type=click.Choice(list(OPTIMIZERS)), default="momentum", show_default=True)
@click.option("--augment/--no-augment", default=True, show_default=True, help=AUGMENT)
@training_options
def vgg(**options: Any) -> None:
    """Train the VGG-11 of the cerebellum paper's code by backpropagation."""
    stages, hidden = vgg11(options["width"])
    train_and_report(ConvolutionalModel(stages, hidden, True, shares_silenced(options["dropout"]), options["l2"]), options)


# Where 100 are not what an estimator needs: one of flip or resample is worth more than that.
REPLICATIONS = {"plain": 10_000, "sobol": 128, "flip": 1, "resample": 1, "exact": 1, "backprop": 1}
BY_SCORE = [name for name, estimator in ESTIMATORS.items() if isinstance(estimator, ScoreFunction)]


@train.command(context_settings={"default_map": {"epochs": 30, "schedule": "cosine", "validation": 0.0, "dataset": "strokes14"}})
@click.option("--hidden", default="20", show_default=True, help="Neurons of each hidden layer.")
@click.option("--activation", type=click.Choice(list(ACTIVATIONS)), default="threshold", show_default=True)
@click.option("--slope", type=float, default=1.0, show_default=True, help="Slope of the sigmoid.")
@click.option("--loss", type=click.Choice(list(LOSSES)), default="cross-entropy", show_default=True)
@click.option("--noise", type=click.Choice([*LAWS, "none"]), default="gaussian", show_default=True, help="Law of the noise.")
@click.option("--noise-scale", default="2", show_default=True, help="The law's σ: one for all layers, or one for each.")
@click.option("--noise-degrees", type=float, help="Degrees of freedom of Student's t.  [default: 3]")
@click.option("--output-noise/--no-output-noise", default=True, show_default=True, help="Noise on the outputs too.")
@click.option("--output-activation/--no-output-activation", default=False, show_default=True)
@click.option(
    "--estimator",
    type=click.Choice(list(ESTIMATORS)),
    help="How gradients are estimated.  [default: flip for threshold neurons, resample for others]",
)
@click.option(
    "--replications",
    type=int,
    help="Noise samples per image.  [default: 10000 plain, 128 sobol, 1 flip, resample, exact and backprop, else 100]",
)
@click.option(
    "--last-layer",
    type=click.Choice(LAST_LAYER),
    help="Whether the last layer too learns from loss values, or by the derivative of the loss.  [default: score where it can]",
)
@click.option("--l2", type=float, default=0.0, show_default=True, help="Penalty ½ l2 Σθ² on the weights.")
@click.option("--l1", type=float, default=0.0, show_default=True, help="Penalty l1 Σ|θ| on the weights.")
@click.option("--learn-scale", is_flag=True, help="Let the noise scales learn as well.")
@click.option("--batch-size", type=int, default=50, show_default=True)
@click.option("--learning-rate", type=float, default=0.06, show_default=True)
@click.option("--optimizer", type=click.Choice(list(OPTIMIZERS)), default="adam", show_default=True)
@training_options
def glr(**options: Any) -> None:
    """Train a network with neuronal noise from its loss values (the generalised likelihood ratio method)."""
    options["hidden"] = numbers("hidden", options["hidden"], int, "20 or 64,32")
    noisy = options["noise"] != "none"
    options["noise_scale"] = numbers("noise-scale", options["noise_scale"], float, "2 or 2,1") if noisy else ()
    if options["estimator"] is None:
        options["estimator"] = ("flip" if options["activation"] == "threshold" else "resample") if noisy else "backprop"
    if options["replications"] is None:
        options["replications"] = REPLICATIONS.get(options["estimator"], 100)
    if options["last_layer"] is None:
        options["last_layer"] = "score" if options["estimator"] in BY_SCORE else "derivative"
    train_and_report(NoisyModel(**{field.name: options[field.name] for field in dataclasses.fields(NoisyModel)}), options)


def numbers(setting: str, text: str, kind: type, example: str) -> tuple[Any, ...]:
    """Read numbers with commas between; :class:`InputError` for anything else."""
    try:
        return tuple(kind(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise InputError(setting, text, f"numbers with commas between, for example {example}") from None


def shares_silenced(text: str) -> tuple[float, float]:
    """Read the two shares of ``--dropout``; :class:`InputError` for anything else."""
    dropout = numbers("dropout", text, float, "0.25,0.5")
    if len(dropout) != 2:
        raise InputError("dropout", text, "two numbers with a comma between, for example 0.25,0.5")
    return dropout


def adversary_of(options: dict[str, Any], objective: str) -> Adversary | None:
    """Return whom the options say to learn against, or None; :class:`InputError` if they say how but not within which bound."""
    given = {name: options[f"adversarial_{name}"] for name in ("step_size", "steps", "objective")}
    epsilon = options["adversarial"]
    if epsilon is None:
        for name, value in given.items():
            require(value is None, f"adversarial-{name.replace('_', '-')}", value, "used with --adversarial")
        return None
    for name, size in (("adversarial", epsilon), ("adversarial-step-size", given["step_size"])):
        remark_on_size(name, size)
    steps = 7 if given["steps"] is None else given["steps"]
    step_size = fitting_step(epsilon, max(1, steps)) if given["step_size"] is None else given["step_size"]
    adversary = Adversary(epsilon, step_size, steps, given["objective"] or objective)
    short = too_short(epsilon, steps, step_size)
    if short is not None:
        warn(f"adversarial: {short}")
    return adversary


def train_and_report(
    model: Model, options: dict[str, Any], adversary: Adversary | None = None, encoder: Run | None = None
) -> None:
    """Train, with progress, and print what came of it."""
    dataset = datasets.load(options["dataset"])
    names = ("batch_size", "epochs", "learning_rate", "optimizer", "seed", "validation", "keep", "choose_on", "schedule")
    config = Train(
        model,
        Data(dataset.name, dataset.sha256),
        **{name: options[name] for name in names},
        adversary=adversary,
        augment=options.get("augment", False),
        encoder=None if encoder is None else encoder.config,
    )
    out = options["out"] or default_folder(config)
    run = train_with_progress(config, dataset, out, encoder)
    result = run.result or {}
    if run.warning:
        click.echo(f"warning: {run.warning}", err=True)
    report = {
        "run": str(run.folder),
        **{k: result[k] for k in ("test_accuracy", "train_accuracy", "validation_accuracy", "seconds")},
        **({"warning": run.warning} if run.warning else {}),
    }
    if options["as_json"]:
        print_json(report)
        return
    chosen = " chosen on these images" if config.choose_on == "test" else ""
    click.echo(
        f"{run.folder}: test accuracy {result['test_accuracy']:.2%} on {len(dataset.x_test):,} images "
        f"(training {result['train_accuracy']:.2%}, epoch {result['epoch']}{chosen}, {result['seconds']:.1f} s)"
    )


def run_name(config: Train) -> str:
    """Return the name of a config's run folder: kind of model, data, and the beginning of its hash."""
    return f"{config.model.family}-{Path(config.data.name).stem}-{config_hash(config)[:12]}"


def default_folder(config: Train) -> Path:
    """Return the default run folder, or the one that this training has in ``runs/`` from when its data had another name."""
    usual, key = Path("runs") / run_name(config), config_hash(config)
    if usual.exists() or not usual.parent.is_dir():
        return usual
    before = sorted(each for each in usual.parent.glob(f"{config.model.family}-*-{key[:12]}") if (each / "config.json").is_file())
    return next((each for each in before if read_run(each).hash == key), usual)


def train_with_progress(config: Train, dataset: Dataset, out: Path, encoder: Run | None = None) -> Run:
    """Train into `out` and return the complete run; on Ctrl-C save, say how to go on, and exit with code 130."""
    line, pace, describe = StatusLine(), Pace(), functools.partial(_describe, config=config)
    with interruption() as interrupted, closing(run_training(config, dataset, out, encoder)) as training:
        for progress in training:
            if progress.remark is not None:
                warn(progress.remark)
            line.update(describe(progress, pace))
            if interrupted:
                break
    line.close()
    run = read_run(out)
    if run.result is None:
        stop_interrupted(out)
    return run


def _describe(progress: Progress, pace: Pace, config: Train) -> str:
    position, images = progress.position, progress.images
    if progress.encoded is not None:
        return f"features of {progress.encoded:,} images"
    if progress.done is not None:
        loss, accuracy, seen = progress.done.loss, progress.done.train_accuracy, 0
    else:
        loss, accuracy, seen = position.loss_sum / position.seen, position.correct / position.seen, position.seen
    done, total = position.epoch * images + seen, config.epochs * images
    return (
        f"epoch {min(position.epoch + 1, config.epochs)}/{config.epochs}  {done / total:4.0%}  loss {loss:.4f}  "
        f"accuracy {accuracy:.4f}  {pace.describe(done, total)}"
    )
