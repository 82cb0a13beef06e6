"""The page itself: a single HTML file with its script and its data."""

from __future__ import annotations

import base64
import json
from collections.abc import Generator
from math import degrees
from typing import Any

from minicereb import __version__
from minicereb.datasets.dataset import Dataset
from minicereb.experiments.configs import Train, describe_training
from minicereb.experiments.evaluation.settings import EvaluatedModel
from minicereb.explore.attack_story import Exploration, Story, attack_story
from minicereb.explore.motor_story import eyelid_story, pole_story
from minicereb.explore.packing import pack
from minicereb.models.cerebellum import CerebellarNetwork
from minicereb.models.sequential import Sequential
from minicereb.report.circuit import WORDS, circuit
from minicereb.report.page import filled_in
from minicereb.tasks.eyelid_conditioning import Eyelid
from minicereb.tasks.pole_balancing import PoleTask


def explore(train: Train, model: Any, dataset: Dataset, settings: Exploration) -> Generator[str, None, str]:
    """Compute what a page shows and return the page; yield the progress in words.

    Parameters
    ----------
    train : Train
        How `model` was trained, for the title.
    model : classifier
    dataset : Dataset
        The data set whose test images are attacked.
    settings : Exploration

    Returns
    -------
    str
        An HTML document without links to other files. Equal settings give equal text.

    Raises
    ------
    InputError
        If there are fewer test images than requested, or the model cannot be attacked.
    """
    gradient = EvaluatedModel(train, settings.epsilons, settings.images).gradient_of(model)
    stories = {"attack": (yield from attack_story(model, dataset, settings, gradient))}
    described = {}
    if settings.tasks:
        stories["eyelid"] = yield from eyelid_story(Eyelid(seed=settings.seed))
        task = PoleTask(seed=settings.seed)
        stories["pole"] = yield from pole_story(task)
        described["pole"] = {
            "degrees": f"{degrees(task.cart.angle_limit):g}",
            "settings": f"error-driven, {task.cells:,} cells, seed {task.seed}",
        }
    yield "writing"
    lead = (
        f"{describe_training(train)}. Attacks on the first {settings.images} test images of {dataset.name}; computed by "
        f"minicereb {__version__} and stored here."
    )
    return html(f"Watch {_short_name(model)} under attack", lead, stories, _circuit_of(model, dataset), described)


def html(title: str, lead: str, stories: dict[str, Story], picture: str, described: dict[str, Any]) -> str:
    """Return the HTML document with these stories (parts of the page) and a picture of the circuit (SVG, or empty)."""
    table, data = pack({f"{name}/{array}": each for name, story in stories.items() for array, each in story.arrays.items()})
    about = {"arrays": table, **{name: story.about for name, story in stories.items()}}
    attack = stories["attack"].about
    return filled_in(
        "minicereb.explore",
        "template.html.j2",
        "explore.js",
        title=title,
        lead=lead,
        about=json.dumps(about, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
        data=data,
        hidden=attack["hidden"],
        notes=_notes(attack),
        circuit=f"data:image/svg+xml;base64,{base64.b64encode(picture.encode()).decode()}" if picture else "",
        circuit_words=WORDS,
        eyelid=stories["eyelid"].about if "eyelid" in stories else None,
        pole=described.get("pole"),
    )


def _last_layer(model: Any) -> Any:
    return model.layers[-1] if isinstance(model, Sequential) else model


def _short_name(model: Any) -> str:
    return "a cerebellum" if isinstance(_last_layer(model), CerebellarNetwork) else "a network"


def _circuit_of(model: Any, dataset: Dataset) -> str:
    """Return the picture of the circuit for a cerebellum, otherwise an empty string."""
    last = _last_layer(model)
    if not isinstance(last, CerebellarNetwork):
        return ""
    wiring = last.wiring
    return circuit(wiring.width, wiring.cells, None if wiring.inputs is None else wiring.inputs.shape[1], dataset.classes)


def _notes(attack: dict[str, Any]) -> list[str]:
    """Return the paragraphs that explain the numbers on the page."""
    units, several = attack["units"], [name.upper() for name, steps in attack["methods"].items() if steps > 1]
    notes = []
    if "fgsm" in attack["methods"]:
        notes.append("FGSM takes one step of length ε.")
    if several:
        steps = max(attack["methods"].values())
        notes.append(f"{' and '.join(several)} take {steps} steps from the image itself, without a random start.")
    notes += [
        "Every pixel stays within ε of the image, and between 0 (black) and 1 (white). A few steps from one start are a weak "
        "attack; a stronger attack may break images that withstand it.",
        "Rounding: everything was computed in float32 and then stored as whole numbers. Images have 256 levels. The change of a "
        f"pixel is a multiple of ε/127, outputs are multiples of {units['output']:.2g}, margins of {units['margin']:.2g}, "
        f"activities of {units['activity']:.2g}, rounded up so that only silent units are 0. The predictions are those of the "
        "model for the images before rounding.",
    ]
    if attack["gradient"] != "analytic":
        notes.append(
            f"The model has no useful derivative of its own: the attacks follow the gradient called {attack['gradient']} "
            "(minicereb attack --gradient)."
        )
    if attack["certified"] is not None:
        notes.append(
            "The ring is the largest ε at which linear relaxation proves that no change can alter a right prediction. "
            f"It is found by bisection in steps of {attack['epsilons'][-1] / 1024:.2g}. "
            "Between ring and cross, the outcome is unknown."
        )
    return notes
