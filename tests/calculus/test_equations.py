"""The table of equations and the code that names them say the same."""

import importlib.util
import re
from pathlib import Path

import pytest

from minicereb.calculus.equations import EQUATIONS, equation

ROOT = Path(__file__).parents[2]
TAGS = {entry.tag for entry in EQUATIONS}
# ``[C4]`` in a docstring, # [C4] beside a line.
NAMED = re.compile(r"``\[([A-Z][A-Z0-9-]*)\]``|# \[([A-Z][A-Z0-9-]*)\]")


def named(source):
    """Return the tags that a source names."""
    return {docstring or comment for docstring, comment in NAMED.findall(source)}


def sources(*folders):
    """Text of every source but the table itself and this test."""
    paths = (path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return {path: path.read_text(encoding="utf-8") for path in paths if path.name not in ("equations.py", "test_equations.py")}


def test_tags_are_unique_and_every_field_is_filled():
    assert len(TAGS) == len(EQUATIONS)
    for entry in EQUATIONS:
        assert all(field.strip() == field != "" for field in entry)
        assert re.fullmatch(r"[CGM](\d+|-[A-Z][A-Z0-9-]*)", entry.tag)


def test_every_tag_in_the_code_is_in_the_table():
    unknown = {path.name: named(text) - TAGS for path, text in sources("minicereb", "cli", "tests").items()}
    assert {path: tags for path, tags in unknown.items() if tags} == {}
    assert len(unknown) > 50


def not_named(tags, texts):
    """Tags that no source names."""
    return tags - set().union(*map(named, texts))


def test_every_tag_in_the_table_is_named_by_code():
    assert not_named(TAGS, sources("minicereb", "cli").values()) == set()
    assert not_named({"C4", "C99"}, ["``[C4]``", "C99"]) == {"C99"}


def test_what_counts_as_naming_a_tag():
    source = (
        '"""The delta rule ``[C4]``, with ``[C-LTD]``."""\ngradient = h @ credit  # [M-DX]\nx = re.match(r"([KMGT]i?)", y[C])'
    )
    assert named(source) == {"C4", "C-LTD", "M-DX"}
    assert not named("``[C99]``") <= TAGS


def test_an_equation_is_found_by_its_tag():
    for entry in EQUATIONS:
        assert equation(entry.tag) is entry
    for tag in ("C99", "c4", ""):
        with pytest.raises(KeyError):
            equation(tag)


def test_the_table_in_the_documentation_is_that_of_the_code():
    """If this fails: python docs/equation_table.py."""
    spec = importlib.util.spec_from_file_location("equation_table", ROOT / "docs" / "equation_table.py")
    equation_table = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(equation_table)
    written = (ROOT / "docs" / "equations.md").read_text(encoding="utf-8")
    assert written == equation_table.table(ROOT / "minicereb", equation_table.in_repository, equation_table.as_block)
    found = equation_table.places(ROOT / "minicereb")
    assert TAGS - found.keys() == not_named(TAGS, sources("minicereb").values())
    lines = {place.name: place for place in found["C4"]}
    text = (ROOT / lines["DeltaRule._learn_batch"].file).read_text(encoding="utf-8").splitlines()
    assert "# [C4]" in text[lines["DeltaRule._learn_batch"].line - 1]
