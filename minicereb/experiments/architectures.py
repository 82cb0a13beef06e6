"""The kinds of models, as settings: each has a `family`, which begins the names of its run folders, and a `description`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from minicereb.calculus.activations import Activation
from minicereb.calculus.noise import law_named
from minicereb.calculus.replicated import loss_named
from minicereb.errors import InputError, require
from minicereb.experiments.identity import config_kind
from minicereb.learning.backprop import DESCENDED
from minicereb.learning.glr import estimator_named
from minicereb.learning.rules import rule_names
from minicereb.models.noisy import check_scales
from minicereb.models.wiring import KINDS


@config_kind
@dataclass(frozen=True)
class CerebellumModel:
    """Settings of a cerebellum; see :func:`minicereb.models.wiring.draw_wiring`.

    Parameters
    ----------
    wiring : {"full", "random", "local"}
    cells : int
        Granule cells, m.
    inputs_per_cell : int or None
        k; None for full wiring.
    replacement, patch : bool
        Variants of random and local wiring.
    ltd : bool
        Whether long-term depression centres the granule cells' activity.
    ltd_decay : float
        β of its moving average.
    rule : str
        How the readout is learned: a local rule (:data:`minicereb.learning.rules.RULES` and those of other packages), or
        ``"least-squares"``, the closed form, in which batches, epochs, rate and optimiser play no part.
    """

    family: ClassVar[str] = "cerebellum"
    wiring: str
    cells: int
    inputs_per_cell: int | None = None
    replacement: bool = False
    patch: bool = False
    ltd: bool = True
    ltd_decay: float = 0.99
    rule: str = "delta"

    def __post_init__(self) -> None:
        require(self.wiring in KINDS, "wiring", self.wiring, ", ".join(KINDS))
        require(self.cells >= 1, "cells", self.cells, "a whole number of at least 1")
        if self.wiring == "full":
            none = self.inputs_per_cell is None
            require(none, "inputs-per-cell", self.inputs_per_cell, "nothing: in full wiring every cell has all")
        elif self.inputs_per_cell is None or self.inputs_per_cell < 1:
            raise InputError("inputs-per-cell", self.inputs_per_cell, f"a whole number of at least 1 for {self.wiring} wiring")
        require(not self.replacement or self.wiring == "random", "replacement", self.replacement, "only with --wiring random")
        require(not self.patch or self.wiring == "local", "patch", self.patch, "only with --wiring local")
        require(0 <= self.ltd_decay < 1, "ltd-decay", self.ltd_decay, "a number from 0 to less than 1")
        require(self.rule in rule_names(), "rule", self.rule, ", ".join(rule_names()))

    @property
    def description(self) -> str:
        """A few words."""
        wiring = self.wiring if self.inputs_per_cell is None else f"{self.wiring} k={self.inputs_per_cell}"
        return f"{wiring}, {self.cells:,} cells, {'LTD' if self.ltd else 'no LTD'}"


@config_kind
@dataclass(frozen=True)
class PerceptronModel:
    """Settings of a multilayer perceptron, trained by backpropagation.

    Parameters
    ----------
    hidden : tuple of int
        Units in each hidden layer.
    l2, l1 : float
        Weight penalties ``½ l2 Σθ² + l1 Σ|θ|``, biases apart.
    loss : {"cross-entropy", "mse"}
        What is descended; ``"mse"`` is the cerebellum's squared error.
    """

    family: ClassVar[str] = "mlp"
    hidden: tuple[int, ...]
    l2: float = field(default=0.0, metadata={"added": True})
    l1: float = field(default=0.0, metadata={"added": True})
    loss: str = field(default="cross-entropy", metadata={"added": True})

    def __post_init__(self) -> None:
        require(all(units >= 1 for units in self.hidden), "hidden", list(self.hidden), "whole numbers of at least 1")
        require(0 <= self.l2 < float("inf"), "l2", self.l2, "a number of at least 0")
        require(0 <= self.l1 < float("inf"), "l1", self.l1, "a number of at least 0")
        require(self.loss in DESCENDED, "loss", self.loss, " or ".join(DESCENDED))

    @property
    def description(self) -> str:
        """A few words."""
        penalties = "".join(f", {name} {value:g}" for name, value in (("l2", self.l2), ("l1", self.l1)) if value)
        loss = "" if self.loss == "cross-entropy" else f", {self.loss}"
        return f"perceptron {'-'.join(map(str, self.hidden))}{loss}{penalties}"


@config_kind
@dataclass(frozen=True)
class NoisyModel:
    """Settings of a network with neuronal noise and of how it learns; see :mod:`minicereb.learning.glr`.

    Parameters
    ----------
    hidden : tuple of int
        Neurons in each hidden layer.
    activation : str
        One of :data:`minicereb.calculus.activations.ACTIVATIONS`.
    slope : float
        Of the sigmoid.
    noise : str
        One of :data:`minicereb.calculus.noise.LAWS`, or ``"none"`` (backpropagation only).
    noise_scale : tuple of float
        σ, for all layers or for each; empty without noise.
    noise_degrees : float or None
        Of Student's t.
    output_noise, output_activation : bool
        Whether the outputs have noise, and an activation.
    loss : {"cross-entropy", "zero-one"}
    estimator : str
        One of :data:`minicereb.learning.estimators.ESTIMATORS`.
    replications : int
        K.
    last_layer : {"score", "derivative"}
        How the last layer's weights learn: from loss values too, or by the derivative of the loss.
    l2, l1 : float
        Weight penalties.
    learn_scale : bool
        Whether the noise scales learn.
    """

    family: ClassVar[str] = "glr"
    hidden: tuple[int, ...]
    activation: str = "threshold"
    slope: float = 1.0
    noise: str = "gaussian"
    noise_scale: tuple[float, ...] = (2.0,)
    noise_degrees: float | None = None
    output_noise: bool = True
    output_activation: bool = False
    loss: str = "cross-entropy"
    estimator: str = "flip"
    replications: int = 1
    last_layer: str = "derivative"
    l2: float = 0.0
    l1: float = 0.0
    learn_scale: bool = False

    def __post_init__(self) -> None:
        able = len(self.hidden) >= 1 and all(units >= 1 for units in self.hidden)
        require(able, "hidden", list(self.hidden), "at least one layer of at least 1")
        Activation(self.activation, self.slope)
        loss_named(self.loss)
        estimator_named(self.estimator, self.last_layer)
        if self.noise == "none":
            require(not self.noise_scale, "noise-scale", self.noise_scale, "nothing without noise")
            able = self.estimator == "backprop"
            require(able, "noise", self.noise, f"a law of noise, or --estimator backprop; not {self.estimator}")
            require(self.replications == 1, "replications", self.replications, "1 without noise: all are alike")
            require(not self.learn_scale, "learn-scale", self.learn_scale, "used with noise")
        else:
            law_named(self.noise, self.noise_degrees)
            check_scales(self.noise_scale, len(self.hidden) + 1)

    @property
    def description(self) -> str:
        """A few words."""
        noise = "no noise" if self.noise == "none" else f"{self.noise} {','.join(f'{scale:g}' for scale in self.noise_scale)}"
        return (
            f"{self.activation} {'-'.join(map(str, self.hidden))}, {noise}, {self.loss}, {self.estimator} K={self.replications}"
        )


@config_kind
@dataclass(frozen=True)
class ConvolutionalModel:
    """Settings of a convolutional network; see :func:`minicereb.models.convolutional.initial_convolutional`.

    Parameters
    ----------
    stages : tuple of tuple of int
        For each stage the outputs of its convolutions; a stage ends with pooling.
    hidden : tuple of int
        Units of each dense hidden layer.
    batch_norm : bool
    dropout : tuple of float
        Shares silenced while learning, after each pooling and after each dense hidden layer.
    l2 : float
        Weight penalty ``½ l2 Σθ²``, biases apart.
    """

    family: ClassVar[str] = "cnn"
    stages: tuple[tuple[int, ...], ...]
    hidden: tuple[int, ...]
    batch_norm: bool = False
    dropout: tuple[float, float] = (0.25, 0.5)
    l2: float = 0.0

    def __post_init__(self) -> None:
        sizes = [outputs for stage in self.stages for outputs in stage]
        able = all(self.stages) and all(size >= 1 for size in sizes)
        require(able, "stages", [list(stage) for stage in self.stages], "stages of whole numbers of at least 1")
        require(all(units >= 1 for units in self.hidden), "hidden", list(self.hidden), "whole numbers of at least 1")
        require(all(0 <= rate < 1 for rate in self.dropout), "dropout", list(self.dropout), "shares from 0 to less than 1")
        require(0 <= self.l2 < float("inf"), "l2", self.l2, "a number of at least 0")

    @property
    def description(self) -> str:
        """A few words."""
        stages = ", ".join("-".join(map(str, stage)) for stage in self.stages)
        return f"convolutional {stages}; {'-'.join(map(str, self.hidden))}{', batch norm' if self.batch_norm else ''}"


Model = CerebellumModel | PerceptronModel | ConvolutionalModel | NoisyModel
