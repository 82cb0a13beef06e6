"""Find out what is wrong with a function: compare its answers with systematically altered right answers.

A mistake explains an answer if the same alteration turns the right answer into that answer on every case. The simplest mistakes
are tried first: a factor, a change of the answer, a known mistake of the task, a change of the arguments, then two of these
combined.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from minicereb.diagnosis.alterations import argument_changes, step_changes, too_little, too_much, with_arguments
from minicereb.diagnosis.behaviour import behaviour
from minicereb.diagnosis.calls import CallResult, Function, try_on
from minicereb.diagnosis.factors import factor_of, name_factor
from minicereb.diagnosis.hints import Attempt, Case, Diagnosis, Hint, Mistake, Task, farthest, fits

SINGLE = 1e-4  # relative tolerance for answers that are right to float32 precision


class Hypothesis:
    """The answers of a function with a known mistake, computed when needed.

    `code` and `text` are empty for the right function. `answer` maps the index of a case to the answer in that case, or to
    None.
    """

    def __init__(self, code: str, text: str, answer: Callable[[int], np.ndarray | None]):
        self.code, self.text, self.answer = code, text, functools.cache(answer)

    def and_also(self, hint: Hint | Mistake) -> Hint:
        """Return a hint about this mistake and another one together."""
        return Hint(f"{self.code}; {hint.code}", f"{self.text}; and {hint.text}") if self.code else Hint(*hint[:2])

    def answers(self, attempt: Attempt) -> Iterator[np.ndarray | None]:
        """Yield the answer on each case of an attempt."""
        return map(self.answer, range(len(attempt.cases)))


def diagnose(
    function: Function, task: Task, cases: Sequence[Case], special: Sequence[Case] = (), square: Sequence[Case] = ()
) -> Diagnosis:
    """Decide whether a student's function is right, and if not, why. The function receives copies of the arguments, by position.

    The ordinary `cases`, in float64, have different sizes and numbers: one hint must explain all of them. Each `special`
    case has a note: the hint for an answer that is wrong only there. In `square` cases all axes are equally long, so that
    an array transposed by mistake causes no exception.
    """
    trials = [try_on(function, case, task.parts) for case in cases]
    for trial in trials:
        if trial.answer is None:
            return Diagnosis(False, (*_on_square(function, task, square), *trial.hints))
    attempt = _attempt(function, task, cases, trials)
    hints = list(dict.fromkeys(hint for trial in trials for hint in trial.hints))
    if attempt.agrees(attempt.truths):
        hints += _special(function, task, special) + _formalities(attempt, trials[0])
        return Diagnosis(not hints, tuple(hints))
    found = [*_whole(attempt, trials), *_numbers(attempt), *hints]
    if found[0].code == "wrong shape":
        found = [*_on_square(function, task, square), *found]
    pairs = zip(attempt.answers, attempt.truths, strict=True)
    answer, truth = next(pair for pair in pairs if not fits(*pair, tolerance=task.tolerance))
    return Diagnosis(False, tuple(found), farthest(answer, truth) if answer.shape == truth.shape else "")


def _attempt(function: Any, task: Task, cases: Sequence[Case], trials: Sequence[CallResult]) -> Attempt:
    answers = [trial.answer for trial in trials if trial.answer is not None]
    return Attempt(function, task, cases, answers, [task.right(case) for case in cases])


def _whole(attempt: Attempt, trials: Sequence[CallResult]) -> list[Hint]:
    """Return a hint if the function returns whole numbers where fractions are expected."""
    whole = all(trial.dtype is not None and trial.dtype.kind in "iub" for trial in trials)
    if not whole or all(np.array_equal(truth, np.round(truth)) for truth in attempt.truths):
        return []
    return [Hint("wrong dtype", f"it returns {trials[0].dtype}: fractions are lost")]


def _on_square(function: Function, task: Task, square: Sequence[Case]) -> list[Hint]:
    """Return the mistake that explains the answer on cases with equally long axes, if there is one."""
    attempt = _attempt(function, task, square, [try_on(function, case, task.parts) for case in square])
    if not square or len(attempt.answers) < len(square):
        return []
    if attempt.agrees(attempt.truths):
        return [Hint("right on square arrays only", "it is right only if all axes are equally long: two lengths are mixed up")]
    found = _explanations(attempt) if all(np.isfinite(each).all() for each in attempt.answers) else iter(())
    return [Hint(hint.code, f"{hint.text} (found on arrays whose axes are equally long)") for hint in found][:1]


def _formalities(attempt: Attempt, trial: CallResult) -> list[Hint]:
    """Check that the answer has the dtype of the arguments and that a second call returns the same answer."""
    first, parts = attempt.cases[0], attempt.task.parts
    arrays = {name: value for name, value in first.arguments.items() if getattr(value, "dtype", None) == np.float64}
    if not arrays:
        return []
    if trial.dtype != np.float64:
        return [Hint("wrong dtype", f"the numbers are right, but their type is {trial.dtype}; the arguments are float64")]
    again = try_on(attempt.function, first, parts).answer
    if again is None or not np.array_equal(again, attempt.answers[0]):
        return [Hint("not a function", "called again with the same arguments, it returns something else")]
    narrow = try_on(attempt.function, first.but(**{name: value.astype(np.float32) for name, value in arrays.items()}), parts)
    if narrow.answer is None:
        return [narrow.hints[0]._replace(text=f"for arguments of float32 {narrow.hints[0].text}")]
    if narrow.dtype != np.float32:
        text = f"for arguments of float32 it returns {narrow.dtype}: give every new array the dtype of the arguments, and use "
        return [Hint("wrong dtype", text + "math.sqrt, not np.sqrt, for a plain number")]
    return []


def _special(function: Function, task: Task, special: Sequence[Case]) -> list[Hint]:
    """Return the note of the first special case in which the answer is wrong."""
    for case in special:
        trial, truth = try_on(function, case, task.parts), task.right(case)
        if trial.answer is None:
            return [trial.hints[0]._replace(text=f"{case.note}: {trial.hints[0].text}")]
        if not fits(trial.answer, truth, max(task.tolerance, 1e-6)):
            if trial.answer.shape != truth.shape or np.isfinite(trial.answer).all() or not np.isfinite(truth).all():
                return [Hint("special case", case.note)]
            return [Hint("not finite", f"{case.note}; the answer has NaN or infinity")]
    return []


def _numbers(attempt: Attempt) -> list[Hint]:
    """Return what is wrong with the numbers or their shape; a single hint if one explains all cases."""
    bad = next((answer for answer in attempt.answers if not np.isfinite(answer).all()), None)
    if bad is None:
        for hint in _explanations(attempt):
            return [hint]
        if hints := _by_part(attempt):
            return hints
    for answer, truth in zip(attempt.answers, attempt.truths, strict=True):
        if answer.shape != truth.shape:
            return [Hint("wrong shape", f"its shape is {answer.shape}, should be {truth.shape}")]
    if bad is not None:
        share = f"{int((~np.isfinite(bad)).sum())} of {bad.size}"
        return [Hint("not finite", f"{share} numbers are NaN or infinite: a division by 0, or an overflow?")]
    return behaviour(attempt)


def _by_part(attempt: Attempt) -> list[Hint]:
    """Return a hint for each returned array that is wrong, or no hints if one of these arrays has no explanation."""
    hints: list[Hint] = []
    task = attempt.task
    if not attempt.same_shapes:
        return hints
    for part in range(task.parts):
        mistakes = [each._replace(function=_only(each.function, part)) for each in task.mistakes]
        steps = None if task.steps is None else _only(task.steps, part)
        alone = attempt._replace(
            task=task._replace(truth=_only(task.truth, part), mistakes=mistakes, parts=0, steps=steps),
            answers=[answer[part] for answer in attempt.answers],
            truths=[truth[part] for truth in attempt.truths],
        )
        if alone.agrees(alone.truths):
            continue
        hint = next(_explanations(alone), None)
        if hint is None:
            return []
        place = ("first", "second", "third", "fourth")[part]
        hints.append(Hint(hint.code, f"in the {place} array that it returns: {hint.text}"))
    return hints


def _only(function: Callable[..., Any], part: int) -> Callable[..., Any]:
    return lambda *arguments: function(*arguments)[part]


def _explanations(attempt: Attempt) -> Iterator[Hint]:
    """Yield every explanation that holds on all cases, the simplest first."""
    task, cases, answers, truths = attempt.task, attempt.cases, attempt.answers, attempt.truths
    right = Hypothesis("", "", lambda number: truths[number])
    if attempt.agrees(truths, tolerance=SINGLE):
        yield Hint("precision", "it agrees to a few digits only: computed in float32, rounded, or by a difference quotient?")
    if attempt.agrees(truths, (a.reshape(t.shape) if a.size == t.size else None for a, t in zip(answers, truths, strict=True))):
        text = f"the numbers are right and in order, in shape {answers[0].shape}; it should be {truths[0].shape}"
        yield Hint("not reshaped", text)
    yield from _factor(right, attempt)
    mistakes = [Hypothesis(each.code, each.text, _on(each.function, cases)) for each in task.mistakes]
    yield from _exact(mistakes, attempt)
    yield from _masked(attempt)
    yield from _changed(right, attempt)
    altered = list(_altered(right, task.truth, cases))
    yield from _exact(altered, attempt)
    yield from _exact(_then(right, with_arguments(cases[0]), cases), attempt)
    stepped = list(_stepped(task, cases))
    yield from _exact(stepped, attempt)
    for world in (*mistakes, *_then(right, too_much(truths[0].ndim), cases), *altered, *stepped):
        yield from _factor(world, attempt)
    single = [(world, each) for world, each in zip(mistakes, task.mistakes, strict=True) if ";" not in world.code]
    for world, _ in single:
        yield from _changed(world, attempt)
    if answers[0].shape != truths[0].shape:
        return
    for world, mistake in single:
        yield from _exact(_altered(world, mistake.function, cases), attempt)
    for world in altered:
        yield from _exact(_then(world, too_much(truths[0].ndim), cases), attempt)


def _on(function: Callable[..., Any], cases: Sequence[Case], changed: Callable[[Case], Any] | None = None) -> Any:
    """Return a function that maps a case's index to the answer of `function` on that case; `changed` may replace arguments."""

    def answer(number: int) -> np.ndarray | None:
        with np.errstate(all="ignore"):
            try:
                case = cases[number] if changed is None else cases[number].but(**changed(cases[number]))
                return np.asarray(function(*case.arguments.values()), dtype=np.float64)
            except Exception:  # the function may reject an altered argument with any exception
                return None

    return answer


