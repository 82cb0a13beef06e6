"""The names of the package's front: loaded when they are used, listed, and described to editors."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import minicereb

SLOW = ("numpy", "scipy", "matplotlib", "sklearn", "numba", "torch", "minicereb.interface")


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True).stdout


def test_importing_the_package_loads_nothing_slow():
    code = f"import sys, minicereb; dir(minicereb); print([name for name in {SLOW} if name in sys.modules])"
    assert run(code).strip() == "[]"


def test_the_classifiers_need_neither_figures_nor_scikit_learn():
    unneeded = ("matplotlib", "sklearn", "torch", "onnx", "click")
    code = f"""
import sys, minicereb, numpy
x = numpy.random.default_rng(0).random((60, 5))
y = (x[:, 0] > x[:, 1]).astype(int)
model = minicereb.Cerebellum(cells=50, epochs=1).fit(x, y)
repr(minicereb.attack(model, x, y, steps=2))
print([name for name in {unneeded} if name in sys.modules])
"""
    assert run(code).strip() == "[]"


def test_every_name_is_listed_and_can_be_used():
    assert dir(minicereb) == sorted(minicereb.__all__)
    for name in dir(minicereb):
        assert getattr(minicereb, name).__doc__


def test_editors_are_told_of_every_name():
    """The stub and the table of places say the same."""
    tree = ast.parse(Path(minicereb.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    imported = {node.names[0].asname: node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
    places = {name: f"minicereb.{place}" for name, place in minicereb._PLACES.items()}
    assert imported == {**places, **{name: "minicereb" for name in minicereb._PACKAGES}}


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'minicereb' has no attribute 'Cerebelum'"):
        minicereb.Cerebelum  # noqa: B018
