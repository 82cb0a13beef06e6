"""From settings to models and learners, and from models to named arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicereb.attacks.adversarial_training import AdversarialTraining
from minicereb.backend import Array, to_device, to_numpy
from minicereb.calculus.activations import Activation
from minicereb.calculus.noise import law_named
from minicereb.calculus.replicated import loss_named
from minicereb.datasets.dataset import Dataset
from minicereb.datasets.transforms import to_unit
from minicereb.experiments.architectures import CerebellumModel, ConvolutionalModel, NoisyModel, PerceptronModel
from minicereb.experiments.configs import Train
from minicereb.learning.backprop import Backpropagation, statistics_of
from minicereb.learning.glr import GLR, estimator_named
from minicereb.learning.least_squares import least_squares_readout
from minicereb.learning.optimizers import Optimizer, make_optimizer
from minicereb.learning.plasticity import DeltaRule
from minicereb.learning.rules import LEAST_SQUARES, rule_named
from minicereb.learning.training import Learner, Split
from minicereb.models.cerebellum import Cerebellum, initial_cerebellum
from minicereb.models.convolutional import initial_convolutional
from minicereb.models.mlp import initial_mlp
from minicereb.models.noisy import NoisyNetwork, initial_noisy
from minicereb.models.visual import VisualCerebellum, encoder_of, with_encoder
from minicereb.models.wiring import draw_wiring
from minicereb.parallel import blocks


def build_model(config: Train, dataset: Dataset) -> Any:
    """Return the untrained model of a config: equal configs give equal bits."""
    model = config.model
    if isinstance(model, NoisyModel):
        return initial_noisy(
            dataset.inputs,
            model.hidden,
            dataset.classes,
            config.seed,
            activation=Activation(model.activation, model.slope),
            law=None if model.noise == "none" else law_named(model.noise, model.noise_degrees),
            scales=model.noise_scale,
            output_noise=model.output_noise,
            output_activation=model.output_activation,
        )
    if isinstance(model, PerceptronModel):
        return initial_mlp(dataset.inputs, model.hidden, dataset.classes, config.seed)
    if isinstance(model, ConvolutionalModel):
        return initial_convolutional(
            dataset.image_shape,
            dataset.classes,
            config.seed,
            stages=model.stages,
            hidden=model.hidden,
            batch_norm=model.batch_norm,
            dropout=model.dropout,
            normalisation=dataset.channel_statistics,
        )
    encoder, shape = None, dataset.image_shape
    if config.encoder is not None:
        encoder, features = encoder_of(build_model(config.encoder, dataset))
        shape = (features,)
    wiring = draw_wiring(
        model.wiring,
        model.cells,
        shape,
        model.inputs_per_cell,
        config.seed,
        replacement=model.replacement,
        patch=model.patch,
    )
    cerebellum = initial_cerebellum(wiring, dataset.classes, config.seed)
    return cerebellum if encoder is None else with_encoder(encoder, cerebellum)


def build_learner(config: Train, dataset: Dataset) -> Learner:
    """Return the learning rule of a config at work on its untrained model; behind an encoder it learns from features."""
    total = total_steps(config, dataset)
    optimizer = make_optimizer(config.optimizer, config.learning_rate, None if config.schedule == "constant" else total)
    rule = build_rule(config, build_model(config, dataset), optimizer)
    return rule if config.adversary is None else AdversarialTraining(rule, config.adversary, config.seed, total)


def build_rule(config: Train, model: Any, optimizer: Optimizer) -> Learner:
    """Return the learning rule of a config, without an adversary, at work on `model`."""
    settings = config.model
    if isinstance(settings, CerebellumModel):
        model = model.cerebellum if isinstance(model, VisualCerebellum) else model
        moves = settings.ltd and settings.rule != LEAST_SQUARES  # in closed form the mean is found with the readout
        decay = settings.ltd_decay if moves else None
        return DeltaRule(model, optimizer, config.batch_size, decay, rule=rule_named(settings.rule))
    if isinstance(settings, PerceptronModel):
        return Backpropagation(model, optimizer, config.batch_size, l2=settings.l2, l1=settings.l1, loss=settings.loss)
    if isinstance(settings, ConvolutionalModel):
        return Backpropagation(model, optimizer, config.batch_size, l2=settings.l2, seed=config.seed)
    return GLR(
        model,
        loss_named(settings.loss),
        estimator_named(settings.estimator, settings.last_layer),
        optimizer,
        config.batch_size,
        settings.replications,
        config.seed,
        l2=settings.l2,
        l1=settings.l1,
        learn_scale=settings.learn_scale,
    )


def total_steps(config: Train, dataset: Dataset) -> int:
    """Return how many updates a training has in all."""
    images = len(Split(dataset, config.validation, config.seed).training)
    return config.epochs * -(-images // config.batch_size)


def solve(model: Cerebellum, split: Split, ltd: bool) -> Cerebellum:
    """Return `model` with the least-squares readout of the training images."""
    data = split.dataset
    groups = [split.training[group] for group in blocks(len(split.training), 1024)]
    batches = ((to_unit(to_device(data.x_train[ids])), to_device(data.y_train[ids])) for ids in groups)
    return least_squares_readout(model, batches, centre=ltd)


def model_arrays(model: Any) -> dict[str, Array]:
    """Return the arrays of a model that learning changes, by the names they are stored under."""
    if isinstance(model, Cerebellum):
        return {"ltd_mean": model.ltd_mean, "readout": model.readout}
    if isinstance(model, NoisyNetwork):
        return model.parameters
    dense = [layer.parameters for layer in model.layers if hasattr(layer, "parameters")]
    learned = {f"{name}_{number}": array for number, layer in enumerate(dense) for name, array in layer.items()}
    learned |= statistics_of(model)
    return learned | model_arrays(model.cerebellum) if isinstance(model, VisualCerebellum) else learned


def exported_arrays(model: Any) -> dict[str, np.ndarray]:
    """Return everything that a model computes with, by documented names: what other programs read.

    A cerebellum's projection is a CSR matrix, cells × inputs, also when its wiring is full.
    """
    arrays = {name: to_numpy(array) for name, array in model_arrays(model).items()}
    if isinstance(model, (Cerebellum, VisualCerebellum)):
        data, indices, indptr = model.wiring.csr()
        arrays |= {"projection_data": data, "projection_indices": indices, "projection_indptr": indptr}
        arrays["projection_shape"] = np.array([model.wiring.cells, model.wiring.width], dtype=np.int64)
    return arrays
