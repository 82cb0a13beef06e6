"""The lessons as slides: one self-contained HTML file per executed lesson, shown by reveal.js without a network.

Slides are made from the lesson itself. A slide has the heading of its section. It shows the beginning of each paragraph and list
item, complete formulas, tables, printed text and figures, and code without its imports. The speaker's notes (key S) hold the
rest. A comment before a block of the lesson changes this:

- ``<!-- slide: skip -->`` leaves the block out;
- ``<!-- slide: Other words. -->`` shows these in place of a paragraph;
- ``<!-- slide: code -->`` also shows the code of a figure, which is left out otherwise.

``docs/conf.py`` calls ``write`` after the lessons have been run.
"""

import ast
import base64
import json
import math
import re
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import jinja2
import ziamath
from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode
from mdit_py_plugins.amsmath import amsmath_plugin
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name

from minicereb.calculus.equations import EQUATIONS

HERE = Path(__file__).parent
REVEAL = (
    resources.files("sphinx_revealjs") / "_static" / "revealjs"
)  # this extension contains reveal.js; nothing else of it is used
WIDTH, ROOM = 1180, 560  # space within the margins and below the heading of a slide of 1280 × 720 pixels
SHOWN = 60  # least number of characters shown of a paragraph, up to the end of a sentence
WORDS = 260  # largest number of characters of a paragraph on a slide that has only words
FIGURE = 380  # height that a figure needs unless it is flat; it grows into the remaining space
MARK = re.compile(r"<!-- slide: (.*?) -->", re.DOTALL)
SUMMARY = re.compile(r"<summary>(.*?)</summary>", re.DOTALL)
EQUATION = re.compile(r"\\begin\{equation\*\}\s*(.*?)\s*\\tag\*\{\[(.*?)\]\}\s*\\end\{equation\*\}", re.DOTALL)
SENTENCE = re.compile(r"(?<!et al)(?<!e\.g)(?<!i\.e)(?<!vs)[.?!][”\"')]?(?=\s|$)")
FOOT = "You can also read this lesson as a "  # beginning of the last line, which has only links and is left out
SHOWING = ("text", "code_inline", "softbreak")
FORMULAS = {each.tag: each.formula for each in EQUATIONS}
parser = MarkdownIt("commonmark").enable("table").use(amsmath_plugin)


class Block(NamedTuple):
    """A part of a slide that stays together: its HTML, its height in pixels, and the text for the speaker's notes."""

    html: str
    height: float
    notes: str = ""
    # HTML, height and notes for a slide that has only words, and so room for more of them
    longer: tuple[str, float, str] | None = None
    leads: bool = False  # leads to the next block, which should be on the same slide
    alone: bool = False  # needs its own slide


class Slide(NamedTuple):
    """The heading, the content below it, and the speaker's notes, all as HTML."""

    title: str
    html: str
    notes: str


def write(notebook: Path, deck: Path, number: int, of: int) -> None:
    """Write the deck of an executed lesson, which is lesson `number` of `of`."""
    title, question, slides = slides_of(json.loads(notebook.read_text(encoding="utf-8")))
    files = {
        name: (REVEAL / name).read_text(encoding="utf-8")
        for name in ("dist/reveal.css", "dist/reveal.js", "plugin/notes/notes.js")
    }
    template = jinja2.Template((HERE / "templates" / "slides.html.j2").read_text(encoding="utf-8"))
    page = template.render(
        title=title,
        question=question,
        slides=slides,
        place=f"Lesson {number} of {of}",
        styles=files["dist/reveal.css"],
        scripts=[files[name].replace("</script", r"<\/script") for name in files if name.endswith(".js")],
        colours=HtmlFormatter(style="default").get_style_defs("pre"),
    )
    deck.parent.mkdir(parents=True, exist_ok=True)
    deck.write_text(page, encoding="utf-8")


def slides_of(notebook):
    """Return title, question and slides of an executed lesson, given in the notebook format."""
    sections, mark = [], ""
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            if "remove-cell" not in cell["metadata"].get("tags", []):
                sections[-1][1].extend(of_code(cell, mark))
            mark = ""
        else:
            mark = of_markdown("".join(cell["source"]), sections, mark)
    (title, (question, *first)), *rest = sections
    sections = [(title, first), *rest]
    return title, question.html, [slide for heading, blocks in sections for slide in laid_out(heading, blocks)]


def laid_out(title, blocks):
    """Distribute a section's blocks over slides: as many on each as fit, keeping each with the block that leads to it."""
    groups, open_group = [], False
    for block in blocks:
        if open_group:
            groups[-1].append(block)
        else:
            groups.append([block])
        open_group = block.leads
    slides, left, full = [], 0.0, True
    for group in groups:
        parts = [group] if sum(block.height for block in group) <= ROOM else [[block] for block in group]
        for part in parts:
            height, alone = sum(block.height for block in part), any(block.alone for block in part)
            if full or alone or height > left:
                slides.append([])
                left = ROOM
            slides[-1].extend(part)
            left, full = left - height, alone
    slides = [filled(each) for each in slides]
    return [Slide(title, "\n".join(b.html for b in each), "\n".join(b.notes for b in each if b.notes)) for each in slides]


