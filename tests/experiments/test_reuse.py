"""What lies complete beside a study's folder is found and used where it is; what does not is as if it were not there."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
from json_files import read_any
from toy_study import command, plan, study

from minicereb.attacks.settings import Attack
from minicereb.errors import DataError
from minicereb.experiments import executors, laboratory
from minicereb.experiments.configs import Data, Train
from minicereb.experiments.costs import estimates
from minicereb.experiments.executors import processes
from minicereb.experiments.identity import config_hash
from minicereb.experiments.jobs import do_job, jobs_of, survey
from minicereb.experiments.kinds.transfer import TransferredAttack, pictures_path, read_pictures
from minicereb.experiments.laboratory import Laboratory, SiblingFolders, run_named
from minicereb.experiments.runs import read_run
from minicereb.files import write_json
from minicereb.studies.report import report_on


@pytest.fixture
def first(whole, tmp_path):
    """A complete study with another folder's place beside it."""
    return shutil.copytree(whole, tmp_path / "first")


def files_in(folder):
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def doings(small, out, crew=None):
    return [step.doing for step in study(small, out, crew)]


def configs(small):
    return jobs_of(plan(Data(small.name, small.sha256), "smoke", (0,)))


# -- found -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("crew", [None, processes(2)], ids=["one after another", "processes"])
def test_what_a_study_beside_has_done_is_not_done_again_and_nothing_there_is_changed(crew, small, first, tmp_path):
    before = files_in(first)
    second = tmp_path / "second"
    done = doings(small, second, crew)
    assert not any(doing.startswith("done") for doing in done)
    assert files_in(first) == before
    assert (second / "table.md").read_bytes() == (first / "table.md").read_bytes()
    assert not (second / "runs").exists()
    for one, other in zip(*(read_any(out / "study.json")["results"] for out in (first, second)), strict=True):
        name = one["record"]["run"]
        assert other == one | {"record": one["record"] | {"run": f"../first/runs/{name}"}}
        assert run_named(second, other["record"]["run"]).resolve() == run_named(first, name)
    stand = survey(second, "toy")
    assert (stand.done, stand.total) == (12, 12)
    assert all(each.done for each in estimates(configs(small), Laboratory(small, second)))


@pytest.mark.parametrize("crew", [None, processes(1)], ids=["one after another", "processes"])
def test_of_runs_that_train_left_the_models_are_used_and_the_attacks_kept_with_them(crew, small, first, tmp_path):
    for run in list((first / "runs").iterdir()):
        name = f"cerebellum-small-{run.name[:12]}"
        shutil.copytree(run, tmp_path / name, ignore=shutil.ignore_patterns("attacks"))
    reference = (first / "table.md").read_bytes()
    shutil.rmtree(first)
    done = doings(small, tmp_path / "second", crew)
    assert sum(doing.startswith("done: AttackedModel") for doing in done) == 8
    assert not any(doing.startswith(("training", "done: training")) for doing in done)
    assert (tmp_path / "second" / "table.md").read_bytes() == reference
    assert len(list(tmp_path.glob("cerebellum-*/attacks/*.json"))) == 8
    assert not (tmp_path / "second" / "runs").exists()


def test_the_own_folder_comes_first_and_an_attack_is_found_with_any_run_of_the_model(small, first, tmp_path):
    train = next(iter(configs(small)))
    second = tmp_path / "second"
    run = f"runs/{config_hash(train)[:16]}"
    shutil.copytree(first / run, second / run, ignore=shutil.ignore_patterns("attacks"))
    laboratory = Laboratory(small, second)
    assert laboratory.run(train).folder == second / run
    assert [found.folder for found in laboratory.complete_runs(train)] == [second / run, first / run]
    assert all(laboratory.is_done(job) for job in configs(small))


def test_a_report_has_versions_settings_and_accuracies_of_runs_that_lie_elsewhere(small, first, tmp_path):
    doings(small, tmp_path / "second")
    one, other = report_on(first), report_on(tmp_path / "second")
    for mine, theirs in zip(one.sections, other.sections, strict=True):
        assert repr(mine) == repr(theirs), mine.title
    assert {section.title: section.blocks for section in other.sections}["Versions"]


def test_pictures_are_read_from_beside_the_record(small, first, tmp_path):
    train = next(iter(configs(small)))
    config = TransferredAttack(train, train, Attack("fgsm", "mse", 0.1), 10, 1)
    laboratory = Laboratory(small, first)
    list(do_job(config, laboratory))
    pictures = read_pictures(tmp_path / "second", config)
    assert {name: array.tobytes() for name, array in pictures.items()} == {
        name: array.tobytes() for name, array in read_pictures(first, config).items()
    }
    pictures_path(first, config).unlink()
    with pytest.raises(DataError, match="does not exist"):
        read_pictures(tmp_path / "second", config)


