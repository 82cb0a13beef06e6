"""Settings, arrays and their devices, sparse products, and the stand-in that stands for a GPU."""

import sys

import numpy as np
import pytest
import strict_arrays
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from minicereb import backend, parallel
from minicereb.backend import to_device, to_numpy
from minicereb.errors import DeviceError, InputError
from minicereb.gradcheck.differences import check_adjoint

# -- settings ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (16_000_000, 16_000_000),
        ("16MB", 16_000_000),
        ("512MB", 512_000_000),
        ("512 mb", 512_000_000),
        ("2GiB", 2 << 30),
        (" 1.5G ", 1_500_000_000),
        ("1TiB", 1 << 40),
        ("20000KiB", 20_000 << 10),
        ("99999999B", 99_999_999),
    ],
)
def test_sizes_of_memory_are_read(text, size):
    assert backend.parse_memory(text) == size


@pytest.mark.parametrize("text", ["", "much", "-1GB", "15MB", 15_999_999, "1PB", "1e9", "GB", "1.GB", "0x10MB", "nan", "2 GB 3"])
def test_other_sizes_are_refused_by_name(text):
    with pytest.raises(InputError, match="memory.*512MB") as caught:
        backend.parse_memory(text)
    assert caught.value.setting == "memory"


@pytest.mark.parametrize(
    ("wrong", "setting"), [({"device": "tpu"}, "device"), ({"threads": 0}, "threads"), ({"memory": "1B"}, "memory")]
)
def test_a_wrong_setting_is_named(wrong, setting):
    with pytest.raises(InputError) as caught:
        backend.configure(**wrong)
    assert caught.value.setting == setting


def test_a_call_that_is_refused_changes_nothing():
    before = backend.configure(device="cpu", threads=1, memory="1GB")
    with pytest.raises(InputError):
        backend.configure(threads=3, memory="1B")
    assert backend.execution() == before


def test_what_is_not_named_stays():
    backend.configure(device="cpu", threads=3, memory="1GB")
    assert backend.configure(threads=2) == backend.Execution("cpu", 2, 1_000_000_000)
    assert backend.execution() is backend.configure()


def test_cuda_without_cupy_is_an_error_that_says_what_to_install_and_auto_is_the_cpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    backend.cupy_problem.cache_clear()
    try:
        with pytest.raises(DeviceError, match=r"device: 'cuda'.*for CUDA 12: python -m pip install \"cupy-cuda12x"):
            backend.configure(device="cuda")
        assert backend.configure(device="auto").device == "cpu"
    finally:
        backend.cupy_problem.cache_clear()


@pytest.mark.parametrize("thing", [[1.0], 1.0, (1,), None, np.float32(1), "array"])
def test_only_arrays_have_a_library(thing):
    with pytest.raises(TypeError, match=type(thing).__name__):
        backend.xp_of(thing)


def test_a_memory_map_is_an_array_of_the_host(tmp_path):
    np.save(tmp_path / "rows.npy", np.arange(3))
    assert backend.xp_of(np.load(tmp_path / "rows.npy", mmap_mode="r")) is np


def test_arrays_go_to_the_device_and_come_back(xp_device):
    host = np.arange(6, dtype=np.float32).reshape(2, 3)
    there = to_device(host)
    assert backend.xp_of(there) is xp_device
    assert np.array_equal(to_numpy(there), host)
    assert to_device(host, "cpu") is host


# -- sparse products ---------------------------------------------------------------------------------------------------------

sizes = st.tuples(st.integers(1, 12), st.integers(1, 9), st.integers(1, 7), st.sampled_from(["one", "some", "all"]))