def filled(blocks):
    """Return a slide's blocks; if all are paragraphs, with more of each as long as there is room."""
    if not all(re.match("<p[ >]", block.html) for block in blocks if block.html):
        return blocks
    room, kept = ROOM - sum(block.height for block in blocks), []
    for block in blocks:
        longer = block.longer if block.longer and block.longer[1] - block.height <= room else block[:3]
        room -= longer[1] - block.height
        kept.append(Block(*longer))
    return kept


def of_markdown(text, sections, mark):
    """Append the blocks of a cell to sections, and return the mark at its end, which applies to the code cell below."""
    answer = None  # blocks of a folded answer, while inside one
    for node in SyntaxTreeNode(without_links(parser.parse(text))).children:
        if node.type == "html_block":
            if found := MARK.search(node.content):
                mark = found[1].strip()
            if found := SUMMARY.search(node.content):
                answer = [f'<p class="ask">{parser.renderInline(found[1].strip())}</p>']
            if "</details>" in node.content:
                sections[-1][1].append(Block(f'{answer[0]}<div class="fragment">{"".join(answer[1:])}</div>', ROOM, alone=True))
                answer = None
            continue
        if answer is not None:
            answer.append(rendered(node))
        elif node.type == "heading":
            sections.append((rendered(node.children[0]), []))
        elif mark == "skip":
            sections[-1][1].append(Block("", 0, rendered(node)))
        elif not plain(node).startswith(FOOT):
            sections[-1][1].extend(of_node(node, mark))
        mark = ""
    return mark


def of_node(node, mark):
    """Return the blocks of a piece of Markdown."""
    if node.type == "paragraph":
        return [of_paragraph(node, mark)]
    if node.type in ("bullet_list", "ordered_list"):
        return of_list(node)
    if node.type == "amsmath":
        return [formula(node.content, leads=plain(node.next_sibling)[:1].islower() if node.next_sibling else False)]
    if node.type == "fence":
        return [code(node.content, node.info or "text")]
    if node.type == "table":
        return [Block(rendered(node), 46 * sum(each.type == "tr" for each in node.walk()) + 20)]
    if node.type == "blockquote":
        return [Block(rendered(node), 45 * lines_of(plain(node), 72) + 30)]
    raise ValueError(f"slides: a {node.type} cannot be shown")


def of_paragraph(node, mark):
    """Return the beginning of a paragraph, or the words of its mark; a question is shown whole."""
    inline = node.children[0]
    whole, asks = rendered(inline), plain(node).startswith("Question ")
    short = whole if asks else parser.renderInline(mark) if mark else beginning(inline)
    seen = re.sub(r"<.*?>", "", short)
    kind = ' class="ask"' if asks else ""
    notes = "" if short == whole else f"<p>{whole}</p>"
    more = whole if asks else beginning(inline, most=WORDS)
    longer = f"<p{kind}>{more}</p>", 42 * lines_of(re.sub(r"<.*?>", "", more), 80) + 18, "" if more == whole else notes
    leads = node.next_sibling is None or whole.endswith(":")
    return Block(f"<p{kind}>{short}</p>", 42 * lines_of(seen, 80) + 18, notes, None if mark else longer, leads)


def of_list(node):
    """Return a block for each list item, with its beginning; an ordered list continues its numbering."""
    blocks, tag = [], "ol" if node.type == "ordered_list" else "ul"
    for number, item in enumerate(node.children, 1):
        inline = item.children[0].children[0]
        short, whole = beginning(inline), rendered(item)
        start = f' start="{number}"' if tag == "ol" else ""
        height = 42 * lines_of(re.sub(r"<.*?>", "", short), 76) + 16
        cut = len(item.children) > 1 or short != rendered(inline)
        blocks.append(Block(f"<{tag}{start}><li>{short}</li></{tag}>", height, f"<{tag}{start}>{whole}</{tag}>" if cut else ""))
    return blocks


def of_code(cell, mark):
    """Return blocks for code, its printed output, and its figure."""
    printed = "".join("".join(each["text"]) for each in cell["outputs"] if each["output_type"] == "stream")
    figures = [each["data"]["image/svg+xml"] for each in cell["outputs"] if "image/svg+xml" in each.get("data", {})]
    blocks, source = [], without_imports("".join(cell["source"]))
    if mark != "skip" and (mark == "code" or not figures):
        blocks.append(code(source, "python", leads=bool(printed)))
    if printed:
        blocks.append(code(printed, "text", leads=bool(figures)))
    if (
        len(blocks) == 2 and sum(block.height for block in blocks) > ROOM
    ):  # both on one slide, if the letters are large enough then
        size = (ROOM - 70) / (1.3 * (source.count("\n") + 1 + len(printed.splitlines())))
        if size >= 16:
            blocks = [code(source, "python", leads=True, largest=size), code(printed, "text", leads=bool(figures), largest=size)]
    if figures:
        alt = cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
        svg = "".join(figures[0])
        width, height = size_of(svg)
        blocks.append(Block(picture(svg, alt, "figure"), min(FIGURE, WIDTH * height / width)))
    return blocks


