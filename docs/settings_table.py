"""Writes the tables of settings in docs/formats.md from the fields of the settings themselves.

``python docs/settings_table.py`` replaces the text between the two comments there; a test compares the page with the fields.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

from minicereb import experiments
from minicereb.experiments.identity import KINDS
from minicereb.settings import field_rows

PAGE = Path(__file__).parent / "formats.md"
BEGIN, END = "<!-- The tables of settings are written by python docs/settings_table.py. -->\n", "<!-- end of settings -->\n"


def tables() -> str:
    """Return a table for each kind of settings, in the order of their names."""
    for module in pkgutil.walk_packages(experiments.__path__, "minicereb.experiments."):
        importlib.import_module(module.name)
    own = [cls for name, cls in sorted(KINDS.items()) if cls.__module__.startswith("minicereb.")]
    return "\n".join(_table(cls) for cls in own)


def _table(cls: type) -> str:
    doc = inspect.getdoc(cls) or ""
    said = _described(doc)
    rows = [
        f"| `{name}` | {_as_markdown(what or said.get(name, ''))} | {values} | {default} |"
        for name, what, values, default in field_rows(cls)
    ]
    head = "| field | what | values | default |\n|---|---|---|---|\n"
    summary = _as_markdown(doc.partition("\n\n")[0])
    return f"#### {cls.__name__}\n\n{summary}\n\n{head}" + "\n".join(rows) + "\n"


def _described(doc: str) -> dict[str, str]:
    """Return what a numpydoc section says about fields that declare no help text."""
    found = re.findall(r"^([\w, ]+) : [^\n]*\n((?:    [^\n]*\n?)*)", doc.partition("Parameters\n----------\n")[2], re.MULTILINE)
    return {name: " ".join(text.split()) for names, text in found for name in names.split(", ")}


def _as_markdown(text: str) -> str:
    """Return a docstring's text without roles and tags."""
    text = re.sub(r":\w+:`~?([\w.]+)`", lambda found: f"`{found[1].rpartition('.')[2]}`", " ".join(text.split()))
    return re.sub(r" ``\[[A-Z-]+\]``", "", text).replace("``", "`").replace("|", "\\|")


def with_tables(page: str) -> str:
    """Return the page with new tables between its two comments."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n{tables()}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
