"""VNN-LIB properties: boxes and cases, from text."""

import gzip

import numpy as np
import pytest

from minicereb.errors import MinicerebError
from minicereb.interchange.vnnlib import read_vnnlib

HEAD = """; two inputs, three outputs
(declare-const X_0 Real) (declare-const X_1 Real)
(declare-const Y_0 Real)
(declare-const Y_1 Real) (declare-const Y_2 Real)
(assert (<= X_0 0.5)) (assert (>= X_0 -1e-1))
(assert (<= 0.25 X_1)) (assert (>= 0.75 X_1)) (assert (<= X_1 0.7))
"""


def read(tmp_path, text, name="p.vnnlib"):
    content = text.encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return read_vnnlib(tmp_path / name)


@pytest.mark.parametrize("name", ["p.vnnlib", "p.vnnlib.gz"])
def test_a_disjunction_gives_one_case_for_each_alternative(name, tmp_path):
    found = read(tmp_path, HEAD + "(assert (or (and (>= Y_1 Y_0)) (and (<= Y_2 0.5) (>= Y_2 Y_0))))", name)
    np.testing.assert_array_equal(found.low, [-0.1, 0.25])
    np.testing.assert_array_equal(found.high, [0.5, 0.7])
    (a, b), (c, d) = found.cases
    np.testing.assert_array_equal(a, [[1, -1, 0]])
    np.testing.assert_array_equal(b, [0])
    np.testing.assert_array_equal(c, [[0, 0, 1], [1, 0, -1]])
    np.testing.assert_array_equal(d, [0.5, 0])


def test_assertions_about_outputs_hold_together(tmp_path):
    found = read(tmp_path, HEAD + "(assert (<= Y_0 Y_1))(assert (or (<= Y_0 Y_2) (>= Y_0 3)))")
    assert [len(b) for _, b in found.cases] == [2, 2]
    np.testing.assert_array_equal(found.cases[1][0], [[1, -1, 0], [-1, 0, 0]])
    np.testing.assert_array_equal(found.cases[1][1], [0, -3])


REFUSED = {
    "an unbounded input": (HEAD.replace("(assert (<= X_0 0.5))", "") + "(assert (<= Y_0 Y_1))", "bound"),
    "nothing about the outputs": (HEAD, "outputs"),
    "an undeclared output": (HEAD + "(assert (<= Y_0 Y_7))", "Y_7"),
    "inputs among outputs": (HEAD + "(assert (<= Y_0 X_0))", "X_0"),
    "arithmetic": (HEAD + "(assert (<= (+ Y_0 Y_1) 0))", "comparison"),
    "another command": (HEAD + "(check-sat)", "check-sat"),
    "a gap": ("(declare-const X_1 Real)(declare-const Y_0 Real)", "gaps"),
    "an open parenthesis": (HEAD + "(assert (<= Y_0 Y_1)", "not closed"),
    "not a number": (HEAD + "(assert (<= Y_0 nan))", "nan"),
    "a binary file": ("\x00\ufffd", "text"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_property_of_another_form_is_refused(what, tmp_path):
    text, words = REFUSED[what]
    with pytest.raises(MinicerebError, match=r"p\.vnnlib") as refused:
        read(tmp_path, text)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_too_many_cases_are_refused(tmp_path):
    either = "(assert (or (<= Y_0 Y_1) (<= Y_0 Y_2)))"
    with pytest.raises(MinicerebError, match="cases"):
        read(tmp_path, HEAD + either * 14)
