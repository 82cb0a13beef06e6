"""The pessimistic delta rule: a synapse learns from the image and from the worst activity of any image within ε of it.

The rule is still pre-synaptic activity times post-synaptic error: a synapse needs its granule cell's bounds, its own sign,
and its Purkinje cell's climbing fibre. No image is attacked, and nothing is sent back through the granule cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from minicereb.backend import Array, xp_of
from minicereb.calculus.cerebellum import mossy, mossy_bounds
from minicereb.calculus.losses import one_hot, pessimistic_squared_error, squared_error
from minicereb.errors import require
from minicereb.inputs import as_labels, check_images, check_rows
from minicereb.learning.optimizers import Optimizer, forget_tiny
from minicereb.learning.plasticity import TINY_ACTIVITY, DeltaRule, Learned
from minicereb.models.cerebellum import CerebellarNetwork
from minicereb.parallel import blocks, cell_blocks, run_lanes, scratch, sum_lanes

RISE = 0.5  # share of training during which ε grows from 0


def reached(epsilon: float, steps: int, total_steps: int) -> float:
    """Return ε of the next update: it grows linearly from 0 to `epsilon` over the first half of training."""
    return epsilon * min(1.0, steps / max(1.0, RISE * total_steps))


class PessimisticDeltaRule(DeltaRule):
    """Learns the readout of a cerebellum from images and from the worst activity within ε of each image ``[M-PESSIMISTIC]``.

    Parameters
    ----------
    cerebellum, optimizer, batch_size, ltd_decay
        As for :class:`~minicereb.learning.plasticity.DeltaRule`.
    epsilon : float
        The bound ε in L∞, at least 0, which grows linearly from 0 over the first half of the updates.
    pessimism : float
        λ, from 0 to 1: the weight of the worst activity in the weight change.
    total_steps : int
        Number of updates in training.
    error : callable
        :func:`~minicereb.calculus.losses.squared_error` or :func:`~minicereb.calculus.losses.cross_entropy`. At the worst
        outputs, the squared error counts only deviations to the wrong side of the target.

    Notes
    -----
    In addition to the activity ``[h | μ | 0]``, the sums ``u + l`` and the differences ``u - l`` of each granule cell's bounds
    ``[M-BOX]`` are stored, one row per cell. The factor ½ is applied to the small matrices that multiply these large ones.
    Results equal the results of the formulas in :mod:`minicereb.calculus.cerebellum`, up to the order of summation.

    The loss of an image is (1 - λ) times the loss of its outputs plus λ times the loss of the worst outputs; this sum is
    convex in W.
    """

    def __init__(
        self,
        cerebellum: CerebellarNetwork,
        optimizer: Optimizer,
        batch_size: int,
        ltd_decay: float | None,
        epsilon: float,
        pessimism: float,
        total_steps: int,
        error: Callable[[Array, Array], tuple[Array, Array]] = squared_error,
    ):
        require(0 <= epsilon < float("inf"), "epsilon", epsilon, "a number of at least 0")
        require(0 <= pessimism <= 1, "pessimism", pessimism, "a share from 0 to 1")
        super().__init__(cerebellum, optimizer, batch_size, ltd_decay, error)
        self.epsilon, self.pessimism, self.total_steps = epsilon, pessimism, total_steps
        xp, cells, dtype = xp_of(cerebellum.readout), cerebellum.wiring.cells, cerebellum.readout.dtype
        self.batches_ahead, self.activity = 1, xp.empty((cells, self.columns), dtype=dtype)
        self.total, self.spread = (xp.empty((cells, batch_size), dtype=dtype) for _ in range(2))
        self.parts = cell_blocks(cerebellum.readout, cells, self.columns + 2 * batch_size)

    def learn(self, x: Array, labels: Array) -> Iterator[Learned]:
        """Learn from one batch after another, and yield the result of each; arguments as for :class:`DeltaRule`.

        Also raise :class:`InputError` if a pixel is outside [0, 1].
        """
        labels = self._checked(x, labels)
        for batch in blocks(len(x), self.batch_size):
            yield self._learn(x[batch], labels[batch])

    def hits(self, x: Array, labels: Array, block: int = 0) -> Array:
        """Return which images are classified correctly even at each synapse's worst activity within the full ε, as an array of
        bool.
        """
        labels = self._checked(x, labels)
        wiring, readout, mean = self.model.wiring, self.model.readout, self.model.ltd_mean
        low, high = mossy_bounds(x, self.epsilon, self.model.fires_above)
        half, count = x.dtype.type(0.5), len(x)
        centre, radius = wiring.columns(half * (low + high)), wiring.columns(half * (high - low))

        def add(part: slice, total: Array, fresh: bool) -> None:
            shape = (part.stop - part.start, count)
            middle, spread = scratch("middle", shape, x), scratch("spread", shape, x)
            wiring.project_bounds(part, centre, radius, middle, spread)
            weights = readout[part]
            share = half * xp_of(x).concatenate((xp_of(x).dot(middle.T, weights), xp_of(x).dot(spread.T, abs(weights))))
            share[:count] -= xp_of(x).dot(mean[part], weights)
            total[...] = share if fresh else total + share

        sums = sum_lanes(add, cell_blocks(x, wiring.cells, 2 * count), (2 * count, readout.shape[1]), readout)
        targets = one_hot(labels, sums[:count])
        return (sums[:count] + (1 - 2 * targets) * sums[count:]).argmax(axis=1) == labels

    def _checked(self, x: Array, labels: Array) -> Array:
        check_rows(x, self.model.wiring.width)
        check_images(x, wait=False)
        return as_labels(labels, len(x), self.model.readout.shape[1], wait=False)

    def _learn(self, x: Array, labels: Array) -> Learned:
        """Make one step ``[M-PESSIMISTIC]``."""
        xp, size, images = xp_of(x), self.batch_size, len(x)
        wiring, readout, mean = self.model.wiring, self.model.readout, self.model.ltd_mean
        dtype, half = readout.dtype, readout.dtype.type(0.5)
        fires_above = self.model.fires_above
        low, high = mossy_bounds(x, reached(self.epsilon, self.steps, self.total_steps), fires_above)
        signals = xp.zeros((wiring.width, self.columns), dtype=dtype)
        centre, radius = (xp.zeros((wiring.width, size), dtype=dtype) for _ in range(2))
        signals[:, :images] = mossy(x, fires_above).T
        centre[:, :images] = (half * (low + high)).T
        radius[:, :images] = (half * (high - low)).T
        batch_mean = xp.zeros(self.columns, dtype=dtype)
        batch_mean[:images] = (1 - (self.ltd_decay or 0)) / images

        def read_out(part: slice) -> Array:
            activity, total, spread, weights = self.activity[part], self.total[part], self.spread[part], readout[part]
            self._respond(part, signals, self.activity)
            wiring.project_bounds(part, centre, radius, total, spread)
            if self.ltd_decay is not None:  # [C-LTD], from the clean images only
                mean[part] *= self.ltd_decay
                mean[part] += xp.dot(activity, batch_mean)
                forget_tiny(mean[part], self.steps + 1, TINY_ACTIVITY)
            activity[:, images] = mean[part]
            return xp.concatenate((xp.dot(activity.T, weights), xp.dot(total.T, weights), xp.dot(spread.T, abs(weights))))

        sums, *others = run_lanes(read_out, self.parts)
        for other in others:
            sums += other
        outputs, middles, reaches = xp.split(sums, (self.columns, self.columns + size))
        outputs, offset = outputs[:images] - outputs[images], outputs[images]
        targets = one_hot(labels, outputs)
        loss, error = self.error(outputs, labels)
        side = 1 - 2 * targets
        at_worst = pessimistic_squared_error if self.error is squared_error else self.error
        worst_loss, worst_error = at_worst(half * (middles[:images] + side * reaches[:images]) - offset, labels)  # [M-WORST]
        share = dtype.type(self.pessimism)

        credit = xp.zeros((self.columns, readout.shape[1]), dtype=dtype)
        middle, sided = (xp.zeros((size, readout.shape[1]), dtype=dtype) for _ in range(2))
        credit[:images] = (1 - share) / images * error
        middle[:images] = half * share / images * worst_error
        sided[:images] = side * middle[:images]
        credit[images] = -credit[:images].sum(axis=0) - 2 * middle.sum(axis=0)
        self.steps += 1

        def change(part: slice) -> None:
            weights = readout[part]
            gradient = xp.matmul(self.activity[part], credit, out=scratch("gradient", weights.shape, weights))
            gradient += xp.matmul(self.total[part], middle, out=scratch("worst", weights.shape, weights))
            by_sign = xp.matmul(self.spread[part], sided, out=scratch("worst", weights.shape, weights))
            gradient += xp.where(weights > 0, by_sign, -by_sign)
            state = {name: array[part] for name, array in self.state.items()}
            self.optimizer.update(weights, gradient, state, self.steps, scratch("update", weights.shape, weights))

        run_lanes(change, self.parts)
        return Learned((1 - share) * loss + share * worst_loss, outputs)
