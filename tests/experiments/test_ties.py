"""The parts of a run, and records beside it, belong together: what is of another run, or was altered, is not taken.

The folders in kept-424d849.zip were written by that commit, before the parts named each other. They are still read.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import invoke
from json_files import read_any
from processor import processor

from minicereb import datasets
from minicereb.attacks.settings import Attack
from minicereb.errors import DataError, RunError
from minicereb.experiments.evaluation.folder import read_evaluation
from minicereb.experiments.evaluation.settings import EvaluatedModel, evaluate_run
from minicereb.experiments.identity import config_hash, from_json, hashes, to_json
from minicereb.experiments.jobs import jobs_of, survey
from minicereb.experiments.kinds.attacked import AttackedModel, Tally, attack_config, attack_run, stored_record
from minicereb.experiments.kinds.pole import pole_in_folder
from minicereb.experiments.laboratory import Laboratory
from minicereb.experiments.records import read_kept, read_record, write_record
from minicereb.experiments.runs import load_model, read_run, run_training
from minicereb.files import read_npz, write_json, write_npz
from minicereb.learning.training import restore
from minicereb.report.page import html
from minicereb.studies.report import report_on

ROUNDS_AS_THEN = processor() == "AMD EPYC, Haswell"  # where the kept folders were written
ATTACK = Attack("pgd", "margin", 0.1, steps=5, step_size=0.01)


@pytest.fixture(autouse=True)
def _kept(tmp_path, monkeypatch):
    shutil.unpack_archive(Path(__file__).with_name("kept-424d849.zip"), tmp_path)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def data():
    return datasets.load("data.npz")


def drain(steps):
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def refused(*arguments):
    """A command that says in one line what is wrong, with exit code 2; the line, which remarks may precede."""
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    *remarks, line = result.stderr.strip().splitlines()
    assert not any(remark.startswith(("Error", "Traceback", " ")) for remark in remarks)
    return line


def trained(config, data, folder):
    drain(run_training(config, data, folder))
    return read_run(folder)


def begun(config, data, folder):
    """A training stopped in its second epoch."""
    training = run_training(config, data, folder)
    for progress in training:
        if progress.position.epoch == 1 and progress.position.seen:
            break
    training.close()


def edited(path, change):
    value = read_any(path)
    change(value)
    write_json(path, value)


def assert_same_model(folder, other):
    """The same arrays: bit for bit on the processor where the kept folders were written, otherwise but for rounding."""
    found, expected = read_npz(folder / "model.npz"), read_npz(other / "model.npz")
    assert found.keys() == expected.keys()
    for name, array in found.items():
        if ROUNDS_AS_THEN or array.dtype.kind != "f":
            assert array.tobytes() == expected[name].tobytes()
        else:
            assert np.allclose(array, expected[name], rtol=1e-4, atol=1e-6)


# -- folders from before -----------------------------------------------------------------------------------------------------


def test_an_old_run_is_read_with_its_attacks_and_evaluations(data):
    run = read_run("run")
    model = load_model(run, data)
    assert len(run.metrics()) == 3
    config = attack_config(run, data, ATTACK, 20)
    assert stored_record(run, config)["robust_accuracy"] == 0.55
    (folder,) = Path("run/evaluations").iterdir()
    before = (folder / "evaluation.json").read_bytes()
    evaluated = EvaluatedModel(run.config, (0.05, 0.1), 20, ("fgsm-mse", "pgd-margin"))
    assert folder.name in {key[:16] for key in hashes(evaluated)}  # what an evaluation comes to may have changed since
    assert read_evaluation(folder) == json.loads(before)
    if folder.name == config_hash(evaluated)[:16]:
        assert drain(evaluate_run(evaluated, run, model, data, {})) == json.loads(before)
    assert "55.0" in html(report_on(Path("run")))
    assert "Checklist" in html(report_on(folder))


@pytest.mark.parametrize("name", ["begun", "begun-first-epoch"])
def test_an_old_training_goes_on_from_its_checkpoint_and_says_what_could_not_be_compared(data, name, tmp_path):
    config = read_run(name).config
    steps = list(run_training(config, data, name))
    assert steps[0].resumed
    assert [step.remark is not None for step in steps] == [True] + [False] * (len(steps) - 1)
    whole = trained(config, data, tmp_path / "elsewhere" / "whole")
    assert_same_model(Path(name), whole.folder)
    if ROUNDS_AS_THEN:
        assert (Path(name) / "metrics.jsonl").read_bytes() == (whole.folder / "metrics.jsonl").read_bytes()


def same_as_ever():
    """The experiments of the old study whose revision is still the same: not those on evaluations."""
    plan = [from_json(each["config"]) for each in read_any(Path("study/study.json"))["results"]]
    assert len(plan) == 5
    return plan[:4]


def test_an_old_study_is_done_and_reported(data):
    results = read_any(Path("study/study.json"))["results"]
    laboratory = Laboratory(data, Path("study"))
    assert all(laboratory.is_done(job) for job in jobs_of(same_as_ever()))
    for config, each in zip(same_as_ever(), results, strict=False):
        assert laboratory.result(config) == each["record"]
    for path in Path("study").glob("**/experiments/*.json"):
        assert read_kept(path).record
    stand = survey(Path("study"), "kept")
    assert stand.done == stand.total == 10
    assert "What an old study holds." in html(report_on(Path("study")))


def test_what_an_old_study_did_is_found_beside(data):
    laboratory = Laboratory(data, Path("new"))
    assert all(laboratory.is_done(job) for job in jobs_of(same_as_ever()))


def test_old_features_are_computed_again(data):
    before = {path: path.read_bytes() for path in Path("encoder").glob("features-*.npy")}
    assert len(before) == 2
    for path in before:
        path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\0")
    run = read_run("behind")
    load_model(run, data)
    drain(run_training(run.config, data, "again", read_run("encoder")))
    assert {path: path.read_bytes() for path in before} == before
    assert_same_model(Path("again"), Path("behind"))


def test_an_old_pole_goes_on():
    config = from_json(read_any(Path("pole/config.json"))["config"])
    assert drain(pole_in_folder(config, Path("pole"))) == read_any(Path("pole/result.json"))["record"]


# -- settings and their hash -------------------------------------------------------------------------------------------------


def test_edited_settings_with_the_old_hash_are_refused():
    edited(Path("run/config.json"), lambda stored: stored["config"].update(epochs=100))
    with pytest.raises(DataError, match=r"config.json: the hash is not that of the settings"):
        read_run("run")
    assert "edited" in refused("show", "run")


def test_a_manifest_of_another_run_is_refused(data):
    other = trained(replace(read_run("run").config, seed=5), data, "other")
    shutil.copy("other/manifest.json", "run/manifest.json")
    with pytest.raises(DataError, match=r"run/manifest.json belongs to a run with other settings"):
        read_run("run")
    assert other.result


def test_metrics_of_another_run_are_refused(data):
    run = trained(replace(read_run("run").config, seed=5), data, "other")
    shutil.copy("run/metrics.jsonl", "other/metrics.jsonl")
    with pytest.raises(DataError, match=r"metrics.jsonl is missing or was altered"):
        run.metrics()
    assert "metrics.jsonl" in refused("show", "other")


# -- checkpoints -------------------------------------------------------------------------------------------------------------


def test_a_checkpoint_of_another_seed_is_not_taken_up(data):
    config = read_run("run").config
    for seed in (0, 9):
        begun(replace(config, seed=seed), data, f"seed{seed}")
    shutil.copy("seed9/checkpoint.npz", "seed0/checkpoint.npz")
    with pytest.raises(DataError, match=r"not a checkpoint of this run \(it belongs to other settings\); delete it"):
        drain(run_training(replace(config, seed=0), data, "seed0"))


def test_an_old_checkpoint_of_another_run_is_known_by_its_metrics(data):
    config = read_run("run").config
    begun(config, data, "seed0")
    shutil.copy("begun/checkpoint.npz", "seed0/checkpoint.npz")
    with pytest.raises(DataError, match=r"not a checkpoint of this run \(its metrics are not those in metrics.jsonl\)"):
        drain(run_training(config, data, "seed0"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"now/readout": np.zeros((12, 1), dtype=np.float32)}, "the array now/readout"),
        ({"now/readout": np.zeros((12, 3))}, "the array now/readout is float64"),
        ({"now/ltd_mean": None}, "the array now/ltd_mean is missing"),
        ({"best/ltd_mean": None}, "all arrays of the best epoch"),
        ({"state": None}, "the array state is missing"),
        ({"state": np.array(3)}, "the array state"),
        ({"state": np.array("[" * 5000)}, "state is nested too deeply"),
        ({"state": np.array("{}")}, "state: position is missing"),
    ],
)
def test_a_checkpoint_that_is_none_is_told_in_one_line(data, change, said):
    arrays = read_npz("begun/checkpoint.npz") | change
    write_npz("begun/checkpoint.npz", {name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(DataError, match=f"not a checkpoint of this run .*{said}.*delete it to train from the start"):
        drain(run_training(read_run("begun").config, data, "begun"))


@pytest.mark.parametrize(
    "change",
    [
        {"position": {"epoch": "1"}},
        {"position": {"epoch": -1}},
        {"position": {"epoch": 2}},
        {"position": {"seen": 1.5}},
        {"metrics": [{"epoch": 1, "loss": "low", "train_accuracy": 1.0}]},
        {"metrics": "none"},
        {"seconds": None},
    ],
)
def test_a_state_of_another_form_is_told_in_one_line(data, change):
    arrays = read_npz("begun/checkpoint.npz")
    state = json.loads(str(arrays["state"]))
    for name, value in change.items():
        state[name] = state[name] | value if isinstance(value, dict) else value
    write_npz("begun/checkpoint.npz", arrays | {"state": np.array(json.dumps(state))})
    with pytest.raises(DataError, match="not a checkpoint of this run"):
        drain(run_training(read_run("begun").config, data, "begun"))


def test_arrays_of_another_shape_are_not_spread_over_a_model():
    arrays = {"a": np.zeros((2, 3), dtype=np.float32), "b": np.zeros(3, dtype=np.float32)}
    for wrong in ({"a": np.ones((1, 3), dtype=np.float32)}, {"a": np.ones((2, 3))}, {"a": np.float32(1)}, {}):
        with pytest.raises(DataError, match="the array a .*expected float32"):
            restore(arrays, {"b": np.ones(3, dtype=np.float32)} | wrong)
    assert not any(array.any() for array in arrays.values())


# -- models and what is said of them -----------------------------------------------------------------------------------------


def alter_model(run, change):
    """Write another model, and its SHA-256 into the manifest, as somebody might who wants it to be believed."""
    from minicereb.files import sha256_file

    arrays = read_npz(run / "model.npz")
    write_npz(run / "model.npz", {name: array for name, array in change(arrays).items() if array is not None})
    edited(run / "manifest.json", lambda manifest: manifest.update(model_sha256=sha256_file(run / "model.npz")))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda arrays: arrays | {"readout": None}, "readout is missing"),
        (lambda arrays: arrays | {"readout": arrays["readout"][:1]}, "readout is float32"),
        (lambda arrays: arrays | {"readout": arrays["readout"].astype(np.float64)}, "readout is float64"),
        (lambda arrays: arrays | {"ltd_mean": np.float32(0)}, "ltd_mean is float32"),
        (
            lambda arrays: arrays | {"readout": np.where(arrays["readout"] > 0, np.float32("-inf"), 0)},
            "readout holds numbers that are not",
        ),
        (lambda arrays: arrays | {"wiring_sha256": np.array(3)}, "wiring_sha256 is int64"),
    ],
)
def test_arrays_that_are_missing_or_misshaped_are_named_though_the_hash_matches(data, change, said):
    alter_model(Path("run"), change)
    with pytest.raises(DataError, match=f"model.npz.*{said}"):
        load_model(read_run("run"), data)
    assert "model.npz" in refused("export", "run", "out.npz")


def test_a_record_of_an_attack_is_not_shown_for_an_altered_model(data):
    run, model = read_run("run"), Path("run/model.npz")
    config = attack_config(run, data, ATTACK, 20)
    before = model.read_bytes()
    model.write_bytes(before[:-1] + b"\1")
    with pytest.raises(DataError, match="model.npz is missing or was altered"):
        list(run_training(run.config, datasets.load(run.config.data.name), "run"))
    with pytest.raises(DataError, match="model.npz is missing or was altered"):
        stored_record(run, config)
    assert "altered" in refused("attack", "run", "--steps", 5, "--step-size", 0.01, "--images", 20)
    assert "altered" in refused("report", "run")
    model.write_bytes(before)
    drain(attack_run(run, load_model(run, data), data, config, Tally()))
    assert stored_record(run, config)["images"] == 20
    alter_model(Path("run"), lambda arrays: arrays | {"readout": 2 * arrays["readout"]})
    with pytest.raises(DataError, match="the record of an attack on another model; delete it to attack again"):
        stored_record(read_run("run"), config)
    assert "another model" in refused("report", "run")


def test_a_record_copied_to_other_settings_does_not_answer_for_them(data):
    run = read_run("run")
    config, other = (attack_config(run, data, replace(ATTACK, steps=steps), 20) for steps in (5, 6))
    source, target = (run.folder / "attacks" / f"{config_hash(each)[:16]}.json" for each in (config, other))
    shutil.copy(source, target)
    with pytest.raises(DataError, match="holds the record of settings that do not fit its name"):
        stored_record(run, other)
    assert "settings that do not fit its name" in refused("attack", "run", "--steps", 6, "--step-size", 0.01, "--images", 20)
    assert "settings that do not fit its name" in refused("report", "run")
    edited(target, lambda stored: stored.update(hash=config_hash(other)))
    with pytest.raises(DataError, match="settings that do not fit its name"):
        read_kept(target)


@pytest.mark.parametrize(
    "change",
    [
        {"robust_accuracy": 99.9},
        {"robust_accuracy": "high"},
        {"robust_interval": [0.1]},
        {"robust_interval": None},
        {"images": -1},
        {"seconds": {}},
    ],
)
def test_a_record_of_another_form_is_told_in_one_line(change):
    (path,) = Path("run/attacks").iterdir()
    edited(path, lambda stored: stored["record"].update(change))
    assert next(iter(change)) in refused("attack", "run", "--steps", 5, "--step-size", 0.01, "--images", 20)
    assert next(iter(change)) in refused("report", "run")


@pytest.mark.parametrize("text", ["Infinity", "NaN", "1e999", "[" * 3000, '"\\ud800"'])
def test_a_record_that_is_not_strict_json_is_told_in_one_line(text):
    (path,) = Path("run/attacks").iterdir()
    path.write_text(path.read_text().replace("0.55", text, 1))
    assert path.name in refused("attack", "run", "--steps", 5, "--step-size", 0.01, "--images", 20)


def moved_of_study():
    results = read_any(Path("study/study.json"))["results"]
    return next(from_json(each["config"]) for each in results if each["config"]["kind"] == "MovedOutputs")


def test_a_neighbours_record_of_other_settings_is_ignored_and_ones_own_refused(data):
    config = moved_of_study()
    path = Laboratory(data, Path("new")).record_path(config)
    assert path.parent == Path.cwd() / "study" / "experiments"
    other = replace(config, attack=replace(config.attack, epsilon=0.2))
    stored = read_any(path)
    write_json(path, {"config": to_json(other), "record": stored["record"] | {"robust_accuracy": 0.999}})
    assert not Laboratory(data, Path("new")).is_done(config)
    with pytest.raises(DataError, match="holds the record of settings that do not fit its name; delete it"):
        Laboratory(data, Path("study")).result(config)
    write_json(path, {"config": stored["config"], "record": {"robust_accuracy": 0.999}})
    assert not Laboratory(data, Path("new")).is_done(config)


def test_a_record_of_another_model_does_not_count(data):
    config = moved_of_study()
    laboratory = Laboratory(data, Path("study"))
    path = laboratory.record_path(config)
    write_record(path, config, read_record(path, config).record, ["0" * 64])
    with pytest.raises(DataError, match="the record of another model than there is now"):
        laboratory.result(config)
    assert not Laboratory(data, Path("new")).is_done(config)


def test_a_neighbours_record_of_an_attack_on_other_settings_is_ignored(data):
    results = read_any(Path("study/study.json"))["results"]
    config = next(from_json(each["config"]) for each in results if each["config"]["kind"] == "AttackedModel")
    path = Laboratory(data, Path("new")).record_path(config)
    assert path.exists()
    other = to_json(AttackedModel(config.train, replace(config.attack, epsilon=0.05), config.images))
    edited(path, lambda stored: stored.update(config=other))
    assert not Laboratory(data, Path("new")).is_done(config)


# -- evaluations -------------------------------------------------------------------------------------------------------------


def test_an_evaluation_copied_to_other_settings_is_refused(data):
    run = read_run("run")
    config = EvaluatedModel(run.config, (0.05, 0.1), 20, ("fgsm-mse", "pgd-margin"))
    other = replace(config, seed=1)
    (old,) = Path("run/evaluations").iterdir()
    shutil.copytree(old, f"run/evaluations/{config_hash(other)[:16]}")
    with pytest.raises(DataError, match="an evaluation with other settings"):
        drain(evaluate_run(other, run, load_model(run, data), data, {}))


def test_parts_of_another_evaluation_are_not_taken_up(data):
    run = read_run("run")
    model = load_model(run, data)
    quick = EvaluatedModel(run.config, (0.05,), 12, ("fgsm-mse",), certify=False)
    other = replace(quick, seed=1)
    drain(evaluate_run(quick, run, model, data, {}))
    one, two = (Path("run/evaluations") / config_hash(each)[:16] for each in (quick, other))
    two.mkdir()
    shutil.copy(one / "checklist.json", two)
    assert read_any(two / "checklist.json")["owner"].startswith(config_hash(quick))
    drain(evaluate_run(other, run, model, data, {}))
    assert read_any(two / "checklist.json")["owner"].startswith(config_hash(other))
    (two / "evaluation.json").unlink()
    shutil.copy(one / "images-000000.npz", two)
    with pytest.raises(DataError, match="images-000000.npz belongs to an evaluation with other settings"):
        drain(evaluate_run(other, run, model, data, {}))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("epsilons",), []),
        (("epsilons", 0, "attacked"), "half"),
        (("epsilons", 0, "checklist", 0, "verdict"), "perhaps"),
        (("epsilons", 1, "by_attack"), {}),
        (("epsilons", 0, "certified_interval"), None),
        (("curve", "attacked"), [1.0]),
        (("norm",), 2),
        (("images",), 0),
        (("clean_accuracy",), None),
    ],
)
def test_an_evaluation_of_another_form_is_told_in_one_line(path, value):
    (folder,) = Path("run/evaluations").iterdir()
    record = read_any(folder / "evaluation.json")
    *outer, last = path
    place = record
    for key in outer:
        place = place[key]
    place[last] = value
    write_json(folder / "evaluation.json", record)
    with pytest.raises(DataError, match="evaluation.json: "):
        read_evaluation(folder)
    assert "evaluation.json" in refused("report", folder)


# -- features, notices, studies ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["other bits", "another model", "another shape", "no description"])
def test_features_that_were_altered_or_are_of_another_model_are_refused(data, what):
    config, encoder = read_run("behind").config, read_run("encoder")
    drain(run_training(config, data, "again", encoder))
    path = next(Path("encoder").glob("features-*-train.npy"))
    content = path.read_bytes()
    if what == "other bits":
        path.write_bytes(content[:-4] + b"\1\0\0\0")
    elif what == "another model":
        edited(path.with_suffix(".json"), lambda about: about.update(model_sha256="0" * 64))
    elif what == "another shape":
        path.write_bytes(content.replace(b"(60, 32)", b"(99, 99)"))
    else:
        path.with_suffix(".json").write_text("[]")
    changed = path.read_bytes() != content or what in ("another model", "no description")
    assert changed
    with pytest.raises(DataError, match="features-.*-train"):
        drain(run_training(config, data, "once-more", encoder))


def test_a_notice_of_another_job_tells_nothing():
    jobs = read_any(Path("study/jobs/study-kept.json"))["jobs"]
    one, other = (Path(f"study/jobs/{job['hash']}.json") for job in jobs[:2])
    shutil.copy(one, other)
    stand = survey(Path("study"), "kept")
    assert (stand.done, stand.total) == (9, 10)
    other.write_text("[]")
    assert survey(Path("study"), "kept").done == 9


@pytest.mark.parametrize(
    ("path", "value"),
    [(("jobs",), 3), (("jobs", 0, "hash"), None), (("workers",), "two"), (("began",), None), (("jobs", 0, "done"), 1)],
)
def test_a_plan_of_another_form_is_told_in_one_line(path, value):
    plan = read_any(Path("study/jobs/study-kept.json"))
    place = plan
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    write_json(Path("study/jobs/study-kept.json"), plan)
    assert "study-kept.json" in refused("study", "status", "study")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("results",), {}),
        (("results", 0, "record"), []),
        (("results", 0, "record", "robust_accuracy"), 99.9),
        (("results", 0, "record", "run"), 3),
        (("results", 2, "record", "true"), None),
        (("results", 3, "record", "all", "adversarial_ot"), 0.5),
        (("results", 4, "record", "epsilons"), []),
        (("seeds",), ["0"]),
        (("question",), None),
    ],
)
def test_a_study_of_another_form_is_told_in_one_line(path, value):
    study = read_any(Path("study/study.json"))
    place = study
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    write_json(Path("study/study.json"), study)
    assert "study.json" in refused("report", "study")


@pytest.mark.parametrize(
    "line",
    [
        '{"epoch": 1}',
        '{"epoch": "1", "loss": 1, "train_accuracy": 1}',
        "[]",
        '{"epoch": 1, "loss": Infinity, "train_accuracy": 1}',
    ],
)
def test_metrics_of_another_form_are_told_in_one_line(line):
    Path("run/metrics.jsonl").write_text(line + "\n")
    assert "metrics.jsonl, line 1" in refused("show", "run")


def test_a_folder_that_is_no_run_is_still_one_line():
    shutil.rmtree("run/attacks")
    Path("run/config.json").write_text("{}")
    with pytest.raises(DataError, match="config.json: config is missing"):
        read_run("run")
    with pytest.raises(RunError):
        read_run("study")


def test_the_command_that_goes_on_from_an_old_checkpoint_says_so():
    options = ("--cells", 12, "--batch-size", 5, "--epochs", 3, "--learning-rate", 0.04, "--seed", 3, "--out", "begun")
    arguments = ("train", "cerebellum", "--dataset", "data.npz", *options)
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    assert "before checkpoints named their settings" in result.stderr