def synapses(cells, width, per_cell, seed=0):
    """Weights and inputs; inputs repeat within a row."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((cells, per_cell)), rng.integers(0, width, (cells, per_cell), dtype=np.int32), rng


def as_csr(weights, inputs, width):
    cells, per_cell = weights.shape
    return csr_array((weights.ravel(), inputs.ravel(), np.arange(0, cells * per_cell + 1, per_cell)), shape=(cells, width))


@given(sizes, st.integers(0, 99))
def test_sparse_products_agree_with_scipy(size, seed):
    cells, width, columns, how_many = size
    per_cell = {"one": 1, "some": max(1, width // 2), "all": width}[how_many]
    weights, inputs, rng = synapses(cells, width, per_cell, seed)
    x_t, d_v, before = (rng.standard_normal((rows, columns)) for rows in (width, cells, width))
    expected = as_csr(weights, inputs, width)
    out = np.full((cells, columns), np.nan)
    assert backend.sparse_product(weights, inputs, x_t, out) is out
    assert np.allclose(out, expected @ x_t, rtol=0, atol=1e-13)
    out = before.copy()
    assert backend.add_sparse_transpose_product(weights, inputs, d_v, out) is out
    assert np.allclose(out, before + expected.T @ d_v, rtol=0, atol=1e-13)


def test_sparse_products_on_every_device(xp_device):
    weights, inputs, rng = synapses(50, 12, 5)
    weights = weights.astype(np.float32)
    x_t, d_v = rng.random((12, 8), dtype=np.float32), rng.random((50, 8), dtype=np.float32)
    there = to_device(weights), to_device(inputs)
    out = backend.sparse_product(*there, to_device(x_t), xp_device.empty((50, 8), dtype=xp_device.float32))
    back = backend.add_sparse_transpose_product(*there, to_device(d_v), xp_device.ones((12, 8), dtype=xp_device.float32))
    assert out.dtype == back.dtype == np.float32
    assert np.allclose(to_numpy(out), as_csr(weights, inputs, 12) @ x_t, rtol=0, atol=1e-5)
    assert np.allclose(to_numpy(back), 1 + as_csr(weights, inputs, 12).T @ d_v, rtol=0, atol=1e-5)


def test_a_block_of_cells_is_a_block_of_the_product():
    weights, inputs, rng = synapses(30, 9, 4)
    x_t, whole, parts = rng.standard_normal((9, 6)), np.empty((30, 6)), np.empty((30, 6))
    backend.sparse_product(weights, inputs, x_t, whole)
    for part in parallel.blocks(30, 7):
        backend.sparse_product(weights[part], inputs[part], x_t, parts[part])
    assert np.array_equal(parts, whole)


def test_the_transpose_product_is_the_adjoint():
    weights, inputs, _ = synapses(30, 9, 4)
    error = check_adjoint(
        lambda x_t: backend.sparse_product(weights, inputs, x_t, np.empty((30, 6))),
        lambda d_v: backend.add_sparse_transpose_product(weights, inputs, d_v, np.zeros((9, 6))),
        (9, 6),
        (30, 6),
    )
    assert error < 1e-14


# -- the stand-in ------------------------------------------------------------------------------------------------------------

HOST = np.arange(3, dtype=np.float32)


def copy_into_host(there):
    HOST.copy()[...] = there


def copy_into_device(there):
    there[...] = HOST


def add_to_host(there):
    host = HOST.copy()
    host += there


def add_to_device(there):
    there += HOST


@pytest.mark.parametrize(
    "leak",
    [
        lambda there: there + HOST,
        lambda there: HOST + there,
        lambda there: HOST @ there,
        lambda there: there @ HOST,
        lambda there: np.less(HOST, there),
        lambda there: there[HOST > 0],
        lambda there: HOST[there > 0],
        lambda there: np.add(there, there, out=HOST.copy()),
        lambda there: strict_arrays.library.add(there, there, out=HOST.copy()),
        lambda there: strict_arrays.library.add(HOST, HOST, out=there),
        lambda there: strict_arrays.library.maximum(there, HOST),
        lambda there: strict_arrays.library.concatenate((there, HOST)),
        lambda there: strict_arrays.library.where(there > 0, HOST, there),
        lambda there: strict_arrays.library.copyto(there, HOST),
        lambda there: there.sum(where=HOST > 0),
        lambda there: np.concatenate((there, there)),
        lambda there: np.sum(there),
        lambda there: np.asarray(there),
        lambda there: HOST.dot(there),
        copy_into_host,
        copy_into_device,
        add_to_host,
        add_to_device,
    ],
)
def test_the_strict_stand_in_refuses_to_meet_the_host(leak):
    with pytest.raises(TypeError, match=r"device|StrictArray"):
        leak(strict_arrays.library.asarray(HOST))


@pytest.mark.parametrize(
    "promote",
    [
        lambda single, double: single + double,
        lambda single, double: double @ single,
        lambda single, double: strict_arrays.library.matmul(single, single, out=double),
        lambda single, double: strict_arrays.library.maximum(double, single),
        lambda single, double: strict_arrays.library.where(single > 0, single, double),
        lambda single, double: single.dot(double),
    ],
)
def test_the_strict_stand_in_refuses_to_promote(promote):
    with pytest.raises(TypeError, match=r"float32 and float64"):
        promote(strict_arrays.library.ones((2, 2), dtype=np.float32), strict_arrays.library.ones((2, 2)))


def test_the_strict_stand_in_computes_like_numpy(monkeypatch):
    strict_arrays.install(monkeypatch)
    host = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    there = to_device(host)
    assert type(there) is type(there * 2) is type(there.sum()) is type(there[0, 0]) is strict_arrays.StrictArray
    assert (there.shape, there.dtype, len(there), there.T.shape) == ((3, 4), np.float32, 3, (4, 3))
    there[there < 0] = 0
    there[1:] *= np.float32(2)
    assert there.get().tolist() == (np.maximum(host, 0) * [[1], [2], [2]]).tolist()
    assert np.array_equal(host, np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4))  # to_device made a copy
    out = strict_arrays.library.empty((3, 3), dtype=np.float32)
    assert strict_arrays.library.matmul(there, there.T, out=out) is out
    assert np.array_equal(out.get(), there.get() @ there.get().T)


def test_the_strict_stand_in_counts_what_is_read(monkeypatch):
    strict_arrays.install(monkeypatch)
    there = to_device(HOST)
    before = strict_arrays.StrictArray.reads
    total = (there + 1).sum()
    assert strict_arrays.StrictArray.reads == before
    assert (float(total), int(there.argmax()), bool(there.any())) == (6.0, 2, True)
    assert total.item() == 6.0
    assert strict_arrays.StrictArray.reads == before + 4
