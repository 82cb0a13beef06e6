"""The optimisers against their formulas, for whole arrays and in pieces."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicereb.backend import to_device, to_numpy
from minicereb.errors import InputError
from minicereb.learning.optimizers import OPTIMIZERS, SGD, Adam, Momentum, RMSprop, make_optimizer, rate_at
from minicereb.parallel import blocks

EVERY = [SGD(0.1), RMSprop(0.1), RMSprop(0.1, decay=0.5, epsilon=0.1), Adam(0.1), Adam(0.1, 0.5, 0.7, epsilon=0.1)]
EVERY += [
    Momentum(0.1),
    Momentum(0.1, 0.5, 7),
    SGD(0.1, 7),
    RMSprop(0.1, total_steps=7),
    Adam(0.1, total_steps=7),
]  # fewer than the steps taken below
every_optimizer = pytest.mark.parametrize("optimizer", EVERY, ids=repr)


def formula(optimizer, weights, gradients):
    """Return W after these gradients, in float64, by the equations as printed."""
    mean = square = 0.0
    for step, g in enumerate(gradients.astype(np.float64), 1):
        if isinstance(optimizer, SGD):
            change = g
        elif isinstance(optimizer, Momentum):
            mean = optimizer.decay * mean + g
            change = mean
        elif isinstance(optimizer, RMSprop):
            square = optimizer.decay * square + (1 - optimizer.decay) * g**2
            change = g / (square**0.5 + optimizer.epsilon)
        else:
            mean = optimizer.decay_mean * mean + (1 - optimizer.decay_mean) * g
            square = optimizer.decay_square * square + (1 - optimizer.decay_square) * g**2
            corrected = square / (1 - optimizer.decay_square**step)
            change = mean / (1 - optimizer.decay_mean**step) / (corrected**0.5 + optimizer.epsilon)
        total = optimizer.total_steps
        falling = 1.0 if total is None else (1 + np.cos(np.pi * (step - 1) / total)) / 2 if step <= total else 0.0
        weights = weights - optimizer.learning_rate * falling * change
    return weights


def draw(shape=(6, 4), steps=10, dtype=np.float64, seed=0):
    """Weights, and gradients over twelve orders of magnitude, some of them exactly zero."""
    rng = np.random.default_rng(seed)
    gradients = rng.standard_normal((steps, *shape)) * 10.0 ** rng.integers(-10, 3, (steps, *shape))
    gradients[rng.random(gradients.shape) < 0.1] = 0
    return rng.standard_normal(shape).astype(dtype), gradients.astype(dtype)


def run(optimizer, weights, gradients, parts=(slice(None),)):
    """Update in place, one part after the other."""
    state = optimizer.state(weights)
    for step, gradient in enumerate(gradients, 1):
        for part in parts:
            piece = gradient[part].copy()
            own = {name: array[part] for name, array in state.items()}
            optimizer.update(weights[part], piece, own, step, piece.copy())
    return state


@every_optimizer
def test_every_optimizer_is_its_formula(optimizer):
    weights, gradients = draw()
    expected = formula(optimizer, weights.copy(), gradients)
    run(optimizer, weights, gradients)
    assert np.allclose(weights, expected, rtol=1e-12, atol=1e-12)


@every_optimizer
def test_every_device_computes_the_formula_in_float32(xp_device, optimizer):
    weights, gradients = draw(dtype=np.float32)
    expected = formula(optimizer, weights.astype(np.float64), gradients)
    there = to_device(weights.copy())
    state = run(optimizer, there, [to_device(gradient) for gradient in gradients])
    assert np.allclose(to_numpy(there), expected, rtol=1e-5, atol=1e-4 if isinstance(optimizer, SGD | Momentum) else 1e-5)
    for array in (there, *state.values()):
        assert type(array) is xp_device.ndarray
        assert array.dtype == np.float32


@every_optimizer
@given(st.integers(1, 200), st.integers(1, 70), st.integers(1, 12), st.integers(0, 99))
def test_pieces_of_the_weights_come_to_the_same_bits_as_the_whole(optimizer, cells, size, columns, seed):
    weights, gradients = draw((cells, columns), 3, np.float32, seed)
    in_pieces = weights.copy()
    state = run(optimizer, weights, gradients)
    state_in_pieces = run(optimizer, in_pieces, gradients, list(blocks(cells, size)))
    assert np.array_equal(in_pieces, weights)
    for name, array in state.items():
        assert np.array_equal(state_in_pieces[name], array)


@every_optimizer
def test_without_a_gradient_nothing_moves(optimizer):
    weights, gradients = draw()
    before = weights.copy()
    run(optimizer, weights, np.zeros_like(gradients))
    assert np.array_equal(weights, before)


@pytest.mark.parametrize("optimizer", [Momentum(0.1), RMSprop(0.1), Adam(0.1)], ids=repr)
def test_what_no_longer_has_a_gradient_does_not_fall_into_subnormal_numbers(xp_device, monkeypatch, optimizer):
    """Processors are slow with subnormal numbers; the weights equal those of averages that are not set to 0."""

    def learn(weights):
        state, smallest = optimizer.state(weights), np.inf
        for step in range(1, 8_001 if isinstance(optimizer, RMSprop) else 1_001):
            gradient = np.full(weights.shape, 1e-4 if step == 1 else 0, dtype=weights.dtype)
            optimizer.update(weights, to_device(gradient), state, step, to_device(gradient.copy()))
            smallest = min([smallest, *(abs(value) for array in state.values() for value in to_numpy(array) if value)])
        return smallest

    weights = to_device(np.full(3, 0.7, dtype=np.float32))
    assert learn(weights) > np.finfo(np.float32).tiny
    monkeypatch.setattr("minicereb.learning.optimizers.forget_tiny", lambda *_: None)
    exact = to_device(np.full(3, 0.7, dtype=np.float32))
    assert learn(exact) < np.finfo(np.float32).tiny  # without it they do
    assert np.array_equal(to_numpy(weights), to_numpy(exact))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_adams_first_step_has_the_length_of_the_learning_rate_whatever_the_gradient(scale):
    weights = np.zeros(3)
    run(Adam(0.1), weights, np.array([[1.0, -2.0, 3.0]]) * scale)
    assert np.allclose(weights, [-0.1, 0.1, -0.1], rtol=1e-4)


def test_the_rate_rises_over_the_first_twentieth():
    rates = [rate_at(step, 0.2, 1000) for step in range(1, 1001)]
    assert rates[:50] == pytest.approx([0.2 * step / 50 for step in range(1, 51)], rel=0.01)
    assert rates.index(max(rates)) == 49


def test_along_a_cosine_the_rate_begins_whole_is_half_in_the_middle_and_ends_at_zero():
    rates = [rate_at(step, 0.2, 10) for step in range(1, 14)]
    assert rates[0] == 0.2
    assert rates[5] == pytest.approx(0.1)
    assert rates[10:] == [0, 0, 0]
    assert rates == sorted(rates, reverse=True)
    assert [first + last for first, last in zip(rates[:11], rates[10::-1], strict=True)] == pytest.approx([0.2] * 11)
    assert rate_at(1_000_000, 0.2, None) == 0.2


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_has_its_name_and_rate(name):
    optimizer = make_optimizer(name, 0.25)
    assert type(optimizer).__name__.lower() == name
    assert (optimizer.learning_rate, optimizer.total_steps) == (0.25, None)
    assert make_optimizer(name, 0.25, 12).total_steps == 12


@pytest.mark.parametrize(
    ("name", "rate", "setting"),
    [
        ("newton", 0.1, "optimizer"),
        ("", 0.1, "optimizer"),
        ("sgd", 0.0, "learning-rate"),
        ("sgd", -1.0, "learning-rate"),
        ("adam", float("inf"), "learning-rate"),
        ("rmsprop", float("nan"), "learning-rate"),
    ],
)
def test_what_cannot_be_used_is_named(name, rate, setting):
    with pytest.raises(InputError) as caught:
        make_optimizer(name, rate)
    assert caught.value.setting == setting


def test_a_schedule_over_no_steps_is_refused():
    with pytest.raises(InputError, match="total-steps: 0"):
        make_optimizer("sgd", 0.1, 0)
