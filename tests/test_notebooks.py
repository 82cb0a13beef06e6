"""The lessons as notebooks: nothing left that only Sphinx understands, each output once, and cells that run anywhere."""

import ast
import configparser
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BINDER = ROOT / "binder"
LESSONS = {path.stem: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs" / "lessons").glob("[0-9]*.md"))}
SHORT = ("03-ltd", "05-adversarial", "11-convolution-by-hand")  # run here; the documentation's build runs all
PUBLISHED = "https://example.org/minicereb"
every_lesson = pytest.mark.parametrize("lesson", LESSONS)

spec = importlib.util.spec_from_file_location("notebooks", ROOT / "docs" / "notebooks.py")
notebooks = importlib.util.module_from_spec(spec)
with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(ROOT / "docs")  # it imports its neighbour
    spec.loader.exec_module(notebooks)


def executed(text):
    """A lesson as MyST-NB stores it, without the outputs."""
    body = re.sub(r"\A---\n.*?^---\n", "", text, flags=re.MULTILINE | re.DOTALL)
    parts = re.split(r"^```\{code-cell\} python\n(?:---\n(.*?)^---\n)?(.*?)^```\n", body, flags=re.MULTILINE | re.DOTALL)
    cells = [{"cell_type": "markdown", "metadata": {}, "source": parts[0]}]
    for number, (options, code, below) in enumerate(zip(parts[1::3], parts[2::3], parts[3::3], strict=True), 1):
        known = {"tags": ["remove-cell"]} if options == "tags: [remove-cell]\n" else {"mystnb": {}}
        cells.append({"cell_type": "code", "metadata": known, "outputs": [], "execution_count": number, "source": code})
        cells.append({"cell_type": "markdown", "metadata": {}, "source": below})
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
    assert "pip install '.[notebook]'" in text
    assert set(notebook["metadata"]) <= {"kernelspec", "language_info"}
    assert all(cell["metadata"] == {} for cell in notebook["cells"])
    assert [cell["id"] for cell in notebook["cells"]] == [f"cell-{number}" for number, _ in enumerate(notebook["cells"], 1)]
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    code = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(code) == LESSONS[lesson].count("```{code-cell}")  # one that installs, but none that checks the folded answers
    assert not any("answers above" in source for source in code)
    for source in code:
        ast.parse(source)  # Python alone, without the magic words of IPython


@every_lesson
def test_answers_stay_folded(lesson):
    """A cell of a notebook shows what it has folded as the documentation does, if nothing of it is in another cell."""
    for source in (executed(LESSONS[lesson]), notebooks.unexecuted(LESSONS[lesson])):
        notebook = notebooks.downloadable(source, "lessons")
        texts = ["".join(cell["source"]) + "\n" for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
        assert sum(text.count("<details>") for text in texts) == LESSONS[lesson].count("<details>") >= 3
        assert all(text.count("<details>") == text.count("</summary>\n\n") == text.count("\n\n</details>\n") for text in texts)
        assert not any("answers above" in "".join(cell["source"]) for cell in notebook["cells"])


@every_lesson
def test_with_an_address_every_link_leads_to_a_page_of_the_documentation(lesson):
    text = prose(notebooks.downloadable(executed(LESSONS[lesson]), "lessons", f"{PUBLISHED}/"))
    assert only_sphinx_understands(text) == []
    ours = [target for target in links(text) if target.startswith(PUBLISHED)]
    pages = [target.removeprefix(f"{PUBLISHED}/").partition("#")[0].removesuffix(".html") for target in ours]
    assert all((ROOT / "docs" / f"{page}.md").is_file() for page in pages)
    wanted = [target for target in links(LESSONS[lesson]) if ".md" in target and "LICENSE" not in target]
    assert [target.partition("#")[2] for target in ours] == [target.partition("#")[2] for target in wanted]


@every_lesson
def test_a_notebook_begins_with_its_question_and_a_cell_that_installs_what_it_needs(lesson):
    for repository in ("", "owner/name"):
        top, install, rest, *_ = notebooks.downloadable(executed(LESSONS[lesson]), "lessons", "", repository)["cells"]
        assert re.fullmatch(r"# [^\n]+\n\n(> [^\n]+\n)+\n\*To run the cells: [^\n]+\*", top["source"])
        assert install == {**notebooks.install_cell(repository), "id": "cell-2"}
        assert rest["source"].strip()
    assert '"git+https://github.com/owner/name"' in install["source"]


class Shell:
    """The shell of a notebook, which notes what it should do."""

    def __init__(self):
        self.done = []

    def run_line_magic(self, *words):
        self.done.append(words)


@pytest.mark.parametrize("there", [True, False], ids=["installed", "missing"])
@pytest.mark.parametrize("repository", ["", "owner/name"])
def test_the_first_cell_installs_minicereb_only_where_it_is_missing(there, repository, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if there else None)
    shell, source = Shell(), notebooks.install_cell(repository)["source"]
    if repository or there:
        exec(source, {"get_ipython": lambda: shell})
    else:
        with pytest.raises(ImportError, match="set SOURCE above"):
            exec(source, {"get_ipython": lambda: shell})
    assert shell.done == ([] if there or not repository else [("pip", 'install --quiet "git+https://github.com/owner/name"')])


def test_binder_installs_extras_that_exist_and_writes_the_notebooks(tmp_path):
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = (BINDER / "requirements.txt").read_text(encoding="utf-8").splitlines()
    (required,) = [line for line in lines if line and not line.startswith("#")]
    extras = re.fullmatch(r"\.\[([\w,]+)\]", required)[1].split(",")
    assert set(extras) <= set(settings["options.extras_require"])
    assert "notebook" in extras
    version = re.fullmatch(r"python-(3\.\d+)\n", (BINDER / "runtime.txt").read_text(encoding="utf-8"))[1]
    assert f"Programming Language :: Python :: {version}" in settings["metadata"]["classifiers"]
    assert os.access(BINDER / "postBuild", os.X_OK)
    command = (BINDER / "postBuild").read_text(encoding="utf-8").splitlines()[-1]
    assert command == f"python docs/notebooks.py {notebooks.NOTEBOOKS}"


def test_every_lesson_can_be_written_without_being_run(tmp_path):
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed (extra docs)")
    command = [sys.executable, str(ROOT / "docs" / "notebooks.py"), str(tmp_path / "new"), "--repository", "owner/name"]
    subprocess.run(command, check=True, timeout=120)
    written = {path.stem: nbformat.read(path, as_version=4) for path in (tmp_path / "new").iterdir()}
    assert written.keys() == LESSONS.keys()
    for lesson, notebook in written.items():
        nbformat.validate(notebook)
        first, *others = [cell["source"] for cell in notebook.cells if cell.cell_type == "code"]
        assert first == notebooks.install_cell("owner/name")["source"]
        code = [cell for cell in executed(LESSONS[lesson])["cells"] if cell["cell_type"] == "code"]
        sources = [cell["source"] for cell in code if "tags" not in cell["metadata"]]
        assert others == [source.rstrip("\n") for source in sources]
        assert all(cell["source"].strip() for cell in notebook.cells)
        assert not any(cell.get("outputs") for cell in notebook.cells)
        assert "computed when" not in notebook.cells[0]["source"]
        assert only_sphinx_understands(prose(notebook)) == []


def test_the_links_open_the_notebooks_that_are_written():
    text = notebooks.in_the_browser("03-ltd", "owner/name")
    binder, colab = links(text)
    assert binder == "https://mybinder.org/v2/gh/owner/name/HEAD?urlpath=lab/tree/notebooks/03-ltd.ipynb"
    assert colab == "https://colab.research.google.com/github/owner/name/blob/notebooks/03-ltd.ipynb"


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


def test_pages_with_cells_that_are_no_lessons_are_left_as_they_are(tmp_path):
    lesson = json.dumps(executed(LESSONS["03-ltd"]))
    gallery = json.dumps(executed((ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")))
    (tmp_path / "lessons").mkdir()
    (tmp_path / "lessons" / "03-ltd.ipynb").write_text(lesson, encoding="utf-8")
    (tmp_path / "gallery.ipynb").write_text(gallery, encoding="utf-8")
    notebooks.rewrite(tmp_path)
    assert (tmp_path / "gallery.ipynb").read_text(encoding="utf-8") == gallery
    assert notebooks.TO_RUN in (tmp_path / "lessons" / "03-ltd.ipynb").read_text(encoding="utf-8")
