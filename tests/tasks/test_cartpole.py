"""The cart and the pole: their equations against Lagrange's, their energy, their integrators."""

from math import cos, pi, sin, sqrt

import numpy as np
import pytest

from minicereb.errors import InputError
from minicereb.randomness import generator
from minicereb.tasks.cartpole import STABLE, CartPole, State


def states(count):
    rng = generator(0, "states of a cart and pole")
    return [State(*row) for row in (rng.uniform(-1, 1, (count, 4)) * (2, 3, pi, 4)).tolist()]


@pytest.mark.parametrize("cart", [CartPole(), CartPole(cart_mass=0.3, pole_mass=1.2, half_length=0.8, gravity=3.7)])
def test_the_accelerations_solve_the_equations_of_motion(cart):
    m, half, total = cart.pole_mass, cart.half_length, cart.cart_mass + cart.pole_mass
    for number, state in enumerate(states(50)):
        force = 10 * sin(number)
        s, c, turning = sin(state.angle), cos(state.angle), state.angular_velocity
        mass = np.array([[total, m * half * c], [m * half * c, 4 / 3 * m * half**2]])
        pushed = np.array([force + m * half * turning**2 * s, m * cart.gravity * half * s])
        assert np.allclose(cart.accelerations(state, force), np.linalg.solve(mass, pushed), rtol=1e-12, atol=1e-12)


def after(cart, state, steps):
    for _ in range(steps):
        state = cart.after(state, 0.0)
    return state


def test_rk4_conserves_the_energy_of_a_swinging_pole_to_a_millionth_over_ten_seconds():
    cart = CartPole(integrator="rk4", step=0.005)
    for state in states(4):
        scale = cart.pole_mass * cart.gravity * cart.half_length
        assert abs(cart.energy(after(cart, state, 2_000)) - cart.energy(state)) < 1e-6 * max(scale, abs(cart.energy(state)))


@pytest.mark.parametrize(("integrator", "order"), [("euler", 1), ("semi-implicit", 1), ("rk4", 4)])
def test_an_integrator_has_its_order(integrator, order):
    start = State(0.1, -0.2, 0.5, 0.3)
    true = np.array(after(CartPole(integrator="rk4", step=1 / 4096), start, 2048))
    errors = [np.abs(np.array(after(CartPole(integrator=integrator, step=1 / n), start, n // 2)) - true).max() for n in (64, 128)]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.2)


def test_the_momentum_of_what_nothing_pushes_stays():
    cart = CartPole(integrator="rk4")

    def momentum(state):
        both = (cart.cart_mass + cart.pole_mass) * state.velocity
        return both + cart.pole_mass * cart.half_length * cos(state.angle) * state.angular_velocity

    start = State(0.0, 0.4, 0.3, -1.0)
    assert momentum(after(cart, start, 200)) == pytest.approx(momentum(start), rel=1e-6)


def test_a_step_of_the_classic_benchmark():
    """One step of the benchmark's own code (10 N to the right, from the state it has in its first lines)."""
    x, v, a, w = 0.03, 0.02, -0.04, 0.01
    temp = (10 + 0.05 * w**2 * sin(a)) / 1.1
    angular = (9.8 * sin(a) - cos(a) * temp) / (0.5 * (4 / 3 - 0.1 * cos(a) ** 2 / 1.1))
    acceleration = temp - 0.05 * angular * cos(a) / 1.1
    expected = (x + 0.02 * v, v + 0.02 * acceleration, a + 0.02 * w, w + 0.02 * angular)
    assert CartPole().after(State(x, v, a, w), 10.0) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("mirrored", [State(-0.3, 0.5, -0.1, 0.7)])
def test_left_is_the_mirror_of_right(mirrored):
    cart = CartPole(integrator="semi-implicit")
    there = cart.after(State(*(-value for value in mirrored)), 4.0)
    assert cart.after(mirrored, -4.0) == pytest.approx(tuple(-value for value in there))


@pytest.mark.parametrize("integrator", ["semi-implicit", "rk4"])
def test_the_bound_of_a_step_is_where_a_hanging_pole_begins_to_grow(integrator):
    """On a cart too heavy to move, so that the swing is one oscillator."""
    heavy = {"cart_mass": 1e9, "integrator": integrator}
    bound = STABLE[integrator] / CartPole(**heavy).frequency
    below, above = CartPole(**heavy, step=0.99 * bound), CartPole(**heavy, step=bound)
    object.__setattr__(above, "step", 1.05 * bound)
    small = State(0.0, 0.0, pi + 1e-6, 0.0)
    assert abs(after(below, small, 300).angle - pi) < 1e-4
    assert abs(after(above, small, 300).angle - pi) > 1e-4


def test_the_frequency_is_that_of_small_swings():
    cart = CartPole(integrator="rk4", step=1e-3)
    period = 2 * pi / cart.frequency
    swung = after(cart, State(0.0, 0.0, pi + 1e-3, 0.0), round(period / cart.step))
    assert swung.angle - pi == pytest.approx(1e-3, rel=1e-3)
    assert cart.frequency == pytest.approx(sqrt(9.8 / (0.5 * (4 / 3 - 0.1 / 1.1))))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"step": 0.06}, "step: 0.06 .* at most 0.05"),
        ({"step": 0.6, "integrator": "semi-implicit"}, "step: 0.6"),
        ({"step": 0.8, "integrator": "rk4"}, "step: 0.8"),
        ({"step": 0.0}, "step: 0.0"),
        ({"step": -0.02}, "step: -0.02"),
        ({"step": float("nan")}, "step: nan"),
        ({"half_length": -1.0}, "half-length: -1.0"),
        ({"cart_mass": 0.0}, "cart-mass: 0.0"),
        ({"integrator": "leapfrog"}, "integrator: 'leapfrog' .* euler, semi-implicit, rk4"),
    ],
)
def test_what_cannot_be_simulated_is_refused(changes, told):
    with pytest.raises(InputError, match=told):
        CartPole(**changes)


def test_a_trial_fails_beyond_the_limits_and_where_nothing_is_a_number():
    cart = CartPole()
    assert not cart.has_failed(State(2.39, 9.0, 0.209, 9.0))
    for state in (State(2.41, 0, 0, 0), State(-2.41, 0, 0, 0), State(0, 0, 0.21, 0), State(0, 0, -0.21, 0)):
        assert cart.has_failed(state)
    assert cart.has_failed(State(0, 0, float("nan"), 0))
