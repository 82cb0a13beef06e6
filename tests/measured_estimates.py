"""Repeated estimates of a gradient, compared with the truth: Student's t for every number, with Bonferroni's correction."""

import numpy as np
from scipy import stats

from minicereb.learning.glr import estimate
from minicereb.learning.noise import Address, Sobol

FALSE_ALARM = 1e-6  # how often a perfect estimator would fail one of these tests
TIMES_FEWER = {"sobol": 2, "rao-blackwell": 2, "flip": 16, "resample": 8, "backprop": 4}  # samples do for these


def measure(network, loss, estimator, x, labels, samples=1 << 16, rounds=64):
    """Return rounds of estimates, each of many copies of all images, by the names of the oracle's derivatives(); rounds first.

    Each image has only 4 replications, with which a bias of 1/replications would be noticed.
    """
    replications = 128 if isinstance(estimator.design, Sobol) else 4
    copies = samples // TIMES_FEWER.get(estimator.name, 1) // (rounds * replications * len(x))
    many_x, many_labels = np.tile(x, (copies, 1)), np.tile(labels, copies)
    found = {}
    for number in range(rounds):
        one = estimate(network, loss, estimator, many_x, many_labels, replications, Address(0, (number,)), scales=True)
        d_x = network.layers[0].input_gradient(one.first_credit)
        values = {"loss": one.loss.reshape(copies, -1).mean(axis=0), "input": d_x.reshape(copies, *x.shape).mean(axis=0)}
        for layer, gradient in enumerate(one.gradients):
            values.update({f"{name}_{layer}": array for name, array in gradient.items()})
        for name, array in values.items():
            found.setdefault(name, []).append(array.astype(np.float64))
    return {name: np.array(arrays) for name, arrays in found.items()}


def compare(found, truth, unnoticed=1e-5):
    """The largest error of a mean over rounds, and for each array the error it may have relative to its largest true number.

    Errors are in units of what is allowed: Student's t, and a share of the largest number of the array, for rounding to float32
    or for what so few samples do not show.
    """
    rounds, numbers = len(found["loss"]), sum(truth[name].size for name in found)
    limit = stats.t.isf(FALSE_ALARM / 2 / numbers, rounds - 1)
    errors, resolution = {}, {}
    for name, values in found.items():
        size = np.abs(truth[name]).max()
        allowed = limit * values.std(axis=0, ddof=1) / rounds**0.5 + unnoticed * max(size, 0.1)
        errors[name] = float((np.abs(values.mean(axis=0) - truth[name]) / allowed).max())
        resolution[name] = float(allowed.max() / size) if size else 0.0
    return errors, resolution


def assert_unbiased(found, truth, resolution=0.6, unnoticed=1e-5):
    """The means are right, and another factor would be noticed: the tolerance is a fraction of the true value."""
    errors, resolved = compare(found, truth, unnoticed)
    assert max(errors.values()) < 1, errors
    assert max(resolved.values()) < resolution, resolved
