"""JSON is read strictly, and errors name the part that does not have the declared shape."""

import json
import sys
import tracemalloc
from typing import Any, Literal, TypedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicereb.attacks.settings import Attack
from minicereb.documents import Count, Share, check, finite, parse_json, read_json, read_json_lines
from minicereb.errors import DataError


class Note(TypedDict, total=False):
    note: str


class Line(Note):
    epoch: Count
    loss: float
    share: Share | None
    pair: tuple[float, float]
    state: Literal["done", "running"]
    counts: dict[str, list[int]]


GOOD = {"epoch": 1, "loss": 2, "share": None, "pair": [0.5, 1], "state": "done", "counts": {"a b": [1, 2]}}


def test_a_document_of_the_shape_is_returned_as_it_is():
    for value in (GOOD, GOOD | {"note": "x"}, GOOD | {"share": 0.5, "key of a later version": [[]]}):
        assert parse_json(json.dumps(value), Line, "here") == value


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"epoch": True}, "epoch is True; expected a whole number"),
        ({"epoch": -1}, "epoch is -1; expected a whole number of at least 0"),
        ({"epoch": 1.0}, "epoch is 1.0; expected a whole number"),
        ({"epoch": 2**63}, "epoch is .*; expected a whole number below 2⁶³"),
        ({"loss": "2"}, "loss is '2'; expected a number"),
        ({"loss": None}, "loss is None; expected a number"),
        ({"share": 99.9}, "share is 99.9; expected a number from 0 to 1"),
        ({"pair": [1]}, r"pair is \[1\]; expected a list of 2"),
        ({"pair": [1, "x"]}, r"pair\[1\] is 'x'; expected a number"),
        ({"state": "lost"}, "state is 'lost'; expected 'done' or 'running'"),
        ({"counts": {"a b": [0, 0.5]}}, r"counts.'a b'\[1\] is 0.5; expected a whole number"),
        ({"counts": []}, "counts is .*; expected an object"),
        ({"note": 3}, "note is 3; expected a text"),
    ],
)
def test_a_value_of_another_shape_is_named(change, said):
    with pytest.raises(DataError, match=f"^here: {said}$"):
        parse_json(json.dumps(GOOD | change), Line, "here")


def test_a_missing_field_is_named():
    with pytest.raises(DataError, match="here: loss is missing"):
        parse_json(json.dumps({name: value for name, value in GOOD.items() if name != "loss"}), Line, "here")


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[1", "nul", "NaN", "-Infinity", '{"a": Infinity}', "1e999", "[-1e999]", '{"a": 1, "a": 1}'),
        *(r'"\ud800"', r'{"\udfff": 1}', r'[{"a": ["\ud800x"]}]', "1" * 5000, "-" + "1" * 100),
        *("[" * 100 + "]" * 100, '{"a":' * 100 + "1" + "}" * 100, "[" * 200_000, b"\xff", b"\xef\xbb\xbf{}"),
    ],
)
def test_what_is_not_strict_json_is_one_line_that_names_the_file(text):
    with pytest.raises(DataError, match="^here is ") as caught:
        parse_json(text, Any, "here")
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 200


def test_nesting_is_measured_and_not_left_to_the_stack():
    """The answer is the same wherever the reader is called from."""
    fits = "[" * 60 + "]" * 60

    def below(levels):
        return parse_json(fits, Any, "here") if levels == 0 else below(levels - 1)

    assert below(0) == below(sys.getrecursionlimit() // 2)


def test_a_file_is_named_with_its_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"loss": 1}\n{"loss": "x"}\n')
    with pytest.raises(DataError, match=r"metrics.jsonl, line 2: loss is 'x'"):
        read_json_lines(path, dict[str, float])
    path.write_text('{"loss": 1}\n{"loss": 2}\n')
    assert read_json_lines(path, dict[str, float]) == [{"loss": 1}, {"loss": 2}]


def test_a_file_that_is_missing_or_too_large_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone.json does not exist"):
        read_json(tmp_path / "gone.json", Any)
    with pytest.raises(DataError, match="cannot be read"):
        read_json(tmp_path, Any)
    (tmp_path / "large.json").write_text(json.dumps("x" * 100))
    with pytest.raises(DataError, match=r"large.json has more than 50 bytes"):
        read_json(tmp_path / "large.json", Any, largest=50)


def test_what_is_not_finite_becomes_null():
    assert finite({"a": [1.5, float("inf"), {"b": float("nan")}], "c": "NaN"}) == {"a": [1.5, None, {"b": None}], "c": "NaN"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, st.sampled_from([int, float, str, bool, None, list[int], dict[str, Any], Line, int | None, str | list[str]]))
def test_any_value_is_of_a_shape_or_a_mismatch(value, shape):
    try:
        read = parse_json(json.dumps(value), shape, "here")
    except DataError as error:
        said = str(error)
    else:
        assert read == value
        check(read, shape)
        said = ""
    assert "\n" not in said


def test_a_small_document_takes_little_memory_to_read(tmp_path):
    (tmp_path / "x.json").write_text("[1]")
    tracemalloc.start()
    try:
        assert read_json(tmp_path / "x.json", list[int]) == [1]
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_numbers_out_of_an_array_are_settings_like_any_other():
    plain = Attack("pgd", "margin", 0.5, steps=3)
    taken = Attack("pgd", "margin", np.float32(0.5), steps=np.int64(3))
    assert taken == plain
    assert (type(taken.epsilon), type(taken.steps)) == (float, int)
