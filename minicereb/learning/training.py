"""Training as a generator: it yields events, and the consumer shows them, saves checkpoints, or stops.

All state is in the learner's arrays and a :class:`Position`; the order of the images depends only on the seed and the epoch. So
training can resume from any yielded event and ends with the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from minicereb.backend import Array, to_device, to_numpy, xp_of
from minicereb.datasets.dataset import Dataset
from minicereb.datasets.transforms import crop_and_flip, to_unit
from minicereb.errors import DataError, MinicerebError, require
from minicereb.inputs import as_ids, as_labels, check_rows
from minicereb.learning.plasticity import Learned
from minicereb.parallel import blocks, images_per_block, one_blas_thread
from minicereb.randomness import generator

CHOOSE_ON = ("validation", "test")
VALIDATION_BLOCK = 256  # images evaluated together: fixed, because each block has its own noise
SAMPLE = 1000  # evenly spaced training images on which divergence is tested
FAR = 10  # training has diverged if the loss is this many times the loss of constant answers
# Non-finite values are reported as divergence, in one line; NumPy's own warnings are switched off.
QUIET: Any = {"over": "ignore", "invalid": "ignore", "divide": "ignore"}


class Learner(Protocol):
    """A learning rule bound to a model: :class:`DeltaRule`, :class:`Backpropagation`, :class:`GLR`, or a wrapper around one.

    If the learner has a method ``losses(x, labels, block) -> array (images,)``, the validation loss is recorded after every
    epoch. If the learner has a method ``hits(x, labels, block) -> array of bool (images,)``, this method decides which
    validation images count as correct. If the learner's attribute ``numbered`` is true, ``learn`` receives the images' indices
    in the data set as a third argument.
    """

    model: Any
    batch_size: int
    steps: int

    @property
    def batches_ahead(self) -> int:
        """Number of batches for one call of ``learn``."""

    def arrays(self) -> dict[str, Array]:
        """Return the arrays that learning changes in place, keyed by name."""

    def learn(self, x: Array, labels: Array) -> Iterator[Learned]:
        """Learn from a few batches, one after the other."""

    def loss_of(self, outputs: Array, labels: Array) -> Array:
        """Return the loss of each image, shape (images,), given the model's outputs."""


@dataclass(frozen=True)
class Position:
    """The progress of training. Together with the learner's arrays, it is all that resuming needs.

    Parameters
    ----------
    epoch : int
        The current epoch, from 0; equal to ``epochs`` when training is complete.
    seen : int
        Number of training images from which this epoch has learned so far.
    loss_sum : float
        Sum of these images' losses, each measured before its update.
    correct : int
        Number of these images that were classified correctly before their update.
    steps : int
        Number of updates since the start of training.
    best_epoch : int
        Epoch (from 1) with the best accuracy so far on the selection images; 0 before the end of the first epoch.
    best_accuracy : float
        That accuracy.
    """

    epoch: int = 0
    seen: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    steps: int = 0
    best_epoch: int = 0
    best_accuracy: float = -1.0


@dataclass(frozen=True)
class EpochDone:
    """Result of an epoch; training losses and accuracies are measured before each update.

    The test accuracy is given only if the best epoch is chosen by the test accuracy.
    """

    epoch: int
    loss: float
    train_accuracy: float
    validation_accuracy: float | None
    validation_loss: float | None = None
    test_accuracy: float | None = None


class Split:
    """Training images, divided into images to learn from and images held out for validation.

    Parameters
    ----------
    dataset : Dataset
    validation : float
        Fraction of the training images that is held out, at least 0 and below 1.
    seed : int
        Seed of the split.
    choose_on : {"validation", "test"}
        The images that select the best epoch: those held out or, as in some published code, the test images. Selection by
        test images makes test results too optimistic.
    """

    def __init__(self, dataset: Dataset, validation: float, seed: int, choose_on: str = "validation"):
        require(0 <= validation < 1, "validation", validation, "a share from 0 to less than 1")
        require(choose_on in CHOOSE_ON, "choose-on", choose_on, " or ".join(CHOOSE_ON))
        order = generator(seed, "validation split").permutation(len(dataset.x_train))
        held_out = round(validation * len(order))
        require(held_out < len(order), "validation", validation, "a share that leaves images to learn from")
        self.dataset, self.choose_on = dataset, choose_on
        self.validation, self.training = np.sort(order[:held_out]), np.sort(order[held_out:])


