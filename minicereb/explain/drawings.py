"""The pictures of an explanation: their content, and how a page draws it."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass, field
from html import escape

import numpy as np

from minicereb.report.circuit import element
from minicereb.report.figures import curves, svg
from minicereb.report.image_sheets import ABOVE, BELOW, signed

EDGE = (128, 128, 128, 64)  # colour of places without a number
MOST_BARS = 16
LEFT, WIDTH = 36, 100  # of bars: space for the class names, and the length of the longest bar


@dataclass(frozen=True, eq=False)
class Image:
    """An image of floats in [0, 1], shape (height, width) or (height, width, 3). A single row is folded into a square."""

    name: str
    pixels: np.ndarray

    def html(self) -> str:
        """Return the image as HTML."""
        pixels = np.nan_to_num(grid(self.pixels[0])) if len(self.pixels) == 1 else self.pixels
        pixels = pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)
        return _image(self.name, np.rint(255 * pixels).astype(np.uint8))


@dataclass(frozen=True, eq=False)
class Map:
    """Numbers as coloured squares: orange above 0, blue below, transparent at 0.

    `values` has the shape (height, width) or (height, width, channels), or is one row of numbers, which is folded into a
    square. Numbers of absolute value `full`, by default the largest, have the full colour.
    """

    name: str
    values: np.ndarray
    full: float = 0.0

    def html(self) -> str:
        """Return the map as HTML."""
        values = grid(np.asarray(self.values, dtype=np.float64))
        full = self.full or float(np.nanmax(np.abs(values), initial=0.0))
        colours = signed(np.nan_to_num(values), full)
        colours[np.isnan(values)] = EDGE
        return _image(self.name, colours, f"full colour: {full:.3g}")


@dataclass(frozen=True, eq=False)
class Bars:
    """A bar for each class's value, orange above 0 and blue below. The earlier values `before` are drawn as outlines.

    The right class is marked, and the largest value is printed in bold. If there are many classes, only the right one and those
    with the largest values are shown.
    """

    name: str
    values: np.ndarray
    label: int
    before: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.float64))

    def html(self) -> str:
        """Return the bars as HTML."""
        every = np.concatenate([self.values, self.before])
        low, high = min(0.0, float(every.min())), max(0.0, float(every.max()))
        scale = WIDTH / ((high - low) or 1.0)
        shown = sorted({self.label, *np.argsort(-self.values, kind="stable")[:MOST_BARS].tolist()})
        answer, parts = int(self.values.argmax()), []

        def bar(row: int, value: float, style: str) -> str:
            begin, length = LEFT + (min(value, 0.0) - low) * scale, abs(value) * scale
            return element("rect", x=round(begin, 1), y=20 * row + 3, width=round(length, 1), height=14, class_=style)

        for row, c in enumerate(shown):
            value, strong = float(self.values[c]), "strong" if c == answer else ""
            parts.append(element("text", f"{c}{' ✓' if c == self.label else ''}", x=4, y=20 * row + 15, class_=strong))
            parts.append(bar(row, value, "above" if value > 0 else "below"))
            if self.before.size:
                parts.append(bar(row, float(self.before[c]), "before"))
            number = f"{value:.3g}".replace("-", "−")
            parts.append(element("text", number, x=LEFT + WIDTH + 6, y=20 * row + 15, class_=strong))
        height, zero = 20 * len(shown), round(LEFT - low * scale, 1)
        parts.append(element("line", x1=zero, x2=zero, y1=0, y2=height, class_="axis"))
        name = self.name if len(shown) == len(self.values) else f"{self.name} ({len(shown)} of {len(self.values)})"
        said = escape(f"{name}: " + ", ".join(f"{c}: {float(self.values[c]):.3g}" for c in shown))
        size = f'viewBox="0 0 {LEFT + WIDTH + 76} {height}"'
        return f'<div class="cell bars"><svg {size} role="img" aria-label="{said}">{"".join(parts)}</svg>{_name(name)}</div>'


@dataclass(frozen=True, eq=False)
class LineChart:
    """A line chart by :func:`minicereb.report.figures.curves`.

    `axes` are its axis labels; the first axis may be logarithmic.
    """

    name: str
    lines: dict[str, tuple[np.ndarray, ...]]
    axes: tuple[str, str]
    logarithmic: bool = False

    def html(self) -> str:
        """Return the lines as HTML."""
        figure = svg(curves([("", self.lines)], *self.axes, logarithmic=self.logarithmic, marked=False))
        return f'<div class="cell lines"><img src="{_address(figure, "svg+xml")}" alt="{escape(self.name)}"></div>'


@dataclass(frozen=True, eq=False)
class Svg:
    """An SVG document that has its own colours."""

    name: str
    content: str

    def html(self) -> str:
        """Return the document as HTML."""
        return f'<div class="cell wide"><img src="{_address(self.content.encode(), "svg+xml")}" alt="{escape(self.name)}"></div>'


Row = list[Image | Map | Bars | LineChart | Svg | str]


@dataclass(frozen=True, eq=False)
class Drawing:
    """A row of pictures with signs between them, such as ``x → h``, and its caption."""

    caption: str
    parts: Row

    def html(self) -> str:
        """Return the row as HTML."""
        drawn = [f'<span class="sign">{escape(part)}</span>' if isinstance(part, str) else part.html() for part in self.parts]
        pictures = sum(not isinstance(part, str) for part in self.parts)
        style = "row few" if pictures <= 3 else "row" if pictures <= 6 else "row many"
        return f'<figure><div class="{style}">{"".join(drawn)}</div><figcaption>{escape(self.caption)}</figcaption></figure>'


def marked(image: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return an image in dimmed grey, with pixels of positive weight in orange and pixels of negative weight in blue.

    Parameters
    ----------
    image : array of shape (height, width) or (height, width, 3)
        The image as floats in [0, 1].
    weights : array of the same number of pixels or channels
        The weights of a pixel's channels are added.
    """
    height, width = image.shape[:2]
    grey = image.reshape(height, width, -1).mean(axis=2)[:, :, None]
    sums = weights.reshape(height, width, -1).sum(axis=2)[:, :, None]
    colours = np.where(sums > 0, np.array(ABOVE) / 255, np.array(BELOW) / 255)
    return np.where(sums != 0, colours, 0.6 * grey)


