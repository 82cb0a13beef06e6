"""``minicereb explain``: text, JSON and a page of a run, and the errors it tells in one line."""

import json

import numpy as np
import pytest
from commands import invoke

from minicereb import datasets


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    drawn = datasets.load("strokes", train=300, test=20)
    arrays = {name: getattr(drawn, name) for name in ("x_train", "y_train", "x_test", "y_test")}
    small = folder.with_name("small.npz")
    np.savez(small, **{name: array.reshape(-1, 28, 28) if name.startswith("x") else array for name, array in arrays.items()})
    result = invoke("train", "mlp", "--dataset", small, "--hidden", "12", "--epochs", "1", "--out", folder)
    assert result.exit_code == 0, result.output
    return folder


def test_text_and_json_tell_the_same_steps(run):
    text = invoke("explain", run, "--image", 7, "--what", "attack", "--objective", "cross-entropy", "--epsilon", 0.05)
    assert text.exit_code == 0, text.output
    result = invoke("explain", run, "--image", 7, "--what", "attack", "--objective", "cross-entropy", "--epsilon", 0.05, "--json")
    document = json.loads(result.stdout)
    assert list(document) == ["run", "image", "what", "steps"]
    for number, step in enumerate(document["steps"], 1):
        assert f"{number}. {step['title']}\n" in text.stdout
        assert {each["verdict"] for each in step["derivatives"]} <= {"agrees", "kink", "rounding"}
    assert [step["tag"] for step in document["steps"]][-2:] == ["M-BP", "M-FGSM"]
    assert "ε = 0.05" in text.stdout


def test_both_parts_are_told_unless_one_is_asked_for(run):
    steps = json.loads(invoke("explain", run, "--json").stdout)["steps"]
    titles = [step["title"] for step in steps]
    assert sum(title.startswith("Image") for title in titles) == 1
    assert {"The weights change (adam)", "One step of FGSM"} <= set(titles)


def test_a_page_is_one_file(run, tmp_path):
    result = invoke("explain", run, "--html", "page.html", "--pixel", "10,12")
    assert (result.exit_code, result.stdout) == (0, "page.html\n")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    document = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "pixel 292 (10, 12)" in document
    assert "data:image/png;base64," in document


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--image", 20), "image: 20"),
        (("--image", "first"), "first"),
        (("--what", "everything"), "everything"),
        (("--pixel", "28,0"), "pixel: '28,0'"),
        (("--class", 10), "class: 10"),
        (("--cell", 1), "cell: (1,)"),
        (("--epsilon", "nan"), "epsilon: nan"),
        (("--html", "page.txt"), "html: 'page.txt'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, named, run, tmp_path):
    result = invoke("explain", run, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert len(result.stderr.strip().splitlines()) == 1
    assert named in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_not_there_or_not_complete_is_named(run, tmp_path):
    result = invoke("explain", "nowhere")
    assert (result.exit_code, "nowhere does not exist" in result.stderr) == (2, True)
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "config.json").write_bytes((run / "config.json").read_bytes())
    result = invoke("explain", unfinished)
    assert (result.exit_code, "not complete" in result.stderr) == (2, True)
    assert len(result.stderr.strip().splitlines()) == 1
