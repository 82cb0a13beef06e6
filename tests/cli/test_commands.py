"""The commands: what they print, the errors they tell in one line, and what they leave behind when they are killed."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import click
import numpy as np
import pytest
from commands import document, invoke, succeed

from minicereb import cli, datasets
from minicereb.cli.main import COMMANDS, main

TRAIN = ("train", "cerebellum", "--dataset", "strokes", "--cells", "300", "--epochs", "1")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    succeed(*TRAIN, "--out", folder)
    return folder


def test_train_prints_one_json_document_with_the_stable_keys(tmp_path):
    result = succeed(*TRAIN, "--out", "run", "--json")
    report = json.loads(result.stdout)
    assert list(report) == ["run", "test_accuracy", "train_accuracy", "validation_accuracy", "seconds"]
    assert 0.7 < report["test_accuracy"] <= 1


def test_a_convolutional_network_is_trained_and_attacked(run, tmp_path):
    names = ("x_train", "y_train", "x_test", "y_test")
    drawn = datasets.load("strokes", train=600, test=60)
    np.savez("small.npz", **{name: getattr(drawn, name).reshape(-1, *(28, 28)[: 2 * name.startswith("x")]) for name in names})
    shape = ("--stages", "4/8", "--hidden", "20", "--batch-norm", "--dropout", "0.1,0.1", "--batch-size", "10")
    report = json.loads(
        succeed("train", "cnn", "--dataset", "small.npz", *shape, "--epochs", "4", "--out", "cnn", "--json").stdout
    )
    assert report["test_accuracy"] > 0.5
    attacked = json.loads(
        succeed("attack", "cnn", "--method", "pgd", "--epsilon", "0.3", "--objective", "margin", "--json").stdout
    )
    assert attacked["robust_accuracy"] < attacked["clean_accuracy"] - 0.2
    succeed("export", "cnn", "cnn.npz")
    with np.load("cnn.npz", allow_pickle=False) as exported:
        assert exported["weight_0"].shape == (4, 3, 3, 1)
        assert {"gamma_1", "mean_0", "variance_1"} <= set(exported.files)


def test_a_vgg_learns_from_a_folder_in_the_layout_of_cifar10():
    records = np.random.default_rng(0).integers(0, 256, (6, 10, 3073), dtype=np.uint8)
    records[:, :, 0] = np.arange(10)
    os.mkdir("mine")
    for name, each in zip((*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"), records, strict=True):
        each.tofile(f"mine/{name}.bin")
    narrow = ("--dataset", "mine", "--width", "0.02", "--batch-size", "16", "--epochs", "2")
    report = document("train", "vgg", *narrow)
    assert report["run"].startswith("runs/cnn-mine-")
    config = document("show", report["run"])["config"]
    assert [config[name] for name in ("optimizer", "schedule", "augment")] == ["momentum", "cosine", True]
    assert config["data"]["name"] == os.path.abspath("mine")
    attacked = document("attack", report["run"], "--method", "fgsm", "--epsilon", "0.03")
    assert attacked["images"] == 10
    behind = ("train", "cerebellum", "--dataset", "mine", "--encoder", report["run"], "--cells", "50", "--epochs", "1")
    visual = document(*behind)["run"]
    assert "encoder            convolutional 1-1" in succeed("show", visual).stdout
    attacked = document("attack", visual, "--method", "fgsm", "--epsilon", "0.03")
    assert attacked["images"] == 10
    result = invoke("train", "cerebellum", "--dataset", "strokes", "--encoder", report["run"], "--cells", "50")
    assert (result.exit_code, len(result.stderr.strip().splitlines())) == (2, 1)
    assert "encoder: " in result.stderr
    os.truncate("mine/data_batch_2.bin", 3073)
    result = invoke("train", "vgg", *narrow)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "data_batch_2.bin has 3073 bytes" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_the_default_folder_is_named_by_model_data_and_hash(tmp_path):
    report = document("train", "mlp", "--hidden", "", "--epochs", "1")
    assert report["run"].startswith("runs/mlp-strokes-")


def test_a_schedule_is_a_setting_of_the_run_and_constant_unless_it_is_given(run):
    assert document("show", run)["config"]["schedule"] == "constant"
    result = invoke(*TRAIN, "--schedule", "cosine", "--out", run)
    assert result.exit_code == 2
    assert "schedule: cosine here, constant there" in result.stderr
    succeed("train", "mlp", "--hidden", "", "--epochs", "1", "--schedule", "cosine", "--out", "falling")
    assert document("show", "falling")["config"]["schedule"] == "cosine"


def test_a_training_against_an_adversary_is_a_run_whose_settings_are_shown():
    small = ("--epochs", "1", "--batch-size", "100", "--adversarial", "0.05")
    succeed("train", "mlp", "--hidden", "20", *small, "--adversarial-steps", "5", "--l1", "1e-4", "--out", "mlp")
    config = document("show", "mlp")["config"]
    plain = {"l2": 0.0, "loss": "cross-entropy", "interval_bounds": None, "pessimism": None}
    assert config["model"] == {"kind": "PerceptronModel", "hidden": [20], "l1": 1e-4, **plain}
    expected = {"kind": "Adversary", "epsilon": 0.05, "step_size": 0.025, "steps": 5, "objective": "cross-entropy"}
    assert config["adversary"] == expected
    shown = succeed("show", "mlp").stdout
    assert "adversary          epsilon 0.05, step-size 0.025, steps 5, objective cross-entropy" in shown
    assert "when attacked" in shown
    succeed("train", "cerebellum", "--cells", "100", *small, "--adversarial-step-size", "0.01", "--out", "cerebellum")
    config = document("show", "cerebellum")["config"]
    assert config["adversary"] == {**expected, "step_size": 0.01, "steps": 7, "objective": "mse"}


def test_a_study_prints_its_table_and_names_its_figures(monkeypatch):
    from matplotlib.figure import Figure

    from minicereb.cli import study as command
    from minicereb.report.page import Text
    from minicereb.studies.study import Study

    nothing = Study(
        "nothing", "Is there anything?", lambda *_: [], lambda results: [Text("no")], lambda results: {"one": Figure()}
    )
    monkeypatch.setattr(command, "all_studies", lambda: {"nothing": nothing})
    printed = succeed("study", "nothing", "--out", "study").stdout
    assert printed.startswith("Is there anything?")
    assert "\n\nno\n" in printed
    assert printed.endswith("Figures: study/one.png\n")


def test_attack_prints_the_stable_keys_saves_and_does_not_repeat(run, tmp_path):
    arguments = ("attack", run, "--epsilon", "0.05", "--images", "20", "--steps", "3", "--json")
    report = json.loads(succeed(*arguments, "--save", "x.npz").stdout)
    keys = ["run", "method", "objective", "epsilon", "images", "clean_accuracy", "robust_accuracy"]
    assert [key for key in report if key in keys] == keys
    assert "seconds" in report
    with np.load("x.npz", allow_pickle=False) as saved:
        assert set(saved.files) == {"ids", "x", "x_adv", "y", "predicted", "success", "distance"}
    again = succeed(*arguments)
    assert json.loads(again.stdout) == report
    assert again.stderr == ""


def test_show_export_and_plain_output(run, tmp_path):
    shown = succeed("show", run).stdout
    assert "test accuracy" in shown
    assert "validation loss" not in shown  # a cerebellum's is not recorded
    assert document("show", run)["manifest"]["status"] == "complete"
    assert "projection_indptr" in succeed("export", run, "model.npz").stdout
    written = document("export", run, "model.npz")["arrays"]
    assert written["readout"] == {"dtype": "float32", "shape": [300, 10]}
    with np.load("model.npz", allow_pickle=False) as exported:
        assert exported["readout"].shape == (300, 10)
        assert list(exported["projection_shape"]) == [300, 784]
    assert "attacked" in succeed("attack", run, "--method", "fgsm", "--images", "10").stdout


def test_doctor_reports_versions_and_finishes_without_a_problem():
    report = document("doctor")
    assert report["packages"]["numpy"] == np.__version__
    assert report["cores"] >= 1
    assert report["problems"] == []
    assert "machine" in succeed("doctor").stdout


def test_help_of_every_command_is_there():
    listed = succeed("--help").stdout
    for name in COMMANDS:
        assert main.get_command(None, name).help, name
        assert f"  {name} " in listed
        assert "Usage" in succeed(name, "--help").stdout


def test_each_command_of_each_module_is_known():
    found = {}
    for path in Path(cli.__file__).parent.glob("[a-z]*.py"):
        commands = [
            each for each in vars(import_module(f"minicereb.cli.{path.stem}")).values() if isinstance(each, click.Command)
        ]
        parts = {id(part) for each in commands if isinstance(each, click.Group) for part in each.commands.values()}
        found |= {each.name: path.stem for each in commands if each is not main and id(each) not in parts}
    assert found == COMMANDS


def test_a_command_that_needs_nothing_imports_nothing():
    """Each process of a study begins like this, too."""
    code = "import sys; from minicereb.cli.main import main; print(sorted({'numpy', 'matplotlib'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


BAD = {
    "unknown dataset": ((*TRAIN[:2], "--dataset", "imagenet"), "dataset: 'imagenet'"),
    "k > d": ((*TRAIN, "--inputs-per-cell", 785), "inputs-per-cell: 785"),
    "k = 0": ((*TRAIN, "--inputs-per-cell", 0), "inputs-per-cell: 0"),
    "k with full wiring": ((*TRAIN, "--wiring", "full", "--inputs-per-cell", 4), "inputs-per-cell: 4"),
    "m = 0": ((*TRAIN[:4], "--cells", 0), "cells: 0"),
    "epochs": ((*TRAIN[:6], "--epochs", 0), "epochs: 0"),
    "learning rate": ((*TRAIN, "--learning-rate", "nan"), "learning-rate: nan"),
    "validation": ((*TRAIN, "--validation", 1), "validation: 1.0"),
    "choose-on": ((*TRAIN, "--keep", "last", "--choose-on", "test"), "choose-on: 'test'"),
    "hidden": (("train", "mlp", "--hidden", "a,b"), "'--hidden': 'a,b'"),
    "stages": (("train", "cnn", "--dataset", "strokes", "--stages", "8/8/8/8/8"), "stages: 5"),
    "an empty stage": (("train", "cnn", "--stages", "8//8"), "stages:"),
    "dropout": (("train", "cnn", "--dropout", "0.5"), "'--dropout': '0.5'"),
    "width": (("train", "vgg", "--width", "0"), "width: 0.0"),
    "a folder that is not there": (("train", "vgg", "--dataset", "there/cifar-10-batches-bin"), "is not a folder"),
    "a folder of other things": (("train", "vgg", "--dataset", "/"), "lacks data_batch_1.bin"),
    "all are silenced": (("train", "cnn", "--dropout", "0.5,1"), "dropout:"),
    "l1": (("train", "mlp", "--l1", "-1"), "l1: -1.0"),
    "adversary": ((*TRAIN, "--adversarial", "0"), "adversarial: 0.0"),
    "adversary of no steps": ((*TRAIN, "--adversarial", "0.1", "--adversarial-steps", "0"), "adversarial-steps: 0"),
    "adversary's objective": ((*TRAIN, "--adversarial", "0.1", "--adversarial-objective", "hope"), "hope"),
    "how, but not within which bound": ((*TRAIN, "--adversarial-steps", "3"), "adversarial-steps: 3"),
    "closed form": ((*TRAIN, "--rule", "least-squares", "--adversarial", "0.1"), "adversarial: 0.1"),
    "a word for a number": ((*TRAIN[:4], "--cells", "many"), "many"),
    "unknown option": ((*TRAIN, "--sells", "1"), "--sells"),
    "missing argument": (("attack",), "RUN"),
    "not a run": (("attack", "nowhere"), "nowhere does not exist"),
    "show not a run": (("show", "nowhere"), "nowhere does not exist"),
    "cuda": ((*TRAIN, "--device", "cuda"), "device: 'cuda'"),
    "device": ((*TRAIN, "--device", "tpu"), "device: 'tpu'"),
    "threads": ((*TRAIN, "--threads", 0), "threads: 0"),
    "memory": ((*TRAIN, "--memory", "lots"), "memory: 'lots'"),
    "unknown study": (("study", "everything"), "study: 'everything'"),
    "workers": (("study", "objectives", "--workers", "0"), "workers: 0"),
    "workers of two kinds": (("study", "objectives", "--workers", "2", "--scheduler", "tcp://h:1"), "scheduler: 'tcp://h:1'"),
    "a folder without status": (("study", "objectives", "somewhere"), "DIR: 'somewhere'"),
    "status of nothing": (("study", "status"), "DIR: ''"),
    "status of no study": (("study", "status", "nowhere"), "nowhere is not the folder of a study"),
    "no such data file": ((*TRAIN[:2], "--dataset", "mine.npz"), "mine.npz"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_that_names_it_exit_code_2_and_nothing_left_behind(case, tmp_path):
    from minicereb.backend import cupy_problem

    if case == "cuda" and cupy_problem() is None:
        pytest.skip("there is a GPU here")
    arguments, named = BAD[case]
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert len(result.stderr.strip().splitlines()) == 1
    assert named in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("option", "value", "named"),
    [("--epsilon", "-0.1", "epsilon: -0.1"), ("--epsilon", "nan", "epsilon: nan"), ("--images", "0", "images: 0"),
     ("--images", "1001", "images: 1001"), ("--steps", "0", "steps: 0"), ("--step-size", "-1", "step-size: -1.0"),
     ("--restarts", "0", "restarts: 0"), ("--objective", "hope", "hope")],
)  # fmt: skip
def test_bad_attack_settings_are_one_line_and_exit_code_2(option, value, named, run):
    result = invoke("attack", run, option, value)
    assert (result.exit_code, result.stdout) == (2, "")
    assert len(result.stderr.strip().splitlines()) == 1
    assert named in result.stderr


def test_an_existing_run_with_other_settings_is_refused(run):
    result = invoke(*TRAIN, "--seed", "5", "--out", run)
    assert result.exit_code == 2
    assert "seed: 5 here, 0 there" in result.stderr


@pytest.mark.parametrize("arguments", [("--nope",), ("--json",), ("--nope", "train")])
def test_options_before_the_command_are_told_in_one_line(arguments):
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert "No such option" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [("show", "run", "a\nb"), ("train", "mlp", "--keep", "a\n\nb"), ("models", "fetch", "a\u2028b"), ("a\nb",)]
)
def test_an_argument_of_several_lines_is_told_in_one(arguments):
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", ["config.json", "manifest.json", "metrics.jsonl", "model.npz"])
@pytest.mark.parametrize("command", [("export", "RUN"), ("attack", "RUN", "--save"), ("explain", "RUN", "--html")])
def test_no_command_writes_over_what_a_run_is_made_of(run, command, name):
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    result = invoke(*(run if word == "RUN" else word for word in command), run / name)
    assert result.exit_code == 2
    assert "belongs to a run" in result.stderr
    assert result.stderr.count("\n") == 1
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before


DAMAGED = {
    "a number for an epoch": ("metrics.jsonl", "3\n", ("show", "report")),
    "an epoch without a loss": ("metrics.jsonl", '{"epoch": 1}\n', ("show", "report")),
    "a word for an accuracy": ("manifest.json", None, ("show", "report", "export")),
    "another experiment": ("config.json", '{"config": {"kind": "PoleBalancing"}}', ("show", "report", "attack", "export")),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_files_with_other_content_are_told_in_one_line(run, case, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    name, text, commands = DAMAGED[case]
    if text is None:
        manifest = json.loads((folder / name).read_text())
        manifest["result"]["test_accuracy"] = "x"
        text = json.dumps(manifest)
    (folder / name).write_text(text)
    for command in commands:
        result = invoke(command, folder, *(["out.npz"] if command == "export" else []))
        assert result.exit_code == 2, (command, result.output)
        assert name in result.stderr
        assert result.stderr.count("\n") == 1


def test_records_with_other_content_are_told_in_one_line(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("attacks", "evaluations"))
    few = ("--images", "5", "--epsilon", "0.1")
    succeed("attack", folder, "--method", "fgsm", *few)
    (record,) = (folder / "attacks").glob("*.json")
    record.write_text('{"config": 3, "record": {}}')
    result = invoke("attack", folder, "--method", "fgsm", *few)
    assert result.exit_code == 2
    assert "config is 3; expected an object; delete it to do the experiment again" in result.stderr
    succeed("evaluate", folder, "--attacks", "pgd-mse", *few)
    (evaluation,) = (folder / "evaluations").iterdir()
    (evaluation / "evaluation.json").unlink()
    (evaluation / "checklist.json").write_text("{}")
    result = invoke("evaluate", folder, "--attacks", "pgd-mse", *few)
    assert result.exit_code == 2
    assert "checklist.json: owner is missing" in result.stderr


def test_a_full_disk_is_told_in_one_line_and_leaves_nothing_half_written(run, monkeypatch, tmp_path):
    import errno

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    result = invoke("attack", run, "--method", "fgsm", "--images", "5", "--epsilon", "0.01", "--save", tmp_path / "x.npz")
    assert result.exit_code == 2
    assert "no space left" in result.stderr
    assert list(tmp_path.iterdir()) == []


def command(*arguments, checkpoint_seconds=0.0):
    code = (
        "import minicereb.experiments.runs as runs; from minicereb.cli.main import main; "
        f"runs.SECONDS_BETWEEN_CHECKPOINTS = {checkpoint_seconds}; main()"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=os.getcwd()
    )


LONG = ("train", "cerebellum", "--cells", "2000", "--epochs", "4", "--out")


def wait_for(path, process):
    until = time.monotonic() + 60
    while not path.exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)


def test_killed_at_any_instant_and_given_again_a_training_ends_with_the_same_bytes(tmp_path):
    succeed(*LONG, "whole")
    rng = random.Random(0)
    for _ in range(4):
        process = command(*LONG, "killed")
        wait_for(tmp_path / "killed" / "checkpoint.npz", process)
        time.sleep(rng.uniform(0, 0.4))
        process.kill()
        process.communicate()
    succeed(*LONG, "killed")
    assert (tmp_path / "killed" / "model.npz").read_bytes() == (tmp_path / "whole" / "model.npz").read_bytes()
    assert (tmp_path / "killed" / "metrics.jsonl").read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_ctrl_c_leaves_a_run_that_can_be_resumed_and_says_so(tmp_path):
    arguments = (*LONG[:-3], "--epochs", "60", "--out")
    process = command(*arguments, "stopped", checkpoint_seconds=1000)
    wait_for(tmp_path / "stopped" / "manifest.json", process)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert "same command continues" in error
    assert (tmp_path / "stopped" / "checkpoint.npz").exists()


GLR = ("train", "glr", "--hidden", "6", "--epochs", "1")
SMALL = ("--kernel", "2", "--stride", "1")  # fits images of 3 x 3 pixels


@pytest.fixture(scope="module")
def noisy_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("noisy") / "run"
    succeed(*GLR, "--epochs", "2", "--out", folder)
    return folder


def test_the_loss_on_images_held_out_is_shown(noisy_run, tmp_path):
    _, head, curve = succeed("show", noisy_run).stdout.partition("epoch  loss")
    assert head
    assert "validation" not in curve  # none were
    succeed(*GLR, "--epochs", "1", "--validation", "0.1", "--out", tmp_path / "run")
    assert "validation loss" in succeed("show", tmp_path / "run").stdout


def test_a_threshold_network_learns_from_loss_values_and_is_attacked_by_flips(noisy_run):
    config = document("show", noisy_run)["config"]
    assert (config["model"]["estimator"], config["model"]["output_noise"], config["schedule"]) == ("flip", True, "cosine")
    refused = invoke("attack", noisy_run, "--images", "5")
    assert refused.exit_code == 2
    assert "gradient: 'analytic' is not valid; expected flip" in refused.stderr
    attacked = ("attack", noisy_run, "--images", "40", "--steps", "10", "--step-size", "0.03", "--gradient", "flip", "--json")
    report = json.loads(succeed(*attacked, "--epsilon", "0.2").stdout)
    assert report["robust_accuracy"] < report["clean_accuracy"] - 0.2
    assert json.loads(succeed(*attacked, "--epsilon", "0.2").stdout) == report


@pytest.mark.parametrize("activation", ["threshold", "sigmoid"])
def test_a_convolutional_network_learns_from_loss_values_and_is_attacked(activation):
    """The credit of every layer comes from values of the loss; equal commands give equal networks."""
    options = ("--network", "cnn", "--channels", "4", "--hidden", "16", "--activation", activation, "--probes", "16")
    report = document("train", "glr", *options, "--epochs", "3", "--out", "run")
    assert report["test_accuracy"] > 0.6
    model = document("show", "run")["config"]["model"]
    assert (model["last_layer"], model["placement"], model["noise_scale"]) == ("resample", "all", [0.3, 2, 0.5])
    assert document("train", "glr", *options, "--epochs", "3", "--out", "again")["test_accuracy"] == report["test_accuracy"]
    found = document(
        "attack", "run", "--images", "20", "--steps", "3", "--gradient", "flip" if activation == "threshold" else "resample"
    )
    assert found["robust_accuracy"] <= found["clean_accuracy"]
    lap = document("evaluate", "run", "--images", "10", "--answer", "lap", "--replications", "8", "--attacks", "random")
    assert 0 <= lap["clean_accuracy"] <= 1


@pytest.mark.parametrize(
    ("network", "tag"),
    [
        (("cnn", "--channels", "2", "--probes", "4"), "M-PROBE"),
        (("recurrent", "--probes", "8"), "M-RERUN"),
        (("recurrent", "--estimator", "rao-blackwell", "--replications", "4"), "M-PATH"),
        (("spiking", "--steps", "3"), "M-LIF"),
    ],
)
def test_networks_with_shared_weights_are_explained(network, tag):
    succeed("train", "glr", "--network", *network, "--hidden", "4", "--epochs", "1", "--out", "run")
    found = succeed("explain", "run", "--what", "learning").stdout
    assert f"[{tag}]" in found
    assert "The sum for one shared weight" in found
    assert "THEY DIFFER" not in found


def test_a_noisy_network_is_exported_with_its_scales(noisy_run):
    succeed("export", noisy_run, "model.npz")
    with np.load("model.npz") as arrays:
        assert sorted(arrays) == ["bias_0", "bias_1", "scale_0", "scale_1", "weight_0", "weight_1"]
        assert arrays["scale_0"] == [2]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--replications", "0"), "replications: 0 is not valid; expected a whole number of at least 1"),
        (("--noise-scale", "0"), "noise-scale: '0' is not valid; expected numbers above 0"),
        (("--noise-scale", "2,nan"), "noise-scale[1]: nan is not valid; expected a finite number"),
        (("--noise-scale", "1,2,3"), "noise-scale: '1,2,3' is not valid; expected one number, or 2"),
        (("--noise-scale", "two"), "'--noise-scale': 'two' is not valid; expected comma-separated numbers"),
        (("--noise-degrees", "3"), "noise-degrees: 3.0 is not valid; expected no value"),
        (("--hidden", ""), "hidden: [] is not valid"),
        (("--slope", "2"), "slope: 2.0 is not valid; expected 1: only the sigmoid has a slope"),
        (("--activation", "sigmoid", "--estimator", "flip"), "--activation threshold, or an estimator of resample"),
        (("--activation", "log-absolute", "--estimator", "backprop"), "estimator: 'backprop' is not valid"),
        (("--loss", "zero-one", "--no-output-noise"), "output noise, and no output activation"),
        (
            ("--noise", "none", "--estimator", "flip"),
            "noise: 'none' is not valid; expected a noise distribution, or --estimator backprop",
        ),
        (("--estimator", "antithetic", "--replications", "5"), "replications: 5 is not valid; expected an even number"),
        (("--estimator", "sobol", "--replications", "100"), "replications: 100 is not valid; expected a power of two"),
        (("--estimator", "exact", "--hidden", "21"), "one hidden layer of at most 20"),
        (("--last-layer", "score"), "last-layer: 'score' is not valid; expected derivative or resample with the estimator flip"),
        (("--l2", "-1"), "l2: -1.0 is not valid; expected a number of at least 0"),
        (("--channels", "4"), "channels: [4] is not valid; expected no value: it is used only with --network cnn"),
        (("--network", "cnn", "--channels", "4,4,4,4"), "expected fewer convolutions, or a smaller kernel, stride or pool"),
        (("--network", "cnn", "--kernel", "99"), "kernel: 99 is not valid; expected at most 14, the smaller side of the images"),
        (("--network", "cnn", "--probes", "0"), "probes: 0 is not valid"),
        (("--network", "cnn", "--estimator", "exact"), "no convolutions, or flip or antithetic"),
        (("--network", "cnn", "--last-layer", "resample", "--no-output-noise"), "noise in every layer, outputs included"),
        (("--network", "cnn", "--noise-scale", "1,2"), "noise-scale: '1,2' is not valid; expected one number, or 3"),
        (("--placement", "in-turn", "--estimator", "exact"), "placement: 'in-turn' is not valid; expected all"),
        (("--last-layer", "resample", "--no-output-noise"), "noise in every layer, outputs included"),
    ],
)
def test_settings_of_a_noisy_network_that_cannot_be_are_told_in_one_line(options, says):
    result = invoke(*GLR, *options, "--out", "run")
    assert result.exit_code == 2
    assert says in result.stderr
    assert result.stderr.count("\n") == 1
    assert not os.path.exists("run")


@pytest.mark.parametrize(
    "options",
    [
        ("--activation", "arctan-inverse", "--noise", "laplace", "--noise-scale", "1,0.5"),
        ("--activation", "log-absolute", "--noise", "student-t", "--noise-degrees", "4", "--loss", "zero-one", "--learn-scale"),
        (
            "--activation",
            "sigmoid",
            "--slope",
            "2",
            "--noise",
            "logistic",
            "--estimator",
            "antithetic",
            "--replications",
            "8",
            "--l2",
            "1e-4",
        ),
        ("--activation", "absolute", "--noise", "none", "--l1", "1e-5", "--output-activation"),
        ("--estimator", "rao-blackwell", "--replications", "8", "--hidden", "6,5"),
        ("--estimator", "exact", "--hidden", "3", "--no-output-noise"),
        ("--estimator", "plain", "--replications", "8", "--optimizer", "sgd", "--schedule", "constant"),
        ("--placement", "in-turn", "--last-layer", "resample", "--hidden", "6,5", "--learn-scale"),
        ("--network", "cnn", *SMALL, "--channels", "2"),
        ("--network", "cnn", *SMALL, "--channels", "2,3", "--activation", "sigmoid", "--learn-scale"),
        ("--network", "cnn", *SMALL, "--channels", "2", "--estimator", "backprop", "--activation", "sigmoid", "--noise", "none"),
        ("--network", "cnn", *SMALL, "--channels", "2", "--pool", "2", "--pooling", "max", "--placement", "in-turn"),
    ],
    ids=lambda options: " ".join(options[:4]),
)
def test_every_kind_of_noisy_network_trains(options):
    rng = np.random.default_rng(0)
    x, y = rng.random((60, 3, 3), dtype=np.float32), np.arange(60) % 3
    np.savez("small.npz", x_train=x, y_train=y, x_test=x[:9], y_test=y[:9])
    report = document(*GLR, "--dataset", "small.npz", *options)
    assert report["run"].startswith("runs/glr-small-")
    assert 0 <= report["test_accuracy"] <= 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("mlp", "--hidden", "99999999999999999999"),
        ("mlp", "--hidden", "9000000000000000000"),
        ("cnn", "--hidden", "99999999999999999999"),
        ("cerebellum", "--cells", "99999999999999999999"),
        ("cerebellum", "--cells", "9000000000000000000"),
        ("cerebellum", "--cells", "30", "--batch-size", "99999999999999999999"),
    ],
)
def test_a_size_beyond_any_memory_is_one_line(arguments):
    result = invoke("train", *arguments, "--dataset", "digits", "--out", "run")
    assert result.exit_code == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert not Path("run").exists()


def test_ctrl_c_in_a_destructor_is_not_lost(monkeypatch):
    class Interrupted:
        def __del__(self):
            raise KeyboardInterrupt

    def work():
        Interrupted()  # Python drops what this raises
        for _ in range(200):
            time.sleep(0.1)

    command = click.Command("work", callback=work)
    monkeypatch.setattr(type(main), "get_command", lambda self, context, name: command)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit that it is ignored
    begun = time.monotonic()
    try:
        result = invoke("work")
    finally:
        signal.signal(signal.SIGINT, before)
    assert (result.exit_code, result.stderr) == (130, "interrupted\n")
    assert time.monotonic() - begun < 10
