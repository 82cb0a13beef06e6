"""Claims about derivatives: the project's all hold, and one that does not hold is found."""

import dataclasses
import importlib
import inspect
import pkgutil

import numpy as np
import pytest

from minicereb import calculus
from minicereb.attacks.objectives import OBJECTIVES
from minicereb.backend import in_float64
from minicereb.calculus.activations import ACTIVATIONS
from minicereb.calculus.noise import LAWS
from minicereb.gradcheck.claims import Claim, credited, examine
from minicereb.gradcheck.model_claims import model_claims
from minicereb.gradcheck.project_claims import claims
from minicereb.models.layers import Dense, ReLU
from minicereb.models.sequential import Sequential
from minicereb.models.wiring import Wiring

RNG = np.random.default_rng(0)
X = RNG.random((3, 20))
LABELS = np.array([0, 2, 1])


@pytest.mark.parametrize("claim", list(claims()), ids=lambda claim: f"{claim.name} by {claim.by}")
def test_every_derivative_of_the_project_holds(claim):
    """All derivatives are tested here; other tests of formulas check values, devices and special points."""
    checked = examine(claim)
    assert (checked.state, checked.directions) == ("ok", 20), checked
    assert checked.error < 1e-6


def test_no_function_with_a_derivative_is_left_out():
    """Cover every function of calculus whose name says derivative or gradient, and every loss, smooth activation and law."""
    names = " ".join(claim.name for claim in claims())
    functions = {
        name
        for module in pkgutil.iter_modules(calculus.__path__)
        for name, each in vars(importlib.import_module(f"minicereb.calculus.{module.name}")).items()
        if inspect.isfunction(each) and name.endswith("_gradient")
    }
    functions -= {"likelihood_ratio_gradient", "shared_weight_gradient"}  # of estimates, whose mean is the derivative
    functions -= {
        "winograd4_weight_gradient",
        "direct_weight_gradient",
        "_direct_weight_gradient",
    }  # held to plain ones by test_compiled
    smooth = {name for name, formula in ACTIVATIONS.items() if formula.derivative is not None}
    objectives = {each.__name__ for each in OBJECTIVES.values()}
    layers = {"CerebellarNetwork", "DeltaRule", "Exact", "Backprop", "conditional_score"}
    assert [name for name in sorted(functions | smooth | objectives | set(LAWS) | layers) if name not in names] == []


@dataclasses.dataclass(frozen=True, eq=False)
class WrongDense(Dense):
    """A layer whose derivatives are a little off."""

    def input_gradient(self, d_v, x):
        return 1.001 * super().input_gradient(d_v, x)

    def weight_gradient(self, d_v, x):
        return {**super().weight_gradient(d_v, x), "bias": d_v.mean(axis=0)}


def network(last):
    weight = RNG.standard_normal((8, 20)).astype(np.float32)
    first = Dense(weight, RNG.standard_normal(8).astype(np.float32))
    return Sequential((first, ReLU(), last(RNG.standard_normal((3, 8)).astype(np.float32), np.zeros(3, dtype=np.float32))))


def test_a_wrong_layer_is_found_in_a_model_of_float32():
    assert {examine(claim).state for claim in model_claims(network(Dense), X, LABELS)} == {"ok"}
    wrong = [(claim.name, claim.by) for claim in model_claims(network(WrongDense), X, LABELS) if examine(claim).state == "wrong"]
    assert wrong == [
        ("layer 2 WrongDense", "input"),
        ("layer 2 WrongDense", "bias"),
        ("loss cross_entropy", "images"),
        ("loss squared_error", "images"),
    ]


def test_a_kink_and_its_place_are_told():
    at = np.ones(6)
    at[4] = 0
    claim = Claim("relu", "", "v", credited(lambda v: np.maximum(v, 0), at, np.ones(6)), (at > 0) * 1.0, at)
    finding = examine(claim)
    assert (finding.state, finding.kinks, finding.directions, finding.where, finding.error) == ("kinks", 20, 0, "4", None)


def test_what_only_rounding_makes_differ_is_not_called_wrong():
    at, small = RNG.standard_normal(5), 1e-5 * RNG.standard_normal(5)

    def loss(z):
        return 3.0 + float(np.vdot(small, np.tanh(z)))

    slope = small * (1 - np.tanh(at) ** 2)
    assert examine(Claim("loss", "", "z", loss, slope, at)).state == "ok"
    finding = examine(Claim("loss", "", "z", loss, slope * 1.001, at))
    assert finding.state == "wrong"
    assert finding.error > 1e-4


def test_what_has_no_derivative_is_told():
    finding = examine(Claim("threshold", "", "v", None, "it jumps", np.ones(3)))
    assert (finding.state, finding.where) == ("none", "it jumps")


def test_models_are_copied_into_float64():
    wiring = Wiring(np.ones((4, 2), dtype=np.float32), np.zeros((4, 2), dtype=np.int32), 5)
    copy = in_float64(wiring)
    assert (copy.weights.dtype, copy.inputs.dtype, copy.width) == (np.float64, np.int32, 5)
    copy.weights[:] = 2
    assert wiring.weights.max() == 1
    assert in_float64((np.float32(1), None, "a"))[1:] == (None, "a")
