"""What an exercise consists of: a statement, a stub to fill in, cases to test answers on, and known mistakes."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minicereb.calculus.equations import equation
from minicereb.diagnosis.calls import Elsewhere, Function
from minicereb.diagnosis.diagnose import diagnose
from minicereb.diagnosis.hints import Case, Diagnosis, Hint, Mistake, Task
from minicereb.randomness import generator

ORDINARY = 4  # cases, of differing sizes and numbers; those after them are square


def mistakes(*rows: tuple[str, str, Callable[..., Any]]) -> list[Mistake]:
    """Return known mistakes from rows of code, sentence and wrong function."""
    return [Mistake(*row) for row in rows]


def mistakes_of(
    formula: Callable[..., Callable[..., Any]],
    right: tuple[Callable[..., Any], Callable[..., Any]],
    first: Sequence[Mistake],
    second: Sequence[Mistake],
) -> list[Mistake]:
    """Return the mistakes of a formula with two ingredients: one of them wrong, then both.

    Parameters
    ----------
    formula : callable
        From both ingredients to the function that is made of them.
    right : tuple of callable
        The right ingredients.
    first, second : sequence of Mistake
        Wrong ingredients for each.
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
    """One function to write.

    Parameters
    ----------
    name : str
        As in ``minicereb exercise start NAME``; its file is named likewise, with underscores.
    title : str
        In a few words.
    tags : tuple of str
        Of the equations it is about.
    signature : str
        Of the function, ``name(parameters)``.
    statement : str
        What to compute.
    parameters : str
        The docstring's sections: parameters and what is returned.
    task : Task
    draw : callable
        From a generator and the number of a case to a case; from number 4 on its axes are equally long.
    special : tuple of Case
        Each with a note.
    """

    name: str
    title: str
    tags: tuple[str, ...]
    signature: str
    statement: str
    parameters: str
    task: Task
    draw: Callable[[np.random.Generator, int], Case]
    special: tuple[Case, ...] = field(default=())

    @property
    def file_name(self) -> str:
        """Of a submission."""
        return f"{self.name.replace('-', '_')}.py"

    @property
    def function(self) -> str:
        """The name of the function that a submission defines."""
        return self.signature.split("(")[0]

    def cases(self) -> list[Case]:
        """The ordinary cases; the same in every call."""
        return [self.draw(generator(number, f"exercise {self.name}"), number) for number in range(ORDINARY)]

    def square_cases(self) -> list[Case]:
        """Cases in which all axes are equally long, so that what is transposed by mistake still gives numbers."""
        return [self.draw(generator(number, f"exercise {self.name}"), number) for number in range(ORDINARY, ORDINARY + 3)]

    def check(self, function: Function) -> Diagnosis:
        """Say whether a function solves the exercise, and if not, what is wrong with it."""
        if not isinstance(function, Elsewhere) and not callable(function):
            return Diagnosis(False, (Hint("no function", f"{self.function} is no function, but {type(function).__name__}"),))
        return diagnose(function, self.task, self.cases(), self.special, self.square_cases())

    def equations(self) -> list[str]:
        """The equations, each a line with its tag."""
        return [f"[{tag}]  {equation(tag).formula}    ({equation(tag).symbols})" for tag in self.tags]

    def stub(self) -> str:
        """The file to fill in: statement, equation, and a function that does nothing yet."""
        lines = [self.title, "", *textwrap.wrap(self.statement, 96), ""]
        lines += [f"    {line}" for entry in self.equations() for line in textwrap.wrap(entry, 92, subsequent_indent="    ")]
        lines += ["", f"Check it with: minicereb exercise check {self.file_name}"]
        parameters = textwrap.indent(textwrap.dedent(self.parameters).strip(), "    ")
        text = "\n".join(lines).replace("\\", "\\\\")
        return (
            f'"""{text}\n"""\n\nimport numpy as np\n\n\ndef {self.signature}:\n    """{self.title}.\n\n{parameters}\n    """\n'
            '    raise NotImplementedError("write this function")\n'
        )
