"""Searches, which are generators of points, and the selection of one point from each search."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import numpy as np

from minicereb.attacks.gradients import Landscape, Point
from minicereb.backend import Array, xp_of
from minicereb.errors import MinicerebError

# Yields one point for all its images; if an array of positions is sent to it, it continues with these images only.
Search = Generator[Point, Array | None, None]
EVERY = 5  # number of points between two transfers from the device
WORTH_DROPPING = 0.25  # images are dropped when at least this share of them is misclassified


class CheckedSearch:
    """A search that raises :class:`MinicerebError` at its end if any outputs or gradients were not finite."""

    def __init__(self, search: Search):
        self.search = search
        self._finite: Any = True
        self._keep: Array | None = None

    def __iter__(self) -> Iterator[Point]:
        while True:
            try:
                point = self.search.send(self._keep)
            except StopIteration:
                break
            self._keep = None
            xp = xp_of(point.x)
            self._finite = xp.isfinite(point.value).all() & xp.isfinite(xp.vdot(point.x, point.x)) & self._finite
            yield point
        self.check()

    def continue_with(self, images: Array) -> None:
        """Continue with only some of the images of the last point; their positions are given."""
        self._keep = images

    def check(self) -> None:
        """Raise the error if any value was not finite. Only here does the search wait for the GPU."""
        if not bool(self._finite):
            raise MinicerebError("outputs or gradients of the model are not finite; an attack on them would prove nothing")


def last(search: Search) -> Point:
    """Return the last point of a search."""
    for point in CheckedSearch(search):  # noqa: B007
        pass
    return point


def best(search: Search, landscape: Landscape) -> Point:
    """Return the best point of each image: misclassified points first, then by objective; ties go to the earliest."""
    points = iter(CheckedSearch(search))
    kept = Point(*(array.copy() for array in next(points)))
    wrong = landscape.wrong(kept)
    for point in points:
        wrong_now = landscape.wrong(point)
        _put(kept, point, (wrong_now & ~wrong) | ((wrong_now == wrong) & (point.value > kept.value)))
        wrong |= wrong_now
    return kept


def first_wrong(search: Search, landscape: Landscape) -> Point:
    """Return the first misclassified point of each image, or the best one if there is none.

    Every few points, misclassified images are dropped from the search. This saves time and does not change the result.
    """
    checked = CheckedSearch(search)
    for number, point in enumerate(checked):
        if number == 0:
            kept = everything = Point(*(array.copy() for array in point))
            places, wrong = None, landscape.wrong(point)
        else:
            wrong_now = landscape.wrong(point)
            _put(kept, point, ~wrong & (wrong_now | (point.value > kept.value)))
            wrong |= wrong_now
        if number % EVERY:
            continue
        done = float(wrong.mean())
        if done == 1:
            break
        if done >= WORTH_DROPPING:
            left = xp_of(wrong).flatnonzero(~wrong)
            _store(everything, places, kept)
            kept, landscape, wrong = Point(*(array[left] for array in kept)), landscape.of(left), wrong[left]
            places = left if places is None else places[left]
            checked.continue_with(left)
    checked.check()
    _store(everything, places, kept)
    return everything


def _put(kept: Point, point: Point, where: Array) -> None:
    for old, new in zip(kept, point, strict=True):
        put_rows(old, new, where)


def put_rows(old: Array, new: Array, where: Array) -> None:
    """Copy into `old` the rows of `new` that `where` (array of bool) selects."""
    xp = xp_of(where)
    if xp is np:  # on a GPU, counting the rows would mean waiting for the result
        old[where] = new[where]
    else:
        xp.copyto(old, new, where=where if new.ndim == 1 else where[:, None])


def _store(everything: Point, places: Array | None, kept: Point) -> None:
    """Copy the points of some images into the arrays of all images, at `places`; do nothing if `places` is None."""
    if places is not None:
        for whole, part in zip(everything, kept, strict=True):
            whole[places] = part
