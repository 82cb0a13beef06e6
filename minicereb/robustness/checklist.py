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
from minicereb.robustness.catalogue import ATTACKS, SQUARES
from minicereb.robustness.check_context import CALLS, OF_RANGE, TOLERATED, Finding, Scene
from minicereb.robustness.gradient_statistics import gradient_statistics, input_gradients, lost_in_float32, norm_quantiles

ALONE = 20  # images that are shown to the model one by one
RANDOM_POINTS, SQUARE_QUERIES = 1_000, 1_000
NOT_CLIMBING = {
    "fgsm": "FGSM has one step",
    "fab": "FAB looks for the nearest misclassified image; its objective need not rise",
    "random": "random points follow no objective",
}


def _stronger(what: str, scene: Scene, broken: int, left: int) -> Finding:
    """A check that fails if something that should be weaker breaks what the evaluation left."""
    value = scene.share(broken)
    if left == 0:
        return Finding(value, "pass", f"the evaluation left none of {scene.base} standing")
    verdict = "pass" if broken == 0 else "warn" if broken == 1 or value <= TOLERATED else "fail"
    return Finding(value, verdict, f"{what} broke {broken} of the {left} left standing of {scene.base}")


def _fgsm(scene: Scene) -> Finding:
    left = pending = scene.left()
    if len(left) == 0:
        scene.subject.strike(scene.made("fgsm-mse")[0], scene.ids[:1])  # without a gradient it cannot be made, and tells nothing
    for objective in ("margin", "cross-entropy", "mse"):
        if len(pending):
            (attack,) = scene.made("fgsm-mse")
            pending = pending[~scene.subject.strike(replace(attack, objective=objective), pending)[0]]
    return _stronger("one step of FGSM", scene, len(left) - len(pending), len(left))


def _doubled(scene: Scene) -> Finding:
    attacks, left = scene.made(scene.principal), scene.left()
    if attacks[0].method == "fgsm":
        return Finding(None, "not tested", "FGSM has one step")
    attacks = tuple(replace(attack, steps=2 * attack.steps) for attack in attacks)
    return _stronger(f"{scene.principal} with {attacks[0].steps:,} steps", scene, scene.broken(attacks, left), len(left))


def _unbounded(scene: Scene) -> Finding:
    everything = whole_box(scene.plan.norm, scene.subject.rows.shape[1])
    right = len(scene.ids) - scene.broken(scene.made(scene.principal, everything), scene.ids)
    value, chance = scene.share(right), 1 / scene.subject.classes
    verdict = "pass" if value <= chance else "fail"
    return Finding(
        value, verdict, f"accuracy under {scene.principal} that may change anything, on {scene.base}; chance {chance:.2f}"
    )


def _falls(scene: Scene) -> Finding:
    epsilons = (scene.epsilon / 2, scene.epsilon, 2 * scene.epsilon)
    right = [len(scene.ids) - scene.broken(scene.made(scene.principal, epsilon), scene.ids) for epsilon in epsilons]
    shares = [scene.share(count) for count in right]
    rise, fall = max(shares[1] - shares[0], shares[2] - shares[1], 0.0), shares[0] - shares[2]
    detail = {"epsilon": list(epsilons), "accuracy": shares}
    shown = ", ".join(f"{share:.2f} at {epsilon:g}" for share, epsilon in zip(shares, epsilons, strict=True))
    reason = f"accuracy under {scene.principal} alone, on {scene.base}: {shown}"
    if scene.epsilon == 0:
        return Finding(None, "not tested", "ε is 0", detail)
    if shares == [1.0] * 3:
        return Finding(fall, "warn", reason + ": nothing is broken, which is no wonder if ε is small", detail)
    flat = fall <= 0 and shares[0] > 0
    risen = rise > max(TOLERATED, 1.5 / len(scene.ids))  # by more than one image
    return Finding(fall, "fail" if risen or flat else "warn" if rise > 0 else "pass", reason, detail)


def _random(scene: Scene) -> Finding:
    left = scene.left_before("random")
    attacks = tuple(replace(attack, steps=RANDOM_POINTS) for attack in scene.made("random"))
    return _stronger(f"the worst of {RANDOM_POINTS:,} random points", scene, scene.broken(attacks, left), len(left))


