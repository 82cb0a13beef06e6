"""The lessons as notebooks to download: Markdown that Jupyter understands, links that lead somewhere, every output once.

MyST-NB keeps each executed lesson as a notebook, with the roles, links and settings of this documentation. ``downloadable`` takes
these out. ``docs/conf.py`` calls it when the lessons have been run and before anything is copied.
"""

import json
import posixpath
import re
from pathlib import Path

FOOT = re.compile(r"This lesson as a \{nb-download\}`[^`]*`\s+and as <a [^>]*>slides</a>\.\s*")  # the reader has the notebook
CODE = re.compile(r"(^ *```.*?^ *```$|`[^`\n]*\]\([^`\n]*`)", re.MULTILINE | re.DOTALL)  # in which nothing is a link
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")
LICENCES = {"lessons/LICENSE.md": "https://creativecommons.org/licenses/by/4.0/"}
TO_RUN = (
    "*To run the cells: `python -m pip install . jupyterlab` in a checkout of minicereb, then open this file in `jupyter lab`. "
    "The numbers below each cell were computed when the documentation was built; yours should be the same up to rounding.*"
)


def downloadable(notebook, folder, address=""):
    """Return an executed lesson as it can be read and run by itself.

    Parameters
    ----------
    notebook : dict
        In the notebook format, version 4. It is not changed.
    folder : str
        The lesson's folder within ``docs``, from which its links lead: ``"lessons"``.
    address : str
        Where the documentation is published (Sphinx's ``html_baseurl``). Links lead there; without one, a link becomes its text
        and the name of the file in a checkout.
    """
    named, cells = set(), []
    for number, cell in enumerate(notebook["cells"], 1):
        kept = {**cell, "id": f"cell-{number}", "metadata": {}}  # the format demands an id since 4.5; this one is always the same
        if cell["cell_type"] == "markdown":
            kept["source"] = plain_markdown("".join(cell["source"]), folder, address, named)
        else:
            kept["outputs"] = merge_streams(cell["outputs"])
        cells.append(kept)
    if cells and TO_RUN not in cells[0]["source"]:
        cells[0]["source"] = f"{cells[0]['source'].rstrip()}\n\n{TO_RUN}"
    metadata = {key: value for key, value in notebook["metadata"].items() if key in ("kernelspec", "language_info")}
    return {**notebook, "cells": cells, "metadata": metadata, "nbformat_minor": max(5, notebook["nbformat_minor"])}


def plain_markdown(text, folder, address, named):
    """Return a lesson's Markdown without what only Sphinx understands; `named` collects the files that have been named."""

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

    parts = CODE.split(FOOT.sub("", text))  # odd places are code
    return "".join(part if place % 2 else LINK.sub(link, part) for place, part in enumerate(parts))


def merge_streams(outputs):
    """Return the outputs of a cell with what it printed in one piece for each stream, where its first piece stood."""
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


def rewrite(folder, address=""):
    """Make every notebook under a folder of executed ones downloadable."""
    for path in sorted(Path(folder).rglob("*.ipynb")):
        place = path.parent.relative_to(folder).as_posix()
        notebook = downloadable(json.loads(path.read_text(encoding="utf-8")), place, address)
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
