"""An experiment is a value: frozen settings that nest.

Device, threads, memory and paths are execution and not part of it. Data count by content, not by name. What an experiment
stands on it names in ``trainings``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from minicereb.attacks.adversarial_training import Adversary
from minicereb.attacks.settings import Attack
from minicereb.errors import require
from minicereb.experiments.architectures import CerebellumModel, ConvolutionalModel, Model, PerceptronModel
from minicereb.experiments.identity import config_kind
from minicereb.experiments.records import AttackRecord
from minicereb.learning.estimators import ESTIMATORS
from minicereb.learning.optimizers import OPTIMIZERS, SCHEDULES
from minicereb.learning.rules import LEAST_SQUARES
from minicereb.learning.training import CHOOSE_ON
from minicereb.report.formats import strength

config_kind(Adversary)
config_kind(Attack)


@config_kind
@dataclass(frozen=True)
class Data:
    """Which data: the hash is what counts, the name says where to find them again."""

    name: str = field(metadata={"identity": False})
    sha256: str


@config_kind
@dataclass(frozen=True)
class Train:
    """A model, trained.

    Parameters
    ----------
    model : CerebellumModel, PerceptronModel, ConvolutionalModel or NoisyModel
    data : Data
    batch_size, epochs : int
    learning_rate : float
    optimizer : {"rmsprop", "adam", "sgd", "momentum"}
    seed : int
        Of wiring, initial weights, validation split and orders.
    validation : float
        Share of the training images held out for choosing.
    keep : {"best", "last"}
        The epoch kept: the best by validation accuracy, or the last.
    choose_on : {"validation", "test"}
        Which images say what the best epoch is; on the test images, as the first paper's code does it, accuracy is too good.
    schedule : {"constant", "cosine"}
        The learning rate stays, or falls to 0 over the training ``[M-COSINE]``.
    adversary : Adversary, optional
        Who attacks the images before they are learned from, and those held out before the best epoch is chosen ``[M-ADV]``;
        for perceptrons and the delta rule.
    augment : bool
        Whether each image is shifted and mirrored anew in every epoch before it is learned from; for convolutional networks.
    encoder : Train, optional
        The convolutional network, trained on the same data, whose convolutions make the features that a cerebellum learns from.
    """

    model: Model
    data: Data
    batch_size: int
    epochs: int
    learning_rate: float
    optimizer: str = "rmsprop"
    seed: int = 0
    validation: float = 1 / 12
    keep: str = "best"
    choose_on: str = field(default="validation", metadata={"added": True})
    schedule: str = field(default="constant", metadata={"added": True})
    adversary: Adversary | None = field(default=None, metadata={"added": True})
    augment: bool = field(default=False, metadata={"added": True})
    encoder: Train | None = field(default=None, metadata={"added": True})

    def __post_init__(self) -> None:
        require(self.batch_size >= 1, "batch-size", self.batch_size, "a whole number of at least 1")
        require(self.epochs >= 1, "epochs", self.epochs, "a whole number of at least 1")
        require(0 < self.learning_rate < float("inf"), "learning-rate", self.learning_rate, "a number above 0")
        require(self.optimizer in OPTIMIZERS, "optimizer", self.optimizer, ", ".join(OPTIMIZERS))
        require(self.seed >= 0, "seed", self.seed, "a whole number of at least 0")
        require(0 <= self.validation < 1, "validation", self.validation, "a share from 0 to less than 1")
        require(self.keep in ("best", "last"), "keep", self.keep, "best or last")
        require(self.choose_on in CHOOSE_ON, "choose-on", self.choose_on, " or ".join(CHOOSE_ON))
        able = self.keep == "best" and self.adversary is None
        require(self.choose_on == "validation" or able, "choose-on", "test", "validation with --keep last or --adversarial")
        require(self.schedule in SCHEDULES, "schedule", self.schedule, " or ".join(SCHEDULES))
        if self.adversary is not None and not isinstance(self.model, PerceptronModel):
            able = isinstance(self.model, CerebellumModel) and self.model.rule != LEAST_SQUARES
            require(
                able,
                "adversarial",
                self.adversary.epsilon,
                "nothing: only perceptrons and local rules learn so",
            )
        able = isinstance(self.model, ConvolutionalModel)
        require(able or not self.augment, "augment", self.augment, "used with convolutional networks only")
        if self.encoder is not None:
            self._check_encoder(self.encoder)

    def _check_encoder(self, encoder: Train) -> None:
        able = isinstance(self.model, CerebellumModel)
        require(able, "encoder", encoder.model.description, "used with cerebella only")
        able = isinstance(encoder.model, ConvolutionalModel)
        require(able, "encoder", encoder.model.description, "a convolutional network")
        same = encoder.data.sha256 == self.data.sha256
        expected = f"a network trained on the data it is used on, {self.data.name} (SHA-256 {self.data.sha256[:12]}...)"
        require(same, "encoder", f"trained on {encoder.data.name} (SHA-256 {encoder.data.sha256[:12]}...)", expected)
        require(self.adversary is None, "adversarial", "with an encoder", "nothing: the features of its images are fixed")
        patch = getattr(self.model, "patch", False)
        require(not patch, "patch", patch, "nothing with an encoder: its features are no image")


def describe(train: Train) -> str:
    """Return a few words for a trained model, as tables and progress lines call it."""
    against = "" if train.adversary is None else f", against {train.adversary.objective} {train.adversary.epsilon:g}"
    behind = "" if train.encoder is None else ", behind an encoder"
    return f"{train.model.description}{behind}, batch {train.batch_size}{against}"


def describe_attack(attack: Attack) -> str:
    """Return an attack in words, with every setting that tells it from others but its seed."""
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
        words.append(f"along {attack.gradient}" + (f", {attack.draws} draws" if attack.gradient in ESTIMATORS else ""))
    return ", ".join(words)


class Experiment(Protocol):
    """What a study is made of: a frozen dataclass of settings, with the trainings whose models it needs.

    One that needs the records of other experiments as well names these in a property ``experiments``; they are done before it.
    """

    @property
    def trainings(self) -> tuple[Train, ...]:
        """The trainings it stands on, none for a model that has not learned."""


@config_kind
@dataclass(frozen=True)
class AttackedModel:
    """A trained model under an attack: the first `images` of the test images."""

    record_shape: ClassVar[Any] = AttackRecord
    train: Train
    attack: Attack
    images: int

    def __post_init__(self) -> None:
        require(self.images >= 1, "images", self.images, "a whole number of at least 1")

    @property
    def trainings(self) -> tuple[Train, ...]:
        """The one that is attacked."""
        return (self.train,)
