"""``minicereb attack``: every method, norm and gradient from the command line."""

import json
import sys
import traceback
from pathlib import Path

import numpy as np
import pytest
from commands import invoke, succeed

import minicereb
import minicereb.cli
from minicereb.attacks.methods import METHODS
from minicereb.models.cerebellum import CerebellarNetwork


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    succeed("train", "cerebellum", "--dataset", "strokes", "--cells", "200", "--epochs", "1", "--out", folder)
    return folder


def test_from_the_command_to_the_gradient_it_is_nine_files(run, monkeypatch):
    """The walk of docs/architecture.md: the calls above the first input gradient. The table of methods is read on the way."""
    calls, input_gradient = [], CerebellarNetwork.input_gradient
    ours = [Path(package.__file__).parent for package in (minicereb, minicereb.cli)]  # a checkout or what was installed

    def recorded(*arguments):
        calls.append([Path(frame.f_code.co_filename) for frame, _ in traceback.walk_stack(sys._getframe())])
        return input_gradient(*arguments)

    monkeypatch.setattr(CerebellarNetwork, "input_gradient", recorded)
    succeed("attack", run, "--images", "8", "--steps", "2", "--seed", "99")
    places = [f"{path.parent.name}/{path.name}" for path in reversed(calls[0]) if any(folder in path.parents for folder in ours)]
    files = list(dict.fromkeys(places[places.index("cli/attack.py") : -1]))
    expected = (
        "cli/attack.py cli/output.py kinds/attacked.py attacks/run.py attacks/search.py attacks/pgd.py attacks/gradients.py"
    )
    assert files == expected.split()


@pytest.mark.parametrize(
    ("method", "norm"), [*((name, "l2") for name, each in METHODS.items() if not each.flips), ("apgd", "linf")]
)
def test_every_method_can_be_asked_for(run, tmp_path, method, norm):
    epsilon = 0.1 if norm == "linf" else 1.0
    steps = () if method != "square" else ("--steps", "200")
    arguments = ("attack", run, "--method", method, "--norm", norm, "--epsilon", epsilon, "--images", "12", *steps)
    printed = succeed(*arguments, "--save", tmp_path / "images.npz").stdout
    assert printed.startswith(f"{method} on margin, ε = {epsilon:g}{' in L2' if norm == 'l2' else ''}, 12 images: accuracy ")
    with np.load(tmp_path / "images.npz") as saved:
        change = saved["x_adv"].astype(np.float64) - saved["x"]
        size = np.linalg.norm(change, np.inf if norm == "linf" else 2, axis=1)
        assert np.allclose(saved["distance"], size, rtol=1e-9, atol=0)
        assert size.max() <= epsilon + 1e-6


def test_steps_are_the_methods_own_unless_they_are_given(run):
    asked = ("attack", run, "--method", "random", "--images", "5", "--epsilon", "0.01", "--json")
    records = []
    for steps in ((), ("--steps", "100"), ("--steps", "99")):
        succeed(*asked, *steps)
        records.append(len(list((run / "attacks").iterdir())))
    assert records[0] == records[1] == records[2] - 1


def test_a_step_that_is_not_given_fits_and_one_too_short_is_told(run):
    asked = ("attack", run, "--images", "5", "--norm", "l2", "--epsilon", "2", "--json")
    for method in ("pgd", "momentum"):
        told = invoke(*asked, "--method", method)
        assert (told.exit_code, told.stderr) == (0, "")
        short = invoke(*asked, "--method", method, "--step-size", "0.01")
        assert short.exit_code == 0
        assert short.stderr.count("\n") == 1
        assert short.stderr.startswith("warning: 40 steps of 0.01 are shorter than ε = 2: ")
        assert json.loads(told.stdout)["robust_accuracy"] <= json.loads(short.stdout)["robust_accuracy"]


def test_settings_of_one_method_are_refused_with_another(run):
    asked = ("attack", run, "--images", "5")
    for options in (("--decay", "0.5"), ("--nesterov",), ("--no-rescale",)):
        result = invoke(*asked, *options)
        assert (result.exit_code, result.stdout) == (2, "")
        assert options[0].removeprefix("--").removeprefix("no-") in result.stderr
    succeed(*asked, "--method", "momentum", "--decay", "0.5", "--nesterov")
    succeed(*asked, "--method", "square", "--steps", "20", "--no-rescale")


def test_the_strongest_of_the_standard_ensemble(run):
    common = ("attack", run, "--epsilon", "0.05", "--images", "12", "--targets", "9", "--steps", "10", "--json")
    ratio, boundary = (
        json.loads(succeed(*common, *extra).stdout) for extra in (("--method", "apgd", "--objective", "dlr"), ("--method", "fab"))
    )
    assert ratio["robust_accuracy"] == boundary["robust_accuracy"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--method", "fab", "--objective", "dlr"), "objective: 'dlr'"),
        (("--method", "random", "--targets", "2"), "targets: 2"),
        (("--targets", "-1"), "targets: -1"),
        (("--objective", "mse", "--targets", "9"), "objective: 'mse'"),
        (("--gradient", "straight-through"), "gradient: 'straight-through'"),
    ],
)
def test_what_does_not_go_together_is_one_line_and_exit_code_2(run, arguments, named):
    result = invoke("attack", run, "--images", "5", *arguments)
    assert result.exit_code == 2
    assert named in result.stderr
    assert result.stderr.count("\n") <= 2


