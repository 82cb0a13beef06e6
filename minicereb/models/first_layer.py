"""A linear first layer and the rest of the model, for searches that change a few pixels at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from minicereb.backend import Array, xp_of
from minicereb.calculus.activations import relu
from minicereb.calculus.cerebellum import mossy
from minicereb.models.wiring import Wiring
from minicereb.parallel import cell_blocks, row_blocks, run_lanes, scratch


@dataclass(frozen=True, eq=False)
class FirstLayer:
    """A linear first layer ``v = J a(x) + r``, and the outputs as a function of v alone.

    A model provides a ``FirstLayer`` as its property ``first_layer``. Images are rows: `v` has the shape (images, cells).

    Parameters
    ----------
    wiring : Wiring
        The projection J; its drive at rest is r.
    readout, offset : array, shapes (cells, classes) and (classes,), optional
        The weights W and the bias b, if the outputs are ``max(v, 0) W + b``.
    after : layer, optional
        The layer that maps v to the outputs; given instead of `readout` and `offset`.
    fires_above : float, optional
        The threshold θ, if a is :func:`~minicereb.calculus.cerebellum.mossy` with a threshold; by default a is the
        identity.
    """

    wiring: Wiring
    readout: Array | None = None
    offset: Array | None = None
    after: Any = None
    fires_above: float | None = None

    def activity(self, x: Array) -> Array:
        """Return a(x) for images `x`, shape (images, inputs)."""
        return mossy(x, self.fires_above)

    def drive(self, activity: Array) -> Array:
        """Return v, shape (images, cells)."""
        columns = self.wiring.columns(activity)
        v = xp_of(activity).empty((len(activity), self.wiring.cells), dtype=activity.dtype)

        def project(part: slice) -> None:
            block = scratch("granule", (part.stop - part.start, len(activity)), activity)
            v[:, part] = self.wiring.project(part, columns, block).T

        run_lanes(project, cell_blocks(activity, self.wiring.cells, len(activity)))
        return v

    def outputs(self, v: Array) -> Array:
        """Return the outputs, shape (images, classes)."""
        if self.after is not None:
            return self.after.forward(v)[0]
        xp, readout = xp_of(v), self.readout

        def read(part: slice) -> Array:
            return xp.dot(relu(v[part], out=scratch("granule", v[part].shape, v)), readout) + self.offset

        return xp.concatenate(run_lanes(read, row_blocks(v)))
