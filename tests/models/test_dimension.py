"""The granule layer's products between images: against the whole activity, and their dimension against known covariances."""

import numpy as np
import pytest

from minicereb import backend
from minicereb.backend import to_device, to_numpy
from minicereb.calculus.dimension import participation_ratio, threshold_dimension
from minicereb.errors import InputError
from minicereb.models import dimension
from minicereb.models.dimension import drawn_thresholds, granule_gram, normal_thresholds, with_equal_weights
from minicereb.models.wiring import draw_wiring
from minicereb.randomness import generator


def normal(images, inputs, seed=0):
    return generator(seed, "normal inputs of a test").standard_normal((images, inputs), dtype=np.float32)


def activity(wiring, x, thresholds=None):
    """Return the whole activity, on the host."""
    v = to_numpy(
        wiring.project(
            slice(0, wiring.cells),
            to_device(np.ascontiguousarray(x.T)),
            to_device(np.empty((wiring.cells, len(x)), dtype=np.float32)),
        )
    )
    return np.maximum(v, 0) if thresholds is None else (v > to_numpy(thresholds)[:, None]).astype(np.float32)


@pytest.mark.parametrize("kind", ["random", "full"])
@pytest.mark.parametrize("binary", [False, True])
def test_the_products_are_those_of_the_whole_activity(xp_device, monkeypatch, kind, binary):
    monkeypatch.setattr(dimension, "CELLS", 300)
    monkeypatch.setattr(dimension, "TILE", 16)
    wiring, x = draw_wiring(kind, 1_000, (5, 6), 4, 0), normal(50, 30)
    thresholds = normal_thresholds(wiring, 0.1) if binary else None
    found, h = granule_gram(wiring, to_device(x), thresholds), activity(wiring, x, thresholds).astype(np.float64)
    assert isinstance(found.products, np.ndarray)
    assert np.allclose(found.products, h.T @ h, rtol=1e-5, atol=1e-4)
    assert found.active == pytest.approx((h > 0).mean(), abs=1e-4)


def test_the_threads_do_not_change_a_bit():
    wiring, x = draw_wiring("random", 3_000, (28, 28), 4, 0), to_device(normal(600, 784))
    found = []
    for threads in (1, 3):
        backend.configure(threads=threads)
        found.append(granule_gram(wiring, x, drawn_thresholds(wiring, x, 0.2)))
    assert (found[0].products == found[1].products).all()
    assert found[0].active == found[1].active


def test_thresholds_are_exceeded_as_often_as_they_should(xp_device):
    wiring, x = draw_wiring("random", 500, (5, 6), 3, 0), normal(4_000, 30)
    assert activity(wiring, x, normal_thresholds(wiring, 0.1)).mean() == pytest.approx(0.1, abs=0.002)
    fires = activity(wiring, x, drawn_thresholds(wiring, to_device(x), 0.1)).mean(axis=1)
    assert np.allclose(fires, 0.1, rtol=0, atol=1e-6)
    with pytest.raises(InputError, match="level"):
        drawn_thresholds(wiring, to_device(x), 1.0)
    with pytest.raises(InputError, match="level"):
        normal_thresholds(wiring, 0.0)


def test_a_cell_whose_drive_is_always_the_same_does_not_fire():
    wiring, x = draw_wiring("random", 50, (5, 6), 3, 0), np.zeros((20, 30), dtype=np.float32)
    assert granule_gram(wiring, x, drawn_thresholds(wiring, x, 0.1)).active == 0


def test_relu_cells_have_the_dimension_of_their_covariance():
    """Two ReLU of jointly normal drives of correlation r: E[h h'] = σσ'(√(1 - r²) + r(π - arccos r))/2π, E[h] = σ/√2π."""
    wiring = draw_wiring("random", 400, (6, 6), 4, 0)
    weights = np.zeros((400, 36), dtype=np.float64)
    np.put_along_axis(weights, wiring.inputs, wiring.weights, axis=1)
    drive = weights @ weights.T
    scale = np.sqrt(np.diagonal(drive))
    r = np.clip(drive / np.outer(scale, scale), -1, 1)
    covariance = np.outer(scale, scale) * (np.sqrt(1 - r**2) + r * (np.pi - np.arccos(r)) - 1) / (2 * np.pi)
    found = participation_ratio(granule_gram(wiring, normal(1_500, 36)).products)
    truth = np.trace(covariance) ** 2 / np.square(covariance).sum()
    assert (found.low / found.value) ** 2 < truth / found.value < (found.high / found.value) ** 2  # 3.9 standard errors
    assert found.high / found.low < 1.03


def test_equal_weights_and_thresholds_have_the_dimension_of_the_closed_form():
    wiring = with_equal_weights(draw_wiring("random", 3_000, (20, 20), 4, 0))
    assert np.allclose(wiring.weights, 0.5)
    found = participation_ratio(granule_gram(wiring, normal(800, 400), normal_thresholds(wiring, 0.1)).products)
    expected = threshold_dimension(400, 4, 3_000, 0.1)
    assert found.value == pytest.approx(expected, rel=0.03)  # every wiring has a D of its own, within 1% or so
