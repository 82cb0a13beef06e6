"""A session of eyelid conditioning: when the lid responds, and how many trials each phase needs."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from minicereb.documents import Count
from minicereb.experiments.configs import Cost, Experiment
from minicereb.experiments.costs import Probes
from minicereb.experiments.identity import config_kind
from minicereb.experiments.laboratory import Laboratory, Record
from minicereb.experiments.records import shape
from minicereb.settings import setting
from minicereb.tasks.circuit import BIN
from minicereb.tasks.eyelid_conditioning import ONSET, PHASES, ConditioningTrial, Eyelid, Session, trials_to

config_kind(Eyelid)
EVERY = 4  # the record has every fourth bin of a trace


@config_kind
@dataclass(frozen=True)
class Conditioning(Experiment):
    """A session of eyelid conditioning with one circuit."""

    record_shape = shape(
        closure=list[float],
        criterion=dict[str, Count | None],
        peak=float | None,
        trough=float,
        purkinje=dict[str, float],
        nuclear=dict[str, float],
        lid=list[float],
    )
    session: Eyelid = setting(help="Settings of the session.")

    @property
    def description(self) -> str:
        """A short description."""
        return self.session.description

    def run(self, laboratory: Laboratory) -> Generator[str, None, Record]:
        """Run the session and return its :func:`summary`."""
        session, trials = Session(self.session), []
        for trial in session.trials():
            trials.append(trial)
            yield f"{self.description}: {trial.phase}, trial {trial.number + 1}"
        return summary(session, trials)

    def cost(self, probes: Probes) -> Cost:
        """Return the cost of the trials, extrapolated from the first ones."""
        return Cost(probes.conditioning(self.session), disk=0)


def summary(session: Session, trials: Sequence[ConditioningTrial]) -> Record:
    """Return the record of a session, given all its trials; docs/formats.md describes it."""
    phases = {phase: some for phase in PHASES if (some := [trial for trial in trials if trial.phase == phase])}
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
