"""JSON documents with a declared shape, checked once when they are read.

A shape is a type: ``int``, ``float``, ``str``, ``bool``, ``None``, ``Literal["a", "b"]``, ``X | None``, ``list[X]``,
``tuple[X, Y]`` (a list of exactly two), ``tuple[X, ...]``, ``dict[str, X]``, a ``TypedDict``, ``Any`` (any JSON value), and
``Annotated[int, Range(0, 10)]``. Keys that a ``TypedDict`` does not declare are accepted, because later versions may add
keys.

The project's documents hold only finite numbers; a missing number is ``null``.
"""

from __future__ import annotations

import functools
import json
import math
import os
import reprlib
import types
import typing
from collections.abc import Callable, Container, Iterable, Iterator
from typing import Annotated, Any, Literal, NamedTuple, Union

from minicereb.errors import DataError
from minicereb.paths import open_regular, read_bytes, reading

LARGEST_FILE = 1 << 28  # bytes; the largest document of a study has a hundredth of this
LONGEST_LINE = 1 << 16  # bytes, for files with one document per line
DEEPEST = 64  # levels of nested lists and objects
LARGEST_INTEGER = 2**63 - 1
LONGEST_INTEGER = 80  # digits; a seed may be larger than an int64

Shape = Any  # a type as above


class Range(NamedTuple):
    """The numbers from `low` to `high`, both included."""

    low: float
    high: float = math.inf

    def __str__(self) -> str:
        return f"of at least {self.low:g}" if self.high in (LARGEST_INTEGER, math.inf) else f"from {self.low:g} to {self.high:g}"


Share = Annotated[float, Range(0, 1)]
Count = Annotated[int, Range(0, LARGEST_INTEGER)]
Seed = Annotated[int, Range(0, 10**60)]


class Mismatch(Exception):  # noqa: N818
    """A value has the wrong shape. `path` is its place in the document; the value ``...`` means that it is missing."""

    def __init__(self, value: Any, expected: str):
        super().__init__(expected)
        self.value, self.expected, self.path = value, expected, ""

    def __str__(self) -> str:
        is_what = "is missing" if self.value is ... else f"is {_shown(self.value)}"
        return f"{self.path or 'the document'} {is_what}; expected {self.expected}"

    def within(self, key: str | int) -> Mismatch:
        """Return this mismatch with `key` of the enclosing list or object added to its path."""
        name = f"[{key}]" if isinstance(key, int) else key if key.isidentifier() else _shown(key)
        self.path = name + ("" if not self.path else self.path if self.path.startswith("[") else f".{self.path}")
        return self


def check(value: Any, shape: Shape) -> None:
    """Raise :class:`Mismatch` unless a JSON value has this shape."""
    _checker(shape)(value)


def read_json(path: str | os.PathLike, shape: Shape, largest: int = LARGEST_FILE) -> Any:
    """Return the JSON value of a file, which must have the declared shape.

    It raises :class:`DataError`, which names file and field, if the file cannot be read, has more than `largest` bytes, is not
    strict JSON, or has another shape.
    """
    return parse_json(read_bytes(path, largest), shape, str(path))


def read_json_lines(path: str | os.PathLike, shape: Shape) -> list[Any]:
    """Return the JSON values of a file with one value per line, all of the same shape; errors as for :func:`read_json`."""
    return list(iterate_json_lines(path, shape))


def iterate_json_lines(path: str | os.PathLike, shape: Shape, chosen: Container[int] | None = None) -> Iterator[Any]:
    """Yield the values that :func:`read_json_lines` returns, with one line in memory at a time.

    Only the lines whose numbers, from 0, are in `chosen` are parsed; by default all are.
    """
    for number, line in enumerate(_lines(path)):
        if chosen is None or number in chosen:
            yield parse_json(line, shape, f"{path}, line {number + 1}")


