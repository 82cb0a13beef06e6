"""An experiment is a value: frozen settings that nest.

Device, threads, memory and paths are execution and not part of it. Data count by content, not by name. What an experiment
stands on it names in ``trainings``.
"""

from __future__ import annotations

from dataclasses import dataclass
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
from minicereb.settings import Setting, field_of, setting

config_kind(Adversary)
config_kind(Attack)


@config_kind
@dataclass(frozen=True)
class Data:
    """Which data: the hash of the content counts, the name says where to find it again."""

    name: str = setting(help="Name of the data set, or a path for your own images.", identity=False)
    sha256: str = setting(help="SHA-256 of the content.")


@config_kind
@dataclass(frozen=True)
class Train:
    """A model, trained.

    ``choose_on="test"`` is for the first paper's code, which does so: accuracy then looks too good.
    """

    model: Model = setting(help="The architecture.")
    data: Data = setting(help="The data set.")
    batch_size: int = setting(help="Number of images per update.", at_least=1)
    epochs: int = setting(help="Number of passes over the training images.", at_least=1)
    learning_rate: float = setting(help="Step size of the optimizer.", above=0)
    optimizer: str = setting("rmsprop", "Optimizer of the weights.", choices=OPTIMIZERS)
    seed: int = setting(0, "Seed of wiring, initial weights, order of the images and validation split.", at_least=0)
    validation: float = setting(1 / 12, "Share of the training images held out for choosing the best epoch.", at_least=0, below=1)
    keep: str = setting("best", "The epoch kept: the best on the held-out images, or the last.", choices=("best", "last"))
    choose_on: str = setting(
        "validation",
        "The images that say which epoch is best: those held out, or the test images, which makes it look too good.",
        choices=CHOOSE_ON,
        added=True,
    )
    schedule: str = setting(
        "constant",
        "Whether the learning rate stays, or rises over the first twentieth and falls to 0 along a cosine.",
        choices=SCHEDULES,
        added=True,
    )
    adversary: Adversary | None = setting(None, "Opponent that attacks the images before they are learned from.", added=True)
    augment: bool = setting(
        False,
        "Whether each image is shifted by up to 4 pixels, and half of them mirrored, anew in every epoch.",
        off="no-augment",
        added=True,
    )
    encoder: Train | None = setting(None, "Trained convolutional network from whose features a cerebellum learns.", added=True)

    def __post_init__(self) -> None:
        able = self.keep == "best" and self.adversary is None
        require(self.choose_on == "validation" or able, "choose-on", "test", "validation with --keep last or --adversarial")
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


IMAGES = Setting("Number of test images, the first ones.", at_least=1)


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
    train: Train = setting(help="The model.")
    attack: Attack = setting(help="The attack.")
    images: int = field_of(IMAGES)

    @property
    def trainings(self) -> tuple[Train, ...]:
        """The one that is attacked."""
        return (self.train,)
