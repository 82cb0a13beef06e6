"""Can the circuit that learns MNIST learn to balance a pole, from errors or from failure, and which parts does it need?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from minicereb.experiments.configs import Data
from minicereb.experiments.kinds.pole import PoleBalancing, paths_of
from minicereb.report.figures import conclude
from minicereb.report.page import Text
from minicereb.report.pole_figures import learning_curves, trajectories
from minicereb.studies.results import Blocks, Figures, Results, tabulate
from minicereb.studies.study import STROKES, Study
from minicereb.tasks.pole_balancing import PoleTask
from minicereb.tasks.pole_learners import ActorCritic, ErrorDriven

# Per scale: granule cells, largest number of trials, duration of a successful trial in seconds.
SIZES = {"smoke": (300, 6, 2.0), "course": (4_000, 200, 100.0), "paper": (10_000, 200, 100.0)}
ERROR, CRITIC = ErrorDriven(), ActorCritic()
WHOLE = "error-driven"
CONDITIONS: dict[str, tuple[PoleTask, bool]] = {  # the task, and whether anything is learned before the tests
    WHOLE: (PoleTask(ERROR), True),
    "untrained": (PoleTask(ERROR), False),
    "olive lesioned": (PoleTask(ERROR, lesion="olive"), True),
    "right zone lesioned": (PoleTask(ERROR, lesion="right"), True),
    "no errors of the cart": (PoleTask(replace(ERROR, cart_frequency=0.0)), True),
    "with LTD": (PoleTask(ERROR, ltd=True), True),
    "no granule layer": (PoleTask(ERROR, lesion="granule"), True),
    "actor-critic": (PoleTask(CRITIC), True),
    "actor-critic, no TD error": (PoleTask(CRITIC, lesion="olive"), True),
}


def plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[PoleBalancing]:
    """Run every condition with every seed; for both ways of learning, record the paths of the first seed."""
    cells, trials, seconds = SIZES[scale]
    return [
        PoleBalancing(
            replace(task, cells=cells, seconds=seconds, seed=seed),
            trials if learns else 0,
            paths=seed == seeds[0] and name in (WHOLE, "actor-critic"),
        )
        for name, (task, learns) in CONDITIONS.items()
        for seed in seeds
    ]


def _condition(config: PoleBalancing) -> str:
    ours, learns = config.task, config.trials > 0
    sizes = {"cells": ours.cells, "seconds": ours.seconds, "seed": ours.seed}
    return next(n for n, (task, so) in CONDITIONS.items() if (replace(task, **sizes), so) == (ours, learns))  # type: ignore[arg-type]


def table(results: Results) -> Blocks:
    """Show for each condition the durations of trials, the first success, and the tests from angles not used in training."""
    task, angles, trials = results[0][0].task, results[0][0].angles, max(config.trials for config, _ in results)
    groups = results.by(_condition)

    def seconds(group: Results, trials: slice) -> list[float]:
        return [np.mean(record["seconds"][trials]) for record in group.records if record["seconds"]]

    def of_trained(count: Callable[[Results], int]) -> Callable[[Results], str]:
        return lambda group: f"{count(group)} of {len(group)}" if any(group.values("seconds")) else "-"

    def passed(group: Results) -> str:
        almost = task.seconds - task.cart.step / 2
        return f"{sum(s > almost for tests in group.values('tests') for s in tests)} of {sum(map(len, group.values('tests')))}"

    def error_rates(group: Results) -> list[float]:
        return [sum(r["errors"][-5:]) / sum(r["seconds"][-5:]) for r in group.records if r["seconds"]]

    found = tabulate(
        "circuit",
        groups,
        ("first 5 trials, s", lambda group: _median(seconds(group, slice(5)))),
        ("last 5, s", lambda group: _median(seconds(group, slice(-5, None)))),
        ("succeeded", of_trained(lambda group: len(group.values("succeeded")))),
        ("learned", of_trained(lambda group: sum(group.values("learned")))),
        ("first success", lambda group: _median(group.values("succeeded"), "{:.0f}")),
        ("tests, s", lambda group: _median([np.mean(each) for each in group.values("tests")])),
        ("tests passed", passed),
        ("errors/s", lambda group: _median(error_rates(group), "{:.2f}")),
    )
    away = ", ".join(f"{abs(angle):g}" for angle in angles if angle > 0)
    legend = (
        f"{task.cells:,} granule cells, {len(groups[WHOLE])} seeds, at most {trials} trials of {task.seconds:g} s; learning ends "
        f"when {task.enough} in a row have lasted to the end (learned). Medians over the seeds, quartiles in brackets; seconds "
        "are means over those trials or tests. Succeeded: seeds with a trial that lasted to the end; first success: number of "
        "the first such trial, among the seeds that have one. Tests: without further learning, starting at rest with the pole "
        f"±{away}° from upright; training trials begin within {np.degrees(task.spread):.1f}°. Passed: lasted to the end. "
        "Errors/s: teaching errors per second in the last 5 trials; for the actor-critic, failures."
    )
    return [found, Text(legend)]


def _median(values: Sequence[float], form: str = "{:.1f}") -> str:
    """Format the median and the quartiles."""
    if not values:
        return "-"
    low, middle, high = (form.format(value) for value in np.quantile(values, (0.25, 0.5, 0.75)))
    return f"{middle} ({low}-{high})" if len(values) > 1 else middle


def figures(results: Results) -> Figures:
    """Draw the learning curves of every condition that learns, and the paths of cart and pole before and after learning."""
    config, trials = results[0][0], max(config.trials for config, _ in results)
    curves = {
        name: [np.array(record["seconds"], dtype=np.float64) for record in group.records]
        for name, group in results.by(_condition).items()
    }
    panels = {name: seeds for name, seeds in curves.items() if all(map(len, seeds))}
    drawn = {"pole-learning": conclude(learning_curves(panels, trials, config.task.seconds), _who_learns(panels, config.task))}
    for config, record in results:
        if config.paths:
            name = f"pole-path-{_condition(config).replace(' ', '-')}"
            paths = paths_of(config, record)
            lasted = (f"{len(path) * config.task.cart.step:.1f} s ({title})" for title, path in paths.items())
            drawn[name] = conclude(
                trajectories(paths, config.task.cart.step), f"The pole stays up, within the first 10 s, for {', '.join(lasted)}."
            )
    return drawn


def _who_learns(panels: Mapping[str, Sequence[np.ndarray]], task: PoleTask) -> str:
    """State which circuits kept the pole up to the end of the last trial for every seed, for some seeds, and for none."""
    whole = task.seconds - task.cart.step / 2
    counts = {name: (sum(seed[-1] > whole for seed in seeds), len(seeds)) for name, seeds in panels.items()}
    groups = {
        "Every seed balances to the end": [name for name, (count, of) in counts.items() if count == of],
        "Some seeds": [f"{name} ({count} of {of})" for name, (count, of) in counts.items() if 0 < count < of],
        "No seed": [name for name, (count, _) in counts.items() if count == 0],
    }
    return ". ".join(f"{who}: {', '.join(names)}" for who, names in groups.items() if names) + "."


_PATH = (
    "Angle of the pole, position of the cart and force, for at most 10 s: in the first trial, until it fails, and in a test "
    "without further learning. First seed."
)

POLE = Study(
    "pole",
    "Does a cerebellum learn to balance a pole on a cart, and which of its parts does it need?",
    plan,
    table,
    figures,
    "The cerebellum paper names pole balancing as a secondary task and prints no figures for it. Expected here: from failing "
    "within a second or two to balancing for 100 s in 9 of 10 seeds within 200 trials, and no such improvement untrained or "
    "without the errors that teach.",
    captions={
        "pole-learning": (
            "Duration of each trial in seconds (logarithmic), each seed thin, median blue, quartiles shaded; dotted: a trial "
            "that succeeds. A seed that has learned stops; its last value is drawn on."
        ),
        "pole-path-error-driven": _PATH,
        "pole-path-actor-critic": _PATH,
    },
    dataset=STROKES,
    # the settings were chosen with seeds 0 to 7
    seeds={"smoke": (0,), "course": tuple(range(100, 110)), "paper": (0, 123, *range(100, 118))},
)
