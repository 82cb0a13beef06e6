"""An experiment is described by nested, frozen settings; equal settings describe the same experiment.

Device, threads, memory and paths belong to the execution, not to the experiment. Data are identified by content, not by name.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from minicereb.attacks.adversarial_training import Adversary
from minicereb.attacks.settings import Attack
from minicereb.errors import require
from minicereb.experiments.architectures import Model
from minicereb.experiments.identity import config_kind
from minicereb.experiments.records import Record
from minicereb.learning.estimators import LEARNED_BY
from minicereb.learning.optimizers import OPTIMIZERS, SCHEDULES
from minicereb.learning.rules import LEAST_SQUARES, PESSIMISTIC
from minicereb.learning.training import CHOOSE_ON
from minicereb.report.formats import strength
from minicereb.settings import Setting, setting

if TYPE_CHECKING:
    from minicereb.experiments.costs import Probes
    from minicereb.experiments.laboratory import Laboratory

config_kind(Adversary)
config_kind(Attack)


class Cost(NamedTuple):
    """Expected cost of a job on this machine; an unknown quantity is None."""

    seconds: float | None = None
    memory: int | None = None  # bytes in addition to the budget for blocks: data, model, optimizer, the copy of the best epoch
    disk: int | None = None  # bytes of the results, and of the checkpoint of a training run
    # whether `seconds` is an upper bound, for the case that every image withstands every attack and no pole falls
    at_most: bool = False


@config_kind
@dataclass(frozen=True)
class Data:
    """A data set, identified by the hash of its content; its name says where to find it."""

    name: str = setting(help="Name of the data set, or a path for your own images.", identity=False)
    sha256: str = setting(help="SHA-256 of the content.")


@config_kind
@dataclass(frozen=True)
class Train:
    """A trained model.

    ``choose_on="test"`` selects the epoch by the accuracy on the test images, as the code of the cerebellum paper does;
    the resulting accuracy is too optimistic.
    """

    model: Model = setting(help="The architecture.")
    data: Data = setting(help="The data set.")
    batch_size: int = setting(help="Number of images per update.", at_least=1)
    epochs: int = setting(help="Number of passes over the training images.", at_least=1)
    learning_rate: float = setting(help="Step size of the optimizer.", above=0)
    optimizer: str = setting("rmsprop", "Optimizer of the weights.", choices=OPTIMIZERS)
    seed: int = setting(0, "Seed of the wiring, initial weights, order of the images and validation split.", at_least=0)
    validation: float = setting(1 / 12, "Share of the training images held out for choosing the best epoch.", at_least=0, below=1)
    keep: str = setting("best", "Which epoch to keep: the best on the held-out images, or the last.", choices=("best", "last"))
    choose_on: str = setting(
        "validation",
        "The images that select the best epoch: the held-out images, or the test images, which makes results too optimistic.",
        choices=CHOOSE_ON,
        added=True,
    )
    schedule: str = setting(
        "constant",
        "Whether the learning rate is constant, or rises over the first twentieth of training, then falls to 0 along a cosine.",
        choices=SCHEDULES,
        added=True,
    )
    adversary: Adversary | None = setting(
        None, "Attack that is made on the images before the model learns from them.", added=True
    )
    augment: bool = setting(
        False,
        "Whether to shift each image by up to 4 pixels, and to mirror half of them, anew in every epoch.",
        off="no-augment",
        added=True,
    )
    encoder: Train | None = setting(None, "Trained convolutional network from whose features a cerebellum learns.", added=True)

    def __post_init__(self) -> None:
        able = self.keep == "best" and self.adversary is None
        require(self.choose_on == "validation" or able, "choose-on", "test", "validation with --keep last or --adversarial")
        if self.adversary is not None:
            able = self.model.family == "mlp" or getattr(self.model, "rule", LEAST_SQUARES) != LEAST_SQUARES
            expected = "no value: only perceptrons and local rules can learn from attacked images"
            require(able, "adversarial", self.adversary.epsilon, expected)
            flat = getattr(self.model, "threshold", None) is not None or getattr(self.model, "rule", None) == PESSIMISTIC
            require(not flat, "adversarial", self.adversary.epsilon, "no value with threshold fibres or the pessimistic rule")
            bounds = getattr(self.model, "interval_bounds", None) is not None
            require(not bounds, "adversarial", self.adversary.epsilon, "no value with --interval-bounds")
        able = self.model.family == "cnn" or not self.augment
        require(able, "augment", self.augment, "no augmentation: it is used only with convolutional networks")
        if self.encoder is not None:
            self._check_encoder(self.encoder)

    @property
    def in_closed_form(self) -> bool:
        """Whether the readout is computed in closed form, so that batches, epochs, learning rate and optimiser do not matter."""
        return getattr(self.model, "rule", None) == LEAST_SQUARES

    @property
    def dependencies(self) -> tuple[Train, ...]:
        """The jobs that must be complete first."""
        return () if self.encoder is None else (self.encoder,)

    def cost(self, probes: Probes) -> Cost:
        """Return the expected cost of training."""
        return probes.training(self)

    def _check_encoder(self, encoder: Train) -> None:
        require(
            self.model.family == "cerebellum", "encoder", encoder.model.description, "no value: it is used only with cerebella"
        )
        require(encoder.model.family == "cnn", "encoder", encoder.model.description, "a convolutional network")
        same = encoder.data.sha256 == self.data.sha256
        expected = f"a network trained on the data it is used on, {self.data.name} (SHA-256 {self.data.sha256[:12]}...)"
        require(same, "encoder", f"trained on {encoder.data.name} (SHA-256 {encoder.data.sha256[:12]}...)", expected)
        require(self.adversary is None, "adversarial", "with an encoder", "no value: the features of its images are fixed")
        patch, rule = getattr(self.model, "patch", False), getattr(self.model, "rule", None)
        threshold = getattr(self.model, "threshold", None)
        require(threshold is None, "threshold", threshold, "no value with an encoder: its features have no common scale")
        require(rule != PESSIMISTIC, "rule", rule, "another wiring with an encoder: its features are not pixels")
        require(not patch, "patch", patch, "no value with an encoder: its features are not an image")
        field = getattr(self.model, "field", None)
        require(field is None, "field", field, "no value with an encoder: its features are not an image")


def describe(train: Train) -> str:
    """Describe a trained model in a few words, for tables and progress lines."""
    against = "" if train.adversary is None else f", against {train.adversary.objective} {train.adversary.epsilon:g}"
    behind = "" if train.encoder is None else ", behind an encoder"
    return f"{train.model.description}{behind}, batch {train.batch_size}{against}"


def describe_training(train: Train) -> str:
    """Describe a trained model by everything that distinguishes it within a study, including its training and its seed."""
    remarks = {
        "with replacement": getattr(train.model, "replacement", False),
        "trained on all images": train.validation == 0,
        "chosen on the test images": train.choose_on == "test",
        "last epoch": train.keep == "last",
    }
    how = "least squares" if train.in_closed_form else f"{train.optimizer} {train.learning_rate:.3g}"
    return ", ".join([describe(train), *(words for words, true in remarks.items() if true), how, f"seed {train.seed}"])


def describe_attack(attack: Attack) -> str:
    """Describe an attack by every setting that distinguishes it from others, except its seed."""
    has = attack.traits.has
    words = [attack.method, attack.objective, f"ε = {strength(attack.epsilon)}" + (" in L2" if attack.norm == "l2" else "")]
    if has("steps"):
        words.append(f"{attack.steps} steps" + (f" of {attack.step_size:.3g}" if has("step_size") else ""))
    if has("decay"):
        words.append(f"decay {attack.decay:g}" + (", Nesterov" if attack.nesterov else ""))
    if not attack.rescale:
        words.append("squares by the ensemble's schedule")
    if has("random_start") and not attack.random_start:
        words.append("from the image")
    if attack.restarts > 1:
        words.append(f"{attack.restarts} starts")
    if attack.targets:
        words.append(f"{attack.targets} targets")
    if has("keep") and attack.keep == "last":
        words.append("last iterate")
    if attack.gradient != "analytic":
        words.append(f"along {attack.gradient}" + (f", {attack.draws} draws" if attack.gradient in LEARNED_BY else ""))
    return ", ".join(words)


IMAGES = Setting("Number of test images to use, starting with the first.", at_least=1)


class Measurement(NamedTuple):
    """An accuracy measured by an experiment, for a report; `share` and `interval` are None if there were no images."""

    model: str
    measure: str
    share: float | None
    interval: Sequence[float] | None
    images: int

    @classmethod
    def of(cls, train: Train, measure: str, record: Record) -> Measurement:
        """Return the ``robust_accuracy`` of a record as a measurement."""
        return cls(describe_training(train), measure, record["robust_accuracy"], record["robust_interval"], record["images"])


class Experiment:
    """Base class of experiments: a frozen dataclass of settings, with a method that runs the experiment.

    A kind of experiment is a subclass decorated with :func:`~minicereb.experiments.identity.config_kind`, in a separate
    module in ``minicereb/experiments/kinds``. A subclass must define :meth:`run`; everything else has a default.
    """

    record_shape: ClassVar[Any] = dict[str, Any]  # the shape of its records, see minicereb.documents
    # whether records are stored in the folder of the run `train`, not in the study's folder
    kept_with_run: ClassVar[bool] = False

    @property
    def trainings(self) -> tuple[Train, ...]:
        """The trained models that the experiment needs; they are trained first."""
        return ()

    @property
    def experiments(self) -> tuple[Experiment, ...]:
        """The experiments whose records this experiment needs; they run first."""
        return ()

    @property
    def dependencies(self) -> tuple[Train | Experiment, ...]:
        """The jobs that must be complete first."""
        return (*self.trainings, *self.experiments)

    @property
    def description(self) -> str:
        """A short description for progress lines, if the names of the trained models are not enough."""
        return ""

    @property
    def revision(self) -> int:
        """A number that is raised when equal settings give new results; see :mod:`minicereb.experiments.identity`."""
        return 0

    def run(self, laboratory: Laboratory) -> Generator[str, None, Record]:
        """Run the experiment once its dependencies are complete; yield progress messages and return a record of JSON values."""
        raise NotImplementedError

    def check_record(self, record: Record) -> None:
        """Raise :class:`~minicereb.documents.Mismatch` if a record of the right shape does not fit these settings."""

    def measured(self, record: Record) -> Iterator[Measurement]:
        """Yield the accuracies in a record from :meth:`~minicereb.experiments.laboratory.Laboratory.result`, for reports."""
        yield from ()

    def cost(self, probes: Probes) -> Cost:
        """Return the expected cost of the experiment; by default it is unknown."""
        return Cost()
