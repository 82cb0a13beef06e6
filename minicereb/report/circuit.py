"""The picture of the circuit as SVG: the cerebellum's cells above, and below them the equations that they compute."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from minicereb.randomness import generator

__all__ = ["circuit", "element"]

WIDTH, HEIGHT = 960, 560
COLOURS = {  # on a light and on a dark page; colour-blind readers can tell them apart
    "ink": ("#1b1b1b", "#ececec"),
    "quiet": ("#5c5c5c", "#a9adb1"),
    "page": ("#ffffff", "#16181a"),
    "mossy": ("#0072b2", "#56b4e9"),
    "granule": ("#3d3d3d", "#c9cdd1"),
    "purkinje": ("#7a3e9d", "#cc9be8"),
    "climbing": ("#c24a00", "#ff9a52"),
}
SANS, SERIF = "system-ui,'Segoe UI',Roboto,'Noto Sans',sans-serif", "'STIX Two Text','Cambria Math',Georgia,'DejaVu Serif',serif"
FONTS = (
    f"text{{font:16px {SANS}}}.symbol{{font:italic 21px {SERIF}}}.small{{font-size:13.5px}}.upright{{font-style:normal}}"
    f".mean{{font:italic 17px {SERIF}}}.middle{{text-anchor:middle}}path,line{{fill:none;stroke-linecap:round}}"
)
WORDS = (
    "Mossy fibres carry the image x to granule cells through the fixed projection J. Their activity h, less its running mean μ, "
    "runs along parallel fibres to the Purkinje cells, whose synapses W learn. A climbing fibre from the inferior olive brings "
    "each Purkinje cell its error e."
)
THREE = ("0111110", "1100011", "0000011", "0011110", "0000011", "1100011", "0111110")  # the image, a digit of 7 by 7 pixels
PIXEL, LEFT, TOP = 16, 40, 132  # size of a pixel, corner of the image
CELLS = tuple(range(80, 309, 38))  # heights of the granule cells
# horizontal positions: granule cells, LTD, Purkinje cells, inferior olive
CELL, MEAN, TREES, OLIVE = 300, 430, (560, 640, 720), 850
SOMA, AXON = 362, 424  # heights of the Purkinje cells' bodies and of the ends of their axons


def circuit(
    pixels: int = 784, cells: int | None = None, inputs_per_cell: int | None = 4, classes: int = 10, theme: str = "auto"
) -> str:
    """Draw the circuit of the cerebellum paper.

    Parameters
    ----------
    pixels, classes : int
        Sizes of the input and of the output.
    cells : int or None
        Number of granule cells; with None the picture shows the letter m.
    inputs_per_cell : int or None
        Number k of inputs of each granule cell; None for full wiring.
    theme : {"auto", "light", "dark"}
        Whether the colours follow the reader's system (``"auto"``), or suit a light or a dark page.

    Returns
    -------
    str
        An SVG document that loads no other files.
    """
    wiring = "full wiring" if inputs_per_cell is None else f"k = {inputs_per_cell} inputs per cell"
    equations = (
        (96, "mossy", "x", "image", f"{pixels:,} pixels"),
        (
            280,
            "granule",
            'h = <tspan class="upright">max</tspan>(Jᵀx, 0)',
            f"J fixed, {wiring}",
            "m cells" if cells is None else f"{cells:,} cells",
        ),
        (468, "granule", "z = h − μ", "centred activity", "μ: moving average of h"),
        (640, "purkinje", "ŷ = Wᵀz", "readout", f"{classes:,} classes"),
        (838, "climbing", "e = ŷ − y", "error", "the delta rule: ΔW = −η z eᵀ"),
    )
    title = element("title", "The simulated cerebellum", id="circuit-title")
    words = element("desc", WORDS, id="circuit-words")
    page = element("rect", width=WIDTH, height=HEIGHT, class_="fill-page")
    parts = (title, words, element("style", _style(theme)), page, *_fibres(), *_purkinje_cells(), *_labels(), *_under(equations))
    size = {"viewBox": f"0 0 {WIDTH} {HEIGHT}", "width": WIDTH, "height": HEIGHT}
    seen = {"role": "img", "aria-labelledby": "circuit-title circuit-words"}
    return element("svg", "\n".join(parts), xmlns="http://www.w3.org/2000/svg", **size, **seen) + "\n"


def element(name: str, content: str = "", **attributes: object) -> str:
    """Return an element of SVG; underscores in an attribute's name become hyphens, except that a final one is dropped."""
    written = "".join(f' {key.rstrip("_").replace("_", "-")}="{value}"' for key, value in attributes.items())
    return f"<{name}{written}>{content}</{name}>" if content else f"<{name}{written}/>"


def _style(theme: str) -> str:
    light, dark = (
        "".join(f".{name}{{stroke:{pair[n]}}}.fill-{name}{{fill:{pair[n]}}}" for name, pair in COLOURS.items()) for n in range(2)
    )
    colours = {"light": light, "dark": dark, "auto": f"{light}@media(prefers-color-scheme:dark){{{dark}}}"}
    return FONTS + colours[theme]


