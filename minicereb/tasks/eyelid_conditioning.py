"""Eyelid conditioning: after a stimulus (CS) and an interval comes a puff of air (US), and the lid learns to close in time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from minicereb.calculus.delay import delay_basis, eyelid_closure
from minicereb.errors import require
from minicereb.models.wiring import draw_wiring
from minicereb.settings import checked, field_of, setting
from minicereb.tasks.circuit import BIN, FORGETTING, LESION, LEVEL, RULE, Circuit, CircuitSignals

PROTOCOLS = ("delay", "trace")
PHASES = ("acquisition", "extinction", "reacquisition")
ONSET = 200  # ms from the beginning of a trial to the CS
ORDER, WINDOW, INPUTS = 24, 1500.0, 4  # order and window of the delay basis; mossy fibres per granule cell
SPIKES = 4.0  # spikes of all nuclear cells together per ms, at N = 1
PREMOTOR = 70  # ms from the nuclei to the lid
RESPONSE = 10.0  # closure in percent that counts as a response
IN_A_ROW = 5  # consecutive responses that meet the criterion


TIME: dict[str, Any] = {"above": 0, "multiple_of": BIN, "unit": "ms"}


@checked
@dataclass(frozen=True)
class Eyelid:
    """Settings of a session of eyelid conditioning: trials with a stimulus (CS) and a puff of air (US)."""

    interval: int = setting(500, "Time from the beginning of the CS to the beginning of the US", **TIME)
    protocol: str = setting("delay", "Whether the CS lasts until the US or ends before it.", choices=PROTOCOLS)
    cs: int | None = setting(
        None, "Duration of the CS", **TIME, usual="to the end of the US; with the trace protocol, half the interval"
    )
    us: int = setting(20, "Duration of the US, which excites the olive", **TIME)
    trial: int = setting(1500, f"Duration of a trial (the CS begins after {ONSET} ms)", **TIME)
    acquisition: int = setting(100, "Number of trials with CS and US.", at_least=1, option="trials")
    extinction: int = setting(0, "Number of trials with the CS alone, after acquisition.", at_least=0)
    reacquisition: int = setting(0, "Number of trials with CS and US again, after extinction.", at_least=0)
    cells: int = setting(10_000, "Number of granule cells.", at_least=2)
    level: float = field_of(LEVEL, 0.1)
    forgetting: float = field_of(FORGETTING, 0.01)
    lesions: tuple[str, ...] = field_of(LESION, ())
    seed: int = setting(0, "Seed of the wiring.", at_least=0)
    rule: str = field_of(RULE, "delta", added=True)

    def __post_init__(self) -> None:
        room = self.trial - ONSET - self.us
        require(room > 0, "trial", self.trial, f"more than {ONSET + self.us} ms: before the CS {ONSET}, for the US {self.us}")
        require(self.interval <= room, "interval", self.interval, f"at most {room} ms, so that the US is within the trial")
        if self.cs is not None:
            delay = self.protocol == "delay"
            able = (self.cs >= self.interval) == delay and ONSET + self.cs <= self.trial
            expected = f"{'at least' if delay else 'less than'} the interval, {self.interval} ms, and within the trial"
            require(able, "cs", self.cs, f"{expected}, with --protocol {self.protocol}")
        require(self.protocol == "delay" or self.interval > BIN, "interval", self.interval, f"more than {BIN} ms with trace")

    @property
    def stimulus(self) -> int:
        """Duration of the stimulus (CS) in ms."""
        if self.cs is not None:
            return self.cs
        return self.interval + self.us if self.protocol == "delay" else self.interval // 2 // BIN * BIN

    @property
    def description(self) -> str:
        """A short description."""
        rest = f", without {', '.join(self.lesions)}" if self.lesions else ""
        rest += "" if self.rule == "delta" else f", {self.rule}"
        return f"{self.protocol} {self.interval} ms{rest}, forgetting {self.forgetting:g}, {self.cells:,} cells, seed {self.seed}"


class ConditioningTrial(NamedTuple):
    """The lid's movement in a trial.

    Attributes
    ----------
    number : int
        Index from 0, over all phases.
    phase : str
    closure : float
        Largest closure after CS onset, in percent.
    peak : int or None
        Time of the peak, in ms from CS onset; None if the closure did not reach the criterion.
    lid : array of float64, shape (bins,)
        Closure at the end of each bin, in percent.
    signals : CircuitSignals
    """

    number: int
    phase: str
    closure: float
    peak: int | None
    lid: np.ndarray
    signals: CircuitSignals

    @property
    def responded(self) -> bool:
        """Whether there was a conditioned response: the lid closed by at least 10 percent."""
        return self.peak is not None


class Session:
    """Run a circuit through the trials of a session.

    The puff itself does not close the lid here, so every trial shows only the learned response, like a probe with the CS alone.

    Attributes
    ----------
    time : array of int, shape (bins,)
        End of each bin in ms from the beginning of the CS.
    """

    def __init__(self, settings: Eyelid):
        self.settings = settings
        bins = settings.trial // BIN
        self.time = np.arange(1, bins + 1, dtype=np.int64) * BIN - ONSET
        begins = self.time - BIN
        self.cs = ((begins >= 0) & (begins < settings.stimulus)).astype(np.float64)
        ends = settings.interval + settings.us
        self.us = ((begins >= settings.interval) & (begins < ends)).astype(np.float32)
        wiring = draw_wiring("random", settings.cells, (ORDER,), INPUTS, settings.seed)
        span = slice(ONSET // BIN, (ONSET + settings.interval) // BIN)
        self.circuit = Circuit(
            wiring,
            delay_basis(self.cs, ORDER, WINDOW, BIN),
            self.cs,
            span,
            level=settings.level,
            forgetting=settings.forgetting,
            rule=settings.rule,
            lesions=settings.lesions,
            seed=settings.seed,
        )

    def trials(self) -> Iterator[ConditioningTrial]:
        """Run the trials of all phases, and yield each trial."""
        phases = (phase for phase in PHASES for _ in range(getattr(self.settings, phase)))  # there may be very many
        for number, phase in enumerate(phases):
            signals = self.circuit.trial(np.zeros_like(self.us) if phase == "extinction" else self.us, number)
            lid = lid_of(signals.nuclei)
            after = lid[ONSET // BIN :]
            top = int(after.argmax())
            closure = float(after[top] - lid[ONSET // BIN - 1])
            peak = int(self.time[ONSET // BIN + top]) if closure >= RESPONSE else None
            yield ConditioningTrial(number, phase, closure, peak, lid, signals)


def lid_of(nuclei: np.ndarray) -> np.ndarray:
    """Return the lid's closure in percent at the end of each bin; it follows nuclear activity N after 70 ms ``[M-LID]``."""
    spikes = np.zeros(len(nuclei) * BIN, dtype=np.float64)
    spikes[PREMOTOR:] = np.repeat(SPIKES * nuclei, BIN)[:-PREMOTOR]
    return eyelid_closure(spikes)[BIN - 1 :: BIN]


def trials_to(responded: Sequence[bool], wanted: bool = True) -> int | None:
    """Return the number of trials before the first five in a row with a response, or None if there are no five in a row.

    If `wanted` is false, the five trials are trials without a response.
    """
    run = 0
    for number, each in enumerate(responded):
        run = run + 1 if each == wanted else 0
        if run == IN_A_ROW:
            return number + 1 - IN_A_ROW
    return None
