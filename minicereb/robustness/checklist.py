"""The checklist: fourteen ways in which an evaluation can be wrong, each with a measured value, a verdict and a reason.

The checklist follows Athalye, Carlini and Wagner (2018), Carlini et al. (2019) and Pintor et al. (2022), and examines only
the first images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from minicereb.attacks.ball import whole_box
from minicereb.attacks.run import trace
from minicereb.attacks.settings import Attack
from minicereb.errors import ModelError
from minicereb.robustness.catalogue import BY_STRENGTH, SQUARES, attack_named, attack_names
from minicereb.robustness.evaluate import EvaluationPlan, EvaluationTarget
from minicereb.robustness.gradient_statistics import gradient_statistics, input_gradients, lost_in_float32, norm_quantiles
from minicereb.robustness.optional import attempt
from minicereb.robustness.outcomes import BROKEN, NOT_TRIED, Outcomes

VERDICTS = ("pass", "warn", "fail", "not tested")
CHECKED = 100  # images
ALONE = 20  # images that the model classifies one by one
CALLS = 5  # calls of the model that test whether its outputs repeat
RANDOM_POINTS, SQUARE_QUERIES = 1_000, 1_000
TOLERATED = 0.01  # share of the images that may deviate before a check fails
# The possible effect of rounding on an image's outputs: a share of their range, and of their size.
OF_RANGE, OF_SIZE = 1e-3, 1e-5


class CheckResult(NamedTuple):
    """The result of a check: the measured value, a verdict of :data:`VERDICTS`, its reason, and further JSON values."""

    value: float | None
    verdict: str
    reason: str
    detail: dict[str, Any] = {}


@dataclass(frozen=True, eq=False)
class CheckContext:
    """The context of the checks: some images of an evaluation at one ε (with index `e`)."""

    target: EvaluationTarget
    plan: EvaluationPlan
    outcomes: Outcomes
    e: int

    @property
    def epsilon(self) -> float:
        """The ε."""
        return self.plan.epsilons[self.e]

    @cached_property
    def chosen(self) -> np.ndarray:
        """Positions of the checked images: the correctly classified ones among the first images."""
        return np.flatnonzero(self.outcomes.clean[:CHECKED])

    @cached_property
    def ids(self) -> np.ndarray:
        """Indices of the checked images."""
        return self.outcomes.ids[self.chosen]

    @property
    def base(self) -> str:
        """A description of the images to which shares refer; in an evaluation's table, shares refer to all images."""
        return f"the {len(self.ids)} correctly classified images"

    def left(self, white_box: bool = False, without: str | None = None) -> np.ndarray:
        """Return the indices of the images that withstood all attacks, or all white-box attacks, except the attack `without`."""
        counting = [name for name in self.plan.attacks if name != without and (attack_named(name).white_box or not white_box)]
        attacks = [self.plan.attacks.index(name) for name in counting]
        return self.ids[self.outcomes.survivors(self.e, attacks)[self.chosen]]

    def left_before(self, name: str) -> np.ndarray:
        """Return the images that withstood every white-box attack; without white-box attacks, every attack but this one."""
        return self.left(white_box=True) if self.follows_gradients else self.left(without=name)

    @property
    def follows_gradients(self) -> bool:
        """Whether the evaluation has a white-box attack, which follows a gradient or flips pixels across a threshold."""
        return any(attack_named(name).white_box for name in self.plan.attacks)

    def _tried(self, name: str) -> np.ndarray:
        """Return the outcomes of an attack on the images, at this ε and all smaller ones: shape (epsilons, images)."""
        return self.outcomes.tried[: self.e + 1, self.plan.attacks.index(name)][:, self.chosen]

    def was_made(self, name: str) -> bool:
        """Return whether the evaluation has run this attack on any of the images."""
        return name in self.plan.attacks and bool((self._tried(name) != NOT_TRIED).any())

    def broken_among(self, ids: np.ndarray, name: str) -> int:
        """Return how many of the images `ids` the evaluation broke with this attack."""
        return int(((self._tried(name) == BROKEN).any(axis=0) & np.isin(self.ids, ids)).sum())

    def share(self, images: int) -> float:
        """Return a number of images as a share of the checked images."""
        return images / max(1, len(self.ids))

    def made(self, name: str, epsilon: float | None = None) -> tuple[Attack, ...]:
        """Return the attacks that a name of the catalogue refers to, with the settings of this evaluation."""
        epsilon = self.epsilon if epsilon is None else epsilon
        return attack_named(name).make(epsilon, self.plan.norm, self.plan.seed, self.target.gradient, self.target.draws)

    @cached_property
    def principal(self) -> str:
        """The strongest attack of the evaluation, measured on the images checked.

        An evaluation runs most attacks only on the survivors of earlier ones. So each candidate also runs on the images that it
        has not attacked yet, unless it can no longer break more than the best candidate so far. The search for the strongest ends
        once a candidate breaks nearly as many images as the whole evaluation, that is, at most 1% of the checked images fewer.
        """
        order = (*BY_STRENGTH, *(name for name in attack_names() if name not in (*BY_STRENGTH, "random")), "random")
        # Images made against other models give no information about the convergence of attacks on this model.
        candidates = [name for name in order if name in self.plan.attacks and not attack_named(name).transferred]
        best, most = "", -1
        total = len(self.ids) - len(self.left())
        for name in candidates:
            broken = (self._tried(name) == BROKEN).any(axis=0)
            unmet = ~broken & (self._tried(name)[-1] == NOT_TRIED)
            if broken.sum() + unmet.sum() <= most:
                continue
            count = int(broken.sum()) + self.broken(self.made(name), self.ids[unmet])
            if count > most:
                best, most = name, count
            if most and self.share(total - most) <= TOLERATED:
                break
        return best or self.plan.attacks[0]

    def withstanding(self, attacks: Sequence[Attack], ids: np.ndarray) -> np.ndarray:
        """Return the images in `ids` that withstand these attacks, which are run one after another."""
        for attack in attacks:
            if len(ids):
                ids = ids[~self.target.attack(attack, ids)[0]]
        return ids

    def broken(self, attacks: Sequence[Attack], ids: np.ndarray) -> int:
        """Return how many of the images `ids` are broken by at least one of these attacks."""
        return len(ids) - len(self.withstanding(attacks, ids))

    @cached_property
    def outputs(self) -> np.ndarray:
        """Outputs of the model for the images, shape (images, classes)."""
        return self.target.outputs(self.ids)

    @cached_property
    def shifts(self) -> np.ndarray:
        """The largest change of the outputs if the same images are evaluated again in the same way; see :meth:`shift`."""
        return np.max([self.shift(self.target.outputs(self.ids)) for _ in range(CALLS - 1)], axis=0)

    def shift(self, outputs: np.ndarray, first: int | None = None) -> np.ndarray:
        """Return how far outputs (for all or the `first` images) differ from :attr:`outputs`, relative to possible rounding."""
        usual = self.outputs[:first]
        ranges = self.outputs.max(axis=1) - self.outputs.min(axis=1)
        tolerated = OF_RANGE * np.maximum(ranges, np.median(ranges)) + OF_SIZE * np.abs(self.outputs).max(axis=1)
        with np.errstate(all="ignore"):
            shift = np.abs(outputs - usual).max(axis=1) / tolerated[:first]
        return np.where((outputs == usual).all(axis=1), 0.0, np.where(np.isnan(shift), np.inf, shift))


