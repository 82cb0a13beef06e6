"""The checklist: fourteen ways in which an evaluation can deceive itself, each with a number, a verdict and a reason.

After Athalye, Carlini and Wagner (2018), Carlini et al. (2019) and Pintor et al. (2022). It looks at some images only, those
that come first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from minicereb.attacks.ball import whole_box
from minicereb.attacks.run import trace
from minicereb.errors import ModelError
from minicereb.robustness.auxiliary import attempt
from minicereb.robustness.catalogue import SQUARES, attack_named
from minicereb.robustness.check_context import CALLS, OF_RANGE, TOLERATED, CheckContext, CheckResult
from minicereb.robustness.gradient_statistics import gradient_statistics, input_gradients, lost_in_float32, norm_quantiles

ALONE = 20  # images that are shown to the model one by one
RANDOM_POINTS, SQUARE_QUERIES = 1_000, 1_000


def _stronger(what: str, context: CheckContext, broken: int, left: int) -> CheckResult:
    """A check that fails if something that should be weaker breaks what the evaluation left."""
    value = context.share(broken)
    if left == 0:
        return CheckResult(value, "pass", f"the evaluation left none of {context.base} standing")
    verdict = "pass" if broken == 0 else "warn" if broken == 1 or value <= TOLERATED else "fail"
    return CheckResult(value, verdict, f"{what} broke {broken} of the {left} left standing of {context.base}")


def _fgsm(context: CheckContext) -> CheckResult:
    left = pending = context.left()
    if len(left) == 0:
        context.target.attack(
            context.made("fgsm-mse")[0], context.ids[:1]
        )  # without a gradient it cannot be made, and tells nothing
    for objective in ("margin", "cross-entropy", "mse"):
        if len(pending):
            (attack,) = context.made("fgsm-mse")
            pending = pending[~context.target.attack(replace(attack, objective=objective), pending)[0]]
    return _stronger("one step of FGSM", context, len(left) - len(pending), len(left))


def _doubled(context: CheckContext) -> CheckResult:
    attacks, left = context.made(context.principal), context.left()
    if not attacks[0].traits.has("steps"):
        return CheckResult(None, "not tested", attacks[0].traits.not_climbing)
    attacks = tuple(replace(attack, steps=2 * attack.steps) for attack in attacks)
    return _stronger(f"{context.principal} with {attacks[0].steps:,} steps", context, context.broken(attacks, left), len(left))


def _unbounded(context: CheckContext) -> CheckResult:
    everything = whole_box(context.plan.norm, context.target.rows.shape[1])
    right = len(context.ids) - context.broken(context.made(context.principal, everything), context.ids)
    value, chance = context.share(right), 1 / context.target.classes
    verdict = "pass" if value <= chance else "fail"
    return CheckResult(
        value, verdict, f"accuracy under {context.principal} that may change anything, on {context.base}; chance {chance:.2f}"
    )


def _falls(context: CheckContext) -> CheckResult:
    epsilons = (context.epsilon / 2, context.epsilon, 2 * context.epsilon)
    right = [len(context.ids) - context.broken(context.made(context.principal, epsilon), context.ids) for epsilon in epsilons]
    shares = [context.share(count) for count in right]
    rise, fall = max(shares[1] - shares[0], shares[2] - shares[1], 0.0), shares[0] - shares[2]
    detail = {"epsilon": list(epsilons), "accuracy": shares}
    shown = ", ".join(f"{share:.2f} at {epsilon:g}" for share, epsilon in zip(shares, epsilons, strict=True))
    reason = f"accuracy under {context.principal} alone, on {context.base}: {shown}"
    if context.epsilon == 0:
        return CheckResult(None, "not tested", "ε is 0", detail)
    if shares == [1.0] * 3:
        return CheckResult(fall, "warn", reason + ": nothing is broken, which is no wonder if ε is small", detail)
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
        return CheckResult(
            None, "not tested", "no attack of the evaluation follows a gradient, so there is nothing to compare with"
        )
    made = next((name for name in SQUARES if context.was_made(name)), None)
    if made is not None:
        broken, what = context.broken_among(left, made), "Square, without a gradient,"
    else:
        attacks = tuple(replace(attack, steps=SQUARE_QUERIES) for attack in context.made("square"))
        broken, what = context.broken(attacks, left), f"Square, without a gradient, with {SQUARE_QUERIES:,} queries"
    return _stronger(what, context, broken, len(left))


def _transfer(context: CheckContext) -> CheckResult:
    left, target = context.left_before("transfer"), context.target
    if not target.substitutes:
        return CheckResult(
            None, "not tested", f"there is no other model to transfer from ({target.no_substitute or 'none given'})"
        )
    what = f"images made against {' and '.join(target.substitutes)}"
    if context.was_made("transfer"):
        return _stronger(what, context, context.broken_among(left, "transfer"), len(left))
    pending = left
    for model in target.substitutes.values():
        for attack in context.made("transfer"):
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
        return CheckResult(None, "not tested", "outputs are random, and so are gradients in any precision")
    shares = {}
    for objective in _objectives(context):
        single = input_gradients(context.target, objective, context.ids, context.plan.seed)
        double = input_gradients(context.target, objective, context.ids, context.plan.seed, double=True)
        if single is None or double is None:
            reason = "the model cannot be had in float64 (within --memory), or computes in float32 whatever it is given"
            return CheckResult(None, "not tested", reason)
        shares[objective] = lost_in_float32(single, double)
    worst = max(shares, key=lambda objective: shares[objective])
    value = shares[worst]
    verdict = "pass" if value == 0 else "fail" if min(shares.values()) > TOLERATED else "warn"
    reason = f"share of {context.base} whose gradient of the {worst} is lost in float32, or turned, against float64"
    return CheckResult(value, verdict, reason, dict(shares))


def _silent(context: CheckContext) -> CheckResult:
    last = [each for each in context.plan.attacks if all(attack.keep == "last" for attack in context.made(each))]
    if not last:
        return CheckResult(0.0, "pass", f"every attack keeps the best point that it visits of {context.base}")
    missed, others = 0, [a for a, each in enumerate(context.plan.attacks) if each not in last]
    for each in last:
        (attack,) = context.made(each)
        by_last, by_best = (context.target.attack(replace(attack, keep=keep), context.ids)[0] for keep in ("last", "best"))
        missed = max(missed, int((by_best & ~by_last).sum()))
    verdict = "pass" if missed == 0 else "warn" if others else "fail"
    return CheckResult(
        context.share(missed), verdict, f"share of {context.base} that {', '.join(last)} broke and then lost again"
    )


def _rising(context: CheckContext) -> CheckResult:
    left, attack, target = context.left(), context.made(context.principal)[0], context.target
    if attack.traits.not_climbing:
        return CheckResult(None, "not tested", attack.traits.not_climbing)
    if len(left) == 0:
        return CheckResult(0.0, "pass", f"the evaluation left none of {context.base} standing")
    points = trace(target.classifier, attack, target.rows, target.labels, left, image_shape=target.image_shape)
    values = np.maximum.accumulate(points, axis=0)
    late = values[-1] - values[int(0.9 * (len(values) - 1))]
    whole = values[-1] - values[0]
    value = float(np.median(np.divide(late, whole, out=np.zeros_like(late), where=whole > 0)))
    over = f"median of the {len(left)} left standing of {context.base}"
    reason = f"share of the rise of {context.principal}'s objective that falls into the last tenth of its steps ({over})"
    return CheckResult(value, "fail" if value > 0.05 else "warn" if value > 0.02 else "pass", reason)


def _squared_error(context: CheckContext) -> CheckResult:
    (attack,) = context.made("pgd-mse")
    survivors = context.ids[~context.target.attack(attack, context.ids)[0]]
    alone = all(attack_named(each).objectives == ("mse",) for each in context.plan.attacks)
    if alone:
        broken = context.broken(context.made("pgd-margin"), context.left())
        reason = (
            "every attack ascends the squared error; PGD on the margin breaks "
            f"{broken} of the {len(context.left())} left standing of {context.base}"
        )
        return CheckResult(context.share(broken), "fail" if context.share(broken) > TOLERATED else "warn", reason)
    gap = context.share(len(np.setdiff1d(survivors, context.left())))
    shares = context.share(len(survivors)), context.share(len(context.left()))
    said = f"{shares[0]:.2f}, the evaluation left {shares[1]:.2f}"
    reason = f"of {context.base} PGD on the squared error alone would have left {said}"
    return CheckResult(gap, "warn" if gap > TOLERATED else "pass", reason)


def _repeatable(context: CheckContext) -> CheckResult:
    answers = [context.target.answers(context.ids) for _ in range(CALLS)]
    changed = np.any([answer != answers[0] for answer in answers], axis=0)
    repeated = changed | (context.shifts > 1)
    drifted = answers[0] != context.outcomes.predicted[context.chosen]
    if drifted.any() and not repeated.any():
        value, reason = (
            context.share(int(drifted.sum())),
            f"share of {context.base} that are answered otherwise than when the evaluation began",
        )
        return CheckResult(
            value, "fail", f"{reason}: the model changes while it is asked, or looks at the other images of a batch"
        )
    value, largest = context.share(int(repeated.sum())), _of_range(context.shifts)
    detail = {"answers": context.share(int(changed.sum())), "largest": largest}
    if value == 0:
        return CheckResult(value, "pass", f"asked again, the model gives the same outputs for {context.base}", detail)
    reason = f"share of {context.base} with other outputs when asked again: "
    reason += f"the model answers at random (up to {largest:.2g} of the range)"
    return CheckResult(
        value, "fail", reason + "; judge it by its mean answer, or attack it by gradients averaged over calls", detail
    )


def _independent(context: CheckContext) -> CheckResult:
    """Whether an image's outputs stay as they are in reverse order and, for the first few, without any other image."""
    if (context.shifts > 1).any():
        return CheckResult(None, "not tested", "outputs are random, so that they differ anyway")
    shifts = context.shift(context.target.outputs(context.ids[::-1])[::-1])
    try:
        alone = context.shift(context.target.outputs(context.ids[:ALONE], at_once=1), ALONE)
    except ModelError as error:
        return CheckResult(None, "fail", f"the model cannot answer an image by itself: {error}")
    shifts[:ALONE] = np.maximum(shifts[:ALONE], alone)
    moved, largest = int((shifts > 1).sum()), _of_range(shifts)
    value, detail = context.share(moved), {"alone": context.share(int((alone > 1).sum())), "largest": largest}
    if moved == 0:
        return CheckResult(
            value, "pass", f"outputs for {context.base} do not depend on the others of a batch, nor on their order", detail
        )
    verdict = "warn" if moved == 1 or value <= TOLERATED else "fail"
    reason = f"share of {context.base} with other outputs in another order or alone (by up to {largest:.2g} of their range): "
    return CheckResult(value, verdict, reason + "answers depend on the other images of the batch", detail)


def _of_range(shifts: np.ndarray) -> float:
    """The largest shift as a share of the outputs' range, roughly: what rounding may do in size is small beside it."""
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
    """Go through the checklist at one ε of an evaluation that is complete for the images looked at.

    A line whose probes cannot be made, of whatever the model refuses, says so and is not tested.

    Yields
    ------
    name : str
        One of :data:`CHECKS`.
    finding : CheckResult
    """
    for name, check in CHECKS.items():
        if len(context.ids) == 0:
            yield name, CheckResult(None, "not tested", "no image is right as it is")
            continue
        finding, why = attempt(partial(check, context))
        yield name, finding or CheckResult(None, "not tested", why)