def count_lines(path: str | os.PathLike) -> int:
    """Return the number of lines of a file, using little memory; errors as for :func:`read_json`."""
    return sum(1 for _ in _lines(path))


def _lines(path: str | os.PathLike) -> Iterator[bytes]:
    with reading(path), open_regular(path) as file:
        while line := file.readline(LONGEST_LINE + 1):
            if len(line) > LONGEST_LINE:
                raise DataError(f"{path} has a line of more than {LONGEST_LINE:,} bytes")
            yield line


def parse_json(text: str | bytes, shape: Shape, what: str) -> Any:
    """Return the JSON value of a text, which must have the declared shape.

    `what` is the name of the text in the message of a :class:`DataError`.

    The parser is stricter than Python's own parser. It rejects duplicate keys in an object, NaN, infinity and ``1e999``, lone
    surrogates, null characters, more than 64 levels of lists and objects, and whole numbers of more than 80 digits.
    """
    try:
        value = json.loads(text if isinstance(text, str) else text.decode("utf-8"), **_STRICT)  # type: ignore[arg-type]
        _check_strings(value, DEEPEST)
    except RecursionError as error:
        raise DataError(f"{what} is nested too deeply") from error
    except ValueError as error:
        raise DataError(f"{what} is not a readable JSON document ({error})") from error
    try:
        check(value, shape)
    except Mismatch as error:
        raise DataError(f"{what}: {error}") from error
    return value


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key occurs twice in an object")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is not a finite number")
    return number


def _whole(text: str) -> int:
    if len(text) > LONGEST_INTEGER:
        raise ValueError(f"a number of {len(text):,} digits")
    return int(text)


_STRICT = {"object_pairs_hook": _pairs, "parse_float": _finite, "parse_int": _whole, "parse_constant": _finite}


def _check_strings(value: Any, levels: int) -> None:
    """Raise ValueError for a lone surrogate or a null character, and RecursionError for more than `levels` nested levels."""
    if isinstance(value, str):
        if "\0" in value or (not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value)):
            raise ValueError(f"{_shown(value)} contains a lone surrogate or a null character")
    elif isinstance(value, (dict, list)):
        if levels == 0:
            raise RecursionError
        for key in value if isinstance(value, dict) else ():
            _check_strings(key, 1)
        for item in value.values() if isinstance(value, dict) else value:
            if isinstance(item, (str, dict, list)):
                _check_strings(item, levels - 1)


