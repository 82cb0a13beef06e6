"""Settings of experiments as JSON, and the hash of these settings, which identifies a result.

Every kind of settings is registered by :func:`config_kind`; the kinds of experiments are imported when settings are read. A
field with the metadata ``{"identity": False}`` is not hashed. A field with ``{"added": True}`` was added in a later
version. The default of such a field means "as before", and only other values are hashed, so earlier results are still
found. If equal settings of a kind give different results than before, the kind's property ``revision`` returns a number
above 0, which is hashed like a field, so earlier results are no longer found.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import itertools
import pkgutil
import typing
from typing import Any, TypeVar

from minicereb.documents import Mismatch, Shape, check
from minicereb.errors import DataError
from minicereb.files import canonical_json
from minicereb.settings import checked, field_shapes, members

REVISION = 1  # to be raised when all settings give new results, so that old ones are no longer found

KINDS: dict[str, type] = {}
Kind = TypeVar("Kind", bound=type)


def config_kind(cls: Kind) -> Kind:
    """Register the name of a frozen dataclass of settings for :func:`from_json`, and check its fields (a decorator)."""
    KINDS[cls.__name__] = checked(cls)
    return cls


def to_json(config: Any) -> Any:
    """Return a config as JSON values; every nested config becomes an object whose ``kind`` is the name of its class."""
    if dataclasses.is_dataclass(config):
        fields = {f.name: to_json(getattr(config, f.name)) for f in dataclasses.fields(config)}
        return {"kind": type(config).__name__, **fields}
    return [to_json(item) for item in config] if isinstance(config, tuple) else config


def from_json(value: Any) -> Any:
    """Return the config from which :func:`to_json` made a JSON value.

    A :class:`DataError` is raised for a field that this version does not have, and an :class:`InputError` for an invalid value.
    """
    try:
        return _config(value)
    except Mismatch as error:
        raise DataError(f"not the settings of an experiment of this version: {error}") from error


def import_kinds() -> None:
    """Import every module that defines a kind of experiment: those in ``minicereb/experiments/kinds``, and evaluations."""
    importlib.import_module("minicereb.experiments.evaluation.settings")
    for module in pkgutil.iter_modules(importlib.import_module("minicereb.experiments.kinds").__path__):
        importlib.import_module(f"minicereb.experiments.kinds.{module.name}")


def _config(value: Any, kinds: tuple[type, ...] = ()) -> Any:
    """Return the config that a JSON value describes; if `kinds` are given, it must belong to one of them."""
    check(value, dict[str, Any])
    name = value.get("kind")
    if isinstance(name, str) and name not in KINDS:
        import_kinds()
    kind = KINDS.get(name) if isinstance(name, str) else None
    if kind is None or (kinds and kind not in kinds):
        expected = " or ".join(each.__name__ for each in kinds) or "a kind of experiment"
        raise Mismatch(value.get("kind", ...), expected).within("kind")
    shapes, found = field_shapes(kind), {}
    for name, item in value.items():
        if name != "kind":
            try:
                if name not in shapes:
                    raise Mismatch(item, "nothing of this name")
                found[name] = _field(item, shapes[name])
            except Mismatch as error:
                raise error.within(name) from None
    for field in dataclasses.fields(kind):
        if field.name not in found and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise Mismatch(..., "a value").within(field.name)
    return kind(**found)


def _field(value: Any, shape: Shape) -> Any:
    """Return the value of a field of settings: lists become tuples, nested settings become configs."""
    kinds = tuple(each for each in members(shape) if dataclasses.is_dataclass(each))
    if kinds:
        return None if value is None and type(None) in members(shape) else _config(value, kinds)  # type: ignore[arg-type]
    if typing.get_origin(shape) is tuple:
        check(value, list)
        each = typing.get_args(shape)
        shapes = each[:1] * len(value) if each[-1] is ... else each
        if len(shapes) != len(value):
            raise Mismatch(value, f"a list of {len(shapes)}")
        found = []
        for number, (item, of) in enumerate(zip(value, shapes, strict=True)):
            try:
                found.append(_field(item, of))
            except Mismatch as error:
                raise error.within(number) from None
        return tuple(found)
    check(value, shape)
    return value


def config_hash(config: Any) -> str:
    """Return the SHA-256 that identifies an experiment."""
    return _hash(config, REVISION, 0)


def hashes(config: Any) -> list[str]:
    """Return the hash of an experiment, then its hashes under earlier revisions of the program."""
    found: list[str] = []
    for revision in range(REVISION, 0, -1):
        for before in itertools.count():
            key = _hash(config, revision, before)
            if key in found:  # all revisions of its kinds are 0
                break
            found.append(key)
    return found


def _hash(config: Any, revision: int, before: int) -> str:
    identity = {"revision": revision, "config": _identity(config, before)}
    return hashlib.sha256(canonical_json(identity).encode()).hexdigest()


def _identity(config: Any, before: int) -> Any:
    """Return the hashed part of a config, with the revision of each kind reduced by `before` but not below 0."""
    if dataclasses.is_dataclass(config):
        fields = {f.name: _identity(getattr(config, f.name), before) for f in dataclasses.fields(config) if _counts(f, config)}
        revision = max(0, getattr(config, "revision", 0) - before)
        revised = {"revision": revision} if revision else {}
        return {"kind": type(config).__name__, **fields, **revised}
    return [_identity(item, before) for item in config] if isinstance(config, tuple) else config


def _counts(field: dataclasses.Field, config: Any) -> bool:
    as_before = field.metadata.get("added", False) and getattr(config, field.name) == field.default
    return field.metadata.get("identity", True) and not as_before


def differences(one: Any, other: Any, prefix: str = "") -> list[str]:
    """List the settings that differ between two configs, as ``name: A here, B there``."""
    if type(one) is type(other) and dataclasses.is_dataclass(one):
        found = []
        for f in dataclasses.fields(one):
            if f.metadata.get("identity", True):
                found += differences(getattr(one, f.name), getattr(other, f.name), f.name)
        return found
    return [] if one == other else [f"{prefix or 'kind'}: {_short(one)} here, {_short(other)} there"]


def _short(value: Any) -> str:
    return type(value).__name__ if dataclasses.is_dataclass(value) else str(value)[:16]