def test_what_is_done_beside_while_a_study_is_at_work_is_told_as_done(small, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(laboratory, "SECONDS_BETWEEN_LOOKS", 0)
    second = tmp_path / "second"
    progress = study(small, second)
    said = [next(progress).doing]
    shutil.copytree(whole, tmp_path / "first")
    said += [step.doing for step in progress]
    assert {doing.split(":")[0] for doing in said} == {said[0].split(":")[0], "done"}  # one was being trained
    stand = survey(second, "toy")
    assert (stand.done, stand.total, stand.running) == (12, 12, [])
    assert len(list(second.glob("runs/*"))) == 1
    assert (second / "table.md").read_bytes() == (whole / "table.md").read_bytes()


def test_two_studies_at_once_in_folders_beside_each_other_come_to_the_same(small, whole, tmp_path):
    both = [command(small, tmp_path / name, workers) for name, workers in (("one", 0), ("other", 1))]
    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(lambda process: process.communicate(timeout=120), both))
    assert [process.returncode for process in both] == [0, 0], said
    for name in ("one", "other"):
        assert (tmp_path / name / "table.md").read_bytes() == (whole / "table.md").read_bytes()
        for model in (tmp_path / name).glob("runs/*/model.npz"):
            assert model.read_bytes() == (whole / model.relative_to(tmp_path / name)).read_bytes()


def test_a_worker_finds_what_the_study_has_been_told_of_since_the_worker_last_looked(small, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(laboratory, "SECONDS_BETWEEN_LOOKS", 1e9)
    out, mark = tmp_path / "second", tmp_path / "wanted"
    mark.touch()
    training, attack, *_ = configs(small)
    assert not executors._laboratory(small.name, small.sha256, out).is_trained(training)
    shutil.copytree(whole, tmp_path / "first")
    for record in (tmp_path / "first").glob("runs/*/attacks/*.json"):
        record.unlink()
    order = executors.JobRequest(attack, small.name, small.sha256, out, mark, 1, "cpu", 1, 100_000_000)
    assert executors.work(order) is None
    assert not (out / "runs").exists()
    assert len(list((tmp_path / "first").glob("runs/*/attacks/*.json"))) == 1


# -- not found ---------------------------------------------------------------------------------------------------------------


def half_done(run):
    manifest = read_any(run / "manifest.json")
    del manifest["result"]
    write_json(run / "manifest.json", manifest | {"status": "training"})


def damaged_model(run):
    (run / "model.npz").write_bytes(b"PK")


def no_model(run):
    (run / "model.npz").unlink()


def damaged_manifest(run):
    (run / "manifest.json").write_text("{")


def other_revision(run):
    write_json(run / "config.json", read_any(run / "config.json") | {"hash": "0" * 64})


@pytest.mark.parametrize("spoil", [half_done, damaged_model, no_model, damaged_manifest, other_revision])
def test_what_is_incomplete_or_damaged_beside_is_left_alone_and_done_here(spoil, small, first, tmp_path):
    train = next(iter(configs(small)))
    spoil(first / "runs" / config_hash(train)[:16])
    before = files_in(first)
    laboratory = Laboratory(small, tmp_path / "second")
    assert not laboratory.is_done(train)
    list(do_job(train, laboratory))
    assert laboratory.run(train).folder.parent == tmp_path / "second" / "runs"
    assert files_in(first) == before


def test_a_damaged_record_beside_is_not_used(small, first, tmp_path):
    train = next(iter(configs(small)))
    config = TransferredAttack(train, train, Attack("fgsm", "mse", 0.1), 10, 1)
    list(do_job(config, Laboratory(small, first)))
    assert Laboratory(small, tmp_path / "second").is_done(config)
    Laboratory(small, first).record_path(config).write_text("[]")
    assert not Laboratory(small, tmp_path / "second").is_done(config)


def test_a_run_beside_that_cannot_be_added_to_is_not_used(small, first, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert not any(Laboratory(small, tmp_path / "second").is_done(job) for job in configs(small))


def test_a_run_that_is_removed_while_a_laboratory_stands_is_no_longer_found(small, first, tmp_path):
    train, laboratory = next(iter(configs(small))), Laboratory(small, tmp_path / "second")
    assert laboratory.is_done(train)
    shutil.rmtree(first)
    assert not laboratory.is_done(train)


def test_many_lookups_look_at_the_folders_once_and_read_each_run_once(small, first, tmp_path, monkeypatch):
    looks, read, scandir = [], [], os.scandir
    monkeypatch.setattr(laboratory, "SECONDS_BETWEEN_LOOKS", float("inf"))
    monkeypatch.setattr(os, "scandir", lambda path: looks.append(path) or scandir(path))
    monkeypatch.setattr(laboratory, "read_run", lambda folder: read.append(folder) or read_run(folder))
    beside = SiblingFolders(tmp_path / "second")
    keys = [config_hash(job) for job in configs(small) if isinstance(job, Train)]
    for _ in range(50):
        assert all(len(list(beside.runs(key))) == 1 for key in keys)
        assert beside.record_path("0" * 64) is None
    assert (len(looks), len(read)) == (1, 4)