def _altered(world: Hypothesis, function: Callable[..., Any], cases: Sequence[Case]) -> Iterator[Hypothesis]:
    """Yield hypotheses in which `function`, which the hypothesis `world` describes, is called with altered arguments."""
    for change in argument_changes(cases[0]):
        yield Hypothesis(*world.and_also(change), _on(function, cases, change.function))


def _stepped(task: Task, cases: Sequence[Case]) -> Iterator[Hypothesis]:
    """Yield hypotheses in which one intermediate result is altered."""
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
        for change in step_changes(name, value, others):
            altered = functools.partial(_with_step, task.steps, name, change, list(cases[0].arguments))
            yield Hypothesis(change.code, change.text, _on(altered, cases))


def _with_step(steps: Callable[..., Any], name: str, change: Mistake, names: list[str], *arguments: Any) -> Any:
    """Return the answer after altering one intermediate result."""
    known = dict(zip(names, arguments, strict=True))

    def alter(step: str, value: Any) -> Any:
        known[step] = value
        if step == name:
            known[step] = change.function(Case(known))[name]
        return known[step]

    return steps(alter, *arguments)


def _then(world: Hypothesis, changes: Iterable[Mistake], cases: Sequence[Case]) -> Iterator[Hypothesis]:
    """Yield hypotheses in which the answers of the hypothesis `world` are changed."""

    def answer(number: int, change: Mistake) -> np.ndarray | None:
        before = world.answer(number)
        return None if before is None else _apply(change, before, cases[number])

    for change in changes:
        yield Hypothesis(*world.and_also(change), functools.partial(answer, change=change))


