"""Batch normalisation and dropout: their effect on a channel, their derivatives, and dropout's probabilities."""

import numpy as np
import pytest

from minicereb.backend import to_device, to_numpy
from minicereb.calculus.batchnorm import (
    EPSILON,
    batch_norm,
    batch_norm_input_gradient,
    batch_norm_weight_gradient,
    frozen_scale,
)
from minicereb.calculus.dropout import dropout_mask
from minicereb.randomness import generator

RNG = generator(0, "batch normalisation")
V, GAMMA, BETA, CREDIT = (RNG.standard_normal(shape) for shape in ((6, 3, 4, 5), (5,), (5,), (6, 3, 4, 5)))


@pytest.mark.parametrize("shape", [(72, 5), (6, 3, 4, 5)])
def test_every_channel_is_centred_and_scaled(shape):
    h, cache = batch_norm(100 + 3 * V.reshape(shape), GAMMA, BETA)
    flat = h.reshape(-1, 5)
    assert flat.mean(axis=0) == pytest.approx(BETA)
    variance = (3 * V.reshape(-1, 5)).var(axis=0)
    assert flat.std(axis=0) == pytest.approx(np.abs(GAMMA) * np.sqrt(variance / (variance + EPSILON)))
    assert cache.mean == pytest.approx((100 + 3 * V).mean(axis=(0, 1, 2)))
    assert cache.variance == pytest.approx(variance)


@pytest.mark.parametrize("size", [1, 300, 10**6])
def test_blocks_and_the_order_in_memory_change_nothing(monkeypatch, size):
    h, cache = batch_norm(V, GAMMA, BETA)
    expected = h, batch_norm_input_gradient(CREDIT, cache), *batch_norm_weight_gradient(CREDIT, cache)
    monkeypatch.setattr("minicereb.parallel.ACTIVITY_BYTES", size)
    turned, credit = np.asfortranarray(V), np.asfortranarray(CREDIT)
    h, cache = batch_norm(turned, GAMMA, BETA)
    found = h, batch_norm_input_gradient(credit, cache), *batch_norm_weight_gradient(credit, cache)
    assert np.array_equal(turned, V)
    for one, other in zip(found, expected, strict=True):
        assert np.allclose(one, other, rtol=0, atol=1e-12)


def test_a_channel_that_does_not_vary_is_harmless():
    h, cache = batch_norm(np.full((4, 2), 7.0), np.ones(2), np.zeros(2))
    assert np.array_equal(h, np.zeros((4, 2)))
    assert np.isfinite(batch_norm_input_gradient(np.ones((4, 2)), cache)).all()


def test_frozen_with_the_batchs_own_statistics_it_is_the_same_map():
    h, cache = batch_norm(V, GAMMA, BETA)
    scale, shift = frozen_scale(GAMMA, BETA, cache.mean, cache.variance)
    assert np.allclose(scale * V + shift, h, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_device_normalises_the_same_way(xp_device, dtype):
    v, gamma, beta, credit = (to_device(array.astype(dtype)) for array in (V, GAMMA, BETA, CREDIT))
    h, cache = batch_norm(v, gamma, beta)
    found = h, batch_norm_input_gradient(credit, cache), *batch_norm_weight_gradient(credit, cache)
    found += frozen_scale(gamma, beta, cache.mean, cache.variance)
    expected_h, host = batch_norm(V, GAMMA, BETA)
    expected = expected_h, batch_norm_input_gradient(CREDIT, host), *batch_norm_weight_gradient(CREDIT, host)
    expected += frozen_scale(GAMMA, BETA, host.mean, host.variance)
    for one, other in zip(found, expected, strict=True):
        assert type(one) is xp_device.ndarray
        assert one.dtype == dtype
        assert np.allclose(to_numpy(one), other, rtol=0, atol=2e-5)


# -- dropout -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dropout_silences_as_many_as_it_says_and_keeps_the_mean(rate, dtype):
    mask = dropout_mask(np.empty(0, dtype=dtype), (200, 500), rate, 0, 1, 2)
    assert mask.dtype == dtype
    assert set(np.unique(mask)) <= {0, dtype(1 / (1 - rate))}
    deviation = np.sqrt(rate * (1 - rate) / mask.size)
    assert abs((mask == 0).mean() - rate) <= 5.4 * deviation  # one false alarm in ten million
    if rate:
        rows = (mask == 0).mean(axis=1)
        assert rows.var() == pytest.approx(rate * (1 - rate) / 500, rel=0.6)  # units are silenced one by one


def test_a_mask_belongs_to_its_address():
    like = np.empty(0, dtype=np.float32)
    drawn = [dropout_mask(like, (50, 4), 0.5, seed, *numbers) for seed, *numbers in ((0, 1, 2), (0, 1, 3), (0, 2, 2), (1, 1, 2))]
    assert np.array_equal(drawn[0], dropout_mask(like, (50, 4), 0.5, 0, 1, 2))
    for n, mask in enumerate(drawn):
        assert not any(np.array_equal(mask, other) for other in drawn[n + 1 :])


def test_every_device_draws_the_same_mask(xp_device):
    mask = dropout_mask(to_device(np.zeros(1, dtype=np.float32)), (30, 7), 0.3, 0, 5)
    assert np.array_equal(to_numpy(mask), dropout_mask(np.empty(0, dtype=np.float32), (30, 7), 0.3, 0, 5))
