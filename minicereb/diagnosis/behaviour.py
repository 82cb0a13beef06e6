"""Describe an answer that no alteration explains: what it does not depend on, how it scales, and where it is right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from minicereb.diagnosis.calls import Function, try_on
from minicereb.diagnosis.hints import Case, Hint, Task, fits

FACTOR = 1.5


def behaviour(
    function: Function,
    task: Task,
    cases: Sequence[Case],
    answers: list[np.ndarray],
    truths: list[np.ndarray],
) -> list[Hint]:
    """Describe a wrong answer to a :class:`~minicereb.diagnosis.diagnose.Task`: hints, the most telling first; at least one.

    Parameters
    ----------
    function : callable
        The student's.
    task : Task
    cases : sequence of Case
    answers, truths : list of array
        Of each case, in one shape.
    """
    found = [
        *_ignored(function, task, cases, answers, truths),
        *_combination(cases, answers, truths),
        *_growth(function, task, cases, answers, truths),
        *_where(cases, answers, truths, task.tolerance),
    ]
    if found:
        return found
    return [Hint("unknown", "the numbers are wrong, in no way that is recognised: compare them with the equation term by term")]


def _scaled(case: Case, name: str, factor: float) -> Case:
    return case._replace(arguments={**case.arguments, name: case.arguments[name] * factor})


def _floats(case: Case) -> list[str]:
    return [
        name
        for name, value in case.arguments.items()
        if isinstance(value, float) or (isinstance(value, np.ndarray) and value.dtype.kind == "f")
    ]


def _ignored(
    function: Function,
    task: Task,
    cases: Sequence[Case],
    answers: list[np.ndarray],
    truths: list[np.ndarray],
) -> Iterator[Hint]:
    """Arguments that the right answer depends on and this one does not."""
    for name in _floats(cases[0]):
        needed, used = False, False
        for case, answer, truth in zip(cases, answers, truths, strict=True):
            value = case.arguments[name]
            other = value * 0.7 if isinstance(value, float) else np.roll(value.ravel(), 1).reshape(value.shape) * 0.7
            changed = case._replace(arguments={**case.arguments, name: other})
            needed |= not np.array_equal(task.right(changed), truth)
            trial = try_on(function, changed, task.parts)
            used |= trial.answer is None or not np.array_equal(trial.answer, answer)
        if needed and not used:
            yield Hint(f"{name} left out", f"it does not depend on {name}, which the right answer does")


def _degree(one: np.ndarray, other: np.ndarray) -> float | None:
    """How an answer grows with an argument: p if it becomes 1.5ᵖ times as large everywhere; None if it does not."""
    size = float(np.vdot(one, one))
    ratio = float(np.vdot(one, other)) / size if size and one.shape == other.shape else 0.0
    if ratio <= 0 or not np.isfinite(other).all() or not fits(other, ratio * one, 1e-7):
        return None
    return round(float(np.log(ratio) / np.log(FACTOR)), 6)


def _growth(
    function: Function,
    task: Task,
    cases: Sequence[Case],
    answers: list[np.ndarray],
    truths: list[np.ndarray],
) -> Iterator[Hint]:
    """Arguments whose power is wrong: the answer does not grow with them as the right one does."""
    for name in _floats(cases[0]):
        wanted, found = set(), set()
        for case, answer, truth in zip(cases, answers, truths, strict=True):
            larger = _scaled(case, name, FACTOR)
            trial = try_on(function, larger, task.parts)
            wanted.add(_degree(truth, task.right(larger)))
            found.add(None if trial.answer is None else _degree(answer, trial.answer))
        if len(wanted) == 1 and len(found) == 1 and wanted != found and None not in wanted:
            power, other = next(iter(wanted)), next(iter(found))
            has = "not as a power of it" if other is None else f"as {name} to the power {other:g}"
            yield Hint(f"power of {name}", f"it should grow as {name} to the power {power:g}, and grows {has}")


def _combination(cases: Sequence[Case], answers: list[np.ndarray], truths: list[np.ndarray]) -> Iterator[Hint]:
    """An answer that is the right one, a constant and arguments, each times a number that is the same in all cases."""
    names = ["the right answer", "1"] + [name for name in _floats(cases[0])]
    columns: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for case, truth in zip(cases, truths, strict=True):
        columns["the right answer"].append(truth.ravel())
        columns["1"].append(np.ones(truth.size, dtype=np.float64))
        for name in names[2:]:
            try:
                columns[name].append(np.broadcast_to(case.arguments[name], truth.shape).astype(np.float64).ravel())
            except ValueError:
                columns.pop(name, None)
                names = [other for other in names if other != name]
    table = np.stack([np.concatenate(columns[name]) for name in names], axis=1)
    wanted = np.concatenate([answer.ravel() for answer in answers])
    if not np.isfinite(table).all() or len(table) < 4 * len(names):
        return
    weights = np.linalg.lstsq(table, wanted, rcond=None)[0]
    if not fits(table @ weights, wanted, 1e-9) or abs(weights[0]) < 1e-9:
        return
    terms = [f"{weight:+.4g} · {name}" for weight, name in zip(weights, names, strict=True) if abs(weight) > 1e-9]
    yield Hint("combination", f"it is {' '.join(terms)}")


def _where(cases: Sequence[Case], answers: list[np.ndarray], truths: list[np.ndarray], tolerance: float) -> Iterator[Hint]:
    """Where the answer is right: a condition on an argument or on the right answer itself, or a share."""
    right = [
        np.abs(answer - truth) <= tolerance * max(1e-300, float(np.abs(truth).max(initial=0.0)))
        for answer, truth in zip(answers, truths, strict=True)
    ]
    if not any(mask.any() for mask in right):
        return
    conditions = list(_conditions(cases, truths))
    for text, masks in conditions:
        if all(np.array_equal(mask, condition) for mask, condition in zip(right, masks, strict=True)):
            yield Hint(f"wrong unless {text}", f"it is right where {text}, and wrong everywhere else")
            return
    for text, masks in conditions:
        if all(mask[condition].all() for mask, condition in zip(right, masks, strict=True)) and any(m.any() for m in masks):
            yield Hint(f"wrong unless {text}", f"it is right where {text}, and wrong in places where not")
            return
    share = sum(int(mask.sum()) for mask in right) / sum(mask.size for mask in right)
    yield Hint("partly right", f"{share:.0%} of the numbers are right")


def _conditions(cases: Sequence[Case], truths: list[np.ndarray]) -> Iterator[tuple[str, list[np.ndarray]]]:
    named = {"the right answer": truths}
    for name in _floats(cases[0]):
        try:
            values = [np.broadcast_to(case.arguments[name], truth.shape) for case, truth in zip(cases, truths, strict=True)]
        except ValueError:
            continue
        if truths[0].ndim and isinstance(cases[0].arguments[name], np.ndarray):
            named[name] = values
    for name, arrays in named.items():
        yield f"{name} is above 0", [array > 0 for array in arrays]
        yield f"{name} is below 0", [array < 0 for array in arrays]
        yield f"{name} is 0", [array == 0 for array in arrays]
        yield f"{name} is 1", [array == 1 for array in arrays]
        yield f"{name} is strictly between 0 and 1", [(array > 0) & (array < 1) for array in arrays]
    for axis in range(truths[0].ndim):
        for text, number in (("first", 0), ("last", -1)):
            masks = [np.zeros(truth.shape, dtype=bool) for truth in truths]
            for mask in masks:
                if mask.shape[axis]:
                    np.moveaxis(mask, axis, 0)[number] = True
            yield f"it is the {text} along axis {axis}", masks
