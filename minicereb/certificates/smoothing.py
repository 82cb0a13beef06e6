"""Certificates for the mean prediction of a network smoothed by Gaussian noise on its first layer's signals ``[M-SMOOTH]``."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from minicereb.attacks.ball import NORMS, with_rounding
from minicereb.backend import Array, to_numpy, xp_of
from minicereb.calculus.noise import Gaussian, draw_noise
from minicereb.calculus.replicated import probabilities
from minicereb.datasets.transforms import to_unit
from minicereb.errors import InputError, require
from minicereb.inputs import as_labels, check_count, check_images, check_rows
from minicereb.models.noisy import NoisyNetwork
from minicereb.models.noisy_time import NoisyTime
from minicereb.models.prediction import REPLICATIONS
from minicereb.parallel import blocks, run_lanes
from minicereb.statistics import mean_deviation, proportion_interval

PREDICTORS = ("probabilities", "votes")
PROBABILITY_ROUNDING = 2e-6  # largest error of a softmax in float32
RADIUS_STEPS = 30
WITHIN_ONE = ("threshold", "sigmoid")  # activations whose responses are from 0 to 1
SPECTRAL_SLACK = 1 + 1e-10


class Smoothed(NamedTuple):
    """Certificates of a set of images, in NumPy arrays. Each holds with a given confidence.

    Attributes
    ----------
    certified : array of bool, shape (images,)
        Whether the mean prediction for every image within ε is the label.
    radius : array of float64, shape (images,)
        The largest ε that can be certified; 0 if the label is not the predicted class, infinite if the label is predicted
        in the whole box.
    """

    certified: np.ndarray
    radius: np.ndarray


class SampledAnswers(NamedTuple):
    """Predictions for images under noise: mean and variance of the class probabilities, and votes, (images, classes)."""

    mean: np.ndarray
    variance: np.ndarray
    votes: np.ndarray


def why_not_smoothable(model: object) -> str | None:
    """Return a one-line reason why a model has no smoothing certificate, or None if it has one."""
    if not isinstance(model, NoisyNetwork):
        return f"{type(model).__name__} has no noise"
    first = model.layers[0]
    responds = None if first.activation is None else first.activation.name
    if isinstance(first, NoisyTime) and first.leak and responds not in WITHIN_ONE:
        return f"units with a leak are {responds or 'linear'}; the certificate is for responses from 0 to 1"
    law = first.law
    if not isinstance(law, Gaussian):
        return f"noise in the first layer is {'absent' if law is None else law.name}; the certificate is for gaussian noise"
    return None


def smoothing_certificate(
    network: NoisyNetwork,
    x: Array,
    labels: Array,
    ids: np.ndarray,
    epsilon: float,
    norm: str = "linf",
    replications: int = 10_000,
    seed: int = 0,
    *,
    predictor: str = "probabilities",
    confidence: float = 0.999,
) -> Smoothed:
    """Certify the mean prediction of a network with Gaussian noise in its first layer.

    Parameters
    ----------
    network : NoisyNetwork
    x : array of uint8 or float, shape (images, inputs)
        Images with pixels in [0, 1].
    labels : array of int, shape (images,) or (images, 1)
    ids : array of int64, shape (images,)
        Image indices, which together with the seed determine each image's noise.
    epsilon : float
        Radius of the ball, at least 0; the certified ball is slightly larger, to allow for rounding, as in
        :func:`minicereb.certificates.certify.certify`.
    norm : {"linf", "l2"}
    replications : int
        Number of draws for each image, at least 2.
    seed : int
    predictor : {"probabilities", "votes"}
        Which class to certify: the class with the largest mean probability (LAP), or the most frequent class. Both refer to all
        possible noise (K → ∞), of which the draws are a sample.
    confidence : float
        Confidence of each image's certificate, between 0 and 1.

    Returns
    -------
    Smoothed

    Raises
    ------
    InputError
        If the first layer's noise is not Gaussian, a setting is not allowed, or images and labels do not fit the network or each
        other.
    """
    reason = why_not_smoothable(network)
    if reason is not None:
        raise InputError("model", type(network).__name__, f"a network with a smoothing certificate: {reason}")
    require(0 <= epsilon < float("inf"), "epsilon", epsilon, "a number of at least 0")
    require(norm in NORMS, "norm", norm, " or ".join(NORMS))
    require(predictor in PREDICTORS, "predictor", predictor, " or ".join(PREDICTORS))
    require(replications >= 2, "replications", replications, "a whole number of at least 2")
    require(0 < confidence < 1, "confidence", confidence, "a number between 0 and 1")
    check_rows(x, network.layers[0].inputs, "images", stored=True)
    on_host = to_numpy(as_labels(labels, len(x), network.widths[-1]))
    x = x if x.dtype == np.float64 else to_unit(x)
    check_images(x)
    draws = noisy_answers(network, x, ids, replications, seed)
    label, rival = probability_bounds(draws, on_host, replications, 1 - confidence, predictor)
    shift = signal_shift(network, label, rival)
    if norm == "linf":
        radius = linf_radius(network, to_numpy(x), shift)
    else:
        length = network.layers[0].gain() * SPECTRAL_SLACK
        radius = shift / length if length > 0 else np.where(shift > 0, np.inf, 0.0)
    return Smoothed(radius > with_rounding(epsilon, norm, x.shape[1]), radius)


def noisy_answers(network: NoisyNetwork, x: Array, ids: np.ndarray, replications: int, seed: int) -> SampledAnswers:
    """Return a noisy network's predictions under fresh noise; arguments as for :func:`smoothing_certificate`."""
    check_rows(x, network.layers[0].inputs)
    check_count(ids, len(x), "ids")
    xp = xp_of(x)
    x_t = xp.ascontiguousarray(x.T)
    classes = network.widths[-1]

    def answers(image: int) -> np.ndarray:
        total = np.zeros((3, classes), dtype=np.float64)
        for number, part in enumerate(blocks(replications, REPLICATIONS)):
            shapes = [(width, 1, part.stop - part.start) for width in network.widths]
            laws = [layer.law for layer in network.layers]
            noise = draw_noise(x, laws, shapes, seed, "certificate noise", (int(ids[image]), number))
            outputs = network.run(x_t[:, image : image + 1], noise).outputs
            found = probabilities(outputs)[:, 0].astype(xp.float64)
            votes = outputs[:, 0].argmax(axis=0) == xp.arange(classes)[:, None]
            total += to_numpy(xp.stack([found.sum(axis=1), (found * found).sum(axis=1), votes.sum(axis=1).astype(xp.float64)]))
        return total

    shape = (3, len(x), classes)
    sums, squares, votes = np.array(run_lanes(answers, list(range(len(x)))), dtype=np.float64).swapaxes(0, 1).reshape(shape)
    mean = sums / replications
    variance = np.maximum(squares - sums * mean, 0.0) / (replications - 1)
    return SampledAnswers(mean, variance, votes.astype(np.int64))


