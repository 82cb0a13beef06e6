"""Pole balancing: a circuit, a cart with a pole, and trials in which the circuit learns to keep the pole upright."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from minicereb.errors import require
from minicereb.parallel import one_blas_thread
from minicereb.randomness import generator
from minicereb.settings import checked, setting
from minicereb.tasks.cartpole import CartPole, State
from minicereb.tasks.microzones import LESIONS, Microzones
from minicereb.tasks.pole_learners import ErrorDriven, Learner, Method, limited

FASTEST = (3.0, 2.0)  # largest velocities that mossy fibres distinguish: of the cart in m/s, and of the pole in rad/s


@checked
@dataclass(frozen=True)
class PoleTask:
    """The cart with its pole, and the circuit that balances it; see :class:`minicereb.tasks.microzones.Microzones` for the
    lesions.
    """

    method: Method = setting(ErrorDriven(), "How the circuit learns.")
    cells: int = setting(10_000, "Number of granule cells.", at_least=1)
    inputs_per_cell: int = setting(4, "Number of mossy fibres per granule cell.", at_least=1)
    fibres: int = setting(10, "Number of mossy fibres for each of the four variables.", at_least=2, at_most=1_000_000)
    ltd: bool = setting(False, "Whether the running mean of the granule cells' activity is subtracted.", off="no-ltd")
    lesion: str = setting("none", "Part of the circuit to remove; the olive provides the teaching signal.", choices=LESIONS)
    cart: CartPole = setting(CartPole(), "The cart and the pole.")
    seconds: float = setting(100.0, "Duration after which a trial counts as a success", unit="s")
    spread: float = setting(
        0.05, "Half ranges of the initial variables (m, m/s, rad, rad/s), which are drawn uniformly for each trial.", at_least=0
    )
    enough: int = setting(3, "Learning ends when this many trials in a row have succeeded.", at_least=1)
    seed: int = setting(0, "Seed of the wiring, the starts, the climbing fibres and the actor.", at_least=0)

    def __post_init__(self) -> None:
        most = 4 * self.fibres
        fits = self.inputs_per_cell <= most
        require(fits, "inputs-per-cell", self.inputs_per_cell, f"a whole number from 1 to the {most} mossy fibres")
        require(self.seconds >= self.cart.step, "seconds", self.seconds, f"a time of at least one step, {self.cart.step:g} s")
        countable = self.seconds / self.cart.step < 2**53
        require(countable, "step", self.cart.step, f"a longer one: {self.seconds:g} s would have more steps than can be counted")
        require(self.spread <= self.cart.angle_limit, "spread", self.spread, "a number from 0 to the angle's limit")

    @property
    def steps(self) -> int:
        """Number of steps of a successful trial."""
        return round(self.seconds / self.cart.step)

    def circuit(self) -> Microzones:
        """Return the circuit before it has learned anything."""
        ranges = State(self.cart.x_limit, FASTEST[0], self.cart.angle_limit, FASTEST[1])
        return Microzones(ranges, self.fibres, self.cells, self.inputs_per_cell, self.ltd, self.lesion, self.seed)


class BalancingTrial(NamedTuple):
    """The outcome of a trial.

    Attributes
    ----------
    number : int
        Index from 0; -1 for a trial without learning.
    seconds : float
        Time for which the pole stayed up and the cart stayed within its limits.
    errors : int
        Number of teaching errors: the number of climbing-fibre spikes or, for the actor-critic, 1 if the trial failed.
    path : array of float64, shape (steps kept, 5)
        x, ẋ, θ, θ̇ at the end of each step, and the force during it in N; empty unless requested.
    """

    number: int
    seconds: float
    errors: int
    path: np.ndarray


class PoleBalancer:
    """A circuit that learns to balance, trial by trial.

    Attributes
    ----------
    circuit : Microzones
    learner : OliveLearner or TemporalDifferenceLearner
    lasted, errors : list of float, list of int
        Duration of each trial in s, and its teaching errors; together with :meth:`arrays`, this is all that is needed to resume.
    """

    def __init__(self, task: PoleTask):
        self.task, self.circuit = task, task.circuit()
        self.learner: Learner = task.method.learner(self.circuit, task.cart)
        self.lasted: list[float] = []
        self.errors: list[int] = []

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays that learning changes in place, keyed by name."""
        return {**self.circuit.arrays(), **self.learner.arrays()}

    @property
    def has_learned(self) -> bool:
        """Whether enough consecutive trials, up to the last, have succeeded."""
        last = self.lasted[-self.task.enough :]
        return len(last) == self.task.enough and all(self.succeeded(seconds) for seconds in last)

    def succeeded(self, seconds: float) -> bool:
        """Return whether a trial of this duration is a success."""
        return round(seconds / self.task.cart.step) >= self.task.steps

    def learn(self, trials: int, keep: int = 0) -> Iterator[BalancingTrial]:
        """Learn until `trials` trials are done or enough consecutive trials have succeeded; yield each trial.

        Parameters
        ----------
        trials : int
            Total number of trials, including earlier ones; resumed learning ends exactly as if it had never stopped.
        keep : int
            Number of initial steps of each trial's path to keep.
        """
        while len(self.lasted) < trials and not self.has_learned:
            number = len(self.lasted)
            start = generator(self.task.seed, "pole start", number).uniform(-self.task.spread, self.task.spread, 4)
            draws = generator(self.task.seed, "pole errors", number).random((self.task.steps, 2))
            trial = self._run(number, State(*start.tolist()), keep, draws)
            self.lasted.append(trial.seconds)
            self.errors.append(trial.errors)
            yield trial

    def balance(self, start: State, keep: int = 0) -> BalancingTrial:
        """Balance from `start` without further learning."""
        return self._run(-1, start, keep)

    def _run(self, number: int, state: State, keep: int, draws: np.ndarray | None = None) -> BalancingTrial:
        """Run a trial. The circuit learns only if random `draws` are given."""
        cart, circuit, learner, learning = self.task.cart, self.circuit, self.learner, draws is not None
        pairs = iter(()) if draws is None else iter(draws.tolist())
        path, step = [], 0
        learner.begin()
        with one_blas_thread():
            z = circuit.respond(state, learning)
            for step in range(1, self.task.steps + 1):
                draw = next(pairs, None)
                share = limited(circuit.command(z)) if draw is None else learner.act(z, draw[0])
                state = cart.after(state, share * cart.force)
                failed = cart.has_failed(state)
                z = circuit.respond(state, learning)
                if draw is not None:
                    learner.learn(state, z, failed, draw)
                if step <= keep:
                    path.append((*state, share * cart.force))
                if failed:
                    break
        return BalancingTrial(number, round(step * cart.step, 9), learner.errors, np.array(path, dtype=np.float64).reshape(-1, 5))
