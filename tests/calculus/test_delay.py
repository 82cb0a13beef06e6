"""The delay basis against its differential equation and the signal it should remember; the lid against its own equation."""

import numpy as np
import pytest

from minicereb.calculus.delay import delay_basis, exact_step, eyelid_closure, legendre_system
from minicereb.errors import InputError


def test_the_matrices_are_those_of_the_formula():
    a, b = legendre_system(3, 2.0)
    assert np.allclose(a, np.array([[-1, -1, -1], [3, -3, -3], [-5, 5, -5]]) / 2)
    assert np.allclose(b, np.array([1, -3, 5]) / 2)


def test_a_step_is_exact_however_long_it_is():
    a, b = legendre_system(6, 100.0)
    whole, drive = exact_step(a, b, 40.0)
    part, small = exact_step(a, b, 0.5)
    state = np.zeros(6)
    for _ in range(80):
        state = part @ state + small
    assert np.allclose(state, drive, rtol=1e-9, atol=1e-12)
    assert np.allclose(np.linalg.matrix_power(part, 80), whole, rtol=1e-9, atol=1e-12)


def test_a_small_step_is_that_of_the_differential_equation():
    a, b = legendre_system(4, 50.0)
    step = 1e-4
    forward, drive = exact_step(a, b, step)
    assert np.allclose((forward - np.eye(4)) / step, a, atol=1e-3)
    assert np.allclose(drive / step, b, atol=1e-3)


def test_the_states_hold_what_the_signal_was_within_the_window():
    time = np.arange(0, 600, 1.0)
    signal = np.sin(time / 40)
    states = delay_basis(signal, 12, 200.0, 1.0)
    for back in (0, 50, 100, 150, 200):
        held = states @ np.polynomial.legendre.legvander([2 * back / 200 - 1], 11)[0]
        assert np.allclose(held[300:], np.sin((time[300:] + 0.5 - back) / 40), atol=0.03)


def test_the_state_depends_only_on_the_past():
    signal = np.zeros(40)
    signal[20:] = 1
    states = delay_basis(signal, 5, 100.0, 5.0)
    assert not states[:20].any()
    assert states[20:].any(axis=1).all()


@pytest.mark.parametrize(("order", "window"), [(0, 100.0), (3, 0.0), (3, -5.0), (3, np.inf)])
def test_settings_that_make_no_basis_are_refused(order, window):
    with pytest.raises(InputError, match="order|window"):
        legendre_system(order, window)


def test_a_lid_closes_above_a_threshold_and_opens_with_its_time_constant():
    silent = eyelid_closure(np.zeros(50))
    assert not silent.any()
    weak, strong = (eyelid_closure(np.full(400, spikes)) for spikes in (0.5, 2.0))
    assert not weak.any()  # conductance 0.012 · 0.5/(1 - exp(-1/11)) = 0.069, below 0.1
    drive = 0.012 * 2 / (1 - np.exp(-1 / 11)) - 0.1
    assert strong[-1] == pytest.approx(100 * drive / (drive + 0.02), rel=1e-6)
    assert (np.diff(strong) >= 0).all()
    after = eyelid_closure(np.concatenate([np.full(400, 2.0), np.zeros(200)]))[500:]
    assert np.allclose(after[1:] / after[:-1], 0.98)