def accuracy(model: Any, rows: np.ndarray, labels: np.ndarray, ids: np.ndarray | None = None) -> float:
    """Return the fraction of images that `model` classifies correctly.

    Parameters
    ----------
    model : classifier
        An object with a method ``forward``.
    rows : array of uint8 or float, shape (images, inputs)
    labels : array of int, shape (images,)
    ids : array of int, optional
        The images to classify; all of them by default.
    """
    check_rows(rows, setting="rows", stored=True)
    labels = as_labels(labels, len(rows))
    ids = np.arange(len(rows)) if ids is None else as_ids(ids, len(rows))
    size, correct = images_per_block(getattr(model, "bytes_per_image", 0)), 0
    for start in range(0, len(ids), size):
        block = ids[start : start + size]
        with np.errstate(**QUIET), one_blas_thread():
            outputs = model.forward(to_unit(to_device(rows[block])))[0]
        correct += int((to_numpy(outputs.argmax(axis=1)) == labels[block]).sum())
    return correct / max(1, len(ids))


def train(
    learner: Learner,
    split: Split,
    epochs: int,
    seed: int,
    position: Position,
    best: dict[str, Array],
    augment: bool = False,
) -> Iterator[tuple[Position, EpochDone | None]]:
    """Train from `position`, yielding the new position after every few batches and every epoch.

    Parameters
    ----------
    learner : Learner
        The learner, whose arrays are changed in place.
    split : Split
    epochs : int
        Number of passes over the training images.
    seed : int
        Seed of the order of the images in each epoch, and of the augmentation.
    position : Position
        Starting point; ``Position()`` for the beginning.
    best : dict
        A dict that receives copies of the learner's arrays at the epoch with the best accuracy on the selection images of
        `split`. Ties go to the earliest epoch; without selection images, the last epoch is kept.
    augment : bool
        Whether to shift and mirror each image anew in every epoch, before the learner uses it
        (:func:`~minicereb.datasets.transforms.crop_and_flip`).

    Yields
    ------
    position : Position
    done : EpochDone or None
        The result of each epoch, at its end.

    Raises
    ------
    MinicerebError
        If a loss or a weight is no longer finite.
    """
    data, size = split.dataset, learner.batch_size
    learner.steps = position.steps
    while position.epoch < epochs:
        order = split.training[generator(seed, "order", position.epoch).permutation(len(split.training))]
        group = learner.batches_ahead * size
        while position.seen < len(order):
            ids = order[position.seen : position.seen + group]
            rows, labels = to_device(data.x_train[ids]), to_device(data.y_train[ids])
            if augment:
                rows = crop_and_flip(rows, data.image_shape, seed, position.epoch, to_device(ids))
            losses, hits = [], []  # read at the end of the group, to avoid waiting for the GPU at every step
            with np.errstate(**QUIET), one_blas_thread():  # once per group: this call takes a tenth of the time of a small batch
                for batch, learned in enumerate(learn_numbered(learner, to_unit(rows), labels, to_device(ids))):
                    losses.append(learned.loss.sum(dtype=np.float64))
                    hits.append((learned.outputs.argmax(axis=1) == labels[batch * size : (batch + 1) * size]).sum())
            loss, correct = sum(map(float, losses)), sum(map(int, hits))
            _check_finite(loss, learner, position.epoch + 1)
            loss, correct = position.loss_sum + loss, position.correct + correct
            position = replace(position, seen=position.seen + len(ids), loss_sum=loss, correct=correct, steps=learner.steps)
            if position.seen < len(order):
                yield position, None
        position, done = _end_epoch(learner, split, position, best)
        yield position, done


def learn_numbered(learner: Any, x: Array, labels: Array, ids: Array) -> Iterator[Learned]:
    """Let a learner learn from a few batches, and pass it the images' indices if it uses them."""
    numbers = (ids,) if getattr(learner, "numbered", False) else ()
    return learner.learn(x, labels, *numbers)  # type: ignore[no-any-return]


def _check_finite(value: float, learner: Any, epoch: int | None = None) -> None:
    if not np.isfinite(value):
        when = "" if epoch is None else f" in epoch {epoch}"
        raise MinicerebError(f"training diverged{when}: a value is {value}; {_advice(learner)}")


def _advice(learner: Any) -> str:
    rate = getattr(getattr(getattr(learner, "learner", learner), "optimizer", None), "learning_rate", None)
    here = "" if rate is None else f" ({rate:g} here)"
    return f"lower --learning-rate{here}, and give another --out if you gave one"


def _outputs(model: Any, x: Array) -> Array:
    """Return the outputs for a sample, computed in blocks that fit the memory budget."""
    size = images_per_block(getattr(model, "bytes_per_image", 0))
    with np.errstate(**QUIET), one_blas_thread():
        parts = [model.forward(x[part])[0] for part in blocks(len(x), size)]
    return xp_of(x).concatenate(parts)


