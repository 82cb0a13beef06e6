"""Loops for Numba: bit for bit what NumPy computes, as Python runs them and as Numba compiles them."""

import dataclasses
import gc
import importlib.metadata
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from minicereb import compiled as module
from minicereb.backend import configure, execution, in_float64, sparse_product, to_device
from minicereb.bench.vgg import VggSize, network_of
from minicereb.calculus import convolution as plain_convolution
from minicereb.calculus import direct
from minicereb.calculus.activations import Activation, half_tanh
from minicereb.calculus.batchnorm import batch_norm, batch_norm_input_gradient, batch_norm_weight_gradient
from minicereb.calculus.convolution import Window, convolution, convolution_weight_gradient, unfold_windows
from minicereb.calculus.noise import Gaussian
from minicereb.calculus.projection import project
from minicereb.calculus.replicated import CrossEntropy
from minicereb.calculus.winograd import winograd, winograd_weight_gradient
from minicereb.calculus.winograd4 import applies as large_tiles
from minicereb.calculus.winograd4 import winograd4, winograd4_weight_gradient
from minicereb.compiled import LEAST, compiled, numba_problem
from minicereb.errors import InputError, install_command
from minicereb.learning import changed_responses, probes
from minicereb.learning.credit import LastLayer
from minicereb.learning.noisy_runs import NoisyRuns, RunsOfLayer
from minicereb.learning.optimizers import SGD, RMSprop
from minicereb.learning.plasticity import DeltaRule
from minicereb.learning.probes import draw_units
from minicereb.models import noisy, noisy_time
from minicereb.models.cerebellum import CerebellarNetwork, initial_cerebellum
from minicereb.models.noisy import NoisyLayer
from minicereb.models.noisy_convolution import initial_noisy_convolutional
from minicereb.models.noisy_time import initial_noisy_in_time
from minicereb.models.wiring import Wiring, draw_wiring
from minicereb.parallel import blocks
from minicereb.randomness import signed_uniform
from minicereb.tasks.cartpole import State
from minicereb.tasks.microzones import Microzones


def interpreted(loop, *arrays):
    """The loop itself: slow, and there without Numba."""
    return loop


def by_numba(loop, *arrays):
    """The loop in machine code, for arrays of any size."""
    return module.machine_code(loop)


needs_numba = pytest.mark.skipif(numba_problem() is not None, reason=str(numba_problem()))
every_way = pytest.mark.parametrize("way", [interpreted, pytest.param(by_numba, marks=needs_numba)])
every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def no_loop(loop, *arrays):
    """Return no compiled loop, so that NumPy's operations are used."""


@every_way
@every_dtype
def test_rmsprop_comes_to_the_same_bits_in_one_pass(monkeypatch, way, dtype):
    rng = np.random.default_rng(0)
    start = rng.standard_normal((37, 5)).astype(dtype)
    gradients = (rng.standard_normal((6, 37, 5)) * 10.0 ** rng.integers(-15, 6, (6, 37, 5))).astype(dtype)
    gradients[rng.random(gradients.shape) < 0.2] = 0
    results = []
    for use in (no_loop, way):
        monkeypatch.setattr("minicereb.learning.optimizers.compiled", use)
        optimizer, weights = RMSprop(0.03, total_steps=8), start.copy()
        state = optimizer.state(weights)
        for step, gradient in enumerate(gradients, 1):
            optimizer.update(weights, gradient.copy(), state, step, np.empty_like(weights))
        results.append((weights.tobytes(), state["square_sum"].tobytes()))
    assert results[0] == results[1]


@needs_numba
@every_dtype
@pytest.mark.parametrize("count", [1, 2, 7, 40_001])
def test_bulk_draws_come_to_the_same_bits_in_one_pass(monkeypatch, dtype, count):
    drawn = []
    for use in (no_loop, by_numba):
        monkeypatch.setattr("minicereb.randomness.compiled", use)
        drawn.append(signed_uniform(np.empty(0, dtype=dtype), 3, "noise", (1, 2), count))
    assert drawn[0].tobytes() == drawn[1].tobytes()
    assert drawn[0].shape == (count,)
    assert drawn[0].dtype == dtype


@every_way
@pytest.mark.parametrize("ltd", [False, True])
def test_microzones_respond_with_the_same_bits_in_one_pass(monkeypatch, way, ltd):
    responses = []
    for use in (no_loop, way):
        monkeypatch.setattr("minicereb.tasks.microzones.compiled", use)
        circuit = Microzones(State(2.4, 3.0, 0.2, 2.0), 10, 60, 4, ltd, "none", 0)
        states = State(0.1, -1.0, 0.05, 0.3), State(-9.0, 0.0, 0.0, 5.0)
        responses.append([circuit.respond(state, learning=True).copy() for state in states])
    assert [z.tobytes() for z in responses[0]] == [z.tobytes() for z in responses[1]]
    assert np.any(responses[0][0])


