"""Input gradients from several sources: how well their directions agree with the exact gradient, and how long they take."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass, replace

import numpy as np

from minicereb.attacks.gradients import Landscape, noisy_network, source_named
from minicereb.attacks.objectives import objective_named
from minicereb.attacks.settings import REVISIONS
from minicereb.backend import Array, to_device, to_numpy, wait_for_device
from minicereb.datasets.transforms import to_unit
from minicereb.documents import Count, check
from minicereb.experiments.configs import Experiment, Train, describe
from minicereb.experiments.identity import config_kind
from minicereb.experiments.laboratory import Laboratory, Record
from minicereb.experiments.records import shape
from minicereb.models.noisy import NoisyNetwork
from minicereb.parallel import one_blas_thread
from minicereb.settings import setting

REPEATS = 5  # repetitions, of which the median time is used
SOURCE = shape(cosine=float | None, standard_error=float | None, signs=float | None, seconds=float)


@config_kind
@dataclass(frozen=True)
class GradientSources(Experiment):
    """Input gradients from several sources, compared with the exact gradient of a noisy network of at most 20 threshold neurons.

    The images are the first `images` of the first 1,000 test images that are classified correctly without noise.
    """

    record_shape = shape(images=Count, exact=SOURCE)
    train: Train = setting(help="The network.")
    sources: tuple[tuple[str, int], ...] = setting(help="Name of each source and its noise samples per estimate.")
    images: int = setting(help="Number of test images.", at_least=1)
    objective: str = setting("margin", "Objective whose gradient is estimated.")
    seed: int = setting(0, "Seed of the noise.")

    def check_record(self, record: Record) -> None:
        """Raise :class:`~minicereb.documents.Mismatch` unless a record has an entry for every source."""
        check(record, shape(**{f"{name} {draws}": SOURCE for name, draws in self.sources}))

    @property
    def revision(self) -> int:
        """The largest revision of the sources; see :mod:`minicereb.experiments.identity`."""
        return max((REVISIONS.get(name, 0) for name, _ in self.sources), default=0)

    @property
    def trainings(self) -> tuple[Train, ...]:
        """The training run of the network."""
        return (self.train,)

    def run(self, laboratory: Laboratory) -> Generator[str, None, Record]:
        """Compare each source's gradient with the exact gradient: cosine, share of equal signs, and time.

        Signs are compared where the exact gradient is not 0. The exact gradient is the gradient of the mean over the
        hidden neurons' noise. The outputs have no noise, since the exact sum over all hidden patterns cannot include it.
        """
        network, dataset = quiet_outputs(noisy_network(laboratory.model(self.train), "exact")), laboratory.dataset
        with one_blas_thread():
            outputs, _ = network.forward(to_unit(to_device(dataset.x_test[:1000])))
        right = np.flatnonzero(to_numpy(outputs.argmax(axis=1)) == dataset.y_test[:1000])[: self.images]
        x, labels = to_unit(to_device(dataset.x_test[right])), to_device(dataset.y_test[right])
        found: Record = {"images": len(right)}
        yield f"the exact gradient of {describe(self.train)}"
        exact, seconds = _gradient(network, self, "exact", 1, x, labels, repeats=1)
        found["exact"] = {"cosine": 1.0, "standard_error": 0.0, "signs": 1.0, "seconds": seconds}
        for name, draws in self.sources:
            yield f"gradient with respect to {name} of {describe(self.train)}"
            gradient, seconds = _gradient(network, self, name, draws, x, labels, REPEATS)
            cosines = _cosines(gradient, exact)
            there = exact != 0
            found[f"{name} {draws}"] = {
                "cosine": float(cosines.mean()) if len(cosines) else None,
                "standard_error": float(cosines.std(ddof=1) / len(cosines) ** 0.5) if len(cosines) > 1 else None,
                "signs": float((np.sign(gradient) == np.sign(exact))[there].mean()) if there.any() else None,
                "seconds": seconds,
            }
        return found


def quiet_outputs(network: NoisyNetwork) -> NoisyNetwork:
    """Return the network without noise on its outputs."""
    *hidden, last = network.layers
    return NoisyNetwork((*hidden, replace(last, law=None)))


def _gradient(
    network: NoisyNetwork, config: GradientSources, name: str, draws: int, x: Array, labels: Array, repeats: int
) -> tuple[np.ndarray, float]:
    source = source_named(name, network, draws, config.seed)
    landscape, times = Landscape(network, objective_named(config.objective), labels, source), []
    with one_blas_thread():
        for _ in range(repeats):
            began = time.perf_counter()
            _, gradient = landscape.value_and_gradient(x)
            wait_for_device()
            times.append(time.perf_counter() - began)
    return to_numpy(gradient).astype(np.float64), float(np.median(times))


def _cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the cosine of each pair of corresponding rows; 0 if one of the rows is zero."""
    products = (one * other).sum(axis=1)
    lengths = np.sqrt((one * one).sum(axis=1) * (other * other).sum(axis=1))
    return np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
