"""The evaluation of a trained model: bounds on its robust accuracy, from above by attacks and from below by certificates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from minicereb.attacks.ball import NORMS
from minicereb.attacks.gradients import binary_stage, fitting_estimator
from minicereb.attacks.settings import DRAWS, GRADIENTS, LARGEST, REVISIONS, SEARCHES
from minicereb.backend import Array, to_numpy
from minicereb.certificates.affine import why_not_certifiable
from minicereb.certificates.certify import certify
from minicereb.certificates.images import verify_image, why_not_complete
from minicereb.certificates.smoothing import smoothing_certificate, why_not_smoothable
from minicereb.datasets.dataset import Dataset
from minicereb.documents import Mismatch
from minicereb.errors import InputError, require
from minicereb.experiments.configs import Cost, Experiment, Measurement, Train, describe, describe_training
from minicereb.experiments.costs import Probes, attack_cost
from minicereb.experiments.evaluation.folder import NOT_ASKED, RECORD, EvaluationRecord, Owner, check_evaluation, evaluate_into
from minicereb.experiments.identity import config_hash, config_kind
from minicereb.experiments.laboratory import Laboratory, Record
from minicereb.experiments.runs import Run
from minicereb.models.noisy import NoisyNetwork
from minicereb.models.prediction import Averaged, average_probabilities
from minicereb.paths import beneath
from minicereb.report.formats import strength
from minicereb.robustness.catalogue import BY_STRENGTH, COMPLETE, SQUARES, STANDARD, attack_named, attacks_named, attacks_on
from minicereb.robustness.checklist import CHECKED, RANDOM_POINTS, SQUARE_QUERIES
from minicereb.robustness.evaluate import Certifier, Decider, EvaluationPlan, EvaluationTarget
from minicereb.robustness.substitutes import substitutes_for
from minicereb.settings import setting

CHECKLISTS = 1  # raised whenever the measurements of the checklist change
SEARCHED = 64  # noisy runs averaged by an attack on the mean prediction
STRONGEST = 7  # cost of the checklist in attacks like the strongest: twice the steps (2), without a bound, at three ε, traced
CERTIFYING = 10_000  # smallest number of noisy runs for a certificate of the mean prediction


@config_kind
@dataclass(frozen=True)
class EvaluatedModel(Experiment):
    """A trained model evaluated with several attacks and certificates.

    The mean prediction of a noisy network (``answer="lap"``) is judged by `replications` runs with fresh noise, which no attack
    has used, and certified with at least 10,000 runs.
    """

    record_shape: ClassVar[Any] = EvaluationRecord
    train: Train = setting(help="The model.")
    epsilons: tuple[float, ...] = setting(help="Largest changes, ascending.", option="epsilon")
    images: int = setting(
        help="Number of test images to use, starting with the first.", at_least=1, usual="1,000, or all if there are fewer"
    )
    attacks: tuple[str, ...] = setting(STANDARD, "Names of the attacks.")
    norm: str = setting("linf", "Norm of the change: the largest change of a pixel, or the Euclidean length.", choices=NORMS)
    certify: bool = setting(True, "Whether to compute certificates.")
    seed: int = setting(0, "Seed of the random starts and of the noise.", at_least=0)
    answer: str = setting(
        "ot", "How a noisy network predicts: without noise (ot), or by its mean probabilities (lap).", choices=("ot", "lap")
    )
    gradient: str = setting(
        "fitting",
        "Source of the input gradient; fitting chooses what suits the model: its own gradient, one through thresholds, or an "
        "estimate.",
        choices=("fitting", *GRADIENTS),
    )
    draws: int = setting(32, "Noise samples per gradient estimate; for eot, calls of the model.", **DRAWS)
    replications: int = setting(1_000, "Number of noisy runs for the prediction lap.", at_least=2, at_most=2**31 - 1)
    seconds_per_image: float = setting(
        60.0, "Time limit of branch and bound per image.", unit="s", above=0, at_most=1e6, added=True
    )
    substitutes: tuple[Train, ...] = setting((), "Other models from which the checklist transfers attacks.")

    def __post_init__(self) -> None:
        check_epsilons(self.epsilons)
        object.__setattr__(self, "attacks", attacks_on(attacks_named(self.attacks), self.fires))

    @property
    def fires(self) -> bool:
        """Whether the model's first stage fires at a threshold."""
        return getattr(self.train.model, "mossy_fibres", "") == "threshold"

    def check_record(self, record: Record) -> None:
        """Raise :class:`~minicereb.documents.Mismatch` unless a record is consistent and fits these settings."""
        check_evaluation(record)
        epsilons = [entry["epsilon"] for entry in record["epsilons"]]
        if epsilons != list(self.epsilons):
            raise Mismatch(epsilons, f"the bounds {list(self.epsilons)}").within("epsilons")

    @property
    def trainings(self) -> tuple[Train, ...]:
        """The model to evaluate, and the models from which attacks are transferred."""
        return (self.train, *self.substitutes)

    @property
    def revision(self) -> int:
        """See :mod:`minicereb.experiments.identity`."""
        searches = {search["method"] for name in self.attacks for search in attack_named(name).searches}
        moved = max((SEARCHES.get(method, 0) for method in searches), default=0)
        # models with a threshold once had gradients of zero
        return REVISIONS.get(self.gradient, 0) + CHECKLISTS + self.fires + moved

    def gradient_of(self, model: Any) -> str:
        """Return the source of the input gradient for attacks on a model."""
        return fitting_gradient(model, self.answer) if self.gradient == "fitting" else self.gradient

    def certifier_of(self, model: Any) -> tuple[Certifier | None, str | None]:
        """Return the function that certifies a model, or None and the reason."""
        if not self.certify or self.answer == "ot":
            return bounds_of(model, self.certify)
        why = why_not_smoothable(model)
        if why is not None:
            return None, why

        def certifier(x: Array, labels: Array, ids: np.ndarray, epsilon: float, norm: str) -> tuple[Array, Array]:
            runs = max(self.replications, CERTIFYING)
            return smoothing_certificate(model, x, labels, ids, epsilon, norm, runs, self.seed)

        return certifier, None

    def run(self, laboratory: Laboratory) -> Generator[str, None, Record]:
        """Evaluate the model and write the results into the folder of its run."""
        model, run = laboratory.model(self.train), run_evaluated(self, laboratory)
        substitutes = {describe(train): laboratory.model(train) for train in self.substitutes}
        with closing(evaluate_run(self, run, model, laboratory.dataset, substitutes)) as evaluation:
            while True:
                try:
                    yield f"evaluating {describe(self.train)}, {next(evaluation)}"
                except StopIteration as stop:
                    return stop.value

    def measured(self, record: Record) -> Iterator[Measurement]:
        """Yield the accuracy under attack and the certified accuracy at every ε."""
        for entry in record["epsilons"]:
            for side in ("attacked", "certified"):
                measure = f"{side}, {record['answer'].upper()}, ε = {strength(entry['epsilon'])}"
                model, interval = describe_training(self.train), entry[f"{side}_interval"]
                yield Measurement(model, measure, entry[side], interval, record["images"])

    def cost(self, probes: Probes) -> Cost:
        """Return the cost, with certificates and checklist, in the worst case, in which every image withstands every attack."""
        if self.answer != "ot":
            return Cost()
        gradient, certificate = probes.evaluation(self)
        checked = min(self.images, CHECKED)

        def attack(name: str, epsilon: float, images: int, steps: int | None = None) -> float:
            made = attack_named(name).make(epsilon, self.norm, self.seed, gradient, self.draws)
            against = self.substitutes if attack_named(name).transferred else (self.train,)  # the standard substitute is small
            made = made if steps is None else tuple(replace(each, steps=steps) for each in made)
            return sum(attack_cost(train, each, images, probes).seconds or 0.0 for each in made for train in against)

        principal = next((name for name in BY_STRENGTH if name in self.attacks), self.attacks[0])
        lasting = [name for name in self.attacks if name in ("pgd-mse", "weak")]  # repeated, keeping the best point
        seconds = 0.0
        for e, epsilon in enumerate(self.epsilons):
            names = [name for name in self.attacks if e == 0 or not attack_named(name).smallest]
            seconds += sum(attack(name, epsilon, self.images) for name in names) + self.images * certificate
            times = Counter({principal: STRONGEST, "fgsm-mse": 3, "pgd-mse": 1})
            times.update({name: 2 for name in lasting} | ({} if "transfer" in self.attacks else {"transfer": 1}))
            seconds += sum(count * attack(name, epsilon, checked) for name, count in times.items())
            seconds += attack("random", epsilon, checked, RANDOM_POINTS)
            squares = any(name in self.attacks for name in SQUARES)
            seconds += 0.0 if squares else attack("square", epsilon, checked, SQUARE_QUERIES)
        return Cost(seconds, None, 4 * self.images * probes.dataset.inputs, True)


