"""The lessons as notebooks: with Markdown that Jupyter understands, working links, and a cell that installs minicereb.

MyST-NB stores each executed lesson as a notebook, with the roles, links and settings of this documentation. ``downloadable``
replaces these. ``docs/conf.py`` calls it after the lessons have been run and before anything is copied. ``python
docs/notebooks.py FOLDER`` writes the lessons as notebooks that have not been run, for Binder (``binder/postBuild``) and for the
branch from which Colab opens them. It needs minicereb, but no other package of the extra ``docs``.
"""

import argparse
import json
import posixpath
import re
from pathlib import Path

from equation_table import typeset

HERE = Path(__file__).parent
FRONT_MATTER = re.compile(r"\A---\n.*?^---\n", re.MULTILINE | re.DOTALL)
CODE_CELL = re.compile(r"^```\{code-cell\} python\n(?:---\n.*?^---\n)?(.*?)^```\n", re.MULTILINE | re.DOTALL)
CHECK = re.compile(r"^```\{code-cell\} python\n---\ntags: \[remove-cell\]\n---\n.*?^```\n", re.MULTILINE | re.DOTALL)
HEAD = re.compile(r"\s*# [^\n]+\n\n(?:> [^\n]+(?:\n|\Z))+")  # title and question
# not needed, since the reader already has the notebook
FOOT = re.compile(r"You can also read this lesson as a \{nb-download\}`[^`]*`\s+or as <a [^>]*>slides</a>\.\s*")
CODE = re.compile(r"(^ *```.*?^ *```$|`[^`\n]*\]\([^`\n]*`)", re.MULTILINE | re.DOTALL)  # code contains no links
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")
LICENCES = {"lessons/LICENSE.md": "https://creativecommons.org/licenses/by/4.0/"}
TO_RUN = (
    "To run the cells: `python -m pip install '.[notebook]'` in a checkout of minicereb, then open this file in `jupyter lab`."
)
COMPUTED = " The numbers below each cell were computed when the documentation was built; yours should be the same up to rounding."
INSTALL = """# This cell installs minicereb if it is missing, as in Colab; otherwise it does nothing.
import importlib.util

SOURCE = "{source}"  # for pip: a folder, an archive or an address
if importlib.util.find_spec("minicereb") is None:
    if not SOURCE:
        raise ImportError("minicereb is not installed; set SOURCE above to its folder, archive or address")
    get_ipython().run_line_magic("pip", f'install --quiet "{{SOURCE}}"')"""
NOTEBOOKS = "notebooks"  # the branch, and the folder in Binder, that holds the output of this program


def in_the_browser(lesson, repository):
    """Return links that open a lesson in Binder and in Colab, given the repository on GitHub as ``"OWNER/NAME"``."""
    binder = f"https://mybinder.org/v2/gh/{repository}/HEAD?urlpath=lab/tree/{NOTEBOOKS}/{lesson}.ipynb"
    colab = f"https://colab.research.google.com/github/{repository}/blob/{NOTEBOOKS}/{lesson}.ipynb"
    return f"[Binder]({binder}), [Colab]({colab})"


def install_cell(repository=""):
    """Return the cell that installs minicereb from its repository; without a repository, the reader fills in the source."""
    source = INSTALL.format(source=f"git+https://github.com/{repository}" if repository else "")
    return {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": source}


def unexecuted(text):
    """Return the text of a lesson as a notebook that has not been run."""
    parts = CODE_CELL.split(typeset(CHECK.sub("", FRONT_MATTER.sub("", text))))  # the odd entries are code
    cells = [
        {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None, "source": part.rstrip("\n")}
        if place % 2
        else {"cell_type": "markdown", "metadata": {}, "source": part.strip("\n")}
        for place, part in enumerate(parts)
        if part.strip()
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}, "cells": cells}


