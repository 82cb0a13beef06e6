"""``minicereb explore``: the page of a run, and the errors it tells in one line."""

import json

import numpy as np
import pytest
from commands import document, invoke, refused, succeed

from minicereb import datasets

QUICK = ("--images", 2, "--epsilon", "8/255", "--epsilon", 0.1, "--method", "pgd", "--steps", 2, "--no-tasks")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A cerebellum, one with binary mossy fibres, and threshold neurons."""
    root = tmp_path_factory.mktemp("runs")
    drawn = datasets.load("strokes", train=300, test=20)
    arrays = {name: getattr(drawn, name) for name in ("x_train", "y_train", "x_test", "y_test")}
    np.savez(root / "small.npz", **{name: each.reshape(-1, 28, 28) if name[0] == "x" else each for name, each in arrays.items()})
    cerebellum = ("train", "cerebellum", "--cells", 200, "--inputs-per-cell", 4)
    for name, line in (
        ("graded", cerebellum),
        ("binary", (*cerebellum, "--mossy-fibres", "threshold")),
        ("threshold", ("train", "glr", "--hidden", 5)),
    ):
        succeed(*line, "--dataset", root / "small.npz", "--epochs", 1, "--out", root / name)
    return root


@pytest.mark.parametrize(("name", "gradient"), [("graded", "analytic"), ("binary", "straight-through"), ("threshold", "flip")])
def test_a_run_gets_its_page(runs, tmp_path, name, gradient):
    found = document("explore", runs / name, *QUICK, "--out", "page.html")
    content = (tmp_path / "page.html").read_bytes()
    assert found == {"run": str(runs / name), "page": "page.html", "bytes": len(content)}
    about = json.loads(content.decode().partition('id="about">')[2].partition("</script>")[0])["attack"]
    assert (about["gradient"], about["epsilons"], about["methods"]) == (gradient, [8 / 255, 0.1], {"pgd": 2})
    assert len(about["certified"]) == 2
    again = invoke("explore", runs / name, *QUICK, "--out", "again.html")
    assert again.stdout == f"again.html ({len(content) / 1e6:.1f} MB)\n"
    assert (tmp_path / "again.html").read_bytes() == content


def test_without_a_path_the_page_is_in_the_run(runs):
    assert succeed("explore", runs / "graded", *QUICK, "--no-certify").stdout.startswith(f"{runs / 'graded' / 'explore.html'} (")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--images", 21), "images: 21"),
        (("--images", 0), "images: 0"),
        (("--epsilon", 0), "epsilon"),
        (("--epsilon", "wide"), "wide"),
        (("--method", "square"), "square"),
        (("--objective", "loss"), "loss"),
        (("--steps", 0), "steps: 0"),
        (("--seed", -1), "seed: -1"),
        (("--out", "page.txt"), "page.txt"),
    ],
)
def test_what_cannot_be_is_one_line(runs, arguments, named):
    line = refused("explore", runs / "graded", "--no-tasks", *arguments)
    assert named in line


def test_a_folder_that_is_no_run_is_named(tmp_path):
    assert "nowhere does not exist" in refused("explore", "nowhere")
