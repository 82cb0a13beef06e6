"""A comparison of two evaluated models image by image. It says more about their difference than their two accuracies do."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

from minicereb.documents import Count, Share
from minicereb.errors import DataError, InputError, require
from minicereb.experiments.configs import Cost, Experiment, Train
from minicereb.experiments.costs import Probes
from minicereb.experiments.evaluation.folder import block_paths, read_evaluation, read_outcomes, require_owner
from minicereb.experiments.evaluation.settings import EvaluatedModel, evaluation_folder, owner_of, run_evaluated
from minicereb.experiments.identity import config_kind
from minicereb.experiments.laboratory import Laboratory, Record
from minicereb.experiments.records import require_length, shape
from minicereb.robustness.catalogue import FLIPS
from minicereb.settings import setting
from minicereb.statistics import mcnemar_test, paired_difference_interval

COMPARISON = shape(
    one=Share, other=Share, only_one=Count, only_other=Count, difference=float, interval=tuple[float, float], p=float
)
AT_EPSILON = shape(epsilon=float, attacked=COMPARISON | None, certified=COMPARISON | None)


@config_kind
@dataclass(frozen=True)
class PairedComparison(Experiment):
    """Two evaluations with the same images, norm and attacks, and at least one common ε.

    Attacks that flip the bits of a threshold may differ, since only models that begin with a threshold have them.
    """

    record_shape = shape(images=Count, clean=COMPARISON, epsilons=list[AT_EPSILON])  # type: ignore[valid-type]
    one: EvaluatedModel = setting(help="The first evaluation.")
    other: EvaluatedModel = setting(help="The second evaluation.")

    def __post_init__(self) -> None:
        require(self.one != self.other, "other", "the same evaluation", "an evaluation other than the first one")
        for name in ("images", "norm", "attacks"):
            of_one, of_other = getattr(self.one, name), getattr(self.other, name)
            same = of_one == of_other if name != "attacks" else set(of_one) - set(FLIPS) == set(of_other) - set(FLIPS)
            require(same, name, of_other, f"the same as in the other evaluation: {of_one!r}")
        data, of_other = self.one.train.data, self.other.train.data
        require(data.sha256 == of_other.sha256, "data", of_other.name, f"the same data for both, {data.name}")
        require(
            len(self.epsilons) > 0, "epsilon", self.other.epsilons, f"at least one ε of the other evaluation, {self.one.epsilons}"
        )

    @property
    def epsilons(self) -> tuple[float, ...]:
        """The ε that both evaluations share, ascending."""
        return tuple(epsilon for epsilon in self.one.epsilons if epsilon in self.other.epsilons)

    def check_record(self, record: Record) -> None:
        """Raise :class:`~minicereb.documents.Mismatch` unless a record has an entry for every ε that both evaluations share."""
        require_length(record["epsilons"], len(self.epsilons), "epsilons")

    @property
    def trainings(self) -> tuple[Train, ...]:
        """The training runs of the two models."""
        return (self.one.train, self.other.train)

    @property
    def experiments(self) -> tuple[EvaluatedModel, ...]:
        """The two evaluations."""
        return (self.one, self.other)

    def run(self, laboratory: Laboratory) -> Generator[str, None, Record]:
        """Compare the two evaluations; raise :class:`InputError` if they are not of the same images."""
        yield "comparing two evaluations image by image"
        one, other = (_outcomes(each, laboratory) for each in self.experiments)
        for name in ("ids", "labels"):
            if not np.array_equal(one[name], other[name]):
                raise InputError("other", "an evaluation of other images", f"one with the same {name} of the images")
        by_epsilon = []
        for epsilon in self.epsilons:
            e, f = self.one.epsilons.index(epsilon), self.other.epsilons.index(epsilon)
            sides = {
                side: compared(one[side][e], other[side][f]) if side in one and side in other else None
                for side in ("attacked", "certified")
            }
            by_epsilon.append({"epsilon": epsilon, **sides})
        return {"images": len(one["ids"]), "clean": compared(one["clean"], other["clean"]), "epsilons": by_epsilon}

    def cost(self, probes: Probes) -> Cost:
        """Return a cost of zero: a comparison takes no time once its evaluations are complete."""
        return Cost(0.0, disk=0)


def compared(one: np.ndarray, other: np.ndarray) -> Record:
    """Compare two models by the images that each classifies correctly.

    Parameters
    ----------
    one, other : array of bool, shape (images,)

    Returns
    -------
    dict
        The accuracies ``one`` and ``other``; the numbers of images that only the first model (``only_one``) or only the
        second (``only_other``) classifies correctly; the ``difference`` of the accuracies with its 95% ``interval``
        (Tango); and ``p`` of McNemar's exact test.
    """
    images, only_one, only_other = len(one), int((one & ~other).sum()), int((other & ~one).sum())
    return {
        "one": int(one.sum()) / images,
        "other": int(other.sum()) / images,
        "only_one": only_one,
        "only_other": only_other,
        "difference": (only_one - only_other) / images,
        "interval": list(paired_difference_interval(only_one, only_other, images)),
        "p": mcnemar_test(only_one, only_other),
    }


def _outcomes(config: EvaluatedModel, laboratory: Laboratory) -> dict[str, np.ndarray]:
    """Return image indices, labels, and masks: correctly classified, unbroken by any attack at each ε, certified at each ε."""
    run = run_evaluated(config, laboratory)
    folder, owner = evaluation_folder(run, config), owner_of(config, run)
    found: dict[str, list[np.ndarray]] = {name: [] for name in ("ids", "labels", "clean", "attacked", "certified")}
    for path in block_paths(folder):
        block = read_outcomes(path, owner)
        for name in ("ids", "labels", "clean", "certified"):
            found[name].append(getattr(block, name))
        found["attacked"].append(np.stack([block.survivors(e) for e in range(len(config.epsilons))]))
    if not found["ids"]:
        raise DataError(f"{folder} has no outcomes of images; delete {laboratory.record_path(config)} to evaluate again")
    record = read_evaluation(folder)
    require_owner(record, owner, folder)
    if record["epsilons"][0]["certified"] is None:
        del found["certified"]
    return {name: np.concatenate(parts, axis=-1) for name, parts in found.items()}
