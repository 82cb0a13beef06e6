"""A field declares a setting once: its option, its validation, its docstring and its row in docs/formats.md."""

import importlib.util
from dataclasses import dataclass, make_dataclass, replace
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from minicereb.cli.options import from_options, setting_options
from minicereb.errors import InputError
from minicereb.settings import checked, field_rows, setting

DOCS = Path(__file__).parents[1] / "docs"


@checked
@dataclass(frozen=True)
class Pulse:
    """A pulse of light."""

    duration: int = setting(20, "How long the light is on", unit="ms", at_least=1, multiple_of=5)
    shape: str = setting("square", "How the light rises and falls.", choices=("square", "ramp"))
    levels: tuple[float, ...] = setting((0.5, 1.0), "Brightness of each lamp.", at_least=0, below=2)
    limit: float | None = setting(None, "Largest brightness.", above=0, usual="that of the lamp")
    on: bool = setting(True, "Whether the light is on.", off="dark")


def command_of(settings):
    """A command with the options of these settings, which prints the settings."""

    @click.command()
    @setting_options(settings)
    def show(**options):
        click.echo(from_options(settings, options))

    return show


def printed(settings, *arguments):
    return CliRunner().invoke(command_of(settings), arguments, standalone_mode=False)


def test_options_have_the_fields_types_defaults_and_help():
    assert printed(Pulse).stdout.strip() == str(Pulse())
    given = printed(Pulse, "--duration", "5", "--shape", "ramp", "--levels", "1/4,1", "--limit", "1/2", "--dark")
    assert isinstance(given.exception, click.BadParameter)  # numbers with commas are no fractions
    given = printed(Pulse, "--duration", "5", "--shape", "ramp", "--levels", "0.25,1", "--limit", "1/2", "--dark")
    assert given.stdout.strip() == str(Pulse(5, "ramp", (0.25, 1.0), 0.5, False))
    told = " ".join(printed(Pulse, "--help").stdout.split())
    assert "--duration INTEGER How long the light is on, in ms. [default: 20]" in told
    assert "--shape [square|ramp] How the light rises and falls. [default: square]" in told
    assert "--limit NUMBER Largest brightness. [default: that of the lamp]" in told
    assert "--on / --dark" in told


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"duration": 0}, "duration: 0 is not valid; expected a whole number of at least 1, a multiple of 5, in ms"),
        ({"duration": 7}, "duration: 7 is not valid; expected a whole number of at least 1, a multiple of 5, in ms"),
        ({"duration": 5.0}, "duration: 5.0 is not valid; expected a whole number"),
        ({"shape": "rampe"}, "shape: 'rampe' is not valid; expected square or ramp; did you mean 'ramp'?"),
        ({"levels": (1.0, 2.0)}, "levels: [1.0, 2.0] is not valid; expected numbers from 0 to less than 2"),
        ({"levels": (1.0, "x")}, "levels[1]: 'x' is not valid; expected a number"),
        ({"limit": 0.0}, "limit: 0.0 is not valid; expected a number above 0"),
    ],
)
def test_every_field_is_checked_and_named(changes, message):
    with pytest.raises(InputError) as error:
        replace(Pulse(), **changes)
    assert str(error.value) == message


def test_a_new_field_is_an_option_a_check_a_row_and_a_line_of_the_docstring():
    delay = ("delay", int, setting(3, "Time until the light goes on", unit="s", at_least=0, at_most=9))
    longer = checked(make_dataclass("Longer", [delay], bases=(Pulse,), frozen=True, namespace={"__doc__": "A pulse."}))
    assert "delay=4" in printed(longer, "--delay", "4").stdout
    assert "--delay INTEGER Time until the light goes on, in s. [default: 3]" in " ".join(
        printed(longer, "--help").stdout.split()
    )
    with pytest.raises(InputError, match="delay: 10 is not valid; expected a whole number from 0 to 9, in s"):
        longer(delay=10)
    assert field_rows(longer)[-1] == ("delay", "Time until the light goes on, in s.", "whole number from 0 to 9", "3")
    assert "delay : <class 'int'>, default 3\n    Time until the light goes on, in s." in longer.__doc__


def test_the_tables_of_settings_are_those_of_the_fields():
    specification = importlib.util.spec_from_file_location("settings_table", DOCS / "settings_table.py")
    script = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(script)
    page = (DOCS / "formats.md").read_text(encoding="utf-8")
    assert script.with_tables(page) == page, "a setting has changed: python docs/settings_table.py"
