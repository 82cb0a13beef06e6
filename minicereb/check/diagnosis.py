"""What is wrong with a function, told by comparing its answers with systematically altered right ones.

An answer is wrong in one way if one and the same alteration of the right answer gives it on every case. The simplest is looked
for first: a factor, a change of the answer, a mistake that this task is known for, a change of the arguments, then two at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from minicereb.check.arguments import alterations
from minicereb.check.behaviour import behaviour
from minicereb.check.changes import too_little, too_much, with_arguments
from minicereb.check.factors import factor_of, name_factor
from minicereb.check.hints import Case, Hint, Task, Verdict, farthest, fits
from minicereb.check.trial import Trial, try_on

SINGLE = 1e-4  # agreement of what is right but for float32's precision


class World(NamedTuple):
    """Answers, one a case, of a function that has one thing wrong; `code` is empty for the right one."""

    code: str
    text: str
    answers: list[np.ndarray]


def diagnose(function: Callable[..., Any], task: Task, cases: Sequence[Case], special: Sequence[Case] = ()) -> Verdict:
    """Say whether a function is right, and if not, why.

    Parameters
    ----------
    function : callable
        A student's. It is given copies of the arguments, by position.
    task : Task
    cases : sequence of Case
        Ordinary ones, in float64, of differing sizes and numbers: one hint must explain all of them.
    special : sequence of Case
        Each with a note: an answer that is right on the ordinary ones and wrong here is told this note.

    Returns
    -------
    Verdict
    """
    trials = [try_on(function, case, task.parts) for case in cases]
    for trial in trials:
        if trial.answer is None:
            return Verdict(False, trial.hints)
    truths = [task.right(case) for case in cases]
    answers = [trial.answer for trial in trials if trial.answer is not None]
    hints = list(dict.fromkeys(hint for trial in trials for hint in trial.hints))
    if all(fits(answer, truth, task.tolerance) for answer, truth in zip(answers, truths, strict=True)):
        hints += _formalities(function, task, cases, trials) or _special(function, task, special)
        return Verdict(not hints, tuple(hints))
    found = [*_numbers(function, task, cases, answers, truths), *hints]
    worst = next((i for i, (a, t) in enumerate(zip(answers, truths, strict=True)) if not fits(a, t, task.tolerance)), 0)
    same_shape = answers[worst].shape == truths[worst].shape
    return Verdict(False, tuple(found), farthest(answers[worst], truths[worst]) if same_shape else "")


def _formalities(function: Callable[..., Any], task: Task, cases: Sequence[Case], trials: Sequence[Trial]) -> list[Hint]:
    """Whether the dtype is that of the arguments, and a second call gives the same."""
    first, trial = cases[0], trials[0]
    if not any(isinstance(value, np.ndarray) and value.dtype == np.float64 for value in first.arguments.values()):
        return []
    if trial.dtype != np.float64:
        text = f"the numbers are right, but their type is {trial.dtype}, where the arguments are float64"
        return [Hint("wrong dtype", text)]
    again = try_on(function, first, task.parts).answer
    if again is None or not np.array_equal(again, trial.answer):
        return [Hint("not a function", "called again with the same arguments, it gives something else")]
    single = {
        name: value.astype(np.float32) if isinstance(value, np.ndarray) and value.dtype == np.float64 else value
        for name, value in first.arguments.items()
    }
    narrow = try_on(function, first._replace(arguments=single), task.parts)
    if narrow.answer is None:
        return [narrow.hints[0]._replace(text=f"for arguments of float32 {narrow.hints[0].text}")]
    if narrow.dtype != np.float32:
        text = f"for arguments of float32 it returns {narrow.dtype}: give every new array the dtype of the arguments"
        return [Hint("wrong dtype", text)]
    return []


def _special(function: Callable[..., Any], task: Task, special: Sequence[Case]) -> list[Hint]:
    """The notes of special cases in which the answer is wrong."""
    hints = []
    for case in special:
        trial, truth = try_on(function, case, task.parts), task.right(case)
        if trial.answer is None:
            hints.append(trial.hints[0]._replace(text=f"{case.note}: {trial.hints[0].text}"))
        elif not fits(trial.answer, truth, max(task.tolerance, 1e-6)):
            finite = trial.answer.shape != truth.shape or np.isfinite(trial.answer).all() or not np.isfinite(truth).all()
            code = "special case" if finite else "not finite"
            hints.append(Hint(code, case.note if finite else f"{case.note}; the answer has NaN or infinity"))
    return hints[:1]


def _numbers(
    function: Callable[..., Any], task: Task, cases: Sequence[Case], answers: list[np.ndarray], truths: list[np.ndarray]
) -> list[Hint]:
    """What is wrong with the numbers or their shape: one hint where there is one that explains all cases."""
    finite = all(np.isfinite(answer).all() for answer in answers)
    if finite:
        for hint in _explanations(task, cases, answers, truths):
            return [hint]
    wrong = [(a, t) for a, t in zip(answers, truths, strict=True) if a.shape != t.shape]
    if wrong:
        return [Hint("wrong shape", f"its shape is {wrong[0][0].shape}, should be {wrong[0][1].shape}")]
    if not finite:
        bad = next(answer for answer in answers if not np.isfinite(answer).all())
        share = f"{int((~np.isfinite(bad)).sum())} of {bad.size}"
        return [Hint("not finite", f"{share} numbers are NaN or infinite: a division by 0, or an overflow?")]
    return behaviour(function, task, cases, answers, truths)


def _explanations(task: Task, cases: Sequence[Case], answers: list[np.ndarray], truths: list[np.ndarray]) -> Iterator[Hint]:
    """Every explanation that holds on all cases, the simplest first."""
    right, tolerance = World("", "", truths), task.tolerance
    if all(fits(answer, truth, SINGLE) for answer, truth in zip(answers, truths, strict=True)):
        text = "it agrees to a few digits only: computed in float32, rounded, or by a difference quotient?"
        yield Hint("precision", text)
    yield from _factor(right, cases, answers, tolerance)
    mistakes = [World(m.code, m.text, made) for m in task.mistakes if (made := _made(m.function, cases)) is not None]
    yield from _exact(mistakes, answers, tolerance)
    yield from _missing_mask(answers, truths, tolerance)
    yield from _changed(cases, answers, truths, tolerance)
    altered = list(_altered(task.truth, cases))
    yield from _exact(altered, answers, tolerance)
    yield from _changed_by_arguments(cases, answers, truths, tolerance)
    for world in (*mistakes, *_too_much(cases, truths), *altered):
        yield from _factor(world, cases, answers, tolerance)
    for mistake in task.mistakes:
        both = (world._replace(code=f"{mistake.code}; {world.code}", text=f"{mistake.text}; and {world.text}")
                for world in _altered(mistake.function, cases))
        yield from _exact(both, answers, tolerance)
    for world in (*mistakes, *altered):
        yield from _then_changed(world, cases, answers, tolerance)


def _made(function: Callable[..., Any], cases: Sequence[Case], changed: Any = None) -> list[np.ndarray] | None:
    """Answers of a function on all cases, of which `changed` may alter arguments; None where it has none."""
    made = []
    with np.errstate(all="ignore"):
        for case in cases:
            try:
                arguments = {**case.arguments, **({} if changed is None else changed(case))}
                made.append(np.asarray(function(*arguments.values()), dtype=np.float64))
            except Exception:  # an altered argument may be refused in any way
                return None
    return made


def _altered(function: Callable[..., Any], cases: Sequence[Case]) -> Iterator[World]:
    for change in alterations(cases[0]):
        made = _made(function, cases, change.of)
        if made is not None and all(np.isfinite(array).all() for array in made):
            yield World(change.code, change.text, made)


def _exact(worlds: Any, answers: list[np.ndarray], tolerance: float) -> Iterator[Hint]:
    for world in worlds:
        if all(fits(answer, made, tolerance) for answer, made in zip(answers, world.answers, strict=True)):
            yield Hint(world.code, world.text)


def _factor(world: World, cases: Sequence[Case], answers: list[np.ndarray], tolerance: float) -> Iterator[Hint]:
    factors = factor_of(answers, world.answers, tolerance)
    hint = None if factors is None else name_factor(factors, cases, tolerance)
    if hint is not None:
        yield Hint(f"{world.code}; {hint.code}", f"{world.text}; and {hint.text}") if world.code else hint


def _missing_mask(answers: list[np.ndarray], truths: list[np.ndarray], tolerance: float) -> Iterator[Hint]:
    """An answer that is right but for where the right one is 0, or that is 0 where it should not be."""
    pairs = list(zip(answers, truths, strict=True))
    if any(a.shape != t.shape for a, t in pairs):
        return
    holds = [(fits(a * (t != 0), t, tolerance), fits(a, t * (a != 0), tolerance)) for a, t in pairs]
    some = [bool((a != 0).any()) and bool((t != 0).any()) for a, t in pairs]
    if all(some) and all(kept for kept, _ in holds):
        yield Hint("missing mask", "it is right wherever it should not be 0, but not 0 everywhere else: a mask is missing")
    if all(some) and all(cut for _, cut in holds):
        yield Hint("mask too large", "some numbers are 0 that should not be; all others are right")


def _too_much(cases: Sequence[Case], truths: list[np.ndarray]) -> Iterator[World]:
    for change in too_much(truths[0].ndim):
        with np.errstate(all="ignore"):
            made = [change.apply(truth, case) for truth, case in zip(truths, cases, strict=True)]
        if all(array is not None and np.isfinite(array).all() for array in made):
            yield World(change.code, change.text, made)


def _changed(
    cases: Sequence[Case], answers: list[np.ndarray], truths: list[np.ndarray], tolerance: float
) -> Iterator[Hint]:
    """Changes of the right answer that give the wrong one, or of the wrong one that give the right one."""
    yield from _exact(_too_much(cases, truths), answers, tolerance)
    if len({answer.ndim for answer in answers}) > 1:
        return
    for change in too_little(answers[0].ndim):
        with np.errstate(all="ignore"):
            made = [change.apply(answer, case) for answer, case in zip(answers, cases, strict=True)]
        if all(array is not None and fits(array, truth, tolerance) for array, truth in zip(made, truths, strict=True)):
            yield Hint(change.code, change.text)


def _changed_by_arguments(
    cases: Sequence[Case], answers: list[np.ndarray], truths: list[np.ndarray], tolerance: float
) -> Iterator[Hint]:
    for change in with_arguments(cases[0]):
        try:
            with np.errstate(all="ignore"):
                made = [change.apply(truth, case) for truth, case in zip(truths, cases, strict=True)]
        except ValueError:  # their shapes do not go together
            continue
        if all(array is not None and fits(a, array, tolerance) for a, array in zip(answers, made, strict=True)):
            yield Hint(change.code, change.text)


def _then_changed(world: World, cases: Sequence[Case], answers: list[np.ndarray], tolerance: float) -> Iterator[Hint]:
    for hint in _changed(cases, answers, world.answers, tolerance):
        yield Hint(f"{world.code}; {hint.code}", f"{world.text}; and {hint.text}")