@every_way
@every_dtype
@pytest.mark.parametrize("images", [1, 2, 3, 4, 5, 12, 19])
@pytest.mark.parametrize("per_cell", [1, 4, 7])
def test_sparse_wiring_comes_to_the_same_bits_in_one_pass(monkeypatch, way, dtype, images, per_cell):
    rng = np.random.default_rng(images)
    weights, inputs = rng.standard_normal((23, per_cell)).astype(dtype), rng.integers(0, 30, (23, per_cell), dtype=np.int32)
    x_t = rng.standard_normal((30, images)).astype(dtype)
    x_t[rng.random(x_t.shape) < 0.5] = -0.0  # of either sign, as scaled images may have them
    x_t[rng.random(x_t.shape) < 0.3] = 0
    monkeypatch.setattr("minicereb.calculus.projection.compiled", way)
    found = project(weights, inputs, x_t, np.full((23, images), np.nan, dtype=dtype))
    assert found.tobytes() == sparse_product(weights, inputs, x_t, np.empty_like(found)).tobytes()


@every_way
@pytest.mark.parametrize("rested", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bounds_of_granule_cells_come_to_the_same_bits_in_one_pass(monkeypatch, way, dtype, rested):
    rng = np.random.default_rng(5)
    weights, inputs = rng.standard_normal((23, 4)).astype(dtype), np.sort(rng.integers(0, 30, (23, 4), dtype=np.int32), axis=1)
    wiring = Wiring(weights, inputs, 30, rng.standard_normal(23).astype(dtype) if rested else None)
    centre, radius = rng.random((2, 30, 9)).astype(dtype)
    found = []
    for each in (way, lambda *arguments: None):
        monkeypatch.setattr("minicereb.models.wiring.compiled", each)
        total, spread = np.full((2, 20, 9), np.nan, dtype=dtype)
        wiring.project_bounds(slice(2, 22), centre, radius, total, spread)
        found.append((total.tobytes(), spread.tobytes()))
        assert (spread > 0).any()
        assert (total >= spread).all()
    assert found[0] == found[1]


def fused(monkeypatch, way):
    """Let :class:`CerebellarNetwork` compute in compiled passes, run in this way."""
    monkeypatch.setattr("minicereb.models.cerebellum.compiled", way)
    monkeypatch.setattr("minicereb.models.cerebellum.machine_code", way)
    monkeypatch.setattr("minicereb.models.cerebellum.LANE_CELLS", 16)
    monkeypatch.setattr("minicereb.models.cerebellum.LEAST_ACTIVITY", 1)


def sparse_network(cells, per_cell, classes, dtype, rested):
    rng = np.random.default_rng(cells + classes)
    inputs = np.sort(rng.integers(0, 30, (cells, per_cell), dtype=np.int32), axis=1)
    arrays = [rng.standard_normal(shape).astype(dtype) for shape in ((cells, per_cell), (cells,), (cells,), (cells, classes))]
    weights, rest, mean, readout = arrays
    wiring = Wiring(weights, inputs, 30, rest if rested else None)
    return CerebellarNetwork(wiring, abs(mean), readout), rng


@every_way
@every_dtype
@pytest.mark.parametrize(
    ("cells", "per_cell", "classes", "images", "rested"),
    [(5, 1, 1, 24, False), (37, 2, 3, 45, True), (40, 3, 10, 32, False), (523, 1, 2, 70, True)],
)
def test_passes_that_store_no_activity_equal_the_plain_ones(monkeypatch, way, dtype, cells, per_cell, classes, images, rested):
    model, rng = sparse_network(cells, per_cell, classes, dtype, rested)
    x, credit = rng.random((images, 30)).astype(dtype), rng.standard_normal((images, classes)).astype(dtype)
    x[:, ::3] = 0
    monkeypatch.setattr("minicereb.models.cerebellum.compiled", no_loop)
    outputs, cache = model.forward(x)
    gradient = model.input_gradient(credit, cache)
    fused(monkeypatch, way)
    found, stored = model.forward(x)
    assert stored.active is None
    found_gradient = model.input_gradient(credit, stored)
    assert found.dtype == found_gradient.dtype == dtype
    wiring, roundings = model.wiring, 64 * np.finfo(dtype).eps  # the tolerance that docs/architecture.md states
    v = wiring.project(slice(None), wiring.columns(x), np.empty((cells, images), dtype=dtype))
    terms = (np.maximum(v, 0) + model.ltd_mean[:, None]).T @ abs(model.readout)
    assert (abs(found - outputs) <= roundings * terms).all()
    terms = np.zeros((30, images), dtype=dtype)
    wiring.sizes.add_input_gradient(slice(None), (abs(model.readout) @ abs(credit).T) * cache.active, terms)
    assert (abs(found_gradient - gradient) <= roundings * terms.T).all()  # 0 where no active cell is: the same ones are active
    assert (terms > 0).any()


@every_way
def test_an_image_has_the_same_bits_among_others_and_on_any_number_of_threads(monkeypatch, way):
    model, rng = sparse_network(90, 3, 4, np.float32, False)
    x, credit = rng.random((330, 30), dtype=np.float32), rng.standard_normal((330, 4), dtype=np.float32)
    fused(monkeypatch, way)
    before, results = execution().threads, []
    try:
        for threads, some in ((1, slice(None)), (2, slice(None)), (3, slice(None)), (2, slice(100, 140)), (3, slice(100, 140))):
            configure(threads=threads)
            outputs, cache = model.forward(x[some])
            part = slice(None) if some.start else slice(100, 140)
            results.append((outputs[part].tobytes(), model.input_gradient(credit[some], cache)[part].tobytes()))
    finally:
        configure(threads=before)
    assert len(set(results)) == 1


@needs_numba
def test_many_cells_are_read_out_without_storing_activity():
    model = initial_cerebellum(draw_wiring("random", 20_000, (28, 28), 4, seed=0), 10, seed=0)
    x = np.random.default_rng(0).random((64, 784), dtype=np.float32)
    outputs, cache = model.forward(x)
    assert cache.active is None
    exact = in_float64(model).forward(x[:4].astype(np.float64))[0]
    assert abs(outputs[:4] - exact).max() < 1e-6 * abs(exact).max()
    with pytest.raises(InputError, match="63"):
        model.input_gradient(outputs[:63], cache)
    assert model.forward(x[:1])[1].active.shape == (20_000, 1)  # one image would take as long as 32


def learning_in_loops(monkeypatch, way):
    """Let :class:`DeltaRule` learn in compiled loops, run in this way."""
    monkeypatch.setattr("minicereb.learning.plasticity.compiled", way)


@every_way
@every_dtype
@pytest.mark.parametrize(
    ("cells", "per_cell", "classes", "batch", "rested", "decay"),
    [(5, 1, 1, 4, False, 0.9), (37, 2, 3, 7, True, 0.5), (67, 3, 8, 8, False, None), (400, 3, 5, 8, True, 0.99)],
)
def test_a_step_that_stores_no_activity_equals_the_plain_one(
    monkeypatch, way, dtype, cells, per_cell, classes, batch, rested, decay
):
    model, rng = sparse_network(cells, per_cell, classes, dtype, rested)
    x, labels = rng.random((2 * batch - 1, 30)).astype(dtype), rng.integers(0, classes, 2 * batch - 1)
    x[:, ::3] = 0
    results = []
    for use in (no_loop, way):
        learning_in_loops(monkeypatch, use)
        learned = dataclasses.replace(model, readout=model.readout.copy(), ltd_mean=model.ltd_mean.copy())
        rule = DeltaRule(learned, SGD(0.05), batch, decay)
        steps = list(rule.learn(x, labels))  # the second batch is one image short
        assert rule.steps == len(steps) == 2
        results.append((learned.ltd_mean, learned.readout, *(step.outputs for step in steps), *(step.loss for step in steps)))
        assert "activity" in vars(rule) if use is no_loop else "activity" not in vars(rule)
    v = model.wiring.project(slice(None), model.wiring.columns(x), np.empty((cells, len(x)), dtype=dtype))
    size = (np.maximum(v, 0) + model.ltd_mean[:, None]).sum() * abs(model.readout).max()
    for plain, found in zip(*results, strict=True):
        assert found.dtype == dtype
        assert abs(found - plain).max() <= 64 * np.finfo(dtype).eps * max(size, abs(plain).max())
    assert not np.array_equal(results[0][1], model.readout)


@every_way
def test_a_step_has_the_same_bits_on_any_number_of_threads(monkeypatch, way):
    learning_in_loops(monkeypatch, way)
    monkeypatch.setattr("minicereb.learning.plasticity.cell_blocks", lambda like, cells, columns: list(blocks(cells, 36)))
    before, results = execution().threads, []
    try:
        for threads in (1, 2, 3):
            configure(threads=threads)
            model, rng = sparse_network(150, 3, 10, np.float32, False)
            rule = DeltaRule(model, RMSprop(1e-3), 10, 0.99)
            list(rule.learn(rng.random((40, 30), dtype=np.float32), rng.integers(0, 10, 40)))
            results.append([array.tobytes() for array in rule.arrays().values()])
    finally:
        configure(threads=before)
    assert results[0] == results[1] == results[2]


@every_way
@pytest.mark.parametrize(("batch", "classes"), [(3, 5), (17, 5), (10, 17)])
def test_batches_and_classes_that_do_not_fit_a_line_are_left_to_numpy(monkeypatch, way, batch, classes):
    learning_in_loops(monkeypatch, way)
    model, rng = sparse_network(40, 2, classes, np.float32, False)
    rule = DeltaRule(model, RMSprop(1e-3), batch, 0.99)
    list(rule.learn(rng.random((batch, 30), dtype=np.float32), rng.integers(0, classes, batch)))
    assert "activity" in vars(rule)


@needs_numba
def test_many_cells_learn_without_storing_activity():
    results = []
    for exact in (False, True):
        model = initial_cerebellum(draw_wiring("random", 20_000, (28, 28), 4, seed=0), 10, seed=0)
        model = in_float64(model) if exact else model
        rng = np.random.default_rng(0)
        rule = DeltaRule(model, SGD(1e-5), 10, 0.99)
        learned = list(rule.learn(rng.random((50, 784), dtype=np.float32).astype(model.readout.dtype), rng.integers(0, 10, 50)))
        assert ("activity" in vars(rule)) is exact  # eight numbers of float64 are a line: batches of ten do not fit
        results.append((np.stack([step.outputs for step in learned]), model.ltd_mean, model.readout))
    for found, expected in zip(*results, strict=True):
        assert abs(found - expected).max() < 1e-5 * abs(expected).max()


LARGE_TILES = {np.float32: 6e-6, np.float64: 1e-14}  # errors relative to the largest number, as stated in winograd4


@every_way
@every_dtype
@pytest.mark.parametrize(("batch", "height", "width"), [(3, 4, 4), (2, 8, 12), (1, 12, 4)])
def test_convolution_in_large_tiles_equals_the_plain_one(monkeypatch, way, dtype, batch, height, width):
    monkeypatch.setattr("minicereb.calculus.winograd4.machine_code", way)
    monkeypatch.setattr("minicereb.calculus.winograd4.TILES", 2)  # one image at a time
    rng = np.random.default_rng(height)
    shapes = (batch, height, width, 32), (64, 3, 3, 32), (64,), (batch, height, width, 64)
    x, weight, bias, credit = (rng.standard_normal(shape).astype(dtype) for shape in shapes)
    wide_x, wide_weight, wide_bias, wide_credit = (array.astype(np.float64) for array in (x, weight, bias, credit))
    d_weight, _ = convolution_weight_gradient(wide_credit, wide_x, (3, 3), 1, 1)
    for found, exact in (
        (winograd4(x, weight, bias), convolution(wide_x, wide_weight, wide_bias, 1, 1)),
        (winograd4(x, weight, None), convolution(wide_x, wide_weight, 0 * wide_bias, 1, 1)),
        (winograd4_weight_gradient(credit, x), d_weight),
    ):
        assert found.dtype == dtype
        assert abs(found - exact).max() <= LARGE_TILES[dtype] * abs(exact).max()


@every_way
@every_dtype
@pytest.mark.parametrize(
    ("height", "width", "kernel", "stride", "padding"),
    [(7, 6, (3, 3), 1, 1), (7, 7, (3, 3), 1, 0), (8, 9, (2, 3), 2, 1), (4, 4, (1, 1), 1, 0), (5, 3, (5, 3), 3, 2)],
)
def test_convolution_of_few_channels_equals_the_plain_one(monkeypatch, way, dtype, height, width, kernel, stride, padding):
    monkeypatch.setattr("minicereb.calculus.direct.machine_code", way)
    monkeypatch.setattr("minicereb.calculus.direct.POSITIONS", 60)
    rng = np.random.default_rng(height)
    x, weight, bias = (rng.standard_normal(shape).astype(dtype) for shape in ((5, height, width, 3), (64, *kernel, 3), (64,)))
    credit = rng.standard_normal((5, *Window(*kernel, stride, padding).positions(height, width), 64)).astype(dtype)
    results = []
    for loops in (False, True):
        monkeypatch.setattr("minicereb.calculus.direct.applies", lambda *arguments, loops=loops: loops)
        forms = [convolution(x, weight, shift, stride, padding, minimal=True) for shift in (bias, 0 * bias)]
        forms += convolution_weight_gradient(credit, x, kernel, stride, padding, minimal=True)
        results.append(forms)
    roundings = 64 * np.finfo(dtype).eps
    terms = [convolution(abs(x), abs(weight), abs(bias), stride, padding)] * 2
    terms += convolution_weight_gradient(abs(credit), abs(x), kernel, stride, padding)
    for plain, found, most in zip(*results, terms, strict=True):
        assert found.dtype == dtype
        assert found.shape == plain.shape
        assert (abs(found - plain) <= roundings * most).all()
    assert any(not np.array_equal(plain, found) for plain, found in zip(*results, strict=True))


@needs_numba
def test_a_first_layer_learns_without_copied_windows():
    x = np.random.default_rng(0).standard_normal((12, 32, 32, 3), dtype=np.float32)
    assert direct.applies(x, 27, 64)
    assert not direct.applies(x, 27, 65)
    assert not direct.applies(x, 65, 64)
    assert not direct.applies(x[:1], 27, 64)


@every_way
@every_dtype
@pytest.mark.parametrize("shape", [(3, 5, 4, 32), (70, 64)])
def test_batch_normalisation_in_one_pass_equals_the_plain_one(monkeypatch, way, dtype, shape):
    monkeypatch.setattr("minicereb.parallel.ROW_BYTES", 7 * shape[-1] * np.dtype(dtype).itemsize)  # positions of a block
    rng = np.random.default_rng(len(shape))
    v, credit = (3 + 2 * rng.standard_normal(shape)).astype(dtype), rng.standard_normal(shape).astype(dtype)
    gamma, beta = rng.standard_normal((2, shape[-1])).astype(dtype)
    forms = []
    for use in (no_loop, way):
        monkeypatch.setattr("minicereb.calculus.batchnorm.compiled", use)
        h, cache = batch_norm(v, gamma, beta)
        d_gamma, d_beta = batch_norm_weight_gradient(credit, cache)
        d_v, given = batch_norm_input_gradient(credit, cache), credit.copy()
        assert batch_norm_input_gradient(given, cache, (d_gamma, d_beta), out=given).tobytes() == d_v.tobytes()
        forms.append((cache.mean, cache.variance, h, d_gamma, d_beta, d_v))
    positions, size = tuple(range(len(shape) - 1)), abs(v).max() / cache.deviation
    d_size = abs(cache.scale) * (abs(credit).max() + abs(credit).mean(axis=positions) * size**2)
    most = (
        abs(v).mean(axis=positions),
        (v**2).mean(axis=positions),
        abs(gamma) * size + abs(beta),
        (abs(credit) * size).sum(axis=positions),
        abs(credit).sum(axis=positions),
        d_size,
    )
    for plain, found, terms in zip(*forms, most, strict=True):
        assert found.dtype == dtype
        assert (abs(found - plain) <= 64 * np.finfo(dtype).eps * terms).all()
    assert any(not np.array_equal(plain, found) for plain, found in zip(*forms, strict=True))


@every_way
def test_batch_normalisation_in_one_pass_does_not_depend_on_threads(monkeypatch, way):
    monkeypatch.setattr("minicereb.calculus.batchnorm.compiled", way)
    monkeypatch.setattr("minicereb.parallel.ROW_BYTES", 1 << 10)
    v, credit = np.random.default_rng(0).standard_normal((2, 97, 32), dtype=np.float32)
    before, results = execution().threads, set()
    try:
        for threads in (1, 2, 3):
            configure(threads=threads)
            h, cache = batch_norm(v, v[0], v[1])
            d_gamma, d_beta = batch_norm_weight_gradient(credit, cache)
            d_v = batch_norm_input_gradient(credit, cache)
            results.add(b"".join(array.tobytes() for array in (h, cache.variance, d_gamma, d_beta, d_v)))
    finally:
        configure(threads=before)
    assert len(results) == 1


def largest_errors(layers, expected):
    """The largest relative error of any gradient but the biases', which are 0 but for rounding in normalised convolutions."""
    each = [(found[name], plain[name]) for found, plain in zip(layers, expected, strict=True) for name in found.keys() - {"bias"}]
    return max(np.linalg.norm(found - plain) / np.linalg.norm(plain) for found, plain in each)


@needs_numba
def test_a_whole_network_learns_from_nearly_the_same_gradients_in_compiled_loops(monkeypatch):
    """In at least three of four batches: in a fourth, rounding may move a drive across zero, or choose another unit of a pool."""
    model, images, credit = network_of(VggSize(batch=8))
    gradients = []
    for use in (compiled, no_loop):
        for name in ("winograd4", "direct", "batchnorm"):
            monkeypatch.setattr(f"minicereb.calculus.{name}.compiled", use)
        bound = model.while_learning(0, 1)
        assert large_tiles(np.empty((2, 32, 32, 64), dtype=np.float32), 64) is (use is compiled)
        batches = [slice(first, first + 2) for first in range(0, 8, 2)]
        gradients.append([bound.weight_gradients(credit[batch], bound.forward(images[batch])[1]) for batch in batches])
    errors = np.array([largest_errors(*layers) for layers in zip(*gradients, strict=True)])
    assert (errors > 0).all()
    assert np.sort(errors)[2] <= 1e-5
    assert errors.max() < 0.1


@needs_numba
def test_errors_of_large_and_of_small_tiles_in_float32_are_those_that_the_documentation_states():
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((8, 16, 16, 128)), rng.standard_normal((128, 3, 3, 128))
    credit, bias = rng.standard_normal((8, 16, 16, 128)), np.zeros(128)
    exact = convolution(x, weight, bias, 1, 1), convolution_weight_gradient(credit, x, (3, 3), 1, 1)[0]
    x, weight, credit, bias = (array.astype(np.float32) for array in (x, weight, credit, bias))
    large = winograd4(x, weight, bias), winograd4_weight_gradient(credit, x)
    small = winograd(x, weight, bias), winograd_weight_gradient(credit, x)
    plain = convolution(x, weight, bias, 1, 1), convolution_weight_gradient(credit, x, (3, 3), 1, 1)[0]
    for forms, bound in ((large, 6e-6), (small, 1e-6), (plain, 1e-6)):
        for found, correct in zip(forms, exact, strict=True):
            assert abs(found - correct).max() <= bound * abs(correct).max()
    for found, other in zip(large, small, strict=True):
        assert not np.array_equal(found, other)


@every_way
def test_large_tiles_do_not_depend_on_threads(monkeypatch, way):
    monkeypatch.setattr("minicereb.calculus.winograd4.machine_code", way)
    monkeypatch.setattr("minicereb.calculus.winograd4.TILES", 1)
    rng = np.random.default_rng(0)
    x, credit = rng.standard_normal((2, 19, 4, 4, 32), dtype=np.float32)
    weight, before, results = rng.standard_normal((32, 3, 3, 32), dtype=np.float32), execution().threads, set()
    try:
        for threads in (1, 2, 3):
            configure(threads=threads)
            results.add((winograd4(x, weight, None).tobytes(), winograd4_weight_gradient(credit, x).tobytes()))
    finally:
        configure(threads=before)
    assert len(results) == 1


@needs_numba
def test_a_convolution_takes_large_tiles_where_they_fit():
    rng = np.random.default_rng(0)
    for height, channels, fits in ((8, 64, True), (6, 64, False), (8, 65, False), (2, 64, False)):
        x, weight = rng.standard_normal((40, height, 8, channels)), rng.standard_normal((96, 3, 3, channels))
        x, weight = x.astype(np.float32), weight.astype(np.float32)
        bias = np.zeros(96, dtype=np.float32)
        v = convolution(x, weight, bias, 1, 1, minimal=True)
        d_weight, _ = convolution_weight_gradient(v, x, (3, 3), 1, 1, minimal=True)
        assert large_tiles(x, 96) is fits
        if fits:
            assert np.array_equal(v, winograd4(x, weight, bias))
            assert np.array_equal(d_weight, winograd4_weight_gradient(v, x))
        elif channels % 64 == 0:
            assert np.array_equal(v, winograd(x, weight, bias))
    assert not large_tiles(x[:1], 96)


def test_what_is_small_strided_or_elsewhere_is_left_to_numpy(xp_device):
    large = np.zeros(LEAST, dtype=np.float32)
    assert compiled(by_numba, large[:-1]) is None
    assert compiled(by_numba, large, large[::2]) is None
    elsewhere = to_device(large)
    assert isinstance(elsewhere, np.ndarray) or compiled(by_numba, elsewhere) is None


@needs_numba
def test_what_is_large_is_compiled_once():
    def loop(array):
        for i in range(len(array)):
            array[i] += i

    large = np.zeros(LEAST, dtype=np.float64)
    compiled(loop, large, large[:3])(large)
    assert np.array_equal(large, np.arange(LEAST))
    assert compiled(loop, large) is compiled(loop, large)


@needs_numba
def test_a_training_can_change_over_to_numba_at_any_step(monkeypatch):
    rng = np.random.default_rng(0)
    x, y = rng.random((12, 64), dtype=np.float32), rng.integers(0, 10, 12)
    results = []
    for with_numba in ((), (1, 3), (0, 1, 2, 3)):
        cerebellum = initial_cerebellum(draw_wiring("random", 9_000, (8, 8), 4, seed=0), 10, seed=0)
        rule = DeltaRule(cerebellum, RMSprop(1e-3), 3, 0.99)
        for batch in range(4):
            monkeypatch.setattr(module, "LEAST", LEAST if batch in with_numba else 1 << 40)
            for _ in rule.learn(x[3 * batch : 3 * batch + 3], y[3 * batch : 3 * batch + 3]):
                pass
        results.append([array.tobytes() for array in rule.arrays().values()])
    assert results[0] == results[1] == results[2]


def test_why_numba_is_not_used_is_said(monkeypatch):
    def asked():
        numba_problem.cache_clear()
        problem, version = numba_problem(), module.numba_version()
        numba_problem.cache_clear()
        return problem, version

    with monkeypatch.context() as change:
        change.setitem(sys.modules, "numba", None)
        problem, version = asked()
        assert "not installed" in problem
        assert install_command("numba") in problem
        assert version is None
    try:
        installed = importlib.metadata.version("numba")
    except importlib.metadata.PackageNotFoundError:
        return
    monkeypatch.setattr("numba.config.DISABLE_JIT", 0)
    assert asked() == (None, installed)
    monkeypatch.setattr("numba.config.DISABLE_JIT", 1)
    problem, version = asked()
    assert "NUMBA_DISABLE_JIT" in problem
    assert version is None


@needs_numba
@pytest.mark.parametrize("collects", [True, False])
def test_compiling_leaves_the_settings_of_numba_and_the_collector_as_they_were(monkeypatch, collects):
    from numba import config

    monkeypatch.setattr(config, "OPT", type(config.OPT)(3))
    monkeypatch.setattr(config, "SLP_VECTORIZE", 0)
    collected = gc.isenabled()

    def doubled(array):
        for i in range(len(array)):
            array[i] *= 2

    loop = module.machine_code(doubled)
    array = np.ones(3)
    try:
        (gc.enable if collects else gc.disable)()
        loop(array)
        assert gc.isenabled() == collects
        with pytest.raises(Exception, match="doubled|No implementation"):
            loop("three")
        assert gc.isenabled() == collects
    finally:
        (gc.enable if collected else gc.disable)()
    assert np.array_equal(array, [2, 2, 2])
    assert (config.OPT, config.SLP_VECTORIZE) == (3, 0)
    with ThreadPoolExecutor(4) as threads:  # for four types at once
        list(threads.map(loop, [np.ones(3, dtype=kind) for kind in ("f4", "i4", "i8", "c16")]))
    assert (config.OPT, config.SLP_VECTORIZE) == (3, 0)
    assert gc.isenabled() == collected


@needs_numba
def test_machine_code_is_kept_and_damaged_files_do_no_harm(tmp_path, monkeypatch):
    """In processes of their own: Numba reads its settings once."""
    script = """
import numpy as np
from minicereb.compiled import machine_code
from minicereb.learning import changed_responses, probes
from minicereb.learning.credit import LastLayer
from minicereb.learning.noisy_runs import NoisyRuns, RunsOfLayer
from minicereb.learning.optimizers import _rmsprop
one, loop = np.ones(3), machine_code(_rmsprop)
loop(one, one, one.copy(), 0.5, 0.1, 0.1)
print(one, sum(loop.stats.cache_hits.values()))
"""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    found = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
        found.append(done.stdout.split())
        if len(found) == 2:
            files = [path for path in tmp_path.rglob("*") if path.is_file()]
            assert {path.suffix for path in files} == {".nbi", ".nbc"}
            for path in files:
                path.write_bytes(path.read_bytes()[:20])
    assert [each[-1] for each in found] == ["0", "1", "0"]
    assert found[0][:-1] == found[1][:-1] == found[2][:-1]


@every_way
def test_windows_are_copied_alike_by_a_loop(monkeypatch, way):
    x = np.random.default_rng(0).random((3, 7, 9, 2), dtype=np.float32)
    for window in (Window(3, 2, 1, 0), Window(2, 5, 2, 1)):
        monkeypatch.setattr(plain_convolution, "compiled", lambda *arrays, least=0: None)
        expected = unfold_windows(x, window).copy()
        monkeypatch.setattr(plain_convolution, "compiled", lambda loop, *arrays, least=0: way(loop))
        assert np.array_equal(unfold_windows(x, window), expected)


@every_way
def test_units_are_drawn_alike_by_a_loop(monkeypatch, way):
    rng = np.random.default_rng(0)
    chance = rng.random((60, 5, 3), dtype=np.float32) * (rng.random((60, 5, 3)) < 0.4)
    chance[:, 1, 2] = 0  # none can be drawn
    chance[:, 2, 0], chance[:, 3, 1] = 0, 0
    chance[17, 2, 0], chance[59, 3, 1] = 0.3, 0.3  # only one can
    places = rng.random((5, 3), dtype=np.float32)
    places[0, 0], places[0, 1] = 0, 1
    monkeypatch.setattr(probes, "compiled", no_loop)
    expected = draw_units(chance, places, 8)
    monkeypatch.setattr(probes, "compiled", way)
    drawn = draw_units(chance, places, 8)
    possible = np.array([chance[:, i, k].any() for i, k in np.ndindex(5, 3)])  # where none is, any may be taken: all count 0
    assert np.array_equal(drawn.units[possible], expected.units[possible])
    assert np.allclose(drawn.times, expected.times, rtol=1e-6, atol=0)


@every_way
@every_dtype
@pytest.mark.parametrize("replications", [1, 4])
def test_threshold_units_respond_with_the_same_bits_in_one_pass(monkeypatch, way, dtype, replications):
    rng = np.random.default_rng(0)
    layer = NoisyLayer(
        *(rng.normal(size=size).astype(dtype) for size in ((6, 5), (6,), (1,))), Gaussian(), Activation("threshold")
    )
    x, e = rng.random((5, 3, 1)).astype(dtype), rng.normal(size=(6, 3, replications)).astype(dtype)
    monkeypatch.setattr(noisy, "compiled", no_loop)
    expected = layer.run(x, e)
    monkeypatch.setattr(noisy, "compiled", way)
    for array, wanted in zip(layer.run(x, e), expected, strict=True):
        assert np.array_equal(array, wanted)


@every_way
def test_sigmoid_units_respond_alike_in_one_pass(monkeypatch, way):
    rng = np.random.default_rng(0)
    arrays = (rng.normal(size=size).astype(np.float32) for size in ((6, 5), (6,), (1,)))
    layer = NoisyLayer(*arrays, Gaussian(), Activation("sigmoid", 2.0))
    x, e = rng.random((5, 3, 4)).astype(np.float32), (30 * rng.normal(size=(6, 3, 4))).astype(np.float32)
    monkeypatch.setattr(noisy, "compiled", no_loop)
    expected = layer.run(x, e)
    monkeypatch.setattr(noisy, "compiled", way)
    _, v, h = layer.run(x, e)
    assert np.array_equal(v, expected[1])
    assert abs(h - expected[2]).max() < 3e-7
    assert (h >= 0).all()
    assert (h <= 1).all()


def test_half_the_tangent_is_within_its_bound():
    v = np.concatenate([np.linspace(-12, 12, 5_001), [np.inf, -np.inf, 0]]).astype(np.float32)
    found = np.array([half_tanh(each) for each in v])
    assert found.dtype == np.float32
    assert abs(found - 0.5 * np.tanh(v.astype(np.float64))).max() < 3e-7


@every_way
@pytest.mark.parametrize("activation", ["threshold", "sigmoid"])
def test_the_loss_after_a_change_is_that_of_the_plain_form(monkeypatch, way, activation):
    how = {"kernel": 3, "stride": 1, "pool": 1, "pooling": "mean", "law": Gaussian(), "scales": (0.5, 1.0, 0.7)}
    network = initial_noisy_convolutional((6, 6), (2,), (9,), 3, 0, activation=Activation(activation), **how)
    rng = np.random.default_rng(0)
    x, labels = rng.random((4, 36), dtype=np.float32), np.array([0, 2, 1, 1])
    noise = tuple(rng.normal(size=(width, 4, 2)).astype(np.float32) for width in network.widths)
    last = LastLayer(network.layers[-1], CrossEntropy())
    trace = network.run(x.T.copy(), noise)
    at = RunsOfLayer(network, last, NoisyRuns(trace, labels, None, last.value_in(trace, None, labels)), 0)
    places, change = rng.integers(0, 32, (8, 7)), rng.normal(size=(8, 7)).astype(np.float32)
    monkeypatch.setattr(changed_responses, "compiled", no_loop)
    expected = at.losses_after(places)(change)
    monkeypatch.setattr(changed_responses, "compiled", way)
    assert np.allclose(at.losses_after(places)(change), expected, rtol=2e-6, atol=2e-6)
    assert not np.allclose(expected, at.runs.value.reshape(8, 1), atol=1e-3)


@every_way
@every_dtype
def test_a_flipped_spike_changes_later_ones_with_the_same_bits(monkeypatch, way, dtype):
    how = {"spiking": True, "presentation": "whole", "steps": 5, "leak": 0.8, "law": Gaussian(), "scales": (0.5, 1.0)}
    network = initial_noisy_in_time((3, 4), (6,), 3, 0, activation=Activation("threshold"), **how)
    layer, rng = network.layers[0], np.random.default_rng(0)
    layer = dataclasses.replace(layer, **{name: getattr(layer, name).astype(dtype) for name in ("weight", "bias", "scale")})
    u, v, _ = layer.run(rng.random((12, 4, 1)).astype(dtype), rng.normal(size=(30, 4, 3)).astype(dtype))
    for t in range(5):
        monkeypatch.setattr(noisy_time, "compiled", lambda *arrays, least=0: None)
        expected = layer.after_flip(v, u, t, layer.respond(v))
        monkeypatch.setattr(noisy_time, "compiled", lambda loop, *arrays, least=0: way(loop))
        found = layer.after_flip(v, u, t, layer.respond(v))
        assert found.dtype == dtype
        assert np.array_equal(found, expected)
        assert not np.array_equal(found, layer.respond(v))
