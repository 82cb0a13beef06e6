"""Results of attacks and evaluations, which are displayed as a table of text, and in a notebook as a table and a figure."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from minicereb.attacks.settings import Attack
from minicereb.documents import table
from minicereb.report.formats import percent, strength, with_interval
from minicereb.robustness.catalogue import attack_named
from minicereb.robustness.optional import attempt
from minicereb.statistics import proportion_interval

PICTURES = 8
Rows = list[tuple[str, ...]]


def as_html(head: Iterable[str], rows: Rows, caption: str) -> str:
    """Return a table as HTML."""
    lines = [f"<caption>{escape(caption)}</caption>", f"<tr>{''.join(f'<th>{escape(each)}</th>' for each in head)}</tr>"]
    lines += [f"<tr>{''.join(f'<td>{escape(each)}</td>' for each in row)}</tr>" for row in rows]
    return f"<table>{''.join(lines)}</table>"


def picture(draw: Callable[[], Any], alternative: str) -> str:
    """Return a figure as an HTML image with embedded data, or an empty string if it cannot be drawn."""
    from minicereb.report.figures import svg  # only notebooks need matplotlib

    drawn, _ = attempt(lambda: svg(draw()))
    if drawn is None:
        return ""
    return f'<img alt="{escape(alternative)}" src="data:image/svg+xml;base64,{base64.b64encode(drawn).decode()}">'


@dataclass(frozen=True, eq=False, repr=False)
class AttackResult:
    """Images before and after an attack, and the predictions for them.

    Attributes
    ----------
    attack : Attack
        All settings of the attack.
    x, x_adv : array of float32, shape (images, inputs)
        Images before and after the attack, in [0, 1]. An image that is already misclassified is not changed.
    y, clean_predicted, predicted : array, shape (images,)
        Labels, and the predictions for the images before and after.
    distance : array of float64, shape (images,)
        Size of the change in the attack's norm.
    image_shape : tuple of int
        Shape of an image, for drawing it and for attacks that need its shape.
    """

    attack: Attack
    x: np.ndarray
    x_adv: np.ndarray
    y: np.ndarray
    clean_predicted: np.ndarray
    predicted: np.ndarray
    distance: np.ndarray
    image_shape: tuple[int, ...]

    @property
    def success(self) -> np.ndarray:
        """Which images are misclassified after the attack, array of bool."""
        return self.predicted != self.y

    @property
    def clean_accuracy(self) -> float:
        """Share of the images that are classified correctly without an attack."""
        return float((self.clean_predicted == self.y).mean())

    @property
    def robust_accuracy(self) -> float:
        """Share of the images that are classified correctly after the attack: an upper bound on the robust accuracy."""
        return float((self.predicted == self.y).mean())

    @property
    def robust_interval(self) -> tuple[float, float]:
        """95% confidence interval for :attr:`robust_accuracy`, if the images are a random sample of their kind."""
        return proportion_interval(int((self.predicted == self.y).sum()), len(self.y))

    def _rows(self) -> Rows:
        clean = proportion_interval(int((self.clean_predicted == self.y).sum()), len(self.y))
        return [
            ("clean", with_interval(self.clean_accuracy, clean)),
            ("attacked", with_interval(self.robust_accuracy, self.robust_interval)),
        ]

    def _title(self) -> str:
        attack = self.attack
        norm = " in L2" if attack.norm == "l2" else ""
        steps = f", {attack.steps:,} steps" if attack.traits.has("steps") else ""
        return f"{attack.method} on {attack.objective}, ε = {strength(attack.epsilon)}{norm}{steps}, {len(self.y):,} images"

    def __repr__(self) -> str:
        return f"{self._title()}\n" + table(("accuracy in %", "(95% interval)"), self._rows())

    def _repr_html_(self) -> str:
        drawn = picture(self._figure, "images before and after the attack, and their difference") if self._drawable() else ""
        return as_html(("accuracy in %", "(95% interval)"), self._rows(), self._title()) + drawn

    def _drawable(self) -> bool:
        grey_or_colour = self.image_shape[2:] in ((), (1,), (3,), (4,))
        return len(self.image_shape) > 1 and grey_or_colour and bool(self._broken().size)

    def _broken(self) -> np.ndarray:
        return np.flatnonzero(self.success & (self.clean_predicted == self.y))[:PICTURES]

    def _figure(self) -> Any:
        from minicereb.report.figures import image_rows  # only notebooks need matplotlib

        chosen, shape = self._broken(), (-1, *self.image_shape)
        before, after = self.x[chosen].reshape(shape), self.x_adv[chosen].reshape(shape)
        largest = max(float(abs(after - before).max()), 1e-6)
        return image_rows(
            [
                ("image", before, [str(each) for each in self.y[chosen]]),
                ("attacked", after, [str(each) for each in self.predicted[chosen]]),
                ("change, scaled", 0.5 + 0.5 * (after - before) / largest, [f"{each:.3f}" for each in self.distance[chosen]]),
            ]
        )


def accuracy_rows(record: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield the rows of an evaluation's table: attacked and certified accuracy, then the accuracy after each attack."""
    entries = record["epsilons"]
    for side in ("attacked", "certified"):
        yield f"{side} (95% interval)", *(with_interval(entry[side], entry[f"{side}_interval"]) for entry in entries)
    for name in entries[0]["by_attack"]:
        title = f"  {name}, alone" if attack_named(name).alone else f"  after {name}"
        yield title, *(percent(entry["by_attack"][name]) for entry in entries)


