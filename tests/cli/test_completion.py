"""Completions offered to the shell, and their speed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from commands import invoke

from minicereb.cli import completion
from minicereb.cli.main import main
from minicereb.datasets import registry
from minicereb.exercises.course import EXERCISES
from minicereb.studies import STUDIES

ROOT = Path(__file__).parents[2]


def complete(line):
    """(kind, value) of everything that completes the last word of a command line."""
    words = f"minicereb {line}"
    environment = {completion.VARIABLE: "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    result = invoke(env=environment, prog_name="minicereb")
    assert result.exit_code == 0, result.output
    return [tuple(line.split(",", 1)) for line in result.stdout.splitlines() if line]


def plain(line):
    """Values that a shell shows."""
    return [value for kind, value in complete(line) if kind == "plain"]


def test_what_can_be_completed_is_what_the_commands_take():
    assert (ROOT / "cli" / completion.INDEX).read_text(encoding="utf-8") == completion.written(), (
        "a command has changed: python -m minicereb.cli.completion"
    )


def test_every_exception_is_a_parameter_of_a_command():
    def keys(command, path=""):
        for parameter in command.params:
            yield from (parameter.name, f"{path} {parameter.name}")
        if isinstance(command, click.Group):
            for name in command.list_commands(click.Context(command)):
                yield from keys(command.get_command(click.Context(command), name), f"{path} {name}".strip())

    assert completion.names().keys() <= set(keys(main))


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("tra", ["train"]),
        ("train m", ["mlp"]),
        ("attack --met", ["--method"]),
        ("attack --method p", ["pgd"]),
        ("attack --objective m", ["mse", "margin"]),
        ("study ob", ["objectives"]),
        ("study li", ["list"]),
        ("study transfer --scale c", ["course"]),
        ("exercise start delta", ["delta-rule"]),
        ("exercise check --exercise del", ["delta-rule"]),
        ("train mlp --dataset strokes1", ["strokes14"]),
        ("data fetch ci", ["cifar10"]),
        ("evaluate --attacks pgd-mse,fab", ["pgd-mse,fab-t"]),
        ("train mlp --device cu", ["cuda"]),
        ("train cerebellum --no-l", ["--no-ltd"]),
        ("task pole --lesion ol", ["olive"]),
        ("models add", []),
    ],
)
def test_a_word_is_completed(line, values):
    assert plain(line) == values


def test_all_names_are_offered():
    assert set(plain("study ")) == {*STUDIES, "list", "status"}
    assert set(plain("exercise start ")) == set(EXERCISES)
    assert {row.name for row in registry.describe()} == set(plain("train mlp --dataset "))
    assert "models" in plain("")
    assert "cerebellum" in plain("models fetch ")


def test_folders_of_results_are_offered_and_left_to_the_shell_where_there_are_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder, file in (("runs/one", "config.json"), ("runs/two", "config.json"), ("runs/other", "x.txt"), ("s", "study.json")):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / file).touch()
    assert complete("attack ") == [("dir", ""), ("plain", "runs/one"), ("plain", "runs/two")]
    assert complete("evaluate runs/one runs/t") == [("dir", "runs/t"), ("plain", "runs/two")]
    assert complete("report s") == [("dir", "s"), ("plain", "s")]
    assert complete("show nowhere/x") == [("dir", "nowhere/x")]
    assert complete("export runs/one mod") == [("file", "mod")]


def test_completion_imports_nothing_that_takes_long():
    code = (
        "import os, sys; from minicereb.cli.main import main\n"
        "try:\n main(prog_name='minicereb')\n"
        "except SystemExit: pass\n"
        "print(sorted({'numpy', 'scipy', 'matplotlib', 'pooch', 'minicereb.backend'} & sys.modules.keys()), file=sys.stderr)"
    )
    environment = {completion.VARIABLE: "zsh_complete", "COMP_WORDS": "minicereb attack --method ", "COMP_CWORD": "3"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert "apgd" in done.stdout
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_given_its_script_as_documented(shell):
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert f"{completion.VARIABLE}={shell}_source minicereb" in page
    if shell == "bash" and shutil.which("bash") is None:
        pytest.skip("there is no bash here")
    result = invoke(env={completion.VARIABLE: f"{shell}_source"}, prog_name="minicereb")
    assert result.exit_code == 0
    assert f"{shell}_complete" in result.stdout


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_bash_completes_a_command_line(tmp_path):
    program = tmp_path / "minicereb"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "from minicereb.cli.main import main; main()" "$@"\n')
    program.chmod(0o755)
    script = (
        f'PATH={tmp_path}:$PATH; eval "$({completion.VARIABLE}=bash_source minicereb)"; '
        'COMP_WORDS=(minicereb study ob); COMP_CWORD=2; _minicereb_completion minicereb; echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "objectives"


def test_the_list_of_studies_is_printed():
    listed = json.loads(invoke("study", "list", "--json").stdout)["studies"]
    assert [each["name"] for each in listed] == list(STUDIES)
    assert all(each["question"].endswith("?") for each in listed)
    printed = invoke("study", "list").stdout
    assert all(f"{name} " in printed for name in STUDIES)
    assert invoke("study", "list", "somewhere").exit_code == 2
