"""The two motor tasks, trial by trial: the lid learns to close in time, and the pole stays up longer and longer."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from minicereb.explore.attack_story import Story
from minicereb.explore.packing import rounded
from minicereb.tasks.circuit import BIN
from minicereb.tasks.eyelid_conditioning import Eyelid, Session
from minicereb.tasks.pole_balancing import PoleBalancer, PoleTask

TRIALS, KEPT = 200, 10.0  # for the pole: the largest number of trials, and the seconds stored of each


def eyelid_story(settings: Eyelid) -> Generator[str, None, Story]:
    """Run a session of eyelid conditioning; store the traces of lid, Purkinje cell and climbing fibre in every trial.

    Returns
    -------
    Story
        Its arrays ``lid``, ``purkinje`` and ``climbing_fibre`` are int16, (trials, bins). Times are in ms from the beginning of
        the CS.
    """
    session, trials = Session(settings), []
    for trial in session.trials():
        trials.append(trial)
        yield f"eyelid, trial {trial.number + 1}"
    arrays, units = {}, {}
    for name, values in (
        ("lid", [trial.lid for trial in trials]),
        ("purkinje", [trial.signals.purkinje for trial in trials]),
        ("climbing_fibre", [trial.signals.climbing_fibre for trial in trials]),
    ):
        arrays[name], units[name] = rounded(np.stack(values), "int16")
    about = {
        "settings": settings.description,
        "first": int(session.time[0]),
        "bin": BIN,
        "cs": settings.stimulus,
        "us": [settings.interval, settings.interval + settings.us],
        "closure": [round(trial.closure, 1) for trial in trials],
        "phases": [trial.phase for trial in trials],
        "units": units,
    }
    return Story(about, arrays)


def pole_story(task: PoleTask, trials: int = TRIALS) -> Generator[str, None, Story]:
    """Learn to balance a pole, and store the first seconds of every trial.

    Returns
    -------
    Story
        Its arrays ``x`` (m), ``angle`` (rad) and ``force`` (N) are int16, (trials, steps stored); after the end of a trial they
        are 0.
    """
    balancer, cart, paths, seconds = PoleBalancer(task), task.cart, [], []
    for trial in balancer.learn(trials, round(KEPT / cart.step)):
        paths.append(trial.path)
        seconds.append(trial.seconds)
        yield f"pole, trial {trial.number + 1}"
    whole = np.zeros((len(paths), max(map(len, paths)), 5), dtype=np.float64)
    for number, path in enumerate(paths):
        whole[number, : len(path)] = path
    arrays, units = {}, {}
    for name, column in (("x", 0), ("angle", 2), ("force", 4)):
        arrays[name], units[name] = rounded(whole[:, :, column], "int16")
    about = {
        "seconds": seconds,
        "steps": [len(path) for path in paths],
        "step": cart.step,
        "success": task.seconds,
        "learned": balancer.has_learned,
        "half_length": cart.half_length,
        "x_limit": cart.x_limit,
        "angle_limit": cart.angle_limit,
        "units": units,
    }
    return Story(about, arrays)
