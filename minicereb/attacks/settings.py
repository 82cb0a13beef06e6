"""The settings of an attack, as a value."""

from __future__ import annotations

from dataclasses import dataclass, field

from minicereb.attacks.ball import NORMS
from minicereb.attacks.objectives import objective_named, targeted_objective_named
from minicereb.documents import typed
from minicereb.errors import require
from minicereb.learning.estimators import ESTIMATORS

METHODS = ("fgsm", "pgd", "apgd", "fab", "square", "random")
WITHOUT_GRADIENT = ("square", "random")  # methods that only ask for answers
GRADIENTS = ("analytic", "straight-through", "frozen", "eot", *ESTIMATORS)
# Gradients that came to be others: by noise of the estimator's own design, by truer slopes, also towards a target.
REVISIONS = {"antithetic": 1, "sobol": 1, "straight-through": 1, "frozen": 1, "exact": 1}
# Steps that a method takes where nothing is said: as published.
USUAL_STEPS = {"fgsm": 40, "pgd": 40, "apgd": 100, "fab": 100, "square": 5_000, "random": 100}


@typed
@dataclass(frozen=True)
class Attack:
    """Settings of an attack.

    Parameters
    ----------
    method : {"fgsm", "pgd", "apgd", "fab", "square", "random"}
    objective : {"mse", "cross-entropy", "margin", "dlr"}
        What is ascended. FAB knows the margin alone.
    epsilon : float
        Bound in the norm, at least 0.
    steps : int
        PGD, APGD, FAB: steps per start. Square: queries. Random: points.
    step_size : float
        PGD: length of a step.
    restarts : int
        PGD, APGD, FAB, Square: starts; later ones go on with the images that are still classified correctly.
    random_start : bool
        PGD, APGD: begin at a uniform random point of the ball (else at the clean image). FAB begins at the clean image, and at a
        random point only in later starts.
    keep : {"best", "last"}
        Which of the points visited counts for an image: the best (a misclassified one if there is any, among equals the
        one with the largest objective), or the last, as the authors' code has it. In APGD, Square and Random the first that is
        misclassified is the best: the search ends with it. For FAB the nearest misclassified one counts.
    seed : int
        Of the random starts, and of noise.
    gradient : str
        Where the input gradient comes from, see :func:`minicereb.attacks.sources.source_named`.
    draws : int
        Replications of the noise, if it comes from an estimator; calls, if it is ``"eot"``.
    norm : {"linf", "l2"}
        Largest change of a pixel, or Euclidean length of the change.
    targets : int
        0: the objective is that of any wrong class. Else the search is made towards each of so many wrong classes, the likeliest
        of the clean image first, and towards all where there are not so many; any misclassification counts.
    """

    method: str
    objective: str
    epsilon: float
    steps: int = 40
    step_size: float = 0.01
    restarts: int = 1
    random_start: bool = True
    keep: str = "best"
    seed: int = 0
    gradient: str = field(default="analytic", metadata={"added": True})
    draws: int = field(default=32, metadata={"added": True})
    norm: str = field(default="linf", metadata={"added": True})
    targets: int = field(default=0, metadata={"added": True})

    @property
    def revision(self) -> int:
        """Counts in the identity of an experiment, see :mod:`minicereb.experiments.identity`."""
        return REVISIONS.get(self.gradient, 0)

    def __post_init__(self) -> None:
        require(self.method in METHODS, "method", self.method, ", ".join(METHODS))
        objective_named(self.objective)
        require(0 <= self.epsilon < float("inf"), "epsilon", self.epsilon, "a number of at least 0")
        require(self.steps >= 1, "steps", self.steps, "a whole number of at least 1")
        require(0 < self.step_size < float("inf"), "step-size", self.step_size, "a number above 0")
        require(self.restarts >= 1, "restarts", self.restarts, "a whole number of at least 1")
        require(self.keep in ("best", "last"), "keep", self.keep, "best or last")
        require(self.seed >= 0, "seed", self.seed, "a whole number of at least 0")
        require(self.gradient in GRADIENTS, "gradient", self.gradient, ", ".join(GRADIENTS))
        require(self.draws >= 1, "draws", self.draws, "a whole number of at least 1")
        require(self.norm in NORMS, "norm", self.norm, " or ".join(NORMS))
        require(self.targets >= 0, "targets", self.targets, "a whole number of at least 0")
        require(self.method != "fab" or self.objective == "margin", "objective", self.objective, "margin for fab")
        require(self.method != "random" or self.targets == 0, "targets", self.targets, "0 for random points")
        if self.targets:
            targeted_objective_named(self.objective)
