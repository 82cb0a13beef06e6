"""Noisy runs of some images, and what their loss would be if one neuron responded differently."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from minicereb.backend import Array, xp_of
from minicereb.learning.changed_responses import changed_outputs
from minicereb.learning.credit import LastLayer
from minicereb.models.noisy import NoisyLayer, NoisyNetwork, Trace
from minicereb.models.noisy_convolution import NoisyConvolution
from minicereb.models.noisy_time import NoisyTime
from minicereb.parallel import row_blocks


class WithOutputs(NamedTuple):
    """Noise of a network, with the noise of its outputs separate if it is drawn several times.

    Attributes
    ----------
    noise : noise of the layers
        It includes the noise of the outputs only if `outputs` is None.
    outputs : array, shape (outputs, images, replications · draws), or None
    """

    noise: Any
    outputs: Array | None


class OutputDraws(NamedTuple):
    """Noise of the outputs, drawn several times for every run of the hidden layers ``[M-OUTPUTS]``.

    Attributes
    ----------
    noise : array, shape (outputs, images, replications, draws)
        Noise of unit scale; the second half of the draws is the negative of the first half.
    loss : array, shape (images, replications, draws)
    """

    noise: Array
    loss: Array


class NoisyRuns(NamedTuple):
    """Noisy runs of some images, and the loss of each.

    Attributes
    ----------
    trace : Trace
    labels : array of int, shape (images,)
    nodes : array or None
        Noise on the output of each image's label, if the loss is averaged over the noise on the other outputs.
    value : array, shape (images, replications)
    baseline : array, shape (images,), or None
        Baseline from earlier steps.
    outputs : OutputDraws or None
        Draws of the outputs' noise; if there are any, `value` is the mean over these draws.
    """

    trace: Trace
    labels: Array
    nodes: Array | None
    value: Array
    baseline: Array | None = None
    outputs: OutputDraws | None = None


class RunsOfLayer(NamedTuple):
    """Noisy runs, seen from one layer of the network.

    Attributes
    ----------
    network : NoisyNetwork
    last : LastLayer
    runs : NoisyRuns
    number : int
        Index of the layer.
    """

    network: NoisyNetwork
    last: LastLayer
    runs: NoisyRuns
    number: int

    @property
    def layer(self) -> NoisyLayer:
        """The layer itself."""
        return self.network.layers[self.number]

    @property
    def drives(self) -> Array:
        """The layer's signals without noise, shape (units, images, replications), with a single replication if all are equal."""
        return self.runs.trace.drives[self.number]

    @property
    def signals(self) -> Array:
        """The layer's signals, shape (units, images, replications)."""
        return self.runs.trace.signals[self.number]

    @property
    def noise(self) -> Array | None:
        """The layer's noise, of unit scale."""
        return self.runs.trace.noise[self.number]

    @property
    def unpooled(self) -> Array:
        """The responses of all units, in the shape of the signals: before any pooling, and at every time step."""
        layer, trace = self.layer, self.runs.trace
        if isinstance(layer, NoisyTime) or (isinstance(layer, NoisyConvolution) and layer.pool > 1):
            return layer.respond_alone(self.signals)
        return trace.responses[self.number]

    def loss_with(self, response: Array) -> Array:
        """Return, for each neuron, the loss if only that neuron's response changes: shape (neurons, images, replications).

        `response`, of the same shape, is each neuron's changed response; all noise stays the same.
        """
        layers, trace, nodes = self.network.layers, self.runs.trace, self.runs.nodes
        xp = xp_of(self.runs.labels)
        was = trace.responses[self.number]
        neurons, images, replications = was.shape

        def joined(array: Array) -> Array:
            """Merge neurons and images into one axis."""
            return array.reshape(len(array), neurons * images, replications)

        layer = layers[self.number + 1]
        drive = layer.weight[:, :, None, None] * (response - was)
        drive += trace.drives[self.number + 1][:, None]
        for later in range(self.number + 1, len(layers) - 1):
            if trace.noise[later] is not None:
                drive += (trace.noise[later] * layer.scale)[:, None]
            response, layer = layer.respond(drive), layers[later + 1]
            drive = layer.drive(joined(response)).reshape(-1, neurons, images, replications)
        all_nodes, e = None, trace.noise[-1]
        if nodes is not None:
            all_nodes = joined(xp.broadcast_to(nodes[:, None], (len(nodes), *was.shape)))
        elif e is not None:
            drive += (e * layer.scale)[:, None]
        return self.last.value(joined(drive), all_nodes, xp.tile(self.runs.labels, neurons)).reshape(was.shape)

    def losses_after(self, places: Array) -> Callable[[Array], Array]:
        """Return a function that computes each run's loss after a change of a single response; all noise stays the same.

        `places`, shape (runs, changes), are the indices of the responses that change. The function takes the sizes of these
        changes, for one or several alternatives: shape (runs, alternatives · changes). It returns the losses in the same shape.
        The later layers are computed for a few runs at a time, so that these fit in the cache.
        """
        layers, trace, nodes, xp = self.network.layers, self.runs.trace, self.runs.nodes, xp_of(places)
        rows, final = self._rows, len(layers) - 1
        first = self.number + 1
        averaged = first == final and nodes is not None
        base = rows(trace.drives[first] if averaged else trace.signals[first])[:, None]
        above = [k for k in range(first + 1, len(layers)) if trace.noise[k] is not None]
        noise = {k: rows(trace.noise[k] * layers[k].scale)[:, None] for k in above}
        if nodes is not None:
            noise.pop(final, None)
        sent: list[Array] = []  # by the responses, where the plain form needs it

        def by_loop(change: Array) -> Array | None:
            if not (first + 1 == final and type(layers[first]) is type(layers[final]) is NoisyLayer):
                return None
            activation, last = layers[first].activation, layers[final]
            return changed_outputs(base[:, 0], by_input[0], places, change, activation, last.weight.T, last.bias)

        by_input = [xp.ascontiguousarray(layers[first].weight.T)] if type(layers[first]) is NoisyLayer else []

        def drives(part: slice, change: Array) -> Array:
            """Return the outputs, (runs, changes, outputs), without the noise of the last layer."""
            drive = sent[0][part] * change[part][:, :, None]
            drive += base[part]
            for later in range(first, final):
                response = layers[later].respond_in_rows(drive.reshape(-1, drive.shape[2]))
                drive = layers[later + 1].drive_of_rows(response).reshape(*drive.shape[:2], -1)
                if later + 1 in noise and later + 1 < final:
                    drive += noise[later + 1][part]
            return drive

        def losses(change: Array) -> Array:
            drive = by_loop(change)
            if drive is None:
                if not sent:
                    sent.append(layers[first].sent_from(places))
                alternatives = xp.split(change, change.shape[1] // places.shape[1], axis=1)
                each = [xp.concatenate([drives(part, one) for part in row_blocks(sent[0])]) for one in alternatives]
                drive = xp.ascontiguousarray(xp.concatenate(each, axis=1).transpose(2, 0, 1))
            if final in noise and first < final:
                drive += noise[final].transpose(2, 0, 1)
            return self._losses(drive)

        return losses

    def losses_after_all(self, change: Array) -> Array:
        """Return each run's loss after each change of the layer's whole response, shape (runs, changes); all noise stays the
        same.

        `change`, shape (changes, runs, responses), is added to the response. All later layers must be dense.
        """
        layers, trace, final = self.network.layers, self.runs.trace, len(self.network.layers) - 1
        for later in range(self.number + 1, len(layers)):
            signals = trace.drives[later] if later == final and self.runs.nodes is not None else trace.signals[later]
            drive = xp_of(change).matmul(change, layers[later].weight.T)
            drive += self._rows(signals)
            if later < final:
                change = layers[later].respond_in_rows(drive) - self._rows(trace.responses[later])
        return self._losses(drive.transpose(2, 1, 0))

    def _rows(self, array: Array) -> Array:
        """Return an array of shape (units, images, replications) as rows: (runs, units)."""
        xp = xp_of(array)
        return xp.ascontiguousarray(xp.broadcast_to(array, (len(array), *self.signals.shape[1:])).reshape(len(array), -1).T)

    def _losses(self, drive: Array) -> Array:
        """Return the loss of each run for several alternative drives of the outputs; `drive` has shape (outputs, runs,
        alternatives).
        """
        xp, nodes = xp_of(drive), self.runs.nodes
        columns = None if nodes is None else self._rows(nodes).T[:, :, None]
        labels = xp.repeat(self.runs.labels, self.signals.shape[2])
        return self.last.value(xp.ascontiguousarray(drive), columns, labels)


def losses_with_outputs(last: LastLayer, run: NoisyRuns, signals: list[Array]) -> list[Array]:
    """Return, for several alternatives and each output, the loss if only that output's signal changes.

    `signals` has one array per alternative, with the changed signal of each output, shape (outputs, images, replications). The
    losses have the same shapes.
    """
    xp, v = xp_of(run.labels), run.trace.signals[-1]
    outputs, images, replications = v.shape
    each = xp.empty((outputs, len(signals), outputs, images, replications), dtype=v.dtype)
    each[:] = v[:, None, None]
    each[xp.arange(outputs), :, xp.arange(outputs)] = xp.stack(signals, axis=1)
    found = last.value(each.reshape(outputs, -1, replications), None, xp.tile(run.labels, len(signals) * outputs))
    return list(found.reshape(len(signals), *v.shape))


def output_draws(last: LastLayer, drives: Array, noise: Array, labels: Array) -> OutputDraws:
    """Return the loss of every run with each draw of the outputs' noise; `noise` has shape (outputs, images, replications ·
    draws).
    """
    noise = noise.reshape(*drives.shape, -1)
    signals = drives[..., None] + noise * last.layer.scale
    outputs, images = noise.shape[:2]
    loss = last.value(signals.reshape(outputs, images, -1), None, labels)
    return OutputDraws(noise, loss.reshape(noise.shape[1:]))
