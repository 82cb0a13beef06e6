"""Balancing: the fibres' tuning, the climbing fibres' sides, both rules against their formulas, and successful learning."""

from dataclasses import replace
from math import exp
from statistics import NormalDist

import numpy as np
import pytest

from minicereb.errors import InputError
from minicereb.tasks.cartpole import CartPole, State
from minicereb.tasks.microzones import LEFT, RIGHT, TunedFibres
from minicereb.tasks.pole_balancing import PoleBalancer, PoleTask
from minicereb.tasks.pole_learners import ActorCritic, ErrorDriven

SMALL = PoleTask(cells=300, seconds=2.0)
UPRIGHT = State(0.0, 0.0, 0.0, 0.0)


# -- mossy fibres ------------------------------------------------------------------------------------------------------------


def test_a_fibre_fires_most_at_its_preferred_value_and_by_a_gaussian_beside_it():
    fibres = TunedFibres((2.0, 1.0), 5)
    rates = fibres.rates((1.0, 0.25)).ravel()
    assert rates.dtype == np.float32
    assert rates[:5] == pytest.approx(np.exp(-0.5 * (1.0 - np.array([-2, -1, 0, 1, 2])) ** 2), rel=1e-6)
    assert rates[5:] == pytest.approx(np.exp(-0.5 * ((0.25 - np.array([-1, -0.5, 0, 0.5, 1])) / 0.5) ** 2), rel=1e-6)


def test_beyond_the_range_the_nearest_value_is_coded():
    fibres = TunedFibres((2.0, 1.0), 5)
    assert np.array_equal(fibres.rates((70.0, -3.0)), fibres.rates((2.0, -1.0)))


def test_one_fibre_for_a_variable_is_too_few():
    with pytest.raises(InputError, match="fibres: 1"):
        TunedFibres((1.0,), 1)


# -- the climbing fibres -----------------------------------------------------------------------------------------------------

FIRING = ErrorDriven(frequency=20.0, cart_frequency=10.0)  # 0.4 and 0.2 a step of 20 ms, at the limits


def firing(state, draws):
    cart = CartPole()
    return FIRING.learner(SMALL.circuit(), cart).firing(state, draws)


@pytest.mark.parametrize("side", [-1, 1])
def test_what_moves_outward_calls_for_its_own_side_each_for_itself(side):
    zone, never = (RIGHT if side > 0 else LEFT), 1.0
    limit, falling, driving = CartPole().angle_limit, side * 0.1, side * 0.1
    assert firing(State(0, 0, side * limit, falling), (0.39, never)) == {zone}
    assert firing(State(0, 0, side * limit, falling), (0.41, never)) == set()
    assert firing(State(side * 2.4, driving, 0, 0), (never, 0.19)) == {zone}
    assert firing(State(side * 2.4, driving, 0, 0), (never, 0.21)) == set()
    assert firing(State(-side * 2.4, -driving, side * limit, falling), (0.1, 0.1)) == {LEFT, RIGHT}


def test_what_comes_back_or_stands_calls_for_nothing():
    for state in (State(2.0, -0.1, 0.1, -0.1), State(-2.0, 0.1, -0.1, 0.1), State(2.0, 0.0, 0.1, 0.0), UPRIGHT):
        assert firing(state, (0.0, 0.0)) == set()


def test_the_probability_grows_with_the_angle():
    half = State(0, 0, CartPole().angle_limit / 2, 0.1)
    assert firing(half, (0.19, 1.0)) == {RIGHT}
    assert firing(half, (0.21, 1.0)) == set()


# -- the rules ---------------------------------------------------------------------------------------------------------------


def falling_right(task):
    """A circuit, its learner, and the activity in a state in which a push to the right is called for."""
    circuit = task.circuit()
    learner = task.method.learner(circuit, task.cart)
    learner.begin()
    state = State(0.0, 0.0, task.cart.angle_limit, 0.1)
    return circuit, learner, state, circuit.respond(state).copy()


