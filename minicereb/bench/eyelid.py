"""A session of eyelid conditioning: 100 trials of one second in bins of 5 ms, with 10,000 granule cells."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from minicereb.bench.timing import Contest
from minicereb.randomness import generator
from minicereb.tasks.circuit import BIN
from minicereb.tasks.eyelid import Eyelid, Session

SETTINGS = Eyelid(trial=1_000, acquisition=100, cells=10_000)


def contests(peers: bool) -> Iterator[Contest]:
    """Yield the benchmark; nothing is compared with it but its floor."""
    bins, cells = SETTINGS.trial // BIN, SETTINGS.cells
    rng = generator(0, "bench activity")
    activity, weights = rng.random((cells, bins), dtype=np.float32), rng.random(cells, dtype=np.float32)
    credit = rng.random(bins, dtype=np.float32)

    def products() -> None:
        for _ in range(SETTINGS.acquisition):
            activity.T @ weights
            activity @ credit

    yield Contest(
        f"{SETTINGS.acquisition} trials of eyelid conditioning, {SETTINGS.trial} ms in bins of {BIN} ms, {cells:,} cells",
        lambda: list(Session(SETTINGS).trials()),
        products,
        "two products of the activity with a vector in each trial",
        {},
        turns=5,
    )
