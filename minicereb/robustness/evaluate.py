"""Bounds on the robust accuracy of any classifier, image by image: attacks from above, certificates from below."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice, product
from typing import Any

import numpy as np

from minicereb.attacks.ball import whole_box, with_rounding
from minicereb.attacks.classifier import guarded
from minicereb.attacks.run import attack_images
from minicereb.attacks.settings import Attack
from minicereb.backend import Array, to_device, to_numpy
from minicereb.certificates.complete import Decision
from minicereb.datasets.transforms import to_unit
from minicereb.errors import InternalError, require
from minicereb.inputs import as_ids, as_labels, check_image_shape, check_images, check_rows
from minicereb.parallel import blocks, images_per_block, one_blas_thread
from minicereb.robustness.catalogue import COMPLETE, attack_named
from minicereb.robustness.optional import attempt
from minicereb.robustness.outcomes import BROKEN, WITHSTOOD, Outcomes

Certifier = Callable[[Array, Array, np.ndarray, float, str], tuple[Array, Array]]
Decider = Callable[[np.ndarray, int, float], Decision]
Judge = Callable[[Array, np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class EvaluationTarget:
    """A model to evaluate, with its data, the source of its gradient, and the judge of its predictions.

    Parameters
    ----------
    model : classifier
        The model that is attacked.
    rows : array of uint8 or float, shape (all images, inputs)
    labels : array of int, shape (all images,) or (all images, 1)
    image_shape : tuple of int
    classes : int
    gradient : str
        Source of the input gradient (see :func:`minicereb.attacks.gradients.source_named`).
    draws : int
        Number of noise samples per gradient estimate; for ``"eot"``, the number of calls of the model.
    judge : callable, optional
        Maps images on the device and their indices to predictions on the host, for a randomised model. The function uses
        fresh noise, which no attack has used. By default the model's own outputs decide.
    certifier : callable, optional
        Maps images, labels, image indices, ε and norm to a mask of the certified images and their bounds: margins, or radii.
    decider : callable, optional
        Maps an image (float32, on the host), its label and ε to a decision, for the attack ``branch-and-bound``.
    substitutes : dict
        Other classifiers, keyed by name, from which attacks are transferred.
    no_substitute : str
        The reason why there are no other classifiers, if there are none.
    """

    model: Any
    rows: np.ndarray
    labels: np.ndarray
    image_shape: tuple[int, ...]
    classes: int
    gradient: str = "analytic"
    draws: int = 32
    judge: Judge | None = None
    certifier: Certifier | None = None
    decider: Decider | None = None
    substitutes: dict[str, Any] = field(default_factory=dict)
    no_substitute: str = ""

    def __post_init__(self) -> None:
        check_rows(self.rows, setting="images", stored=True)
        check_image_shape(self.image_shape, self.rows.shape[1])
        object.__setattr__(self, "labels", as_labels(self.labels, len(self.rows), self.classes))

    @cached_property
    def classifier(self) -> Any:
        """The model; a user's model receives copies of its inputs."""
        return guarded(self.model)

    def answers(self, ids: np.ndarray) -> np.ndarray:
        """Return the predictions for clean images, array of int64; raise :class:`InputError` if an image is outside the box."""
        answers = []
        for part in self.blocks(ids):
            x = to_unit(to_device(self.rows[part]))
            check_images(x, part)
            answers.append(self.answer(x, part))
        return np.concatenate(answers)

    def attack(self, attack: Attack, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return a mask of the images that an attack broke, the attacked images (float32), and their distances (float64)."""
        return self._judged(self.model, attack, ids, own=self.judge is None)

    def transfer_attack(self, substitute: Any, attack: Attack, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Attack another model, and judge the result by the predictions of this model; return values as for :meth:`attack`."""
        return self._judged(substitute, attack, ids, own=False)

    def _judged(self, model: Any, attack: Attack, ids: np.ndarray, own: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Attack `model`; if `own` is true, its predictions decide whether an image is broken.

        Otherwise, run every search to its end, and let the target judge.
        """
        broken, x_adv, distance = [], [], []
        what = (model, attack, self.rows, self.labels, ids)
        for block in attack_images(*what, image_shape=self.image_shape, include_misclassified=not own):
            answers = block.predicted if own else self.answer(to_device(block.x_adv), block.ids)
            broken.append(answers != block.y)
            x_adv.append(block.x_adv)
            distance.append(block.distance)
        return np.concatenate(broken), np.concatenate(x_adv), np.concatenate(distance)

    def blocks(self, ids: np.ndarray) -> Iterator[np.ndarray]:
        """Cut image indices into blocks within the memory budget."""
        size = images_per_block(getattr(self.model, "bytes_per_image", 0) + 16 * self.rows.shape[1])
        for start in range(0, len(ids), size):
            yield ids[start : start + size]

    def answer(self, x: Array, ids: np.ndarray) -> np.ndarray:
        """Return the predictions for some images on the device: array of int64, shape (images,), on the host."""
        return self.judge(x, ids) if self.judge is not None else to_numpy(self._forward(x).argmax(axis=1))

    def outputs(self, ids: np.ndarray, at_once: int | None = None) -> np.ndarray:
        """Return the model's outputs for clean images, in the order of `ids`: array of float64, shape (images, classes).

        The model receives at most `at_once` images at a time; by default as many as memory allows.
        """
        parts = (part[cut] for part in self.blocks(ids) for cut in blocks(len(part), at_once or len(part)))
        shown = (self._forward(to_unit(to_device(self.rows[part]))) for part in parts)
        return np.concatenate([to_numpy(outputs).astype(np.float64) for outputs in shown])

    def _forward(self, x: Array) -> Array:
        with one_blas_thread():
            outputs, _ = self.classifier.forward(x)
        shape = getattr(outputs, "shape", ())
        expected = f"an array with a row of {self.classes} outputs for each of {len(x)} images"
        require(len(shape) == 2 and shape == (len(x), self.classes), "model", f"outputs of shape {shape}", expected)
        return outputs


@dataclass(frozen=True)
class EvaluationPlan:
    """The plan of an evaluation: names of the attacks in order, ascending ε, and the seed of random starts and noise."""

    epsilons: tuple[float, ...]
    attacks: tuple[str, ...]
    norm: str = "linf"
    seed: int = 0


def evaluate_images(
    target: EvaluationTarget, plan: EvaluationPlan, outcomes: Outcomes, done: int
) -> Generator[tuple[int, str], None, None]:
    """Evaluate the images of `outcomes` from step `done` on: clean predictions, and attacks and certificates at every ε.

    An image that is broken at some ε counts as broken at every larger one, and is attacked there again only by attacks that run
    on every image.

    The generator fills `outcomes` in place. It yields the number of complete steps, from which an evaluation can be
    resumed, and the name of the next step.

    Raises
    ------
    InternalError
        If a certified image is broken, because one of the two must be wrong. (This does not apply to a judge that uses random
        runs: a certificate is then about the mean of all possible runs.)
    """
    as_ids(outcomes.ids, len(target.rows))
    steps: list[tuple[str, Callable[[], None]]] = [("answers", partial(_answer, target, outcomes))]
    for (e, epsilon), (a, name) in product(enumerate(plan.epsilons), enumerate(plan.attacks)):
        steps.append((f"{name} at {epsilon:g}", partial(_attack, target, plan, outcomes, e, a)))
    if target.certifier is not None:
        for e, epsilon in enumerate(plan.epsilons):
            steps.append((f"certificates at {epsilon:g}", partial(_certify, target, plan, outcomes, e)))
    for number, (doing, step) in islice(enumerate(steps), done, None):
        yield number, doing
        step()
    if target.judge is None:
        _check_bracket(plan, outcomes)
    yield len(steps), "done"


def _answer(target: EvaluationTarget, outcomes: Outcomes) -> None:
    outcomes.predicted[:] = target.answers(outcomes.ids)
    outcomes.nearest[:] = to_numpy(to_unit(target.rows[outcomes.ids]))
    outcomes.distance[~outcomes.clean] = 0.0


def _attack(target: EvaluationTarget, plan: EvaluationPlan, outcomes: Outcomes, e: int, a: int) -> None:
    """Run one attack at one ε."""
    named, epsilon, inputs = attack_named(plan.attacks[a]), plan.epsilons[e], target.rows.shape[1]
    pending = np.flatnonzero(outcomes.clean if named.alone else outcomes.survivors(e))
    bound = whole_box(plan.norm, inputs) if named.smallest else epsilon
    attacks = named.make(bound, plan.norm, plan.seed, target.gradient, target.draws)
    if named.smallest:
        new = pending[np.isnan(outcomes.smallest[a, pending])]
        outcomes.smallest[a, new] = np.inf
        for attack in attacks if len(new) else ():
            broken, x_adv, distance = target.attack(attack, outcomes.ids[new])
            found = new[broken]
            outcomes.smallest[a, found] = np.minimum(outcomes.smallest[a, found], distance[broken])
            _keep_nearest(outcomes, a, found, x_adv[broken], distance[broken])
        within = outcomes.smallest[a, pending] <= with_rounding(epsilon, plan.norm, inputs)
        outcomes.tried[e, a, pending] = np.where(within, BROKEN, WITHSTOOD)
        return
    models = list(target.substitutes.values()) if named.transferred else [None]
    for attack in attacks:
        for substitute in models:
            if len(pending) == 0:
                return
            ids = outcomes.ids[pending]
            if named.transferred:
                result, _ = attempt(partial(target.transfer_attack, substitute, attack, ids))
                if result is None:  # the other model failed, so the images count as not tried
                    continue
            else:
                result = target.attack(attack, ids)
            broken, x_adv, distance = result
            outcomes.tried[e, a, pending] = np.where(broken, BROKEN, WITHSTOOD)
            _keep_nearest(outcomes, a, pending[broken], x_adv[broken], distance[broken])
            pending = pending[~broken]


def _keep_nearest(outcomes: Outcomes, a: int, found: np.ndarray, x_adv: np.ndarray, distance: np.ndarray) -> None:
    nearer = distance < outcomes.distance[found]
    places = found[nearer]
    outcomes.nearest[places], outcomes.distance[places], outcomes.finder[places] = x_adv[nearer], distance[nearer], a


def _certify(target: EvaluationTarget, plan: EvaluationPlan, outcomes: Outcomes, e: int) -> None:
    assert target.certifier is not None
    x, labels = to_unit(to_device(target.rows[outcomes.ids])), to_device(outcomes.labels)
    with one_blas_thread():
        certified, margin = target.certifier(x, labels, outcomes.ids, plan.epsilons[e], plan.norm)
    outcomes.certified[e] = to_numpy(certified) & outcomes.clean
    outcomes.margin[e] = to_numpy(margin)
    if target.decider is not None and COMPLETE in plan.attacks:
        _decide(target.decider, plan, outcomes, e, to_numpy(x))


def _decide(decider: Decider, plan: EvaluationPlan, outcomes: Outcomes, e: int, x: np.ndarray) -> None:
    """Let the complete verifier decide the images that are neither broken nor certified."""
    a, epsilon = plan.attacks.index(COMPLETE), plan.epsilons[e]
    for i in np.flatnonzero(outcomes.survivors(e) & ~outcomes.certified[e]):
        found = decider(x[i], int(outcomes.labels[i]), epsilon)
        outcomes.certified[e, i] = found.verdict == "certified"
        outcomes.margin[e, i] = max(outcomes.margin[e, i], found.bound)
        outcomes.tried[e, a, i] = WITHSTOOD if found.counterexample is None else BROKEN
        if found.counterexample is not None:
            distance = abs(found.counterexample.astype(np.float64) - x[i]).max()
            _keep_nearest(outcomes, a, np.array([i]), found.counterexample[None], np.array([distance]))


def _check_bracket(plan: EvaluationPlan, outcomes: Outcomes) -> None:
    for e, epsilon in enumerate(plan.epsilons):
        both = outcomes.certified[e] & ~outcomes.survivors(e)
        if both.any():
            breaker = plan.attacks[outcomes.first_breaker(e)[both][0]]
            what = f"image {outcomes.ids[both][0]} is certified at {epsilon:g} and broken by {breaker}"
            raise InternalError(f"internal check failed: {what}")
