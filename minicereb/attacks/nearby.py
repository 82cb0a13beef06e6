"""The objective at images that differ from a current image in a few pixels, without a full pass through the model.

If the first layer is linear, a change of a few pixels changes its pre-activation v only through the weights of these pixels. So
v is stored for each image. With dense wiring a thin matrix product updates v, and the outputs are computed from v. With sparse
wiring, only the cells that receive a changed pixel are computed, and their changes are added to the outputs. For sparse wiring
this method is slower in NumPy than full passes, so :func:`nearby` does not choose it. The compiled
:func:`minicereb.attacks.square_loop.square_loop` gives the same results as this module; tests compare the two.

Rounding errors of many changes would add up. So v is recomputed after every :data:`REFRESHED` points, and an image counts as
misclassified only after a full pass.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minicereb.attacks.classifier import unguarded
from minicereb.attacks.gradients import Landscape, Point, exact
from minicereb.attacks.search import put_rows
from minicereb.backend import Array, execution, xp_of
from minicereb.calculus.changes import add_changes, add_sparse_changes, changed_outputs
from minicereb.models.first_layer import FirstLayer
from minicereb.parallel import row_blocks, run_lanes

LEAST = 1 << 19  # synapses of a dense layer: with fewer, a full pass is as fast
REFRESHED = 200  # points after which the pre-activation is recomputed


class Nearby:
    """The objective around the current images of a search.

    Parameters
    ----------
    landscape : Landscape
    x : array, shape (images, inputs)
        The images where the search begins.

    Attributes
    ----------
    point : Point
        The objective and the outputs at the images where the search began.
    x : array, shape (images, inputs)
        Current images.
    value : array, shape (images,)
        The objective at the current images.
    """

    def __init__(self, landscape: Landscape, x: Array):
        self.landscape, self.point = landscape, landscape.evaluate(x)
        self.x, self.value = self.point.x.copy(), self.point.value.copy()
        self._tried = self.point

    def of(self, images: Array) -> None:
        """Continue with some of the images."""
        self.landscape, self.x, self.value = self.landscape.of(images), self.x[images], self.value[images]

    def evaluate(self, x: Array) -> Point:
        """Return outputs and objective at `x`, which has the same shape as the current images."""
        self._tried = self.landscape.evaluate(x)
        return self._tried

    def move(self, where: Array) -> None:
        """Replace the current images selected by `where` (array of bool) by the images evaluated last."""
        put_rows(self.x, self._tried.x, where)
        self.value = xp_of(where).where(where, self._tried.value, self.value)


class NearbyOfFew(Nearby):
    """The objective for a model with a linear first layer: only what a changed pixel affects is computed.

    Outputs and objective agree with the results of a full pass to within 1e-5 of the largest output.
    """

    def __init__(self, landscape: Landscape, x: Array, state: _State):
        super().__init__(landscape, x)
        self._confirmed = landscape.wrong(self.point)
        self._evaluated, self._state = 0, state

    def of(self, images: Array) -> None:
        """Continue with some of the images."""
        super().of(images)
        self._confirmed = self._confirmed[images]
        self._state.of(images)

    def evaluate(self, x: Array) -> Point:
        """Return outputs and objective at `x`; an image's first misclassification is confirmed by a full pass."""
        self._evaluated += 1
        if self._evaluated % REFRESHED == 0:
            self._state.refresh()
            self.value = self.landscape.value_of(self._state.outputs)
        outputs = self._state.outputs_of(x)
        point = Point(x, outputs, self.landscape.value_of(outputs))
        claimed = np.flatnonzero(self.landscape.wrong(point) & ~self._confirmed)
        if len(claimed):
            landscape = self.landscape.of(claimed)
            whole = landscape.evaluate(x[claimed])
            self._confirmed[claimed] = landscape.wrong(whole)
            outputs[claimed], point.value[claimed] = whole.outputs, whole.value
        self._tried = point
        return point

    def move(self, where: Array) -> None:
        """Replace the current images selected by `where` (array of bool) by the images evaluated last."""
        if where.any():
            self._state.move(where)
            super().move(where)