def _not_tested(reason: str, detail: dict[str, Any] | None = None) -> CheckResult:
    return CheckResult(None, "not tested", reason, detail or {})


def _stronger(what: str, context: CheckContext, broken: int, left: int) -> CheckResult:
    """Return the result of a check that fails if a supposedly weaker attack breaks survivors of the evaluation."""
    value = context.share(broken)
    if left == 0:
        return CheckResult(value, "pass", f"none of {context.base} survived the evaluation")
    verdict = "pass" if broken == 0 else "warn" if broken == 1 or value <= TOLERATED else "fail"
    return CheckResult(value, verdict, f"{what} broke {broken} of the {left} survivors among {context.base}")


def _fgsm(context: CheckContext) -> CheckResult:
    left, (attack,) = context.left(), context.made("fgsm-mse")
    if len(left) == 0:
        context.target.attack(attack, context.ids[:1])  # fails for a model without a gradient; then this is not tested
    attacks = [replace(attack, objective=objective) for objective in ("margin", "cross-entropy", "mse")]
    return _stronger("one step of FGSM", context, context.broken(attacks, left), len(left))


def _doubled(context: CheckContext) -> CheckResult:
    attacks, left = context.made(context.principal), context.left()
    if not attacks[0].traits.has("steps"):
        return _not_tested(f"{context.principal} has one step")
    attacks = tuple(replace(attack, steps=2 * attack.steps) for attack in attacks)
    return _stronger(f"{context.principal} with {attacks[0].steps:,} steps", context, context.broken(attacks, left), len(left))


