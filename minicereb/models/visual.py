"""A cerebellum that sees through the convolutions of a network trained before: from pixels to Purkinje outputs one classifier."""

from __future__ import annotations

from dataclasses import dataclass

from minicereb.errors import InputError
from minicereb.models.cerebellum import Cerebellum
from minicereb.models.convolutional import Flat
from minicereb.models.sequential import Sequential
from minicereb.models.wiring import Wiring


@dataclass(frozen=True)
class VisualCerebellum(Sequential):
    """An encoder, which does not learn any more, and a cerebellum whose mossy fibres carry its features.

    An attack goes through both to the image. The layers are the encoder's, then the cerebellum.
    """

    @property
    def encoder(self) -> Sequential:
        """From rows of pixels to rows of features."""
        return Sequential(self.layers[:-1])

    @property
    def cerebellum(self) -> Cerebellum:
        """From rows of features to Purkinje outputs."""
        cerebellum: Cerebellum = self.layers[-1]
        return cerebellum

    @property
    def wiring(self) -> Wiring:
        """J, of the cerebellum."""
        return self.cerebellum.wiring


def with_encoder(encoder: Sequential, cerebellum: Cerebellum) -> VisualCerebellum:
    """Return the classifier that reads an encoder's features by a cerebellum."""
    return VisualCerebellum((*encoder.layers, cerebellum))


def encoder_of(network: Sequential) -> tuple[Sequential, int]:
    """Return what makes the features of a convolutional network, and how many they are.

    Parameters
    ----------
    network : Sequential
        Of :func:`minicereb.models.convolutional.initial_convolutional`.

    Returns
    -------
    encoder : Sequential
        Its layers up to :class:`~minicereb.models.convolutional.Flat`; the dense layers behind are left out.
    features : int
        Numbers in a row.

    References
    ----------
    Yuezhang, Li and Chen (2020), Evaluating Adversarial Robustness in Simulated Cerebellum, section 4: the 8 convolution layers
    of a VGG-11 «as the visual feature encoder», 4096 features.
    """
    flat = next((number for number, layer in enumerate(network.layers) if isinstance(layer, Flat)), None)
    if flat is None:
        raise InputError("encoder", type(network).__name__, "a convolutional network")
    return Sequential(network.layers[: flat + 1]), network.layers[flat + 1].weight.shape[1]