def grid(values: np.ndarray) -> np.ndarray:
    """Arrange numbers as an image: fold a vector into a square, and put channels side by side. Empty places are NaN."""
    if values.ndim == 1:
        side = math.ceil(math.sqrt(values.size))
        rows = math.ceil(values.size / side)
        return np.concatenate([values, np.full(rows * side - values.size, np.nan)]).reshape(rows, side)
    if values.ndim == 2:
        return values
    height, width, channels = values.shape
    side = math.ceil(math.sqrt(channels))
    sheet = np.full((math.ceil(channels / side) * (height + 1) - 1, side * (width + 1) - 1), np.nan)
    for channel in range(channels):
        row, column = divmod(channel, side)
        top, left = row * (height + 1), column * (width + 1)
        sheet[top : top + height, left : left + width] = values[:, :, channel]
    return sheet


def _image(name: str, pixels: np.ndarray, scale: str = "") -> str:
    from matplotlib.image import imsave  # slow to import, and the text form does not need it

    buffer = io.BytesIO()
    imsave(buffer, pixels, format="png", metadata={"Software": ""})
    address = _address(buffer.getvalue(), "png")
    kind = "cell squares signed" if scale else "cell squares"
    return f'<div class="{kind}"><img src="{address}" alt="{escape(name)}">{_name(name, scale)}</div>'


def _address(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _name(name: str, scale: str = "") -> str:
    return f'<p class="name">{escape(name)}</p>' + (f'<p class="scale">{escape(scale)}</p>' if scale else "")
