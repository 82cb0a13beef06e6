"""Messages between our process and a submission's process: JSON and the bytes of arrays.

The size of messages is limited, and nothing is pickled.

A message consists of two lengths (4 bytes each, big-endian), a JSON object, which has the first length, and the bytes of
all arrays, which have the second. The object's ``arrays`` gives type and shape of each array. Nothing that a submission
sends is trusted: a message must have the declared form, and any other message raises :class:`Interference`.
"""

from __future__ import annotations

import json
import math
import socket
import struct
import time
from collections.abc import Sequence
from typing import Any, NamedTuple, TypedDict

import numpy as np

from minicereb.diagnosis.hints import Case
from minicereb.documents import Count, parse_json
from minicereb.errors import DataError

LENGTHS = struct.Struct(">II")
LARGEST_HEAD, LARGEST_BODY = 1 << 16, 4 << 20  # bytes; right answers have a few thousand
_SIZES = {"b": (1,), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "f": (2, 4, 8, 16)}
_NAMES = [f"{order}{kind}{size}" for kind, sizes in _SIZES.items() for size in sizes for order in "<>|"]


class Interference(Exception):  # noqa: N818
    """The message does not have the declared form."""


class Ended(Exception):  # noqa: N818
    """The process at the other end closed the connection."""


class Request(TypedDict):
    """A request to call the submission's function. Arguments that are arrays are null here; the arrays follow in order."""

    arrays: list[tuple[str, list[Count]]]
    arguments: list[tuple[str, Any]]
    parts: Count


class Reply(TypedDict):
    """The reply of a submission's process: type of the answer, mistakes in it, number of characters printed so far."""

    arrays: list[tuple[str, list[Count]]]
    dtype: str | None
    hints: list[tuple[str, str]]
    printed: Count


class Message(NamedTuple):
    """A message that was received."""

    head: Any
    arrays: list[np.ndarray]


def request(case: Case, parts: int) -> bytes:
    """Return the message that requests a call with the arguments of a case."""
    arrays = [value for value in case.arguments.values() if isinstance(value, np.ndarray)]
    arguments = [[name, None if isinstance(value, np.ndarray) else value] for name, value in case.arguments.items()]
    return packed({"arguments": arguments, "parts": parts}, arrays)


def case_of(message: Message) -> Case:
    """Return the arguments of a request as a case."""
    arrays = iter(message.arrays)
    return Case({name: next(arrays) if value is None else value for name, value in message.head["arguments"]})


def packed(head: dict[str, Any], arrays: Sequence[np.ndarray]) -> bytes:
    """Return a message as bytes."""
    about = [[array.dtype.str, list(array.shape)] for array in arrays]
    text, body = json.dumps({"arrays": about, **head}).encode(), b"".join(array.tobytes() for array in arrays)
    return LENGTHS.pack(len(text), len(body)) + text + body


def receive(connection: socket.socket, shape: Any, until: float | None = None) -> Message:
    """Read a message whose JSON has a declared shape.

    It raises :class:`TimeoutError` if the message is incomplete at the time `until` (of ``time.monotonic``), :class:`Ended` if
    the connection closes earlier, and :class:`Interference` if the message is too long or has another form.
    """
    head_length, body_length = LENGTHS.unpack(_exactly(connection, LENGTHS.size, until))
    if head_length > LARGEST_HEAD or body_length > LARGEST_BODY:
        raise Interference("a message that is too long")
    text, body = _exactly(connection, head_length, until), _exactly(connection, body_length, until)
    try:
        head = parse_json(text, shape, "a message")
        return Message(head, _arrays(head["arrays"], body))
    except DataError as error:
        raise Interference(str(error)) from error


def type_named(name: str) -> np.dtype:
    """Return the numeric type named by ``dtype.str``; raise :class:`Interference` for any other type."""
    if name not in _NAMES:
        raise Interference("an array of an unknown type")
    return np.dtype(name)


def _arrays(about: list[Any], body: bytes) -> list[np.ndarray]:
    arrays, start = [], 0
    for name, shape in about:
        dtype = type_named(name)
        length = math.prod(shape) * dtype.itemsize
        if len(shape) > 32 or length > len(body) - start:
            raise Interference("an array that is larger than its message")
        arrays.append(np.frombuffer(body, dtype, math.prod(shape), start).reshape(shape).copy())
        start += length
    if start != len(body):
        raise Interference("a message that is longer than its arrays")
    return arrays


def _exactly(connection: socket.socket, length: int, until: float | None) -> bytes:
    parts = []
    while length:
        if until is not None:
            connection.settimeout(max(1e-3, until - time.monotonic()))
        try:
            part = connection.recv(min(length, 1 << 16))
        except ConnectionError as error:
            raise Ended from error
        if not part:
            raise Ended
        if until is not None and time.monotonic() > until:  # even if the process sends byte by byte
            raise TimeoutError
        parts.append(part)
        length -= len(part)
    return b"".join(parts)
