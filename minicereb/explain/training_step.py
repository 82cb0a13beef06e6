"""The step that training would take from a trained model, on a float64 copy."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from minicereb.attacks.adversarial_training import AdversarialTraining
from minicereb.backend import Array, in_float64, to_numpy
from minicereb.datasets.dataset import Dataset
from minicereb.datasets.transforms import crop_and_flip, to_unit
from minicereb.experiments.architectures import model_arrays, total_steps
from minicereb.experiments.configs import Train
from minicereb.learning.optimizers import Optimizer, State, make_optimizer, rate_at
from minicereb.learning.plasticity import Learned
from minicereb.learning.training import Split
from minicereb.models.cerebellum import CerebellarNetwork
from minicereb.parallel import blocks
from minicereb.randomness import generator

# Number of batches that fill an optimiser's memory: with ρ = 0.99 or 0.9, to two thirds; Adam's bias correction does the rest.
WARM = {"sgd": 0, "momentum": 10, "rmsprop": 100, "adam": 20}
BASELINE_WARM = 20  # number of batches after which a running mean of the loss has forgotten that it began at 0


@dataclass(frozen=True)
class RecordingOptimizer:
    """An optimiser that wraps another and records its last gradient."""

    optimizer: Optimizer

    def state(self, weights: Array) -> State:
        """Return the state of the wrapped optimiser and an array for the gradient."""
        return {**self.optimizer.state(weights), "gradient": np.zeros_like(weights)}

    def update(self, weights: Array, gradient: Array, state: State, step: int, scratch: Array) -> None:
        """Record the gradient, then let the wrapped optimiser change `weights` and `state` in place."""
        state["gradient"][...] = gradient
        self.optimizer.update(weights, gradient, state, step, scratch)


class TrainingStep(NamedTuple):
    """A step of training and its effect.

    `x` is the image of the step; if training attacks its images, it is the attacked image. `before` and `after` map the stored
    names of the model's arrays to the arrays, and `gradients` are the gradients given to the optimiser. `model` is the model
    after the step, `rate` the learning rate, and `warmed` the number of batches that filled the optimiser's memory before the
    step. `baseline` is the learned baseline for the image, if the rule has one.
    """

    x: np.ndarray
    before: dict[str, np.ndarray]
    after: dict[str, np.ndarray]
    gradients: dict[str, np.ndarray]
    learned: Learned
    model: Any
    rate: float
    warmed: int
    baseline: float | None = None


def take_step(
    config: Train, dataset: Dataset, model: Any, x: np.ndarray, labels: np.ndarray, encoder: Any = None
) -> TrainingStep:
    """Take a step of the learning rule of `config` from `model`, a float64 copy that is not changed.

    `dataset` is the data that the model was trained on, `x` a batch of one image, and `encoder`, in float64, maps the images of
    `dataset` to the inputs of `model`.

    A complete run no longer has its optimiser's state. From an empty memory the first step would be far too large: RMSprop
    divides each gradient by ``√(1 - ρ)`` times its own size, so with ρ = 0.99 every weight moves by ten learning rates. Therefore
    the memory is filled first (:func:`warm_up`).
    """
    copy, total = _to_learn_with(model), total_steps(config, dataset)
    falling = None if config.schedule == "constant" else total
    optimizer: Any = RecordingOptimizer(make_optimizer(config.optimizer, config.learning_rate, falling))
    rule: Any = config.model.learner(copy, optimizer, config.batch_size, config.seed, total, len(dataset.x_train))
    warmed = warm_up(rule, config, dataset, encoder)
    if config.adversary is not None:
        x = AdversarialTraining(rule, config.adversary, config.seed, total).attacked(x, labels)
    before = {name: array.copy() for name, array in model_arrays(copy).items()}
    running = getattr(rule, "mean_loss", None)
    baseline = None if running is None else float(running.of(labels, None)[0])
    (learned,) = rule.learn(x, labels)
    after, rate = model_arrays(copy), rate_at(warmed + 1, config.learning_rate, falling)
    return TrainingStep(x, before, after, _gradients(rule, after), learned, copy, rate, warmed, baseline)


def warm_up(rule: Any, config: Train, dataset: Dataset, encoder: Any = None) -> int:
    """Fill a rule's memory of earlier steps while the weights stay constant; return the number of batches used.

    A rule's memory is the state of its optimiser and, if the rule has one, its learned baseline.

    The rule learns from the first batches of the run's first epoch, augmented and attacked as in training. After each batch,
    everything except this memory and the number of steps is reset. :data:`WARM` gives the number of batches, which is 0
    for an optimiser without memory. A learned baseline requires at least :data:`BASELINE_WARM` batches. There are never
    more batches than in one epoch.
    """
    closed = getattr(config.model, "rule", "") == "least-squares"
    split, size = Split(dataset, config.validation, config.seed), config.batch_size
    order = split.training[generator(config.seed, "order", 0).permutation(len(split.training))]
    most = max(WARM[config.optimizer], 0 if getattr(rule, "mean_loss", None) is None else BASELINE_WARM)
    batches = list(blocks(len(order), size))[: 0 if closed else most]
    learner: Any = rule
    if config.adversary is not None:
        learner = AdversarialTraining(rule, config.adversary, config.seed, total_steps(config, dataset))
    weights = {*model_arrays(rule.model), "learned"}  # "learned" is the vector of everything that a noisy network learns
    still = {name: array.copy() for name, array in rule.arrays().items() if name in weights}
    for batch in batches:
        ids = order[batch]
        rows = dataset.x_train[ids]
        if config.augment:
            rows = crop_and_flip(rows, dataset.image_shape, config.seed, 0, ids)
        x = to_numpy(to_unit(rows)).astype(np.float64)
        for _ in learner.learn(x if encoder is None else encoder.forward(x)[0], dataset.y_train[ids]):
            for name, array in rule.arrays().items():
                if name in still:
                    array[...] = still[name]
    return len(batches)


def _to_learn_with(model: Any) -> Any:
    """Return a copy of the model for learning. A cerebellum's wiring, which may be large and does not learn, is not copied."""
    if isinstance(model, CerebellarNetwork):
        return dataclasses.replace(model, ltd_mean=model.ltd_mean.copy(), readout=model.readout.copy())
    return in_float64(model)


def _gradients(rule: Any, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the recorded gradients, keyed by the names of their arrays."""
    if hasattr(rule, "states"):  # backpropagation: one gradient per array
        layers = enumerate(rule.states)
        return {f"{name}_{number}": state["gradient"] for number, layer in layers for name, state in layer.items()}
    gradient = rule.state["gradient"]
    if "readout" in arrays:  # of the delta rule
        return {"readout": gradient}
    found, start = {}, 0
    for number, layer in enumerate(rule.model.layers):  # GLR: one vector, layer by layer
        names = ["weight", "bias", *(["scale"] if rule.learn_scale and layer.law is not None else [])]
        names += ["recurrent"] if f"recurrent_{number}" in arrays else []
        for name in names:
            array = arrays[f"{name}_{number}"]
            found[f"{name}_{number}"] = gradient[start : start + array.size].reshape(array.shape)
            start += array.size
    return found
