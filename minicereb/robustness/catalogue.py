"""Attacks by name: the papers' settings as printed, the standard ensemble, and what it lacks for networks like ours.

Which of them miss images that others find is measured by ``minicereb study attacks``; the sets are chosen by its table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from minicereb.attacks.settings import WITHOUT_GRADIENT, Attack
from minicereb.errors import InputError

PAPER_STEPS, PAPER_STEP = 40, 0.01
TUNED_STEPS = 100
MOMENTUM_SHARE = 1 / 10  # of ε: a step along a sum of gradients, which turns more slowly than a gradient does
STARTS = 5  # of attacks that start again
# The search for a step size: each of these shares of ε, in turn, on the images that the one before left.
TUNED_STEP_SHARES = (1 / 4, 1 / 10, 1 / 40)


@dataclass(frozen=True)
class Named:
    """An attack that an evaluation can name.

    Parameters
    ----------
    name : str
    make : callable
        From ε, norm, seed, source of the gradient and replications for it to the attacks that are made one after the other,
        each on the images that are left.
    alone : bool
        Whether it is made on every image, so that its own accuracy is known, instead of those that the attacks before it left.
    white_box : bool
        Whether it follows a gradient.
    smallest : bool
        Whether it looks for the nearest misclassified image, whatever ε is.
    transferred : bool
        Whether it is made against other models, whose images are then tried.
    objectives : tuple of str
        What it ascends.
    """

    name: str
    make: Callable[[float, str, int, str, int], tuple[Attack, ...]]
    alone: bool = False
    white_box: bool = True
    smallest: bool = False
    transferred: bool = False
    objectives: tuple[str, ...] = ()


def _one(method: str, objective: str, alone: bool = False, smallest: bool = False, **settings: Any) -> dict[str, Any]:
    def make(epsilon: float, norm: str, seed: int, gradient: str, draws: int) -> tuple[Attack, ...]:
        attack = Attack(method, objective, epsilon, norm=norm, seed=seed, gradient=gradient, draws=draws, **settings)
        return (attack,)

    white_box = method not in WITHOUT_GRADIENT
    return {
        "make": make,
        "alone": alone,
        "white_box": white_box,
        "smallest": smallest,
        "objectives": (objective,) if white_box else (),
    }


def _tuned(epsilon: float, norm: str, seed: int, gradient: str, draws: int) -> tuple[Attack, ...]:
    common: dict[str, Any] = {"norm": norm, "seed": seed, "gradient": gradient, "draws": draws}
    steps = [max(share * epsilon, 1e-6) for share in TUNED_STEP_SHARES]
    return tuple(Attack("pgd", "margin", epsilon, steps=TUNED_STEPS, step_size=step, **common) for step in steps)


def _momentum(epsilon: float, norm: str, seed: int, gradient: str, draws: int) -> tuple[Attack, ...]:
    common: dict[str, Any] = {"norm": norm, "seed": seed, "gradient": gradient, "draws": draws, "restarts": STARTS}
    step = max(MOMENTUM_SHARE * epsilon, 1e-6)
    ways = (("cross-entropy", False), ("cross-entropy", True), ("margin", False))
    return tuple(
        Attack("momentum", objective, epsilon, steps=TUNED_STEPS, step_size=step, nesterov=nesterov, **common)
        for objective, nesterov in ways
    )


def _again(epsilon: float, norm: str, seed: int, gradient: str, draws: int) -> tuple[Attack, ...]:
    common: dict[str, Any] = {"norm": norm, "seed": seed, "gradient": gradient, "draws": draws, "restarts": STARTS}
    to_any = tuple(Attack("apgd", objective, epsilon, steps=100, **common) for objective in ("cross-entropy", "dlr", "margin"))
    return (*to_any, Attack("apgd", "dlr", epsilon, steps=100, targets=9, **common))


def _transferred(epsilon: float, norm: str, seed: int, gradient: str, draws: int) -> tuple[Attack, ...]:
    # Not APGD: it ends where the other model errs, and what errs by little does so for that model alone.
    return (Attack("pgd", "margin", epsilon, steps=100, step_size=max(epsilon / 10, 1e-6), norm=norm, seed=seed),)


_PAPER: dict[str, Any] = {"steps": PAPER_STEPS, "step_size": PAPER_STEP}
ATTACKS: dict[str, Named] = {
    each.name: each
    for each in (
        Named("fgsm-mse", **_one("fgsm", "mse", alone=True)),
        Named("pgd-mse", **_one("pgd", "mse", alone=True, keep="last", **_PAPER)),
        Named("pgd-margin", **_one("pgd", "margin", alone=True, **_PAPER)),
        Named("pgd-tuned", _tuned, objectives=("margin",)),
        Named("apgd-margin", **_one("apgd", "margin", steps=100)),
        Named("apgd-ce", **_one("apgd", "cross-entropy", steps=100)),
        Named("apgd-dlr", **_one("apgd", "dlr", steps=100)),
        Named("apgd-t", **_one("apgd", "dlr", steps=100, targets=9)),
        Named("apgd-restarts", _again, objectives=("cross-entropy", "dlr", "margin")),
        Named("momentum", _momentum, objectives=("cross-entropy", "margin")),
        Named("fab-t", **_one("fab", "margin", smallest=True, steps=100, targets=9)),
        Named("fmn-t", **_one("fmn", "margin", smallest=True, steps=100, targets=9)),
        Named("transfer", _transferred, white_box=False, transferred=True),
        Named("square", **_one("square", "margin", steps=5_000)),
        Named("square-ensemble", **_one("square", "margin", steps=5_000, rescale=False)),
        Named("random", **_one("random", "margin", alone=True, steps=100)),
        # Too short to get anywhere, and on the wrong objective: for trying out whether the checklist tells.
        Named("weak", **_one("pgd", "mse", alone=True, keep="last", steps=3, step_size=0.001)),
    )
}
BY_STRENGTH = (
    "apgd-margin",
    "apgd-ce",
    "apgd-dlr",
    "apgd-restarts",
    "momentum",
    "pgd-tuned",
    "pgd-margin",
    "apgd-t",
    "pgd-mse",
    "weak",
    "fgsm-mse",
)  # those that can stand for an evaluation in its checklist, the first that it has
SQUARES = ("square", "square-ensemble")
# The reference ensemble, with its own schedule of Square, and FMN-T, which found most of what it missed.
STANDARD = ("apgd-ce", "apgd-t", "fab-t", "fmn-t", "square-ensemble")
ALL = tuple(name for name in ATTACKS if name != "weak")
SETS = {"standard": STANDARD, "all": ALL}


def attacks_named(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names of attacks that are meant by a list of names of attacks and sets, in order, each once.

    Raises
    ------
    InputError
        If a name is unknown, or none is given.
    """
    found: dict[str, None] = {}
    for name in names:
        if name not in ATTACKS and name not in SETS:
            raise InputError("attacks", name, ", ".join((*SETS, *ATTACKS)))
        found |= dict.fromkeys(SETS.get(name, (name,)))
    if not found:
        raise InputError("attacks", "", ", ".join((*SETS, *ATTACKS)))
    return tuple(found)
