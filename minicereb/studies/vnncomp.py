"""The benchmark mnist_fc of the verification competition VNN-COMP 2022."""

from __future__ import annotations

from itertools import groupby, product

from minicereb.experiments.configs import Data
from minicereb.experiments.kinds.decided import DRAWN, DecidedProperty
from minicereb.report.page import Table, Text
from minicereb.studies.results import Blocks, Results
from minicereb.studies.study import STROKES, Study

LIMITS = {"mnist-net_256x2.onnx": 120.0, "mnist-net_256x4.onnx": 300.0}  # seconds for one instance, as in the competition
RADII, IMAGES = (0.03, 0.05), 15
TOOLS = "alpha-beta-CROWN 44, MN-BaB 39, VeriNet 38, Debona and nnenum 36, Marabou 33"  # numbers of proofs for both networks


def plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[DecidedProperty]:
    """Decide every property of every network, with the competition's time limits or, at course scale, a twelfth of them."""
    if scale == "smoke":
        return [DecidedProperty(DRAWN, radius, 20.0) for radius in ("0.001", "0.9")]
    share = 1 if scale == "paper" else 1 / 12
    return [
        DecidedProperty(network, f"prop_{image}_{radius:g}.vnnlib.gz", limit * share)
        for (network, limit), radius, image in product(LIMITS.items(), RADII, range(IMAGES))
    ]


def table(results: Results) -> Blocks:
    """Return for each network and radius how many properties were decided, then every verdict."""

    def group(config: DecidedProperty) -> tuple[str, str]:
        return config.network, config.question.rpartition("_")[2].removesuffix(".vnnlib.gz")

    rows, every, wrong = [], [], 0
    for (network, radius), found in groupby(results, lambda result: group(result[0])):
        records = [(config, record) for config, record in found]
        counts = [f"{sum(record['verdict'] == verdict for _, record in records)}" for verdict in ("sat", "unsat", "unknown")]
        known = [f"{sum(record['published'] == verdict for _, record in records)}" for verdict in ("sat", "unsat")]
        rows.append([network, radius, *counts, *known, f"{sum(record['seconds'] for _, record in records):.0f}"])
        for config, record in records:
            contradicts = {record["verdict"], record["published"]} == {"sat", "unsat"}
            wrong += contradicts
            tools = "-" if record["tools"] is None else f"{record['tools']} of 7"
            verdict = f"{record['verdict']}{' **contradiction**' * contradicts}"
            cells = [verdict, f"{record['seconds']:.1f}", f"{record['branches']:,}", record["published"] or "-", tools]
            every.append([network, config.question, *cells])
    legend = (
        "Sat: a counterexample was found, which the network itself confirms; unsat: it is proved that there is none. Limits: "
        f"{', '.join(f'{config.seconds:g} s for {name}' for name, config in {c.network: c for c, _ in results}.items())}. "
        f"Verdicts that contradict the published ones: {wrong}. In the competition, of 44 proofs: {TOOLS}."
    )
    head = ["network", "ε", "sat", "unsat", "unknown", "published sat", "published unsat", "seconds"]
    each = ["network", "property", "verdict", "seconds", "branches", "published", "tools that decided it"]
    return [Table(head, rows), Text(legend), Table(each, every)]


VNNCOMP = Study(
    "vnncomp",
    "How many of the properties of VNN-COMP's mnist_fc does the complete verifier decide?",
    plan,
    table,
    expectation="VNN-COMP 2022 (Müller, Brix, Bak, Liu and Johnson, arXiv 2212.10376): all 15 counterexamples were found, and "
    "alpha-beta-CROWN, with a GPU and Gurobi, proved all 44 other properties that any tool decided.",
    dataset=STROKES,
    seeds={"smoke": (0,), "course": (0,), "paper": (0,)},
)