def test_an_error_lowers_its_zones_output_by_the_delta_rule_and_so_pushes_to_its_side():
    task = replace(SMALL, method=ErrorDriven(rate=0.3))
    circuit, learner, state, z = falling_right(task)
    assert learner.act(z, 0.5) == 0.0
    learner.learn(state, z, False, (0.0, 1.0))
    assert np.allclose(circuit.readout[RIGHT], -0.3 * circuit.gain * z, rtol=1e-5)
    assert not circuit.readout[LEFT].any()
    assert circuit.command(z) == pytest.approx(0.3 * circuit.gain * float(z @ z), rel=1e-5)
    assert learner.errors == 1


def test_the_gain_makes_the_rate_that_of_the_state_at_rest_whatever_the_number_of_cells():
    for cells in (50, 3_000):
        circuit = replace(SMALL, cells=cells).circuit()
        z = circuit.respond(UPRIGHT)
        circuit.readout[RIGHT] -= np.float32(0.3 * circuit.gain) * z
        assert circuit.command(z) == pytest.approx(0.3, rel=1e-4)


def test_the_actor_and_the_critic_learn_by_the_td_error_with_their_traces():
    way = ActorCritic(actor_rate=0.7, critic_rate=0.2, noise=0.4, horizon=0.5, actor_memory=0.3, critic_memory=0.1)
    task = replace(SMALL, method=way)
    circuit, learner = task.circuit(), None
    learner = way.learner(circuit, task.cart)
    learner.begin()
    discount, fading = exp(-0.02 / 0.5), np.exp(-0.02 / np.array([0.3, 0.1])) * exp(-0.02 / 0.5)
    rows = [circuit.respond(State(0.1 * n, 0.2, 0.02 * n, -0.1)).astype(np.float64) for n in range(4)]
    critic, readout, eligible, seen = (np.zeros_like(rows[0]) for _ in range(4))
    for number, draw in enumerate((0.9, 0.2, 0.4)):
        z, following, failed = rows[number], rows[number + 1], number == 2
        noise = NormalDist().inv_cdf(draw)
        chosen = min(1.0, max(-1.0, readout @ z + 0.4 * noise))
        eligible, seen = fading[0] * eligible + noise * z, fading[1] * seen + z
        surprise = (-1.0 if failed else discount * critic @ following) - critic @ z
        critic = critic + 0.2 * circuit.gain * surprise * seen
        readout = readout + 0.7 * circuit.gain * surprise * eligible
        assert learner.act(z.astype(np.float32), draw) == pytest.approx(chosen, abs=1e-6)
        learner.learn(UPRIGHT, following.astype(np.float32), failed, (draw, 0.0))
    assert learner.critic == pytest.approx(critic, rel=1e-4, abs=1e-9)
    assert circuit.readout[LEFT] - circuit.readout[RIGHT] == pytest.approx(readout, rel=1e-4, abs=1e-9)


def test_ltd_takes_the_mean_away_and_it_moves_only_while_learning():
    circuit = replace(SMALL, ltd=True).circuit()
    plain = SMALL.circuit().respond(UPRIGHT)
    assert np.array_equal(circuit.respond(UPRIGHT), plain)
    moved = circuit.respond(UPRIGHT, learning=True).copy()
    assert np.allclose(circuit.ltd_mean, plain - moved)
    assert circuit.ltd_mean.any()
    before = circuit.ltd_mean.copy()
    circuit.respond(State(1.0, 0.0, 0.1, 0.0))
    assert np.array_equal(circuit.ltd_mean, before)


def test_it_is_on_the_host_whatever_the_device(xp_device):
    balancer = PoleBalancer(SMALL)
    list(balancer.learn(2))
    assert all(type(array) is np.ndarray for array in balancer.arrays().values())
    assert balancer.circuit.readout.any()


# -- lesions -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [ErrorDriven(), ActorCritic()])
def test_without_the_olive_nothing_is_learned(method):
    balancer = PoleBalancer(replace(SMALL, method=method, lesion="olive"))
    assert len(list(balancer.learn(5))) == 5
    assert not any(array.any() for array in balancer.arrays().values())


