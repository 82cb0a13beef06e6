"""Blocks and lanes: every part once, in order, on as many threads as configured, and the same bits whatever their number."""

import platform
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

from minicereb import backend, parallel
from minicereb.learning.optimizers import RMSprop
from minicereb.learning.plasticity import DeltaRule


@given(st.integers(0, 1000), st.integers(-1, 300))
def test_blocks_cover_a_range_once_and_in_order(total, size):
    parts = list(parallel.blocks(total, size))
    assert [number for part in parts for number in range(part.start, part.stop)] == list(range(total))
    assert all(1 <= part.stop - part.start <= max(1, size) for part in parts)


@given(st.integers(1, 100_000), st.integers(1, 5000))
def test_blocks_of_cells_cover_the_population_and_stay_in_the_cache(cells, columns):
    parts = parallel.cell_blocks(np.empty(0), cells, columns)
    assert parts[0].start == 0
    assert parts[-1].stop == cells
    assert all(a.stop == b.start for a, b in zip(parts, parts[1:], strict=False))
    assert max(part.stop - part.start for part in parts) <= max(256, parallel.ACTIVITY_BYTES // (4 * columns))


@pytest.mark.parametrize(("cells", "columns", "count"), [(1280, 256, 1), (1281, 256, 4), (5000, 256, 4), (5121, 256, 8)])
def test_several_blocks_of_cells_are_a_multiple_of_four_and_equal(cells, columns, count):
    sizes = [part.stop - part.start for part in parallel.cell_blocks(np.empty(0), cells, columns)]
    assert len(sizes) == count
    assert max(sizes) - min(sizes) < count


@given(st.integers(0, 1 << 40), st.sampled_from([16_000_000, 1 << 30]), st.integers(1, 500))
def test_a_block_of_images_keeps_to_a_quarter_of_the_memory_but_is_never_empty(bytes_per_image, memory, at_most):
    backend.configure(memory=memory)
    images = parallel.images_per_block(bytes_per_image, at_most)
    assert 1 <= images <= at_most
    assert images == 1 or images * bytes_per_image <= memory // 4
    assert images == at_most or (images + 1) * bytes_per_image > memory // 4


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 50])
def test_lanes_answer_in_the_order_of_their_parts(threads, count):
    backend.configure(threads=threads)
    assert parallel.run_lanes(lambda part: part * part, list(range(count))) == [part * part for part in range(count)]


def test_lanes_run_on_as_many_threads_as_configured_each_with_a_contiguous_share():
    backend.configure(threads=3)
    meeting = threading.Barrier(3, timeout=60)  # passes only if three threads are there at once

    def who(part):
        if part in (0, 2, 4):
            meeting.wait()
        return threading.get_ident()

    a, b, c, d, e, f = parallel.run_lanes(who, list(range(6)))
    assert a == b == threading.get_ident()
    assert c == d
    assert e == f
    assert len({a, c, e}) == 3


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("failing", [0, 5, 9])
def test_an_exception_in_a_lane_reaches_the_caller(threads, failing):
    def work(part):
        if part == failing:
            raise ZeroDivisionError("in a lane")

    backend.configure(threads=threads)
    with pytest.raises(ZeroDivisionError, match="in a lane"):
        parallel.run_lanes(work, list(range(10)))
    assert parallel.run_lanes(abs, [-1, -2, -3]) == [1, 2, 3]


def test_a_share_that_is_cut_again_stays_on_its_thread():
    backend.configure(threads=3)

    def who(part):
        return {threading.get_ident(), *parallel.run_lanes(lambda part: threading.get_ident(), [0, 1, 2])}

    one, other = parallel.run_lanes(who, [0, 1])
    assert len(one) == len(other) == 1
    assert one != other
    (alone,) = parallel.run_lanes(who, [0])
    assert len(alone) > 1


@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 100])
def test_lanes_sum_every_part_once(count):
    parts = list(parallel.blocks(count * 3, 3))

    def add(part, total, fresh):
        share = np.array([[sum(range(part.start, part.stop)), 1.0]])
        total[...] = share if fresh else total + share

    like = np.empty(0, dtype=np.float64)
    first = parallel.sum_lanes(add, parts, (1, 2), like)
    assert first.tolist() == [[sum(range(count * 3)), count]]
    parallel.sum_lanes(add, parts[:1], (1, 2), like)
    assert first.tolist() == [[sum(range(count * 3)), count]]  # and is nobody's scratch


