"""Settings declared once: a field carries its default, help, choices, bounds and unit.

A field's validation, the option of the commands (:mod:`minicereb.cli.options`), its row in docs/formats.md and its entry
in the docstring all come from this declaration::

    @checked
    @dataclass(frozen=True)
    class Pulse:
        \"\"\"A pulse of light.\"\"\"

        duration: int = setting(20, "How long the light is on", unit="ms", at_least=1)
        shape: str = setting("square", "How the light rises and falls.", choices=("square", "ramp"))

Rules about several fields are in the class's own ``__post_init__``, which runs after every field has been checked.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple, TypeVar, Union

import numpy as np

from minicereb.documents import Mismatch, Seed, Shape, check
from minicereb.errors import InputError

Class = TypeVar("Class", bound=type)
Choices = Collection[str] | Callable[[], Collection[str]]


class Setting(NamedTuple):
    """The properties that a field declares besides its type and default.

    Attributes
    ----------
    help : str
        One sentence, shown in ``--help``, in docs/formats.md and in the docstring.
    choices : collection of str, or a function that returns one
        The values to choose from.
    at_least, above, at_most, below, multiple_of : float, optional
        Bounds. Like `choices`, the bounds apply to each item of a tuple but not to None.
    unit : str
        For example ``"ms"``.
    expected : str
        Description of a valid value for the error message, if the bounds do not explain it.
    usual : str
        Meaning of the default None.
    option : str
        Name of the option, also used in error messages, if it differs from the field's name.
    off : str
        Name of the option that switches a flag off, if it is not ``no-`` followed by the name.
    """

    help: str = ""
    choices: Choices | None = None
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    multiple_of: int | None = None
    unit: str = ""
    expected: str = ""
    usual: str = ""
    option: str = ""
    off: str = ""

    @property
    def names(self) -> list[str]:
        """The values to choose from; empty if every value within the bounds is valid."""
        choices = self.choices() if callable(self.choices) else self.choices
        return list(choices or ())

    @property
    def text(self) -> str:
        """The help as a sentence that includes the unit."""
        return f"{self.help.removesuffix('.')}{f', in {self.unit}' if self.unit else ''}." if self.help else ""

    def accepts(self, value: Any) -> bool:
        """Return whether a value of the right type is one of the choices and within the bounds."""
        if self.choices is not None:
            return value in self.names
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
            and (self.multiple_of is None or value % self.multiple_of == 0)
        )

    def bounds(self) -> str:
        """Return the bounds in words that can follow "a number"; empty without bounds."""
        low, high = self.at_least if self.above is None else self.above, self.at_most if self.below is None else self.below
        if low is None:
            words = "" if high is None else f"{'at most' if self.below is None else 'below'} {_number(high)}"
        elif high is None:
            words = f"{'of at least' if self.above is None else 'above'} {_number(low)}"
        elif self.above is None:
            words = f"from {_number(low)} to {'less than ' if self.below is not None else ''}{_number(high)}"
        else:
            words = f"above {_number(low)} and {'at most' if self.below is None else 'below'} {_number(high)}"
        return ", ".join(filter(None, (words, f"a multiple of {self.multiple_of}" if self.multiple_of else "")))

    def wanted(self, shape: Shape) -> str:
        """Return the description of a valid value of this shape, for an error message."""
        if self.expected or self.choices is not None:
            return self.expected or (" or " if len(self.names) == 2 else ", ").join(self.names)
        return f"{_kind_in_words(shape)} {self.bounds()}{f', in {self.unit}' if self.unit else ''}"

    def check(self, name: str, value: Any, shape: Shape) -> None:
        """Raise :class:`InputError` unless a value is valid and has the right shape; `name` is the setting's name in errors."""
        try:
            check(value, shape)
        except Mismatch as error:
            path = error.within(name.replace("-", "_")).path.replace("_", "-")
            raise InputError(path, error.value, error.expected) from None
        wrong = next((item for item in _items(value) if not self.accepts(item)), None)
        if wrong is not None:
            shown = wrong if self.choices is not None else list(value) if isinstance(value, tuple) else value
            raise InputError(name, shown, self.wanted(shape))


def setting(default: Any = dataclasses.MISSING, help: str = "", **about: Any) -> Any:
    """Declare a field of a dataclass of settings; a field without a default is required.

    The keywords are the fields of :class:`Setting`, and ``added=True`` or ``identity=False``
    (:mod:`minicereb.experiments.identity`).
    """
    metadata = {name: about.pop(name) for name in about.keys() - Setting._fields}
    return field_of(Setting(help, **about), default, **metadata)


def field_of(about: Setting, default: Any = dataclasses.MISSING, **metadata: Any) -> Any:
    """Declare a field with a description that several classes share; see :func:`setting`."""
    return dataclasses.field(default=default, metadata={"setting": about, **metadata})


def declared(field: dataclasses.Field) -> Setting:
    """Return the :class:`Setting` of a field; it is empty for a plain field."""
    return field.metadata.get("setting", Setting())


def option_name(field: dataclasses.Field) -> str:
    """Return the name of a field on the command line and in error messages."""
    return (declared(field).option or field.name).replace("_", "-")


