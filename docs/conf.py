"""How the documentation is built: ``sphinx-build -W -b html docs OUT``. Needs minicereb installed, and no network.

The lessons' code is executed; what each lesson comes to is in the build as a notebook as well.
"""

import importlib.util
import re
from pathlib import Path

import minicereb
from minicereb.calculus.equations import EQUATIONS

HERE, PACKAGE = Path(__file__).parent, Path(minicereb.__file__).parent

project = "minicereb"
author = "minicereb contributors"
copyright = author
version = release = minicereb.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build", "_generated"]
smartquotes = False  # --json is two hyphens
myst_heading_anchors = 3

nb_execution_mode = "force"  # the lessons' cells, at every build: what they print is the package's as it is
nb_execution_in_temp = True
nb_execution_timeout = 600  # of a cell; each takes seconds where nothing else runs
nb_execution_raise_on_error = True
nb_output_stderr = "error"  # Python's warnings too
nb_merge_streams = True  # what a cell prints stands together, however slow it was

napoleon_google_docstring = False
napoleon_custom_sections = [("Attributes", "params_style")]  # as a list; a NamedTuple's fields are not described twice
napoleon_use_param = False  # else the words of "shape (images, inputs)" become links
napoleon_use_rtype = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say more: shapes
autodoc_default_options = {"members": True, "ignore-module-all": True, "exclude-members": "__new__, __init__"}

html_theme = "furo" if importlib.util.find_spec("furo") else "alabaster"
html_title = f"minicereb {version}"


def write_equations(app):
    """Write the table of equations as Markdown, each with the modules that name its tag; docs/equations.md includes it."""
    sources = {path: path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py")) if path.name != "equations.py"}
    sections = []
    for entry in EQUATIONS:
        named = [f"`{path.relative_to(PACKAGE.parent).as_posix()}`" for path, text in sources.items() if f"[{entry.tag}]" in text]
        sections.append(
            f"## {entry.tag}\n\n```text\n{entry.formula}\n```\n\n{as_text(entry.symbols)}.\n\n"
            f"Source: {as_text(entry.source)}. Code: {', '.join(named) or 'in the tests only'}.\n"
        )
    text, path = "\n".join(sections), HERE / "_generated" / "equations.md"
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


def as_text(formula):
    """Escape what Markdown would take for markup."""
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", formula)


def skip_field_alias(app, what, name, member, skip, options):
    """Leave out the fields of a NamedTuple: its own docstring describes them."""
    return True if type(member).__name__ == "_tuplegetter" else None


def prepare_docstring(app, what, name, member, options, lines):
    """Keep what a docstring says from being taken for markup: |x| for a substitution, "This: that" in a property for its type."""
    lines[:] = [re.sub(r"(``.*?``)|\|", lambda found: found[1] or r"\|", line) for line in lines]
    if what == "property":
        lines.insert(0, r"\ ")  # an escaped space: nothing, on the line that napoleon looks at


def setup(app):
    """Connect the hooks; Sphinx calls this."""
    app.connect("builder-inited", write_equations)
    app.connect("autodoc-skip-member", skip_field_alias)
    app.connect("autodoc-process-docstring", prepare_docstring, priority=400)  # before napoleon, which has 500
