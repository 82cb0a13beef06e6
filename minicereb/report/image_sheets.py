"""Images, weights and attacks as SVG for web pages, in the page's colours, without scripts or other files."""

from __future__ import annotations

import base64
import hashlib
import struct
import zlib
from collections.abc import Iterator, Sequence
from html import escape

import numpy as np

from minicereb.report.figures import COLOURS

__all__ = ["film", "sheet", "signed", "tiles"]

BELOW, ABOVE = (0, 114, 178), (213, 94, 0)  # negative and positive: blue and orange, which colour-blind readers can distinguish
INK = {"page": "currentColor", "light": "#1b1b1b", "dark": "#ececec"}
SECONDS, BEGIN, END = 6.0, 0.08, 0.68  # duration of a film, and the shares of it at which the attack begins and ends
SIZE, GAP, HEIGHT = 92, 18, 150  # in a film: side of an image, space between images, height of a row


def signed(values: np.ndarray, largest: float | None = None) -> np.ndarray:
    """Return values as colours: orange above zero, blue below it, more opaque the larger they are.

    Parameters
    ----------
    values : array, shape (..., height, width)
    largest : float, optional
        The absolute value that is drawn opaque; by default, the largest absolute value.

    Returns
    -------
    array of uint8, shape (..., height, width, 4)
        Red, green, blue, opacity.
    """
    size = np.abs(values).max(initial=0.0) if largest is None else largest
    opacity = np.clip(np.abs(values) / (size or 1.0), 0, 1)
    colours = np.where((values > 0)[..., None], np.array(ABOVE, dtype=np.uint8), np.array(BELOW, dtype=np.uint8))
    return np.concatenate((colours, np.rint(255 * opacity)[..., None].astype(np.uint8)), axis=-1)