def _unbounded(context: CheckContext) -> CheckResult:
    everything = whole_box(context.plan.norm, context.target.rows.shape[1])
    value = context.share(len(context.withstanding(context.made(context.principal, everything), context.ids)))
    chance = 1 / context.target.classes
    reason = f"accuracy under {context.principal} without a bound on the change, on {context.base}; chance {chance:.2f}"
    return CheckResult(value, "pass" if value <= chance else "fail", reason)


def _falls(context: CheckContext) -> CheckResult:
    epsilons = (context.epsilon / 2, context.epsilon, 2 * context.epsilon)
    attacks = [context.made(context.principal, epsilon) for epsilon in epsilons]
    shares = [context.share(len(context.withstanding(each, context.ids))) for each in attacks]
    rise, fall = max(shares[1] - shares[0], shares[2] - shares[1], 0.0), shares[0] - shares[2]
    detail = {"epsilon": list(epsilons), "accuracy": shares}
    shown = ", ".join(f"{share:.2f} at {epsilon:g}" for share, epsilon in zip(shares, epsilons, strict=True))
    reason = f"accuracy under {context.principal} alone, on {context.base}: {shown}"
    if context.epsilon == 0:
        return _not_tested("ε is 0", detail)
    if shares == [1.0] * 3:
        return CheckResult(fall, "warn", reason + ": nothing is broken, as expected if ε is small", detail)
    flat = fall <= 0 and shares[0] > 0
    risen = rise > max(TOLERATED, 1.5 / len(context.ids))  # by more than one image
    return CheckResult(fall, "fail" if risen or flat else "warn" if rise > 0 else "pass", reason, detail)


def _random(context: CheckContext) -> CheckResult:
    left = context.left_before("random")
    attacks = tuple(replace(attack, steps=RANDOM_POINTS) for attack in context.made("random"))
    return _stronger(f"the worst of {RANDOM_POINTS:,} random points", context, context.broken(attacks, left), len(left))


def _black_box(context: CheckContext) -> CheckResult:
    left = context.left(white_box=True)
    if not context.follows_gradients:
        return _not_tested("no attack of the evaluation follows a gradient, so there is nothing to compare with")
    made = next((name for name in SQUARES if context.was_made(name)), None)
    if made is not None:
        return _stronger("Square, without a gradient,", context, context.broken_among(left, made), len(left))
    attacks = tuple(replace(attack, steps=SQUARE_QUERIES) for attack in context.made("square"))
    what = f"Square, without a gradient, with {SQUARE_QUERIES:,} queries"
    return _stronger(what, context, context.broken(attacks, left), len(left))


def _transfer(context: CheckContext) -> CheckResult:
    left, target = context.left_before("transfer"), context.target
    if not target.substitutes:
        return _not_tested(f"there is no other model from which to transfer ({target.no_substitute or 'none given'})")
    what = f"images made against {' and '.join(target.substitutes)}"
    if context.was_made("transfer"):
        return _stronger(what, context, context.broken_among(left, "transfer"), len(left))
    pending = left
    for model, attack in product(target.substitutes.values(), context.made("transfer")):
        if len(pending):
            pending = pending[~target.transfer_attack(model, attack, pending)[0]]
    return _stronger(what, context, len(left) - len(pending), len(left))


def _objectives(context: CheckContext) -> list[str]:
    used = dict.fromkeys(objective for name in context.plan.attacks for objective in attack_named(name).objectives)
    return list(used) or ["margin"]


