"""Studies of any kind of experiment: models trained once, records saved and found again, models shared, figures drawn."""

import dataclasses
import itertools

import numpy as np
import pytest
from json_files import read_any

from minicereb.attacks.settings import Attack
from minicereb.errors import DataError
from minicereb.experiments import laboratory
from minicereb.experiments.configs import Experiment, Train
from minicereb.experiments.identity import config_hash, config_kind, from_json, to_json
from minicereb.experiments.kinds.attacked import AttackedModel
from minicereb.experiments.laboratory import Laboratory
from minicereb.experiments.runs import read_run
from minicereb.report.figures import curves, save_figure
from minicereb.report.page import Table
from minicereb.studies.results import Results
from minicereb.studies.study import Study, carry_out


@config_kind
@dataclasses.dataclass(frozen=True)
class Agreement(Experiment):
    """A toy: on how many test images the models agree, counted `times` times."""

    trains: tuple[Train, ...]
    times: int = 3

    @property
    def trainings(self):
        """Those compared."""
        return self.trains

    def run(self, laboratory):
        """Count."""
        return agreement(self, laboratory)


carried_out = []


def agreement(config, laboratory):
    x = laboratory.dataset.x_test.astype("float32") / 255
    for time in range(config.times):
        answers = [laboratory.model(train).forward(x)[0].argmax(axis=1) for train in config.trains]
        yield f"comparing, {time + 1} of {config.times}"
    carried_out.append(config)
    return {"agree": sum(len(set(each)) == 1 for each in zip(*answers, strict=True))}


@pytest.fixture(autouse=True)
def _agreement():
    carried_out.clear()


@pytest.fixture
def trains(cerebellum):
    return tuple(dataclasses.replace(cerebellum, epochs=1, seed=seed) for seed in range(3))


@pytest.fixture
def plan(trains):
    a, b, c = trains
    attacked = AttackedModel(a, Attack("fgsm", "mse", 0.1), 20)
    return [Agreement((a, b)), attacked, Agreement((b, c)), Agreement((c,)), Agreement((a, b), 2)]


def table(results):
    return [Table(["kind", "agree"], [[type(config).__name__, f"{record.get('agree')}"] for config, record in results])]


def study_of(plan, figures=None):
    return Study("toy", "Do they agree?", lambda data, scale, seeds: plan, table, figures)


def done(plan, dataset, out, figures=None):
    return [step.doing for step in carry_out(study_of(plan, figures), "smoke", (0,), dataset, out)]


def record_file(out, config):
    return out / "experiments" / f"{config_hash(config)[:16]}.json"


def test_each_kind_leaves_its_record_with_its_runs_and_trains_each_model_once(plan, trains, strokes, tmp_path):
    doing = done(plan, strokes, tmp_path)
    assert sum(step.endswith("epoch 1.00 of 1") for step in doing) == 3
    assert carried_out == [config for config in plan if isinstance(config, Agreement)]
    results = read_any(tmp_path / "study.json")["results"]
    assert [from_json(result["config"]) for result in results] == plan
    a, b, c = (config_hash(train)[:16] for train in trains)
    records = [result["record"] for result in results]
    assert [record.get("runs", record.get("run")) for record in records] == [[a, b], a, [b, c], c, [a, b]]
    assert records[0]["test_accuracies"] == [records[1]["test_accuracy"], records[2]["test_accuracies"][0]]
    assert 0 < records[0]["agree"] < records[3]["agree"] == len(strokes.x_test)
    kept = read_any(record_file(tmp_path, plan[0]))
    models = [read_run(tmp_path / "runs" / name).manifest["model_sha256"] for name in (a, b)]
    about = {"config": to_json(plan[0]), "hash": config_hash(plan[0]), "models": models}
    assert kept == {**about, "record": {"agree": records[0]["agree"]}}
    assert len(list((tmp_path / "experiments").iterdir())) == 4
    assert len(list((tmp_path / "runs" / a / "attacks").iterdir())) == 1


def test_stopped_anywhere_and_taken_up_again_a_study_ends_the_same_and_does_nothing_twice(plan, strokes, tmp_path):
    elsewhere, here = tmp_path / "elsewhere" / "study", tmp_path / "here" / "study"  # not beside each other
    whole = done(plan, strokes, elsewhere)
    carried_out.clear()
    experiment = whole.index("comparing, 3 of 3")
    for stop in (1, experiment - 30, 70):
        progress = carry_out(study_of(plan), "smoke", (0,), strokes, here)
        list(itertools.islice(progress, stop))
        progress.close()
    assert len(carried_out) == 1
    done(plan, strokes, here)
    assert carried_out == [config for config in plan if isinstance(config, Agreement)]
    for path in ("table.md", "experiments", "runs/*/model.npz"):
        written = [file for found in sorted(elsewhere.glob(path)) for file in (found, *sorted(found.glob("*")))]
        for file in (file for file in written if file.is_file()):
            assert (here / file.relative_to(elsewhere)).read_bytes() == file.read_bytes()


def test_what_one_study_did_another_in_the_same_folder_finds(plan, strokes, tmp_path):
    done(plan[:2], strokes, tmp_path)
    assert len(carried_out) == 1
    doing = done([plan[0], plan[4]], strokes, tmp_path)
    assert carried_out == [plan[0], plan[4]]
    assert not any(step.startswith("training") for step in doing)
    record_file(tmp_path, plan[0]).unlink()
    done([plan[0], plan[4]], strokes, tmp_path)
    assert carried_out == [plan[0], plan[4], plan[0]]


def test_an_experiment_may_stand_on_no_training_at_all(strokes, tmp_path, monkeypatch):
    monkeypatch.setattr(Agreement, "run", lambda config, laboratory: iter_of({"images": len(laboratory.dataset.x_test)}))
    assert done([Agreement(())], strokes, tmp_path) == ["looking", "done: Agreement"]
    assert read_any(tmp_path / "study.json")["results"][0]["record"] == {"images": 100, "test_images": 100}


def iter_of(record):
    yield "looking"
    return record


def test_the_models_last_used_are_loaded_once_and_others_are_let_go(trains, strokes, tmp_path, monkeypatch):
    done([Agreement(trains)], strokes, tmp_path)
    loaded = []
    monkeypatch.setattr(laboratory, "load_model", lambda run, dataset: loaded.append(run.config) or len(loaded))
    a, b, c = trains
    place = Laboratory(strokes, tmp_path)
    assert [place.model(train) for train in (a, b, a, b, a, c, a, c, b)] == [1, 2, 1, 2, 1, 3, 1, 3, 4]
    assert loaded == [a, b, c, b]


def test_a_damaged_record_is_told_in_one_line(plan, strokes, tmp_path):
    done(plan[:1], strokes, tmp_path)
    record_file(tmp_path, plan[0]).write_text("[]")
    with pytest.raises(DataError, match="delete it to do the experiment again"):
        done(plan[:1], strokes, tmp_path)


def test_figures_are_drawn_from_the_results_into_the_folder(plan, strokes, tmp_path):
    def figures(results):
        assert results.folder == tmp_path
        line = np.array(results.values("agree"), dtype=np.float64)
        return {"agree": curves([("", {"agree": (line, line)})], "", "")}

    done(plan[:1], strokes, tmp_path, figures)
    (result,) = read_any(tmp_path / "study.json")["results"]
    (drawn,) = figures(Results([(plan[0], result["record"])], tmp_path)).values()
    save_figure(drawn, tmp_path / "again.png")
    for ending in ("png", "svg"):
        assert (tmp_path / f"agree.{ending}").read_bytes() == (tmp_path / f"again.{ending}").read_bytes()
