"""Figures of pole balancing: duration of trials, paths of cart and pole, and an animation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import cos, sin
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from minicereb.report.figures import COLOURS, blank_figure, panels_of, save_animation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FRAME_RATE = 25


def learning_curves(panels: Mapping[str, Sequence[np.ndarray]], trials: int, whole: float) -> Figure:
    """Draw the duration of trials, a panel per condition: median and quartiles, with thin lines for the seeds.

    Parameters
    ----------
    panels : dict
        Durations of the trials in s: for each panel's title, one array per seed. The last value of a seed that stopped
        early is repeated.
    trials : int
        Largest number of trials.
    whole : float
        Seconds of a successful trial.
    """
    from matplotlib.ticker import NullLocator

    columns = min(4, len(panels))
    rows = -(-len(panels) // columns)
    figure, grid = panels_of(1 + 2.2 * columns, 0.4 + 2.2 * rows, rows, columns, sharex=True, sharey=True)
    number = np.arange(1, trials + 1, dtype=np.int64)
    for axes, (title, seeds) in zip(grid.flat, panels.items(), strict=False):
        lasted = np.stack([np.pad(each, (0, trials - len(each)), mode="edge") for each in seeds])
        low, middle, high = np.quantile(lasted, (0.25, 0.5, 0.75), axis=0)
        axes.plot(number, lasted.T, color="0.75", linewidth=0.5)
        axes.fill_between(number, low, high, color=COLOURS[0], alpha=0.3, linewidth=0)
        axes.plot(number, middle, color=COLOURS[0], linewidth=1.6)
        axes.axhline(whole, color="0.4", linestyle=":", linewidth=1)
        axes.set_title(title, fontsize=9)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    figure.supxlabel("trial", fontsize=9)
    figure.supylabel("seconds balanced", fontsize=9)
    return figure


def trajectories(paths: Mapping[str, np.ndarray], step: float) -> Figure:
    """Draw the pole's angle, the cart's position and the force against time, one line per path.

    Parameters
    ----------
    paths : dict
        Arrays of shape (steps, 5), keyed by name. A row holds x, ẋ, θ and θ̇ at the end of a step, and the force during the step.
    step : float
        Seconds per step.
    """
    figure, axes_of = panels_of(8, 5, 3, sharex=True)
    grid = axes_of[:, 0]
    for colour, (name, path) in zip(COLOURS, paths.items(), strict=False):
        time = step * np.arange(1, len(path) + 1, dtype=np.float64)
        for axes, values in zip(grid, (np.degrees(path[:, 2]), path[:, 0], path[:, 4]), strict=True):
            axes.plot(time, values, color=colour, label=name, linewidth=1.2)
    for axes, label in zip(grid, ("angle, degrees", "cart, m", "force, N"), strict=True):
        axes.set_ylabel(label)
        axes.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    grid[-1].set_xlabel("seconds")
    figure.legend(*grid[0].get_legend_handles_labels(), frameon=False, fontsize=8, ncols=3, loc="outside lower center")
    return figure


def animate(paths: Mapping[str, np.ndarray], step: float, half_length: float, x_limit: float, file: Path) -> int:
    """Write a GIF of cart and pole along the paths of :func:`trajectories`, in real time; return the number of frames.

    The pole's half length and the limit of the cart's position are in m.
    """
    from matplotlib.patches import Rectangle

    figure = blank_figure(6, 2.6, dpi=80)
    axes = figure.add_axes((0.02, 0.16, 0.96, 0.7))
    axes.set_xlim(-x_limit - 2 * half_length, x_limit + 2 * half_length)
    axes.set_ylim(-0.4, 2.4 * half_length)
    axes.set_aspect("equal")
    axes.set_yticks([])
    axes.set_xlabel("m", fontsize=8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.vlines([-x_limit, x_limit], -0.4, 0, color="0.6", linewidth=2)
    cart = Rectangle((0, -0.25), 0.5, 0.25, color=COLOURS[0])
    axes.add_patch(cart)
    (pole,) = axes.plot([], [], color=COLOURS[4], linewidth=4, solid_capstyle="round")
    (push,) = axes.plot([], [], color=COLOURS[2], linewidth=3)
    every = max(1, round(1 / (FRAME_RATE * step)))
    shown = [(name, number, path[number]) for name, path in paths.items() for number in range(0, len(path), every)]

    def frames() -> Iterator[None]:
        for name, number, (x, _, angle, _, force) in shown:
            cart.set_x(x - 0.25)
            pole.set_data([x, x + 2 * half_length * sin(angle)], [0, 2 * half_length * cos(angle)])
            push.set_data([x, x + 0.05 * force], [-0.32, -0.32])
            axes.set_title(f"{name}: {(number + 1) * step:.1f} s", fontsize=9)
            yield

    save_animation(figure, frames(), file, FRAME_RATE)
    return len(shown)
