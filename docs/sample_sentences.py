"""Draw sentences for a reader to mark: ``python docs/sample_sentences.py --count 300 --seed 1``.

They come from docstrings, from the commands' help texts, and from README and the pages of docs (not from printed results). The
sentence before each, where there is one, is shown in parentheses, because nobody meets a sentence alone. Readers mark each
sentence that they had to read twice; it is then rewritten in its file. The same seed draws the same sentences from the same
texts.
"""

import argparse
import ast
import random
import re
import textwrap
from pathlib import Path

import click

from minicereb.cli.main import main as commands

ROOT = Path(__file__).parents[1]
FENCED = re.compile(r"^( *)(```|~~~).*?^\1\2[^\n]*$", re.MULTILINE | re.DOTALL)
FRONT_MATTER = re.compile(r"\A---\n.*?^---\n", re.MULTILINE | re.DOTALL)
NOT_PROSE = re.compile(
    r"(Code:|\||#|>>>|\.\. |-{3,}|={3,}|:\w+:\s|\([\w-]+\)=| {4}|\(?array\(|\w+(Error|Warning)$|[\w-]+ {2,}\S)"
)  # the beginning of a line that is not prose
END = re.compile(r"(?:(?<=[.!?])(?<!et al\.)|(?<=[.!?][\"»)*]))(?<!\.\.\.\))\s+(?=[A-Z`*\[(«\"])")
OUTPUT = re.compile(r"^ *>>> .*?(?=\n\s*\n|\Z)", re.MULTILINE | re.DOTALL)
TYPE = re.compile(r"(array|tuple)\b")  # the beginning of the type of a result
SHORTEST = 4  # words in a sentence worth reading


def sentences(text):
    """Split prose into its sentences; lines are joined within a paragraph or list item."""
    for paragraph in re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )", text):
        lines = [line for line in paragraph.splitlines() if line.strip() and not NOT_PROSE.match(line)]
        for sentence in END.split(" ".join(line.strip() for line in lines)):
            if len(sentence.split()) >= SHORTEST and not TYPE.match(sentence):
                yield sentence


def from_docstrings():
    """Yield (where, text) for every numpydoc section of every docstring of the package and its commands."""
    for path in sorted([*(ROOT / "minicereb").rglob("*.py"), *(ROOT / "cli").rglob("*.py")]):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
                name = getattr(node, "name", "")
                text = OUTPUT.sub("", text)
                for part in re.split(r"^\w[\w ]*\n-+\n|^\S.* : .*$|^\w+(?:, \w+)+$", text, flags=re.MULTILINE):
                    yield f"{path.relative_to(ROOT)}:{node.body[0].lineno} {name}", textwrap.dedent(part)


def from_help(command=commands, name="minicereb"):
    """Yield (where, text) for the help of a command, of its options, and of its subcommands."""
    yield name, command.help or ""
    for option in command.params:
        yield f"{name} {option.opts[-1]}", getattr(option, "help", None) or ""
    if isinstance(command, click.Group):
        for each in sorted(command.list_commands(click.Context(command))):
            yield from from_help(command.get_command(click.Context(command), each), f"{name} {each}")


def from_pages():
    """Yield (where, text) for README, CONTRIBUTING and every page of the documentation, without code and tables."""
    pages = [path for path in (ROOT / "docs").rglob("*.md") if not {"results", "_build"} & set(path.parts)]
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(pages)]:
        text = FENCED.sub("", FRONT_MATTER.sub("", path.read_text(encoding="utf-8")))
        text = re.sub(r"<!-- (?:slide: )?|-->", "\n\n", text)  # the words of slides are in comments
        text = re.sub(r"</?(?:details|summary)>", "\n\n", re.sub(r"^> ", "", text, flags=re.MULTILINE))
        yield str(path.relative_to(ROOT)), text


def draw(count, seed):
    """Return `count` different sentences as (where, sentence, the sentence before or ""), the same for the same seed."""
    every = {}  # a sentence that occurs in two places counts once
    for where, text in (*from_docstrings(), *from_help(), *from_pages()):
        before = ""
        for sentence in sentences(text):
            every[sentence], before = (where, before), sentence
    drawn = random.Random(seed).sample(
        sorted((where, sentence) for sentence, (where, _) in every.items()), min(count, len(every))
    )
    return [(where, sentence, every[sentence][1]) for where, sentence in drawn]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Draw sentences from docstrings, help texts and documentation.")
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for number, (where, sentence, before) in enumerate(draw(arguments.count, arguments.seed), 1):
        print(*([f"     ({before})"] if before else []), f"{number:3}. {sentence}", f"     [{where}]", sep="\n")