def _gradients(context: CheckContext) -> CheckResult:
    found = {}
    for objective in _objectives(context):
        gradients = input_gradients(context.target, objective, context.ids, context.plan.seed)
        assert gradients is not None
        found[objective] = gradient_statistics(gradients)
    worst = max(found, key=lambda objective: found[objective].zero + found[objective].not_finite)
    best = min(each.zero + each.not_finite for each in found.values())
    value = found[worst].zero
    detail = {
        objective: {"zero": each.zero, "zero_entries": each.zero_entries, "not_finite": each.not_finite}
        | {"norm_quantiles": norm_quantiles(each.norms)}
        for objective, each in found.items()
    }
    bad = value + found[worst].not_finite
    verdict = "pass" if bad == 0 else "fail" if best > TOLERATED else "warn"
    reason = f"each of {context.base} has a gradient of every objective"
    if bad:
        reason = f"share of {context.base} without a gradient of the {worst}"
    if found[worst].not_finite:
        reason = f"{found[worst].not_finite:.2f} of {context.base} have a gradient of the {worst} that is not finite"
    elif verdict == "warn":
        reason += "; other objectives have one"
    return CheckResult(value, verdict, reason, detail)


def _precision(context: CheckContext) -> CheckResult:
    if (context.shifts > 1).any():
        return _not_tested("outputs are random, and so are gradients in any precision")
    shares = {}
    for objective in _objectives(context):
        single = input_gradients(context.target, objective, context.ids, context.plan.seed)
        double = input_gradients(context.target, objective, context.ids, context.plan.seed, double=True)
        if single is None or double is None:
            return _not_tested("the model does not compute in float64, or its float64 copy would need more than --memory")
        shares[objective] = lost_in_float32(single, double)
    worst = max(shares, key=lambda objective: shares[objective])
    value = shares[worst]
    verdict = "pass" if value == 0 else "fail" if min(shares.values()) > TOLERATED else "warn"
    reason = f"share of {context.base} whose gradient of the {worst} vanishes or turns in float32, compared with float64"
    return CheckResult(value, verdict, reason, dict(shares))


def _silent(context: CheckContext) -> CheckResult:
    made = {each: context.made(each) for each in context.plan.attacks}
    last = [each for each, attacks in made.items() if attacks and all(attack.keep == "last" for attack in attacks)]
    if not last:
        return CheckResult(0.0, "pass", f"every attack keeps the best point that it visits for {context.base}")
    missed, others = 0, [a for a, each in enumerate(context.plan.attacks) if each not in last]
    for each in last:
        (attack,) = context.made(each)
        by_last, by_best = (context.target.attack(replace(attack, keep=keep), context.ids)[0] for keep in ("last", "best"))
        missed = max(missed, int((by_best & ~by_last).sum()))
    verdict = "pass" if missed == 0 else "warn" if others else "fail"
    reason = f"share of {context.base} that {', '.join(last)} broke on the way and then lost again"
    return CheckResult(context.share(missed), verdict, reason)


def _rising(context: CheckContext) -> CheckResult:
    left, attack, target = context.left(), context.made(context.principal)[0], context.target
    if attack.traits.not_climbing:
        return _not_tested(attack.traits.not_climbing)
    if len(left) == 0:
        return CheckResult(0.0, "pass", f"none of {context.base} survived the evaluation")
    points = trace(target.classifier, attack, target.rows, target.labels, left, image_shape=target.image_shape)
    values = np.maximum.accumulate(points, axis=0)
    late = values[-1] - values[int(0.9 * (len(values) - 1))]
    whole = values[-1] - values[0]
    value = float(np.median(np.divide(late, whole, out=np.zeros_like(late), where=whole > 0)))
    over = f"median of the {len(left)} survivors among {context.base}"
    reason = f"share of the rise of {context.principal}'s objective that falls into the last tenth of its steps ({over})"
    return CheckResult(value, "fail" if value > 0.05 else "warn" if value > 0.02 else "pass", reason)


