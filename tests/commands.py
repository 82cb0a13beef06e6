"""Commands run in this process: what they print, and the one line in which they refuse something."""

import json

from click.testing import CliRunner

from minicereb.cli.main import main


def invoke(*arguments, **settings):
    """The result of a command line; `settings` are those of :meth:`click.testing.CliRunner.invoke`."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments], **settings)


def succeed(*arguments):
    """The result of a command that ends with code 0."""
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    return result


def document(*arguments):
    """What a command prints with ``--json``."""
    return json.loads(succeed(*arguments, "--json").stdout)


def refused(*arguments):
    """The one line on standard error with which a command ends that prints nothing else, with code 2."""
    result = invoke(*arguments)
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    (line,) = result.stderr.splitlines()
    return line
