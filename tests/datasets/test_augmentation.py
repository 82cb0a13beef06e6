"""Images that are shifted and mirrored: as they should be, each way equally often, by address.

Tests of a distribution state how often a perfect generator would fail them; their addresses are fixed, so they do not flicker.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from minicereb.backend import to_device, to_numpy
from minicereb.datasets.transforms import crop_and_flip
from minicereb.errors import InputError

FALSE_ALARM = 1e-6  # of each test of a distribution
WAYS = [(down, across, mirrored) for down in range(9) for across in range(9) for mirrored in (False, True)]


def one_way(image, down, across, mirrored):
    """What an image (height, width, channels) becomes, pixel by pixel."""
    height, width, channels = image.shape
    result = np.zeros_like(image)
    for y, x in np.ndindex(height, width):
        from_y, from_x = y + down - 4, (width - 1 - x if mirrored else x) + across - 4
        if 0 <= from_y < height and 0 <= from_x < width:
            result[y, x] = image[from_y, from_x]
    return result


def ways(shape, count, seed=0, epoch=0):
    """Which of the WAYS each of this many equal images of this shape went."""
    image = np.arange(1, np.prod(shape) + 1, dtype=np.uint8).reshape(*shape, 1)
    number = {one_way(image, *way).tobytes(): number for number, way in enumerate(WAYS)}
    assert len(number) == len(WAYS)
    rows = np.tile(image.ravel(), (count, 1))
    augmented = crop_and_flip(rows, shape, seed, epoch, np.arange(count))
    return np.array([number[row.tobytes()] for row in augmented])


def test_all_ways_are_equally_likely():
    counts = np.bincount(ways((9, 9), 16_200), minlength=len(WAYS))
    assert stats.chisquare(counts).pvalue > FALSE_ALARM  # 162 ways, 100 of each expected
    assert stats.binomtest(int(counts[1::2].sum()), 16_200).pvalue > FALSE_ALARM


def test_epochs_and_neighbours_are_independent():
    one, other = (ways((9, 9), 8100, epoch=epoch) for epoch in (0, 1))
    for first, second in ((one, other), (one[:-1], one[1:])):
        for part in (lambda way: way // 18, lambda way: way // 2 % 9, lambda way: way % 2):
            table = np.zeros((9, 9))
            np.add.at(table, (part(first), part(second)), 1)
            table = table[table.any(axis=1)][:, table.any(axis=0)]
            assert stats.chi2_contingency(table).pvalue > FALSE_ALARM


@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 3), st.integers(0, 3), st.integers(0, 2**40))
def test_every_image_went_one_of_the_ways(height, width, channels, epoch, image_id):
    image = np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)
    augmented = crop_and_flip(image.reshape(1, -1), image.shape, 0, epoch, np.array([image_id]))
    assert augmented.dtype == np.uint8
    assert any(np.array_equal(augmented[0], one_way(image, *way).ravel()) for way in WAYS)


@given(st.lists(st.integers(0, 39)))
def test_what_happens_to_an_image_does_not_depend_on_the_others(chosen):
    images, ids = np.random.default_rng(0).integers(0, 256, (40, 60), dtype=np.uint8), np.arange(100, 140)
    ids_chosen = ids[chosen]
    alone = crop_and_flip(images[chosen], (4, 5, 3), 0, 2, ids_chosen)
    assert np.array_equal(alone, crop_and_flip(images, (4, 5, 3), 0, 2, ids)[chosen])


def test_seed_and_epoch_matter():
    found = [ways((9, 9), 50, seed, epoch) for seed, epoch in ((0, 0), (0, 0), (0, 1), (1, 0))]
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])
    assert not np.array_equal(found[0], found[3])


def test_floats_stay_what_they_are():
    images = np.random.default_rng(0).random((3, 30)).astype(np.float32)
    assert crop_and_flip(images, (5, 6), 0, 0, np.arange(3)).dtype == np.float32


def test_every_device_gives_the_same_bits(xp_device):
    images, ids = np.random.default_rng(0).integers(0, 256, (70, 60), dtype=np.uint8), np.arange(70) * 3
    there = crop_and_flip(to_device(images), (4, 5, 3), 5, 6, to_device(ids))
    assert type(there) is xp_device.ndarray
    assert np.array_equal(to_numpy(there), crop_and_flip(images, (4, 5, 3), 5, 6, ids))


def test_rows_that_are_no_images_are_refused():
    with pytest.raises(InputError, match="augment: .*a data set of images"):
        crop_and_flip(np.zeros((2, 12), dtype=np.uint8), (12,), 0, 0, np.arange(2))
