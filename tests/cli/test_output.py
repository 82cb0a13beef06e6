"""Progress on a terminal: within one line, whole words, and nothing anywhere else."""

import importlib
import io
import json
import os
import re

import click
import pytest
from click.testing import CliRunner
from commands import invoke

from minicereb.cli import output
from minicereb.cli.output import Answer, Status, fit
from minicereb.datasets import strokes
from minicereb.experiments.architectures import CerebellumModel

LINE = "epoch 3/10   24%  loss 0.1234  accuracy 0.9876  12,345 images/s  1:23 left"


@pytest.mark.parametrize("columns", range(1, len(LINE) + 3))
def test_a_line_is_shortened_by_whole_parts_and_never_longer_than_the_terminal(columns):
    shown = fit(LINE, columns)
    assert len(shown) <= columns
    if columns >= len(LINE):
        assert shown == LINE
    elif columns >= len("epoch 3/10"):
        assert LINE.startswith(f"{shown}  ")
    elif columns >= len("epoch …"):
        assert shown == "epoch …"


@pytest.mark.parametrize(
    ("text", "columns", "shown"),
    [
        ("training the cerebellum on digits", 20, "training the …"),
        ("  1:23  a job  (host)", 16, "  1:23  a job"),
        ("  a long reason", 10, "  a long …"),
        ("supercalifragilistic", 8, "superca…"),
        ("two\nlines", 20, "two lines"),
        ("数字数字 images", 9, "数字…"),
        ("", 5, ""),
    ],
)
def test_words_are_not_cut_unless_one_alone_is_too_long(text, columns, shown):
    if shown == "数字…":  # four columns of eight, an ellipsis, and no room for the next word
        assert output._columns(fit(text, columns)) <= columns
    else:
        assert fit(text, columns) == shown


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_stays_within_its_line(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(output.sys, "stderr", terminal)
    monkeypatch.setattr(output, "terminal_size", lambda: os.terminal_size((30, 5)))
    line = Status()
    line.update(LINE)
    assert terminal.getvalue() == "epoch 3/10   24%  loss 0.1234"
    line.close()
    assert terminal.getvalue().endswith("\r\x1b[J")
    lines = Status(every=1)
    lines.update(*[LINE] * 9)
    assert terminal.getvalue().endswith("\n".join(["epoch 3/10   24%  loss 0.1234"] * 4))
    lines.close()
    assert terminal.getvalue().endswith("\x1b[3F\x1b[J")


def test_the_width_is_that_of_the_terminal_on_standard_error(monkeypatch):
    if not hasattr(os, "openpty"):
        pytest.skip("there are no pseudo-terminals here")
    import fcntl
    import struct
    import termios

    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 7, 33, 0, 0))
    with os.fdopen(theirs, "w") as stream:
        monkeypatch.setattr(output.sys, "stderr", stream)
        monkeypatch.delenv("COLUMNS", raising=False)
        assert output.terminal_size() == os.terminal_size((33, 7))
        monkeypatch.undo()
    os.close(ours)


def test_elsewhere_nothing_is_shown(capsys):
    line = Status()
    line.update(LINE)
    line.close()
    assert capsys.readouterr() == ("", "")


def test_json_of_a_name_that_no_encoding_has_is_still_json():
    text = output._json({"folder": "caf\udce9", "name": "é"})
    assert json.loads(text.encode()) == {"folder": "caf\udce9", "name": "é"}


def test_the_demo_prints_what_each_step_came_to_and_its_document_alone(tmp_path, monkeypatch):
    """Into a file it was silent for its whole minute."""
    demo = importlib.import_module("minicereb.cli.demo")
    few = strokes.load(train=200, test=40)
    monkeypatch.setattr(demo, "MODELS", {"base network": (CerebellumModel("full", 50, ltd=False), 50)})
    monkeypatch.setattr(demo, "IMAGES", 20)
    monkeypatch.setattr(demo.datasets, "load", lambda name: few)
    first = invoke("demo", "--out", str(tmp_path / "demo"))
    assert (first.exit_code, first.stderr) == (0, "")
    lines = first.stdout.splitlines()
    assert lines[1].startswith("base network: trained, test accuracy ")
    assert [line.partition(", accuracy")[0] for line in lines[2:5]] == [
        f"base network: attacked by {name}" for name in demo.ATTACKS
    ]
    assert not re.search("[\r\x1b]", first.stdout)
    document = invoke("demo", "--out", str(tmp_path / "demo"), "--json")
    assert set(json.loads(document.stdout)) == {"epsilon", "images", "models", "figures"}


def test_text_with_a_path_that_is_not_utf8_is_printed_with_escapes():
    command = click.Command("show", callback=output.as_json(lambda: Answer({}, "caf\udce9: done")))
    command.params = [click.Option(["--json", "json_wanted"], is_flag=True)]
    assert CliRunner().invoke(command).stdout == "caf\\udce9: done\n"


def test_the_demos_figure_says_what_its_bars_do():
    demo = importlib.import_module("minicereb.cli.demo")
    shares = {"base network (full)": [96.0, 18.0, 10.0, 0.0], "cerebellum (4)": [94.5, 30.0, 42.5, 0.5]}
    assert demo._gap(shares) == "The cerebellum: 42.5% correct after PGD, squared error; 0.5% after PGD, margin."