def probability_bounds(
    draws: SampledAnswers, labels: np.ndarray, replications: int, risk: float, predictor: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return p_A, a lower bound on the probability of the label, and p_B, an upper bound on the probability of any other class.
    Both have the shape (images,).

    Each class has its own bound, which fails with probability at most `risk` / classes, so all bounds of an image hold together
    with probability at least 1 - risk. This requires that the labels were fixed before the noise was drawn.
    """
    images, classes = draws.mean.shape
    labels = as_labels(labels, images, classes)
    if predictor == "votes":
        intervals = [
            [proportion_interval(int(hits), replications, 1 - 2 * risk / classes) for hits in image] for image in draws.votes
        ]
        low, high = np.array(intervals, dtype=np.float64).reshape(images, classes, 2).transpose(2, 0, 1)
    else:
        deviation = mean_deviation(draws.variance, replications, risk / classes) + PROBABILITY_ROUNDING
        low, high = np.maximum(draws.mean - deviation, 0.0), np.minimum(draws.mean + deviation, 1.0)
    label = low[np.arange(images), labels]
    high[np.arange(images), labels] = 0.0
    return label, np.minimum(high.max(axis=1), 1 - label)


def signal_shift(network: NoisyNetwork, label: np.ndarray, rival: np.ndarray) -> np.ndarray:
    """Return how far in L2 the first layer's signals may move while the label still leads: ``σ/2 (Φ⁻¹(p_A) - Φ⁻¹(p_B))``."""
    scale = abs(float(to_numpy(network.layers[0].scale)[0]))
    with np.errstate(invalid="ignore"):  # (-∞) - (-∞) gives NaN, and then nothing can be certified
        distance = 0.5 * scale * (ndtri(label) - ndtri(rival))
    return np.where(label > rival, np.nan_to_num(distance, nan=0.0, posinf=np.inf), 0.0)


def linf_radius(network: NoisyNetwork, x: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Return for each image the largest ε in L∞ for which the signals of the first layer move by less than `shift`.

    A signal moves by at most ``ε‖w_a‖₁``, and by less where pixels reach the limits of the box. In recurrent and spiking
    layers the earlier responses are held fixed ``[M-ADAPTIVE]``.
    """
    first, x = network.layers[0], x.astype(np.float64)
    alone = replace(first, weight=to_numpy(first.weight).astype(np.float64), bias=to_numpy(first.bias).astype(np.float64))

    def moved(epsilon: np.ndarray) -> np.ndarray:
        changes = alone.largest_changes(np.minimum(epsilon[:, None], 1 - x), np.minimum(epsilon[:, None], x))
        return np.sqrt((changes**2).sum(axis=1)) * SPECTRAL_SLACK

    inside, outside = np.zeros(len(x), dtype=np.float64), np.ones(len(x), dtype=np.float64)
    for _ in range(RADIUS_STEPS):
        middle = 0.5 * (inside + outside)
        holds = moved(middle) < shift
        inside, outside = np.where(holds, middle, inside), np.where(holds, outside, middle)
    return np.where((shift > 0) & (moved(np.ones(len(x), dtype=np.float64)) < shift), np.inf, np.where(shift > 0, inside, 0.0))
