"""Noisy runs of some images, and what their loss would be if one neuron responded differently."""

from __future__ import annotations

from typing import NamedTuple

from minicereb.backend import Array, xp_of
from minicereb.learning.credit import LastLayer
from minicereb.models.noisy import NoisyLayer, NoisyNetwork, Trace


class NoisyRuns(NamedTuple):
    """Noisy runs of some images, and the loss of each.

    Attributes
    ----------
    trace : Trace
    labels : array of int, shape (images,)
    nodes : array or None
        Noise on each label's own output, if the loss is averaged over the noise on the other outputs.
    value : array, shape (images, replications)
    """

    trace: Trace
    labels: Array
    nodes: Array | None
    value: Array


class RunsOfLayer(NamedTuple):
    """Noisy runs, seen from one layer of the network.

    Attributes
    ----------
    network : NoisyNetwork
    last : LastLayer
    runs : NoisyRuns
    number : int
        The layer.
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
        """Its signals without their noise, shape (units, images, replications), or one replication shared by all."""
        return self.runs.trace.drives[self.number]

    @property
    def signals(self) -> Array:
        """Its signals, shape (units, images, replications)."""
        return self.runs.trace.signals[self.number]

    @property
    def noise(self) -> Array | None:
        """Its noise, of unit scale."""
        return self.runs.trace.noise[self.number]

    def loss_with(self, response: Array) -> Array:
        """Return, for each neuron, the loss with its response changed: shape (neurons, images, replications).

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
        drive = trace.drives[self.number + 1][:, None] + layer.weight[:, :, None, None] * (response - was)
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
        return self.last.value(joined(drive), all_nodes, xp.concatenate([self.runs.labels] * neurons)).reshape(was.shape)

    def loss_after(self, places: Array, change: Array) -> Array:
        """Return every run's loss after each of several changes of one response: shape (runs, changes).

        `places` are the responses, `change` is by how much, both (runs, changes); all noise stays the same.
        """
        layers, trace, xp = self.network.layers, self.runs.trace, xp_of(change)
        shape = self.signals.shape[1:]

        def each(array: Array) -> Array:
            """(units, images, replications) as (units, runs, 1)."""
            return xp.broadcast_to(array, (len(array), *shape)).reshape(len(array), -1, 1)

        layer = layers[self.number + 1]
        drive = layer.drive_change(places, change)
        drive += each(trace.drives[self.number + 1])
        for later in range(self.number + 1, len(layers) - 1):
            e = trace.noise[later]
            if e is not None:
                drive += each(e * layer.scale)
            response, layer = layer.respond(drive), layers[later + 1]
            drive = layer.drive(response)
        nodes, e = self.runs.nodes, trace.noise[-1]
        if nodes is None and e is not None:
            drive += each(e * layer.scale)
        labels = xp.repeat(self.runs.labels, shape[1])
        return self.last.value(drive, None if nodes is None else each(nodes), labels)


def loss_with_output(last: LastLayer, run: NoisyRuns, signals: Array) -> Array:
    """Return, for each output, the loss with that output's signal changed: shape (outputs, images, replications)."""
    xp, v = xp_of(signals), run.trace.signals[-1]
    outputs, images, replications = v.shape
    each = xp.repeat(v[:, None], outputs, axis=1)
    each[xp.arange(outputs), xp.arange(outputs)] = signals
    each = each.reshape(outputs, outputs * images, replications)
    return last.value(each, None, xp.concatenate([run.labels] * outputs)).reshape(v.shape)
