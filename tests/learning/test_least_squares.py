"""The closed form is the least squares solution, with LTD and without."""

import dataclasses

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from minicereb import backend, parallel
from minicereb.backend import to_device, to_numpy
from minicereb.errors import InputError, MinicerebError
from minicereb.learning.least_squares import least_squares_readout
from minicereb.learning.optimizers import SGD
from minicereb.learning.plasticity import DeltaRule
from minicereb.models.cerebellum import initial_cerebellum
from minicereb.models.wiring import draw_wiring

SINGLE = 2e-6  # a few roundings of the readout to float32, relative to its size


def batches(x, labels, size=32):
    return ((x[part], labels[part]) for part in parallel.blocks(len(x), size))


def centred_activity(model, x, centre):
    """Return the rows of z of all images, in float64."""
    v = model.wiring.project(slice(None), np.ascontiguousarray(x.T), np.empty((model.wiring.cells, len(x))))
    h = np.maximum(v, 0).T
    return h - h.mean(axis=0) if centre else h


@pytest.fixture
def problem(build_cerebellum, draw_images):
    """A cerebellum whose cells each respond to about half of the images, and more images than cells."""
    model = build_cerebellum(cells=25, kind="full")
    weights = model.wiring.weights - model.wiring.weights.mean(axis=1, keepdims=True)
    x, labels = draw_images(400)
    return dataclasses.replace(model, wiring=dataclasses.replace(model.wiring, weights=weights)), x, labels


@pytest.mark.parametrize("centre", [True, False])
def test_without_ridge_it_is_lstsq(problem, centre):
    model, x, labels = problem
    z = centred_activity(model, x, centre)
    solved = least_squares_readout(model, batches(x, labels), ridge=0.0, centre=centre)
    expected, _, rank, _ = np.linalg.lstsq(z, np.eye(3)[labels], rcond=None)
    assert rank == 25
    assert np.allclose(solved.readout, expected, rtol=0, atol=SINGLE * np.abs(expected).max())


@pytest.mark.parametrize("centre", [True, False])
@pytest.mark.parametrize("ridge", [0.0, 1e-3, 1.0])
def test_it_satisfies_the_normal_equations(problem, centre, ridge):
    model, x, labels = problem
    z, y = centred_activity(model, x, centre), np.eye(3)[labels]
    solved = least_squares_readout(model, batches(x, labels), ridge=ridge, centre=centre).readout.astype(np.float64)
    gram = z.T @ z / 400
    shrinkage = ridge * np.trace(gram) / 25
    left, right = gram @ solved + shrinkage * solved, z.T @ y / 400
    assert np.allclose(left, right, rtol=0, atol=SINGLE * np.abs(gram).max() * np.abs(solved).max())


@pytest.mark.parametrize("centre", [True, False])
def test_every_perturbation_makes_it_worse(problem, centre):
    model, x, labels = problem
    z, y = centred_activity(model, x, centre), np.eye(3)[labels]
    solved = least_squares_readout(model, batches(x, labels), ridge=0.0, centre=centre).readout
    least = np.sum((z @ solved - y) ** 2)
    rng = np.random.default_rng(0)
    for size in (1e-2, 1e-1, 1.0):
        for _ in range(50):
            assert np.sum((z @ (solved + size * rng.standard_normal(solved.shape)) - y) ** 2) > least


def test_the_mean_is_stored_and_the_outputs_are_those_of_the_centred_activity(problem):
    model, x, labels = problem
    solved = least_squares_readout(model, batches(x, labels))
    z = centred_activity(model, x, True)
    assert np.allclose(solved.ltd_mean, centred_activity(model, x, False).mean(axis=0), rtol=1e-6)
    assert np.allclose(solved.forward(x)[0], z @ solved.readout, rtol=0, atol=1e-5)
    plain = least_squares_readout(model, batches(x, labels), centre=False)
    assert not plain.ltd_mean.any()
    assert solved.wiring is model.wiring


