"""A float64 copy of a trained model, and the step that training would take from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from minicereb.attacks.adversarial_training import AdversarialTraining
from minicereb.backend import Array, to_numpy
from minicereb.datasets.dataset import Dataset
from minicereb.experiments.configs import Train
from minicereb.experiments.models import build_rule, model_arrays, total_steps
from minicereb.learning.optimizers import Optimizer, State, make_optimizer, rate_at
from minicereb.learning.plasticity import Learned
from minicereb.models.cerebellum import Cerebellum


def in_float64(model: Any) -> Any:
    """Return a copy of a model, or of a part of one, on the CPU, every array of floats in float64."""
    if isinstance(model, tuple):
        return tuple(map(in_float64, model))
    if dataclasses.is_dataclass(model) and not isinstance(model, type):
        parts = {each.name: in_float64(getattr(model, each.name)) for each in dataclasses.fields(model)}
        return dataclasses.replace(model, **parts)
    if hasattr(model, "dtype") and hasattr(model, "shape"):
        array = to_numpy(model)
        return array.astype(np.float64) if array.dtype.kind == "f" else array.copy()
    return model


@dataclass(frozen=True)
class Noting:
    """An optimiser that keeps, beside the state of another, the gradient this was last given.

    Parameters
    ----------
    optimizer : SGD, Momentum, RMSprop or Adam
    """

    optimizer: Optimizer

    def state(self, weights: Array) -> State:
        """Return the other's state and room for the gradient."""
        return {**self.optimizer.state(weights), "gradient": np.zeros_like(weights)}

    def update(self, weights: Array, gradient: Array, state: State, step: int, scratch: Array) -> None:
        """Note the gradient, then let the other change `weights` and `state` in place."""
        state["gradient"][...] = gradient
        self.optimizer.update(weights, gradient, state, step, scratch)


class Taken(NamedTuple):
    """A step of training that was taken.

    Attributes
    ----------
    x : array of float64, shape (1, inputs)
        What was learned from: the image, attacked where training attacks its images.
    before, after : dict
        The model's arrays, by the names they are stored under.
    gradients : dict
        What the optimiser was given for those that learn.
    learned : Learned
    model : model
        After the step.
    rate : float
        The learning rate of the step.
    """

    x: np.ndarray
    before: dict[str, np.ndarray]
    after: dict[str, np.ndarray]
    gradients: dict[str, np.ndarray]
    learned: Learned
    model: Any
    rate: float


def take_step(config: Train, dataset: Dataset, model: Any, x: np.ndarray, labels: np.ndarray) -> Taken:
    """Let the learning rule of `config` take its first step from `model`, a float64 copy that is left as it was.

    Parameters
    ----------
    config : Train
    dataset : Dataset
    model : model
    x : array of float64, shape (1, inputs)
        A batch of one image.
    labels : array of int64, shape (1,)

    Returns
    -------
    Taken
    """
    copy, total = _to_learn_with(model), total_steps(config, dataset)
    falling = None if config.schedule == "constant" else total
    optimizer: Any = Noting(make_optimizer(config.optimizer, config.learning_rate, falling))
    if config.adversary is not None:
        looker: Any = _Looker(copy)
        list(AdversarialTraining(looker, config.adversary, config.seed, total).learn(x, labels))
        x = looker.seen
    rule: Any = build_rule(config, copy, optimizer)
    before = {name: array.copy() for name, array in model_arrays(copy).items()}
    (learned,) = rule.learn(x, labels)
    after = model_arrays(copy)
    return Taken(x, before, after, _gradients(rule, after), learned, copy, rate_at(1, config.learning_rate, falling))


def _to_learn_with(model: Any) -> Any:
    """A copy of what learns; a cerebellum's wiring, which may be large and does not, is the same."""
    if isinstance(model, Cerebellum):
        return dataclasses.replace(model, ltd_mean=model.ltd_mean.copy(), readout=model.readout.copy())
    return in_float64(model)


class _Looker:
    """In place of a learner: keeps what it is to learn from."""

    batch_size, batches_ahead, steps = 1, 1, 0

    def __init__(self, model: Any):
        self.model, self.seen = model, np.empty((0, 0), dtype=np.float64)

    def arrays(self) -> dict[str, Array]:
        return {}

    def learn(self, x: Array, labels: Array) -> Iterator[Learned]:
        self.seen = x.copy()
        return iter(())


def _gradients(rule: Any, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The gradients that :class:`Noting` kept, by the names of the arrays they belong to."""
    if hasattr(rule, "states"):  # of backpropagation: one for each array
        return {
            f"{name}_{number}": state["gradient"]
            for number, layer in enumerate(rule.states)
            for name, state in layer.items()
        }  # fmt: skip
    gradient = rule.state["gradient"]
    if "readout" in arrays:  # of the delta rule
        return {"readout": gradient}
    found, start = {}, 0
    for number, layer in enumerate(rule.model.layers):  # of GLR: one vector, layer by layer
        names = ["weight", "bias", *(["scale"] if rule.learn_scale and layer.law is not None else [])]
        for name in names:
            array = arrays[f"{name}_{number}"]
            found[f"{name}_{number}"] = gradient[start : start + array.size].reshape(array.shape)
            start += array.size
    return found
