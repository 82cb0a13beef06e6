"""The complete verifier for images: it proves that there is no adversarial image within ε, finds one, or runs out of time."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicereb.attacks.ball import with_rounding
from minicereb.backend import to_device, to_numpy
from minicereb.certificates.affine import affine_network_of, why_not_certifiable
from minicereb.certificates.chain import Goal, chain_of_network
from minicereb.certificates.complete import Decision, verify
from minicereb.certificates.region import Region


def why_not_complete(model: Any, norm: str = "linf") -> str | None:
    """Return a one-line reason why :func:`verify_image` cannot be used for a model and norm, or None if it can."""
    why = why_not_certifiable(model)
    if why is not None:
        return why
    network = affine_network_of(model)
    if network.convolutions is not None:
        return "branching is for networks without convolutions"
    other = next((layer.unit.name for layer in network.hidden if layer.unit.name != "relu"), None)
    if other is not None:
        return f"branching is for rectified units, not {other}"
    return None if norm == "linf" else "branching is for changes measured by linf"


def verify_image(
    model: Any, x: np.ndarray, label: int, epsilon: float, seconds: float, most_branches: int | None = None
) -> Decision:
    """Decide whether a model predicts `label` for every image that is within ε in L∞ and in the box [0, 1].

    Parameters
    ----------
    model : classifier
        A model for which :func:`why_not_complete` returns None.
    x : array of float32, shape (inputs,)
        The image, with pixels in [0, 1], as a NumPy array.
    label : int
    epsilon : float
        At least 0. As in :func:`minicereb.certificates.certify.certify`, a proof holds for a slightly larger ball, to allow for
        rounding; a counterexample is within ε itself.
    seconds, most_branches
        As in :func:`minicereb.certificates.complete.verify`.

    Returns
    -------
    Decision
        A counterexample is a float32 image that the model classifies differently from `label`.
    """
    network = affine_network_of(model)
    region = Region.around(x[None], with_rounding(epsilon, "linf", len(x)), "linf")
    chain = chain_of_network(network, region)
    if isinstance(chain, str):
        raise ValueError(chain)
    low, high = (np.clip(x + side * np.float32(epsilon), 0, 1).astype(np.float32) for side in (-1, 1))
    fires_above = network.fires_above

    def image_of(inputs: np.ndarray) -> np.ndarray:
        if fires_above is None:
            return np.clip(inputs.astype(np.float32), low, high)
        fires = np.asarray(x > fires_above)
        return np.where(inputs == fires, x, np.where(inputs > 0.5, high, low))

    def judge(inputs: np.ndarray) -> bool:
        answer = to_numpy(model.forward(to_device(image_of(inputs)[None]))[0])[0]
        return int(answer.argmax()) != label

    classes = np.eye(network.output.outputs)
    goals = [Goal((classes[label] - each)[None], np.zeros(1)) for j, each in enumerate(classes) if j != label]
    found = verify(chain, goals, seconds, judge, most_branches)
    return found if found.counterexample is None else found._replace(counterexample=image_of(found.counterexample))