def finite(value: Any) -> Any:
    """Return a JSON value with ``null`` instead of every non-finite number."""
    if isinstance(value, dict):
        return {name: finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def printable(text: str) -> str:
    """Return a text in which characters that UTF-8 cannot encode, such as raw bytes in file names, are escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return rows in aligned columns; None is shown as a dash."""
    lines = [["-" if each is None else str(each) for each in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in lines)


def not_for_json(value: Any, at: str = "the document") -> str | None:
    """Return the path of a non-finite number or a lone surrogate, which JSON files must not hold; None if there is neither."""
    if isinstance(value, (dict, list, tuple)):
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        where = "" if at == "the document" else f"{at}."
        return next((said for name, part in parts if (said := not_for_json(part, f"{where}{name}"))), None)
    if isinstance(value, float) and not math.isfinite(value):
        return f"{at} is {value}, not a finite number"
    if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
        return f"{at} is {_shown(value)}, which contains a lone surrogate"
    return None


# -- shapes ------------------------------------------------------------------------------------------------------------------

Check = Callable[[Any], None]
_NAMES = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", type(None): "null"}


@functools.cache
def _checker(shape: Shape) -> Check:
    """Return a function that raises Mismatch for a value of another shape."""
    origin, arguments = typing.get_origin(shape), typing.get_args(shape)
    if shape is Any:
        return lambda value: None
    if shape is int:
        return _checker(Annotated[int, Range(-LARGEST_INTEGER, LARGEST_INTEGER)])
    if origin is Annotated:
        return _number_checker(*arguments)
    if origin in (Union, types.UnionType):
        return _union_checker(arguments)
    if origin is Literal:
        return functools.partial(_check_among, arguments)
    if origin in (list, tuple):
        return _list_checker(origin, arguments)
    if origin is dict:
        return functools.partial(_check_items, _checker(arguments[1]))
    if typing.is_typeddict(shape):
        hints = typing.get_type_hints(shape, include_extras=True)
        fields = {name: _checker(hint) for name, hint in hints.items()}
        return functools.partial(_check_fields, fields, shape.__required_keys__)
    return functools.partial(_check_type, (int, float) if shape is float else (shape or type(None),))


def _check_type(kinds: tuple[type, ...], value: Any) -> None:
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise Mismatch(value, _NAMES.get(kinds[-1], f"a {kinds[-1].__name__}"))
    if isinstance(value, float) and not math.isfinite(value):
        raise Mismatch(value, "a finite number")


def _number_checker(kind: type, bounds: Range) -> Check:
    of_kind = _checker(kind) if kind is not int else functools.partial(_check_type, (int,))

    def check_number(value: Any) -> None:
        of_kind(value)
        if not bounds.low <= value <= bounds.high:
            whole = abs(value) > LARGEST_INTEGER and bounds.high == LARGEST_INTEGER
            raise Mismatch(value, "a whole number below 2⁶³" if whole else f"{_NAMES[kind]} {bounds}")

    return check_number


def _union_checker(shapes: tuple[Shape, ...]) -> Check:
    checkers = [_checker(shape) for shape in shapes if shape is not type(None)]
    optional = type(None) in shapes

    def check_union(value: Any) -> None:
        if value is None and optional:
            return None
        wrong = []
        for each in checkers:
            try:
                return each(value)
            except Mismatch as error:
                wrong.append(error)
        within = [error for error in wrong if error.path]  # of the right kind, except for something inside it
        if len(wrong) == 1 or len(within) == 1:
            raise (within or wrong)[0]
        raise Mismatch(value, " or ".join(dict.fromkeys(error.expected for error in wrong)))

    return check_union


def _check_among(choices: tuple[Any, ...], value: Any) -> None:
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        raise Mismatch(value, " or ".join(map(repr, choices)))


def _list_checker(kind: Any, arguments: tuple[Shape, ...]) -> Check:
    any_length = kind is list or arguments[-1:] == (Ellipsis,)
    checkers = [_checker(shape) for shape in arguments if shape is not Ellipsis]

    def check_list(value: Any) -> None:
        if not isinstance(value, (list, tuple)):
            raise Mismatch(value, "a list")
        if not any_length and len(value) != len(checkers):
            raise Mismatch(value, f"a list of {len(checkers)}")
        _check_parts((number, checkers[0 if any_length else number], item) for number, item in enumerate(value))

    return check_list


def _check_items(each: Check, value: Any) -> None:
    if not isinstance(value, dict):
        raise Mismatch(value, "an object")
    _check_parts((name, each, item) for name, item in value.items())


def _check_fields(fields: dict[str, Check], required: frozenset[str], value: Any) -> None:
    if not isinstance(value, dict):
        raise Mismatch(value, "an object")
    present = (name for name in fields if name in value or name in required)
    _check_parts((name, fields[name] if name in value else _missing, value.get(name)) for name in present)


def _missing(value: Any) -> None:
    raise Mismatch(..., "a value")


def _check_parts(parts: Iterable[tuple[str | int, Check, Any]]) -> None:
    for key, each, item in parts:
        try:
            each(item)
        except Mismatch as error:
            raise error.within(key) from None


def _shown(value: Any) -> str:
    """Return a short form of a value that is safe to print on any terminal."""
    return reprlib.repr(value).encode("ascii", "backslashreplace").decode() if not isinstance(value, dict) else "an object"
