"""The distribution of the wiring, for every kind, and invalid settings.

Tests of a distribution state how often a perfect generator would fail them; their seeds are fixed, so they do not flicker.
"""

import itertools
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.sparse import csr_array

from minicereb import backend
from minicereb.backend import to_device, to_numpy
from minicereb.errors import InputError
from minicereb.models.wiring import draw_wiring

FALSE_ALARM = 1e-6  # of each test of a distribution
KINDS = [
    {"kind": "full"},
    {"kind": "random"},
    {"kind": "random", "replacement": True},
    {"kind": "local"},
    {"kind": "local", "patch": True},
]
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: " ".join(map(str, kind.values())))


def wire(kind, cells=50, shape=(5, 6), k=4, seed=0):
    return draw_wiring(cells=cells, image_shape=shape, inputs_per_cell=k, seed=seed, **kind)


def equally_likely(outcomes, possible):
    """Whether a chi-square test lets the claim pass that all possible outcomes are equally likely."""
    counts = Counter(outcomes)
    assert set(counts) <= set(possible)
    return len(possible) == 1 or stats.chisquare([counts[outcome] for outcome in possible]).pvalue > FALSE_ALARM


# -- which inputs ------------------------------------------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("k", [1, 4, 30])
def test_every_cell_has_k_inputs_in_order(kind, k):
    wiring = wire(kind, k=k)
    degree = 30 if kind["kind"] == "full" else k
    assert (wiring.cells, wiring.width, wiring.weights.shape) == (50, 30, (50, degree))
    assert wiring.weights.dtype == np.float32
    if kind["kind"] == "full":
        assert wiring.inputs is None
    else:
        assert wiring.inputs.shape == (50, degree)
        assert wiring.inputs.dtype == np.int32
        assert (wiring.inputs >= 0).all()
        assert (wiring.inputs < 30).all()
        assert (np.diff(wiring.inputs, axis=1) >= (0 if kind.get("replacement") else 1)).all()


@given(st.integers(1, 40).flatmap(lambda width: st.tuples(st.just(width), st.integers(1, width))), st.integers(0, 99))
def test_random_inputs_are_distinct(size, seed):
    width, k = size
    inputs = wire({"kind": "random"}, cells=20, shape=(width,), k=k, seed=seed).inputs
    assert all(len(set(row)) == k for row in inputs.tolist())


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_every_set_of_random_inputs_is_equally_likely(k):
    inputs = wire({"kind": "random"}, cells=20_000, shape=(6,), k=k).inputs
    assert equally_likely(map(tuple, inputs.tolist()), list(combinations(range(6), k)))


def test_inputs_drawn_with_replacement_are_independent():
    inputs = wire({"kind": "random", "replacement": True}, cells=20_000, shape=(3,), k=2).inputs
    counts = Counter(map(tuple, inputs.tolist()))
    ninths = {(0, 0): 1, (0, 1): 2, (0, 2): 2, (1, 1): 1, (1, 2): 2, (2, 2): 1}
    expected = [20_000 * share / 9 for share in ninths.values()]
    assert stats.chisquare([counts[pair] for pair in ninths], expected).pvalue > FALSE_ALARM


def test_as_many_draws_with_replacement_as_inputs_reach_63_percent_of_them():
    inputs = wire({"kind": "random", "replacement": True}, cells=2000, shape=(28, 28), k=784).inputs
    share = np.mean([len(np.unique(row)) for row in inputs]) / 784
    expected = 1 - (1 - 1 / 784) ** 784
    deviation = 0.31 / 784**0.5 / 2000**0.5  # of the share of occupied cells: sqrt(1/e - 2/e²) per root of their number
    assert abs(share - expected) < stats.norm.isf(FALSE_ALARM / 2) * deviation
    assert expected == pytest.approx(0.632, abs=1e-3)


@pytest.mark.parametrize("k", [1, 4, 9, 10])
def test_local_inputs_are_neighbours_and_every_place_is_equally_likely(k):
    inputs = wire({"kind": "local"}, cells=5000, shape=(10,), k=k).inputs
    assert (np.diff(inputs, axis=1) == 1).all()
    assert equally_likely(inputs[:, 0].tolist(), range(10 - k + 1))


