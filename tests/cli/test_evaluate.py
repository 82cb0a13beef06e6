"""``minicereb evaluate``: its document, its tables, what it keeps, and the mistakes it tells in one line."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import document, invoke, succeed

from minicereb.experiments.evaluation.folder import block_paths, read_outcomes
from minicereb.robustness.catalogue import ATTACKS
from minicereb.robustness.checklist import CHECKS

QUICK = ("--attacks", "pgd-mse,apgd-margin", "--images", "12", "--epsilon", "0.02", "--epsilon", "0.1")

OWN = """
import numpy as np

rng = np.random.default_rng(0)
W = rng.standard_normal((6, 3)).astype(np.float32)


class Linear:
    def forward(self, x):
        return x @ W, None

    def input_gradient(self, d_outputs, cache):
        return d_outputs @ W.T


class WrongShape(Linear):
    def forward(self, x):
        return (x @ W)[:, :2], None


class WrongGradient(Linear):
    def input_gradient(self, d_outputs, cache):
        return d_outputs


class NotFinite(Linear):
    def forward(self, x):
        return (x @ W) * np.float32("nan"), None


class Bare(Linear):
    def forward(self, x):
        return x @ W


class Fails(Linear):
    def forward(self, x):
        raise RuntimeError("out of\\norder")


class Talks(Linear):
    def forward(self, x):
        print("hello")
        return super().forward(x)


class BlackBox:
    def forward(self, x):
        return x @ W, None


class Unimplemented(BlackBox):
    def input_gradient(self, d_outputs, cache):
        raise NotImplementedError


class Single(Linear):  # takes float32 alone, as a wrapped PyTorch model
    def forward(self, x):
        if x.dtype != np.float32:
            raise RuntimeError("expected scalar type Float but found Double")
        return super().forward(x)


class Fragile(Linear):  # fails in the middle of an attack
    calls = 0

    def forward(self, x):
        Fragile.calls += 1
        if Fragile.calls > 10:
            raise OSError("connection\\nlost")
        return super().forward(x)


class Noisy(Linear):
    def forward(self, x):
        return x @ W + rng.normal(0, 0.3, (len(x), 3)).astype(np.float32), None


def leaves():
    raise SystemExit(0)


def forest():
    from sklearn.ensemble import RandomForestClassifier

    data = np.load("rows.npz")
    grown = RandomForestClassifier(5, max_depth=4, random_state=0).fit(data["x_test"], data["y_test"])

    class Forest:
        def forward(self, x):
            return grown.predict_proba(x), None

    return Forest()


def no_model():
    return 3


def breaks():
    raise OSError("no such thing")


number = 4
"""


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in [name for name in sys.modules if name == "own"]:
        monkeypatch.delitem(sys.modules, name)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    succeed("train", "cerebellum", "--dataset", "strokes", "--cells", "300", "--epochs", "1", "--out", folder)
    return folder


@pytest.fixture
def own(tmp_path):
    """A module with classifiers of the user's own, and data for them: rows of six numbers, three classes."""
    (tmp_path / "own.py").write_text(OWN)
    rng = np.random.default_rng(1)
    x = rng.random((40, 6)).astype(np.float32)
    y = rng.integers(0, 3, 40)
    np.savez("rows.npz", x_train=x[:20], y_train=y[:20], x_test=x[20:], y_test=y[20:])
    return ("--dataset", "rows.npz", "--epsilon", "0.1", "--attacks", "apgd-margin", "--images", "20")


def test_the_document_has_the_stable_keys(run):
    report = document("evaluate", run, *QUICK)
    assert {"run", "images", "clean_accuracy", "epsilons"} <= set(report)
    assert report["run"] == str(run)
    assert report["images"] == 12
    assert [entry["epsilon"] for entry in report["epsilons"]] == [0.02, 0.1]
    for entry in report["epsilons"]:
        assert {"attacked", "attacked_interval", "certified", "by_attack", "checklist"} <= set(entry)
        assert list(entry["by_attack"]) == ["pgd-mse", "apgd-margin"]
        assert entry["certified"] <= entry["attacked"] <= report["clean_accuracy"]
        assert [line["name"] for line in entry["checklist"]] == list(CHECKS)
        assert {line["verdict"] for line in entry["checklist"]} <= {"pass", "warn", "fail", "not tested"}