def fitting_gradient(model: Any, answer: str = "ot") -> str:
    """Return the source of the input gradient that suits a model, one of the values of `--gradient`."""
    if binary_stage(model) is not None:
        return "straight-through"
    if not isinstance(model, NoisyNetwork):
        return "analytic"
    name = fitting_estimator(model)
    return "analytic" if name == "backprop" and answer == "ot" else name


def check_epsilons(epsilons: tuple[float, ...]) -> None:
    """Raise :class:`InputError` unless `epsilons` are valid attack bounds in ascending order."""
    shown = ",".join(f"{epsilon:g}" for epsilon in epsilons)
    require(len(epsilons) > 0, "epsilon", shown, "at least one number")
    require(all(0 <= epsilon <= LARGEST for epsilon in epsilons), "epsilon", shown, f"numbers from 0 to {LARGEST:g}")
    require(list(epsilons) == sorted(set(epsilons)), "epsilon", shown, "different numbers in ascending order")


def check_images(config: Any, dataset: Dataset) -> None:
    """Raise :class:`InputError` if the data have fewer test images than are to be evaluated."""
    available = len(dataset.x_test)
    require(config.images <= available, "images", config.images, f"a whole number from 1 to the {available} test images")


def target_of(config: Any, dataset: Dataset, trained: dict[str, Any], **model: Any) -> EvaluationTarget:
    """Return what an evaluation attacks: a `model`, with a standard substitute and the `trained` models for transfer attacks.

    An :class:`InputError` is raised if all attacks are transferred and there is no model from which to transfer them.
    """
    substitutes, why = substitutes_for(dataset, config.seed, trained)
    if not substitutes and all(attack_named(name).transferred for name in config.attacks):
        attacks = ",".join(config.attacks)
        raise InputError("attacks", attacks, f"also attacks on the model itself: there is no other model ({why})")
    return EvaluationTarget(
        decider=_decider_of(config, model["model"]) if COMPLETE in config.attacks else None,
        rows=dataset.x_test,
        labels=dataset.y_test,
        image_shape=dataset.image_shape,
        draws=config.draws,
        substitutes=substitutes,
        no_substitute=why,
        **model,
    )


