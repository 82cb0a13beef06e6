"""Backpropagation ``[M-BP]``: a hidden unit's credit is sent back from the next layer through its weights."""

from __future__ import annotations

from collections.abc import Iterator

from minicereb.backend import Array, xp_of
from minicereb.calculus.losses import DESCENDED
from minicereb.inputs import as_labels, check_rows
from minicereb.learning.optimizers import Optimizer, add_penalty
from minicereb.learning.plasticity import Learned
from minicereb.models.sequential import Sequential
from minicereb.parallel import run_lanes


def statistics_of(network: Sequential) -> dict[str, Array]:
    """Return the moving averages of a network's batch statistics, keyed by name; learning changes them in place."""
    following = [layer.statistics for layer in network.layers if hasattr(layer, "statistics")]
    return {f"{name}_{number}": array for number, layer in enumerate(following) for name, array in layer.items()}


class Backpropagation:
    """Learns all parameters of a sequential network, in place, by gradient descent on the cross-entropy ``[M-CE]`` or the
    squared error ``[C3]``.

    Parameters
    ----------
    network : Sequential
        The network, whose layers' ``parameters`` are changed in place.
    optimizer : SGD, Momentum, RMSprop or Adam
    batch_size : int
        Number of images that a step averages over.
    l2, l1 : float
        Penalties ``½ l2 Σθ² + l1 Σ|θ|`` on all weights except biases ``[M-PENALTY]``; reported losses do not include
        them.
    loss : {"cross-entropy", "mse"}
    seed : int
        Seed of the random draws that the network makes in training mode.
    """

    batches_ahead = 16  # batches that are converted from uint8 together

    def __init__(
        self,
        network: Sequential,
        optimizer: Optimizer,
        batch_size: int,
        *,
        l2: float = 0.0,
        l1: float = 0.0,
        loss: str = "cross-entropy",
        seed: int = 0,
    ):
        self.model, self.optimizer, self.batch_size = network, optimizer, batch_size
        self.l2, self.l1, self.loss, self.seed = l2, l1, DESCENDED[loss], seed
        self.parameters = [layer.parameters for layer in network.layers if hasattr(layer, "parameters")]
        self.states = [{name: optimizer.state(array) for name, array in layer.items()} for layer in self.parameters]
        self.steps = 0
        self.classes = next((len(layer.bias) for layer in reversed(network.layers) if hasattr(layer, "bias")), None)

    def arrays(self) -> dict[str, Array]:
        """Return the arrays that learning changes in place, keyed by name."""
        named = {f"{name}_{number}": array for number, name, array in self._numbered()}
        for number, layer in enumerate(self.states):
            for name, state in layer.items():
                named.update({f"{name}_{number}_{kind}": array for kind, array in state.items()})
        return named | statistics_of(self.model)

    def _numbered(self) -> Iterator[tuple[int, str, Array]]:
        for number, layer in enumerate(self.parameters):
            for name, array in layer.items():
                yield number, name, array

    def loss_of(self, outputs: Array, labels: Array) -> Array:
        """Return the loss of each image for these outputs, without penalties: shape (images,)."""
        return self.loss(outputs, labels)[0]

    def learn(self, x: Array, labels: Array) -> Iterator[Learned]:
        """Learn from the batches of `x`, shape (images, inputs), one after another, and yield the result of each.

        Raise :class:`InputError` if a label is not one of the classes.
        """
        check_rows(x)
        labels = as_labels(labels, len(x), self.classes, wait=False)
        for start in range(0, len(x), self.batch_size):
            batch = slice(start, start + self.batch_size)
            yield run_lanes(lambda part: self._learn_batch(x[part], labels[part]), [batch])[0]

    def _learn_batch(self, x: Array, labels: Array) -> Learned:
        loss, outputs, gradients = self._loss_and_gradients(x, labels)
        self.steps += 1
        for number, name, array in self._numbered():
            gradient = gradients[number][name]
            if name == "weight":
                add_penalty(gradient, array, self.l2, self.l1)
            scratch = xp_of(gradient).empty_like(gradient)
            self.optimizer.update(array, gradient, self.states[number][name], self.steps, scratch)
        return Learned(loss, outputs)

    def _loss_and_gradients(self, x: Array, labels: Array) -> tuple[Array, Array, list[dict[str, Array]]]:
        """Return the loss of each image, the outputs, and the gradients of the mean loss for each layer that learns."""
        network = self.model.while_learning(self.seed, self.steps)
        outputs, caches = network.forward(x)
        loss, d_outputs = self.loss(outputs, labels)
        d_outputs /= len(x)
        return loss, outputs, [layer for layer in network.weight_gradients(d_outputs, caches) if layer]
