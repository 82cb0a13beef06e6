"""An experiment is a value: frozen settings that nest, and a hash that identifies what they will compute.

Device, threads, memory and paths are execution and not part of it. Data count by content, not by name.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass, field
from typing import Any

from minicereb.attacks.run import Attack
from minicereb.errors import DataError, InputError, require
from minicereb.files import canonical_json
from minicereb.learning.optimizers import OPTIMIZERS
from minicereb.models.wiring import KINDS

# Raised when equal settings come to give other numbers, so that old results are not taken for new ones.
REVISION = 1


@dataclass(frozen=True)
class Data:
    """Which data: the hash is what counts, the name says where to find them again."""

    name: str = field(metadata={"identity": False})
    sha256: str


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
    rule : {"delta", "least-squares"}
        How the readout is learned: step by step, or in closed form (batches, epochs, rate and optimiser play no part then).
    """

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
            require(
                self.inputs_per_cell is None,
                "inputs-per-cell",
                self.inputs_per_cell,
                "nothing: in full wiring every cell has all",
            )
        elif self.inputs_per_cell is None or self.inputs_per_cell < 1:
            raise InputError("inputs-per-cell", self.inputs_per_cell, f"a whole number of at least 1 for {self.wiring} wiring")
        require(not self.replacement or self.wiring == "random", "replacement", self.replacement, "only with --wiring random")
        require(not self.patch or self.wiring == "local", "patch", self.patch, "only with --wiring local")
        require(0 <= self.ltd_decay < 1, "ltd-decay", self.ltd_decay, "a number from 0 to less than 1")
        require(self.rule in ("delta", "least-squares"), "rule", self.rule, "delta or least-squares")


@dataclass(frozen=True)
class PerceptronModel:
    """Settings of a multilayer perceptron, trained by backpropagation: the units of each hidden layer."""

    hidden: tuple[int, ...]

    def __post_init__(self) -> None:
        require(all(units >= 1 for units in self.hidden), "hidden", list(self.hidden), "whole numbers of at least 1")


@dataclass(frozen=True)
class Train:
    """A model, trained.

    Parameters
    ----------
    model : CerebellumModel or PerceptronModel
    data : Data
    batch_size, epochs : int
    learning_rate : float
    optimizer : {"rmsprop", "adam", "sgd"}
    seed : int
        Of wiring, initial weights, validation split and orders.
    validation : float
        Share of the training images held out for choosing.
    keep : {"best", "last"}
        The epoch kept: the best by validation accuracy, or the last.
    """

    model: CerebellumModel | PerceptronModel
    data: Data
    batch_size: int
    epochs: int
    learning_rate: float
    optimizer: str = "rmsprop"
    seed: int = 0
    validation: float = 1 / 12
    keep: str = "best"

    def __post_init__(self) -> None:
        require(self.batch_size >= 1, "batch-size", self.batch_size, "a whole number of at least 1")
        require(self.epochs >= 1, "epochs", self.epochs, "a whole number of at least 1")
        require(0 < self.learning_rate < float("inf"), "learning-rate", self.learning_rate, "a number above 0")
        require(self.optimizer in OPTIMIZERS, "optimizer", self.optimizer, ", ".join(OPTIMIZERS))
        require(self.seed >= 0, "seed", self.seed, "a whole number of at least 0")
        require(0 <= self.validation < 1, "validation", self.validation, "a share from 0 to less than 1")
        require(self.keep in ("best", "last"), "keep", self.keep, "best or last")


@dataclass(frozen=True)
class AttackedModel:
    """A trained model under an attack: the first `images` of the test images."""

    train: Train
    attack: Attack
    images: int

    def __post_init__(self) -> None:
        require(self.images >= 1, "images", self.images, "a whole number of at least 1")


KINDS_OF_CONFIG = {cls.__name__: cls for cls in (Data, CerebellumModel, PerceptronModel, Train, Attack, AttackedModel)}


def to_json(config: Any) -> Any:
    """Return a config as JSON values; each carries its kind."""
    if dataclasses.is_dataclass(config):
        fields = {f.name: to_json(getattr(config, f.name)) for f in dataclasses.fields(config)}
        return {"kind": type(config).__name__, **fields}
    return list(config) if isinstance(config, tuple) else config


def from_json(value: Any) -> Any:
    """Return the config that :func:`to_json` wrote; :class:`DataError` if it is not one."""
    if isinstance(value, list):
        return tuple(value)
    if not isinstance(value, dict):
        return value
    try:
        fields = {name: from_json(item) for name, item in value.items() if name != "kind"}
        return KINDS_OF_CONFIG[value["kind"]](**fields)
    except (KeyError, TypeError) as error:
        raise DataError(f"not the settings of an experiment of this version ({error})") from error


def _identity(config: Any) -> Any:
    if dataclasses.is_dataclass(config):
        fields = {
            f.name: _identity(getattr(config, f.name)) for f in dataclasses.fields(config) if f.metadata.get("identity", True)
        }
        return {"kind": type(config).__name__, **fields}
    return list(config) if isinstance(config, tuple) else config


def config_hash(config: Any) -> str:
    """Return the SHA-256 that identifies an experiment."""
    return hashlib.sha256(canonical_json({"revision": REVISION, "config": _identity(config)}).encode()).hexdigest()


def differences(one: Any, other: Any, prefix: str = "") -> list[str]:
    """List the settings in which two configs differ, as ``name: this, there that``."""
    if type(one) is type(other) and dataclasses.is_dataclass(one):
        found = []
        for f in dataclasses.fields(one):
            if f.metadata.get("identity", True):
                found += differences(getattr(one, f.name), getattr(other, f.name), f.name)
        return found
    return [] if one == other else [f"{prefix}: {_short(one)} here, {_short(other)} there"]


def _short(value: Any) -> str:
    return type(value).__name__ if dataclasses.is_dataclass(value) else str(value)[:16]