def _decider_of(config: Any, model: Any) -> Decider:
    """Return the complete verifier of a model; raise :class:`InputError` if none can be used for it."""
    why = why_not_complete(model, config.norm) if config.certify else NOT_ASKED
    if why is not None:
        raise InputError("complete", type(model).__name__, f"a model, norm and certificates for branch and bound: {why}")
    seconds = getattr(config, "seconds_per_image", EvaluatedModel.seconds_per_image)
    return lambda x, label, epsilon: verify_image(model, x, label, epsilon, seconds)


def bounds_of(model: Any, certify_it: bool) -> tuple[Certifier | None, str | None]:
    """Return the function that certifies a model by interval bounds and CROWN, or None and the reason."""
    why = why_not_certifiable(model) if certify_it else NOT_ASKED
    return (None, why) if why else (lambda x, labels, ids, epsilon, norm: certify(model, x, labels, epsilon, norm), None)


def evaluation_folder(run: Run, config: EvaluatedModel) -> Path:
    """Return the folder of a run's evaluation."""
    return beneath(run.folder, "evaluations", config_hash(config)[:16])


def run_evaluated(config: EvaluatedModel, laboratory: Laboratory) -> Run:
    """Return the first complete run that was evaluated, or else the first complete run, or else the study's incomplete run."""
    runs = list(laboratory.complete_runs(config.train)) or [laboratory.run(config.train)]
    return next((run for run in runs if (evaluation_folder(run, config) / RECORD).exists()), runs[0])


def evaluate_run(
    config: EvaluatedModel, run: Run, model: Any, dataset: Dataset, substitutes: dict[str, Any]
) -> Generator[str, None, Record]:
    """Evaluate the model of a run and write the results into its folder; yield the progress and return the record.

    An :class:`InputError` is raised if a mean prediction is requested from a model without noise, or if the data have fewer
    test images than the evaluation needs.
    """
    check_images(config, dataset)
    noisy = isinstance(model, NoisyNetwork) and any(layer.law is not None for layer in model.layers)
    if config.answer == "lap" and not noisy:
        raise InputError("answer", "lap", "ot: only a network with noise has a mean prediction")

    def judge(x: Array, ids: np.ndarray) -> np.ndarray:
        mean = average_probabilities(model, x, ids, config.replications, config.seed)
        return to_numpy(mean.argmax(axis=1))

    averaged = config.answer == "lap"
    (certifier, why), gradient = config.certifier_of(model), config.gradient_of(model)
    target = target_of(
        config,
        dataset,
        substitutes,
        model=Averaged(model, SEARCHED, config.seed) if averaged else model,
        classes=dataset.classes,
        gradient=gradient,
        judge=judge if averaged else None,
        certifier=certifier,
    )
    about: Record = {"run": str(run.folder), "model": describe(config.train), "data": dataset.name, "answer": config.answer}
    about |= {"gradient": gradient, "no_certificate": why}
    plan, folder = EvaluationPlan(config.epsilons, config.attacks, config.norm, config.seed), evaluation_folder(run, config)
    return (yield from evaluate_into(folder, target, plan, config.images, about, owner_of(config, run)))


def owner_of(config: EvaluatedModel, run: Run) -> Owner:
    """Return the :class:`Owner` of an evaluation: its settings and its model."""
    return Owner(config_hash(config), run.manifest["model_sha256"])
