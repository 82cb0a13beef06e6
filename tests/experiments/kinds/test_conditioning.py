"""Studies of eyelid conditioning: their plans, and what their tables make of records."""

import numpy as np
import pytest
from written import written

from minicereb.experiments.configs import Data
from minicereb.experiments.identity import from_json, to_json
from minicereb.experiments.kinds.conditioning import Conditioning, summary
from minicereb.report.figures import svg
from minicereb.studies.eyelid import ISI, LESIONS_STUDY, SAVINGS, closure_curve, over_seeds, trials_to_criterion
from minicereb.studies.results import Results
from minicereb.tasks.circuit import LESIONS
from minicereb.tasks.eyelid_conditioning import Eyelid, Session

DATA = Data("strokes", "0" * 64)
SEEDS = (0, 1, 2)


def invented(plan, record):
    return [(config, record(config.session)) for config in plan]


def row(text, *names):
    start = "| " + " | ".join(names) + " |"
    return next(line for line in text.splitlines() if line.startswith(start)).strip("| ").split(" | ")[len(names) :]


def test_the_record_says_what_the_session_came_to():
    session = Session(Eyelid(cells=500, acquisition=30, extinction=20, reacquisition=5))
    trials = list(session.trials())
    record = summary(session, trials)
    assert record["closure"] == [round(trial.closure) for trial in trials]
    assert set(record["criterion"]) == {"acquisition", "extinction", "reacquisition"}
    assert record["peak"] == trials[29].peak
    assert record["trough"] == session.time[np.argmin(np.where(session.time > 0, trials[29].signals.purkinje, 9))]
    assert record["nuclear"]["extinction"] == pytest.approx(trials[49].signals.nuclear_synapses, abs=1e-4)
    at = int(np.flatnonzero(session.time == 500)[0])
    assert record["lid"][500 // 20] == round(trials[29].lid[at], 1)


def test_an_experiment_is_found_again_from_its_settings():
    config = Conditioning(Eyelid(lesions=("golgi", "olive"), cs=600))
    assert from_json(to_json(config)) == config
    assert "without golgi, olive" in config.description


def timed(session):
    shuffled = bool(session.lesions)
    responds = session.interval > 50 and not shuffled
    moved = session.interval + session.seed - 1
    count = session.acquisition + session.extinction
    criterion = {"acquisition": 10 + session.seed if responds else None}
    if session.extinction:
        criterion["extinction"] = 20
    trough = 600 + 100 * session.seed if shuffled else moved - 75
    peak = moved if responds else None
    return {"closure": [50] * count, "criterion": criterion, "peak": peak, "trough": trough, "lid": [0.0] * 20}


def test_the_table_of_intervals_says_how_far_off_a_peak_is_and_whether_it_moves():
    text = written(ISI.table, invented(ISI.plan(DATA, "course", SEEDS), timed))
    assert row(text, "delay", "50") == ["none of 3", "50.0 (all)", "none of 3", "-", "-25 (-27 to -23)", "none of 3"]
    assert row(text, "trace", "750")[:4] == ["11.0 (8.5 to 13.5)", "50.0 (all)", "750 (748 to 752)", "1"]
    assert row(text, "lid's peak", "delay") == ["1.00 (1.00 to 1.00)"]
    assert row(text, "lid's peak", "delay, shuffled") == ["none of 3"]
    assert float(row(text, "Purkinje trough", "delay, shuffled")[0].split()[0]) == pytest.approx(0, abs=1e-9)


def test_short_intervals_are_measured_with_the_delay_protocol_alone():
    plan = [config.session for config in ISI.plan(DATA, "course", (0,))]
    assert [session.interval for session in plan if session.protocol == "trace"] == [250, 500, 750, 1000]
    assert [session.interval for session in plan if session.protocol == "delay" and not session.lesions][:2] == [50, 100]
    assert [session.interval for session in plan if session.lesions] == [250, 500, 750, 1000]
    assert all(session.cells == 10_000 for session in plan)


def saved(session):
    again = 4 if not session.lesions else 10 - round(100 * session.forgetting)
    count = session.acquisition + session.extinction + session.reacquisition
    return {
        "closure": [0] * count,
        "criterion": {"acquisition": 10 + session.seed, "extinction": 7, "reacquisition": again + session.seed},
        "purkinje": {"extinction": 0.5},
        "nuclear": {"extinction": 0.25},
    }


def test_what_is_saved_is_compared_with_the_lesioned_circuit_of_the_same_seed():
    text = written(SAVINGS.table, invented(SAVINGS.plan(DATA, "course", SEEDS), saved))
    assert row(text, "0.02", "intact")[2] == "6.0 (all)"
    assert row(text, "0", "no nuclear plasticity")[2] == "0.0 (all)"
    assert text.splitlines()[-3:] == ["| 0 | 6.0 (all) |", "| 0.01 | 5.0 (all) |", "| 0.02 | 4.0 (all) |"]


def test_every_lesion_has_a_row_and_is_made_alone():
    plan = LESIONS_STUDY.plan(DATA, "course", SEEDS)
    assert {config.session.lesions for config in plan} == {(), *((lesion,) for lesion in LESIONS)}
    text = written(LESIONS_STUDY.table, invented(plan, timed))
    assert all(row(text, name) for name in LESIONS)
    assert row(text, "olive")[1:] == ["none of 3", "50.0 (all)", "none of 3", "none of 3", "50.0 (all)"]


def test_numbers_over_seeds():
    assert over_seeds([3.0]) == "3.0"
    assert over_seeds([None, None]) == "none of 2"
    assert over_seeds([2.0, None, 2.0]) == "2.0 (all), 2 of 3"
    records = [{"criterion": {"acquisition": first, "extinction": 0}} for first in (4, None)]
    assert [trials_to_criterion("extinction")(record) for record in records] == [0, None]
    x, mean, low, high = closure_curve(Results([(None, {"closure": [9, 1, 3]}), (None, {"closure": [9, 3, 3]})]), slice(1, 3))
    assert (x.tolist(), mean.tolist()) == ([1, 2], [2, 3])
    assert low[0] < 2 < high[0]
    assert low[1] == high[1] == 3


@pytest.mark.parametrize(("study", "record"), [(ISI, timed), (SAVINGS, saved), (LESIONS_STUDY, timed)])
def test_the_figures_are_drawn(study, record):
    drawn = study.figures(Results(invented(study.plan(DATA, "smoke", (0, 1)), record)))
    assert {*drawn} == {*study.captions}
    assert all(svg(figure) for figure in drawn.values())
