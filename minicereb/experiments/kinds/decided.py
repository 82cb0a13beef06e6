"""A property of a published network, decided by the complete verifier: the benchmark mnist_fc of VNN-COMP 2022."""

from __future__ import annotations

import csv
import io
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minicereb.backend import to_device, to_numpy
from minicereb.datasets.store import places
from minicereb.datasets.transforms import to_unit
from minicereb.documents import Count
from minicereb.errors import DataError
from minicereb.experiments.configs import Cost, Experiment
from minicereb.experiments.costs import Probes
from minicereb.experiments.identity import config_kind
from minicereb.experiments.laboratory import Laboratory, Record
from minicereb.experiments.records import shape
from minicereb.files import sha256_file
from minicereb.interchange.decide import decide
from minicereb.interchange.onnx_reader import OnnxModel, read_onnx
from minicereb.interchange.vnnlib import Property, read_vnnlib
from minicereb.models.mlp import initial_mlp
from minicereb.paths import read_text
from minicereb.settings import setting

FOLDER = "vnncomp-mnist-fc"
DRAWN = "drawn"
VERDICTS = {"certified": "unsat", "broken": "sat", "unknown": "unknown"}  # names of the verdicts in the competition


@config_kind
@dataclass(frozen=True)
class DecidedProperty(Experiment):
    """Decide whether a network has a property; the network "drawn" is small and random, and its property is robustness."""

    record_shape = shape(
        verdict=str,
        seconds=float,
        branches=Count,
        published=str | None,
        tools=Count | None,
        sha256=dict[str, str],
    )
    network: str = setting(help="File of the network in the folder of the benchmark.")
    question: str = setting(help="File of the property in the same folder.")
    seconds: float = setting(help="Time limit.", above=0, unit="s")

    @property
    def description(self) -> str:
        """A short description."""
        return f"{self.network}, {self.question}"

    def run(self, laboratory: Laboratory) -> Generator[str, None, Record]:
        """Decide the property; the record has our verdict and the competition's published verdict."""
        yield self.description
        if self.network == DRAWN:
            model, asked = _drawn(laboratory, float(self.question))
            published, sha256 = {}, {}
        else:
            folder = benchmark_folder()
            model, asked = read_onnx(folder / self.network), read_vnnlib(folder / self.question)
            published = _published(folder).get((self.network, self.question), {})
            sha256 = {name: sha256_file(folder / name) for name in (self.network, self.question)}
        found = decide(model, asked, self.seconds)
        return {
            "verdict": VERDICTS[found.verdict],
            "seconds": round(found.seconds, 2),
            "branches": found.branches,
            "published": published.get("verdict"),
            "tools": int(published["tools_that_solved_it"]) if published else None,
            "sha256": sha256,
        }

    def cost(self, probes: Probes) -> Cost:
        """Return the time limit as an upper bound on the cost."""
        return Cost(self.seconds, disk=0, at_most=True)


def benchmark_folder() -> Path:
    """Return the folder of the benchmark's files; raise :class:`DataError` if it is missing."""
    looked = [place / FOLDER for place in places()]
    for folder in looked:
        if folder.is_dir():
            return folder
    raise DataError(f"the networks and properties of the benchmark are not here; looked for the folder {looked[0]}")


def _published(folder: Path) -> dict[tuple[str, str], dict[str, str]]:
    """Return the rows of the table of published verdicts, keyed by network and property; empty if there is no table."""
    path = folder / "published.csv"
    rows = csv.DictReader(io.StringIO(read_text(path))) if path.is_file() else []
    return {(row["network"], f"{row['property'].removesuffix('.gz')}.gz"): row for row in rows}


def _drawn(laboratory: Laboratory, radius: float) -> tuple[OnnxModel, Property]:
    """Return a random perceptron and the property that another class can win within a radius of the first image."""
    data = laboratory.dataset
    network = initial_mlp(data.inputs, (8, 8), data.classes, seed=0)
    x = to_unit(to_device(data.x_test[:1]))
    label, rows, centre = int(network.forward(x)[0].argmax()), np.eye(data.classes), to_numpy(x)[0].astype(np.float64)
    cases = [((row - rows[j])[None], np.zeros(1)) for j in range(data.classes) if j != label for row in (rows[label],)]
    return OnnxModel(network, None, (data.inputs,)), Property(centre - radius, centre + radius, cases)
