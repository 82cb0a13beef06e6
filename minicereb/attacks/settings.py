"""The settings of an attack, as an immutable value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from minicereb.attacks.ball import NORMS
from minicereb.attacks.methods import Method, method_named, method_names
from minicereb.attacks.objectives import OBJECTIVES, TARGETED
from minicereb.errors import require
from minicereb.learning.estimators import LEARNED_BY
from minicereb.settings import checked, setting

GRADIENTS = ("analytic", "straight-through", "relaxed", "frozen", "eot", *LEARNED_BY)
# Counts the redefinitions of a gradient: noise of the estimator's own design, more accurate slopes, the same with targets.
REVISIONS = {"antithetic": 1, "sobol": 1, "straight-through": 1, "frozen": 1, "exact": 1}
# The same for searches: sums in another order may make a search choose the other of two points that are equal up to rounding.
SEARCHES = {"square": 1, "square-bits": 1}
LARGEST = 1e6  # ε: in both norms far more than an image in [0, 1] can change, and no overflow when multiplied in float32
CROSSING = 2.5  # default length of all steps together, in multiples of ε


def fitting_step(epsilon: float, steps: int) -> float:
    """Return the step size for which all steps together span 2.5 ε, enough to cross the ball; 0.01 if ε is 0."""
    return CROSSING * epsilon / steps or 0.01


def too_short(epsilon: float, steps: int, step_size: float) -> str | None:
    """Return a warning if the steps are too short to reach the edge of the ball from its centre, else None.

    The radius matters, not the diameter: from a uniformly random start a pixel is ε away from the end of its range on
    average, and less if the box cuts the range short.
    """
    if steps * step_size >= epsilon:
        return None
    return (
        f"{steps} steps of {step_size:g} are shorter than ε = {epsilon:g}: from the image the attack cannot reach the edge of "
        f"its ball; a step of {fitting_step(epsilon, steps):g} would fit"
    )


DRAWS: dict[str, Any] = {"at_least": 1, "at_most": 2**31 - 1}


@checked
@dataclass(frozen=True)
class Attack:
    """Settings of an attack. Which settings take effect depends on the method; see :mod:`minicereb.attacks.methods`."""

    method: str = setting(help="How the attack searches.", choices=method_names)
    objective: str = setting(help="Objective of the attack.", choices=OBJECTIVES)
    epsilon: float = setting(
        help="Largest change of a pixel (black is 0, white is 1) or, in L2, of an image.", at_least=0, at_most=LARGEST
    )
    steps: int = setting(
        40, "Steps per start; these are queries for square, points for random, and flips for greedy and beam.", at_least=1
    )
    step_size: float | None = setting(
        None,
        "Step size of pgd and momentum.",
        above=0,
        at_most=LARGEST,
        usual=f"{CROSSING:g} ε / steps, enough to cross the ball",
    )
    restarts: int = setting(
        1, "Number of starts; later starts attack the images that are still classified correctly.", at_least=1
    )
    random_start: bool = setting(True, "Whether to begin at a random point of the ball or at the clean image.", off="clean-start")
    keep: str = setting("best", "Which point to keep: the best one visited, or the last.", choices=("best", "last"))
    seed: int = setting(0, "Seed of the random starts and of the noise.", at_least=0)
    gradient: str = setting(
        "analytic",
        "Source of the input gradient: the model itself, a gradient passed through its thresholds, "
        "or an estimate of the mean over its noise.",
        choices=GRADIENTS,
        added=True,
    )
    draws: int = setting(32, "Noise samples per gradient estimate; for eot, calls of the model.", **DRAWS, added=True)
    norm: str = setting(
        "linf", "Norm of the change: the largest change of a pixel, or the Euclidean length.", choices=NORMS, added=True
    )
    targets: int = setting(
        0, "Search towards each of this many likely wrong classes; 0 for any wrong class.", at_least=0, added=True
    )
    decay: float = setting(1.0, "For momentum: weight of the past gradients.", at_least=0, at_most=1, added=True)
    nesterov: bool = setting(
        False, "For momentum: whether to evaluate the gradient at the look-ahead point of Nesterov's method.", added=True
    )
    rescale: bool = setting(
        True,
        "For square: whether the squares shrink over all queries or, as in AutoAttack, after fixed numbers of queries.",
        added=True,
    )

    width: int = setting(8, "For beam: number of sets of flips kept for each image.", at_least=1, at_most=1_000, added=True)

    @property
    def traits(self) -> Method:
        """Return the row of the attack's method in :data:`minicereb.attacks.methods.METHODS`."""
        return method_named(self.method)

    @property
    def revision(self) -> int:
        """The revision of the attack's gradient and search, part of an experiment's identity
        (:mod:`minicereb.experiments.identity`).
        """
        return REVISIONS.get(self.gradient, 0) + SEARCHES.get(self.method, 0)

    @property
    def too_short(self) -> str | None:
        """The warning of :func:`too_short`, or None; always None for methods without a step size."""
        return too_short(self.epsilon, self.steps, self.step) if self.traits.has("step_size") else None

    @property
    def step(self) -> float:
        """The step size: the given one or the default."""
        assert self.step_size is not None  # set by __post_init__
        return self.step_size

    def __post_init__(self) -> None:
        method = self.traits
        if self.step_size is None:
            object.__setattr__(self, "step_size", fitting_step(self.epsilon, self.steps) if method.has("step_size") else 0.01)
        expected = f"{' or '.join(method.objectives)} for {self.method}"
        require(self.objective in method.objectives, "objective", self.objective, expected)
        for name, unused in (("decay", 1), ("nesterov", False), ("rescale", True), ("width", 8), ("targets", 0)):
            value = getattr(self, name)
            require(method.has(name) or value == unused, name, value, f"{unused}: {self.method} has no such setting")
        able = not self.targets or self.objective in TARGETED
        require(able, "objective", self.objective, f"{', '.join(TARGETED)} for an attack with targets")