def _squared_error(context: CheckContext) -> CheckResult:
    survivors, left = context.withstanding(context.made("pgd-mse"), context.ids), context.left()
    if all(attack_named(each).objectives == ("mse",) for each in context.plan.attacks):
        broken = context.broken(context.made("pgd-margin"), left)
        reason = f"every attack ascends the squared error; PGD on the margin breaks {broken} of the {len(left)} survivors among "
        reason += context.base
        return CheckResult(context.share(broken), "fail" if context.share(broken) > TOLERATED else "warn", reason)
    gap = context.share(len(np.setdiff1d(survivors, left)))
    shares = f"{context.share(len(survivors)):.2f}, the evaluation left {context.share(len(left)):.2f}"
    reason = f"of {context.base} PGD on the squared error alone would have left {shares}"
    return CheckResult(gap, "warn" if gap > TOLERATED else "pass", reason)


def _repeatable(context: CheckContext) -> CheckResult:
    answers = [context.target.answers(context.ids) for _ in range(CALLS)]
    changed = np.any([answer != answers[0] for answer in answers], axis=0)
    repeated = changed | (context.shifts > 1)
    drifted = answers[0] != context.outcomes.predicted[context.chosen]
    if drifted.any() and not repeated.any():
        reason = f"share of {context.base} whose answers changed since the evaluation began: the model changes while it is used, "
        reason += "or depends on the other images of a batch"
        return CheckResult(context.share(int(drifted.sum())), "fail", reason)
    value, largest = context.share(int(repeated.sum())), _of_range(context.shifts)
    detail = {"answers": context.share(int(changed.sum())), "largest": largest}
    if value == 0:
        return CheckResult(value, "pass", f"repeated calls give the same outputs for {context.base}", detail)
    reason = f"share of {context.base} with other outputs in repeated calls: the model answers at random (up to {largest:.2g} of "
    reason += "the range); judge it by its mean answer, or attack it by gradients averaged over calls"
    return CheckResult(value, "fail", reason, detail)


def _independent(context: CheckContext) -> CheckResult:
    """Compare outputs with outputs for the reversed batch and, for the first few images, with outputs for the image alone."""
    if (context.shifts > 1).any():
        return _not_tested("outputs are random, so that they differ anyway")
    shifts = context.shift(context.target.outputs(context.ids[::-1])[::-1])
    try:
        alone = context.shift(context.target.outputs(context.ids[:ALONE], at_once=1), ALONE)
    except ModelError as error:
        return CheckResult(None, "fail", f"the model cannot answer an image by itself: {error}")
    shifts[:ALONE] = np.maximum(shifts[:ALONE], alone)
    moved, largest = int((shifts > 1).sum()), _of_range(shifts)
    value, detail = context.share(moved), {"alone": context.share(int((alone > 1).sum())), "largest": largest}
    if moved == 0:
        reason = f"outputs for {context.base} do not depend on the other images of a batch, nor on their order"
        return CheckResult(value, "pass", reason, detail)
    verdict = "warn" if moved == 1 or value <= TOLERATED else "fail"
    reason = f"share of {context.base} with other outputs in another order or alone (by up to {largest:.2g} of their range): "
    return CheckResult(value, verdict, reason + "answers depend on the other images of the batch", detail)


def _of_range(shifts: np.ndarray) -> float:
    """Return the largest shift as an approximate share of the outputs' range."""
    return float(min(shifts.max(), 1e9) * OF_RANGE)


CHECKS: dict[str, Callable[[CheckContext], CheckResult]] = {
    "answers-repeat": _repeatable,
    "batch-independent": _independent,
    "gradients-there": _gradients,
    "float32-suffices": _precision,
    "fgsm-not-stronger": _fgsm,
    "more-iterations": _doubled,
    "loss-has-settled": _rising,
    "unbounded-reaches-chance": _unbounded,
    "falls-with-epsilon": _falls,
    "random-not-stronger": _random,
    "black-box-not-stronger": _black_box,
    "transfer-not-stronger": _transfer,
    "no-silent-success": _silent,
    "not-squared-error-alone": _squared_error,
}


def checklist(context: CheckContext) -> Iterator[tuple[str, CheckResult]]:
    """Go through the checklist at one ε of an evaluation that is complete for the images checked.

    If the model refuses a check's attacks or gradients, the result is "not tested" with the reason.
    The generator yields names of :data:`CHECKS` and results.
    """
    for name, check in CHECKS.items():
        if len(context.ids) == 0:
            yield name, _not_tested("no image is classified correctly")
            continue
        result, why = attempt(partial(check, context))
        yield name, result or _not_tested(why)