def test_the_size_of_the_batches_does_not_matter(problem):
    model, x, labels = problem
    whole, pieces = (least_squares_readout(model, batches(x, labels, size)) for size in (400, 7))
    assert np.allclose(whole.readout, pieces.readout, rtol=0, atol=SINGLE * np.abs(whole.readout).max())


def test_the_number_of_threads_changes_no_bit():
    rng = np.random.default_rng(0)
    model = initial_cerebellum(draw_wiring("full", 300, (28, 28), None, 0), 10, 0)
    x, labels = rng.random((512, 784), dtype=np.float32), rng.integers(0, 10, 512)
    found = []
    for threads in (1, 2):
        backend.configure(threads=threads)
        with threadpool_limits(threads):
            found.append(least_squares_readout(model, batches(x, labels, 256)))
    assert np.array_equal(found[0].readout, found[1].readout)


def test_it_is_where_the_delta_rule_is_heading(problem):
    model, x, labels = problem
    solved = least_squares_readout(model, batches(x, labels), ridge=0.0, centre=False)
    learned = dataclasses.replace(model, ltd_mean=np.zeros(25), readout=np.zeros((25, 3)))
    z, y = centred_activity(model, x, False), np.eye(3)[labels]
    rule = DeltaRule(learned, SGD(1 / np.linalg.eigvalsh(z.T @ z / 400)[-1]), 400, None)
    for _ in range(3000):
        list(rule.learn(x, labels))
    least, reached = (np.sum((z @ readout - y) ** 2) for readout in (solved.readout, learned.readout))
    assert reached == pytest.approx(least, rel=1e-6)
    assert least < 0.9 * np.sum(y**2)


def test_a_cell_that_never_responds_gets_no_weight(problem):
    model, x, labels = problem
    weights = model.wiring.weights.copy()
    weights[3] = -1.0
    model = dataclasses.replace(model, wiring=dataclasses.replace(model.wiring, weights=weights))
    solved = least_squares_readout(model, batches(x, labels), ridge=0.0)
    assert not solved.readout[3].any()
    assert np.isfinite(solved.readout).all()


@pytest.mark.parametrize("centre", [True, False])
def test_every_device_finds_the_same(xp_device, build_cerebellum, draw_images, centre):
    model, (x, labels) = build_cerebellum(cells=25, kind="full", dtype=np.float32), draw_images(400, dtype=np.float32)
    solved = least_squares_readout(model, batches(x, labels), centre=centre)
    assert type(solved.readout) is type(solved.ltd_mean) is xp_device.ndarray
    assert solved.readout.dtype == solved.ltd_mean.dtype == np.float32
    backend.configure(device="cpu")
    model, (x, labels) = build_cerebellum(cells=25, kind="full"), draw_images(400)
    expected = least_squares_readout(model, batches(x, labels), centre=centre)
    assert np.allclose(to_numpy(solved.readout), expected.readout, rtol=0, atol=1e-3 * np.abs(expected.readout).max())
    assert np.allclose(to_numpy(solved.ltd_mean), expected.ltd_mean, rtol=0, atol=1e-6)
    assert to_device(expected.readout) is expected.readout


def test_more_cells_than_memory_holds_is_an_error_that_names_them(build_cerebellum, draw_images):
    backend.configure(memory="16MB")
    with pytest.raises(InputError, match="at most 1000 .*--memory") as caught:
        least_squares_readout(build_cerebellum(cells=1001), batches(*draw_images(3)))
    assert caught.value.setting == "cells"


@pytest.mark.parametrize("ridge", [-1e-9, float("nan")])
def test_a_ridge_that_cannot_be_used_is_named(problem, ridge):
    model, x, labels = problem
    with pytest.raises(InputError, match="ridge"):
        least_squares_readout(model, batches(x, labels), ridge=ridge)


def test_a_problem_without_a_unique_solution_is_an_error_that_names_the_ridge(problem):
    """Fewer images than cells, and no ridge."""
    model, x, labels = problem
    with pytest.raises(MinicerebError, match="ridge"):
        least_squares_readout(model, batches(x[:10], labels[:10]), ridge=0.0)
