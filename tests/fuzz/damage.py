"""Damage to files: bytes, JSON values, arrays and their headers, and things that are no regular files in their place."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

# -- in place of the file ----------------------------------------------------------------------------------------------------


def in_place(rng: random.Random, path: Path) -> str:
    """Put something else where the file is, and say what."""
    way = rng.choice(("folder", "pipe", "loop", "dangling link", "link to a stranger", "link to a folder", "missing", "empty"))
    path.unlink()
    if way == "folder":
        path.mkdir()
    elif way == "pipe":
        os.mkfifo(path)
    elif way == "loop":
        os.symlink(path.name, path)
    elif way == "dangling link":
        os.symlink("no such place", path)
    elif way == "link to a stranger":
        os.symlink(_stranger(path) / "precious.txt", path)
    elif way == "link to a folder":
        os.symlink(_stranger(path), path)
    elif way == "empty":
        path.touch()
    return way


def _stranger(path: Path) -> Path:
    return next(parent / "stranger" for parent in path.parents if (parent / "stranger").is_dir())


def linked_folder(rng: random.Random, path: Path) -> str:
    """Put a link to a stranger's folder where a folder is."""
    shutil.rmtree(path)
    os.symlink(_stranger(path), path)
    return "the folder is a link to a stranger's"


# -- bytes -------------------------------------------------------------------------------------------------------------------


def bytes_of(rng: random.Random, content: bytes) -> tuple[bytes, str]:
    """Flip, cut, repeat or replace bytes."""
    way = rng.choice(("flip", "flip", "flip", "cut", "cut", "head", "append", "zeros", "repeat", "text", "crlf", "bom"))
    if not content:
        return b"\0" * rng.randrange(1, 99), "bytes in an empty file"
    place = rng.randrange(len(content))
    if way == "flip":
        changed = bytearray(content)
        for _ in range(rng.choice((1, 1, 2, 8))):
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        return bytes(changed), "flipped bits"
    texts = {
        "cut": content[:place],
        "head": content[place:],
        "append": content + rng.randbytes(rng.randrange(1, 64)),
        "zeros": content[:place] + b"\0" * len(content[place : place + 64]) + content[place + 64 :],
        "repeat": content * 2,
        "text": "nothing of the kind ☃\n".encode(rng.choice(("utf-8", "utf-16"))),
        "crlf": content.replace(b"\n", b"\r\n"),
        "bom": b"\xef\xbb\xbf" + content,
    }
    return texts[way], way


# -- JSON --------------------------------------------------------------------------------------------------------------------


class Raw:
    """A value that is written as it stands, whether or not it is JSON."""

    def __init__(self, text: str):
        self.text = text


def _values(rng: random.Random) -> Any:
    deep: Any = 1
    for _ in range(rng.choice((3, 200))):
        deep = [deep]
    return rng.choice(
        (
            *(
                None,
                True,
                False,
                0,
                1,
                -1,
                2,
                3,
                0.5,
                -0.5,
                1e308,
                -1e308,
                1e-320,
                10**30,
                2**63,
                -(2**63),
                1_000_000,
                "",
                "x",
                "1",
                "☃",
            ),
            *(
                "\ud800",
                "a\nb",
                "/etc/passwd",
                "../..",
                "x" * 5000,
                [],
                {},
                [1],
                [[]],
                [None],
                {"x": 1},
                {"kind": "Train"},
                {"": []},
            ),
            *(Raw("NaN"), Raw("Infinity"), Raw("-Infinity"), Raw("1e999"), Raw("9" * 5000), Raw('"\\ud800"'), Raw("[" * 100_000)),
            *(Raw("[" * 3000 + "]" * 3000), Raw('{"a":' * 3000 + "1" + "}" * 3000), Raw("tru"), Raw(""), deep),
        )
    )


def json_of(rng: random.Random, content: bytes) -> tuple[bytes, str]:
    """Change one or two values of a JSON document, or its text."""
    if rng.random() < 0.12:
        whole = rng.choice(
            (b"[" * 200_000, b'{"a":' * 100_000, b"null", b"[]", b"{}", b"1", b'"x"', b"NaN", b"Infinity", b"", b"\xff\xfe")
        )
        return whole, f"whole document {whole[:12]!r}"
    try:
        document = json.loads(content)
    except ValueError:
        return bytes_of(rng, content)
    said = []
    for _ in range(rng.choice((1, 1, 1, 2))):
        document, how = _changed(rng, document)
        said.append(how)
    return _text(document).encode("utf-8", "surrogatepass"), "; ".join(said)


