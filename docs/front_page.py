"""Draws the pictures of the front page: how robust a cerebellum looks and how robust it is, an attack, the circuit.

``python docs/front_page.py`` rewrites docs/images. The curves are those of docs/results/ablation-paper, which
``minicereb study ablation --scale paper`` computed: 500 test images of MNIST, seed 0. The attack is on the cerebellum of
``explore_page.py``, which learned drawn digits.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from matplotlib import rc_context

from minicereb.attacks.settings import Attack
from minicereb.explore.attack_story import attack_film
from minicereb.report.circuit import circuit
from minicereb.report.figures import COLOURS, panels_of, svg

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import explore_page  # noqa: E402

FILMED = Attack("pgd", "margin", 0.1, steps=20, random_start=False)
MODEL, ATTACK = "random k=4, 200,000 cells, LTD, batch 10", "pgd-mse"
INK = {"light": "#1b1b1b", "dark": "#ececec"}


def curves() -> tuple[list[float], list[float], list[float]]:
    """Return ε, and the accuracies in percent under the paper's attack alone and under all attacks together."""
    study = json.loads((HERE / "results" / "ablation-paper" / "study.json").read_text(encoding="utf-8"))
    evaluated = (each for each in study["results"] if each["config"]["kind"] == "EvaluatedModel" and each["config"]["seed"] == 0)
    record = next(each["record"] for each in evaluated if each["record"]["model"] == MODEL)
    clean, rows = 100 * record["clean_accuracy"], record["epsilons"]
    reported = [100 * row["by_attack"][ATTACK] for row in rows]
    return [0.0, *(row["epsilon"] for row in rows)], [clean, *reported], [clean, *(100 * row["attacked"] for row in rows)]


def title() -> str:
    """Return a title that states both curves' values at ε = 0.1."""
    epsilons, reported, left = curves()
    at = epsilons.index(0.1)
    return f"It looks {reported[at]:.0f}% robust. It is {left[at]:.0f}%."


def looks_and_is(theme: str) -> bytes:
    """Return the figure for a light or a dark page, as SVG."""
    epsilons, reported, left = curves()
    colours = {f"{part}.color": INK[theme] for part in ("text", "xtick", "ytick")}
    with rc_context({**colours, "axes.labelcolor": INK[theme], "axes.edgecolor": INK[theme]}):
        figure, ((axes,),) = panels_of(5.6, 3.3)
        for values, colour in ((reported, COLOURS[1]), (left, COLOURS[0 if theme == "light" else 5])):
            axes.plot(epsilons, values, color=colour, linewidth=2.5, marker="o")
        axes.annotate(
            "PGD on the squared error,\nas planned in the paper", (0.2, reported[epsilons.index(0.2)]), (0.165, 84), va="bottom"
        )
        axes.annotate("after all twelve attacks", (0.1, 0), (0.145, 4), va="bottom")
        axes.set_title(title(), loc="left", fontsize=14, fontweight="bold")
        at = epsilons.index(0.1)
        for values, colour in ((reported, COLOURS[1]), (left, COLOURS[0 if theme == "light" else 5])):
            axes.annotate(
                f"{values[at]:.0f}%", (0.1, values[at]), (6, 6), textcoords="offset points", color=colour, weight="bold"
            )
        axes.axvline(0.1, color=INK[theme], linewidth=0.6, linestyle=":", zorder=0)
        axes.set_xlabel("largest change of a pixel, ε")
        axes.set_ylabel("images classified correctly, %")
        axes.set_ylim(-2, 102)
        figure.patch.set_alpha(0)
        axes.patch.set_alpha(0)
        return svg(figure)


def pictures() -> dict[str, bytes]:
    """Return the content of each file in docs/images that is drawn here."""
    drawn = {f"circuit-{theme}.svg": circuit(theme=theme).encode() for theme in ("light", "dark")}
    drawn["circuit.svg"] = circuit().encode()
    _, model, dataset = explore_page.trained()
    drawn |= {f"attack-{theme}.svg": attack_film(model, dataset, FILMED, 1, theme).encode() for theme in INK}
    return drawn | {f"looks-robust-{theme}.svg": looks_and_is(theme) for theme in INK}


if __name__ == "__main__":
    for name, content in pictures().items():
        (HERE / "images" / name).write_bytes(content)
