"""Layers applied one after another. There is no other way to combine layers, and the result is itself a layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from minicereb.backend import Array
from minicereb.models.first_layer import FirstLayer
from minicereb.models.layers import Dense, ReLU
from minicereb.models.wiring import Wiring


@dataclass(frozen=True)
class Sequential:
    """A network of layers that are applied in order.

    Parameters
    ----------
    layers : tuple of layers
        Objects with the methods ``forward`` and ``input_gradient``.
    """

    layers: tuple[Any, ...]

    def forward(self, x: Array) -> tuple[Array, list[Any]]:
        """Return the last layer's output and every layer's cache."""
        caches = []
        for layer in self.layers:
            x, cache = layer.forward(x)
            caches.append(cache)
        return x, caches

    def input_gradient(self, d_output: Array, caches: list[Any]) -> Array:
        """Return the gradient with respect to the input, given the gradient with respect to the output."""
        for layer, cache in zip(reversed(self.layers), reversed(caches), strict=True):
            d_output = layer.input_gradient(d_output, cache)
        return d_output

    def weight_gradients(self, d_output: Array, caches: list[Any]) -> list[dict[str, Array]]:
        """Return the weight gradients of each layer, by backpropagation ``[M-BP]``; the dictionary of a layer that does not
        learn is empty.
        """
        gradients: list[dict[str, Array]] = []
        first = next((index for index, layer in enumerate(self.layers) if hasattr(layer, "weight_gradient")), len(self.layers))
        for index in reversed(range(len(self.layers))):
            layer, cache = self.layers[index], caches[index]
            if hasattr(layer, "gradients"):  # computing both at once is cheaper
                found, d_output = layer.gradients(d_output, cache, index > first)
                gradients.append(found)
                continue
            gradients.append(layer.weight_gradient(d_output, cache) if hasattr(layer, "weight_gradient") else {})
            if index > first:
                d_output = layer.input_gradient(d_output, cache)
        return gradients[::-1]

    def while_learning(self, seed: int, step: int) -> Sequential:
        """Return the network in training mode for one step: dropout draws its noise, batch normalisation uses the batch.

        Parameters
        ----------
        seed, step : int
            Seed, and number of the step, from which the random draws are made.
        """
        layers = [
            layer.while_learning(seed, number, step) if hasattr(layer, "while_learning") else layer
            for number, layer in enumerate(self.layers)
        ]
        return Sequential(tuple(layers))

    @property
    def first_layer(self) -> FirstLayer | None:
        """The first layer and the layers after it, if the first is affine; otherwise None."""
        first, *others = self.layers
        if not isinstance(first, Dense):
            return None
        wiring = Wiring(first.weight, None, first.weight.shape[1], first.bias)
        match others:
            case [ReLU(), Dense(weight, bias)]:
                return FirstLayer(wiring, weight.T, bias)
        return FirstLayer(wiring, after=Sequential(tuple(others)))

    @property
    def bytes_per_image(self) -> int:
        """Bytes of memory per additional image, as stated by the layers or computed from the width of their outputs."""
        return sum(getattr(layer, "bytes_per_image", 16 * len(getattr(layer, "bias", ()))) for layer in self.layers)
