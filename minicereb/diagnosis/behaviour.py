"""Describe an answer that no alteration explains: missing dependence on arguments, wrong scaling, and where it is right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minicereb.diagnosis.calls import try_on
from minicereb.diagnosis.hints import Attempt, Hint, fits

FACTOR = 1.5


def behaviour(attempt: Attempt) -> list[Hint]:
    """Describe wrong answers that have the right shapes: at least one hint, the most informative first."""
    found = [*_ignored(attempt), *_combination(attempt), *_growth(attempt), *_where(attempt)]
    text = "the numbers are wrong, and no known mistake explains them: compare them with the equation term by term"
    return found or [Hint("unknown", text)]


def _with(attempt: Attempt, name: str, change: Callable[[Any], Any]) -> Iterator[tuple[np.ndarray, np.ndarray, Any, np.ndarray]]:
    """Yield for each case the student's answer and the right answer, first as the case is and then with one argument changed."""
    for case, answer, truth in zip(attempt.cases, attempt.answers, attempt.truths, strict=True):
        changed = case.but(**{name: change(case.arguments[name])})
        yield answer, truth, try_on(attempt.function, changed, attempt.task.parts).answer, attempt.task.right(changed)


def _ignored(attempt: Attempt) -> Iterator[Hint]:
    """Yield hints about arguments on which the right answer depends but the student's answer does not."""
    for name in attempt.cases[0].floats():
        rows = list(_with(attempt, name, lambda a: 0.7 * (a if isinstance(a, float) else np.roll(a, 1))))
        used = any(after is None or not np.array_equal(after, answer) for answer, _, after, _ in rows)
        if not used and any(not np.array_equal(after, truth) for _, truth, _, after in rows):
            yield Hint(f"{name} left out", f"it does not depend on {name}, but the right answer does")


def _degree(one: np.ndarray, other: np.ndarray | None) -> float | None:
    """Return p if an answer becomes 1.5ᵖ times as large everywhere when an argument becomes 1.5 times as large, else None."""
    size = float(np.vdot(one, one))
    if other is None or not size or one.shape != other.shape or not np.isfinite(other).all():
        return None
    ratio = float(np.vdot(one, other)) / size
    return round(float(np.log(ratio) / np.log(FACTOR)), 6) if ratio > 0 and fits(other, ratio * one, 1e-7) else None


def _growth(attempt: Attempt) -> Iterator[Hint]:
    """Yield a hint for each argument with which the answer grows by a different power than the right answer does."""
    for name in attempt.cases[0].floats():
        degrees = [(_degree(*pair[::2]), _degree(*pair[1::2])) for pair in _with(attempt, name, lambda a: a * FACTOR)]
        if len(set(degrees)) == 1 and degrees[0][0] != degrees[0][1] and degrees[0][1] is not None:
            found, wanted = degrees[0]
            has = "is not a power of it" if found is None else f"is {name} to the power {found:g}"
            yield Hint(f"power of {name}", f"it should grow as {name} to the power {wanted:g}, but its growth {has}")


def _combination(attempt: Attempt) -> Iterator[Hint]:
    """Yield a hint if the student's answer is the same combination of right answer, constant and arguments in all cases."""
    columns = {"the right answer": np.concatenate([truth.ravel() for truth in attempt.truths])}
    columns["1"] = np.ones_like(columns["the right answer"])
    columns |= {name: np.concatenate([array.ravel() for array in arrays]) for name, arrays in _spread(attempt)}
    table, wanted = np.stack(list(columns.values()), axis=1), np.concatenate([answer.ravel() for answer in attempt.answers])
    if not np.isfinite(table).all() or len(table) < 4 * len(columns):
        return
    weights = np.linalg.lstsq(table, wanted, rcond=None)[0]
    if not fits(table @ weights, wanted, 1e-9) or abs(weights[0]) < 1e-9:
        return
    terms = [f"{weight:+.4g} · {name}" for weight, name in zip(weights, columns, strict=True) if abs(weight) > 1e-9]
    yield Hint("combination", f"it is {' '.join(terms)}")


def _spread(attempt: Attempt) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Yield the arguments that can be broadcast to the shape of the right answer in every case."""
    for name in attempt.cases[0].floats():
        pairs = zip(attempt.cases, attempt.truths, strict=True)
        try:
            yield name, [np.broadcast_to(case.arguments[name], truth.shape) for case, truth in pairs]
        except ValueError:
            continue


def _where(attempt: Attempt) -> Iterator[Hint]:
    """Describe where the answer is right, by a condition on an argument or the right answer, or how much of it is right."""
    right = [
        np.abs(answer - truth) <= attempt.task.tolerance * max(1e-300, float(np.abs(truth).max(initial=0.0)))
        for answer, truth in zip(attempt.answers, attempt.truths, strict=True)
    ]
    if not any(mask.any() for mask in right):
        return
    conditions = list(_conditions(attempt))
    for text, masks in conditions:
        if all(np.array_equal(mask, condition) for mask, condition in zip(right, masks, strict=True)):
            yield Hint(f"wrong unless {text}", f"it is right where {text}, and wrong everywhere else")
            return
    for text, masks in conditions:
        if all(mask[condition].all() for mask, condition in zip(right, masks, strict=True)) and any(m.any() for m in masks):
            yield Hint(f"wrong unless {text}", f"it is right where {text}, and wrong in some other places")
            return
    share = sum(int(mask.sum()) for mask in right) / sum(mask.size for mask in right)
    yield Hint("partly right", f"{share:.0%} of the numbers are right")


def _conditions(attempt: Attempt) -> Iterator[tuple[str, list[np.ndarray]]]:
    truths, arguments = attempt.truths, attempt.cases[0].arguments
    varied = {name: arrays for name, arrays in _spread(attempt) if isinstance(arguments[name], np.ndarray)}
    for name, arrays in ({"the right answer": truths} | (varied if truths[0].ndim else {})).items():
        yield f"{name} is above 0", [array > 0 for array in arrays]
        yield f"{name} is below 0", [array < 0 for array in arrays]
        yield f"{name} is 0", [array == 0 for array in arrays]
        yield f"{name} is 1", [array == 1 for array in arrays]
        yield f"{name} is strictly between 0 and 1", [(array > 0) & (array < 1) for array in arrays]
    for axis in range(truths[0].ndim):
        for text, number in (("first", 0), ("last", -1)):
            places = [np.arange(truth.shape[axis], dtype=np.int64) == number % max(1, truth.shape[axis]) for truth in truths]
            wide = [place.reshape(-1, *(1,) * (truth.ndim - axis - 1)) for place, truth in zip(places, truths, strict=True)]
            yield f"it is the {text} along axis {axis}", [np.broadcast_to(w, t.shape) for w, t in zip(wide, truths, strict=True)]
