"""Attacks by name: the papers' settings as printed, the standard ensemble, and additions for networks like ours.

``minicereb study attacks`` measures which of them miss images that others break; the sets are chosen from its table. A method
added by another package (:mod:`minicereb.attacks.methods`) is an attack of the same name, with its defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from minicereb.attacks.methods import METHODS, Method, method_named, method_names
from minicereb.attacks.settings import Attack
from minicereb.errors import InputError, require

PAPER_STEPS, PAPER_STEP = 40, 0.01
TUNED_STEPS, STARTS = 100, 5
Settings = dict[str, Any]


@dataclass(frozen=True)
class NamedAttack:
    """An attack that an evaluation can name: one or more searches.

    Parameters
    ----------
    searches : tuple of dict
        Settings of :class:`minicereb.attacks.settings.Attack` for each search; every search runs on the images that earlier ones
        did not break. ``steps`` is the method's default if missing; ``step_size`` may be a function of ε.
    alone : bool
        Whether it runs on every image, so that its own accuracy is known, instead of only on the survivors of earlier attacks.
    transferred : bool
        Whether it attacks other models, whose attacked images are then tried.
    """

    searches: tuple[Settings, ...]
    alone: bool = False
    transferred: bool = False

    def make(self, epsilon: float, norm: str, seed: int, gradient: str, draws: int) -> tuple[Attack, ...]:
        """Return its attacks at one ε; `gradient` and `draws` determine the source of the input gradient."""
        own = {} if self.transferred else {"gradient": gradient, "draws": draws}
        attacks = []
        for search in self.searches:
            settings: Settings = {"steps": method_named(search["method"]).steps, "objective": "margin", **search, **own}
            if callable(settings.get("step_size")):
                settings["step_size"] = max(settings["step_size"](epsilon), 1e-6)
            attacks.append(Attack(epsilon=epsilon, norm=norm, seed=seed, **settings))
        return tuple(attacks)

    @property
    def _methods(self) -> list[Method]:
        return [method_named(search["method"]) for search in self.searches]

    @property
    def white_box(self) -> bool:
        """Whether it follows a gradient of the evaluated model."""
        return not self.transferred and any(method.gradient for method in self._methods)

    @property
    def smallest(self) -> bool:
        """Whether it searches for the nearest misclassified image, whatever ε is."""
        return bool(self.searches) and all(method.keeps == "nearest" for method in self._methods)

    @property
    def objectives(self) -> tuple[str, ...]:
        """The objectives whose gradient it follows."""
        return tuple(dict.fromkeys(search.get("objective", "margin") for search in self.searches)) if self.white_box else ()


def _attack(method: str, objective: str = "margin", **settings: Any) -> NamedAttack:
    roles = {name: settings.pop(name) for name in ("alone", "transferred") if name in settings}
    return NamedAttack(({"method": method, "objective": objective, **settings},), **roles)


def _share(share: float) -> Callable[[float], float]:
    return lambda epsilon: share * epsilon


_AGAIN = {"method": "apgd", "restarts": STARTS}
# A step along the sum of gradients, which turns more slowly than a gradient.
_MOMENTUM = {"method": "momentum", "restarts": STARTS, "steps": TUNED_STEPS, "step_size": _share(1 / 10)}
ATTACKS: dict[str, NamedAttack] = {
    "fgsm-mse": _attack("fgsm", "mse", alone=True),
    "pgd-mse": _attack("pgd", "mse", keep="last", step_size=PAPER_STEP, alone=True),
    "pgd-margin": _attack("pgd", step_size=PAPER_STEP, alone=True),
    "pgd-tuned": NamedAttack(
        tuple({"method": "pgd", "steps": TUNED_STEPS, "step_size": _share(share)} for share in (1 / 4, 1 / 10, 1 / 40))
    ),
    "apgd-margin": _attack("apgd"),
    "apgd-ce": _attack("apgd", "cross-entropy"),
    "apgd-dlr": _attack("apgd", "dlr"),
    "apgd-t": _attack("apgd", "dlr", targets=9),
    "apgd-restarts": NamedAttack(
        (
            *({**_AGAIN, "objective": objective} for objective in ("cross-entropy", "dlr", "margin")),
            {**_AGAIN, "objective": "dlr", "targets": 9},
        )
    ),
    "momentum": NamedAttack(
        (
            {**_MOMENTUM, "objective": "cross-entropy"},
            {**_MOMENTUM, "objective": "cross-entropy", "nesterov": True},
            {**_MOMENTUM, "objective": "margin"},
        )
    ),
    "fab-t": _attack("fab", targets=9),
    "fmn-t": _attack("fmn", targets=9),
    # Not APGD: it ends at the first point that the other model misclassifies, often by too little to fool a second model.
    "transfer": _attack("pgd", steps=100, step_size=lambda epsilon: epsilon / 10, transferred=True),
    "square": _attack("square"),
    "square-ensemble": _attack("square", rescale=False),
    "random": _attack("random", alone=True),
    # Too short to get anywhere, and on the wrong objective: used to test that the checklist raises an alarm.
    "weak": _attack("pgd", "mse", keep="last", steps=3, step_size=0.001, alone=True),
}
# Candidates for the principal attack of a checklist, usually the strongest first.
BY_STRENGTH = (
    *("apgd-margin", "apgd-ce", "apgd-dlr", "apgd-restarts", "momentum", "pgd-tuned"),
    *("pgd-margin", "apgd-t", "pgd-mse", "weak", "fgsm-mse"),
)
SQUARES = ("square", "square-ensemble")
# The reference ensemble, with its own schedule of Square, and FMN-T, which found most of what it missed.
STANDARD = ("apgd-ce", "apgd-t", "fab-t", "fmn-t", "square-ensemble")
ALL = tuple(name for name in ATTACKS if name != "weak")
# Counterexamples of the complete verifier, for what attacks and certificates leave open.
COMPLETE = "branch-and-bound"
SETS = {"standard": STANDARD, "all": ALL}


def attack_names() -> tuple[str, ...]:
    """Return the names of all attacks: the catalogue's, then the methods that other packages add."""
    return (*ATTACKS, *(name for name in method_names()[len(METHODS) :] if name not in ATTACKS))


def attack_named(name: str) -> NamedAttack:
    """Return the attack of this name; :class:`InputError` if there is none."""
    if name in ATTACKS:
        return ATTACKS[name]
    if name == COMPLETE:
        return NamedAttack(())
    if name not in attack_names():
        raise InputError("attacks", name, ", ".join((*SETS, *attack_names())))
    objectives = method_named(name).objectives
    return _attack(name, "margin" if "margin" in objectives else objectives[0])


def attacks_named(names: Iterable[str]) -> tuple[str, ...]:
    """Expand names of attacks and sets into names of attacks, each once; :class:`InputError` if one is unknown, or none given."""
    names, known = list(names) or [""], (*SETS, *attack_names(), COMPLETE)
    for name in names:
        require(name in known, "attacks", name, ", ".join(known))
    return tuple(dict.fromkeys(attack for name in names for attack in SETS.get(name, (name,))))
