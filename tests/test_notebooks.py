"""The lessons as notebooks to download: nothing left that only Sphinx understands, each output once, and cells that run."""

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LESSONS = {path.stem: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs" / "lessons").glob("[0-9]*.md"))}
SHORT = ("03-ltd", "05-adversarial", "11-convolution-by-hand")  # run here; the documentation's build runs all
PUBLISHED = "https://example.org/minicereb"
every_lesson = pytest.mark.parametrize("lesson", LESSONS)

spec = importlib.util.spec_from_file_location("notebooks", ROOT / "docs" / "notebooks.py")
notebooks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(notebooks)


def executed(text):
    """A lesson as MyST-NB stores it, without the outputs."""
    body = re.sub(r"\A---\n.*?^---\n", "", text, flags=re.MULTILINE | re.DOTALL)
    parts = re.split(r"^```\{code-cell\} python\n(?:---\n.*?^---\n)?(.*?)^```\n", body, flags=re.MULTILINE | re.DOTALL)
    cells = [
        {"cell_type": "code", "metadata": {"mystnb": {}}, "outputs": [], "execution_count": number, "source": part}
        if number % 2
        else {"cell_type": "markdown", "metadata": {}, "source": part}
        for number, part in enumerate(parts)
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}, "file_format": "mystnb", "source_map": [1]}
    return {"nbformat": 4, "nbformat_minor": 4, "metadata": kernel, "cells": cells}


def prose(notebook):
    """All Markdown of a notebook outside fenced code."""
    text = "\n\n".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    assert not re.search(r"```\{", text)
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def only_sphinx_understands(text):
    """Roles, targets, options and comments of MyST."""
    return re.findall(r"\{[\w:-]+\}`|^\([\w-]+\)=|^:::|^%|\{(?:#|\.)\w+", text, re.MULTILINE)


def links(text):
    """Where the links of a text lead, wherever its lines break."""
    return re.findall(r"\]\(([^)\s]+)\)", text)


@every_lesson
def test_a_downloaded_lesson_has_no_markup_and_no_links_that_need_the_documentation(lesson):
    notebook = notebooks.downloadable(executed(LESSONS[lesson]), "lessons")
    text = prose(notebook)
    assert only_sphinx_understands(text) == []
    assert all(re.match(r"https?://", target) for target in links(text))
    assert "https://creativecommons.org/licenses/by/4.0/" in links(text)
    named = re.findall(r"`(docs/[^`]+)`", text)
    assert all((ROOT / path).is_file() for path in named)
    assert len(named) == len(set(named))
    assert "pip install . jupyterlab" in text
    assert set(notebook["metadata"]) <= {"kernelspec", "language_info"}
    assert all(cell["metadata"] == {} for cell in notebook["cells"])
    assert [cell["id"] for cell in notebook["cells"]] == [f"cell-{number}" for number, _ in enumerate(notebook["cells"], 1)]
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            ast.parse("".join(cell["source"]))  # Python alone, without the magic words of IPython


@every_lesson
def test_with_an_address_every_link_leads_to_a_page_of_the_documentation(lesson):
    text = prose(notebooks.downloadable(executed(LESSONS[lesson]), "lessons", f"{PUBLISHED}/"))
    assert only_sphinx_understands(text) == []
    ours = [target for target in links(text) if target.startswith(PUBLISHED)]
    pages = [target.removeprefix(f"{PUBLISHED}/").partition("#")[0].removesuffix(".html") for target in ours]
    assert all((ROOT / "docs" / f"{page}.md").is_file() for page in pages)
    wanted = [target for target in links(LESSONS[lesson]) if ".md" in target and "LICENSE" not in target]
    assert [target.partition("#")[2] for target in ours] == [target.partition("#")[2] for target in wanted]


def test_a_notebook_made_clean_again_stays_as_it_is():
    clean = notebooks.downloadable(executed(LESSONS["01-perceptron"]), "lessons")
    assert notebooks.downloadable(clean, "lessons") == clean


def test_code_is_left_alone():
    text = "```text\na = b[i](j.md)\n```\nand `c[i](j.md)`, but [`here`](../equations.md#c1)\n"
    clean = notebooks.plain_markdown(text, "lessons", PUBLISHED, set())
    assert clean == text.replace("../equations.md#c1", f"{PUBLISHED}/equations.html#c1")


def test_what_a_cell_printed_stands_in_one_piece_and_once():
    def printed(text, name="stdout"):
        return {"output_type": "stream", "name": name, "text": text}

    figure = {"output_type": "execute_result", "data": {}, "metadata": {}, "execution_count": 1}
    outputs = [printed("one\n"), printed(["two\n", "two\n"]), printed("a warning\n", "stderr"), figure, printed("two\n")]
    merged = notebooks.merge_streams(outputs)
    assert merged == [printed("one\ntwo\ntwo\ntwo\n"), printed("a warning\n", "stderr"), figure]
    assert outputs[0] == printed("one\n")


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    """The downloads of the documentation that was built in MINICEREB_BUILT_DOCS; without it, of the short lessons alone."""
    if built := os.environ.get("MINICEREB_BUILT_DOCS"):
        return Path(built) / "_downloads"
    pytest.importorskip("myst_nb", reason="MyST-NB is not installed (extra docs)")
    folder = tmp_path_factory.mktemp("documentation")
    pages = ",".join(f"lessons/{lesson}.md" for lesson in SHORT)
    settings = ("-D", f"include_patterns={pages}", "-D", f"root_doc=lessons/{SHORT[0]}")
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", *settings, str(ROOT / "docs"), str(folder / "html")]
    built = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert built.returncode == 0, built.stderr
    return folder / "html" / "_downloads"


@pytest.mark.parametrize("lesson", SHORT)
def test_a_lesson_runs_as_downloaded(lesson, downloads, tmp_path):
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed (extra docs)")
    import nbformat

    (path,) = downloads.glob(f"*/{lesson}.ipynb")
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert only_sphinx_understands(prose(notebook)) == []
    before = [outputs_of(cell) for cell in notebook.cells]
    assert all(len(streams) == len({each["name"] for each in streams}) for streams, _ in before)  # each once
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    after = [outputs_of(cell) for cell in notebook.cells]
    assert [figures for _, figures in after] == [figures for _, figures in before]
    for (now, _), (then, _) in zip(after, before, strict=True):
        printed = "".join("".join(each["text"]) for each in now)
        assert printed == "".join("".join(each["text"]) for each in then)
    assert list(tmp_path.iterdir()) == []


def outputs_of(cell):
    """What a cell printed, and how many figures it shows; nothing for text."""
    outputs = json.loads(json.dumps(cell.get("outputs", [])))
    return [each for each in outputs if each["output_type"] == "stream"], sum(each["output_type"] != "stream" for each in outputs)
