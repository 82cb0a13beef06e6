"""LaTeX of the equations as MathML: every equation is converted, and what a reader sees is in it."""

import re
import unicodedata
from xml.etree import ElementTree

import pytest

from minicereb.calculus.equations import EQUATIONS, equation
from minicereb.report.mathml import mathml


def words(element):
    return "".join("".join(element.itertext()).split())


def shown(latex):
    """The characters of each part, without spaces."""
    return [words(ElementTree.fromstring(part)) for part in mathml(latex)]


@pytest.mark.parametrize("entry", EQUATIONS, ids=lambda entry: entry.tag)
def test_every_equation_is_converted_completely(entry):
    found = unicodedata.normalize("NFD", "".join(shown(entry.latex)))
    assert not re.search(r"[\\_^&$]", found)
    plain = re.sub(r"\\(begin|end)\{\w+\}|\\[A-Za-z]+|\\.", " ", entry.latex)  # letters, digits and words
    for letter in set(re.findall(r"[A-Za-z0-9]", plain)) - set("EN"):
        assert found.count(letter) >= plain.count(letter), letter


def test_a_page_may_wrap_between_the_parts():
    assert shown(equation("C2").latex) == ["z=h−μ,", "ŷ=W⊤z"]
    assert len(mathml(equation("M-BOX").latex)) == 4
    assert len(mathml(equation("M-DELAY").latex)) == 3


def test_fractions_indices_and_exponents_are_where_they_belong():
    (part,) = mathml(r"\frac{\partial l}{\partial W} = z\, e^\top")
    root = ElementTree.fromstring(part)
    assert list(map(words, root.find(".//mfrac"))) == ["∂l", "∂W"]
    assert list(map(words, root.find(".//msup"))) == ["e", "⊤"]
    (part,) = mathml(r"\tfrac12 10^{-12} 0.02 x'_-")
    root = ElementTree.fromstring(part)
    assert [each.text for each in root.iter("mn")] == ["1", "2", "10", "12", "0.02"]
    assert list(map(words, root.find(".//msubsup"))) == ["x", "−", "′"]
    (part,) = mathml(r"\max_{j \ne y} z_j")
    assert list(map(words, ElementTree.fromstring(part).find(".//munder"))) == ["max", "j≠y"]


def test_an_unknown_command_is_named():
    with pytest.raises(ValueError, match=r"\\overbrace"):
        mathml(r"\overbrace{x}")
