"""Figures of eyelid conditioning: granule cells during the interval, synapses before and after learning, the lid by trial."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from minicereb.report.figures import COLOURS, blank_figure, conclude, panels_of, shades

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 200  # granule cells in a raster
TIME = "time from CS onset, ms"


def preferred_times(time: np.ndarray, granule: np.ndarray) -> np.ndarray:
    """Return when each cell is most active, in ms, shape (cells,); NaN for silent cells."""
    return np.where(granule.max(axis=1) > 0, time[granule.argmax(axis=1)], np.nan)


def raster(time: np.ndarray, granule: np.ndarray, cs: tuple[float, float], us: float) -> Figure:
    """Draw when granule cells are active, one row per cell, sorted by preferred time.

    Parameters
    ----------
    time : array, shape (bins,)
        In ms.
    granule : array of float, shape (cells, bins)
        Activity. Of the cells that prefer a time before the unconditioned stimulus, at most 200 are drawn, evenly spaced
        in order of preferred time.
    cs : tuple of float
        Onset and end of the conditioned stimulus (CS) in ms.
    us : float
        Onset of the unconditioned stimulus (US) in ms.
    """
    preferred = preferred_times(time, granule)
    order = np.argsort(preferred, kind="stable")[: int((preferred <= us).sum())]
    chosen = order[np.linspace(0, len(order) - 1, min(SHOWN, len(order)), dtype=np.int64)] if len(order) else order
    figure, ((axes,),) = panels_of(6.4, 4.2)
    bins, step = granule[chosen] > 0, float(time[1] - time[0])
    extent = (float(time[0]) - step, float(time[-1]), len(chosen) - 0.5, -0.5)
    if len(chosen):
        axes.imshow(bins, aspect="auto", interpolation="nearest", cmap="Greys", vmin=0, vmax=1.3, extent=extent)
    _events(axes, cs, us)
    axes.set_xlim(-100, us + 200)
    axes.set_xlabel(TIME)
    axes.set_ylabel("granule cells, by preferred time")
    axes.set_yticks([])
    active = int(np.isfinite(preferred).sum())
    return conclude(figure, f"{len(order):,} of {active:,} active granule cells prefer a time before the US ({us:g} ms).")


def synapses(time: np.ndarray, granule: np.ndarray, before: np.ndarray, after: np.ndarray, us: float) -> Figure:
    """Draw the parallel fibre weights (one per cell, from 0 to 1) against preferred times, before and after learning.

    The other arguments are as for :func:`raster`.
    """
    preferred = preferred_times(time, granule)
    figure, ((axes,),) = panels_of(6.4, 3.6)
    for weights, name, colour in ((before, "before", COLOURS[1]), (after, "after", COLOURS[0])):
        axes.plot(preferred, weights, ".", color=colour, markersize=2, alpha=0.35, label=name, rasterized=True)
    _events(axes, None, us)
    axes.set_ylim(*_around_half(after))
    axes.set_xlabel("preferred time of the granule cell, ms from CS onset")
    axes.set_ylabel("weight")
    axes.legend(frameon=False, fontsize=8, markerscale=4)
    change = np.where(np.isfinite(preferred), np.abs(after - before), 0)
    most = np.argsort(-change, kind="stable")[: max(1, len(change) // 20)]
    if not change.any():
        return conclude(figure, "No weight changes.")
    return conclude(
        figure, f"The weights that change most are those of cells that prefer {np.median(preferred[most]):.0f} ms (median)."
    )


def lids(time: np.ndarray, traces: Sequence[np.ndarray], names: Sequence[str], cs: tuple[float, float], us: float) -> Figure:
    """Draw the lid's closure in percent against time for each trial, one curve above the other, the first trial at the bottom.

    Each trace has shape (bins,) and a name; the other arguments are as for :func:`raster`.
    """
    figure, ((axes,),) = panels_of(6.4, 1 + 0.28 * len(traces))
    step = 50.0
    colours = shades(0.85 * np.arange(len(traces), dtype=np.int64) / max(1, len(traces) - 1))
    for number, (trace, colour) in enumerate(zip(traces, colours, strict=True)):
        axes.fill_between(time, number * step, trace + number * step, color=colour, alpha=0.35, zorder=2 * (len(traces) - number))
        axes.plot(time, trace + number * step, color=colour, linewidth=1, zorder=2 * (len(traces) - number) + 1)
    _events(axes, cs, us)
    axes.set_yticks([number * step for number in range(len(traces))], names, fontsize=7)
    axes.set_xlabel(TIME)
    axes.set_ylabel("trial; the lid's closure above it")
    last = f"The last lid closes by {traces[-1].max():.0f}%"
    at = f", most at {time[traces[-1].argmax()]:.0f} ms" if traces[-1].max() > 0 else ""
    return conclude(figure, f"{last}{at}; the US begins at {us:g} ms.")


class Film:
    """An animation with one frame per trial: the lid against time, and the synapses against preferred time (:func:`raster`)."""

    def __init__(self, time: np.ndarray, granule: np.ndarray, cs: tuple[float, float], us: float):
        self.time, self.preferred = time, preferred_times(time, granule)
        self.figure = blank_figure(5.6, 4.4, dpi=80)
        # computing a layout per frame would take longer
        self.figure.subplots_adjust(left=0.14, right=0.97, bottom=0.12, top=0.93)
        self.lid, self.weights = self.figure.subplots(2, 1, sharex=True)
        (self.line,) = self.lid.plot(time, np.zeros(len(time), dtype=np.float64), color=COLOURS[0], linewidth=1.6)
        (self.dots,) = self.weights.plot(
            self.preferred, np.full(len(granule), 0.5, dtype=np.float64), ".", color=COLOURS[2], markersize=2, alpha=0.4
        )
        for axes in (self.lid, self.weights):
            _events(axes, cs, us)
            axes.spines[["top", "right"]].set_visible(False)
        self.lid.set_ylim(-2, 102)
        self.lid.set_ylabel("lid's closure, %")
        self.weights.set_ylabel("synapses")
        self.weights.set_xlabel(TIME)

    def frames(self, shown: Sequence[tuple[str, np.ndarray, np.ndarray]]) -> Iterator[None]:
        """Draw the trials in turn, given title, closure and weights of each."""
        self.weights.set_ylim(*_around_half(np.stack([weights for _, _, weights in shown])))
        for title, trace, weights in shown:
            self.lid.set_title(title, fontsize=9)
            self.line.set_ydata(trace)
            self.dots.set_ydata(weights)
            yield


def _around_half(weights: np.ndarray) -> tuple[float, float]:
    """Return axis limits that include all weights and are centred on ½."""
    far = max(0.01, 1.1 * float(np.abs(weights - 0.5).max()))
    return 0.5 - far, 0.5 + far


def _events(axes: Axes, cs: tuple[float, float] | None, us: float) -> None:
    if cs is not None:
        axes.axvspan(*cs, color=COLOURS[5], alpha=0.15, linewidth=0)
    axes.axvline(us, color=COLOURS[4], linewidth=1.2, linestyle="--")