def test_outcomes_are_kept_and_the_evaluation_is_not_done_twice(run):
    first = document("evaluate", run, *QUICK)
    (path,) = block_paths(run / "evaluations" / os.path.basename(first["folder"]))
    outcomes = read_outcomes(path)
    assert outcomes.survivors(1).mean() == first["epsilons"][1]["attacked"]
    written = path.stat().st_mtime_ns
    assert document("evaluate", run, *QUICK) == first
    assert path.stat().st_mtime_ns == written
    assert all(os.path.exists(figure) for figure in first["figures"])


def test_tables_for_people(run):
    printed = succeed("evaluate", run, *QUICK).stdout
    assert "attacked (95% interval)" in printed
    assert "pgd-mse, alone" in printed
    assert "after apgd-margin" in printed
    for name in CHECKS:
        assert name in printed


def test_several_runs_are_a_list_and_may_lend_each_other_their_images(run, tmp_path):
    succeed("train", "mlp", "--dataset", "strokes", "--hidden", "10", "--epochs", "1", "--out", "mlp")
    reports = document("evaluate", run, "mlp", *QUICK[:4], "--epsilon", "0.05")
    assert [report["run"] for report in reports] == [str(run), "mlp"]
    report = document("evaluate", run, *QUICK[:4], "--transfer", "mlp")
    (line,) = (line for line in report["epsilons"][0]["checklist"] if line["name"] == "transfer-not-stronger")
    assert line["verdict"] != "not tested"


def test_a_users_own_classifier(own):
    report = document("evaluate", "--model", "own:Linear", *own)
    assert report["model"] == "Linear"
    assert report["epsilons"][0]["certified"] is None
    assert "no_certificate" in report
    again = document("evaluate", "--model", "own:Linear", *own)
    assert again["epsilons"] == report["epsilons"]


def test_what_a_users_classifier_prints_is_not_part_of_the_document(own):
    result = succeed("evaluate", "--model", "own:Talks", *own, "--json")
    assert json.loads(result.stdout)["model"] == "Talks"
    assert "hello" in result.stderr


def test_certificates_of_a_users_classifier_may_be_left_out(own):
    report = document("evaluate", "--model", "own:Linear", *own, "--no-certify")
    assert report["no_certificate"] == "not asked for"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("own", "package.module:factory"),
        ("nowhere:Linear", "No module named 'nowhere'"),
        ("own:Missing", "own has no Missing"),
        ("own:Linea", "own has no Linea; did you mean 'Linear'?"),
        ("own.py:Linear", "the name of the module, not of its file: own:Linear"),
        ("own:number", "package.module:factory"),
        ("own:no_model", "without forward"),
        ("own:leaves", "own:leaves() failed: SystemExit: 0"),
        ("own:BlackBox", "attacks: apgd-margin need a gradient of the model, and it has none"),
        ("own:Unimplemented", "input_gradient raises NotImplementedError"),
        ("own:Fragile", "OSError: connection lost"),
        ("own:breaks", "own:breaks() failed: OSError: no such thing"),
        ("own:WrongShape", "expected shape (2, 3)"),
        ("own:WrongGradient", "as the images"),
        ("own:NotFinite", "its outputs are not finite"),
        ("own:Bare", "did not return (outputs, cache)"),
        ("own:Fails", "RuntimeError: out of order; the images of "),
        ("own:BlackBox", "give --attacks square,random"),
    ],
)
def test_what_is_wrong_with_a_users_classifier_is_told_in_one_line(own, name, told):
    result = invoke("evaluate", "--model", name, *own)
    assert result.exit_code == 2
    assert told in result.stderr
    assert result.stderr.count("\n") == 1
    assert not os.path.exists("runs/evaluation/evaluation.json")


