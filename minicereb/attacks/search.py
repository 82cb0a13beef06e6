"""What a search is: a generator of points that can be told which images to go on with."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import numpy as np

from minicereb.attacks.gradients import Landscape, Point
from minicereb.backend import Array, xp_of
from minicereb.errors import MinicerebError

# Yields points of all its images; sent an array of places, it goes on with the images at these places alone.
Search = Generator[Point, Array | None, None]
LOOK = 5  # points between two looks at the device
WORTH_DROPPING = 0.25  # share of the images that must be done


class CheckedSearch:
    """A search under watch: it passes the points on, and raises if anything was not finite on the way.

    Parameters
    ----------
    search : generator
    """

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

    def go_on_with(self, images: Array) -> None:
        """Let the search go on with some of the images of its last point: array of their places."""
        self._keep = images

    def check(self) -> None:
        """Raise :class:`MinicerebError` if outputs or gradients were not finite: the one look at the device that it takes."""
        if not bool(self._finite):
            raise MinicerebError("outputs or gradients of the model are not finite; an attack on them would prove nothing")


def last(search: Search) -> Point:
    """The last point."""
    for point in CheckedSearch(search):  # noqa: B007
        pass
    return point


def best(search: Search, landscape: Landscape) -> Point:
    """The best point of each image: misclassified before not, then by objective; of equals the first."""
    points = iter(CheckedSearch(search))
    kept = _copy(next(points))
    wrong = landscape.wrong(kept)
    for point in points:
        wrong_now = landscape.wrong(point)
        _put(kept, point, (wrong_now & ~wrong) | ((wrong_now == wrong) & (point.value > kept.value)))
        wrong |= wrong_now
    return kept


def first_wrong(search: Search, landscape: Landscape) -> Point:
    """The first misclassified point of each image, or the best of one that has none.

    The search goes on with the images that are still right. Which they are is looked up every few points; what is found does not
    depend on when.
    """
    walk = CheckedSearch(search)
    for number, point in enumerate(walk):
        if number == 0:
            kept = everything = _copy(point)
            places, wrong = None, landscape.wrong(point)
        else:
            wrong_now = landscape.wrong(point)
            _put(kept, point, ~wrong & (wrong_now | (point.value > kept.value)))
            wrong |= wrong_now
        if number % LOOK:
            continue
        done = float(wrong.mean())
        if done == 1:
            break
        if done >= WORTH_DROPPING:
            left = xp_of(wrong).flatnonzero(~wrong)
            _store(everything, places, kept)
            kept, landscape, wrong = Point(*(array[left] for array in kept)), landscape.of(left), wrong[left]
            places = left if places is None else places[left]
            walk.go_on_with(left)
    walk.check()
    _store(everything, places, kept)
    return everything


def _copy(point: Point) -> Point:
    return Point(*(array.copy() for array in point))


def _put(kept: Point, point: Point, where: Array) -> None:
    """Overwrite the images chosen."""
    for old, new in zip(kept, point, strict=True):
        put_rows(old, new, where)


def put_rows(old: Array, new: Array, where: Array) -> None:
    """Write the rows of `new` that `where` (array of bool) has chosen over those of `old`."""
    xp = xp_of(where)
    if xp is np:  # a GPU would have to be waited for to know how many
        old[where] = new[where]
    else:
        xp.copyto(old, new, where=where if new.ndim == 1 else where[:, None])


def _store(everything: Point, places: Array | None, kept: Point) -> None:
    """Put what is kept of some images to its places among all; None: it is all of them."""
    if places is not None:
        for whole, part in zip(everything, kept, strict=True):
            whole[places] = part
