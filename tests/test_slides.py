"""The lessons as slides: a deck for each, everything in one file, and nothing that a slide has no room for."""

import importlib.util
import json
import os
import re
from pathlib import Path

import pytest
from browser import CHROMIUM, browser
from test_notebooks import executed

for package in ("markdown_it", "mdit_py_plugins", "pygments", "sphinx_revealjs", "ziamath"):
    pytest.importorskip(package, reason=f"{package} is not installed (extra docs)")

DOCS = Path(__file__).parents[1] / "docs"
LESSONS = {path.stem: path.read_text(encoding="utf-8") for path in sorted((DOCS / "lessons").glob("[0-9]*.md"))}
FEWEST = 12  # slides of a lesson
SIZES = """[...document.querySelectorAll('.slide')].map(slide => {
    const before = slide.parentElement.style.display;
    slide.parentElement.style.display = 'block';
    const low = [...slide.children].map(each => each.getBoundingClientRect().bottom - slide.getBoundingClientRect().top);
    const figures = [...slide.querySelectorAll('img.figure')].map(each => each.clientHeight);
    const found = [slide.scrollWidth, slide.scrollHeight, Math.max(0, ...low), Math.min(1000, ...figures)];
    slide.parentElement.style.display = before;
    return found;
})"""


def module(name):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


slides, equation_table = module("slides"), module("equation_table")


def lesson_of(body):
    """Slides of a lesson with this text after its question."""
    return slides.slides_of(executed(f"# A title\n\n> A question?\n\n{body}"))[2]


def text_of(html):
    return re.sub(r"\s+", " ", re.sub(r"<.*?>", "", html)).strip()


@pytest.fixture(scope="module")
def decks(tmp_path_factory):
    """The decks of the documentation that was built in MINICEREB_BUILT_DOCS; without it, of lessons that were not run."""
    if built := os.environ.get("MINICEREB_BUILT_DOCS"):
        return Path(built) / "lessons"
    folder = tmp_path_factory.mktemp("slides")
    for number, (lesson, text) in enumerate(LESSONS.items(), 1):
        notebook = folder / f"{lesson}.ipynb"
        notebook.write_text(json.dumps(executed(equation_table.typeset(text))), encoding="utf-8")
        slides.write(notebook, folder / f"{lesson}-slides.html", number, len(LESSONS))
    return folder


@pytest.mark.parametrize("lesson", LESSONS)
def test_a_lesson_has_a_deck_in_one_file(lesson, decks):
    page = (decks / f"{lesson}-slides.html").read_text(encoding="utf-8")
    headings = re.findall(r"^# (.+)$|^## (.+)$", re.sub(r"```.*?```", "", LESSONS[lesson], flags=re.DOTALL), re.MULTILINE)
    shown = [text_of(heading) for heading in re.findall(r"<h[12]>(.*?)</h[12]>", page)]
    assert len(shown) >= FEWEST
    assert list(dict.fromkeys(shown)) == [first or second for first, second in headings]
    assert page.count("</section>") == len(shown)
    markup = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r'(?:src|href)="(?!data:)|@import|url\((?!data:)', markup)
    tags = re.findall(r"    \[([A-Z0-9-]+)\]$", LESSONS[lesson], re.MULTILINE)
    assert re.findall(r"<span>\[([A-Z0-9-]+)\]</span></div>", page) == tags


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
def test_every_slide_has_room_for_what_it_shows(decks):
    with browser() as page:
        for lesson in LESSONS:
            page.open((decks / f"{lesson}-slides.html").as_uri(), 1280, 720)
            page.until("window.Reveal && Reveal.isReady()")
            assert page.run("Reveal.getTotalSlides()") >= FEWEST
            for number, (width, height, lowest, figure) in enumerate(page.run(SIZES), 1):
                assert (width, height) == (1280, 720), (lesson, number)
                assert lowest <= 720, (lesson, number)
                assert figure >= 110, (lesson, number)
            page.key("ArrowRight", 39)
            page.until("Reveal.getIndices().h === 1")
        assert page.complaints == []
        assert [url for url in page.requests if not url.startswith(("file:", "data:", "blob:"))] == []


