"""Conversion of LaTeX equations to MathML, which browsers typeset without a script, a special font or a network."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from unicodedata import normalize

TOKEN = re.compile(r"\\mathrel\{\+\}=|\\(?:begin|end)\{(?:\w+)\}|\\[A-Za-z]+\*?|\\.|\s+|.", re.DOTALL)
LETTERS = {
    **dict(zip(("alpha", "beta", "gamma", "delta", "eta", "theta", "kappa", "lambda", "mu"), "αβγδηθκλμ", strict=True)),
    **dict(zip(("pi", "rho", "sigma", "tau", "varphi", "vartheta", "varepsilon", "epsilon"), "πρστφϑεϵ", strict=True)),
    **dict(zip(("Delta", "Phi", "Lambda", "nabla", "partial", "infty", "top"), "ΔΦΛ∇∂∞⊤", strict=True)),
}
SIGNS = {
    **dict(
        zip(("le", "ge", "ne", "approx", "sim", "leftarrow", "mid", "pm", "cdot", "odot", "oplus"), "≤≥≠≈∼←∣±·⊙⊕", strict=True)
    ),
    **dict(zip(("sum", "prod", "int", "lVert", "rVert", "lvert", "rvert", "#", "{", "}", "to"), "∑∏∫‖‖||#{}→", strict=True)),
}
ACCENTS = {"hat": "\u0302", "bar": "\u0304", "tilde": "\u0303", "dot": "\u0307", "ddot": "\u0308"}  # combining
SPACES = {",": "0.17em", " ": "0.35em", "quad": "1em"}
SPECIAL = {"E": "𝔼", "N": "𝒩"}  # letters in \mathbb and \mathcal
SIZES = {"bigl": "1.2em", "bigr": "1.2em", "Big": "1.8em", "Bigl": "1.8em", "Bigr": "1.8em"}
BELOW = ("max", "min", "sum", "prod", "operatorname*")  # commands whose indices are written below them
FENCES = {"cases": ("{", ""), "bmatrix": ("[", "]")}


def mathml(latex: str) -> list[str]:
    """Convert one equation.

    Parameters
    ----------
    latex : str
        LaTeX as ``equations.txt`` uses it.

    Returns
    -------
    list of str
        One ``<math>`` element for each part: parts are separated by ``\\qquad`` or are the lines of ``gathered``. A page can
        wrap between them.

    Raises
    ------
    ValueError
        If the LaTeX contains a command that this converter does not know.
    """
    reader, parts = _Reader(latex), []
    while reader.peek():
        inside = "".join(reader.row(("\\\\", r"\qquad")))
        if reader.peek():
            reader.take()
        parts.append(f'<math display="block"><mrow>{inside}</mrow></math>')
    return parts


class _Reader:
    """Reads the tokens of an equation one after another."""

    def __init__(self, latex: str) -> None:
        self.tokens = [token for token in TOKEN.findall(latex) if "{gathered}" not in token][::-1]

    def peek(self) -> str:
        """Return the next token that is not a space, without taking it; empty at the end."""
        while self.tokens and self.tokens[-1].isspace():
            self.tokens.pop()
        return self.tokens[-1] if self.tokens else ""

    def take(self) -> str:
        """Take the next token that is not a space."""
        self.peek()
        return self.tokens.pop()

    def row(self, ends: tuple[str, ...]) -> Iterator[str]:
        """Yield the elements up to one of `ends`, which is not taken, or up to the end."""
        while self.peek() not in ("", *ends):
            yield self.scripted()

    def scripted(self) -> str:
        """Read an element with its indices, exponents and primes."""
        name = self.peek().removeprefix("\\")
        base, below, above = self.element(), "", ""
        while self.peek() in ("_", "^", "'"):
            mark = self.take()
            if mark == "_":
                below = self.element()
            else:
                above += "<mo>′</mo>" if mark == "'" else self.element()
        kind, above = ("munder", "mover") if name in BELOW else ("msub", "msup"), above and f"<mrow>{above}</mrow>"
        if below and above:
            tag = "munderover" if name in BELOW else "msubsup"
            return f"<{tag}>{base}{below}{above}</{tag}>"
        tag = kind[bool(above)]
        return f"<{tag}>{base}{below}{above}</{tag}>" if below or above else base

    def element(self) -> str:
        """Read one element: a number, a letter, a sign, a group in braces, or a command with its arguments."""
        token = self.take()
        name = token.removeprefix("\\")
        if token == "{":
            return self._group("}")
        if token == r"\mathrel{+}=":
            return "<mo>+=</mo>"
        if token.startswith(r"\begin"):
            return self._table(token[7:-1])
        if token.isdigit():
            return f"<mn>{self._number(token)}</mn>"
        if token.isalpha() or (token != name and name in LETTERS):
            return f"<mi>{LETTERS.get(name, name)}</mi>"
        if token == name or name in SIGNS:
            sign = {"-": "−", "*": "∗"}.get(name, SIGNS.get(name, name))
            space = ' lspace="0" rspace="0"' if sign in "|‖#/" else ""
            return f'<mo stretchy="false"{space}>{escape(sign)}</mo>'
        return self._command(name)

    def _command(self, name: str) -> str:
        if name in ("frac", "tfrac"):
            fraction = f"<mfrac>{self._argument()}{self._argument()}</mfrac>"
            return fraction if name == "frac" else f'<mstyle displaystyle="false">{fraction}</mstyle>'
        if name == "sqrt":
            return f"<msqrt>{self._argument()}</msqrt>"
        if name in ACCENTS:
            letter = re.sub("<.*?>", "", self._argument())
            return f'<mi style="font-style: italic">{normalize("NFC", letter + ACCENTS[name])}</mi>'
        if name in SIZES:
            sign, size = self.take().removeprefix("\\"), SIZES[name]
            return f'<mo stretchy="true" minsize="{size}" maxsize="{size}">{SIGNS.get(sign, sign)}</mo>'
        if name in SPACES:
            return f'<mspace width="{SPACES[name]}"/>'
        if name in ("mathbb", "mathcal"):
            return f"<mi>{SPECIAL[self._words()]}</mi>"
        if name in ("operatorname", "operatorname*", "mathrm"):
            return f"<mi>{self._words()}</mi>" + ('<mspace width="0.17em"/>' if name == "operatorname" else "")
        if name in ("max", "min", "log", "ln", "exp", "sin", "cos", "arctan"):
            return f"<mi>{name}</mi>"
        if name == "text":
            parts = self._words().replace(" ", "\u00a0").split("$")
            parts = [
                f"<mtext>{escape(part)}</mtext>" if n % 2 == 0 else "".join(_Reader(part).row(())) for n, part in enumerate(parts)
            ]
            return "".join(parts)
        if name == "textstyle":
            return ""
        raise ValueError(f"LaTeX command not known: \\{name}")

    def _argument(self) -> str:
        """Read an argument: a group in braces, or a single token (only one digit of a number)."""
        if self.peek().isdigit():
            return f"<mn>{self.take()}</mn>"
        return self.element()

    def _number(self, digits: str) -> str:
        while self.tokens and (
            self.tokens[-1].isdigit() or (self.tokens[-1] == "." and len(self.tokens) > 1 and self.tokens[-2].isdigit())
        ):
            digits += self.tokens.pop()
        return digits

    def _group(self, end: str) -> str:
        inside = "".join(self.row((end,)))
        self.take()
        return f"<mrow>{inside}</mrow>"

    def _words(self) -> str:
        """Read an argument that is text, with its spaces."""
        self.take()
        words = ""
        while (token := self.tokens.pop()) != "}":
            words += token
        return words

    def _table(self, kind: str) -> str:
        rows: list[list[str]] = [[]]
        end = rf"\end{{{kind}}}"
        while self.peek() != end:
            rows[-1].append("".join(self.row(("&", "\\\\", end))))
            if self.peek() == "&":
                self.take()
            elif self.peek() == "\\\\":
                self.take()
                rows.append([])
        self.take()
        before, after = FENCES[kind]
        body = "".join(f"<mtr>{''.join(f'<mtd>{cell}</mtd>' for cell in row)}</mtr>" for row in rows)
        fence = '<mo stretchy="true">{}</mo>'
        return f"<mrow>{fence.format(before)}<mtable>{body}</mtable>{after and fence.format(after)}</mrow>"