def test_a_zone_that_is_gone_pushes_no_more():
    for zone, lesion, sign in ((LEFT, "left", 1), (RIGHT, "right", -1)):
        circuit = replace(SMALL, lesion=lesion).circuit()
        z = circuit.respond(UPRIGHT)
        circuit.readout[zone] = -z
        assert circuit.command(z) == 0
        circuit.readout[1 - zone] = -z
        assert sign * circuit.command(z) > 0


def test_without_a_granule_layer_the_fibres_themselves_are_read():
    circuit = replace(SMALL, lesion="granule").circuit()
    assert np.array_equal(circuit.respond(UPRIGHT), circuit.fibres.rates(UPRIGHT).ravel())
    assert circuit.readout.shape == (2, 40)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"lesion": "cortex"}, "lesion: 'cortex' .* none, olive, granule, left, right"),
        ({"cells": -5}, "cells: -5"),
        ({"fibres": 1}, "fibres: 1"),
        ({"inputs_per_cell": 41}, "inputs-per-cell: 41"),
        ({"seconds": -1.0}, "seconds: -1.0"),
        ({"seconds": float("inf")}, "seconds: inf"),
        ({"spread": 0.3}, "spread: 0.3"),
        ({"seed": -1}, "seed: -1"),
        ({"enough": 0}, "enough: 0"),
    ],
)
def test_a_task_that_cannot_be_is_refused(changes, told):
    with pytest.raises(InputError, match=told):
        replace(SMALL, **changes)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [(ErrorDriven, {"rate": -1.0}), (ErrorDriven, {"frequency": float("nan")}), (ActorCritic, {"horizon": 0.0})],
)
def test_rates_and_times_that_cannot_be_are_refused(kind, changes):
    (name,) = changes
    with pytest.raises(InputError, match=name):
        kind(**changes)


# -- trials ------------------------------------------------------------------------------------------------------------------


def test_it_learns_to_balance_for_as_long_as_asked_and_the_untrained_circuit_does_not():
    task = PoleTask(cells=500, seconds=20.0)
    balancer, starts = PoleBalancer(task), [State(0.0, 0.0, angle, 0.0) for angle in (-0.09, -0.07, 0.07, 0.09)]
    before = [balancer.balance(start).seconds for start in starts]
    trials = list(balancer.learn(60))
    assert balancer.has_learned
    assert max(before) < 1
    assert trials[0].seconds < 3
    assert all(balancer.succeeded(balancer.balance(start).seconds) for start in starts)


@pytest.mark.parametrize("method", [ErrorDriven(), ActorCritic()])
def test_equal_seeds_give_equal_trials_and_going_on_is_never_having_stopped(method):
    task = replace(SMALL, method=method)
    whole, begun, gone_on = (PoleBalancer(task) for _ in range(3))
    list(whole.learn(6))
    list(begun.learn(3))
    for name, array in gone_on.arrays().items():
        array[...] = begun.arrays()[name]
    gone_on.lasted, gone_on.errors = list(begun.lasted), list(begun.errors)
    assert [trial.number for trial in gone_on.learn(6)] == [3, 4, 5]
    assert gone_on.lasted == whole.lasted
    assert all(np.array_equal(array, whole.arrays()[name]) for name, array in gone_on.arrays().items())
    other = PoleBalancer(replace(task, seed=1))
    list(other.learn(6))
    assert other.lasted != whole.lasted


def test_the_path_of_a_trial_is_what_the_cart_did():
    task = replace(SMALL, cart=CartPole(integrator="rk4"))
    balancer = PoleBalancer(task)
    list(balancer.learn(4))
    start = State(0.0, 0.0, 0.08, 0.0)
    path = balancer.balance(start, keep=30).path
    state = start
    for *there, force in path:
        state = task.cart.after(state, force)
        assert tuple(there) == pytest.approx(state)
    assert np.abs(path[:, 4]).max() <= task.cart.force
    assert path[:, 4].any()


def test_testing_changes_nothing():
    balancer = PoleBalancer(replace(SMALL, ltd=True))
    list(balancer.learn(3))
    before = {name: array.copy() for name, array in balancer.arrays().items()}
    balancer.balance(State(0.0, 0.0, 0.1, 0.0))
    assert all(np.array_equal(array, before[name]) for name, array in balancer.arrays().items())
    assert len(balancer.lasted) == 3