def test_a_paragraph_is_shown_to_the_end_of_a_sentence_and_whole_in_the_notes():
    first = "Marr et al. saw a learning machine in the cerebellum of 0.5 litres."
    (slide,) = lesson_of(f"## One\n\n{first} A second [sentence](../x.md) follows.\n\n```sh\nls\n```\n")
    assert text_of(slide.html) == f"{first} ls"
    assert text_of(slide.notes) == f"{first} A second sentence follows."


def test_a_slide_of_words_shows_more_of_them():
    words = "A sentence that says something about a cell and its synapses. " * 3
    (slide,) = lesson_of(f"## One\n\n{words}\n")
    assert text_of(slide.html) == words.strip()
    assert slide.notes == ""


def test_marks_change_what_a_slide_shows():
    marked = "<!-- slide: Other *words*. -->\nA paragraph.\n\n<!-- slide: skip -->\nAnother."
    (slide,) = lesson_of(f"## One\n\n{marked}\n\n```{{code-cell}} python\nx = 1\n```\n")
    assert "<p>Other <em>words</em>.</p>" in slide.html
    assert "Another" not in slide.html
    assert text_of(slide.notes) == "A paragraph. Another."


def test_code_has_no_imports_and_a_figure_no_code_without_a_mark():
    notebook = executed("# T\n\n> Q?\n\n## One\n\nWords.\n\n```{code-cell} python\nimport numpy as np\n\nx = np.ones(3)\n```\n")
    (slide,) = slides.slides_of(notebook)[2]
    assert text_of(slide.html) == "Words. x = np.ones(3)"
    svg = ["<svg xmlns='http://www.w3.org/2000/svg' viewBox=", '"0 0 40 20"', "></svg>"]
    notebook["cells"][1]["outputs"] = [
        {"output_type": "execute_result", "data": {"image/svg+xml": ["".join(svg).replace("'", '"')]}}
    ]
    notebook["cells"][1]["metadata"] = {"mystnb": {"image": {"alt": 'A "line" < 3.'}}}
    (slide,) = slides.slides_of(notebook)[2]
    assert 'alt="A &quot;line&quot; &lt; 3."' in slide.html
    assert "np.ones" not in slide.html
    notebook["cells"][0]["source"] += "\n\n<!-- slide: code -->"
    assert "ones" in "".join(slide.html for slide in slides.slides_of(notebook)[2])


def test_a_folded_answer_comes_at_a_key():
    folded = "<details>\n<summary>What is 1 + 1?</summary>\n\nIt is *two*.\n\n</details>\n"
    first, second = lesson_of(f"## Check yourself\n\n{folded}\n{folded}")
    assert first == second
    assert first.html == '<p class="ask">What is 1 + 1?</p><div class="fragment"><p>It is <em>two</em>.</p>\n</div>'


def test_a_long_section_goes_over_several_slides_and_what_leads_to_a_block_stays_with_it():
    printed = "```text\n" + "1\n" * 6 + "```\n\n"
    found = lesson_of("## One\n\n" + f"Look at these numbers:\n\n{printed}" * 5)
    assert len(found) == 3
    assert all(slide.title == "One" and text_of(slide.html).startswith("Look at") for slide in found)


def test_latex_that_the_formulas_drawing_does_not_know_is_rewritten():
    assert slides.for_ziamath(r"\text{at the $k$ inputs of $j$}") == r"\text{at the } k \text{ inputs of } j \text{}"
    assert slides.for_ziamath(r"\operatorname{tr} C") == r"\,\operatorname{tr}\, C"
    assert slides.for_ziamath(r"\operatorname{clip}\Bigl( x") == r"\operatorname{clip}\Bigl( x"
