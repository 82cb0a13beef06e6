"""A catalogue of named attacks: the settings printed in the papers, the standard ensemble, and additions for networks like ours.

``minicereb study attacks`` measures which attacks miss images that others break; the sets of attacks were chosen from the
table of this study. A method that another package adds (:mod:`minicereb.attacks.methods`) is an attack of the same name,
with the method's defaults.
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
    """An attack with a name for evaluations; it consists of one or more searches.

    Parameters
    ----------
    searches : tuple of dict
        Settings of :class:`minicereb.attacks.settings.Attack` for each search; every search runs on the images that earlier
        searches did not break. If ``steps`` is missing, the method's default applies; ``step_size`` may be a function of ε.
    alone : bool
        Whether the attack runs on every image, so that the accuracy under it alone is known, instead of only on the
        survivors of earlier attacks.
    transferred : bool
        Whether the attack runs against other models, whose attacked images are then tried on the evaluated model.
    """

    searches: tuple[Settings, ...]
    alone: bool = False
    transferred: bool = False

    def make(self, epsilon: float, norm: str, seed: int, gradient: str, draws: int) -> tuple[Attack, ...]:
        """Return the attacks for one ε; `gradient` and `draws` determine the source of the input gradient."""
        own: Settings = {} if self.transferred else {"gradient": gradient, "draws": draws}
        attacks = []
        for search in self.searches:
            settings: Settings = {"steps": method_named(search["method"]).steps, "objective": "margin", **own, **search}
            if callable(settings.get("step_size")):
                settings["step_size"] = max(settings["step_size"](epsilon), 1e-6)
            attacks.append(Attack(epsilon=epsilon, norm=norm, seed=seed, **settings))
        return tuple(attacks)

    @property
    def _methods(self) -> list[Method]:
        return [method_named(search["method"]) for search in self.searches]

    @property
    def white_box(self) -> bool:
        """Whether the attack looks inside the evaluated model: at its gradient, or at the pixels that can be flipped."""
        return not self.transferred and any(method.gradient or method.flips for method in self._methods)

    @property
    def smallest(self) -> bool:
        """Whether the attack searches for the nearest misclassified image, independently of ε."""
        return bool(self.searches) and all(method.keeps == "nearest" for method in self._methods)

    @property
    def objectives(self) -> tuple[str, ...]:
        """The objectives whose gradients the attack follows."""
        return tuple(dict.fromkeys(search.get("objective", "margin") for search in self.searches)) if self.white_box else ()


def _attack(method: str, objective: str = "margin", **settings: Any) -> NamedAttack:
    roles = {name: settings.pop(name) for name in ("alone", "transferred") if name in settings}
    return NamedAttack(({"method": method, "objective": objective, **settings},), **roles)


def _searches(method: str, *searches: Settings, **shared: Any) -> NamedAttack:
    """Return an attack of several searches by one method, with common settings and each search's own settings."""
    return NamedAttack(tuple({"method": method, **shared, **search} for search in searches))


def _share(share: float) -> Callable[[float], float]:
    return lambda epsilon: share * epsilon