def _black_box(scene: Scene) -> Finding:
    left = scene.left(white_box=True)
    if not scene.follows_gradients:
        return Finding(None, "not tested", "no attack of the evaluation follows a gradient, so there is nothing to compare with")
    made = next((name for name in SQUARES if scene.was_made(name)), None)
    if made is not None:
        broken, what = scene.broken_among(left, made), "Square, without a gradient,"
    else:
        attacks = tuple(replace(attack, steps=SQUARE_QUERIES) for attack in scene.made("square"))
        broken, what = scene.broken(attacks, left), f"Square, without a gradient, with {SQUARE_QUERIES:,} queries"
    return _stronger(what, scene, broken, len(left))


def _transfer(scene: Scene) -> Finding:
    left, subject = scene.left_before("transfer"), scene.subject
    if not subject.substitutes:
        return Finding(None, "not tested", f"there is no other model to transfer from ({subject.no_substitute or 'none given'})")
    what = f"images made against {' and '.join(subject.substitutes)}"
    if scene.was_made("transfer"):
        return _stronger(what, scene, scene.broken_among(left, "transfer"), len(left))
    pending = left
    for model in subject.substitutes.values():
        for attack in scene.made("transfer"):
            if len(pending):
                pending = pending[~subject.strike_by_way_of(model, attack, pending)[0]]
    return _stronger(what, scene, len(left) - len(pending), len(left))


def _objectives(scene: Scene) -> list[str]:
    used = dict.fromkeys(objective for name in scene.plan.attacks for objective in ATTACKS[name].objectives)
    return list(used) or ["margin"]


def _gradients(scene: Scene) -> Finding:
    found = {}
    for objective in _objectives(scene):
        gradients = input_gradients(scene.subject, objective, scene.ids, scene.plan.seed)
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
    reason = f"each of {scene.base} has a gradient of every objective"
    if bad:
        reason = f"share of {scene.base} without a gradient of the {worst}"
    if found[worst].not_finite:
        reason = f"{found[worst].not_finite:.2f} of {scene.base} have a gradient of the {worst} that is not finite"
    elif verdict == "warn":
        reason += "; other objectives have one"
    return Finding(value, verdict, reason, detail)


def _precision(scene: Scene) -> Finding:
    if (scene.shifts > 1).any():
        return Finding(None, "not tested", "outputs are random, and so are gradients in any precision")
    shares = {}
    for objective in _objectives(scene):
        single = input_gradients(scene.subject, objective, scene.ids, scene.plan.seed)
        double = input_gradients(scene.subject, objective, scene.ids, scene.plan.seed, double=True)
        if single is None or double is None:
            reason = "the model cannot be had in float64 (within --memory), or computes in float32 whatever it is given"
            return Finding(None, "not tested", reason)
        shares[objective] = lost_in_float32(single, double)
    worst = max(shares, key=lambda objective: shares[objective])
    value = shares[worst]
    verdict = "pass" if value == 0 else "fail" if min(shares.values()) > TOLERATED else "warn"
    reason = f"share of {scene.base} whose gradient of the {worst} is lost in float32, or turned, against float64"
    return Finding(value, verdict, reason, dict(shares))


def _silent(scene: Scene) -> Finding:
    last = [each for each in scene.plan.attacks if all(attack.keep == "last" for attack in scene.made(each))]
    if not last:
        return Finding(0.0, "pass", f"every attack keeps the best point that it visits of {scene.base}")
    missed, others = 0, [a for a, each in enumerate(scene.plan.attacks) if each not in last]
    for each in last:
        (attack,) = scene.made(each)
        by_last, by_best = (scene.subject.strike(replace(attack, keep=keep), scene.ids)[0] for keep in ("last", "best"))
        missed = max(missed, int((by_best & ~by_last).sum()))
    verdict = "pass" if missed == 0 else "warn" if others else "fail"
    return Finding(scene.share(missed), verdict, f"share of {scene.base} that {', '.join(last)} broke and then lost again")


def _rising(scene: Scene) -> Finding:
    left, attack, subject = scene.left(), scene.made(scene.principal)[0], scene.subject
    if attack.method in NOT_CLIMBING:
        return Finding(None, "not tested", NOT_CLIMBING[attack.method])
    if len(left) == 0:
        return Finding(0.0, "pass", f"the evaluation left none of {scene.base} standing")
    points = trace(subject.classifier, attack, subject.rows, subject.labels, left, image_shape=subject.image_shape)
    values = np.maximum.accumulate(points, axis=0)
    late = values[-1] - values[int(0.9 * (len(values) - 1))]
    whole = values[-1] - values[0]
    value = float(np.median(np.divide(late, whole, out=np.zeros_like(late), where=whole > 0)))
    over = f"median of the {len(left)} left standing of {scene.base}"
    reason = f"share of the rise of {scene.principal}'s objective that falls into the last tenth of its steps ({over})"
    return Finding(value, "fail" if value > 0.05 else "warn" if value > 0.02 else "pass", reason)


