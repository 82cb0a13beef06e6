"""Eyelid conditioning: what is learned, when the lid closes, what abolishes it, and invalid sessions."""

import numpy as np
import pytest

from minicereb.errors import InputError
from minicereb.tasks.eyelid_conditioning import IN_A_ROW, Eyelid, Session, lid_of, trials_to

SMALL = {"cells": 1_000, "acquisition": 40}


def session(**settings):
    return list(Session(Eyelid(**{**SMALL, **settings})).trials())


@pytest.mark.parametrize("protocol", ["delay", "trace"])
@pytest.mark.parametrize("interval", [250, 500, 750, 1000])
def test_the_lid_closes_most_when_the_puff_comes(interval, protocol):
    last = session(interval=interval, protocol=protocol)[-1]
    assert last.responded
    assert abs(last.peak - interval) <= 50
    time = Session(Eyelid(interval=interval, cells=2)).time
    assert last.lid[time <= 0].max() == 0


def test_synapses_that_know_only_whether_their_fibre_is_active_learn_when_as_well():
    trials = session(rule="ltd-ltp", extinction=60)
    assert abs(trials[39].peak - 500) <= 50
    assert not trials[-1].responded


def test_nothing_is_learned_at_50_ms_and_learning_is_slow_at_100():
    assert not any(trial.responded for trial in session(interval=50, acquisition=100))
    slow = trials_to([trial.responded for trial in session(interval=100, acquisition=100)])
    usual = trials_to([trial.responded for trial in session(interval=250, acquisition=100)])
    assert usual < slow


def test_without_the_granule_cells_time_the_lid_does_not_learn_when():
    for trials in (session(interval=interval, lesions=("granule-shuffle",)) for interval in (250, 750)):
        assert trials_to([trial.responded for trial in trials]) is None


def test_extinction_and_reacquisition_come_after_acquisition():
    trials = session(extinction=40, reacquisition=20)
    assert [trial.phase for trial in trials] == ["acquisition"] * 40 + ["extinction"] * 40 + ["reacquisition"] * 20
    assert trials[39].responded
    assert not trials[79].responded
    assert trials[99].responded
    assert [trial.number for trial in trials] == list(range(100))
    assert trials_to([trial.responded for trial in trials[80:]]) < trials_to([trial.responded for trial in trials[:40]])


def test_a_session_can_be_told_again():
    one, other = session(acquisition=8), session(acquisition=8)
    assert [trial.closure for trial in one] == [trial.closure for trial in other]
    assert (one[-1].lid == other[-1].lid).all()
    assert [trial.closure for trial in session(acquisition=20, seed=1)] != [trial.closure for trial in session(acquisition=20)]


@pytest.mark.parametrize(
    ("settings", "cs"),
    [
        ({}, (0, 520)),
        ({"us": 50}, (0, 550)),
        ({"cs": 600}, (0, 600)),
        ({"protocol": "trace"}, (0, 250)),
        ({"protocol": "trace", "cs": 100}, (0, 100)),
    ],
)
def test_the_stimuli_last_as_long_as_they_should(settings, cs):
    made = Session(Eyelid(cells=2, **settings))
    begins = made.time - 5
    assert begins[made.cs > 0][[0, -1]].tolist() == [cs[0], cs[1] - 5]
    assert begins[made.us > 0][[0, -1]].tolist() == [500, 500 + settings.get("us", 20) - 5]


def test_the_lid_follows_the_nuclei_after_70_ms():
    nuclei = np.zeros(200)
    nuclei[40:] = 1
    lid = lid_of(nuclei)
    assert not lid[: 40 + 14].any()
    assert lid[60] > 10


def test_a_criterion_is_five_in_a_row():
    assert IN_A_ROW == 5
    assert trials_to([True] * 5) == 0
    assert trials_to([False, True, True, False, *[True] * 5]) == 4
    assert trials_to([True] * 4 + [False] + [True] * 4) is None
    assert trials_to([True, *[False] * 5], wanted=False) == 1
    assert trials_to([]) is None


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"interval": 2_500}, "interval"),
        ({"interval": 1_285}, "interval"),
        ({"interval": -500}, "interval"),
        ({"interval": 0}, "interval"),
        ({"interval": 502}, "interval"),
        ({"us": -20}, "us"),
        ({"cs": -100}, "cs"),
        ({"cs": 300}, "cs"),
        ({"cs": 1_400}, "cs"),
        ({"protocol": "trace", "cs": 500}, "cs"),
        ({"protocol": "trace", "interval": 5}, "interval"),
        ({"trial": -1_000}, "trial"),
        ({"trial": 200}, "trial"),
        ({"protocol": "backward"}, "protocol"),
        ({"acquisition": 0}, "trials"),
        ({"extinction": -1}, "extinction"),
        ({"reacquisition": -1}, "reacquisition"),
        ({"cells": 1}, "cells"),
        ({"seed": -1}, "seed"),
        ({"level": 0.7}, "level"),
        ({"rule": "hebb"}, "rule"),
        ({"forgetting": 2.0}, "forgetting"),
        ({"lesions": ("liver",)}, "lesion"),
    ],
)
def test_what_is_no_session_is_refused_by_name(settings, named):
    with pytest.raises(InputError, match=f"^{named}: "):
        Eyelid(**settings)


def test_the_longest_interval_is_the_one_named():
    with pytest.raises(InputError, match="at most 1280 ms"):
        Eyelid(interval=1_285)
    assert Eyelid(interval=1_280).interval == 1_280


def test_a_session_of_very_many_trials_begins_at_once():
    """Their list would fill the memory, while Ctrl-C waits for the first trial."""
    first = next(Session(Eyelid(**{**SMALL, "acquisition": 10**18})).trials())
    assert (first.number, first.phase) == (0, "acquisition")