def test_a_second_model_does_not_replace_the_first(own):
    """Evaluating into a folder that holds another evaluation is refused; the same evaluation is replaced."""
    first = ("evaluate", "--model", "own:Linear", *own, "--attacks", "fgsm-mse", "--no-certify")
    succeed(*first)
    record = Path("runs/evaluation/evaluation.json")
    before = record.read_bytes()
    second = ("evaluate", "--model", "own:Talks", *first[3:])
    refused = invoke(*second)
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
    assert "holds the evaluation of own:Linear; give another --out, or delete it" in refused.stderr
    other = invoke(*first, "--seed", "5")
    assert (other.exit_code, "own:Linear with other settings (seed)" in other.stderr) == (2, True)
    assert record.read_bytes() == before
    succeed(*second, "--out", "second")
    succeed(*first)  # the function may return another model by now
    assert json.loads(record.read_text())["run"] == "own:Linear"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "RUN: ''"),
        (("nowhere",), "nowhere does not exist"),
        (("RUN", "--attacks", "rays"), "attacks: 'rays'"),
        (("RUN", "--epsilon", "-1"), "epsilon: '-1'"),
        (("RUN", "--epsilon", "nan"), "epsilon: 'nan'"),
        (("RUN", "--images", "0"), "images: 0"),
        (("RUN", "--images", "100000"), "images: 100000"),
        (("RUN", "--answer", "lap"), "answer: 'lap'"),
        (("RUN", "--gradient", "flip"), "gradient: "),
        (("RUN", "--out", "there"), "out: 'there'"),
        (("RUN", "--model", "own:Linear"), "model: 'own:Linear'"),
        (("--model", "own:Linear", "--dataset", "strok"), "did you mean 'strokes'?"),
        (("RUN", "--dataset", "digits"), "was trained on strokes (SHA-256 "),
        (("--model", "own:Linear"), "--model also needs --dataset: a name, or FILE.npz"),
        (("--model", "own:Linear", "--dataset", "strokes", "--answer", "lap"), "answer: 'lap'"),
        (("--model", "own:Linear", "--dataset", "strokes", "--gradient", "flip"), "gradient: 'flip'"),
        (("--model", "own:Linear", "--dataset", "strokes", "--draws", "5"), "draws: 5"),
        (("--model", "own:Linear", "--dataset", "strokes", "--gradient", "eot", "--draws", "0"), "draws: 0"),
        (("RUN", "--gradient", "eot", "--images", "3", "--epsilon", "0.1"), "gradient: 'eot'"),
        (("--model", "own:Linear", "--dataset", "strokes", "--replications", "5"), "replications: 5"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(run, arguments, told):
    result = invoke("evaluate", *(run if argument == "RUN" else argument for argument in arguments))
    assert result.exit_code == 2
    assert told in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("epsilon", [0, 1, 2])
def test_no_change_at_all_and_any_change(run, epsilon):
    report = document("evaluate", run, *QUICK[:4], "--epsilon", epsilon)
    attacked = report["epsilons"][0]["attacked"]
    assert attacked == (report["clean_accuracy"] if epsilon == 0 else 0)


@pytest.mark.parametrize("images", [1, 7])
def test_the_standard_ensemble_on_few_images_and_few_classes(tmp_path, images):
    """Two classes, rows that are no images: attacks that need more make do."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 60)
    x = np.clip(0.5 + 0.3 * (2 * y - 1)[:, None] + 0.1 * rng.standard_normal((60, 5)), 0, 1).astype(np.float32)
    np.savez("two.npz", x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:])
    succeed("train", "mlp", "--dataset", "two.npz", "--hidden", "4", "--epochs", "3", "--out", "two")
    report = document("evaluate", "two", "--epsilon", "0.2", "--images", images)
    entry = report["epsilons"][0]
    assert entry["certified"] <= entry["attacked"]


def test_an_evaluation_that_is_killed_goes_on_and_ends_with_the_same_outcomes(run, tmp_path):
    arguments = ["evaluate", str(run), "--attacks", "pgd-margin,square", "--images", "100", "--epsilon", "0.01", "--json"]
    whole = json.loads(succeed(*arguments, "--seed", 5).stdout)
    folder = run / "evaluations" / os.path.basename(whole["folder"])
    expected = {name: array.copy() for name, array in read_outcomes(block_paths(folder)[0]).arrays().items()}
    for path in folder.iterdir():
        path.unlink()
    process = subprocess.Popen(
        [sys.executable, "-c", "from minicereb.cli.main import main; main()", *arguments, "--seed", "5"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(2.5)
    process.send_signal(signal.SIGKILL)
    process.wait()
    again = json.loads(succeed(*arguments, "--seed", 5).stdout)
    assert again["epsilons"] == whole["epsilons"]
    for name, array in read_outcomes(block_paths(folder)[0]).arrays().items():
        assert np.array_equal(array, expected[name], equal_nan=array.dtype.kind == "f"), name


def test_a_noisy_network_is_judged_by_its_mean_answer(tmp_path):
    succeed("train", "glr", "--epochs", "1", "--hidden", "8", "--out", "noisy", "--dataset", "strokes14")
    arguments = ("--attacks", "pgd-margin", "--images", "6", "--epsilon", "0.05", "--draws", "4", "--replications", "200")
    for answer in ("ot", "lap"):
        report = document("evaluate", "noisy", *arguments, "--answer", answer)
        entry = report["epsilons"][0]
        assert report["gradient"] == "flip"
        assert entry["certified"] <= entry["attacked"]


def test_data_outside_the_box_are_refused(own):
    np.savez("rows.npz", **{**np.load("rows.npz"), "x_test": np.full((20, 6), 1.5, dtype=np.float32)})
    result = invoke("evaluate", "--model", "own:Linear", *own)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1


@pytest.fixture
def few_queries(monkeypatch):
    """Square with fewer queries, so that a test is quick."""
    square = ATTACKS["square"]
    fewer = tuple({**search, "steps": 200} for search in square.searches)
    monkeypatch.setitem(ATTACKS, "square", replace(square, searches=fewer))


WITHOUT_GRADIENT = ("--epsilon", "0.2", "--attacks", "square,random", "--no-certify", "--json")


def lines_of(report):
    return {line["name"]: line for line in report["epsilons"][0]["checklist"]}


@pytest.mark.parametrize("name", ["BlackBox", "Unimplemented", "forest"])
def test_a_black_box_is_evaluated(own, name, few_queries):
    report = json.loads(succeed("evaluate", "--model", f"own:{name}", "--dataset", "rows.npz", *WITHOUT_GRADIENT).stdout)
    entry = report["epsilons"][0]
    assert entry["attacked"] < report["clean_accuracy"] or report["clean_accuracy"] == 0
    assert sum(entry["broken_first_by"].values()) > 0
    lines = lines_of(report)
    assert list(lines) == list(CHECKS)
    for line in ("gradients-there", "float32-suffices"):
        assert lines[line]["verdict"] == "not tested"
    assert lines["answers-repeat"]["verdict"] == lines["batch-independent"]["verdict"] == "pass"


def test_a_model_needs_no_training_images(own):
    arrays = dict(np.load("rows.npz"))
    np.savez("rows.npz", **{name: array for name, array in arrays.items() if name.endswith("test")})
    report = document("evaluate", "--model", "own:Linear", *own)
    assert lines_of(report)["transfer-not-stronger"]["verdict"] == "not tested"
    assert "training image" in lines_of(report)["transfer-not-stronger"]["reason"]
    assert "training image" in report["no_transfer"]
    printed = succeed(
        "evaluate", "--model", "own:Linear", *own[:4], "--attacks", "apgd-margin,transfer", "--out", "runs/second"
    ).stdout
    assert "transfer was not tried" in printed
    result = invoke("evaluate", "--model", "own:Linear", *own[:4], "--attacks", "transfer", "--out", "runs/third")
    assert result.exit_code == 2
    assert "attacks: 'transfer'" in result.stderr
    result = invoke("train", "mlp", "--dataset", "rows.npz")
    assert result.exit_code == 2
    assert "lacks x_train, y_train" in result.stderr


def test_degenerate_training_images_do_not_stop_an_evaluation(own):
    arrays = dict(np.load("rows.npz"))
    np.savez("rows.npz", **{**arrays, "x_train": np.full_like(arrays["x_train"], 0.3)})
    report = document("evaluate", "--model", "own:Linear", *own)
    assert lines_of(report)["transfer-not-stronger"]["verdict"] == "not tested"


def test_a_model_that_takes_float32_alone_is_not_tested_in_float64(own):
    line = lines_of(document("evaluate", "--model", "own:Single", *own))["float32-suffices"]
    assert line["verdict"] == "not tested"
    assert "expected scalar type Float but found Double" in line["reason"]


def test_gradients_of_a_random_model_may_be_averaged(own):
    averaged = ("--gradient", "eot", "--draws", "4")
    report = document("evaluate", "--model", "own:Noisy", *own, *averaged)
    assert (report["gradient"], report["draws"]) == ("eot", 4)
    assert lines_of(report)["answers-repeat"]["verdict"] == "fail"
    page = succeed("report", "runs/evaluation").stdout
    (written,) = Path("runs/evaluation").glob("report*.md")
    assert "--gradient eot --draws 4" in written.read_text(), page