def _squared_error(scene: Scene) -> Finding:
    (attack,) = scene.made("pgd-mse")
    survivors = scene.ids[~scene.subject.strike(attack, scene.ids)[0]]
    alone = all(ATTACKS[each].objectives == ("mse",) for each in scene.plan.attacks)
    if alone:
        broken = scene.broken(scene.made("pgd-margin"), scene.left())
        reason = (
            "every attack ascends the squared error; PGD on the margin breaks "
            f"{broken} of the {len(scene.left())} left standing of {scene.base}"
        )
        return Finding(scene.share(broken), "fail" if scene.share(broken) > TOLERATED else "warn", reason)
    gap = scene.share(len(np.setdiff1d(survivors, scene.left())))
    shares = scene.share(len(survivors)), scene.share(len(scene.left()))
    said = f"{shares[0]:.2f}, the evaluation left {shares[1]:.2f}"
    reason = f"of {scene.base} PGD on the squared error alone would have left {said}"
    return Finding(gap, "warn" if gap > TOLERATED else "pass", reason)


def _repeatable(scene: Scene) -> Finding:
    answers = [scene.subject.answers(scene.ids) for _ in range(CALLS)]
    changed = np.any([answer != answers[0] for answer in answers], axis=0)
    repeated = changed | (scene.shifts > 1)
    drifted = answers[0] != scene.outcomes.predicted[scene.chosen]
    if drifted.any() and not repeated.any():
        value, reason = (
            scene.share(int(drifted.sum())),
            f"share of {scene.base} that are answered otherwise than when the evaluation began",
        )
        return Finding(value, "fail", f"{reason}: the model changes while it is asked, or looks at the other images of a batch")
    value, largest = scene.share(int(repeated.sum())), _of_range(scene.shifts)
    detail = {"answers": scene.share(int(changed.sum())), "largest": largest}
    if value == 0:
        return Finding(value, "pass", f"asked again, the model gives the same outputs for {scene.base}", detail)
    reason = f"share of {scene.base} with other outputs when asked again: "
    reason += f"the model answers at random (up to {largest:.2g} of the range)"
    return Finding(value, "fail", reason + "; judge it by its mean answer, or attack it by gradients averaged over calls", detail)


def _independent(scene: Scene) -> Finding:
    """Whether an image's outputs stay as they are in reverse order and, for the first few, without any other image."""
    if (scene.shifts > 1).any():
        return Finding(None, "not tested", "outputs are random, so that they differ anyway")
    shifts = scene.shift(scene.subject.outputs(scene.ids[::-1])[::-1])
    try:
        alone = scene.shift(scene.subject.outputs(scene.ids[:ALONE], at_once=1), ALONE)
    except ModelError as error:
        return Finding(None, "fail", f"the model cannot answer an image by itself: {error}")
    shifts[:ALONE] = np.maximum(shifts[:ALONE], alone)
    moved, largest = int((shifts > 1).sum()), _of_range(shifts)
    value, detail = scene.share(moved), {"alone": scene.share(int((alone > 1).sum())), "largest": largest}
    if moved == 0:
        return Finding(
            value, "pass", f"outputs for {scene.base} do not depend on the others of a batch, nor on their order", detail
        )
    verdict = "warn" if moved == 1 or value <= TOLERATED else "fail"
    reason = f"share of {scene.base} with other outputs in another order or alone (by up to {largest:.2g} of their range): "
    return Finding(value, verdict, reason + "answers depend on the other images of the batch", detail)


def _of_range(shifts: np.ndarray) -> float:
    """The largest shift as a share of the outputs' range, roughly: what rounding may do in size is small beside it."""
    return float(min(shifts.max(), 1e9) * OF_RANGE)


CHECKS: dict[str, Callable[[Scene], Finding]] = {
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


def checklist(scene: Scene) -> Iterator[tuple[str, Finding]]:
    """Go through the checklist at one ε of an evaluation that is complete for the images looked at.

    A line whose probes cannot be made, of whatever the model refuses, says so and is not tested.

    Yields
    ------
    name : str
        One of :data:`CHECKS`.
    finding : Finding
    """
    for name, check in CHECKS.items():
        if len(scene.ids) == 0:
            yield name, Finding(None, "not tested", "no image is right as it is")
            continue
        finding, why = attempt(partial(check, scene))
        yield name, finding or Finding(None, "not tested", why)