def _changed(rng: random.Random, document: Any) -> tuple[Any, str]:
    paths = list(_paths(document, ()))
    path = rng.choice(paths)
    if not path:
        value = _values(rng)
        return value, f"document = {_short(value)}"
    holder = document
    for key in path[:-1]:
        holder = holder[key]
    key, name = path[-1], "/".join(map(str, path))
    way = rng.choice(("value", "value", "value", "value", "remove", "add", "wrap", "type", "type", "swap"))
    if way == "remove":
        del holder[key]
        return document, f"{name} removed"
    if way == "add":
        value = _values(rng)
        if isinstance(holder, list):
            holder.insert(rng.randrange(len(holder) + 1), value)
        else:
            holder[rng.choice(("x", "", "kind", "☃", "config", "hash"))] = value
        return document, f"beside {name}: {_short(value)}"
    if way == "wrap":
        holder[key] = rng.choice(([holder[key]], {"value": holder[key]}, [holder[key]] * 2))
        return document, f"{name} wrapped"
    if way == "type":
        holder[key] = _other_type(rng, holder[key])
        return document, f"{name} = {_short(holder[key])}"
    if way == "swap":
        other = rng.choice(paths)
        value = document
        for part in other:
            value = value[part]
        holder[key] = json.loads(json.dumps(value)) if not isinstance(value, Raw) and not _has_raw(value) else None
        return document, f"{name} = what is at {'/'.join(map(str, other))}"
    holder[key] = _values(rng)
    return document, f"{name} = {_short(holder[key])}"


def _has_raw(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_raw, value.values()))
    return any(map(_has_raw, value)) if isinstance(value, list) else isinstance(value, Raw)


def _other_type(rng: random.Random, value: Any) -> Any:
    """The nearest value of another type."""
    if isinstance(value, bool):
        return rng.choice((int(value), str(value), None))
    if isinstance(value, int):
        return rng.choice((float(value), str(value), -value, value + 1, value * 10**6, [value], value == 1))
    if isinstance(value, float):
        return rng.choice((str(value), -value, round(value), 1 - value, value * 1e6, Raw("Infinity"), Raw("NaN"), [value]))
    if isinstance(value, str):
        return rng.choice((value.upper(), value + "x", value[:-1], [value], {value: value}, 7, None, value + "/.."))
    if isinstance(value, list):
        return rng.choice((value[:-1], value + value[-1:], dict(enumerate(value)), None, str(value)[:50], value[:1]))
    if isinstance(value, dict):
        return rng.choice((list(value), list(value.values()), None, str(value)[:50], {k: v for k, v in list(value.items())[1:]}))
    return rng.choice((0, 1, "", "x", [], {}, True, 0.5))


def _paths(value: Any, path: tuple) -> Any:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in items:
        if len(path) < 30:
            yield from _paths(part, (*path, key))


def _text(value: Any) -> str:
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(str(key))}: {_text(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_text, value)) + "]"
    return json.dumps(value, ensure_ascii=isinstance(value, str) and any("\ud800" <= sign <= "\udfff" for sign in value))


def _short(value: Any) -> str:
    return repr(value.text[:12] + "…" if isinstance(value, Raw) else value)[:40]


def jsonl_of(rng: random.Random, content: bytes) -> tuple[bytes, str]:
    """Change one line of several JSON documents, or leave out, repeat or exchange lines."""
    lines = content.split(b"\n")
    way = rng.choice(("line", "line", "line", "drop", "repeat", "empty", "join", "many"))
    place = rng.randrange(max(1, len(lines) - 1))
    if way == "line":
        lines[place], said = json_of(rng, lines[place])
        return b"\n".join(lines), f"line {place}: {said}"
    if way == "drop":
        del lines[place]
    elif way == "repeat":
        lines.insert(place, lines[place])
    elif way == "empty":
        lines.insert(place, rng.choice((b"", b" ", b"\r", b"\xe2\x80\xa8", b"\x0c")))
    elif way == "join":
        return b" ".join(lines), "lines joined"
    else:
        return b"\n".join(lines[:-1] * 20_000) + b"\n", "40,000 lines"
    return b"\n".join(lines), f"{way} line"


# -- arrays ------------------------------------------------------------------------------------------------------------------


