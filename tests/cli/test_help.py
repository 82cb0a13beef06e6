"""What commands say of themselves, and of a word that was mistyped."""

import re

import click
import pytest
from commands import invoke

from minicereb.cli.main import main, summary
from minicereb.errors import InputError


def commands(command=main, path=()):
    """Every command with the names that lead to it."""
    yield path, command
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            yield from commands(command.get_command(click.Context(command), name), (*path, name))


ALL = dict(commands())


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_a_summary_is_one_sentence_and_stands_whole_in_the_list(path):
    said = summary(ALL[path])
    assert re.fullmatch(r"[A-Z].*[^.]\.", said)
    assert not re.search(r"\.\.\.|…", said)
    if path and not ALL[path].hidden:
        listed = invoke(*path[:-1], "--help", env={"COLUMNS": "80"}).stdout
        assert said in " ".join(listed.split())


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_the_paragraphs_of_a_help_text_are_set_like_the_first(path):
    """Without the indentation of the source in the middle of a line, or before one."""
    said = invoke(*path, "--help", env={"COLUMNS": "80"}).stdout.partition("\nOptions:")[0]
    assert not re.search(r"\S {2,}\S|^ {4,}\S", said.partition("\n\n")[2], flags=re.MULTILINE)


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_the_help_of_an_option_can_be_read_without_its_name(path):
    """No fragment such as "Of the noise", and no default alone."""
    texts = [parameter.help for parameter in ALL[path].params if isinstance(parameter, click.Option) and parameter.help]
    assert [text for text in texts if re.match(r"Of |\[", text)] == []


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("atack",), "attack"),
        (("exercises",), "exercise"),
        (("train", "cerebelum"), "cerebellum"),
        (("data", "lst"), "list"),
        (("attack", "--metod", "pgd"), "--method"),
        (("attack", "run", "--method", "pdg"), "pgd"),
        (("attack", "run", "--objective", "marign"), "margin"),
        (("study", "objectivs"), "objectives"),
        (("study", "ablation", "--scale", "corse"), "course"),
        (("exercise", "start", "delta-rul"), "delta-rule"),
        (("train", "mlp", "--dataset", "stroks"), "strokes"),
        (("evaluate", "run", "--attacks", "standrd"), "standard"),
        (("models", "fetch", "cerebelum"), "cerebellum"),
        (("data", "fetch", "mnits"), "mnist"),
        (("train", "mlp", "--device", "cdua"), "cuda"),
    ],
)
def test_a_mistyped_word_gets_a_suggestion(words, meant):
    result = invoke(*words)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert re.search(rf"[Dd]id you mean.*'?{re.escape(meant)}\b", result.stderr)


@pytest.mark.parametrize("words", [("quite-something-else",), ("attack", "run", "--method", "xyz"), ("study", "xyz")])
def test_what_resembles_nothing_gets_none(words):
    result = invoke(*words)
    assert result.exit_code == 2
    assert "did you mean" not in result.stderr.lower()


def test_prose_is_no_list_of_names():
    assert "did you mean" not in str(InputError("cells", "numbr", "a number, or 1"))
    assert str(InputError("loss", "mze", "mse, margin")).endswith("; did you mean 'mse'?")
