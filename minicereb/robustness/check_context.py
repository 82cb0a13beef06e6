"""What the checklist looks at: some images of an evaluation at one ε, and what a check says about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from minicereb.attacks.settings import Attack
from minicereb.robustness.catalogue import BY_STRENGTH, attack_named, attack_names
from minicereb.robustness.evaluate import EvaluationPlan, EvaluationTarget
from minicereb.robustness.outcomes import BROKEN, NOT_TRIED, Outcomes

CHECKED = 100  # images
TOLERATED = 0.01  # share of the images that may go the wrong way before a check fails
CALLS = 5  # of the model, to see whether it repeats itself
# What rounding may change of an image's outputs: a share of their range, and of their size.
OF_RANGE, OF_SIZE = 1e-3, 1e-5


class CheckResult(NamedTuple):
    """What a check came to.

    Attributes
    ----------
    value : float or None
        What was measured; None if it could not be.
    verdict : {"pass", "warn", "fail", "not tested"}
    reason : str
        What the number means.
    detail : dict
        Further numbers, as JSON values.
    """

    value: float | None
    verdict: str
    reason: str
    detail: dict[str, Any] = {}


@dataclass(frozen=True, eq=False)
class CheckContext:
    """What every check looks at: some images of an evaluation at one ε.

    Parameters
    ----------
    target : EvaluationTarget
    plan : EvaluationPlan
    outcomes : Outcomes
    e : int
        Number of the ε.
    """

    target: EvaluationTarget
    plan: EvaluationPlan
    outcomes: Outcomes
    e: int

    @property
    def epsilon(self) -> float:
        """The ε that is looked at."""
        return self.plan.epsilons[self.e]

    @cached_property
    def chosen(self) -> np.ndarray:
        """Places of the images looked at: the first that are right as they are."""
        return np.flatnonzero(self.outcomes.clean[:CHECKED])

    @cached_property
    def ids(self) -> np.ndarray:
        """Their numbers."""
        return self.outcomes.ids[self.chosen]

    @property
    def base(self) -> str:
        """What every share is of, in words; the table of an evaluation is of all images instead."""
        return f"the {len(self.ids)} correctly classified images"

    def left(self, white_box: bool = False, without: str | None = None) -> np.ndarray:
        """Numbers of those that the attacks of the evaluation left standing.

        Parameters
        ----------
        white_box : bool
            Whether only attacks that follow a gradient count.
        without : str, optional
            An attack that does not count.
        """
        counting = [name for name in self.plan.attacks if name != without and (attack_named(name).white_box or not white_box)]
        attacks = [self.plan.attacks.index(name) for name in counting]
        return self.ids[self.outcomes.survivors(self.e, attacks)[self.chosen]]

    def left_before(self, name: str) -> np.ndarray:
        """Numbers of those that were left by the attacks that follow a gradient, or by all others if none does."""
        return self.left(white_box=True) if self.follows_gradients else self.left(without=name)

    @property
    def follows_gradients(self) -> bool:
        """Whether any attack of the evaluation follows a gradient."""
        return any(attack_named(name).white_box for name in self.plan.attacks)

    def _tried(self, name: str) -> np.ndarray:
        """What became of the images looked at under an attack, at this ε and the smaller ones: shape (epsilons, images)."""
        return self.outcomes.tried[: self.e + 1, self.plan.attacks.index(name)][:, self.chosen]

    def was_made(self, name: str) -> bool:
        """Whether the evaluation has made this attack on any of the images looked at."""
        return name in self.plan.attacks and bool((self._tried(name) != NOT_TRIED).any())

    def broken_among(self, ids: np.ndarray, name: str) -> int:
        """How many of the images `ids` the evaluation broke by this attack."""
        return int(((self._tried(name) == BROKEN).any(axis=0) & np.isin(self.ids, ids)).sum())

    def share(self, images: int) -> float:
        """`images` as a share of those looked at."""
        return images / max(1, len(self.ids))

    def made(self, name: str, epsilon: float | None = None) -> tuple[Attack, ...]:
        """An attack of the catalogue with the settings of this evaluation: the searches that it is made of."""
        epsilon = self.epsilon if epsilon is None else epsilon
        return attack_named(name).make(epsilon, self.plan.norm, self.plan.seed, self.target.gradient, self.target.draws)

    @cached_property
    def principal(self) -> str:
        """The attack that stands for the evaluation: the strongest that it has, measured on the images looked at.

        An evaluation makes most attacks only on what those before them left. So each candidate is made on the images that it has
        not met, as long as it could still break more than the best so far; which is enough once it breaks all that the whole
        evaluation broke, but for one image in a hundred.
        """
        candidates = sorted((name for name in self.plan.attacks if _may_stand_for_all(name)), key=_rank)
        best, most = "", -1
        total = len(self.ids) - len(self.left())
        for name in candidates:
            broken = (self._tried(name) == BROKEN).any(axis=0)
            unmet = ~broken & (self._tried(name)[-1] == NOT_TRIED)
            if broken.sum() + unmet.sum() <= most:
                continue
            count = int(broken.sum()) + self.broken(self.made(name), self.ids[unmet])
            if count > most:
                best, most = name, count
            if most and self.share(total - most) <= TOLERATED:
                break
        return best or self.plan.attacks[0]

    def broken(self, attacks: Sequence[Attack], ids: np.ndarray) -> int:
        """How many of the images `ids` some attacks break, made one after the other on what is left."""
        pending = ids
        for attack in attacks:
            if len(pending):
                pending = pending[~self.target.attack(attack, pending)[0]]
        return len(ids) - len(pending)

    @cached_property
    def outputs(self) -> np.ndarray:
        """Outputs of the model for the images looked at, shape (images, classes)."""
        return self.target.outputs(self.ids)

    @cached_property
    def shifts(self) -> np.ndarray:
        """By how much outputs move at most when the same images are shown again in the same way, see :meth:`shift`."""
        return np.max([self.shift(self.target.outputs(self.ids)) for _ in range(CALLS - 1)], axis=0)

    def shift(self, outputs: np.ndarray, first: int | None = None) -> np.ndarray:
        """By how much outputs differ from :attr:`outputs`, in multiples of what rounding may do: array of shape (images,).

        Parameters
        ----------
        outputs : array of float64, shape (images, classes)
        first : int, optional
            They are those of the first so many images.
        """
        usual = self.outputs[:first]
        ranges = self.outputs.max(axis=1) - self.outputs.min(axis=1)
        tolerated = OF_RANGE * np.maximum(ranges, np.median(ranges)) + OF_SIZE * np.abs(self.outputs).max(axis=1)
        with np.errstate(all="ignore"):
            shift = np.abs(outputs - usual).max(axis=1) / tolerated[:first]
        return np.where((outputs == usual).all(axis=1), 0.0, np.where(np.isnan(shift), np.inf, shift))


def _may_stand_for_all(name: str) -> bool:
    """Images made against other models say nothing of how an attack on this one converges."""
    return not attack_named(name).transferred


def _rank(name: str) -> int:
    """Which attack is asked first: those that are usually strongest, and random points last."""
    order = (*BY_STRENGTH, *(other for other in attack_names() if other not in BY_STRENGTH))
    return len(order) if name == "random" else order.index(name)
