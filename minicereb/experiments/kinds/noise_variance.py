"""How much of the variance of a noisy network's loss comes from single noise values, from each layer and from interactions."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from minicereb.backend import to_device
from minicereb.calculus.replicated import loss_named
from minicereb.calculus.variance_parts import share
from minicereb.datasets.transforms import to_unit
from minicereb.errors import require
from minicereb.experiments.architectures import NoisyModel, build_model
from minicereb.experiments.configs import Experiment, Train
from minicereb.experiments.identity import config_kind
from minicereb.experiments.kinds.estimator_variance import batch
from minicereb.experiments.laboratory import Laboratory, Record
from minicereb.experiments.records import require_length, shape
from minicereb.learning.noise import Address
from minicereb.learning.noise_parts import noise_parts
from minicereb.parallel import one_blas_thread
from minicereb.settings import setting

SHARE = shape(value=float, standard_error=float)


@config_kind
@dataclass(frozen=True)
class NoiseVariance(Experiment):
    """The variance of the loss over the noise, split into parts and averaged over one fixed batch of training images."""

    record_shape = shape(
        variance=float,
        single=SHARE,
        within=SHARE,
        between=SHARE,
        dimension=SHARE,
        alone=list[SHARE],  # type: ignore[valid-type]
        total=list[SHARE],  # type: ignore[valid-type]
    )
    train: Train = setting(help="A noisy network; the estimator that it learns by does not matter.")
    trained: bool = setting(help="Whether the network is measured after its training, or before.")
    samples: int = setting(help="Pairs of noise samples per image.", at_least=3)
    images: int = setting(25, "Number of training images in the batch, which the seed determines.", at_least=1)
    seed: int = setting(0, "Seed of the batch and of the noise.")

    def __post_init__(self) -> None:
        noisy = isinstance(self.train.model, NoisyModel)
        require(noisy, "model", self.train.model.family, "a noisy network (glr)")
        assert isinstance(self.train.model, NoisyModel)
        require(self.train.model.noise != "none", "noise", "none", "a network with noise")

    @property
    def measured_model(self) -> NoisyModel:
        """The network's settings."""
        assert isinstance(self.train.model, NoisyModel)
        return self.train.model

    def check_record(self, record: Record) -> None:
        """Raise :class:`~minicereb.documents.Mismatch` unless a record has an entry for every layer."""
        model = self.measured_model
        for name in ("alone", "total"):
            require_length(record[name], len(model.channels) + len(model.hidden) + 1, name)

    @property
    def trainings(self) -> tuple[Train, ...]:
        """The network's training run, if it is measured after training."""
        return (self.train,) if self.trained else ()

    def run(self, laboratory: Laboratory) -> Generator[str, None, Record]:
        """Split the variance into its parts."""
        yield f"the {'trained' if self.trained else 'untrained'} network's variance: {self.samples:,} pairs of noise samples"
        network = laboratory.model(self.train) if self.trained else build_model(self.train, laboratory.dataset)
        ids = batch(self.train, self.images, self.seed, laboratory)
        x, labels = to_unit(to_device(laboratory.dataset.x_train[ids])), to_device(laboratory.dataset.y_train[ids])
        with one_blas_thread():
            at = Address(self.seed, (), "parts of the variance")
            parts = noise_parts(network, loss_named(self.measured_model.loss), x, labels, self.samples, at)
        variance, layers = parts.variance, parts.alone.sum(axis=0)
        every = {
            "single": parts.single,
            "within": layers - parts.single,
            "between": variance - layers,
            "dimension": parts.weighted,
        }
        record: Record = {name: share(part, variance)._asdict() for name, part in every.items()}
        for name, rows in (("alone", parts.alone), ("total", parts.total)):
            record[name] = [share(row, variance)._asdict() for row in rows]
        return record | {"variance": float(variance.mean())}
