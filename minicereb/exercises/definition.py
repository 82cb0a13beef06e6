"""Exercises: each has a statement, a stub to fill in, cases on which answers are tested, and known mistakes."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minicereb.calculus.equations import equation
from minicereb.diagnosis.calls import Elsewhere, Function
from minicereb.diagnosis.diagnose import diagnose
from minicereb.diagnosis.hints import Case, Diagnosis, Hint, Mistake, Task
from minicereb.randomness import generator

SQUARE = (5, 4, 6)  # the length of every axis in the cases whose axes are equally long


def mistakes(*rows: tuple[str, str, Any], of: Callable[..., Any] | None = None) -> list[Mistake]:
    """Return known mistakes, given as rows of code, sentence and wrong function.

    `of`, if given, makes the wrong function from a row's last entry.
    """
    return [Mistake(code, text, function if of is None else of(function)) for code, text, function in rows]


def mistakes_of(
    formula: Callable[..., Callable[..., Any]],
    right: tuple[Callable[..., Any], Callable[..., Any]],
    first: Sequence[Mistake],
    second: Sequence[Mistake],
) -> list[Mistake]:
    """Return mistakes in a function that `formula` builds from two parts; one part or both are wrong.

    `right` holds the two right parts, `first` wrong versions of the first part, and `second` wrong versions of the second part.
    """
    made = [each._replace(function=formula(each.function, right[1])) for each in first]
    made += [each._replace(function=formula(right[0], each.function)) for each in second]
    for one in first:
        for two in second:
            code, text = f"{one.code}; {two.code}", f"{one.text}; and {two.text}"
            made.append(Mistake(code, text, formula(one.function, two.function)))
    return made


@dataclass(frozen=True)
class Exercise:
    """An exercise: one function to write.

    Parameters
    ----------
    name, title : str
    tags : tuple of str
        Tags of the exercise's equations.
    signature : str
        ``name(parameters)`` of the function.
    statement : str
        What to compute.
    parameters : dict
        Descriptions of the parameters, keyed by ``name : type`` as in numpydoc; empty where the type is enough.
    returns : tuple of str
        Type and description of the function's result.
    task : Task
    draw : callable
        Takes a random generator and a value for each entry of `sizes` and `numbers`; returns the arguments of the function.
    sizes : dict
        For each axis, its lengths in the ordinary cases. In the other cases, the square cases, all axes have the same length.
    numbers : dict
        For each number that `draw` takes and that is not the length of an axis: its values in the ordinary cases, followed by its
        values in the square cases. A list with too few values is repeated.
    special : dict
        Arguments of special cases; each key is the hint for an answer that is wrong there. Lists become arrays of floats.
    points : int
        Points for a right answer, unless a course sets others.
    """

    name: str
    title: str
    tags: tuple[str, ...]
    signature: str
    statement: str
    parameters: Mapping[str, str]
    returns: tuple[str, str]
    task: Task
    draw: Callable[..., tuple[Any, ...]]
    sizes: Mapping[str, tuple[int, ...]]
    numbers: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    special: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    points: int = 1

    @property
    def file_name(self) -> str:
        """Name of the file to hand in."""
        return f"{self.name.replace('-', '_')}.py"

    @property
    def function(self) -> str:
        """Name of the function to define."""
        return self.signature.split("(")[0]

    def _case(self, arguments: tuple[Any, ...], sizes: Mapping[str, int], note: str = "") -> Case:
        names = self.signature.split("(")[1].rstrip(")").split(", ")
        arrays = (np.array(value, dtype=np.float64) if isinstance(value, list) else value for value in arguments)
        return Case(dict(zip(names, arrays, strict=True)), sizes, note)

    def _drawn(self, number: int, sizes: dict[str, int]) -> Case:
        numbers = {name: values[number % len(values)] for name, values in self.numbers.items()}
        arguments = self.draw(generator(number, f"exercise {self.name}"), **sizes, **numbers)
        return self._case(arguments, {name.replace("_", " "): length for name, length in sizes.items()})

    def cases(self) -> list[Case]:
        """Return the ordinary cases; they are the same in every call."""
        rows = zip(*self.sizes.values(), strict=True)
        return [self._drawn(number, dict(zip(self.sizes, row, strict=True))) for number, row in enumerate(rows)]

    def square_cases(self) -> list[Case]:
        """Return cases whose axes all have the same length, so that a wrongly transposed array does not raise an error."""
        ordinary = len(next(iter(self.sizes.values())))
        return [self._drawn(ordinary + number, dict.fromkeys(self.sizes, length)) for number, length in enumerate(SQUARE)]

    def check(self, function: Function) -> Diagnosis:
        """Check a function: return whether it solves the exercise and, if not, what is wrong with it."""
        if not isinstance(function, Elsewhere) and not callable(function):
            return Diagnosis(False, (Hint("no function", f"{self.function} is not a function, but {type(function).__name__}"),))
        special = [self._case(arguments, {}, note) for note, arguments in self.special.items()]
        return diagnose(function, self.task, self.cases(), special, self.square_cases())

    def equations(self) -> list[str]:
        """Return the equations, one line each, with their tags."""
        return [f"[{tag}]  {equation(tag).formula}    ({equation(tag).symbols})" for tag in self.tags]

    def stub(self) -> str:
        """Return the file to complete: statement, equations, and an empty function."""
        lines = [self.title, "", *textwrap.wrap(self.statement, 96), ""]
        lines += [f"    {line}" for entry in self.equations() for line in textwrap.wrap(entry, 92, subsequent_indent="    ")]
        lines += ["", f"Check it with: minicereb exercise check {self.file_name}"]
        sections = [self.title + ".", "", "Parameters", "----------"]
        sections += [line for name, text in self.parameters.items() for line in (name, *([f"    {text}"] if text else []))]
        sections += ["", "Returns", "-------", self.returns[0], f"    {self.returns[1]}"]
        text, described = "\n".join(lines).replace("\\", "\\\\"), textwrap.indent("\n".join(sections), "    ").lstrip()
        return (
            f'"""{text}\n"""\n\nimport numpy as np\n\n\ndef {self.signature}:\n    """{described}\n    """\n'
            '    raise NotImplementedError("write this function")\n'
        )
