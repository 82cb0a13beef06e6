"""What the checklist looks at: some images of an evaluation at one ε, and what a check says about them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from minicereb.attacks.settings import Attack
from minicereb.robustness.catalogue import ATTACKS, BY_STRENGTH
from minicereb.robustness.evaluate import Plan, Subject
from minicereb.robustness.outcomes import BROKEN, Outcomes

CHECKED = 100  # images


class Finding(NamedTuple):
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
class Scene:
    """What every check looks at: some images of an evaluation at one ε.

    Parameters
    ----------
    subject : Subject
    plan : Plan
    outcomes : Outcomes
    e : int
        Number of the ε.
    """

    subject: Subject
    plan: Plan
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

    def left(self, white_box: bool = False) -> np.ndarray:
        """Numbers of those that the evaluation, or its attacks with a gradient, left standing."""
        attacks = [a for a, name in enumerate(self.plan.attacks) if ATTACKS[name].white_box or not white_box]
        return self.ids[self.outcomes.standing(self.e, attacks)[self.chosen]]

    def broken_without_gradient(self, name: str) -> int:
        """How many of those that the attacks with a gradient left were broken by this other attack of the evaluation."""
        standing = np.isin(self.outcomes.ids, self.left(white_box=True))
        tried = self.outcomes.tried[: self.e + 1, self.plan.attacks.index(name)]
        return int(((tried == BROKEN).any(axis=0) & standing).sum())

    def share(self, images: int) -> float:
        """`images` as a share of those looked at."""
        return images / max(1, len(self.ids))

    def made(self, name: str, epsilon: float | None = None) -> Attack:
        """An attack of the catalogue with the settings of this evaluation."""
        epsilon = self.epsilon if epsilon is None else epsilon
        return ATTACKS[name].make(epsilon, self.plan.norm, self.plan.seed, self.subject.gradient, self.subject.draws)[0]

    @cached_property
    def principal(self) -> str:
        """The attack that stands for the evaluation: the strongest with a gradient that it has."""
        for name in BY_STRENGTH:
            if name in self.plan.attacks:
                return name
        return self.plan.attacks[0]

    def broken(self, attack: Attack, ids: np.ndarray) -> int:
        """How many of the images `ids` an attack breaks."""
        return int(self.subject.strike(attack, ids)[0].sum()) if len(ids) else 0