def checked(cls: Class) -> Class:
    """Make a frozen dataclass of settings check its fields when it is created, before its own ``__post_init__``.

    NumPy numbers become Python numbers. A whole number must fit into 64 bits, unless the field is named ``seed``. An
    :class:`InputError` names the option. Fields with a help text are added to the docstring.
    """
    init, rules = cls.__init__, cls.__dict__.get("__post_init__")  # type: ignore[misc]
    if "checks_fields" in cls.__dict__:
        return cls

    def post_init(self: Any) -> None:
        for field, shape in _fields(cls):
            _check_field(self, field, shape)
        if rules is not None:
            rules(self)

    @functools.wraps(init)
    def init_without_rules(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        post_init(self)

    if rules is None:  # then the dataclass does not call this function
        cls.__init__ = init_without_rules  # type: ignore[misc]
    else:
        cls.__post_init__ = post_init  # type: ignore[attr-defined]
    cls.checks_fields = True  # type: ignore[attr-defined]
    if any(declared(field).help for field in dataclasses.fields(cls)):
        cls.__doc__ = f"{inspect.cleandoc(cls.__doc__ or '')}\n\nParameters\n----------\n{_parameters(cls)}"
    return cls


def _check_field(settings: Any, field: dataclasses.Field, shape: Shape) -> None:
    value = getattr(settings, field.name)
    if isinstance(value, np.generic):  # a number from an array; JSON can only hold Python numbers
        value = value.item()
        object.__setattr__(settings, field.name, value)
    declared(field).check(option_name(field), value, shape)


def _items(value: Any) -> Iterator[Any]:
    """Yield the numbers and words in a value; tuples may nest."""
    if isinstance(value, tuple):
        for item in value:
            yield from _items(item)
    elif value is not None:
        yield value


@functools.cache
def _fields(cls: type) -> list[tuple[dataclasses.Field, Shape]]:
    shapes = field_shapes(cls)
    return [(field, shapes[field.name]) for field in dataclasses.fields(cls)]


@functools.cache
def field_shapes(cls: type) -> dict[str, Shape]:
    """Return the shape of each field of a dataclass of settings; see :mod:`minicereb.documents`."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {field.name: Seed if field.name == "seed" else hints[field.name] for field in dataclasses.fields(cls)}


def members(shape: Shape) -> Iterator[Shape]:
    """Yield the members of a union; for any other shape, the shape itself."""
    yield from typing.get_args(shape) if typing.get_origin(shape) in (Union, types.UnionType) else (shape,)


def innermost(shape: Shape) -> Any:
    """Return the type of a tuple's items, of an optional field's value, or of an annotated number; any other type unchanged."""
    of = next((each for each in members(shape) if each is not type(None)), None)
    return innermost(typing.get_args(of)[0]) if typing.get_origin(of) is not None else of


def _kind_in_words(shape: Shape) -> str:
    number = "whole number" if innermost(shape) is int else "number"
    return f"{number}s" if any(typing.get_origin(each) is tuple for each in members(shape)) else f"a {number}"


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


# -- documentation -----------------------------------------------------------------------------------------------------------


def _parameters(cls: type) -> str:
    """Return the descriptions of a class's fields in the style of numpydoc."""
    lines = []
    for field in dataclasses.fields(cls):
        about = declared(field)
        named = about.choices is not None and not callable(about.choices)
        kind = f"{{{', '.join(map(repr, about.names))}}}" if named else str(field.type).replace(" | ", " or ")
        default = "" if field.default is dataclasses.MISSING else f", default {about.usual or repr(field.default)}"
        lines.append(f"{field.name} : {kind}{default}")
        lines += [f"    {about.text}"] if about.help else []
    return "\n".join(lines)


def field_rows(cls: type) -> list[tuple[str, str, str, str]]:
    """Return name, meaning, values and default of each field, for a table in Markdown."""
    rows = []
    for field, shape in _fields(cls):
        about = declared(field)
        default = "" if field.default is dataclasses.MISSING else about.usual or _json_text(field.default)
        rows.append((field.name, about.text, _values(shape, about), default))
    return rows


def _values(shape: Shape, about: Setting) -> str:
    """Return the possible values of a field in a JSON file, in words."""
    each, null = innermost(shape), type(None) in members(shape)
    listed = any(typing.get_origin(part) is tuple for part in members(shape))
    kinds: list[Any] = [part for part in (*members(shape), each) if dataclasses.is_dataclass(part)]
    if about.choices is not None:
        words = ", ".join(f"`{name}`" for name in about.names)
    elif kinds:
        words = " or ".join(dict.fromkeys(f"`{part.__name__}`" for part in kinds))
    else:
        name = {int: "whole number", float: "number", str: "text", bool: "true or false"}[each]
        words = " ".join(filter(None, (f"{name}s" if listed and name.endswith("number") else name, about.bounds())))
    return f"{'list of ' if listed else ''}{words}{', or null' if null else ''}"


def _json_text(value: Any) -> str:
    if dataclasses.is_dataclass(value):
        return f"`{type(value).__name__}`"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_json_text, value))}]"
    if isinstance(value, float):
        return f"{value:g}"
    return {True: "true", False: "false", None: "null"}[value] if isinstance(value, bool | None) else str(value)
