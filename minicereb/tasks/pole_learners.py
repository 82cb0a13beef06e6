"""Two ways in which microzones learn to balance: from climbing-fibre errors, and from a temporal-difference error."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp

import numpy as np
from scipy.special import ndtri

from minicereb.settings import checked, setting
from minicereb.tasks.cartpole import CartPole, State
from minicereb.tasks.microzones import LEFT, RIGHT, Microzones


def limited(command: float) -> float:
    """Return the force for a command, as a fraction of the largest force, in [-1, 1]."""
    return min(1.0, max(-1.0, command))


@checked
@dataclass(frozen=True)
class ErrorDriven:
    """Learning from errors that indicate the side to which the circuit should have pushed ``[M-OUTWARD]``."""

    rate: float = setting(0.05, "Decrease of a zone's Purkinje output per error, in the same state.", at_least=0)
    frequency: float = setting(10.0, "Rate of errors with the pole at its limit and falling", at_least=0, unit="Hz")
    cart_frequency: float = setting(4.0, "Rate of errors with the cart at its limit and moving outward", at_least=0, unit="Hz")

    def learner(self, circuit: Microzones, cart: CartPole) -> OliveLearner:
        """Return the learner that changes `circuit` in this way."""
        return OliveLearner(self, circuit, cart)


class OliveLearner:
    """A learner that changes the microzones by the delta rule ``ΔW = -η z e`` ``[C4]``.

    The error e is 1 if the climbing fibre fires, and otherwise 0.
    """

    def __init__(self, settings: ErrorDriven, circuit: Microzones, cart: CartPole):
        self.settings, self.circuit, self.cart = settings, circuit, cart
        self.errors = 0
        self._z = circuit.ltd_mean

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays that the learner changes in addition to the circuit's arrays: none."""
        return {}

    def begin(self) -> None:
        """Begin a trial."""
        self.errors = 0

    def act(self, z: np.ndarray, draw: float) -> float:
        """Return the force, as a fraction of the largest force; `draw` is not used."""
        self._z = z
        return limited(self.circuit.command(z))

    def learn(self, state: State, z: np.ndarray, failed: bool, draws: tuple[float, float]) -> None:
        """Learn from the state after the last action."""
        if self.circuit.lesion == "olive":
            return
        for zone in self.firing(state, draws):
            self.errors += 1
            self.circuit.readout[zone] -= np.float32(self.settings.rate * self.circuit.gain) * self._z

    def firing(self, state: State, draws: tuple[float, float]) -> set[int]:
        """Return the zones whose climbing fibre fires in `state`, given two uniform numbers: one for the pole, one for the cart.

        Outward motion requires a push to the same side. If the pole is falling, the push moves the cart under the pole.
        If the cart moves outward, the push makes the pole lean the other way, and the cart can then follow the pole back.
        """
        step, settings, zones = self.cart.step, self.settings, set()
        for place, speed, limit, frequency, draw in (
            (state.angle, state.angular_velocity, self.cart.angle_limit, settings.frequency, draws[0]),
            (state.x, state.velocity, self.cart.x_limit, settings.cart_frequency, draws[1]),
        ):
            if place * speed > 0 and draw < frequency * step * min(1.0, abs(place) / limit):
                zones.add(RIGHT if place > 0 else LEFT)
        return zones


@checked
@dataclass(frozen=True)
class ActorCritic:
    """Learning only from failure: a critic predicts failure, and an actor follows the critic's prediction error ``[M-TD]``."""

    actor_rate: float = setting(
        0.1, "Change of the command per unit of surprise and standard deviation of the noise.", at_least=0
    )
    critic_rate: float = setting(0.1, "Change of the prediction per unit of surprise.", at_least=0)
    noise: float = setting(0.3, "Standard deviation of the noise added to the command while it learns.", at_least=0)
    horizon: float = setting(0.7, "Time after which a future outcome is weighted by 1/e", above=0, unit="s")
    actor_memory: float = setting(0.5, "Time in which the actor's eligibility trace falls to 1/e", above=0, unit="s")
    critic_memory: float = setting(0.1, "Time in which the critic's eligibility trace falls to 1/e", above=0, unit="s")

    def learner(self, circuit: Microzones, cart: CartPole) -> TemporalDifferenceLearner:
        """Return the learner that changes `circuit` in this way."""
        return TemporalDifferenceLearner(self, circuit, cart)


class TemporalDifferenceLearner:
    """A learner that changes the microzones, and a critic of the same granule layer, by TD error and eligibility traces."""

    def __init__(self, settings: ActorCritic, circuit: Microzones, cart: CartPole):
        self.settings, self.circuit = settings, circuit
        self.discount = exp(-cart.step / settings.horizon)
        memories = (settings.actor_memory, settings.critic_memory)
        self.fading = np.array([exp(-cart.step / time) for time in memories], dtype=np.float32)
        self.fading *= np.float32(self.discount)
        self.critic = np.zeros_like(circuit.ltd_mean)
        self.errors = 0
        self._traces = np.zeros((2, len(self.critic)), dtype=np.float32)
        self._z = self.critic

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays that the learner changes in addition to the circuit's arrays, keyed by name."""
        return {"critic": self.critic}

    def begin(self) -> None:
        """Begin a trial with all eligibility traces at 0."""
        self.errors = 0
        self._traces.fill(0)

    def act(self, z: np.ndarray, draw: float) -> float:
        """Return the force, as a fraction of the largest force: the command plus noise."""
        noise = float(ndtri(draw)) if draw > 0 else 0.0
        self._traces *= self.fading[:, None]
        self._traces[0] += np.float32(noise) * z
        self._traces[1] += z
        self._z = z
        return limited(self.circuit.command(z) + self.settings.noise * noise)

    def learn(self, state: State, z: np.ndarray, failed: bool, draws: tuple[float, float]) -> None:
        """Learn from the state after the last action."""
        if self.circuit.lesion == "olive":
            return
        before = float(self.critic @ self._z)
        surprise = -1.0 - before if failed else self.discount * float(self.critic @ z) - before
        self.errors += failed
        gain = surprise * self.circuit.gain
        self.critic += np.float32(self.settings.critic_rate * gain) * self._traces[1]
        change = np.float32(self.settings.actor_rate * gain / 2) * self._traces[0]
        self.circuit.readout[LEFT] += change
        self.circuit.readout[RIGHT] -= change


Method = ErrorDriven | ActorCritic
Learner = OliveLearner | TemporalDifferenceLearner
METHODS: dict[str, type] = {"error": ErrorDriven, "actor-critic": ActorCritic}
