"""Statistics from earlier steps for the images of a batch: they give a baseline of the loss, and allocate the replications."""

from __future__ import annotations

from typing import NamedTuple

from minicereb.backend import Array, xp_of
from minicereb.learning.probes import draw_units

BASELINES = ("mean", "class", "image")
ALLOCATIONS = ("equal", "scatter")
CLASS_RATE = 0.1  # share of a class's running mean that a step replaces
IMAGE_RATE = 0.25  # share of an image's deviation from it that a step replaces
FLOOR = 0.2  # share of the replications that is allocated equally


class History(NamedTuple):
    """Statistics from earlier steps that an estimator may use, for each image of a batch.

    Attributes
    ----------
    baseline : array, shape (images,), or None
        The baseline b, which is subtracted from the loss ``[M-LEARNED]``; None for a baseline from the replications
        themselves.
    weights : array, shape (images,), or None
        Factors of the images' gradients ``[M-NEYMAN]``; None if every factor is 1.
    """

    baseline: Array | None = None
    weights: Array | None = None

    def of(self, images: slice) -> History:
        """Return the statistics of some of the images."""
        return History(*(None if array is None else array[images] for array in self))


NO_HISTORY = History()


class RunningMean:
    """A running mean of each class and, optionally, of each image's deviation from its class mean ``[M-LEARNED]``.

    Parameters
    ----------
    like : array
        Determines the array library and the dtype.
    classes, images : int
        Number of classes, and number of images with a running mean of their own (0 for none).
    """

    def __init__(self, like: Array, classes: int, images: int):
        xp = xp_of(like)
        self.by_class = xp.zeros(classes, dtype=like.dtype)
        self.by_image = xp.zeros(images, dtype=like.dtype)

    def of(self, labels: Array, ids: Array | None) -> Array:
        """Return the mean for each image or, if `ids` (the images' indices) is None, the mean of its class."""
        mean = self.by_class[labels]
        return mean if ids is None or not len(self.by_image) else mean + self.by_image[ids]

    def update(self, labels: Array, ids: Array | None, values: Array, times: Array, step: int) -> None:
        """Update the means with new values.

        Parameters
        ----------
        labels : array of int, shape (images,)
        ids : array of int, shape (images,), or None
            Indices of the images, without repeats.
        values : array, shape (images,)
        times : array, shape (images,)
            Weight of each value in the mean of its class; 0 for images without a value.
        step : int
            Number of earlier steps.
        """
        xp = xp_of(values)
        if ids is not None and len(self.by_image):
            change = IMAGE_RATE * (values - self.by_class[labels] - self.by_image[ids])
            self.by_image[ids] += xp.where(times > 0, change, 0).astype(values.dtype)
        member = (labels == xp.arange(len(self.by_class))[:, None]) * times
        total = member.sum(axis=1)
        mean = (member * values).sum(axis=1) / xp.where(total > 0, total, 1)
        rate = max(CLASS_RATE, 1 / (step + 1))
        self.by_class += xp.where(total > 0, rate * (mean - self.by_class), 0).astype(values.dtype)


class Allocated(NamedTuple):
    """Replications drawn for the images of a batch; each draw is for one image.

    Attributes
    ----------
    images : array of int, shape (draws,)
        For each draw, the index of its image; the indices ascend.
    weights : array, shape (draws,)
        Factors of the draws' gradients. With these factors, the mean over the draws is an unbiased estimate of the mean over
        the batch.
    """

    images: Array
    weights: Array


def allocate(scatter: Array, start: Array, draws: int) -> Allocated:
    """Allocate draws to images: some of the draws equally, the others in proportion to the images' scatter ``[M-NEYMAN]``.

    Parameters
    ----------
    scatter : array, shape (images,)
        Mean norm of an image's gradient in one draw, estimated from earlier steps; values below 0 count as 0.
    start : array, shape (1,), value from 0 to 1
        Random start of the equally spaced points that choose the images.
    draws : int
        Number of draws for all images together.
    """
    xp = xp_of(scatter)
    scatter = xp.maximum(scatter, 0)
    mean = scatter.mean()
    chance = xp.where(mean > 0, (1 - FLOOR) * scatter / xp.where(mean > 0, mean, 1) + FLOOR, 1).astype(scatter.dtype)
    drawn = draw_units(chance[:, None, None], start[:, None], draws)
    return Allocated(drawn.units[0], (draws / len(scatter)) / drawn.times[0])


def by_image(values: Array, images: Array, number: int) -> Array:
    """Return, for each image, the sum of the values of its draws.

    There are `number` images; `images` gives for each draw the index of its image.
    """
    xp = xp_of(values)
    return (images == xp.arange(number)[:, None]).astype(values.dtype) @ values
