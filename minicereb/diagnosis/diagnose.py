"""What is wrong with a function? Its answers are compared with right answers that were altered systematically.

An answer is wrong in one way if one and the same alteration of the right answer gives it on every case. The simplest is looked
for first: a factor, a change of the answer, a mistake that this task is known for, a change of the arguments, then two at once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from minicereb.diagnosis.answer_changes import Change, too_little, too_much, with_arguments
from minicereb.diagnosis.argument_changes import Altered, alterations, step_alterations
from minicereb.diagnosis.behaviour import behaviour
from minicereb.diagnosis.calls import CallResult, Function, try_on
from minicereb.diagnosis.factors import factor_of, name_factor
from minicereb.diagnosis.hints import Case, Diagnosis, Hint, Mistake, Task, farthest, fits

SINGLE = 1e-4  # agreement of answers that are right up to the precision of float32


class Hypothesis:
    """The answers, one per case, of a function with one known mistake; each is computed when it is needed.

    Parameters
    ----------
    code, text : str
        As of a hint; empty for the right function.
    answer : callable
        From the number of a case to the answer there, None where there is none.
    """

    def __init__(self, code: str, text: str, answer: Callable[[int], np.ndarray | None]):
        self.code, self.text, self.answer = code, text, functools.cache(answer)

    def named(self, hint: Hint) -> Hint:
        """Return a hint to what is wrong besides."""
        return Hint(f"{self.code}; {hint.code}", f"{self.text}; and {hint.text}") if self.code else hint

    def all(self, cases: int) -> list[np.ndarray] | None:
        """Return the answers on the first `cases` cases; None if one of them has none."""
        found = [answer for answer in map(self.answer, range(cases)) if answer is not None]
        return found if len(found) == cases else None


def diagnose(
    function: Function,
    task: Task,
    cases: Sequence[Case],
    special: Sequence[Case] = (),
    square: Sequence[Case] = (),
) -> Diagnosis:
    """Say whether a function is right, and if not, why.

    Parameters
    ----------
    function : callable or Elsewhere
        A student's. It is given copies of the arguments, by position.
    task : Task
    cases : sequence of Case
        Ordinary ones, in float64, of differing sizes and numbers: one hint must explain all of them.
    special : sequence of Case
        Each with a note, the hint for an answer that is right on the ordinary cases and wrong on this one.

    square : sequence of Case
        Cases whose axes are equally long. Where the shapes do not fit, what is transposed shows itself there.

    Returns
    -------
    Diagnosis
    """
    trials = [try_on(function, case, task.parts) for case in cases]
    for trial in trials:
        if trial.answer is None:
            return Diagnosis(False, (*_on_square(function, task, square), *trial.hints))
    truths = [task.right(case) for case in cases]
    answers = [trial.answer for trial in trials if trial.answer is not None]
    hints = list(dict.fromkeys(hint for trial in trials for hint in trial.hints))
    if all(fits(answer, truth, task.tolerance) for answer, truth in zip(answers, truths, strict=True)):
        hints += _special(function, task, special) + _formalities(function, task, cases, trials)
        return Diagnosis(not hints, tuple(hints))
    found = [*_whole(trials, truths), *_numbers(function, task, cases, answers, truths), *hints]
    if found[0].code == "wrong shape":
        found = [*_on_square(function, task, square), *found]
    worst = next((i for i, (a, t) in enumerate(zip(answers, truths, strict=True)) if not fits(a, t, task.tolerance)), 0)
    same_shape = answers[worst].shape == truths[worst].shape
    return Diagnosis(False, tuple(found), farthest(answers[worst], truths[worst]) if same_shape else "")


def _whole(trials: Sequence[CallResult], truths: list[np.ndarray]) -> list[Hint]:
    """Whether it returns whole numbers where fractions are expected."""
    whole = all(trial.dtype is not None and trial.dtype.kind in "iub" for trial in trials)
    if not whole or all(np.array_equal(truth, np.round(truth)) for truth in truths):
        return []
    return [Hint("wrong dtype", f"it returns {trials[0].dtype}: fractions are lost")]


def _on_square(function: Function, task: Task, square: Sequence[Case]) -> list[Hint]:
    """What is wrong on cases whose axes are equally long, if that explains the answer."""
    trials = [try_on(function, case, task.parts) for case in square]
    answers, truths = [trial.answer for trial in trials if trial.answer is not None], [task.right(case) for case in square]
    if not square or len(answers) < len(square):
        return []
    if all(fits(answer, truth, task.tolerance) for answer, truth in zip(answers, truths, strict=True)):
        return [Hint("right on square arrays only", "it is right only where all axes are equally long: two lengths are mixed up")]
    found = _explanations(task, square, answers, truths) if all(np.isfinite(each).all() for each in answers) else iter(())
    hint = next(found, None)
    return [] if hint is None else [Hint(hint.code, f"{hint.text} (found on arrays whose axes are equally long)")]


def _formalities(function: Function, task: Task, cases: Sequence[Case], trials: Sequence[CallResult]) -> list[Hint]:
    """Whether the dtype is that of the arguments, and whether a second call returns the same."""
    first, trial = cases[0], trials[0]
    if not any(isinstance(value, np.ndarray) and value.dtype == np.float64 for value in first.arguments.values()):
        return []
    if trial.dtype != np.float64:
        text = f"the numbers are right, but their type is {trial.dtype}, where the arguments are float64"
        return [Hint("wrong dtype", text)]
    again = try_on(function, first, task.parts).answer
    if again is None or trial.answer is None or not np.array_equal(again, trial.answer):
        return [Hint("not a function", "called again with the same arguments, it gives something else")]
    single = {
        name: value.astype(np.float32) if isinstance(value, np.ndarray) and value.dtype == np.float64 else value
        for name, value in first.arguments.items()
    }
    narrow = try_on(function, first._replace(arguments=single), task.parts)
    if narrow.answer is None:
        return [narrow.hints[0]._replace(text=f"for arguments of float32 {narrow.hints[0].text}")]
    if narrow.dtype != np.float32:
        text = f"for arguments of float32 it returns {narrow.dtype}: give every new array the dtype of the arguments, and take "
        text += "math.sqrt rather than np.sqrt of a plain number"
        return [Hint("wrong dtype", text)]
    return []


def _special(function: Function, task: Task, special: Sequence[Case]) -> list[Hint]:
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
    function: Function,
    task: Task,
    cases: Sequence[Case],
    answers: list[np.ndarray],
    truths: list[np.ndarray],
) -> list[Hint]:
    """What is wrong with the numbers or their shape: one hint where there is one that explains all cases."""
    finite = all(np.isfinite(answer).all() for answer in answers)
    if finite:
        for hint in _explanations(task, cases, answers, truths):
            return [hint]
        if hints := _by_part(task, cases, answers, truths):
            return hints
    wrong = [(a, t) for a, t in zip(answers, truths, strict=True) if a.shape != t.shape]
    if wrong:
        return [Hint("wrong shape", f"its shape is {wrong[0][0].shape}, should be {wrong[0][1].shape}")]
    if not finite:
        bad = next(answer for answer in answers if not np.isfinite(answer).all())
        share = f"{int((~np.isfinite(bad)).sum())} of {bad.size}"
        return [Hint("not finite", f"{share} numbers are NaN or infinite: a division by 0, or an overflow?")]
    return behaviour(function, task, cases, answers, truths)


def _by_part(task: Task, cases: Sequence[Case], answers: list[np.ndarray], truths: list[np.ndarray]) -> list[Hint]:
    """What is wrong with each of the arrays that it returns, if each is right, or wrong in a way that has a name."""
    hints = []
    if not task.parts or any(answer.shape != truth.shape for answer, truth in zip(answers, truths, strict=True)):
        return []
    for part in range(task.parts):
        found, wanted = [answer[part] for answer in answers], [truth[part] for truth in truths]
        if all(fits(answer, truth, task.tolerance) for answer, truth in zip(found, wanted, strict=True)):
            continue
        mistakes = [each._replace(function=_only(each.function, part)) for each in task.mistakes]
        steps = None if task.steps is None else _only(task.steps, part)
        alone = task._replace(truth=_only(task.truth, part), mistakes=mistakes, parts=0, steps=steps)
        hint = next(_explanations(alone, cases, found, wanted), None)
        if hint is None:
            return []
        place = ("first", "second", "third", "fourth")[part]
        hints.append(Hint(hint.code, f"of the {place} array that it returns: {hint.text}"))
    return hints


def _only(function: Callable[..., Any], part: int) -> Callable[..., Any]:
    return lambda *arguments: function(*arguments)[part]


def _explanations(task: Task, cases: Sequence[Case], answers: list[np.ndarray], truths: list[np.ndarray]) -> Iterator[Hint]:
    """Every explanation that holds on all cases, the simplest first."""
    right, tolerance = Hypothesis("", "", lambda number: truths[number]), task.tolerance
    if all(fits(answer, truth, SINGLE) for answer, truth in zip(answers, truths, strict=True)):
        yield Hint("precision", "it agrees to a few digits only: computed in float32, rounded, or by a difference quotient?")
    if all(a.size == t.size and fits(a.reshape(t.shape), t, tolerance) for a, t in zip(answers, truths, strict=True)):
        yield Hint(
            "not reshaped", f"the numbers are right and in order, in shape {answers[0].shape}; it should be {truths[0].shape}"
        )
    yield from _factor(right, cases, answers, tolerance)
    mistakes = [Hypothesis(each.code, each.text, _on(each.function, cases)) for each in task.mistakes]
    yield from _exact(mistakes, answers, tolerance)
    yield from _masked(answers, truths, tolerance)
    yield from _changed(right, cases, answers, tolerance)
    altered = list(_altered(task.truth, cases))
    yield from _exact(altered, answers, tolerance)
    yield from _exact(_then(right, with_arguments(cases[0]), cases), answers, tolerance)
    stepped = list(_stepped(task, cases))
    yield from _exact(stepped, answers, tolerance)
    for world in (*mistakes, *_then(right, too_much(truths[0].ndim), cases), *altered, *stepped):
        yield from _factor(world, cases, answers, tolerance)
    single = [each for each in mistakes if ";" not in each.code]  # two things wrong at once are enough
    for world in single:
        yield from _changed(world, cases, answers, tolerance)
    if answers[0].shape != truths[0].shape:
        return
    for mistake in task.mistakes:
        if ";" not in mistake.code:
            yield from _exact(_altered(mistake.function, cases, mistake), answers, tolerance)
    for world in altered:
        yield from _exact(_then(world, too_much(truths[0].ndim), cases), answers, tolerance)


def _on(
    function: Callable[..., Any], cases: Sequence[Case], changed: Any = None, named: bool = False
) -> Callable[[int], np.ndarray | None]:
    """The answer of a function by the number of a case; `changed` may alter arguments, `named`: it takes them as a dict."""

    def answer(number: int) -> np.ndarray | None:
        with np.errstate(all="ignore"):
            try:
                arguments = {**cases[number].arguments, **({} if changed is None else changed(cases[number]))}
                return np.asarray(function(arguments) if named else function(*arguments.values()), dtype=np.float64)
            except Exception:  # an altered argument may be refused in any way
                return None

    return answer


def _altered(function: Callable[..., Any], cases: Sequence[Case], besides: Mistake | None = None) -> Iterator[Hypothesis]:
    """Hypotheses: a function, right or with a known mistake, is called with altered arguments."""
    for change in alterations(cases[0]):
        code, text = change.code, change.text
        if besides is not None:
            code, text = f"{besides.code}; {code}", f"{besides.text}; and {text}"
        yield Hypothesis(code, text, _on(function, cases, change.of))


def _stepped(task: Task, cases: Sequence[Case]) -> Iterator[Hypothesis]:
    """Hypotheses: one intermediate result is altered."""
    if task.steps is None:
        return
    known: dict[str, Any] = dict(cases[0].arguments)
    first: list[tuple[str, np.ndarray, dict[str, Any]]] = []

    def keep(name: str, value: Any) -> Any:
        first.append((name, np.asarray(value), dict(known)))
        known[name] = value
        return value

    task.steps(keep, *cases[0].arguments.values())
    for name, value, others in first:
        for change in step_alterations(name, value, others):
            yield Hypothesis(
                change.code, change.text, _on(functools.partial(_with_step, task.steps, name, change), cases, named=True)
            )


def _with_step(steps: Callable[..., Any], name: str, change: Altered, arguments: dict[str, Any]) -> Any:
    """The answer with one intermediate result altered."""
    known = dict(arguments)

    def alter(step: str, value: Any) -> Any:
        known[step] = value
        if step == name:
            known[step] = change.of(Case(known))[name]
        return known[step]

    return steps(alter, *arguments.values())


def _then(world: Hypothesis, changes: Iterable[Change], cases: Sequence[Case]) -> Iterator[Hypothesis]:
    """Hypotheses: the answers of `world` are changed."""

    def answer(number: int, change: Change) -> np.ndarray | None:
        before = world.answer(number)
        return None if before is None else _apply(change, before, cases[number])

    for change in changes:
        both = world.named(Hint(change.code, change.text))
        yield Hypothesis(both.code, both.text, functools.partial(answer, change=change))


def _apply(change: Change, array: np.ndarray, case: Case) -> np.ndarray | None:
    with np.errstate(all="ignore"):
        try:
            changed = change.apply(array, case)
        except (ValueError, IndexError):  # the shapes do not go together
            return None
    return None if changed is None else np.asarray(changed, dtype=np.float64)


def _exact(worlds: Iterable[Hypothesis], answers: list[np.ndarray], tolerance: float) -> Iterator[Hint]:
    for world in worlds:
        made = (world.answer(number) for number in range(len(answers)))
        if all(array is not None and fits(answer, array, tolerance) for answer, array in zip(answers, made, strict=True)):
            yield Hint(world.code, world.text)


def _factor(world: Hypothesis, cases: Sequence[Case], answers: list[np.ndarray], tolerance: float) -> Iterator[Hint]:
    first = world.answer(0)
    if first is None or factor_of(answers[:1], [first], tolerance) is None or (made := world.all(len(cases))) is None:
        return
    factors = factor_of(answers, made, tolerance)
    hint = None if factors is None else name_factor(factors, cases, tolerance)
    if hint is not None:
        yield world.named(hint)


def _masked(answers: list[np.ndarray], truths: list[np.ndarray], tolerance: float) -> Iterator[Hint]:
    """An answer that is right except where 0 is right, or that is 0 where it should not be."""
    pairs = list(zip(answers, truths, strict=True))
    if any(a.shape != t.shape or not (a != 0).any() or not (t != 0).any() for a, t in pairs):
        return
    if all(fits(a * (t != 0), t, tolerance) for a, t in pairs):
        yield Hint("missing mask", "it is right wherever it should not be 0, but not 0 everywhere else: a mask is missing")
    if all(fits(a, t * (a != 0), tolerance) for a, t in pairs):
        yield Hint("mask too large", "some numbers are 0 that should not be; all others are right")


def _changed(world: Hypothesis, cases: Sequence[Case], answers: list[np.ndarray], tolerance: float) -> Iterator[Hint]:
    """Changes of a hypothesis' answers that give the student's answers, or changes of the student's answers that give them."""
    first = world.answer(0)
    if first is None:
        return
    yield from _exact(_then(world, too_much(first.ndim), cases), answers, tolerance)
    for change in too_little(answers[0].ndim, lossy=not world.code):
        made = (_apply(change, answer, case) for answer, case in zip(answers, cases, strict=True))
        wanted = (world.answer(number) for number in range(len(cases)))
        if all(w is not None and a is not None and fits(a, w, tolerance) for a, w in zip(made, wanted, strict=True)):
            yield world.named(Hint(change.code, change.text))
