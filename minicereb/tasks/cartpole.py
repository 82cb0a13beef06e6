"""A pole hinged on a cart ``[M-POLE]``: its equations of motion, its energy, and one step of three integrators.

Angles are in radians from upright, positive to the right; positions in metres, forces in newtons, times in seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, radians, sin, sqrt
from typing import NamedTuple

from minicereb.errors import InputError
from minicereb.settings import checked, setting


class State(NamedTuple):
    """Positions and velocities of the cart and the pole.

    Attributes
    ----------
    x, velocity : float
        Position and velocity of the cart, in m and m/s.
    angle, angular_velocity : float
        Angle and angular velocity of the pole, in rad and rad/s.
    """

    x: float
    velocity: float
    angle: float
    angular_velocity: float


# Largest product of the step and the frequency at which the hanging pole would swing. For two integrators, a linear oscillator
# grows without bound above this. With Euler's method it grows at every step, here in energy by at most 4%.
STABLE = {"euler": 0.2, "semi-implicit": 2.0, "rk4": 2 * sqrt(2)}


@checked
@dataclass(frozen=True)
class CartPole:
    """The cart and pole of Barto, Sutton and Anderson (1983), without friction; the defaults are the values of the classic
    benchmark.

    ``euler`` computes positions and velocities from the old state, as the benchmark does; ``semi-implicit`` computes positions
    from the new velocities; ``rk4`` is the classic Runge-Kutta method of order four. It raises :class:`InputError` if the
    integrator is unstable with this step.
    """

    cart_mass: float = setting(1.0, "Mass of the cart", above=0, unit="kg")
    pole_mass: float = setting(0.1, "Mass of the pole", above=0, unit="kg")
    half_length: float = setting(0.5, "Distance from the hinge to the middle of the pole", above=0, unit="m")
    gravity: float = setting(9.8, "Acceleration of gravity", above=0, unit="m/s²")
    force: float = setting(10.0, "Largest force on the cart", above=0, unit="N")
    step: float = setting(0.02, "Time step of the simulation, within which the force is constant", above=0, unit="s")
    integrator: str = setting("euler", "Integrator of the equations of motion.", choices=STABLE)
    angle_limit: float = setting(radians(12), "Angle beyond which a trial has failed", above=0, unit="rad")
    x_limit: float = setting(2.4, "Distance from the middle beyond which a trial has failed", above=0, unit="m")

    def __post_init__(self) -> None:
        longest = STABLE[self.integrator] / self.frequency
        if self.step > longest:
            raise InputError("step", self.step, f"at most {longest:.3g} s: with a longer one {self.integrator} is unstable here")

    @property
    def frequency(self) -> float:
        """The rate at which the hanging pole would swing and the upright pole falls, in rad/s: ``√(g/(l (4/3 - m/(M + m))))``."""
        total = self.cart_mass + self.pole_mass
        return sqrt(self.gravity / (self.half_length * (4 / 3 - self.pole_mass / total)))

    def accelerations(self, state: State, force: float) -> tuple[float, float]:
        """Return the cart's acceleration in m/s² and the pole's angular acceleration in rad/s² ``[M-POLE]``."""
        total, moment = self.cart_mass + self.pole_mass, self.pole_mass * self.half_length
        s, c = sin(state.angle), cos(state.angle)
        push = (force + moment * state.angular_velocity**2 * s) / total
        angular = (self.gravity * s - c * push) / (self.half_length * (4 / 3 - self.pole_mass * c**2 / total))
        return push - moment * angular * c / total, angular

    def after(self, state: State, force: float) -> State:
        """Return the state one step later."""
        return INTEGRATORS[self.integrator](self, state, force)

    def energy(self, state: State) -> float:
        """Return the total energy in J, which is 0 for a cart at rest with a horizontal pole ``[M-POLE-ENERGY]``."""
        moment, c = self.pole_mass * self.half_length, cos(state.angle)
        cart = (self.cart_mass + self.pole_mass) * state.velocity**2 / 2
        both = moment * c * state.velocity * state.angular_velocity
        return cart + both + 2 / 3 * moment * self.half_length * state.angular_velocity**2 + moment * self.gravity * c

    def has_failed(self, state: State) -> bool:
        """Return whether the pole or the cart is beyond its limit."""
        return not (abs(state.angle) <= self.angle_limit and abs(state.x) <= self.x_limit)


def _moved(state: State, rates: State, time: float) -> State:
    return State(*(value + time * rate for value, rate in zip(state, rates, strict=True)))


def _rates(model: CartPole, state: State, force: float) -> State:
    acceleration, angular = model.accelerations(state, force)
    return State(state.velocity, acceleration, state.angular_velocity, angular)


def _euler(model: CartPole, state: State, force: float) -> State:
    return _moved(state, _rates(model, state, force), model.step)


def _semi_implicit(model: CartPole, state: State, force: float) -> State:
    acceleration, angular = model.accelerations(state, force)
    velocity, turning = state.velocity + model.step * acceleration, state.angular_velocity + model.step * angular
    return State(state.x + model.step * velocity, velocity, state.angle + model.step * turning, turning)


def _rk4(model: CartPole, state: State, force: float) -> State:
    h = model.step
    first = _rates(model, state, force)
    second = _rates(model, _moved(state, first, h / 2), force)
    third = _rates(model, _moved(state, second, h / 2), force)
    fourth = _rates(model, _moved(state, third, h), force)
    rates = State(*((a + 2 * b + 2 * c + d) / 6 for a, b, c, d in zip(first, second, third, fourth, strict=True)))
    return _moved(state, rates, h)


INTEGRATORS: dict[str, Callable[..., State]] = {"euler": _euler, "semi-implicit": _semi_implicit, "rk4": _rk4}
