"""A session of eyelid conditioning: how soon the lid responds, when, how soon it ceases to, and how soon it does again."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypedDict

from minicereb.documents import Count
from minicereb.experiments.configs import Train
from minicereb.experiments.identity import config_kind
from minicereb.experiments.laboratory import Laboratory, Record
from minicereb.tasks.circuit import BIN
from minicereb.tasks.eyelid_conditioning import ONSET, PHASES, ConditioningTrial, Eyelid, Session, trials_to

config_kind(Eyelid)
EVERY = 4  # bins of a trace, of which the last is kept


class _Record(TypedDict):
    closure: list[float]
    criterion: dict[str, Count | None]
    peak: float | None
    trough: float
    purkinje: dict[str, float]
    nuclear: dict[str, float]
    lid: list[float]


@config_kind
@dataclass(frozen=True)
class Conditioning:
    """A session with one circuit.

    Parameters
    ----------
    session : Eyelid
    """

    record_shape: ClassVar[Any] = _Record
    session: Eyelid

    @property
    def trainings(self) -> tuple[Train, ...]:
        """None: what learns is the session itself."""
        return ()

    @property
    def description(self) -> str:
        """A few words."""
        return self.session.description


def conditioning(config: Conditioning, laboratory: Laboratory) -> Generator[str, None, Record]:
    """Carry out the experiment, yielding its progress in words; :func:`summary` says what the record holds."""
    session, trials = Session(config.session), []
    for trial in session.trials():
        trials.append(trial)
        yield f"{config.description}: {trial.phase}, trial {trial.number + 1}"
    return summary(session, trials)


def summary(session: Session, trials: Sequence[ConditioningTrial]) -> Record:
    """Return what a session came to.

    Parameters
    ----------
    session : Session
    trials : sequence of ConditioningTrial
        All of them.

    Returns
    -------
    dict
        ``closure`` of the lid in each trial, in percent; ``criterion``, for each phase that there was the trials before the
        first five responses in a row (in extinction, before the first five without), null if there are none; ``peak``, when
        the lid is closed most in the last trial of acquisition, null without a response; ``trough``, when the Purkinje cells
        are least active in it after the CS began; ``purkinje`` and ``nuclear``, for each phase the least Purkinje activity
        and the nuclear synapses in its last trial; ``lid``, its closure in the last trial of acquisition, every 20 ms from the
        beginning of the CS on.
    """
    phases = {phase: [trial for trial in trials if trial.phase == phase] for phase in PHASES}
    phases = {phase: some for phase, some in phases.items() if some}
    last, after = phases["acquisition"][-1], session.time > 0
    trough = session.time[after][last.signals.purkinje[after].argmin()]
    return {
        "closure": [round(trial.closure) for trial in trials],
        "criterion": {
            phase: trials_to([trial.responded for trial in some], phase != "extinction") for phase, some in phases.items()
        },
        "peak": last.peak,
        "trough": int(trough),
        "purkinje": {phase: round(float(some[-1].signals.purkinje[after].min()), 4) for phase, some in phases.items()},
        "nuclear": {phase: round(some[-1].signals.nuclear_synapses, 4) for phase, some in phases.items()},
        "lid": [round(value, 1) for value in last.lid[ONSET // BIN - 1 :: EVERY].tolist()],
    }
