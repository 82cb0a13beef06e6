"""``minicereb demo``: two models trained and attacked in a minute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
from matplotlib.figure import Figure

from minicereb import datasets
from minicereb.attacks.settings import Attack
from minicereb.cli.attack import attack_with_progress
from minicereb.cli.options import NewFolder, execution_options
from minicereb.cli.output import Answer, as_json, json_wanted, note, table
from minicereb.cli.train import train_with_progress
from minicereb.datasets import Dataset
from minicereb.experiments.architectures import CerebellumModel
from minicereb.experiments.configs import Data, Train
from minicereb.experiments.kinds.attacked import Tally, attack_config
from minicereb.experiments.runs import load_model
from minicereb.report.figures import grouped_bars, image_rows, save_figure
from minicereb.robustness.catalogue import PAPER_STEP
from minicereb.statistics import proportion_interval

EPSILON, IMAGES = 0.1, 200
MODELS = {
    "base network (full wiring, no LTD)": (CerebellumModel("full", 5_970, ltd=False), 1),
    "cerebellum (4 inputs per cell, LTD)": (CerebellumModel("random", 100_000, 4), 1),
}
ATTACKS = {
    "FGSM, squared error": Attack("fgsm", "mse", EPSILON),
    "PGD, squared error": Attack("pgd", "mse", EPSILON, step_size=PAPER_STEP),
    "PGD, margin": Attack("pgd", "margin", EPSILON, step_size=PAPER_STEP),
}


@click.command()
@click.option("--out", type=NewFolder(), default=Path("runs/demo"), show_default=True, help="Folder for runs and figures.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the models.")
@execution_options
@as_json
def demo(out: Path, seed: int) -> Answer:
    """Train the base network and the cerebellum on drawn digits, attack both, print a table and draw it. No network needed."""
    dataset = datasets.load("strokes")
    rows, pictures = [], []
    _say(f"training two models on {len(dataset.x_train):,} drawn digits and attacking each with {IMAGES} test images")
    for name, (model, batch_size) in MODELS.items():
        config = Train(model, Data(dataset.name, dataset.sha256), batch_size, 2, 0.5 / model.cells, seed=seed)
        note(f"training the {name} on {len(dataset.x_train):,} drawn digits")
        run = train_with_progress(config, dataset, out / name.split(" ")[0])
        trained, accuracy = load_model(run, dataset), (run.result or {})["test_accuracy"]
        _say(f"{name}: trained, test accuracy {100 * accuracy:.1f}%")
        attacked = {}
        for title, attack in ATTACKS.items():
            tally = Tally(keep_images=True)
            record = attack_with_progress(run, trained, dataset, attack_config(run, dataset, attack, IMAGES), tally)
            _say(f"{name}: attacked by {title}, accuracy {100 * record['robust_accuracy']:.1f}%")
            attacked[title] = {key: record[key] for key in ("robust_accuracy", "robust_interval")}
        pictures.append((name.split(" ")[0], *_examples(tally, dataset)))
        rows.append({"model": name, "run": str(run.folder), "test_accuracy": accuracy, "attacks": attacked})
    figures = [str(out / "robustness.png"), str(out / "examples.png")]
    save_figure(_bars(rows, dataset), Path(figures[0]))
    save_figure(image_rows(pictures), Path(figures[1]))
    cells = [
        (
            row["model"],
            *(f"{100 * each:.1f}" for each in (row["test_accuracy"], *(row["attacks"][t]["robust_accuracy"] for t in ATTACKS))),
        )
        for row in rows
    ]
    text = (
        f"\n{table(('accuracy in %', 'test', *ATTACKS), cells)}\n\n"
        f"Attacked: the first {IMAGES} test images, every pixel changed by at most {EPSILON}. A model can look robust to an\n"
        "attack on the squared error; the same attack on the margin shows what its predictions can be changed to.\n"
        f"Figures: {', '.join(figures)}"
    )
    return Answer({"epsilon": EPSILON, "images": IMAGES, "models": rows, "figures": figures}, text)


def _say(text: str) -> None:
    """Print the result of a step as soon as it is there, unless a single document is wanted."""
    if not json_wanted():
        click.echo(text)


def _bars(rows: list[dict[str, Any]], dataset: Dataset) -> Figure:
    series: dict[str, list[float]] = {}
    intervals: dict[str, list[tuple[float, float]]] = {}
    images = len(dataset.x_test)
    for row in rows:
        attacked = [row["attacks"][title] for title in ATTACKS]
        clean = proportion_interval(round(row["test_accuracy"] * images), images)
        bounds = [clean, *(each["robust_interval"] for each in attacked)]
        series[row["model"]] = [100 * row["test_accuracy"], *(100 * each["robust_accuracy"] for each in attacked)]
        intervals[row["model"]] = [(100 * low, 100 * high) for low, high in bounds]
    return grouped_bars(["clean", *ATTACKS], series, intervals, f"accuracy in %, ε = {EPSILON}, 95% interval")


def _examples(tally: Tally, dataset: Dataset) -> tuple[np.ndarray, list[str]]:
    block = tally.blocks[0]
    fooled = np.flatnonzero(block.success & (block.clean_predicted == block.y))[:8]
    images = block.x_adv[fooled].reshape(-1, *dataset.image_shape)
    return images, [f"{was} seen as {now}" for was, now in zip(block.y[fooled], block.predicted[fooled], strict=True)]
