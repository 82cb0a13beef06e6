"""Functions from the text that a student writes."""

import textwrap

import pytest

from minicereb.exercises.course import EXERCISES


@pytest.fixture
def written():
    """Return the function of an exercise with a body."""

    def build(exercise, body):
        names = {}
        head = "import numpy as np\nfrom scipy.special import ndtr\ncalls = []\n"
        exec(f"{head}def {EXERCISES[exercise].signature}:\n{textwrap.indent(body, '    ')}\n", names)
        return names[EXERCISES[exercise].function]

    return build