class _State:
    """The stored state of the current images: activity of the inputs, pre-activation of the linear first layer, and outputs."""

    v: Array
    outputs: Array

    def __init__(self, layer: FirstLayer, x: Array):
        self.layer, self.activity = layer, layer.activity(x).copy()
        self.refresh()

    def of(self, images: Array) -> None:
        """Continue with some of the images."""
        self.activity, self.v, self.outputs = self.activity[images], self.v[images], self.outputs[images]

    def refresh(self) -> None:
        """Recompute the pre-activation and outputs of the current images."""
        self.v = self.layer.drive(self.activity)
        self.outputs = self.layer.outputs(self.v)

    def outputs_of(self, x: Array) -> Array:
        """Return the outputs for images `x`."""
        raise NotImplementedError

    def move(self, where: Array) -> None:
        """Replace the current images selected by `where` (array of bool) by the images given last."""
        raise NotImplementedError


class _Dense(_State):
    """The state for dense wiring: a thin matrix product updates every cell, and all outputs are then computed from the cells."""

    def __init__(self, layer: FirstLayer, x: Array):
        self.projection = layer.wiring.transposed()
        super().__init__(layer, x)

    def outputs_of(self, x: Array) -> Array:
        activity, v = self.layer.activity(x), np.empty_like(self.v)

        def add(part: slice) -> Array:
            np.copyto(v[part], self.v[part])
            add_changes(self.projection, activity[part], self.activity[part], v[part])
            return self.layer.outputs(v[part])

        outputs = np.concatenate(run_lanes(add, row_blocks(v)))
        self.tried = activity, v, outputs
        return outputs.copy()

    def move(self, where: Array) -> None:
        for now, tried in zip((self.activity, self.v, self.outputs), self.tried, strict=True):
            put_rows(now, tried, where)


class _Sparse(_State):
    """The state for sparse wiring: only the cells that receive a changed pixel are computed."""

    def __init__(self, layer: FirstLayer, x: Array):
        self.projection = layer.wiring.by_input()
        super().__init__(layer, x)

    def outputs_of(self, x: Array) -> Array:
        activity = self.layer.activity(x)
        outputs = changed_outputs(self.projection, self.layer.readout, activity, self.activity, self.v, self.outputs)
        self.tried = activity, outputs
        return outputs.copy()

    def move(self, where: Array) -> None:
        activity, outputs = self.tried
        add_sparse_changes(self.projection, activity, self.activity, self.v, where)
        put_rows(self.activity, activity, where)
        put_rows(self.outputs, outputs, where)


def nearby(landscape: Landscape, x: Array) -> Nearby:
    """Return the objective around images `x`, computed from the first layer's state if that is faster, otherwise by full passes.

    Using the first layer's state is faster for a dense layer of at least :data:`LEAST` synapses. For sparse wiring without a
    compiled loop, full passes are at least as fast. The same is true on a GPU, where a full pass costs little more than
    launching a few operations.
    """
    layer = fitting_layer(landscape, x)
    if layer is None or layer.wiring.matrix is None or layer.wiring.matrix.size < LEAST:
        return Nearby(landscape, x)
    return few(landscape, x, layer)


def few(landscape: Landscape, x: Array, layer: FirstLayer) -> NearbyOfFew:
    """Return the objective around images `x`, computed from the first layer's state."""
    return NearbyOfFew(landscape, x, (_Sparse if layer.wiring.matrix is None else _Dense)(layer, x))


def fitting_layer(landscape: Landscape, x: Array) -> FirstLayer | None:
    """Return the linear first layer from which :func:`nearby` can compute the objective, or None."""
    layer = first_layer(landscape.model)
    if not isinstance(x, np.ndarray) or landscape.source is not exact or layer is None or layer.wiring.weights.dtype != x.dtype:
        return None
    matrix = layer.wiring.matrix
    fits = layer.readout is not None if matrix is None else matrix.nbytes <= execution().memory // 4
    return layer if fits else None


def first_layer(model: Any) -> FirstLayer | None:
    """Return the linear first layer that a model offers as its property ``first_layer``, or None."""
    layer = getattr(unguarded(model), "first_layer", None)
    return layer if isinstance(layer, FirstLayer) else None


def bytes_per_image(model: Any) -> int:
    """Return the number of bytes that :func:`nearby` needs per image."""
    layer = first_layer(model)
    return 0 if layer is None else 4 * 4 * layer.wiring.cells
