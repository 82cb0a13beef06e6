"""The errors a user can cause, each told in one line that says what would be right."""


class MinicerebError(Exception):
    """An error with a message meant for the person at the keyboard; commands exit with code 2."""


class InputError(MinicerebError):
    """A setting has a value that cannot be used.

    Parameters
    ----------
    setting : str
        Name of the setting as the user wrote it, for example ``"epsilon"``.
    value : object
        The value that was given.
    expected : str
        What would be right, for example ``"a number of at least 0"``.
    """

    def __init__(self, setting: str, value: object, expected: str):
        super().__init__(f"{setting}: {value!r} is not valid; expected {expected}")
        self.setting, self.value, self.expected = setting, value, expected


class DataError(MinicerebError):
    """A file holds something other than it should: truncated, altered, or of another kind."""


class DeviceError(MinicerebError):
    """The device that was asked for cannot be used; the message says why."""


class RunError(MinicerebError):
    """A run folder is missing, belongs to other settings, or is in use."""


class InUseError(RunError):
    """Another process is at work on the same thing; a study waits for it."""


def require(condition: bool, setting: str, value: object, expected: str) -> None:
    """Raise :class:`InputError` unless `condition` holds."""
    if not condition:
        raise InputError(setting, value, expected)
