"""The errors that a user can cause. Each message is one line that says what is expected."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

Entry = TypeVar("Entry")


class MinicerebError(Exception):
    """An error whose message is meant for the user; commands exit with code 2."""


class InputError(MinicerebError, ValueError):
    """A setting has an invalid value.

    Parameters
    ----------
    setting : str
        Name of the setting as the user wrote it, for example ``"epsilon"``.
    value : object
    expected : str
        Description of a valid value, for example ``"a number of at least 0"``. If the description is a comma-separated list
        of names, the message suggests the most similar one.
    """

    def __init__(self, setting: str, value: object, expected: str):
        names = [part for part in re.split(r", | or |: |one of ", expected) if re.fullmatch(r"[\w.-]+", part)]
        suggestion = did_you_mean(value, names) if isinstance(value, str) and len(names) > 1 else ""
        super().__init__(f"{setting}: {value!r} is not valid; expected {expected}{suggestion}")
        self.setting, self.value, self.expected = setting, value, expected

    def __reduce__(self) -> tuple[type[InputError], tuple[str, object, str]]:
        """Return the parts from which another process can recreate the error."""
        return InputError, (self.setting, self.value, self.expected)


class ArrayError(MinicerebError, ValueError, TypeError):
    """A table of features or its labels cannot be used for learning or prediction; the message says why."""


class NotFittedError(MinicerebError, ValueError, AttributeError):
    """A classifier was used before it was fitted. If scikit-learn is imported, its own error of the same name is raised."""


class DataError(MinicerebError):
    """A file does not have the right content: it is truncated, altered, or of another kind."""


class DeviceError(MinicerebError):
    """The requested device cannot be used; the message says why."""


class RunError(MinicerebError):
    """A run folder is missing, belongs to other settings, or is in use."""


class InUseError(RunError):
    """Another process is working on the same folder; a study waits for it."""


class DataWarning(UserWarning):
    """A warning about a user's data, which remain usable; commands print it as one line."""


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """Return ``"; did you mean 'NAME'?"`` for the name most similar to a mistyped word, or an empty string."""
    from difflib import get_close_matches  # slow to import, and needed only for mistakes

    close = get_close_matches(word, list(names), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def install_command(library: str) -> str:
    """Return the command that installs an optional library, such as ``"numba"``, in the version that minicereb's extras require.

    The command names the library, not an extra, so it works in a checkout and for an installed package.
    """
    from importlib import metadata  # slow to import, and needed only if a package is missing

    try:
        required = metadata.requires("minicereb") or []
    except metadata.PackageNotFoundError:  # imported from a checkout that was not installed
        required = []
    named = (entry.partition(";")[0].strip() for entry in required)
    wanted = next((entry for entry in named if re.match(r"[\w.-]+", entry)[0].lower() == library.lower()), library)  # type: ignore[index]
    return f'python -m pip install "{wanted}"'


class ModelError(MinicerebError):
    """A user's classifier failed, or returned something invalid; the message names the method."""


class NoGradientError(ModelError):
    """A gradient is needed from a classifier that has none."""


class ExtensionError(MinicerebError):
    """An entry point of another package cannot be used; the message names it."""


class InternalError(MinicerebError):
    """A result contradicts a law that holds for every model; this is a bug in minicereb, and must never be hidden."""


def one_line(error: BaseException) -> str:
    """Return an error as one line: its type, and its message without line breaks."""
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def require(condition: bool, setting: str, value: object, expected: str) -> None:
    """Raise :class:`InputError` unless `condition` holds."""
    if not condition:
        raise InputError(setting, value, expected)


def choose(setting: str, name: str, table: Mapping[str, Entry]) -> Entry:
    """Return the entry `name` of a table; if there is none, an :class:`InputError` about `setting` lists the names."""
    require(name in table, setting, name, ", ".join(table))
    return table[name]
