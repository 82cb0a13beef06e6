"""The checker of derivatives names what is wrong with one, using only the function and its finite differences."""

import re
from pathlib import Path

import numpy as np
import pytest

from minicereb.diagnosis import check_derivative
from minicereb.errors import InputError
from minicereb.gradcheck.differences import kink_place

RNG = np.random.default_rng(0)
X, WEIGHT, BIAS = (RNG.standard_normal(shape) for shape in ((6, 4), (3, 4), (3,)))


def layer(x, weight, bias):
    return np.maximum(x @ weight.T + bias, 0)


def active(x, weight, bias):
    return x @ weight.T + bias > 0


def by_input(d, x, weight, bias):
    return (d * active(x, weight, bias)) @ weight


def by_weight(d, x, weight, bias):
    return (d * active(x, weight, bias)).T @ x


def first(verdict):
    assert not verdict.right
    return verdict.hints[0].code


def test_right_derivatives_pass():
    assert check_derivative(layer, by_input, X, WEIGHT, BIAS).right
    assert check_derivative(layer, by_weight, X, WEIGHT, BIAS, by=1).right
    assert check_derivative(lambda x: float((x**2).sum()), lambda x: 2 * x, X).right


@pytest.mark.parametrize(
    ("hint", "derivative"),
    [
        ("sign", lambda d, x, w, b: -by_input(d, x, w, b)),
        ("factor 1/2", lambda d, x, w, b: by_input(d, x, w, b) / 2),
        ("factor 6", lambda d, x, w, b: 6 * by_input(d, x, w, b)),
        ("factor 1/6", lambda d, x, w, b: by_input(d, x, w, b) / len(x)),
        ("transposed", lambda d, x, w, b: by_input(d, x, w, b).T),
        ("missing mask", lambda d, x, w, b: d @ w),
        ("mask inverted", lambda d, x, w, b: (d * ~active(x, w, b)) @ w),
        ("bias left out (0)", lambda d, x, w, b: (d * active(x, w, 0 * b)) @ w),
        ("d_output left out", lambda d, x, w, b: active(x, w, b) @ w),
        ("summed over axis 0", lambda d, x, w, b: by_input(d, x, w, b).sum(axis=0)),
        ("averaged over axis 1", lambda d, x, w, b: by_input(d, x, w, b).mean(axis=1)),
        ("centred over axis 0", lambda d, x, w, b: by_input(d, x, w, b) - by_input(d, x, w, b).mean(axis=0)),
        ("returns None", lambda d, x, w, b: None),
        ("not finite", lambda d, x, w, b: by_input(d, x, w, b) + np.nan),
        ("crash", lambda d, x, w, b: d @ w.T),
        ("wrong type", lambda d, x, w, b: (by_input(d, x, w, b), None)),
    ],
)
def test_what_is_wrong_by_the_input_is_named(hint, derivative):
    assert first(check_derivative(layer, derivative, X, WEIGHT, BIAS)) == hint


def test_a_factor_that_is_a_length_is_named_by_its_axis():
    verdict = check_derivative(layer, lambda *given: by_input(*given) / 6, X, WEIGHT, BIAS)
    assert "6 is the length of the output's axis 0" in verdict.hints[0].text


def test_what_is_wrong_by_the_weights_is_named():
    def wrong(function):
        return first(check_derivative(layer, function, X, WEIGHT, BIAS, by=1))

    assert wrong(lambda d, x, w, b: by_weight(d, x, w, b).T) == "transposed"
    assert wrong(lambda d, x, w, b: d.T @ x) == "missing mask"
    assert wrong(lambda d, x, w, b: by_weight(d, x, w, b) / 6) == "factor 1/6"


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


@pytest.mark.parametrize(
    ("hint", "derivative"),
    [
        ("pre-activation for activation", lambda d, v: d * v * (1 - v)),
        ("activation for pre-activation", lambda d, v: d * sigmoid(sigmoid(v)) * (1 - sigmoid(sigmoid(v)))),
        ("not differentiated", lambda d, v: d * sigmoid(v)),
        ("not multiplied", lambda d, v: d.copy()),
    ],
)
def test_activation_and_pre_activation_are_told_apart(hint, derivative):
    assert first(check_derivative(sigmoid, derivative, X)) == hint


def test_a_missing_mean_is_named():
    def variance(x):
        return float((x - x.mean(axis=0)).ravel() @ (x - x.mean(axis=0)).ravel())

    assert check_derivative(variance, lambda x: 2 * (x - x.mean(axis=0)), X).right
    assert first(check_derivative(variance, lambda x: 2 * x, X)) == "not centred over axis 0"


def test_a_kink_is_named_with_its_place():
    at = X.copy()
    at[3, 1] = 0
    verdict = check_derivative(lambda v: np.maximum(v, 0), lambda d, v: d * (v > 0), at)
    assert first(verdict) == "kink"
    assert "v[3, 1]" in verdict.hints[0].text
    assert kink_place(lambda v: float(np.abs(v).sum()), at) == "3, 1"
    assert kink_place(lambda v: float((v**2).sum()), at) == ""


@pytest.mark.parametrize("seed", range(12))
def test_right_derivatives_of_what_is_steep_or_flat_pass(seed):
    near, signs = np.random.default_rng(seed).random((6, 5)) / 10, np.sign(np.random.default_rng(seed).normal(size=(6, 5)))
    for forward, derivative, at in (
        (np.log, lambda d, x: d / x, near),
        (lambda x: 1 / x, lambda d, x: -d / x**2, near * signs),
        (lambda x: np.tanh(x / 1e-3), lambda d, x: d * (1 - np.tanh(x / 1e-3) ** 2) / 1e-3, near * signs / 100),
        (lambda x: float((x**2).sum()), lambda x: 2 * x, near / 100),
        (lambda x: float((x**2).sum()), lambda x: 2 * x, 0 * near),
    ):
        verdict = check_derivative(forward, derivative, at, seed=seed)
        assert verdict.right, verdict.hints
    assert not check_derivative(np.log, lambda d, x: d / x * 1.001, near, seed=seed).right


def test_what_differences_cannot_tell_is_not_called_a_mistake():
    for forward, derivative, at in (
        (sigmoid, lambda d, v: d * sigmoid(v) * (1 - sigmoid(v)), 30 + X),
        (np.log, lambda d, x: d / x, 1e-7 * np.abs(X)),
    ):
        verdict = check_derivative(forward, derivative, at)
        assert verdict.right or first(verdict) == "undecided"


def test_the_documented_example_says_what_the_page_says(capsys):
    page = (Path(__file__).parents[2] / "docs" / "exercises.md").read_text(encoding="utf-8")
    example = re.search(r"```python\n(.*?)```", page, re.DOTALL)[1]
    exec(example, {})
    assert capsys.readouterr().out.strip() == example.rsplit("# ", 1)[1].strip()


def test_what_cannot_be_checked_is_refused():
    for forward, arguments, by in (
        (layer, (X, WEIGHT, BIAS), 3),
        (lambda x: x, (np.arange(3),), 0),
        (lambda x: x, (np.zeros(5000),), 0),
        (lambda x: 1 / 0, (X,), 0),
        (lambda x: x + np.inf, (X,), 0),
        (lambda x: x, (np.array(1.0),), 0),
        (lambda x: x, (np.float64(1.0),), 0),
    ):
        with pytest.raises(InputError):
            check_derivative(forward, lambda d, *given: d, *arguments, by=by)
