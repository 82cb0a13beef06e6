"""The cerebellum in blocks is the formula of the paper, and its input gradient is that formula's derivative."""

import dataclasses

import numpy as np
import pytest
import strict_arrays
from scipy import stats

from minicereb import parallel
from minicereb.backend import to_device, to_numpy
from minicereb.gradcheck.differences import check_gradient
from minicereb.models.cerebellum import initial_cerebellum
from minicereb.models.wiring import draw_wiring


def naive(model, x, d_outputs):
    """ŷ = Wᵀ(max(Jᵀx, 0) - μ) and J((W ∂l/∂ŷ) ⊙ [Jᵀx > 0]) with whole matrices, in float64."""
    data, indices, starts = model.wiring.csr()
    projection = np.zeros((model.wiring.width, model.wiring.cells))
    np.add.at(projection, (indices, np.repeat(np.arange(model.wiring.cells), np.diff(starts))), data)
    readout, mean = to_numpy(model.readout).astype(np.float64), to_numpy(model.ltd_mean).astype(np.float64)
    v = x.astype(np.float64) @ projection
    return (np.maximum(v, 0) - mean) @ readout, ((d_outputs @ readout.T) * (v > 0)) @ projection.T


CELLS, IMAGES = [1, 300, 90_000], [1, 3, 300]


@pytest.mark.parametrize("kind", ["random", "full"])
@pytest.mark.parametrize("cells", [*CELLS[:-1], pytest.param(CELLS[-1], marks=pytest.mark.slow)])
@pytest.mark.parametrize("images", IMAGES)
def test_the_cerebellum_in_blocks_is_the_formula(build_cerebellum, draw_images, kind, cells, images):
    model = build_cerebellum(cells=cells, shape=(9,), kind=kind)
    x, _ = draw_images(images, inputs=9)
    outputs, cache = model.forward(x)
    d_outputs = np.cos(outputs * 40)
    gradient = model.input_gradient(d_outputs, cache)
    expected = naive(model, x, d_outputs)
    assert outputs.dtype == gradient.dtype == np.float64
    assert np.allclose(outputs, expected[0], rtol=0, atol=1e-11)
    assert np.allclose(gradient, expected[1], rtol=0, atol=1e-11)
    assert np.abs(model.ltd_mean @ model.readout).max() > 1e-3  # the mean is not without effect


def test_the_largest_of_these_takes_many_blocks(build_cerebellum):
    assert len(parallel.cell_blocks(np.empty(0), CELLS[-1], IMAGES[-1])) > 5 * parallel.LANES


@pytest.mark.parametrize("replacement", [False, True])
@pytest.mark.parametrize("kind", ["random", "full", "local"])
def test_the_input_gradient_is_the_derivative(build_cerebellum, draw_images, kind, replacement):
    model = build_cerebellum(cells=300, kind=kind, replacement=replacement)
    x, _ = draw_images(3)
    outputs, cache = model.forward(x)
    gradient = model.input_gradient(np.cos(outputs), cache)
    check = check_gradient(lambda x: float(np.sin(model.forward(x)[0]).sum()), gradient, x)
    assert check.error < 1e-6
    assert check.directions >= 15
    assert np.linalg.norm(gradient) > 1e-2


def test_the_cache_of_one_pass_serves_several_gradients(build_cerebellum, draw_images):
    model, (x, _) = build_cerebellum(), draw_images(5)
    _, cache = model.forward(x)
    first = model.input_gradient(np.ones((5, 3)), cache)
    model.forward(1 - x)
    assert np.array_equal(model.input_gradient(np.ones((5, 3)), cache), first)


def test_an_image_has_its_own_outputs_and_gradient_whatever_its_neighbours(build_cerebellum, draw_images):
    model, (x, _) = build_cerebellum(cells=2000), draw_images(20)
    outputs, cache = model.forward(x)
    gradient = model.input_gradient(np.cos(outputs), cache)
    for image in (0, 7, 19):
        alone, own = model.forward(x[image : image + 1])
        assert np.allclose(alone[0], outputs[image], rtol=0, atol=1e-13)
        assert np.allclose(model.input_gradient(np.cos(alone), own)[0], gradient[image], rtol=0, atol=1e-13)


@pytest.mark.parametrize("kind", ["random", "full"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_device_computes_the_same_in_the_dtype_of_the_arrays(xp_device, build_cerebellum, draw_images, kind, dtype):
    model, (x, _) = build_cerebellum(cells=3000, kind=kind, dtype=dtype), draw_images(40, dtype=dtype)
    outputs, cache = model.forward(x)
    d_outputs = xp_device.cos(outputs)
    gradient = model.input_gradient(d_outputs, cache)
    expected = naive(model, to_numpy(x), to_numpy(d_outputs))
    for found, wanted in zip((outputs, gradient), expected, strict=True):
        assert type(found) is xp_device.ndarray
        assert found.dtype == dtype
        assert np.allclose(to_numpy(found), wanted, rtol=0, atol=1e-4 if dtype == np.float32 else 1e-12)


def test_an_untrained_cerebellum_has_no_mean_and_readout_weights_of_variance_one_by_m(xp_device):
    model = initial_cerebellum(draw_wiring("random", 20_000, (30,), 2, 0), 10, 0)
    assert type(model.readout) is type(model.ltd_mean) is xp_device.ndarray
    readout = to_numpy(model.readout)
    assert (readout.shape, readout.dtype, model.ltd_mean.dtype) == ((20_000, 10), np.float32, np.float32)
    assert not to_numpy(model.ltd_mean).any()
    standard = readout.ravel().astype(np.float64) * 20_000**0.5
    assert stats.kstest(standard, "norm").pvalue > 1e-6  # a false alarm in a million seeds
    assert abs(standard.mean()) < 4.9 / 200_000**0.5
    assert abs(standard.var() - 1) < 4.9 * (2 / 200_000) ** 0.5


def test_the_seed_gives_the_readout():
    wiring = draw_wiring("random", 50, (30,), 2, 0)
    first, again, other = (initial_cerebellum(wiring, 3, seed).readout for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_ltd_mean_shifts_the_outputs_and_leaves_the_gradient(build_cerebellum, draw_images):
    model, (x, _) = build_cerebellum(), draw_images(4)
    without = dataclasses.replace(model, ltd_mean=np.zeros(40))
    (outputs, cache), (bare, bare_cache) = model.forward(x), without.forward(x)
    assert np.allclose(bare - outputs, model.ltd_mean @ model.readout, rtol=0, atol=1e-14)
    assert np.array_equal(model.input_gradient(np.ones((4, 3)), cache), without.input_gradient(np.ones((4, 3)), bare_cache))


def test_the_forward_pass_and_the_gradient_read_nothing_from_the_device(monkeypatch, build_cerebellum, draw_images):
    strict_arrays.install(monkeypatch)
    model, (x, _) = build_cerebellum(), draw_images(4)
    before = strict_arrays.StrictArray.reads
    outputs, cache = model.forward(x)
    model.input_gradient(to_device(np.ones((4, 3))), cache)
    assert strict_arrays.StrictArray.reads == before
    assert outputs.shape == (4, 3)