# Steps along the sum of gradients, whose direction changes more slowly than the direction of a gradient.
_MOMENTUM: Settings = {"restarts": STARTS, "steps": TUNED_STEPS, "step_size": _share(1 / 10)}
_CE, _DLR, _MARGIN = ({"objective": objective} for objective in ("cross-entropy", "dlr", "margin"))
ATTACKS: dict[str, NamedAttack] = {
    "fgsm-mse": _attack("fgsm", "mse", alone=True),
    "pgd-mse": _attack("pgd", "mse", keep="last", step_size=PAPER_STEP, alone=True),
    "pgd-margin": _attack("pgd", step_size=PAPER_STEP, alone=True),
    "pgd-tuned": _searches("pgd", *({"step_size": _share(each)} for each in (1 / 4, 1 / 10, 1 / 40)), steps=TUNED_STEPS),
    "apgd-margin": _attack("apgd"),
    "apgd-ce": _attack("apgd", "cross-entropy"),
    "apgd-dlr": _attack("apgd", "dlr"),
    "apgd-t": _attack("apgd", "dlr", targets=9),
    "apgd-restarts": _searches("apgd", _CE, _DLR, _MARGIN, {**_DLR, "targets": 9}, restarts=STARTS),
    "momentum": _searches("momentum", _CE, {**_CE, "nesterov": True}, _MARGIN, **_MOMENTUM),
    "fab-t": _attack("fab", targets=9),
    "fmn-t": _attack("fmn", targets=9),
    # Not APGD: it ends at the first point that the other model misclassifies, often by too small a margin to fool a second model.
    "transfer": _attack("pgd", steps=100, step_size=lambda epsilon: epsilon / 10, transferred=True),
    "square": _attack("square"),
    "square-ensemble": _attack("square", rescale=False),
    "greedy": _searches("greedy", {}, {"targets": 9}, {"restarts": STARTS}),
    "beam": _attack("beam", targets=9),
    "square-bits": _attack("square-bits", restarts=2),
    "relaxed": _searches("apgd", _MARGIN, _CE, gradient="relaxed"),
    "random": _attack("random", alone=True),
    # Too short to succeed, and on the wrong objective: used to test that the checklist raises an alarm.
    "weak": _attack("pgd", "mse", keep="last", steps=3, step_size=0.001, alone=True),
}
# Candidates for the principal attack of a checklist, in order of usual strength.
BY_STRENGTH = (
    *("apgd-margin", "apgd-ce", "apgd-dlr", "apgd-restarts", "momentum", "pgd-tuned"),
    *("pgd-margin", "apgd-t", "pgd-mse", "weak", "fgsm-mse"),
)
SQUARES = ("square", "square-ensemble")
# The reference ensemble with its own schedule of Square, and FMN-T, which found most of the images that the ensemble missed.
STANDARD = ("apgd-ce", "apgd-t", "fab-t", "fmn-t", "square-ensemble")
# Only for models with a binary first stage, for which they belong to both sets.
FLIPS = ("greedy", "beam", "square-bits", "relaxed")
ALL = tuple(name for name in ATTACKS if name not in ("weak", *FLIPS))
# Counterexamples of the complete verifier, for images that attacks and certificates leave undecided.
COMPLETE = "branch-and-bound"
SETS = {"standard": STANDARD, "all": ALL}


def attack_names() -> tuple[str, ...]:
    """Return the names of all attacks: first the attacks of the catalogue, then the methods that other packages add."""
    return (*ATTACKS, *(name for name in method_names()[len(METHODS) :] if name not in ATTACKS))


def attack_named(name: str) -> NamedAttack:
    """Return the attack with this name; raise :class:`InputError` if no attack has this name."""
    if name in ATTACKS:
        return ATTACKS[name]
    if name == COMPLETE:
        return NamedAttack(())
    if name not in attack_names():
        raise InputError("attacks", name, ", ".join((*SETS, *attack_names())))
    objectives = method_named(name).objectives
    return _attack(name, "margin" if "margin" in objectives else objectives[0])


def attacks_on(attacks: tuple[str, ...], fires: bool) -> tuple[str, ...]:
    """Return the attacks on a model; if its first stage `fires` at a threshold, the named sets include :data:`FLIPS`.

    An :class:`InputError` is raised if one of :data:`FLIPS` is given for another model.
    """
    if fires:
        return tuple(dict.fromkeys((*attacks, *FLIPS))) if set(STANDARD) <= set(attacks) else attacks
    unfit = [name for name in attacks if name in FLIPS]
    require(not unfit, "attacks", ",".join(unfit), "other attacks: this model has no threshold on the pixels")
    return attacks


def attacks_named(names: Iterable[str]) -> tuple[str, ...]:
    """Expand names of attacks and sets into distinct attacks; raise :class:`InputError` if one is unknown or none is given."""
    names, known = list(names) or [""], (*SETS, *attack_names(), COMPLETE)
    for name in names:
        require(name in known, "attacks", name, ", ".join(known))
    return tuple(dict.fromkeys(attack for name in names for attack in SETS.get(name, (name,))))
