"""Statistics of input gradients: how many vanish, how large they are, and how accurate they are in float32."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from minicereb.attacks.classifier import Guarded
from minicereb.attacks.gradients import Landscape, source_named
from minicereb.attacks.objectives import objective_named
from minicereb.backend import Array, execution, to_device, to_numpy
from minicereb.datasets.transforms import to_unit
from minicereb.errors import ModelError, one_line
from minicereb.parallel import one_blas_thread
from minicereb.robustness.evaluate import EvaluationTarget

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


class GradientStatistics(NamedTuple):
    """L2 norms of some images' input gradients (NaN if an entry is not finite), and shares of special cases.

    `zero` and `not_finite` are shares of images: the gradient is 0, or has a non-finite entry. `zero_entries` is a share of
    entries.
    """

    norms: np.ndarray
    zero: float
    zero_entries: float
    not_finite: float


def input_gradients(
    target: EvaluationTarget, objective: str, ids: np.ndarray, seed: int, double: bool = False
) -> np.ndarray | None:
    """Return the input gradients of an objective at clean images: array of float64, shape (images, inputs).

    `seed` is the seed of the noise, if the gradient is an estimate. If `double` is true, the gradients are computed in float64
    on a copy of the model; the result is None if the model does not allow this.
    """
    model: Any = double_precision(target.classifier) if double else target.classifier
    if model is None:
        return None
    source = source_named(target.gradient, model, target.draws, seed)
    gradients = []
    for part in target.blocks(ids):
        x, labels = to_unit(to_device(target.rows[part])), to_device(target.labels[part])
        if double:
            x = x.astype(np.float64)
        with one_blas_thread(), np.errstate(all="ignore"):
            point, gradient = Landscape(model, objective_named(objective), labels, source).value_and_gradient(x)
        if double and point.outputs.dtype != np.float64:
            return None
        gradients.append(to_numpy(gradient).astype(np.float64))
    return np.concatenate(gradients)


def gradient_statistics(gradients: np.ndarray) -> GradientStatistics:
    """Return the statistics of gradients, shape (images, inputs); there must be at least one gradient."""
    finite = np.isfinite(gradients).all(axis=1)
    with np.errstate(invalid="ignore", over="ignore"):
        norms = np.where(finite, np.sqrt((gradients * gradients).sum(axis=1)), np.nan)
    zero = (gradients == 0).all(axis=1)
    return GradientStatistics(norms, float(zero.mean()), float((gradients == 0).mean()), float((~finite).mean()))


def norm_quantiles(norms: np.ndarray) -> list[float | None]:
    """Return the :data:`QUANTILES` of the finite norms, as JSON values; without finite norms, each of them is None."""
    norms = norms[np.isfinite(norms)]
    return [float(q) for q in np.quantile(norms, QUANTILES)] if len(norms) else [None] * len(QUANTILES)


def double_precision(model: Any) -> Any | None:
    """Return a float64 copy of a model that is a dataclass, or None if it would be too large; return other models as they are.

    A model that is not a dataclass is expected to compute in the precision of its input, or to raise an error. This
    function raises :class:`ModelError` if a user's dataclass cannot be copied with other arrays.
    """
    if not isinstance(model, Guarded):
        return _in_double(model)
    try:
        inner = _in_double(model.model)
    except Exception as error:  # a user's class may raise anything
        raise ModelError(f"model: it cannot be copied in float64: {one_line(error)}") from error
    return None if inner is None else Guarded(inner, "float64")


def _in_double(model: Any) -> Any | None:
    if not dataclasses.is_dataclass(model):
        return model
    return None if 2 * _float_bytes(model) > execution().memory else _doubled(model)


def _float_bytes(value: Any) -> int:
    if dataclasses.is_dataclass(value):
        return sum(_float_bytes(getattr(value, field.name)) for field in dataclasses.fields(value))
    if isinstance(value, tuple):
        return sum(map(_float_bytes, value))
    return value.nbytes if _is_float(value) else 0


def _doubled(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changed = {field.name: _doubled(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return dataclasses.replace(value, **changed)
    if isinstance(value, tuple):
        return tuple(map(_doubled, value))
    return value.astype(np.float64) if _is_float(value) else value


def _is_float(value: Array) -> bool:
    return getattr(getattr(value, "dtype", None), "kind", "") == "f"


def lost_in_float32(single: np.ndarray, double: np.ndarray) -> float:
    """Return the share of images whose `double` gradient is not zero and whose `single` gradient has another direction. The
    direction counts as the same if the cosine of the two gradients is at least 0.9.

    `single` and `double` are the results of float32 and float64 arithmetic: arrays of float64, shape (images, inputs).
    """
    with np.errstate(all="ignore"):
        lengths = np.sqrt((single * single).sum(axis=1)) * np.sqrt((double * double).sum(axis=1))
        cosine = (single * double).sum(axis=1) / lengths
    there = (double != 0).any(axis=1)
    return float((there & ~(cosine >= 0.9)).mean())
