"""From the settings of a training to its model and learner, and from models to named arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicereb.attacks.adversarial_training import AdversarialTraining
from minicereb.backend import Array, to_device, to_numpy
from minicereb.datasets.dataset import Dataset
from minicereb.datasets.transforms import to_unit
from minicereb.experiments.configs import Train
from minicereb.learning.backprop import statistics_of
from minicereb.learning.least_squares import least_squares_readout
from minicereb.learning.optimizers import make_optimizer
from minicereb.learning.training import Learner, Split
from minicereb.models.cerebellum import Cerebellum
from minicereb.models.noisy import NoisyNetwork
from minicereb.models.visual import VisualCerebellum
from minicereb.parallel import blocks


def build_model(config: Train, dataset: Dataset) -> Any:
    """Return the untrained model of a training: equal settings give equal bits."""
    encoder = None if config.encoder is None else build_model(config.encoder, dataset)
    return config.model.build(dataset, config.seed, encoder)


def build_learner(config: Train, dataset: Dataset) -> Learner:
    """Return the learning rule of a training with its untrained model; behind an encoder it learns from features."""
    total = total_steps(config, dataset)
    optimizer = make_optimizer(config.optimizer, config.learning_rate, None if config.schedule == "constant" else total)
    rule = config.model.learner(build_model(config, dataset), optimizer, config.batch_size, config.seed)
    return rule if config.adversary is None else AdversarialTraining(rule, config.adversary, config.seed, total)


def total_steps(config: Train, dataset: Dataset) -> int:
    """Return the number of updates in a training."""
    images = len(Split(dataset, config.validation, config.seed).training)
    return config.epochs * -(-images // config.batch_size)


def solve(model: Cerebellum, split: Split, ltd: bool) -> Cerebellum:
    """Return `model` with the least-squares readout of the training images."""
    data = split.dataset
    groups = [split.training[group] for group in blocks(len(split.training), 1024)]
    batches = ((to_unit(to_device(data.x_train[ids])), to_device(data.y_train[ids])) for ids in groups)
    return least_squares_readout(model, batches, centre=ltd)


def model_arrays(model: Any) -> dict[str, Array]:
    """Return the arrays of a model that learning changes, by the names in files."""
    if isinstance(model, Cerebellum):
        return {"ltd_mean": model.ltd_mean, "readout": model.readout}
    if isinstance(model, NoisyNetwork):
        return model.parameters
    dense = [layer.parameters for layer in model.layers if hasattr(layer, "parameters")]
    learned = {f"{name}_{number}": array for number, layer in enumerate(dense) for name, array in layer.items()}
    learned |= statistics_of(model)
    return learned | model_arrays(model.cerebellum) if isinstance(model, VisualCerebellum) else learned


def exported_arrays(model: Any) -> dict[str, np.ndarray]:
    """Return all arrays of a model, by the names in docs/formats.md, for other programs to read.

    A cerebellum's projection is a CSR matrix, cells × inputs, even if its wiring is full.
    """
    arrays = {name: to_numpy(array) for name, array in model_arrays(model).items()}
    if isinstance(model, (Cerebellum, VisualCerebellum)):
        data, indices, indptr = model.wiring.csr()
        arrays |= {"projection_data": data, "projection_indices": indices, "projection_indptr": indptr}
        arrays["projection_shape"] = np.array([model.wiring.cells, model.wiring.width], dtype=np.int64)
    return arrays
