"""A cerebellum on the features of a trained convolutional network: one classifier from pixels to Purkinje outputs."""

from __future__ import annotations

from dataclasses import dataclass

from minicereb.errors import InputError
from minicereb.models.cerebellum import CerebellarNetwork
from minicereb.models.convolutional import Flat
from minicereb.models.sequential import Sequential
from minicereb.models.wiring import Wiring


@dataclass(frozen=True)
class VisualCerebellum(Sequential):
    """A fixed encoder, and a cerebellum whose mossy fibres transmit the encoder's features.

    An attack on the image passes through both. Its layers are the encoder's layers, followed by the cerebellum.
    """

    @property
    def encoder(self) -> Sequential:
        """The encoder, which maps rows of pixels to rows of features."""
        return Sequential(self.layers[:-1])

    @property
    def cerebellum(self) -> CerebellarNetwork:
        """The cerebellum, which maps rows of features to Purkinje outputs."""
        cerebellum: CerebellarNetwork = self.layers[-1]
        return cerebellum

    @property
    def wiring(self) -> Wiring:
        """The projection J of the cerebellum."""
        return self.cerebellum.wiring


def with_encoder(encoder: Sequential, cerebellum: CerebellarNetwork) -> VisualCerebellum:
    """Return the classifier that combines an encoder with a cerebellum on its features."""
    return VisualCerebellum((*encoder.layers, cerebellum))


def encoder_of(network: Sequential) -> tuple[Sequential, int]:
    """Return the part of a convolutional network that computes features, and the number of features.

    Parameters
    ----------
    network : Sequential
        A network from :func:`minicereb.models.convolutional.initial_convolutional`.

    Returns
    -------
    encoder : Sequential
        The network's layers up to :class:`~minicereb.models.convolutional.Flat`, without the dense layers.
    features : int
        Length of a row of features.

    References
    ----------
    Yuezhang, Li and Chen (2020), Evaluating Adversarial Robustness in Simulated Cerebellum, section 4: the 8 convolution layers
    of a VGG-11 "as the visual feature encoder", 4096 features.
    """
    flat = next((number for number, layer in enumerate(network.layers) if isinstance(layer, Flat)), None)
    if flat is None:
        raise InputError("encoder", type(network).__name__, "a convolutional network")
    return Sequential(network.layers[: flat + 1]), network.layers[flat + 1].weight.shape[1]
