"""One image through one model, step by step: equations, shapes, numbers, and derivatives beside finite differences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from minicereb.datasets.dataset import Dataset
from minicereb.errors import InputError
from minicereb.experiments.configs import Train
from minicereb.explain import cerebellum_steps, layer_steps, noisy_steps
from minicereb.explain.explained_image import Shown, explained_image, pixel_number, the_image
from minicereb.explain.steps import Step

__all__ = ["WHAT", "Shown", "Step", "explanation", "pixel_number"]

WHAT = ("learning", "attack")
FAMILIES: dict[str, Any] = {"cerebellum": cerebellum_steps, "mlp": layer_steps, "cnn": layer_steps, "glr": noisy_steps}


def explanation(
    config: Train, dataset: Dataset, model: Any, image: int, what: str | None = None, shown: Shown | None = None
) -> Iterator[Step]:
    """Explain what a trained model does with one image; the model is not changed.

    Parameters
    ----------
    config, dataset
        Settings of the model's training, and the data it was trained on.
    model : model
    image : int
        Index of the test image.
    what : {"learning", "attack"}, optional
        By default both.
    shown : Shown, optional

    Raises
    ------
    InputError
        If there is no such image, unit, class or pixel.
    """
    if what is not None and what not in WHAT:
        raise InputError("what", what, " or ".join(WHAT))
    subject = explained_image(config, dataset, model, image, shown or Shown())
    yield the_image(subject)
    for part in WHAT if what is None else (what,):
        for step in getattr(FAMILIES[config.model.family], part)(subject):
            yield replace(step, part=part)
