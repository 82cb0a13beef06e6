"""Default values of training settings that depend on other settings, for the commands and the package's classifiers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minicereb.errors import choose
from minicereb.learning.estimators import LEARNED_BY
from minicereb.learning.rules import PESSIMISTIC
from minicereb.learning.scores import ScoreFunction

INPUTS_PER_CELL = 4
PERSISTENCE = 12.0  # of recurrent neurons that learn by changing one response at a time
# Default numbers of replications other than 100; one replication of flip or resample is worth more than 100 of the others.
REPLICATIONS = {"plain": 10_000, "sobol": 128, "flip": 1, "resample": 1, "exact": 1, "backprop": 1, "surrogate": 1}


def usual_of_cerebellum(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return default values for those settings of a cerebellum that were `given` as None and have a default."""
    usual: dict[str, Any] = {} if given["wiring"] == "full" else {"inputs_per_cell": INPUTS_PER_CELL}
    usual |= {"threshold": 0.5} if given["mossy_fibres"] == "threshold" else {}
    usual |= {"uncertainty": 0.1, "pessimism": 0.5} if given["rule"] == PESSIMISTIC else {}
    if isinstance(given["cells"], int) and given["cells"] >= 1:  # any other number of cells causes an error later
        usual |= {"learning_rate": 0.5 / given["cells"]}
    return {name: value for name, value in usual.items() if given[name] is None}


def usual_of_noisy(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return default values for those settings of a noisy network that were `given` as None; no noise means no scale."""
    kind = given.get("network")
    noisy, convolves, in_time = given["noise"] != "none", kind == "cnn", kind in ("recurrent", "spiking")
    usual: dict[str, Any] = {} if noisy else {"noise_scale": ()}
    channels = (given.get("channels") or (16,)) if convolves else ()
    hidden = (128,) if convolves or in_time else (20,)
    neurons = given["hidden"] if given["hidden"] is not None else hidden
    scales = (0.3,) * len(channels) + (2.0,) * len(neurons) + (0.5,)  # convolutions, dense layers, outputs
    by_flips = "flip" if given["activation"] == "threshold" else "resample"
    along = "surrogate" if in_time and given["activation"] == "threshold" else "backprop"
    estimator = given["estimator"] or (by_flips if noisy else along)
    by_score = isinstance(choose("estimator", estimator, LEARNED_BY), ScoreFunction) and not in_time
    redraws = convolves and estimator in ("flip", "resample") and given["output_noise"]
    usual_here = {
        "estimator": estimator,
        "replications": REPLICATIONS.get(estimator, 100),
        "last_layer": "score" if by_score else "resample" if redraws else "derivative",
        "hidden": hidden,
        "noise_scale": scales if convolves else (0.5, 1.0) if in_time else (2.0,),
        "channels": channels,
        "learning_rate": 0.02 if convolves else 0.01 if in_time else 0.06,
        "presentation": "whole" if kind == "spiking" else "rows",
        "persistence": PERSISTENCE if kind == "recurrent" and estimator in ("flip", "resample") else 0.0,
    }
    return {name: value for name, value in usual_here.items() if name in given and given[name] is None} | usual