@pytest.mark.parametrize(("k", "height", "length"), [(1, 1, 1), (4, 2, 2), (5, 1, 5), (6, 2, 3), (12, 3, 4), (25, 5, 5)])
@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 3)])
def test_patches_are_rectangles_in_one_channel_and_every_place_is_equally_likely(shape, k, height, length):
    inputs = wire({"kind": "local", "patch": True}, cells=5000, shape=shape, k=k).inputs
    row, column, channel = np.unravel_index(inputs, (*shape, 1)[:3])
    assert (channel == channel[:, :1]).all()
    top, left = row.min(axis=1), column.min(axis=1)
    grid = [(i, j) for i in range(height) for j in range(length)]
    assert np.array_equal(row - top[:, None], np.tile([i for i, _ in grid], (5000, 1)))
    assert np.array_equal(column - left[:, None], np.tile([j for _, j in grid], (5000, 1)))
    channels = range(shape[2] if len(shape) == 3 else 1)
    places = [(i, j, c) for i in range(5 - height + 1) for j in range(6 - length + 1) for c in channels]
    assert equally_likely(zip(top.tolist(), left.tolist(), channel[:, 0].tolist(), strict=True), places)


# -- which weights -----------------------------------------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("k", [1, 4, 25])
def test_weights_are_normal_with_variance_one_by_k(kind, k):
    weights = wire(kind, cells=20_000 // k, k=k).weights.astype(np.float64)
    degree = weights.shape[1]
    standard = (weights * degree**0.5).ravel()
    limit = stats.norm.isf(FALSE_ALARM / 2)
    assert abs(standard.mean()) < limit / standard.size**0.5
    assert abs(standard.var() - 1) < limit * (2 / standard.size) ** 0.5
    assert stats.kstest(standard, "norm").pvalue > FALSE_ALARM
    for pairs in ((weights[1:], weights[:-1]), (weights[:, 1:], weights[:, :-1])):
        if pairs[0].size:
            assert abs(np.corrcoef(pairs[0].ravel(), pairs[1].ravel())[0, 1]) < limit / pairs[0].size ** 0.5


# -- identity ----------------------------------------------------------------------------------------------------------------


@every_kind
def test_equal_settings_and_seeds_give_equal_bits_and_other_seeds_other_ones(kind):
    wiring, again, other = wire(kind), wire(kind), wire(kind, seed=1)
    assert np.array_equal(wiring.weights, again.weights)
    assert wiring.sha256() == again.sha256() != other.sha256()
    assert not np.array_equal(wiring.weights, other.weights)
    if wiring.inputs is not None:
        assert np.array_equal(wiring.inputs, again.inputs)
        assert not np.array_equal(wiring.inputs, other.inputs)


def test_the_hash_sees_inputs_as_well_as_weights():
    hashes = {wire(kind).sha256() for kind in KINDS}
    assert len(hashes) == len(KINDS)


# -- the matrix --------------------------------------------------------------------------------------------------------------


def dense(wiring):
    """J as the paper has it, inputs × cells; synapses that a cell has twice add up."""
    matrix = np.zeros((wiring.width, wiring.cells), dtype=np.float32)
    weights = to_numpy(wiring.weights)
    for cell in range(wiring.cells):
        inputs = range(wiring.width) if wiring.inputs is None else to_numpy(wiring.inputs)[cell]
        for number, weight in zip(inputs, weights[cell], strict=True):
            matrix[number, cell] += weight
    return matrix


def test_cells_with_many_inputs_are_multiplied_as_a_matrix_and_those_with_few_are_not():
    full = wire({"kind": "full"})
    assert full.matrix is full.weights
    many = draw_wiring("random", 50, (30,), 4, seed=0, replacement=True)
    assert np.allclose(to_numpy(many.matrix), dense(many).T, rtol=0, atol=1e-6)
    few = draw_wiring("random", 50, (30,), 3, seed=0)
    assert few.matrix is None
    assert (full.nbytes, many.nbytes, few.nbytes) == (50 * 30 * 4, 50 * (30 * 4 + 4 * 8), 50 * 3 * 8)


@every_kind
@pytest.mark.parametrize("k", [3, 4])  # synapse by synapse, and as a matrix
def test_the_wiring_is_a_matrix_and_csr_holds_the_same_one(xp_device, kind, k):
    wiring = wire(kind, k=k)
    matrix = dense(wiring)
    assert np.array_equal(csr_array(wiring.csr(), shape=(50, 30)).toarray(), matrix.T)
    assert np.array_equal(wiring.by_input().toarray(), matrix)
    x = np.random.default_rng(0).random((7, 30), dtype=np.float32)
    x_t, part = to_device(np.ascontiguousarray(x.T)), slice(10, 40)
    v = wiring.project(part, x_t, xp_device.empty((30, 7), dtype=xp_device.float32))
    assert np.allclose(to_numpy(v), (x @ matrix).T[part], rtol=0, atol=1e-5)
    back = wiring.add_input_gradient(part, v, xp_device.ones((30, 7), dtype=xp_device.float32))
    assert np.allclose(to_numpy(back), 1 + matrix[:, part] @ to_numpy(v), rtol=0, atol=1e-5)


@every_kind
def test_every_device_has_the_same_wiring(xp_device, kind):
    there = wire(kind)
    assert type(there.weights) is xp_device.ndarray
    backend.configure(device="cpu")
    here = wire(kind)
    assert type(here.weights) is np.ndarray
    assert there.sha256() == here.sha256()


# -- what cannot be drawn ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "setting"),
    [
        ({"kind": {"kind": "dense"}}, "wiring"),
        ({"cells": 0}, "cells"),
        ({"cells": -3}, "cells"),
        ({"k": 0}, "inputs-per-cell"),
        ({"k": 31}, "inputs-per-cell"),
        ({"k": None}, "inputs-per-cell"),
        ({"k": 31, "kind": {"kind": "local"}}, "inputs-per-cell"),
        ({"k": 31, "kind": {"kind": "random", "replacement": True}}, "inputs-per-cell"),
        ({"k": 7, "kind": {"kind": "local", "patch": True}}, "inputs-per-cell"),
        ({"k": 14, "kind": {"kind": "local", "patch": True}, "shape": (3, 5)}, "inputs-per-cell"),
        ({"kind": {"kind": "local", "patch": True}, "shape": (30,)}, "local patch"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(wrong, setting):
    with pytest.raises(InputError) as caught:
        wire(**{"kind": {"kind": "random"}, **wrong})
    assert caught.value.setting == setting


def test_a_codon_fires_for_its_pattern_alone():
    """Every pattern of the four inputs of every cell."""
    wiring = draw_wiring("local", 50, (5, 6), 4, seed=0, field=3, codons=0.5)
    weights, rest = to_numpy(wiring.weights), to_numpy(wiring.rest)
    patterns = np.array(list(itertools.product([0, 1], repeat=4)), dtype=np.float32)
    h = np.maximum(weights @ patterns.T + rest[:, None], 0)
    assert set(np.unique(weights)) == {-1, 1}
    assert np.array_equal(h == 1, (patterns[None] == (weights > 0)[:, None]).all(axis=2))
    assert np.array_equal(h.sum(axis=1), np.ones(50))


@pytest.mark.parametrize(("side", "count"), [(1, 1), (3, 4), (4, 16)])
def test_the_inputs_of_a_field_are_distinct_and_within_a_square(side, count):
    inputs = to_numpy(draw_wiring("local", 500, (6, 5, 2), count, seed=1, field=side).inputs)
    assert (np.diff(inputs, axis=1) > 0).all()
    assert (inputs % 2 == inputs[:, :1] % 2).all()
    for place in (inputs // 10, inputs // 2 % 5):
        assert (place.max(axis=1) - place.min(axis=1) < side).all()
    assert len(np.unique(inputs)) == 60


@pytest.mark.parametrize(("setting", "shape", "field", "count"), [
    ("field", (5, 6), 6, 4), ("inputs-per-cell", (5, 6), 2, 5), ("local patch", (30,), 2, 4),
])  # fmt: skip
def test_a_field_that_does_not_fit_is_refused(setting, shape, field, count):
    with pytest.raises(InputError) as caught:
        draw_wiring("local", 10, shape, count, seed=0, field=field)
    assert caught.value.setting == setting
