"""Certificates: lower bounds on the margin of a classifier over all images within ε."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from minicereb.attacks.ball import NORMS, with_rounding
from minicereb.backend import Array, to_numpy, xp_of
from minicereb.certificates.affine import AffineNetwork, affine_network_of, why_not_certifiable
from minicereb.certificates.bounds import PART_NUMBERS, Bounds
from minicereb.certificates.convolutional import Features, features_of
from minicereb.certificates.region import Region
from minicereb.datasets.transforms import to_unit
from minicereb.errors import InputError, require
from minicereb.inputs import as_labels, check_images, check_rows
from minicereb.parallel import blocks, images_per_block, run_lanes

METHODS = ("crown", "interval")
IMAGES = 64  # largest number of images at once


class Certificate(NamedTuple):
    """Certificates of a set of images, in NumPy arrays.

    Attributes
    ----------
    certified : array of bool, shape (images,)
        Whether every image within ε is proved to be classified correctly.
    margin : array of float64, shape (images,)
        Lower bound on the smallest margin ``z_y - max_{j≠y} z_j`` of the computed outputs over the images within ε. Rounding is
        taken into account. The bound is above 0 if and only if `certified` is True.
    """

    certified: np.ndarray
    margin: np.ndarray


def certify(model: Any, x: Array, labels: Array, epsilon: float, norm: str = "linf", method: str = "crown") -> Certificate:
    """Return a lower bound on each image's margin over the part of its ball that is in the box [0, 1].

    Parameters
    ----------
    model : classifier
        A model for which :func:`minicereb.certificates.affine.why_not_certifiable` returns None.
    x : array of uint8 or float, shape (images, inputs)
        Images with pixels in [0, 1].
    labels : array of int, shape (images,) or (images, 1)
    epsilon : float
        Radius of the ball, at least 0. The ball that is certified is slightly larger, because an attacked image may be
        rounded (:func:`minicereb.attacks.ball.with_rounding`).
    norm : {"linf", "l2"}
    method : {"crown", "interval"}
        ``"interval"`` uses only the intervals of the last hidden layer; ``"crown"`` uses these or linear relaxations, whichever
        is better for each image and wrong class.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If the model cannot be certified, a setting is not allowed, or images and labels do not fit the model or each other.

    Examples
    --------
    >>> from minicereb.models.mlp import initial_mlp
    >>> model, x = initial_mlp(6, (8,), 3, seed=1), np.random.default_rng(0).random((20, 6), dtype=np.float32)
    >>> labels = model.forward(x)[0].argmax(axis=1)
    >>> [bool(certify(model, x, labels, epsilon).certified.all()) for epsilon in (0.01, 0.3)]
    [True, False]
    """
    reason = why_not_certifiable(model)
    if reason is not None:
        raise InputError("model", type(model).__name__, f"a model with a certificate: {reason}")
    require(0 <= epsilon < float("inf"), "epsilon", epsilon, "a number of at least 0")
    require(norm in NORMS, "norm", norm, " or ".join(NORMS))
    require(method in METHODS, "method", method, " or ".join(METHODS))
    network = affine_network_of(model)
    check_rows(x, network.inputs, "images", stored=True)
    x, on_host = x if x.dtype == np.float64 else to_unit(x), to_numpy(as_labels(labels, len(x), network.output.outputs))
    check_images(x)
    size = images_per_block(_bytes_per_image(network, x.shape[1]), IMAGES)
    groups = [np.flatnonzero(on_host == label) for label in range(network.output.outputs)]
    parts = [group[part] for group in groups for part in blocks(len(group), size)]

    def bound(ids: np.ndarray) -> np.ndarray:
        region = Region.around(x[xp_of(x).asarray(ids)], with_rounding(epsilon, norm, x.shape[1]), norm)
        return to_numpy(least_margins(network, region, int(on_host[ids[0]]), method == "crown"))

    margin = np.empty(len(x), dtype=np.float64)
    for ids, found in zip(parts, run_lanes(bound, parts), strict=True):
        margin[ids] = found
    return Certificate(margin > 0, margin)


def certified_radii(
    model: Any, x: Array, labels: Array, largest: float, halvings: int = 10, norm: str = "linf", method: str = "crown"
) -> np.ndarray:
    """Return the largest certified ε of each image, by bisection between 0 and `largest`.

    Parameters
    ----------
    model, x, labels, norm, method
        As for :func:`certify`.
    largest : float
        Largest ε that is tried, above 0.
    halvings : int
        Number of bisection steps, at least 0. The result is rounded down to a multiple of ``largest / 2^halvings``.

    Returns
    -------
    array of float64, shape (images,)
        The largest ε that was certified; -1 if the image has no certificate even at ε = 0, for example because it is
        misclassified.

    Raises
    ------
    InputError
        As :func:`certify`.

    Examples
    --------
    >>> from minicereb.models.mlp import initial_mlp
    >>> model, x = initial_mlp(6, (8,), 3, seed=1), np.random.default_rng(0).random((4, 6), dtype=np.float32)
    >>> labels = model.forward(x)[0].argmax(axis=1)
    >>> radii = certified_radii(model, x, labels, 0.5)
    >>> [bool(certify(model, x[i : i + 1], labels[i : i + 1], radii[i]).certified[0]) for i in range(4)]
    [True, True, True, True]
    """
    require(0 < largest < float("inf"), "largest", largest, "a number above 0")
    require(halvings >= 0, "halvings", halvings, "a whole number of at least 0")
    labels = as_labels(labels, len(x))

    def holds(images: np.ndarray, epsilon: float) -> np.ndarray:
        places = xp_of(x).asarray(images)
        return certify(model, x[places], labels[places], epsilon, norm, method).certified

    steps = 2**halvings
    radius = np.where(holds(np.arange(len(x)), 0.0), 0, -1)  # in steps of largest / 2^halvings
    able = np.flatnonzero(radius == 0)
    radius[able[holds(able, largest)]] = steps
    while steps > 1:
        steps //= 2
        for low in np.unique(radius[(radius >= 0) & (radius < 2**halvings)]):  # images with the same ε are certified together
            images = np.flatnonzero(radius == low)
            radius[images[holds(images, largest * float(low + steps) / 2**halvings)]] += steps
    return np.where(radius < 0, -1.0, radius * largest / 2**halvings)


def least_margins(network: AffineNetwork, region: Region, label: int, crown: bool) -> Array:
    """Return lower bounds on ``z_y - max_{j≠y} z_j`` over regions around images that all have the label y ``[M-CERTIFY]``.

    If `crown` is true, linear relaxations are used as well as intervals. The result is an array of float64, shape (images,).
    """
    xp = xp_of(region.x)
    output = network.output
    require(0 <= label < output.outputs, "label", label, f"one of the {output.outputs} classes, from 0 to {output.outputs - 1}")
    if len(region.x) != network.inputs:
        raise InputError("images", f"{len(region.x)} inputs", f"{network.inputs}, as many as the model has")
    region = region if network.fires_above is None else region.fired(network.fires_above)
    read: Region | Features = region
    if network.convolutions is not None:
        read = features_of(network.convolutions, region, network.unit, network.tiny, crown)
    bounds = Bounds(network, read, crown)
    sizes = xp.zeros((output.outputs, region.x.shape[1]), dtype=xp.float64)

    def weights_of(part: slice) -> Array:
        return xp.ascontiguousarray(output.weights[:, part].T.astype(xp.float64))

    def coefficients(part: slice) -> Array:
        weights = weights_of(part)
        return (weights[:, label : label + 1] - weights)[:, :, None]

    def watch(part: slice, responses: Array) -> None:
        sizes[...] += abs(weights_of(part)).T @ responses

    margins = xp.maximum(*bounds.lower(len(network.hidden), coefficients, output.outputs, watch))
    if output.bias is not None:
        margins += (output.bias[label] - output.bias)[:, None]
    error = bounds.errors(output, sizes)
    margins -= error + error[label]
    margins[label] = xp.inf
    return margins.min(axis=0)


def _bytes_per_image(network: AffineNetwork, inputs: int) -> int:
    encoder = [] if network.convolutions is None else [math.prod(shape) for shape in network.convolutions.shapes]
    before = 8 * (16 * max(encoder, default=0) + 8 * sum(encoder))
    inputs = encoder[-1] if encoder else inputs
    widths = [inputs, *(layer.affine.outputs for layer in network.hidden[:-1])]
    return before + 8 * (4 * max(widths) * network.output.outputs + 8 * sum(widths)) + 64 * PART_NUMBERS // IMAGES