def downloadable(notebook, folder, address="", repository=""):
    """Return a lesson as a notebook that can be read and run on its own.

    Parameters
    ----------
    notebook : dict
        In the notebook format, version 4. It is not changed.
    folder : str
        The lesson's folder within ``docs``, from which its links lead: ``"lessons"``.
    address : str
        Where the documentation is published (Sphinx's ``html_baseurl``). Links lead there; without an address, a link becomes its
        text and the name of the file in a checkout.
    repository : str
        Where minicereb is on GitHub, as ``"OWNER/NAME"``. The first code cell installs it from there.
    """
    named, cells = set(), []
    for cell in notebook["cells"]:
        if "remove-cell" in cell["metadata"].get("tags", []):
            continue  # a cell that checks the folded answers
        kept = {**cell, "metadata": {}}
        if cell["cell_type"] == "markdown":
            kept["source"] = plain_markdown("".join(cell["source"]), folder, address, named)
        else:
            kept["outputs"] = merge_streams(cell["outputs"])
        cells.append(kept)
    if TO_RUN not in cells[0]["source"]:
        head, rest = HEAD.match(cells[0]["source"])[0], HEAD.sub("", cells[0]["source"], count=1)
        how = TO_RUN + COMPUTED * any(cell.get("outputs") for cell in cells)
        top, below = ({**cells[0], "source": text.strip()} for text in (f"{head.strip()}\n\n*{how}*", rest))
        cells[:1] = [top, install_cell(repository), below]
    # cells have ids since version 4.5; these are always the same
    cells = [{**cell, "id": f"cell-{number}"} for number, cell in enumerate(cells, 1)]
    metadata = {key: value for key, value in notebook["metadata"].items() if key in ("kernelspec", "language_info")}
    return {**notebook, "cells": cells, "metadata": metadata, "nbformat_minor": max(5, notebook["nbformat_minor"])}


def plain_markdown(text, folder, address, named):
    """Return a lesson's Markdown without syntax that only Sphinx understands; `named` collects the files already named."""

    def link(found):
        words, target = found.groups()
        if re.match(r"[a-z]+:", target):
            return found[0]
        path, _, anchor = target.partition("#")
        page = posixpath.normpath(posixpath.join(folder, path))
        if page in LICENCES:
            return f"[{words}]({LICENCES[page]})"
        if address:
            part = f"#{anchor}" if anchor else ""
            return f"[{words}]({address.rstrip('/')}/{page.removesuffix('.md')}.html{part})"
        if page in named:
            return words
        named.add(page)
        return f"{words} (`docs/{page}`)"

    parts = CODE.split(FOOT.sub("", text))  # the odd entries are code
    return "".join(part if place % 2 else LINK.sub(link, part) for place, part in enumerate(parts))


def merge_streams(outputs):
    """Return a cell's outputs with the text of each stream joined, at the place of the stream's first piece."""
    merged, streams = [], {}
    for output in outputs:
        if output["output_type"] != "stream":
            merged.append(output)
        elif output["name"] in streams:
            streams[output["name"]]["text"] += "".join(output["text"])
        else:
            streams[output["name"]] = {**output, "text": "".join(output["text"])}
            merged.append(streams[output["name"]])
    return merged


def rewrite(folder, address="", repository=""):
    """Make every lesson among a folder's executed notebooks downloadable; other pages with cells are skipped."""
    for path in sorted(Path(folder).glob("lessons/*.ipynb")):
        place = path.parent.relative_to(folder).as_posix()
        write(path, downloadable(json.loads(path.read_text(encoding="utf-8")), place, address, repository))


def write(path, notebook):
    """Write a notebook as a file."""
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main():
    """Write every lesson as a notebook that has not been run."""
    parser = argparse.ArgumentParser(description="Write the lessons as notebooks that have not been run.")
    parser.add_argument("folder", type=Path, help="where to")
    parser.add_argument(
        "--repository", default="", metavar="OWNER/NAME", help="repository on GitHub from which the notebooks install minicereb"
    )
    parser.add_argument("--address", default="", help="address of the published documentation, to which links lead")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for path in sorted((HERE / "lessons").glob("[0-9]*.md")):
        lesson = downloadable(unexecuted(path.read_text(encoding="utf-8")), "lessons", arguments.address, arguments.repository)
        write(arguments.folder / f"{path.stem}.ipynb", lesson)


if __name__ == "__main__":
    main()
