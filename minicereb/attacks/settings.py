"""The settings of an attack, as a value."""

from __future__ import annotations

from dataclasses import dataclass, field

from minicereb.attacks.ball import NORMS
from minicereb.attacks.methods import Method, method_named
from minicereb.attacks.objectives import objective_named, targeted_objective_named
from minicereb.documents import typed
from minicereb.errors import require
from minicereb.learning.estimators import ESTIMATORS

GRADIENTS = ("analytic", "straight-through", "frozen", "eot", *ESTIMATORS)
# Gradients that came to be others: by noise of the estimator's own design, by truer slopes, also towards a target.
REVISIONS = {"antithetic": 1, "sobol": 1, "straight-through": 1, "frozen": 1, "exact": 1}
LARGEST = 1e6  # ε: in either norm far more than an image in [0, 1] can change, and a number that float32 can be multiplied by
CROSSING = 2.5  # times ε: how far all steps together lead where no length is given


def fitting_step(epsilon: float, steps: int) -> float:
    """Return the length of steps that together lead 2.5 times as far as ε: from any point of the ball to any other.

    With a bound of 0, where nothing can be changed, 0.01.
    """
    return CROSSING * epsilon / steps or 0.01


def too_short(epsilon: float, steps: int, step_size: float) -> str | None:
    """Return in words that steps are too short to lead from an image to the edge of its ball; None if they are not.

    ε is what counts, not the diameter 2 ε: from a uniform start the edge is ε away on average, and most pixels have less room.
    """
    if steps * step_size >= epsilon:
        return None
    return (
        f"{steps} steps of {step_size:g} are shorter than ε = {epsilon:g}: from the image the attack cannot reach the edge of "
        f"its ball; a step of {fitting_step(epsilon, steps):g} would fit"
    )


@typed
@dataclass(frozen=True)
class Attack:
    """Settings of an attack.

    Parameters
    ----------
    method : str
        One of :func:`minicereb.attacks.methods.method_names`. Which of the settings below have an effect depends on it.
    objective : {"mse", "cross-entropy", "margin", "dlr"}
        What is ascended. FAB and FMN know the margin alone.
    epsilon : float
        Bound in the norm, at least 0.
    steps : int
        PGD, momentum, APGD, FAB, FMN: steps per start. Square: queries. Random: points.
    step_size : float, optional
        PGD, momentum: length of a step; without it 2.5 ε / steps, so that the steps can cross the ball. Other methods have no
        use for it, and 0.01 in its place.
    restarts : int
        PGD, momentum, APGD, FAB, FMN, Square: starts; later ones go on with the images that are still classified correctly.
    random_start : bool
        PGD, momentum, APGD: begin at a uniform random point of the ball (else at the clean image). FAB and FMN begin at the clean
        image, and at a random point only in later starts.
    keep : {"best", "last"}
        Which of the points visited counts for an image: the best (a misclassified one if there is any, among equals the
        one with the largest objective), or the last, as the authors' code has it. In momentum, APGD, Square and Random the first
        that is misclassified is the best: the search ends with it. For FAB and FMN the nearest misclassified one counts.
    seed : int
        Of the random starts, and of noise.
    gradient : str
        Where the input gradient comes from, see :func:`minicereb.attacks.gradients.source_named`.
    draws : int
        Replications of the noise, if it comes from an estimator; calls, if it is ``"eot"``.
    norm : {"linf", "l2"}
        Largest change of a pixel, or Euclidean length of the change.
    targets : int
        0: the objective is that of any wrong class. Else the search is made towards each of so many wrong classes, the likeliest
        of the clean image first, and towards all where there are not so many; any misclassification counts.
    decay : float
        Momentum: what is kept of the sum of past gradients at each step, from 0 to 1.
    nesterov : bool
        Momentum: whether the gradient is taken where the sum alone would lead.
    rescale : bool
        Square: whether the side of its squares falls over the queries that it has, or, as in the standard ensemble, after the
        published numbers of queries, however few it has.
    """

    method: str
    objective: str
    epsilon: float
    steps: int = 40
    step_size: float | None = None  # filled in below
    restarts: int = 1
    random_start: bool = True
    keep: str = "best"
    seed: int = 0
    gradient: str = field(default="analytic", metadata={"added": True})
    draws: int = field(default=32, metadata={"added": True})
    norm: str = field(default="linf", metadata={"added": True})
    targets: int = field(default=0, metadata={"added": True})
    decay: float = field(default=1.0, metadata={"added": True})
    nesterov: bool = field(default=False, metadata={"added": True})
    rescale: bool = field(default=True, metadata={"added": True})

    @property
    def traits(self) -> Method:
        """Return the row of its method in :data:`minicereb.attacks.methods.METHODS`."""
        return method_named(self.method)

    @property
    def revision(self) -> int:
        """Counts in the identity of an experiment, see :mod:`minicereb.experiments.identity`."""
        return REVISIONS.get(self.gradient, 0)

    @property
    def too_short(self) -> str | None:
        """In words, that the steps are too short to lead from an image to the edge of its ball; None if they are not."""
        return too_short(self.epsilon, self.steps, self.step) if self.traits.has("step_size") else None

    @property
    def step(self) -> float:
        """The step size: as it was given, or the one that fits."""
        assert self.step_size is not None  # since __post_init__
        return self.step_size

    def __post_init__(self) -> None:
        method = self.traits
        objective_named(self.objective)
        require(0 <= self.epsilon <= LARGEST, "epsilon", self.epsilon, f"a number from 0 to {LARGEST:g}")
        require(self.steps >= 1, "steps", self.steps, "a whole number of at least 1")
        if self.step_size is None:
            object.__setattr__(self, "step_size", fitting_step(self.epsilon, self.steps) if method.has("step_size") else 0.01)
        require(0 < self.step < float("inf"), "step-size", self.step_size, "a number above 0")
        require(self.restarts >= 1, "restarts", self.restarts, "a whole number of at least 1")
        require(self.keep in ("best", "last"), "keep", self.keep, "best or last")
        require(self.seed >= 0, "seed", self.seed, "a whole number of at least 0")
        require(self.gradient in GRADIENTS, "gradient", self.gradient, ", ".join(GRADIENTS))
        require(1 <= self.draws < 2**31, "draws", self.draws, "a whole number from 1 to 2147483647")
        require(self.norm in NORMS, "norm", self.norm, " or ".join(NORMS))
        require(self.targets >= 0, "targets", self.targets, "a whole number of at least 0")
        expected = f"{' or '.join(method.objectives)} for {self.method}"
        require(self.objective in method.objectives, "objective", self.objective, expected)
        require(0 <= self.decay <= 1, "decay", self.decay, "a number from 0 to 1")
        for name, unused in (("decay", 1), ("nesterov", False), ("rescale", True), ("targets", 0)):
            value = getattr(self, name)
            require(method.has(name) or value == unused, name, value, f"{unused}, as {self.method} does not have it")
        if self.targets:
            targeted_objective_named(self.objective)
