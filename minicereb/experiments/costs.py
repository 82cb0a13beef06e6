"""What a study would do, and about how long it would take: jobs of each kind are begun, timed and dropped, nothing is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable
from dataclasses import replace
from typing import NamedTuple

from minicereb.attacks.settings import Attack
from minicereb.experiments.configs import AttackedModel, Train
from minicereb.experiments.evaluation.settings import EvaluatedModel
from minicereb.experiments.jobs import Job, is_done
from minicereb.experiments.kinds.broken import BrokenImages
from minicereb.experiments.kinds.conditioning import Conditioning
from minicereb.experiments.kinds.moved import MovedOutputs
from minicereb.experiments.kinds.paired import PairedComparison
from minicereb.experiments.kinds.pole import PoleBalancing
from minicereb.experiments.kinds.transfer_matrix import TransferMatrix
from minicereb.experiments.laboratory import Laboratory
from minicereb.experiments.probes import Probes
from minicereb.robustness.catalogue import BY_STRENGTH, SQUARES, attack_named
from minicereb.robustness.checklist import CHECKED, RANDOM_POINTS, SQUARE_QUERIES

DOUBLED_AND_ON = 7  # times that the checklist makes the strongest attack: with twice the steps, unbounded, at three ε, traced


class Estimate(NamedTuple):
    """What is expected of a job.

    Attributes
    ----------
    job : Train or an experiment
    done : bool
        Whether it is complete, and costs nothing.
    seconds : float or None
        On this machine, in this process; None for kinds that are not probed.
    memory : int or None
        Bytes while it is done, apart from the budget for blocks: data, model, optimiser, the best epoch's copy.
    disk : int or None
        Bytes kept, and for a training its checkpoint.
    at_most : bool
        Whether `seconds` is a bound: as if every image withstood every attack to its last step, and no pole fell. How many do is
        not known before.
    """

    job: Job
    done: bool
    seconds: float | None = None
    memory: int | None = None
    disk: int | None = None
    at_most: bool = False


def estimates(jobs: Iterable[Job], laboratory: Laboratory) -> Generator[Estimate, None, None]:
    """Yield what is expected of each job, probing each kind of training and of attack once."""
    probes, encoders = Probes(laboratory.dataset), set[Train]()
    for job in jobs:
        if is_done(job, laboratory):
            yield Estimate(job, True, 0.0, 0, 0)
            continue
        expected = _expected(job, probes)
        if isinstance(job, Train) and job.encoder is not None and job.encoder not in encoders:  # its features are computed once
            encoders.add(job.encoder)
            expected = (
                expected if _has_features(job.encoder, laboratory) else _with_features(expected, probes.encoding(job.encoder))
            )
        yield expected


def _has_features(encoder: Train, laboratory: Laboratory) -> bool:
    return laboratory.is_trained(encoder) and any(laboratory.run(encoder).folder.glob("features-*.npy"))


def _with_features(expected: Estimate, features: tuple[float, int]) -> Estimate:
    seconds, disk = features
    own = expected.seconds
    return expected._replace(seconds=None if own is None else own + seconds, disk=(expected.disk or 0) + disk)


def _expected(job: Job, probes: Probes) -> Estimate:
    inputs = probes.dataset.inputs
    if isinstance(job, Train):
        seconds, memory, disk = probes.training(job)
        return Estimate(job, False, seconds, memory, disk)
    if isinstance(job, (AttackedModel, MovedOutputs, BrokenImages)):
        ends_early = job.attack.traits.keeps == "first" or job.attack.restarts > 1 or job.attack.targets > 1
        return Estimate(job, False, _attacked(job.train, job.attack, job.images, probes), None, 0, ends_early)
    if isinstance(job, TransferMatrix):
        seconds = sum(_attacked(model, job.attack, job.images, probes) for model in job.models)
        answers = sum((len(job.models) + 1) * job.images * probes.answer(model) for model in job.models)
        return Estimate(job, False, seconds + answers, None, 4 * len(job.models) * job.images * inputs)
    if isinstance(job, EvaluatedModel) and job.answer == "ot":
        return Estimate(job, False, _evaluated(job, probes), None, 4 * job.images * inputs, True)
    if isinstance(job, Conditioning):
        return Estimate(job, False, probes.conditioning(job.session), None, 0)
    if isinstance(job, PoleBalancing):  # at most: a trial ends when the pole falls, and learning when enough of them did not
        building, second = probes.balancing(job.task)
        return Estimate(job, False, building + second * job.task.seconds * (job.trials + len(job.angles)), None, 0, True)
    if isinstance(job, PairedComparison):
        return Estimate(job, False, 0.0, None, 0)
    return Estimate(job, False)


def _attacked(train: Train, attack: Attack, images: int, probes: Probes) -> float:
    """Seconds of an attack whose images all make all its steps."""
    beginning, step = probes.attack(train, attack)
    steps = attack.steps * max(1, attack.targets) if attack.traits.has("steps") else 1
    return images * attack.restarts * (beginning + steps * step)


def _evaluated(job: EvaluatedModel, probes: Probes) -> float:
    """Seconds of an evaluation if every image is right and withstands every attack, certificates and checklist included."""
    gradient, certificate = probes.evaluation(job)
    checked = min(job.images, CHECKED)

    def attack(name: str, epsilon: float, images: int, steps: int | None = None) -> float:
        made = attack_named(name).make(epsilon, job.norm, job.seed, gradient, job.draws)
        against = job.substitutes if attack_named(name).transferred else (job.train,)  # the usual one is small, and left out
        made = made if steps is None else tuple(replace(each, steps=steps) for each in made)
        return sum(_attacked(train, each, images, probes) for each in made for train in against)

    principal = next((name for name in BY_STRENGTH if name in job.attacks), job.attacks[0])
    lasting = [name for name in job.attacks if name in ("pgd-mse", "weak")]  # tried once more, keeping the best point
    seconds = 0.0
    for e, epsilon in enumerate(job.epsilons):
        seconds += sum(attack(name, epsilon, job.images) for name in job.attacks if e == 0 or not attack_named(name).smallest)
        seconds += job.images * certificate
        times = Counter({principal: DOUBLED_AND_ON, "fgsm-mse": 3, "pgd-mse": 1})
        times.update({name: 2 for name in lasting} | ({} if "transfer" in job.attacks else {"transfer": 1}))
        seconds += sum(count * attack(name, epsilon, checked) for name, count in times.items())
        seconds += attack("random", epsilon, checked, RANDOM_POINTS)
        seconds += 0.0 if any(name in job.attacks for name in SQUARES) else attack("square", epsilon, checked, SQUARE_QUERIES)
    return seconds