def tiles(images: np.ndarray, columns: int) -> np.ndarray:
    """Return images (n, height, width, ...) as one image, in rows of `columns`; the one-pixel gaps between them are zero."""
    rows = -(-len(images) // columns)
    height, width = images.shape[1:3]
    whole = np.zeros((rows * (height + 1) - 1, columns * (width + 1) - 1, *images.shape[3:]), dtype=images.dtype)
    for number, image in enumerate(images):
        top, left = number // columns * (height + 1), number % columns * (width + 1)
        whole[top : top + height, left : left + width] = image
    return whole


def sheet(rows: Sequence[tuple[str, np.ndarray, Sequence[str]]], side: int = 84, theme: str = "page") -> str:
    """Return rows of images as SVG.

    Parameters
    ----------
    rows : sequence of (name, images, captions)
        Images are grey values from 0 (black) to 1 (white), shape (n, height, width), or colours from :func:`signed`.
    side : int
        Width of an image on the page, in pixels.
    theme : {"page", "light", "dark"}
        Colour of the text: the page's own colour if the SVG is part of a page, or a colour for a light or a dark page.
    """
    parts, top, columns = [], 0.0, max(len(images) for _, images, _ in rows)
    for name, images, captions in rows:
        if name:
            parts.append(_text(0, top + 14, name, "class='name'"))
            top += 22
        height = side * images.shape[1] / images.shape[2]
        for number, image in enumerate(images):
            left = number * (side + 8)
            parts.append(_image(image, left, top, side, height))
        captioned = [caption for caption in captions if caption]
        for number, caption in enumerate(captions):
            parts.append(_text(number * (side + 8) + side / 2, top + height + 15, caption, "class='middle'"))
        top += height + (26 if captioned else 8)
    words = ". ".join(f"{name}: {', '.join(filter(None, captions)) or len(images)}" for name, images, captions in rows)
    return _svg(columns * (side + 8) - 8, top, words, f"text{{fill:{INK[theme]}}}{STYLE}", parts)


STYLE = "text{font:13px system-ui,sans-serif}.name{font-weight:600}.middle{text-anchor:middle}image{image-rendering:pixelated}"


def film(images: np.ndarray, outputs: np.ndarray, labels: Sequence[int], classes: Sequence[str], theme: str = "page") -> str:
    """Return an attack, step by step, as an animation: image, change, attacked image, and the outputs as bars.

    Readers whose system is set to reduced motion see only the last step.

    Parameters
    ----------
    images : array, shape (steps, n, height, width)
        Images at each step, in [0, 1]; the first step is the image itself.
    outputs : array, shape (steps, n, classes)
        Outputs of the model at each step.
    labels : sequence of int
        The right class of each image.
    classes : sequence of str
        Names of the classes.
    theme : {"page", "light", "dark"}
        As in :func:`sheet`.
    """
    key = hashlib.sha256(images.tobytes() + outputs.tobytes() + theme.encode()).hexdigest()[:8]  # films may share a page
    answers = outputs.argmax(axis=2)
    largest, change = float(np.abs(outputs).max()) or 1.0, float(np.abs(images - images[0]).max())
    bar = max(9, 190 // len(classes))
    left = 3 * (SIZE + GAP)
    parts, rules = (
        [],
        [f"text{{fill:{INK[theme]}}}{STYLE}.bar{{fill:{INK[theme]};opacity:.55}}.true{{fill:{COLOURS[0]};opacity:1}}"],
    )
    rules.append(f".seen{{fill:{COLOURS[4]}}}.step{{fill:{COLOURS[4]};opacity:.8}}.line{{stroke:{INK[theme]};opacity:.5}}")
    told = []
    for n, label in enumerate(labels):
        top = n * HEIGHT + 20
        series = images[:, n]
        seen = [classes[answer] for answer in answers[:, n]]
        told.append(f"a {classes[label]}, read as {seen[0]} before the attack and as {seen[-1]} after it")
        parts.append(_image(series[0], 0, top, SIZE, SIZE))
        parts += _strip(f"{key}c{n}", signed(series - series[0], change), SIZE + GAP, top, rules)
        parts += _strip(f"{key}a{n}", series, 2 * (SIZE + GAP), top, rules)
        for column, words in enumerate((f"image: {classes[label]}", f"change, ≤ {change:.2g}", "attacked")):
            parts.append(_text(column * (SIZE + GAP), top - 6, words))
        parts += _bars(f"{key}b{n}", outputs[:, n] / largest, label, classes, left, top, bar, rules)
        parts.append(_text(left, top - 6, "outputs"))
    width, height = left + len(classes) * (bar + 4), len(labels) * HEIGHT
    parts.append(f"<rect class='step {_name(key)}s' x='0' y='{height - 4}' width='{width}' height='3'/>")
    rules.append(_moving(f"{key}s", [f"transform:scaleX({at:.3f})" for at in np.linspace(0, 1, len(images))], "linear"))
    words = f"An attack of {len(images) - 1} steps; no pixel changes by more than {change:.2g}: {'; '.join(told)}."
    return _svg(width, height, words, "".join(rules), parts, "class='film'", 1.25)


def _strip(name: str, frames: np.ndarray, left: float, top: float, rules: list[str]) -> Iterator[str]:
    """Yield the SVG of a strip of images that moves behind a window, so that one image after the other is seen."""
    strip = np.concatenate(list(frames), axis=1)
    size = f"width='{SIZE}' height='{SIZE}'"
    yield f"<svg x='{left}' y='{top}' {size}><rect class='line' fill='none' {size}/>"
    yield f"<g class='{_name(name)}'>{_image(strip, 0, 0, SIZE * len(frames), SIZE)}</g></svg>"
    rules.append(_moving(name, [f"transform:translateX({-SIZE * n}px)" for n in range(len(frames))], "step-end"))


def _bars(
    name: str, outputs: np.ndarray, label: int, classes: Sequence[str], left: float, top: float, bar: int, rules: list[str]
) -> Iterator[str]:
    """Yield a bar for each class, in units of the largest output, and a mark under the predicted class."""
    highest, lowest = max(0.05, float(outputs.max())), min(-0.05, float(outputs.min()))
    unit = (SIZE - 6) / (highest - lowest)
    zero = top + unit * highest
    yield f"<line class='line' x1='{left}' x2='{left + len(classes) * (bar + 4)}' y1='{zero:.1f}' y2='{zero:.1f}'/>"
    for number, text in enumerate(classes):
        x = left + number * (bar + 4)
        kind = "true" if number == label else "bar"
        shape = f"<rect class='{kind} {_name(name)}n{number}' y='{-unit:.1f}' width='{bar}' height='{unit:.1f}'/>"
        yield f"<g transform='translate({x},{zero:.1f})'>{shape}</g>"
        yield _text(x + bar / 2, top + SIZE + 16, text, "class='middle'")
        rules.append(_moving(f"{name}n{number}", [f"transform:scaleY({value:.3f})" for value in outputs[:, number]], "linear"))
    places = [left + answer * (bar + 4) + bar / 2 for answer in outputs.argmax(axis=1)]
    yield f"<g class='{_name(name)}m'><path class='seen' d='M0 {top + SIZE + 21}l6 9h-12z'/></g>"
    rules.append(_moving(f"{name}m", [f"transform:translateX({place:.1f}px)" for place in places], "step-end"))


def _moving(name: str, states: Sequence[str], timing: str) -> str:
    """Return the rules of an animation that pauses at the first and last state; with reduced motion only the last is shown."""
    rule, shares = _name(name), [0.0, *np.linspace(BEGIN, END, len(states)).tolist(), 1.0]
    frames = "".join(f"{100 * at:.2f}%{{{state}}}" for at, state in zip(shares, [states[0], *states, states[-1]], strict=True))
    moves = f"@media(prefers-reduced-motion:no-preference){{.{rule}{{animation:{rule} {SECONDS:g}s {timing} infinite}}}}"
    return f".{rule}{{{states[-1]}}}@keyframes {rule}{{{frames}}}{moves}"


def _name(name: str) -> str:
    return f"f{name}"  # a name in CSS does not begin with a digit


def _svg(width: float, height: float, words: str, style: str, parts: Sequence[str], more: str = "", scale: float = 1.0) -> str:
    shape = f"{more} style='max-width:100%;height:auto'"
    box = f"viewBox='0 0 {width:g} {height:g}' width='{scale * width:g}' height='{scale * height:g}'"
    head = f"<svg xmlns='http://www.w3.org/2000/svg' {box} {shape} role='img' aria-label='{escape(words)}'>"
    return f"{head}<title>{escape(words)}</title><style>{style}</style>{''.join(parts)}</svg>\n"


def _text(x: float, y: float, words: str, more: str = "") -> str:
    return f"<text x='{x:g}' y='{y:g}' {more}>{escape(words)}</text>"


def _image(pixels: np.ndarray, x: float, y: float, width: float, height: float) -> str:
    shape = f"x='{x:g}' y='{y:g}' width='{width:g}' height='{height:g}' preserveAspectRatio='none'"
    return f"<image {shape} href='data:image/png;base64,{base64.b64encode(_png(pixels)).decode()}'/>"


def _png(pixels: np.ndarray) -> bytes:
    """Return an image as PNG: grey values in [0, 1], shape (height, width), or uint8 colours, shape (height, width, 4)."""
    grey = pixels.ndim == 2
    values = np.rint(255 * np.clip(pixels, 0, 1)).astype(np.uint8) if grey else pixels
    height, width = values.shape[:2]
    lines = np.zeros((height, 1 + values[0].size), dtype=np.uint8)  # each line is preceded by the number of its filter: none
    lines[:, 1:] = values.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if grey else 6, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    chunks = (struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