def accuracy_head(record: dict[str, Any]) -> tuple[str, ...]:
    """Return the head of an evaluation's table."""
    return "accuracy in %", *(f"ε = {strength(entry['epsilon'])}" for entry in record["epsilons"])


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """The evaluation of a classifier, whose true robust accuracy is between its certified accuracy and its accuracy under attack.

    Attributes
    ----------
    record : dict
        Everything that was measured, as in ``evaluation.json`` (docs/formats.md): JSON values.
    nearest : array of float32, shape (images, inputs)
        The nearest misclassified image that was found for each image; the image itself if none was.
    distance : array of float64, shape (images,)
        Distance of the nearest misclassified image; infinite if none was found, 0 for images that are misclassified without
        an attack.
    """

    record: dict[str, Any]
    nearest: np.ndarray
    distance: np.ndarray

    @property
    def clean_accuracy(self) -> float:
        """Share of the images that are classified correctly without an attack."""
        share: float = self.record["clean_accuracy"]
        return share

    @property
    def attacked(self) -> dict[float, float]:
        """Share of the images that withstood every attack, keyed by ε."""
        return {entry["epsilon"]: entry["attacked"] for entry in self.record["epsilons"]}

    @property
    def certified(self) -> dict[float, float | None]:
        """Share of the images that are proved to be robust, keyed by ε; None if the classifier cannot be certified."""
        return {entry["epsilon"]: entry["certified"] for entry in self.record["epsilons"]}

    @property
    def complaints(self) -> list[str]:
        """Reasons, found by the checklist, to doubt the evaluation, each with its line of the checklist and its ε."""
        return [
            f"{line['name']} ({line['verdict']}) at ε = {strength(entry['epsilon'])}: {line['reason']}"
            for entry in self.record["epsilons"]
            for line in entry["checklist"]
            if line["verdict"] in ("warn", "fail")
        ]

    def _title(self) -> str:
        record = self.record
        return f"{record['model']}: {record['images']:,} images, {record['norm']}, clean accuracy {percent(self.clean_accuracy)}%"

    def _remarks(self) -> list[str]:
        why = self.record["no_certificate"]
        checks = sum(len(entry["checklist"]) for entry in self.record["epsilons"])
        found = self.complaints or [f"nothing ({checks} lines)" if checks else "not asked for"]
        return [*([f"no certificates: {why}"] if why else []), *(f"checklist: {each}" for each in found)]

    def __repr__(self) -> str:
        lines = [self._title(), table(accuracy_head(self.record), accuracy_rows(self.record)), *self._remarks()]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        def figure() -> Any:
            from minicereb.experiments.evaluation.figures import accuracy_figure  # only notebooks need matplotlib

            return accuracy_figure(self.record)

        shown = as_html(accuracy_head(self.record), list(accuracy_rows(self.record)), self._title())
        return shown + picture(figure, "accuracy over ε") + "".join(f"<p>{escape(each)}</p>" for each in self._remarks())
