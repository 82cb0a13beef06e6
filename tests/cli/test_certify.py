"""``minicereb certify``: verdicts, resuming, and what cannot be."""

import shutil

import numpy as np
import pytest
from commands import document, invoke, refused, succeed

from minicereb.experiments.kinds import certified
from minicereb.files import read_npz, write_npz


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certify") / "perceptron"
    succeed("train", "mlp", "--dataset", "strokes", "--hidden", "30", "--epochs", "3", "--out", folder)
    return folder


@pytest.fixture
def fresh(run):
    shutil.rmtree(run / "certifications", ignore_errors=True)
    return run


FEW = ("--epsilon", "0.03", "--images", "12", "--seconds-per-image", "20")


def test_every_image_is_decided(fresh):
    record = document("certify", fresh, *FEW, "--complete")
    assert record["unknown"] == 0
    assert record["certified"] == record["not_broken"] > record["by_relaxation"] / 12
    kept = read_npz(f"{record['folder']}/verdicts.npz")
    broken = kept["verdict"] == certified.VERDICTS.index("broken")
    assert broken.any()
    alone = document("certify", fresh, *FEW)
    assert alone["by_relaxation"] / 12 <= alone["certified"] <= record["certified"]
    text = succeed("certify", fresh, *FEW, "--complete").stdout
    assert "0 unknown" in text


@pytest.mark.parametrize("after", [0, 2])
def test_a_certification_that_was_stopped_goes_on(fresh, after, monkeypatch):
    whole = document("certify", fresh, *FEW, "--complete")
    shutil.rmtree(fresh / "certifications")
    found, real = [], certified.verify_image

    def stopped(*args, **kwargs):
        if len(found) == after:
            raise KeyboardInterrupt
        found.append(real(*args, **kwargs))
        return found[-1]

    monkeypatch.setattr(certified, "verify_image", stopped)
    assert invoke("certify", fresh, *FEW, "--complete").exit_code != 0
    seen = []
    monkeypatch.setattr(certified, "verify_image", lambda *args: seen.append(args) or real(*args))
    again = document("certify", fresh, *FEW, "--complete")
    for name in ("certified", "not_broken", "unknown", "by_relaxation", "branches"):
        assert again[name] == whole[name]
    kept = read_npz(f"{again['folder']}/verdicts.npz")
    assert len(seen) + after == int((~kept["by_relaxation"] & (kept["verdict"] != 3)).sum())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--epsilon", "-0.1"), "epsilon"),
        (("--seconds-per-image", "0"), "seconds-per-image"),
        (("--images", "0"), "images"),
        (("--images", "10001"), "images"),
    ],
)
def test_bad_settings_are_told_in_one_line(run, options, message):
    assert message in refused("certify", run, *options)


def test_a_network_with_sigmoids_is_refused(tmp_path):
    small = ("--activation", "sigmoid", "--hidden", "4", "--epochs", "1")
    succeed("train", "glr", "--dataset", "strokes14", *small, "--out", tmp_path / "sigmoid")
    assert "branching is for rectified units, not sigmoid" in refused("certify", tmp_path / "sigmoid", "--images", "2")


def test_a_file_of_another_certification_is_refused(fresh):
    record = document("certify", fresh, *FEW)
    kept = read_npz(f"{record['folder']}/verdicts.npz")
    write_npz(f"{record['folder']}/verdicts.npz", {**kept, "owner": np.array("another")})
    result = invoke("certify", fresh, *FEW)
    assert result.exit_code != 0
    assert "other settings" in result.stderr


def test_an_evaluation_closes_its_bracket(fresh):
    few = ("--attacks", "pgd-mse", "--images", "12", "--epsilon", "0.03")
    shutil.rmtree(fresh / "evaluations", ignore_errors=True)
    opened, closed = (document("evaluate", fresh, *few, *more)["epsilons"][0] for more in ((), ("--complete",)))
    assert opened["certified"] <= closed["certified"] == closed["attacked"] <= opened["attacked"]
    assert closed["by_attack"]["branch-and-bound"] == closed["attacked"]
    assert "branch-and-bound" not in opened["by_attack"]


def test_an_evaluation_says_why_it_cannot_branch(run):
    assert "linf" in refused("evaluate", run, "--complete", "--norm", "l2", "--images", "2")
