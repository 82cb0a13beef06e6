"""``minicereb demo``: train and attack two models in a minute."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from minicereb import datasets
from minicereb.attacks.settings import Attack
from minicereb.cli.attack import attack_with_progress
from minicereb.cli.options import NEW_FOLDER, execution_options
from minicereb.cli.output import Answer, as_json, json_wanted, note
from minicereb.cli.train import train_with_progress
from minicereb.datasets import Dataset
from minicereb.documents import table
from minicereb.experiments.architectures import CerebellumModel
from minicereb.experiments.configs import Data, Train
from minicereb.experiments.kinds.attacked import Tally, attack_config
from minicereb.experiments.runs import load_model
from minicereb.report.figures import conclude, grouped_bars, image_rows, save_figure
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
@click.option("--out", type=NEW_FOLDER, default=Path("runs/demo"), show_default=True, help="Folder for runs and figures.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the models.")
@execution_options
@as_json
def demo(out: Path, seed: int) -> Answer:
    """Train the base network and the cerebellum on drawn digits, attack both, and print and draw a table; works offline."""
    dataset = datasets.load("strokes")
    rows, pictures, measured = [], [], {}
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
        images = len(dataset.x_test)
        clean = (accuracy, proportion_interval(round(accuracy * images), images))
        shares = [clean, *((each["robust_accuracy"], each["robust_interval"]) for each in attacked.values())]
        measured[name] = [(100 * share, (100 * low, 100 * high)) for share, (low, high) in shares]
        pictures.append((name.split(" ")[0], *_examples(tally, dataset)))
        rows.append({"model": name, "run": run.folder, "test_accuracy": accuracy, "attacks": attacked})
    figures = [out / "robustness.png", out / "examples.png"]
    series = {name: [share for share, _ in each] for name, each in measured.items()}
    intervals = {name: [interval for _, interval in each] for name, each in measured.items()}
    bars = grouped_bars(["clean", *ATTACKS], series, intervals, f"accuracy in %, ε = {EPSILON}, 95% interval")
    save_figure(conclude(bars, _gap(series)), figures[0])
    save_figure(image_rows(pictures), figures[1])
    cells = [(name, *(f"{share:.1f}" for share in shares)) for name, shares in series.items()]
    text = (
        f"\n{table(('accuracy in %', 'test', *ATTACKS), cells)}\n\n"
        f"Attacked: the first {IMAGES} test images, every pixel changed by at most {EPSILON}. A model can look robust to an\n"
        "attack on the squared error although the same attack on the margin changes its predictions.\n"
        f"Figures: {', '.join(map(str, figures))}"
    )
    return Answer({"epsilon": EPSILON, "images": IMAGES, "models": rows, "figures": figures}, text)


def _gap(series: dict[str, list[float]]) -> str:
    """Describe the model on which the attacks differ most: its accuracy in percent after the weakest and the strongest attack."""
    left = {name: dict(zip(ATTACKS, shares[1:], strict=True)) for name, shares in series.items()}
    name = max(left, key=lambda each: max(left[each].values()) - min(left[each].values()))
    weak, strong = max(left[name], key=left[name].__getitem__), min(left[name], key=left[name].__getitem__)
    found = f"{left[name][weak]:.3g}% correct after {weak}; {left[name][strong]:.3g}% after {strong}"
    return f"The {name.partition(' (')[0]}: {found}."


def _say(text: str) -> None:
    """Print the result of a step immediately, unless JSON is wanted."""
    if not json_wanted():
        click.echo(text)


def _examples(tally: Tally, dataset: Dataset) -> tuple[np.ndarray, list[str]]:
    block = tally.blocks[0]
    fooled = np.flatnonzero(block.success & (block.clean_predicted == block.y))[:8]
    images = block.x_adv[fooled].reshape(-1, *dataset.image_shape)
    return images, [f"{was} seen as {now}" for was, now in zip(block.y[fooled], block.predicted[fooled], strict=True)]