def _apply(change: Mistake, array: np.ndarray, case: Case) -> np.ndarray | None:
    with np.errstate(all="ignore"):
        try:
            return np.asarray(change.function(array, case), dtype=np.float64)
        except (ValueError, IndexError):  # the shapes do not go together
            return None


def _exact(worlds: Iterable[Hypothesis], attempt: Attempt) -> Iterator[Hint]:
    return (Hint(world.code, world.text) for world in worlds if attempt.agrees(world.answers(attempt)))


def _factor(world: Hypothesis, attempt: Attempt) -> Iterator[Hint]:
    factors = factor_of(attempt.answers, world.answers(attempt), attempt.task.tolerance)
    hint = None if factors is None else name_factor(factors, attempt.cases, attempt.task.tolerance)
    if hint is not None:
        yield world.and_also(hint)


def _masked(attempt: Attempt) -> Iterator[Hint]:
    """Yield a hint if all wrong entries of the answer should be 0, or if all wrong entries are 0."""
    pairs = list(zip(attempt.answers, attempt.truths, strict=True))
    if not attempt.same_shapes or any(not a.any() or not t.any() for a, t in pairs):
        return
    if attempt.agrees(attempt.truths, (a * (t != 0) for a, t in pairs)):
        yield Hint("missing mask", "it is right wherever it should not be 0, but not 0 everywhere else: a mask is missing")
    if attempt.agrees(t * (a != 0) for a, t in pairs):
        yield Hint("mask too large", "some numbers are 0 that should not be; all others are right")


def _changed(world: Hypothesis, attempt: Attempt) -> Iterator[Hint]:
    """Find changes that turn the answers of a hypothesis into the student's answers, or the other way round."""
    first = world.answer(0)
    if first is None:
        return
    yield from _exact(_then(world, too_much(first.ndim), attempt.cases), attempt)
    for change in too_little(attempt.answers[0].ndim, lossy=not world.code):
        made = (_apply(change, answer, case) for answer, case in zip(attempt.answers, attempt.cases, strict=True))
        if attempt.agrees(world.answers(attempt), made):
            yield world.and_also(change)
