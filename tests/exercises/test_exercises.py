"""Every exercise: its stub fails, its solution passes, and the diagnosis names what is wrong with an answer."""

import re
from pathlib import Path

import numpy as np
import pytest
from wrong_answers import WRONG

from minicereb.diagnosis.factors import name_factor
from minicereb.diagnosis.hints import Case, Diagnosis, fits
from minicereb.exercises.child import read_submission
from minicereb.exercises.course import EXERCISES, exercise_named
from minicereb.exercises.definition import Exercise

SOLUTIONS = Path(__file__).parents[2] / "docs" / "solutions"


def verdict_on(exercise, path):
    """Load a function from a file that is read in this process."""
    function, hints = read_submission(exercise.function, path)
    return exercise.check(function) if function else Diagnosis(False, hints)


@pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES)
class TestExercise:
    def test_the_stub_fails_and_the_solution_passes(self, exercise, tmp_path):
        stub = tmp_path / exercise.file_name
        stub.write_text(exercise.stub(), encoding="utf-8")
        assert [hint.code for hint in verdict_on(exercise, stub).hints] == ["not started"]
        assert verdict_on(exercise, SOLUTIONS / exercise.file_name) == (True, (), "")

    def test_the_statement_names_its_equations(self, exercise):
        for tag in exercise.tags:
            assert f"[{tag}]" in exercise.stub()
        assert all(len(line) <= 110 for line in exercise.stub().splitlines())

    def test_known_mistakes_are_named_and_none_of_them_is_right(self, exercise):
        parts = exercise.task.parts
        for mistake in exercise.task.mistakes:
            if ";" in mistake.code:
                continue

            def answer(*given, mistake=mistake):
                made = mistake.function(*given)
                return tuple(made) if parts else made

            verdict = exercise.check(answer)
            assert not verdict.right, mistake.code
            assert verdict.hints[0].code not in ("unknown", "partly right", "wrong shape"), mistake.code

    def test_its_steps_come_to_the_right_answer(self, exercise):
        if exercise.task.steps is None:
            assert exercise.name in ("relu-derivative", "im2col")
            return
        for case in (*exercise.cases(), *exercise.square_cases()):
            names = []
            answer = exercise.task.steps(lambda name, value, names=names: names.append(name) or value, *case.arguments.values())
            assert np.allclose(answer, exercise.task.right(case), rtol=1e-12, atol=1e-12)
            assert len(names) == len(set(names)) > 0

    def test_cases_differ_and_square_ones_are_square(self, exercise):
        sizes = [tuple(case.sizes.values()) for case in exercise.cases()]
        assert len(set(sizes)) > 2
        assert all(len(set(case.sizes.values())) == 1 for case in exercise.square_cases())


def test_there_is_a_solution_for_each_and_none_is_installed():
    assert {path.name for path in SOLUTIONS.glob("*.py")} == {exercise.file_name for exercise in EXERCISES.values()}


@pytest.mark.parametrize(("exercise", "hint", "body"), WRONG, ids=[f"{number}-{row[0]}" for number, row in enumerate(WRONG)])
def test_a_wrong_answer_is_named(exercise, hint, body, written):
    verdict = EXERCISES[exercise].check(written(exercise, body))
    assert not verdict.right
    told = f"{verdict.hints[0].code}: {verdict.hints[0].text}"
    assert re.search(hint, told), told


def test_there_are_wrong_answers_to_all_exercises():
    assert {row[0] for row in WRONG} == set(EXERCISES)
    assert len({(row[0], row[2]) for row in WRONG}) == len(WRONG) >= 60


def test_one_hint_must_explain_all_cases(written):
    """If the factor is 2 for one size and 3 for others, the diagnosis names none."""
    verdict = EXERCISES["fgsm"].check(written("fgsm", "return np.clip(x + epsilon * np.sign(gradient), 0, 1) * len(x)**0.3"))
    assert not verdict.right
    assert "factor" not in verdict.hints[0].code


def test_an_example_of_a_wrong_number_is_given(written):
    verdict = EXERCISES["ltd-average"].check(written("ltd-average", "return ltd_mean * 0"))
    assert re.fullmatch(r"at \[\d+\] it is 0, should be 0\.\d+", verdict.example)


def test_exercises_are_known_by_either_spelling():
    assert exercise_named("glr_estimator.py") is exercise_named("glr-estimator")
    assert isinstance(EXERCISES["fgsm"], Exercise)


def test_what_is_not_callable_is_no_function():
    assert EXERCISES["fgsm"].check(3).hints[0].code == "no function"


def test_factors_are_named_by_what_they_are():
    cases = [Case({"scale": s}, {"batch": n}) for s, n in ((0.7, 5), (1.6, 7), (2.3, 4))]

    def code(of):
        return name_factor([of(case.arguments["scale"], case.sizes["batch"]) for case in cases], cases, 1e-8).code

    assert code(lambda s, n: -1) == "sign"
    assert code(lambda s, n: 2 / 3) == "factor 2/3"
    assert code(lambda s, n: 1 / n) == "factor 1/batch"
    assert code(lambda s, n: -2 * n) == "sign, factor 2 batch"
    assert code(lambda s, n: s**-2) == "factor 1/scale²"
    assert code(lambda s, n: n / s) == "factor batch · 1/scale"
    assert code(lambda s, n: (2 * np.pi) ** 0.5 * s) == "factor √(2π) scale"
    assert name_factor([1.1, 1.7, 2.9], cases, 1e-8) is None


def test_nothing_fits_what_is_not_finite():
    assert not fits(np.ones(2), np.array([np.inf, 1]), 1e-8)
    assert not fits(np.array([np.nan, 1]), np.ones(2), 1e-8)


RIGHT_TOO = {
    "2F - 1": "from scipy.special import expit\ndef score(r, scale):\n"
    "    return ((2 * expit(r / scale) - 1) / scale).astype(r.dtype)\n",
    "by the sign": "import numpy as np\ndef score(r, scale):\n    q = np.exp(-abs(r / scale))\n"
    "    return (np.sign(r) * (1 - q) / (1 + q) / scale).astype(r.dtype)\n",
}


@pytest.mark.parametrize("answer", RIGHT_TOO.values(), ids=RIGHT_TOO)
def test_a_right_score_that_rounds_otherwise_near_zero_is_right(answer, tmp_path):
    path, exercise = tmp_path / "answer.py", exercise_named("noise-score")
    path.write_text(answer.replace("def score(r, scale)", f"def {exercise.signature}"), encoding="utf-8")
    assert verdict_on(exercise, path).right
