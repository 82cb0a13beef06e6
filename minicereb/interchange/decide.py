"""The complete verifier on files of other tools: a network from an ONNX file, a property from a VNN-LIB file."""

from __future__ import annotations

import math

import numpy as np

from minicereb.backend import to_device, to_numpy
from minicereb.certificates.affine import affine_network_of, why_not_certifiable
from minicereb.certificates.chain import Goal, chain_of_network
from minicereb.certificates.complete import Decision, verify
from minicereb.certificates.region import Region
from minicereb.errors import InputError, MinicerebError
from minicereb.interchange.onnx_reader import OnnxModel
from minicereb.interchange.vnnlib import Property


def decide(model: OnnxModel, asked: Property, seconds: float) -> Decision:
    """Find an input within a property's bounds whose outputs satisfy one of the property's cases, or prove that none exists.

    Parameters
    ----------
    model : OnnxModel
    asked : Property
    seconds : float
        Time limit, above 0.

    Returns
    -------
    Decision
        The verdict is "broken" if there is a counterexample: a float32 input within the bounds, in the order of the network's
        file, for which the network itself satisfies a case. It is "certified" if no counterexample exists, either in exact
        arithmetic or in the arithmetic of the network.

    Raises
    ------
    MinicerebError
        If the complete verifier cannot decide properties of such a network.
    InputError
        If the property has a different number of inputs or outputs.
    """
    inputs = math.prod(model.shape)
    if len(asked.low) != inputs:
        raise InputError("vnnlib", f"{len(asked.low)} inputs", f"{inputs}, as many as the network has")
    if bool((asked.low > asked.high).any()):
        raise InputError("vnnlib", f"an empty box at X_{int((asked.low > asked.high).argmax())}", "lower bounds below upper ones")
    order = np.arange(inputs) if model.order is None else model.order
    low, high = asked.low[order], asked.high[order]
    reason = why_not_certifiable(model.network)
    if reason is None:
        network = affine_network_of(model.network)
        centre = 0.5 * (low + high)
        radius = np.nextafter(np.maximum(high - centre, centre - low), np.inf)
        box = Region(centre[:, None], centre[:, None], radius[:, None], None)
        chain = chain_of_network(network, box)
        reason = chain if isinstance(chain, str) else None
    if reason is not None:
        raise MinicerebError(f"the complete verifier cannot decide properties of this network: {reason}")
    if asked.cases[0][0].shape[1] != network.output.outputs:
        expected = f"{network.output.outputs}, as many as the network has"
        raise InputError("vnnlib", f"{asked.cases[0][0].shape[1]} outputs", expected)

    def judge(x: np.ndarray) -> bool:
        z = to_numpy(model.network.forward(to_device(_within(x, low, high)[None]))[0])[0].astype(np.float64)
        return any(bool((a @ z <= b).all()) for a, b in asked.cases)

    assert not isinstance(chain, str)
    found = verify(chain, [Goal(a, -b) for a, b in asked.cases], seconds, judge)
    if found.counterexample is None:
        return found
    return found._replace(counterexample=_within(found.counterexample, low, high)[np.argsort(order)])


def _within(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the nearest single-precision numbers within the bounds, or simply the nearest if none are within the bounds."""
    near = np.clip(x, low, high).astype(np.float32)
    towards = np.where(near > high, -np.inf, np.inf).astype(np.float32)
    return np.where((near > high) | (near < low), np.nextafter(near, towards), near)
