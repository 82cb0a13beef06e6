"""A small study of real experiments, and what tests ask of the folder it was carried out in."""

import subprocess
import sys
from pathlib import Path

from minicereb.attacks.settings import Attack
from minicereb.experiments.architectures import CerebellumModel
from minicereb.experiments.configs import Train
from minicereb.experiments.kinds.attacked import AttackedModel
from minicereb.experiments.runs import read_run
from minicereb.report.page import Table
from minicereb.studies.study import Study, carry_out

ATTACKS = (Attack("fgsm", "mse", 0.1), Attack("pgd", "margin", 0.1, steps=5))


def plan(data, scale, seeds):
    trains = [Train(CerebellumModel("random", 1000, 4), data, 5, 12, 0.5 / 1000, seed=seed) for seed in range(4)]
    return [AttackedModel(train, attack, 30) for train in trains for attack in ATTACKS]


def table(results):
    rows = [[f"{record[f'{name}_accuracy']}" for name in ("test", "robust")] for record in results.records]
    return [Table(["test", "robust"], rows)]


TOY = Study("toy", "Do they agree?", plan, table)


def study(dataset, out, crew=None, study=TOY):
    return carry_out(study, "smoke", (0,), dataset, out, crew)


def assert_equal(out, whole):
    for pattern in ("table.md", "runs/*/model.npz", "runs/*/metrics.jsonl"):
        found = sorted(whole.glob(pattern))
        assert found
        for path in found:
            assert (out / path.relative_to(whole)).read_bytes() == path.read_bytes()
    assert len(list(out.glob("runs/*/attacks/*.json"))) == 8
    assert not list(out.glob("jobs/wanted-*"))


def results_of(out):
    """When each result was written: it stays so if nothing is done twice."""
    runs = [run for run in out.glob("runs/*") if (run / "manifest.json").exists() and read_run(run).result]
    paths = [path for run in runs for path in (run / "model.npz", *run.glob("attacks/*.json"))]
    return {path: path.stat().st_mtime_ns for path in paths}


def assert_kept(out, written):
    assert written.items() <= results_of(out).items()


def command(dataset, out, workers):
    """Start the study in a separate process, with this many workers (0: none); it prints its progress."""
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); from pathlib import Path; "
        "import recorded_epochs, toy_study; "
        "from minicereb import datasets\n"
        f"crew = recorded_epochs.processes({workers}) if {workers} else None\n"
        f"for step in toy_study.study(datasets.load({dataset.name!r}), Path({str(out)!r}), crew): print(step.doing, flush=True)\n"
    )
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