@pytest.mark.parametrize(("threads", "rows", "sizes"), [(1, 7, [7]), (2, 7, [4, 3]), (3, 2, [1, 1]), (2, 0, [])])
def test_every_thread_has_its_share_of_the_rows(threads, rows, sizes):
    backend.configure(threads=threads)
    parts = parallel.shares(np.empty((rows, 3), dtype=np.float32))
    assert [part.stop - part.start for part in parts] == sizes
    assert [number for part in parts for number in range(part.start, part.stop)] == list(range(rows))


def blas_threads():
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


@pytest.mark.parametrize("worthwhile", [False, True])
def test_work_that_is_not_worth_threads_has_one_of_blas_too(worthwhile):
    """Otherwise a small product would depend on the number of BLAS's threads."""
    backend.configure(threads=2)
    with threadpool_limits(2, "blas"):
        assert set(blas_threads()) == {2}
        with parallel.threads_if(worthwhile):
            found = parallel.run_lanes(lambda _: (set(blas_threads()), threading.get_ident()), [0, 1])
        assert set(blas_threads()) == {2}
    assert [threads for threads, _ in found] == [{1}, {1}]
    assert worthwhile or {thread for _, thread in found} == {threading.get_ident()}


def test_blas_has_one_thread_within_a_block_and_its_own_number_after_it():
    now = blas_threads
    with threadpool_limits(2, "blas"):
        before = now()
        with parallel.one_blas_thread():
            with parallel.one_blas_thread():
                assert set(now()) == {1}
            assert set(now()) == {1}  # the inner block gave nothing back
        assert now() == before
        with pytest.raises(ZeroDivisionError), parallel.one_blas_thread():
            raise ZeroDivisionError
        assert now() == before


@pytest.fixture(scope="module")
def bits_of(build_cerebellum, draw_images):
    """Return all that a cerebellum of many blocks computes, in float32, as bytes."""

    def compute(threads, kind):
        backend.configure(device="cpu", threads=threads)
        model = build_cerebellum(cells=70_000, kind=kind, dtype=np.float32)
        x, labels = draw_images(40, dtype=np.float32)
        outputs, cache = model.forward(x)
        gradient = model.input_gradient(outputs, cache)
        rule = DeltaRule(model, RMSprop(1e-4), 10, ltd_decay=0.9)
        learned = []
        for part in parallel.blocks(len(x), rule.batches_ahead * 10):
            learned += [batch.outputs.tobytes() for batch in rule.learn(x[part], labels[part])]
        return [outputs.tobytes(), gradient.tobytes(), *learned, *(array.tobytes() for array in rule.arrays().values())]

    return compute


@pytest.mark.parametrize("kind", ["random", "full"])
def test_the_number_of_threads_changes_no_bit(bits_of, kind):
    one = bits_of(1, kind)
    assert bits_of(2, kind) == one
    assert bits_of(3, kind) == one


def test_a_thread_finds_its_scratch_again_and_other_threads_have_their_own():
    like = np.empty(0, dtype=np.float32)
    mine = parallel.scratch("test", (5, 7), like)
    assert mine.shape == (5, 7)
    assert mine.dtype == np.float32
    assert np.shares_memory(mine, parallel.scratch("test", (7, 4), like))
    assert not np.shares_memory(mine, parallel.scratch("another", (5, 7), like))
    assert parallel.scratch("test", (2, 2), np.empty(0)).dtype == np.float64
    others = []
    thread = threading.Thread(target=lambda: others.append(parallel.scratch("test", (5, 7), like)))
    thread.start()
    thread.join()
    assert not np.shares_memory(parallel.scratch("test", (5, 7), like), others[0])


FAULTS = """
import resource
import numpy as np
from minicereb.parallel import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        held = [np.ones(1 << 18, dtype=np.float32) for _ in range(6)]
        del held
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

keep_freed_memory()
faults()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="what glibc does")
def test_freed_memory_is_kept_for_who_allocates_next():
    """If the memory were returned, six arrays of 256 pages would be mapped anew 20 times."""
    asked = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    assert int(asked.stdout) < 6 * 256