def code(text, language, leads=False, largest=22):
    """Return code or printed text in the largest letters that fit its lines."""
    lines = text.rstrip().splitlines()
    size = min(largest, 500 / (1.3 * len(lines)), (WIDTH - 40) / (0.61 * max(map(len, lines))))
    html = highlight(text.rstrip(), get_lexer_by_name(language, stripnl=False), HtmlFormatter(nowrap=True)).rstrip()
    kind = "printed" if language == "text" else "code"
    return Block(f'<pre class="{kind}" style="font-size: {size:.1f}px">{html}</pre>', 1.3 * size * len(lines) + 34, leads=leads)


def formula(text, leads):
    """Return a drawn equation with its tag."""
    latex, tag = EQUATION.search(text).groups()
    svg = ziamath.Latex(for_ziamath(latex), size=34, margin=4).svg()
    width, height = size_of(svg)
    shrink = min(1, (WIDTH - 160) / width)
    image = picture(svg, FORMULAS[tag], "", f' width="{width * shrink:.0f}" height="{height * shrink:.0f}"')
    return Block(f'<div class="formula">{image}<span>[{tag}]</span></div>', height * shrink + 28, leads=leads)


def for_ziamath(latex):
    """Return LaTeX without two features that ziamath 0.13 lacks: formulas within text, and space around function names."""
    text = re.compile(r"\\text\{([^{}]*?)\$([^$]*)\$([^{}]*)\}")
    while text.search(latex):
        latex = text.sub(r"\\text{\1} \2 \\text{\3}", latex)
    return re.sub(r"\\operatorname\{(\w+)\}(?!\s*(?:\\[Bb]igg?l?)?[(\[_])", r"\\,\\operatorname{\1}\\,", latex)


def picture(svg, alt, kind, size=""):
    """Return an SVG as an image within the page, so that its ids cannot clash with others."""
    data = base64.b64encode(svg.encode()).decode()
    text = alt.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return f'<img class="{kind}"{size} alt="{text}" src="data:image/svg+xml;base64,{data}">'


def size_of(svg):
    """Width and height of an SVG."""
    return [float(each) for each in re.search(r'<svg[^>]* viewBox="[\d.-]+ [\d.-]+ ([\d.]+) ([\d.]+)"', svg).groups()]


def without_imports(source):
    """Return Python code without its top-level import statements, unless there is nothing else."""
    lines = source.splitlines()
    for node in ast.parse(source).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            lines[node.lineno - 1 : node.end_lineno] = [None] * (node.end_lineno - node.lineno + 1)
    kept = "\n".join(line for line in lines if line is not None).strip("\n")
    return re.sub(r"\n{3,}", "\n\n", kept) or source


def without_links(tokens):
    """Replace links by their words in Markdown tokens, since a deck is also used without the other pages."""
    for token in tokens:
        if token.children:
            token.children = [child for child in token.children if child.type not in ("link_open", "link_close")]
            for child in token.children:
                if child.type == "text" and child.content in FORMULAS:  # the link led to an equation
                    child.content = f"[{child.content}]"
    return tokens


def beginning(inline, most=0):
    """Return the HTML of a paragraph's first sentences: at least SHOWN characters, then more up to `most` characters."""
    children, best, length, depth = inline.to_tokens()[0].children, None, 0, 0
    for place, child in enumerate(children):
        depth += child.nesting
        if child.type == "text" and depth == 0:
            for end in SENTENCE.finditer(child.content):
                reached = length + end.end()
                if best is None or reached <= most:
                    best = [*children[:place], child.copy(content=child.content[: end.end()])] if reached >= SHOWN else None
        length += len(child.content) if child.content else 1
    return parser.renderer.renderInline(children if best is None else best, parser.options, {})


def rendered(node):
    """HTML of a piece of Markdown."""
    tokens = node.to_tokens()
    if node.type == "inline":
        return parser.renderer.renderInline(tokens[0].children, parser.options, {})
    return parser.renderer.render(tokens, parser.options, {})


def plain(node):
    """Text of a piece of Markdown."""
    found = (" " if each.type == "softbreak" else each.content for each in node.walk() if each.type in SHOWING)
    return "".join(found)


def lines_of(text, columns):
    """Return how many lines a text takes."""
    return max(1, math.ceil(len(text) / columns))