def _fibres() -> Iterator[str]:
    """Draw the image, the mossy fibres, the granule cells and the parallel fibres."""
    lit = np.array([[pixel == "1" for pixel in row] for row in THREE])
    for row, column in np.ndindex(lit.shape):
        corner = {"x": LEFT + PIXEL * column, "y": TOP + PIXEL * row}
        ink = "fill-mossy quiet" if lit[row, column] else "fill-page quiet"
        yield element("rect", **corner, width=PIXEL, height=PIXEL, class_=ink, stroke_width=0.6)
    rng = generator(0, "fibres of a picture")
    for y in CELLS:
        for row, column in rng.integers(7, size=(4, 2)):
            width, opacity = (1.8, 0.85) if lit[row, column] else (1, 0.4)
            begin = TOP + PIXEL * (row + 0.5)
            path = f"M{LEFT + PIXEL * (column + 0.5)} {begin}C{CELL - 110} {begin} {CELL - 70} {y} {CELL - 9} {y}"
            yield element("path", d=path, class_="mossy", stroke_width=width, opacity=opacity)
    for cell, y in enumerate(CELLS):
        fires = cell not in (2, 5)
        yield element("line", x1=CELL, y1=y, x2=TREES[-1] + 40, y2=y, class_="granule", stroke_width=1.6 if fires else 0.8)
        ink = f"granule {'fill-granule' if fires else 'fill-page'}"
        yield element("circle", cx=CELL, cy=y, r=9, class_=ink, stroke_width=1.6)
    yield element("line", x1=MEAN, y1=64, x2=MEAN, y2=324, class_="quiet", stroke_width=1.4, stroke_dasharray="3 5")


def _purkinje_cells() -> Iterator[str]:
    """Draw the Purkinje cells with their synapses, and the climbing fibres from the inferior olive."""
    rng = generator(0, "synapses of a picture")
    for tree, low in zip(TREES, (338, 330, 322), strict=True):
        yield element("line", x1=tree, y1=62, x2=tree, y2=AXON, class_="purkinje", stroke_width=4)
        yield element("circle", cx=tree, cy=SOMA, r=15, class_="fill-purkinje")
        arrow = f"M{tree - 6} {AXON - 8}L{tree} {AXON + 2}L{tree + 6} {AXON - 8}"
        yield element("path", d=arrow, class_="purkinje", stroke_width=3)
        climb = f"M{OLIVE} {low}L{tree + 36} {low}Q{tree + 9} {low} {tree + 7} {CELLS[-1] + 16}"
        waves = "".join(f"Q{tree + 2 + 12 * (n % 2)} {y + 19} {tree + 7} {y}" for n, y in enumerate(reversed(CELLS)))
        yield element("path", d=climb + waves, class_="climbing", stroke_width=1.8)
        for y, weight in zip(CELLS, rng.normal(size=len(CELLS)), strict=True):
            ink = f"purkinje {'fill-purkinje' if weight > 0 else 'fill-page'}"
            yield element("circle", cx=tree, cy=y, r=round(3 + 2.2 * min(abs(weight), 1.6), 1), class_=ink, stroke_width=1.8)
    yield element("ellipse", cx=OLIVE, cy=330, rx=34, ry=20, class_="fill-climbing")


def _labels() -> Iterator[str]:
    """Write the names of the parts beside them."""
    for x, y, ink, words in (
        (LEFT + 56, TOP - 16, "mossy", "mossy fibres"),
        (CELL, 44, "granule", "granule cells"),
        (MEAN + 5, 44, "granule", "parallel fibres"),
        (TREES[1], 44, "purkinje", "Purkinje cells"),
        (OLIVE + 8, 300, "climbing", "inferior olive"),
        (OLIVE - 44, 252, "climbing", "climbing fibres"),
        (CELL, 346, "quiet small", "○ silent"),
        (MEAN, 346, "quiet small", "long-term depression"),
        (MEAN, 364, "quiet small", 'subtracts the mean <tspan class="mean">μ</tspan>'),
        (OLIVE + 2, CELLS[0] + 5, "quiet small", "synapses: ● &gt; 0, ○ &lt; 0"),
        (LEFT - 18, TOP + 62, "mossy symbol", "x"),
        (CELL - 92, 76, "mossy symbol", "J"),
        (CELL + 50, 74, "granule symbol", "h"),
        (MEAN + 66, 74, "granule symbol", "z"),
        (TREES[-1] + 26, 108, "purkinje symbol", "W"),
        (TREES[1] + 26, SOMA + 54, "purkinje symbol", "ŷ"),
        (OLIVE, 337, "page symbol", "e"),
    ):
        yield element("text", words, x=x, y=y, class_=f"middle fill-{ink}")


def _under(equations: tuple[tuple[int, str, str, str, str], ...]) -> Iterator[str]:
    """Write below each part what it computes."""
    yield element("line", x1=30, y1=458, x2=WIDTH - 30, y2=458, class_="quiet", stroke_width=0.8)
    for x, ink, formula, *words in equations:
        yield element("text", formula, x=x, y=492, class_=f"symbol middle fill-{ink}")
        for n, line in enumerate(words):
            yield element("text", line, x=x, y=517 + 19 * n, class_="small middle fill-quiet")