def divergence(learner: Learner, split: Split, last_loss: float | None = None) -> str | None:
    """Return a one-line warning if the finished training has diverged, otherwise None.

    Parameters
    ----------
    learner : Learner
        The learner, with its final weights.
    split : Split
    last_loss : float, optional
        Mean loss of the last epoch, if the weights that were kept are from an earlier epoch.

    Returns
    -------
    str or None
        A warning that names the losses and the learning rate.

    Raises
    ------
    MinicerebError
        If an output is not finite. (Training itself does not notice this after the last update, because it computes no further
        loss.)

    Notes
    -----
    The loss on up to 2,000 unaugmented training images is compared with the loss of constant outputs: all 0, or 1 for the
    commonest class and 0 for the others, whichever loss is larger. Training has diverged if the loss is more than ten times the
    loss of constant outputs. It has also diverged if two things are true together: the loss is more than twice the loss of
    constant outputs (rare even for an untrained network), and the accuracy is at most two standard errors above the share of the
    commonest class.
    """
    ids = split.training[:: max(1, len(split.training) // SAMPLE)]
    x, labels = to_unit(to_device(split.dataset.x_train[ids])), to_device(split.dataset.y_train[ids])
    outputs, counts = _outputs(learner.model, x), np.bincount(to_numpy(labels))
    with np.errstate(**QUIET):
        _check_finite(float(abs(outputs).max()), learner)
    nothing = xp_of(x).zeros_like(outputs)
    same = nothing.copy()
    same[:, int(counts.argmax())] = 1
    with np.errstate(**QUIET):
        loss, *constants = (float(learner.loss_of(each, labels).mean()) for each in (outputs, nothing, same))
    constant, commonest = max(constants), float(counts.max()) / len(x)
    right = float((outputs.argmax(axis=1) == labels).mean())
    chance = commonest + 2 * (commonest * (1 - commonest) / len(x)) ** 0.5
    if loss > FAR * constant or (loss > 2 * constant and right <= chance):
        found = f"the loss on training images is {loss:.4g}, that of constant answers {constant:.4g}"
    elif last_loss is not None and last_loss > FAR * constant:
        found = f"the last epoch's loss is {last_loss:.4g}, that of constant answers {constant:.4g}; an earlier epoch was kept"
    else:
        return None
    return f"training diverged: {found}; {_advice(learner)}"


def _end_epoch(learner: Learner, split: Split, position: Position, best: dict[str, Array]) -> tuple[Position, EpochDone]:
    epoch, held_out = position.epoch + 1, len(split.validation)
    with np.errstate(**QUIET):  # no loss has been computed since the last update
        for array in learner.arrays().values():
            _check_finite(float(abs(array).max()), learner, epoch)
    validation = None
    if held_out and hasattr(learner, "hits"):
        validation = _held_out_mean(learner.hits, split)
    elif held_out:
        validation = accuracy(learner.model, split.dataset.x_train, split.dataset.y_train, split.validation)
    test = accuracy(learner.model, split.dataset.x_test, split.dataset.y_test) if split.choose_on == "test" else None
    chosen = validation if test is None else test
    held_out_loss = _held_out_mean(learner.losses, split) if held_out and hasattr(learner, "losses") else None
    if held_out_loss is not None:
        _check_finite(held_out_loss, learner, epoch)
    loss, correct = position.loss_sum / position.seen, position.correct / position.seen
    done = EpochDone(epoch, loss, correct, validation, held_out_loss, test)
    position = replace(position, epoch=epoch, seen=0, loss_sum=0.0, correct=0)
    if chosen is None or chosen > position.best_accuracy:
        best.update({name: array.copy() for name, array in learner.arrays().items()})
        position = replace(position, best_epoch=epoch, best_accuracy=-1.0 if chosen is None else chosen)
    return position, done


def _held_out_mean(tell: Callable[[Array, Array, int], Array], split: Split) -> float:
    """Return the mean of `tell` over the validation images, computed in blocks of fixed size."""
    total = 0.0
    for number, part in enumerate(blocks(len(split.validation), VALIDATION_BLOCK)):
        ids = split.validation[part]
        x, labels = to_unit(to_device(split.dataset.x_train[ids])), to_device(split.dataset.y_train[ids])
        with np.errstate(**QUIET):
            total += float(tell(x, labels, number).sum(dtype=np.float64))
    return total / len(split.validation)


def restore(arrays: Mapping[str, Array], stored: Mapping[str, np.ndarray]) -> None:
    """Write stored host arrays into a learner's arrays of the same names, in place.

    If an array is missing, or has another type or shape, nothing is changed, and a :class:`DataError` names the array.
    """
    for name, array in arrays.items():
        found = stored.get(name)
        if found is None or found.shape != array.shape or found.dtype != array.dtype:
            what = "is missing" if found is None else f"is {found.dtype} {found.shape}"
            raise DataError(f"the array {name} {what}; expected {array.dtype} {array.shape}")
    for name, array in arrays.items():
        array[...] = to_device(stored[name])