def test_a_strength_may_be_written_as_so_many_levels_of_255(run):
    asked = ("attack", run, "--images", "5", "--json", "--epsilon")
    assert json.loads(succeed(*asked, "8/255").stdout)["epsilon"] == 8 / 255
    assert json.loads(succeed(*asked, "0.25").stdout)["epsilon"] == 0.25
    for wrong in ("8/0", "8/", "a/255", "1/2/3", "much"):
        result = invoke(*asked, wrong)
        assert (result.exit_code, result.stdout) == (2, "")
        assert f"'{wrong}' is not a number" in result.stderr


WHOLE = "is larger than 1, the whole range of a pixel (pixels are from 0 to 1);"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--epsilon", "8"), f"note: epsilon 8 {WHOLE} did you mean 8/255?"),
        (("--step-size", "2"), f"note: step-size 2 {WHOLE} did you mean 2/255?"),
        (("--norm", "l2", "--epsilon", "128"), "note: epsilon 128 is larger than 28, the largest distance between images of 784"),
        (("--epsilon", "1"), ""),
        (("--norm", "l2", "--epsilon", "2"), ""),
    ],
)
def test_a_change_larger_than_any_gets_a_remark(run, arguments, said):
    result = invoke("attack", run, "--images", "2", "--steps", "2", *arguments)
    assert result.exit_code == 0
    assert (said in result.stderr) if said else ("note: epsilon" not in result.stderr)
    assert result.stderr.count("larger than") == bool(said)


def test_every_command_with_such_a_size_remarks_on_it(run, tmp_path):
    told = f"8 {WHOLE} did you mean 8/255?"
    evaluated = invoke("evaluate", run, "--images", "2", "--attacks", "pgd-margin", "--no-certify", "--epsilon", "8")
    assert f"note: epsilon {told}" in evaluated.stderr
    assert f"note: epsilon {told}" in invoke("explain", run, "--what", "attack", "--epsilon", "8").stderr
    small = ("train", "mlp", "--hidden", "", "--epochs", "1", "--adversarial-steps", "1")
    assert f"note: adversarial {told}" in invoke(*small, "--adversarial", "8", "--out", tmp_path / "run").stderr
    stepping = ("--adversarial", "8/255", "--adversarial-step-size", "2", "--out", tmp_path / "other")
    assert "note: adversarial-step-size 2 is" in invoke(*small, *stepping).stderr


@pytest.mark.parametrize(
    ("line", "setting"),
    [
        ("evaluate RUN --epsilon 1e308", "epsilon: '1e+308'"),
        ("attack RUN --epsilon 1e308", "epsilon: 1e+308"),
        ("attack RUN --step-size 1e39", "step-size: 1e+39"),
        ("evaluate RUN --gradient eot --epsilon 0.5", "gradient: 'eot'"),
        ("evaluate RUN --answer lap --epsilon 0.5", "answer: 'lap'"),
        ("evaluate RUN --draws 18446744073709551616 --epsilon 1e5", "draws: 18446744073709551616"),
        ("task pole --step 5e-324", "step: 5e-324"),
        ("task pole --fibres 9223372036854775807", "fibres: 9223372036854775807"),
    ],
)
def test_numbers_out_of_all_proportion_are_one_line(run, line, setting):
    result = invoke(*(run if word == "RUN" else word for word in line.split()))
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: {setting} is not valid; expected ")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--method", "fgsm", "--steps", "7"), ["--steps has no effect with fgsm"]),
        (("--method", "apgd", "--steps", "3", "--step-size", "0.1"), ["--step-size has no effect with apgd"]),
        (("--method", "random", "--steps", "3", "--restarts", "2"), ["--restarts has no effect with random"]),
        (("--method", "square", "--steps", "3", "--clean-start"), ["--random-start has no effect with square"]),
        (("--method", "fmn", "--steps", "3", "--keep", "last"), ["--keep has no effect with fmn"]),
        (("--steps", "3", "--draws", "5"), ["--draws has no effect with the analytic gradient"]),
        (("--steps", "3", "--restarts", "2", "--clean-start", "--keep", "last"), []),
        (("--method", "fgsm",), []),
    ],
)  # fmt: skip
def test_an_option_without_effect_is_remarked_on(tmp_path, options, told):
    folder, data = str(tmp_path / "run"), str(tmp_path / "few.npz")
    x, y = np.random.default_rng(0).integers(0, 256, (40, 5, 5), dtype=np.uint8), np.arange(40) % 3
    np.savez(data, x_train=x, y_train=y, x_test=x, y_test=y)
    trained = invoke("train", "mlp", "--hidden", "5", "--epochs", "1", "--dataset", data, "--out", folder)
    assert trained.exit_code == 0, trained.output
    result = invoke("attack", folder, "--images", "3", *options)
    assert result.exit_code == 0, result.output
    assert [line for line in result.stderr.splitlines() if "no effect" in line] == [f"note: {each}" for each in told]


def test_the_steps_as_an_animation(run, tmp_path):
    film = tmp_path / "attack.svg"
    printed = succeed("attack", run, "--images", "3", "--steps", "4", "--objective", "mse", "--animate", film).stdout
    assert printed.endswith(f"File: {film}\n")
    text = film.read_text()
    assert "An attack of 4 steps; no pixel changes by more than 0.1: a " in text
    assert text.count("<image") == 3 * 3
    succeed("attack", run, "--images", "3", "--steps", "4", "--objective", "mse", "--animate", tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_bytes() == film.read_bytes()


def test_what_cannot_be_animated_is_refused_before_the_attack(run, tmp_path):
    for method, name, words in (
        ("square", "attack.svg", "method: 'square' is not valid"),
        ("pgd", "attack.gif", "animate"),
    ):
        refused = invoke("attack", run, "--method", method, "--images", "3", "--animate", tmp_path / name)
        assert refused.exit_code == 2
        assert words in refused.stderr
        assert "accuracy" not in refused.stdout