def npz_of(rng: random.Random, content: bytes, inner: Callable | None = None) -> tuple[bytes, str]:
    """Change one or two arrays of an npz, their names, their headers or the archive."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            members = {name: _npy(archive[name]) for name in archive.files}
    except Exception:
        return bytes_of(rng, content)
    if not members:
        return bytes_of(rng, content)
    said = []
    for _ in range(rng.choice((1, 1, 1, 2))):
        name = rng.choice(list(members))
        way = rng.choice(("array", "array", "array", "array", "header", "header", "drop", "rename", "add", "swap", "bytes"))
        if way == "drop" and len(members) > 1:
            del members[name]
        elif way == "rename":
            members[rng.choice((name + "x", name.upper(), "", "../x", "☃", "a/b", "x" * 300))] = members.pop(name)
        elif way == "add":
            members[rng.choice(("x", "now/x", "best/x", "weight_9", "../../x", "state"))] = _npy(
                _array(rng, np.zeros(3, np.float32))[0]
            )
        elif way == "swap":
            members[name] = members[rng.choice(list(members))]
        elif way == "bytes":
            members[name], how = bytes_of(rng, members[name])
            way = f"member {how}"
        else:
            members[name], way = npy_of(rng, members[name], way == "header")
        said.append(f"{name}: {way}")
    return _zip(rng, members), "; ".join(said)


def _zip(rng: random.Random, members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    how = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(file, "w", how) as archive:
        for name, member in members.items():
            archive.writestr(f"{name}.npy", member)
    return file.getvalue()


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)
    return file.getvalue()


def npy_of(rng: random.Random, content: bytes, header: bool | None = None) -> tuple[bytes, str]:
    """Change an array, or what its header says of it."""
    if rng.random() < 0.3 if header is None else header:
        return _header(rng, content)
    try:
        array = np.load(io.BytesIO(content), allow_pickle=False)
    except Exception:
        return bytes_of(rng, content)
    array, said = _array(rng, array)
    return _npy(array), said


def _header(rng: random.Random, content: bytes) -> tuple[bytes, str]:
    """Another header before the same numbers."""
    try:
        length = struct.unpack("<H", content[8:10])[0]
        data = content[10 + length :]
    except struct.error:
        return bytes_of(rng, content)
    shapes = (
        "(1000000000000,)",
        "(2**40,)",
        "(-1,)",
        "(0,)",
        "()",
        "(3, 10)",
        "(1000000, 1000000)",
        "(9999999999999999999999,)",
        "[3]",
    )
    shapes += ("(1.5,)", "None", "('a',)", "(True,)", "(1,)" * 3, "(" + "1, " * 70 + ")")
    types = (
        "'<f4'",
        "'<f8'",
        "'<i8'",
        "'|O'",
        "'<U10'",
        "'|V8'",
        "'<c16'",
        "'>f4'",
        "'<f2'",
        "'|b1'",
        "'<M8[D]'",
        "'<f4x'",
        "[('a', '<f4')]",
        "7",
    )
    shape, kind, order = rng.choice(shapes), rng.choice(types), rng.choice(("False", "True", "None", "1"))
    text = rng.choice(
        (
            f"{{'descr': {kind}, 'fortran_order': {order}, 'shape': {shape}, }}",
            f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}",
            f"{{'descr': {kind}, 'fortran_order': False, 'shape': ({len(data) // 8},), }}",
            f"{{'descr': '<f4', 'shape': {shape}}}",
            "{}",
            "no dictionary",
            "__import__('os')",
            "\xff" * 20,
            " " * 60000,
        )
    )
    header = text.encode("latin1") + b"\n"
    version = rng.choice((b"\x01\x00",) * 6 + (b"\x02\x00", b"\x03\x00", b"\x09\x00"))
    size = struct.pack("<H", len(header)) if version == b"\x01\x00" else struct.pack("<I", len(header))
    return b"\x93NUMPY" + version + size + header + data, f"header {text[:70]}"


def _array(rng: random.Random, array: np.ndarray) -> tuple[np.ndarray, str]:
    way = rng.choice(("type", "type", "shape", "shape", "shape", "values", "values", "values"))
    if way == "type":
        kind = rng.choice(("f8", "f2", "i8", "i4", "u1", "?", "c16", "U8", "S4", ">f4", ">i8", "M8[s]", "f4", "g"))
        try:
            with np.errstate(all="ignore"):
                return array.astype(kind), f"as {kind}"
        except (TypeError, ValueError):
            return np.zeros(array.shape, kind), f"zeros of {kind}"
    if way == "shape":
        ways: list[Callable[[], np.ndarray]] = [
            lambda: array.reshape(-1),
            lambda: array.T,
            lambda: array[None],
            lambda: array[..., None],
            lambda: array.reshape(-1)[:1],
            lambda: array.reshape(-1)[0],
            lambda: array.reshape(-1)[:0],
            lambda: array[:-1],
            lambda: np.concatenate([array, array[:1]]),
            lambda: np.concatenate([array, array], axis=-1),
            lambda: np.asfortranarray(array),
            lambda: array.reshape(-1)[:0].reshape(0, 5),
            lambda: np.zeros((0, 28, 28), array.dtype),
            lambda: array[..., :1],
            lambda: array.sum(keepdims=True) if array.dtype.kind in "fiu" else array,
        ]
        try:
            changed = np.asanyarray(rng.choice(ways)())
        except (ValueError, IndexError, TypeError):
            changed = np.zeros((2, 3), array.dtype)
        return changed, f"shape {changed.shape} for {array.shape}"
    changed = np.array(array)
    if changed.dtype.kind == "U":
        values = ("", "{}", "[]", "null", "[" * 100_000, '{"position": 1}', "NaN", "Infinity", "☃", "0" * 64)
        if array.ndim == 0 and str(array)[:1] == "{" and rng.random() < 0.8:
            text, said = json_of(rng, str(array).encode())
            return np.array(text.decode("utf-8", "replace")), said
        return np.array(rng.choice(values)), "another text"
    if changed.dtype.kind == "f":
        value: Any = rng.choice((np.nan, np.inf, -np.inf, -1.0, 1e30, 1e-40, 0.0, 2.0))
    elif changed.dtype.kind in "iu":
        bounds = np.iinfo(changed.dtype)
        value = rng.choice((bounds.max, bounds.min, 0, 1, 100, max(-1, bounds.min)))
    else:
        value = 1
    with np.errstate(all="ignore"):
        if changed.size and rng.random() < 0.6:
            changed.reshape(-1)[rng.randrange(changed.size)] = value
        else:
            changed[...] = value
    return changed, f"value {value}"


# -- other files -------------------------------------------------------------------------------------------------------------


def idx_of(rng: random.Random, content: bytes) -> tuple[bytes, str]:
    """Change the header of an IDX file, or compress it wrongly."""
    way = rng.choice(("magic", "dims", "gzip", "cut gzip", "bytes"))
    if way == "magic":
        return rng.randbytes(4) + content[4:], "magic number"
    if way == "dims":
        place = 4 * rng.randrange(1, 4)
        number = struct.pack(">I", rng.choice((0, 1, 2**31, 2**32 - 1, 61, 10**6)))
        return content[:place] + number + content[place + 4 :], f"dimension at {place}"
    if way == "gzip":
        return gzip.compress(content, mtime=0), "compressed"
    if way == "cut gzip":
        packed = gzip.compress(content, mtime=0)
        return packed[: rng.randrange(len(packed))], "compressed and cut"
    return bytes_of(rng, content)


def csv_of(rng: random.Random, content: bytes) -> tuple[bytes, str]:
    """Change a cell, a row or the head of a table."""
    rows = [line.split(b",") for line in content.splitlines()]
    if not rows:
        return bytes_of(rng, content)
    way = rng.choice(("cell", "cell", "cell", "row", "column", "quote", "bytes", "head"))
    row = rng.choice(rows)
    if way == "cell":
        value = rng.choice(
            (b"", b"nan", b"inf", b"-1", b"256", b"1e9", b"x", b'"', b"0.5", b"\xff", b"9" * 400, "☃".encode(), b"1 ")
        )
        row[rng.randrange(len(row))] = value
        return b"\n".join(map(b",".join, rows)) + b"\n", f"cell {value[:12]!r}"
    if way == "row":
        rows.insert(rng.randrange(len(rows) + 1), rng.choice(([], [b"1"], row * 2, row[:-1])))
    elif way == "column":
        for each in rows:
            each.append(b"1")
    elif way == "quote":
        row[0] = b'"' + row[0]
    elif way == "head":
        rows[0] = [b"label", *rows[0][1:]]
    else:
        return bytes_of(rng, content)
    return b"\n".join(map(b",".join, rows)) + b"\n", way


WAYS: dict[str, Callable[[random.Random, bytes], tuple[bytes, str]]] = {
    "json": json_of,
    "jsonl": jsonl_of,
    "npz": npz_of,
    "npy": npy_of,
    "idx": idx_of,
    "csv": csv_of,
    "bytes": bytes_of,
}


def damage(rng: random.Random, path: Path, kind: str, regular: bool = False) -> str:
    """Damage a file, as suits its kind or as any file can be, and say how; if `regular`, it stays a regular file."""
    if rng.random() < 0.12 and not regular:
        return in_place(rng, path)
    way = bytes_of if rng.random() < 0.15 else WAYS[kind]
    content, said = way(rng, path.read_bytes())
    path.write_bytes(content)
    return said
