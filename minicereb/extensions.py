"""Attacks, learning rules, data sets and studies that other installed packages offer through entry points.

A package offers an extension through an entry point in one of the groups :data:`GROUPS`, such as::

    [project.entry-points."minicereb.attacks"]
    noisy-pgd = "mypackage.noisy_pgd:METHOD"

Every command then accepts that name. The table of each kind of extension documents the type that an object must have. The
names of minicereb's own entries cannot be reused.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from minicereb.errors import ExtensionError, one_line

GROUPS = ("minicereb.attacks", "minicereb.rules", "minicereb.datasets", "minicereb.studies")

Kind = TypeVar("Kind")


@functools.cache
def offered(group: str) -> Mapping[str, EntryPoint]:
    """Return the entry points of a group, keyed by name, without importing their objects.

    It raises :class:`ExtensionError` if two packages offer different objects under one name.
    """
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=group):
        other = found.setdefault(point.name, point)
        if other.value != point.value:
            raise ExtensionError(f"{group}: two packages offer {point.name!r}: {other.value} and {point.value}; uninstall one")
    return dict(sorted(found.items()))


def load(group: str, name: str, kind: type[Kind]) -> Kind:
    """Import the object of an entry point; raise :class:`ExtensionError` if that fails or it is not an instance of `kind`."""
    point = offered(group)[name]
    try:
        found = point.load()
    except Exception as error:
        raise ExtensionError(f"{group}: {name!r} ({point.value}) cannot be imported: {one_line(error)}") from error
    if not isinstance(found, kind):
        raise ExtensionError(f"{group}: {name!r} ({point.value}) is of type {type(found).__name__}; expected {kind.__name__}")
    return found


def names(group: str, own: Iterable[str]) -> tuple[str, ...]:
    """Return minicereb's own names, then the names of other packages, without importing anything.

    It raises :class:`ExtensionError` if an extension has the same name as one of minicereb's own entries.
    """
    own = tuple(own)
    for name, point in offered(group).items():
        if name in own:
            raise ExtensionError(f"{group}: {name!r} ({point.value}) is a name of minicereb's own; choose another")
    return (*own, *offered(group))


def with_extensions(group: str, own: Mapping[str, Kind], kind: type[Kind]) -> dict[str, Any]:
    """Return a table of minicereb's own entries, followed by the entries of other packages.

    Errors are raised as by :func:`load` and :func:`names`.
    """
    return {name: own[name] if name in own else load(group, name, kind) for name in names(group, own)}
