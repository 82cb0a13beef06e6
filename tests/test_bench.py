"""The benchmarks of convolutional networks and certificates, in a tiny size: what they count, measure and print."""

import json
import os

import numpy as np
import pytest
from commands import invoke

from minicereb.bench import ensembles, first_calls, loops, noisy_passes, scaling, vgg
from minicereb.bench.memory import in_fresh_process, process_memory
from minicereb.bench.vgg import QUICK, VggSize
from minicereb.calculus.activations import Activation
from minicereb.calculus.noise import Gaussian
from minicereb.calculus.replicated import CrossEntropy
from minicereb.cli import machine
from minicereb.compiled import numba_problem
from minicereb.datasets.transforms import to_unit
from minicereb.errors import RunError
from minicereb.learning.glr import estimate, estimator_named
from minicereb.learning.noise import Address
from minicereb.models.cerebellum import initial_cerebellum
from minicereb.models.mlp import initial_mlp
from minicereb.models.noisy_convolution import initial_noisy_convolutional
from minicereb.models.noisy_time import initial_noisy_in_time
from minicereb.models.wiring import draw_wiring


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    monkeypatch.setattr(vgg, "FULL", QUICK)


def test_the_multiply_adds_are_those_of_vgg_11():
    one = VggSize(batch=1)
    counted = vgg._multiply_adds(vgg.network_of(one)[0], one)
    stages = [1024 * 64 * 27, 1024 * 64 * 576, 256 * 128 * 576, 256 * 128 * 1152, 64 * 256 * 1152, *(3 * [64 * 256 * 2304])]
    assert counted == [*stages, 4096 * 1024, 1024 * 1024, 1024 * 10]


def test_a_step_gives_the_derivatives_by_every_parameter():
    model, images, credit = vgg.network_of(QUICK)
    (gradients,) = vgg.ours_of(model, images, credit)()
    shapes = [{name: array.shape for name, array in layer.items()} for layer in gradients if layer]
    learning = [layer.parameters for layer in model.layers if hasattr(layer, "parameters")]
    assert shapes == [{name: array.shape for name, array in layer.items()} for layer in learning]


def test_the_command_prints_the_network_with_its_memory_then_its_convolutions():
    result = invoke("bench", "--only", "convolutional", "--json")
    assert result.exit_code == 0, result.output
    network, *alone = json.loads(result.stdout)["rows"]
    assert network["name"] == "VGG-11 forward and back, width 0.0625, batch 4, 8 x 8 pixels"
    assert network["peak"] is None or network["peak"] >= 0
    assert [row["name"].split(",")[0] for row in alone] == [
        "convolution 3 to 4",
        "convolution 4 to 4",
        "convolution 4 to 8",
        "convolution 8 to 8",
        "convolution 8 to 16",
        "convolution 16 to 16",
    ]
    assert all(row["seconds"] > 0 and row["floor_seconds"] > 0 and row["peer"] is None for row in (network, *alone))


def test_the_form_in_which_a_convolution_learns_has_a_row_of_its_own(monkeypatch):
    monkeypatch.setattr(vgg.direct, "applies", lambda x, numbers, outputs: numbers == 27)
    monkeypatch.setattr(vgg, "applies", lambda *arguments: arguments[-1] == 16)
    names = [benchmark.name.partition("and ")[2] for benchmark in vgg._convolutions(QUICK)]
    plain, small, loop = "its derivatives", "its derivatives by minimal filtering", "its weights' gradient by loops"
    assert names == [plain, loop, plain, plain, plain, plain, small, plain, small]


def test_the_command_times_certificates(monkeypatch):
    monkeypatch.setattr(loops, "FEW_CELLS", 300)
    monkeypatch.setattr(loops, "CERTIFIED_IMAGES", 70)
    result = invoke("bench", "--only", "certificates", "--json")
    assert result.exit_code == 0, result.output
    (row,) = json.loads(result.stdout)["rows"]
    assert row["name"] == "certificates of 70 images, 300 cells, k = 4, ε = 0.02"
    assert row["seconds"] > row["floor_seconds"] > 0


def test_growth_is_measured_with_exponents_and_a_figure(monkeypatch, tmp_path):
    monkeypatch.setattr(scaling, "in_fresh_process", lambda function, *arguments: function(*arguments))
    monkeypatch.setattr(scaling, "ENOUGH", 0.01)
    sizes = {"CELLS": (100, 1_000), "REPLICATIONS": (10, 100), "IMAGES": (3, 30), "SEEDS_OF_STUDY": 1}
    for name, value in sizes.items():
        monkeypatch.setattr(scaling, name, value)
    monkeypatch.setattr(scaling, "available_cores", lambda: 1)
    result = invoke("bench", "--scaling", "--figure", tmp_path / "growth.png", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    measured = [(each["quantity"], each["size"]) for each in document["sizes"]]
    grown = [("cells", 100), ("cells", 1_000), ("images", 3), ("images", 30), ("replications", 10), ("replications", 100)]
    assert measured == [*grown, ("workers", 1)]
    assert all(each["seconds"] > 0 for each in document["sizes"])
    assert list(document["exponents"]) == ["cells", "images", "replications"]  # one size has no slope
    assert (tmp_path / "growth.png").exists()


def test_a_process_that_is_ended_from_outside_is_told_in_one_line():
    with pytest.raises(RunError, match="^a process that measured memory was killed"):
        in_fresh_process(os._exit, 1)


def test_an_exponent_is_the_slope_of_the_logarithms():
    assert scaling.exponent([1, 10, 100], [3, 300, 30_000]) == pytest.approx(2)
    assert scaling.exponent([1, 2, 4], [8, 4, 2]) == pytest.approx(-1)


@pytest.mark.parametrize(
    "options",
    [
        ["--scaling", "--peers"],
        ["--scaling", "--only", "glr"],
        ["--figure", "growth.png"],
        ["--first-calls", "--peers"],
        ["--first-calls", "--only", "glr"],
        ["--first-calls", "--scaling"],
    ],
)
def test_what_does_not_go_together_is_refused(options):
    result = invoke("bench", *options)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1


needs_numba = pytest.mark.skipif(numba_problem() is not None, reason=str(numba_problem()))
POLE = "first trial of pole balancing"  # the shortest of the works that use a compiled loop


@needs_numba
def test_the_command_measures_first_calls(monkeypatch):
    monkeypatch.setattr(first_calls, "WORKS", {POLE: first_calls.WORKS[POLE]})
    result = invoke("bench", "--first-calls", "--json")
    assert result.exit_code == 0, result.output
    (row,) = json.loads(result.stdout)["first_calls"]
    assert (row["name"], row["loops"]) == (POLE, 1)
    assert row["second"] < min(row["first"], row["kept"])  # both first calls import Numba


@needs_numba
def test_only_the_first_process_compiles(tmp_path):
    kept = []
    for _ in range(2):
        in_fresh_process(first_calls.measure, POLE, str(tmp_path))
        kept.append({path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nb?")})
    assert len(kept[0]) == 2
    assert kept[0] == kept[1]


@needs_numba
def test_a_wait_that_the_preparation_hides_is_not_measured(monkeypatch, tmp_path):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))  # measure changes it; restored at the end of the test
    with pytest.raises(RuntimeError, match="imported Numba"):  # as this process has done
        first_calls.measure(POLE, str(tmp_path))


def test_first_calls_without_numba_are_refused(monkeypatch):
    monkeypatch.setattr(machine, "numba_version", lambda: None)
    monkeypatch.setattr(machine, "numba_problem", lambda: "Numba is missing")
    result = invoke("bench", "--first-calls")
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "Numba is missing" in result.stderr


def test_the_command_times_square_through_both_kinds_of_wiring(monkeypatch):
    monkeypatch.setattr(loops, "SQUARE_SIZES", (("random", 9_000, 4, 3), ("full", 60, None, 2)))
    monkeypatch.setattr(loops, "SQUARE_QUERIES", 70)
    monkeypatch.setattr(loops, "SQUARE_FLOOR", 7)
    result = invoke("bench", "--only", "square", "--json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["rows"]
    assert [row["name"] for row in rows] == [
        "Square, 70 queries, 3 images, 9,000 cells, k = 4",
        "Square, 70 queries, 2 images, 60 cells, full wiring",
    ]
    assert {row["floor"] for row in rows} == {"7 forward passes of all images, one for every 10 queries"}
    assert all(row["seconds"] > 0 and row["floor_seconds"] > 0 for row in rows)


def test_whole_evaluations_are_another_table(monkeypatch):
    def run_ensembles(images, peers):
        yield ensembles.Ensemble("one", 0.1, images, 2.0, 3)
        yield ensembles.Ensemble("two", 0.1, images, 2.0, 3, 5.0, 2, 1, 0)

    monkeypatch.setattr(ensembles, "run_ensembles", run_ensembles)
    result = invoke("bench", "--only", "ensemble", "--images", "20")
    assert result.exit_code == 0, result.output
    assert "2.5x" in result.stdout
    document = json.loads(invoke("bench", "--only", "ensemble", "--json").stdout)
    assert [(row["model"], row["images"], row["only_ours"]) for row in document["ensembles"]] == [
        ("one", 500, None),
        ("two", 500, 1),
    ]
    refused = invoke("bench", "--only", "ensemble", "--only", "glr")
    assert refused.exit_code == 2
    assert refused.stderr.count("\n") == 1


def test_an_ensemble_counts_what_is_misclassified_in_the_end(monkeypatch, drawn, learned):
    monkeypatch.setattr(ensembles, "load", lambda name: drawn)
    monkeypatch.setattr(ensembles, "pretrained", lambda name, data: learned)
    monkeypatch.setattr(ensembles, "STANDARD", ("apgd-ce", "random"))
    monkeypatch.setattr(ensembles, "BLOCK", 20)
    monkeypatch.setattr(ensembles, "MODELS", (("tiny", 1e-6), ("large", 0.3)))
    x, labels = to_unit(drawn.x_test[:30]), drawn.y_test[:30]
    clean = int((learned.forward(x)[0].argmax(axis=1) != labels).sum())
    rows = list(ensembles.run_ensembles(30, False))
    assert [(row.model, row.images, row.broken) for row in rows] == [("tiny", 30, clean), ("large", 30, 30)]


def test_autoattacks_square_attacks_the_same_classifier():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: python -m pip install torch")
    pytest.importorskip("pyautoattack", reason="AutoAttack is not installed: python -m pip install pyautoattack")
    from minicereb.bench import peers

    x, _ = loops.images_like_mnist(4)
    wirings = draw_wiring("random", 90, (784,), 4, seed=0), draw_wiring("full", 90, (784,), None, seed=0)
    for model in (*(initial_cerebellum(wiring, 10, seed=0) for wiring in wirings), initial_mlp(784, (20,), 10, 0)):
        outputs = model.forward(x)[0]
        theirs = peers.classifier(model, (28, 28))(torch.tensor(x).reshape(-1, 1, 28, 28))
        assert np.allclose(theirs.numpy(), outputs, rtol=0, atol=1e-5)
        (attack,) = peers.square_runs(model, x, outputs.argmax(axis=1), (28, 28), 0.1, 20).values()
        assert attack().shape == (4, 1, 28, 28)


@pytest.mark.skipif(process_memory("VmRSS") is None, reason="the system does not say how much memory a process has")
def test_memory_that_is_used_is_seen():
    before = process_memory("VmRSS")
    held = np.ones(64 << 20, dtype=np.uint8)
    assert process_memory("VmRSS") - before > 60 << 20
    assert process_memory("VmHWM") >= process_memory("VmRSS") - (4 << 20)
    assert held.all()


def test_pytorchs_forms_of_it_run():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: python -m pip install torch")
    from minicereb.bench import peers

    threads = torch.get_num_threads()
    try:
        steps = peers.convolutional_steps(*vgg.network_of(QUICK))
        assert list(steps) == ["PyTorch", "PyTorch, channels last"]
        for step in steps.values():
            step()
    finally:
        torch.set_num_threads(threads)


def tiny_networks():
    how = {"kernel": 2, "stride": 2, "pool": 1, "pooling": "mean", "law": Gaussian(), "scales": (0.5, 1.0, 0.7)}
    for activation in ("threshold", "sigmoid"):
        yield initial_noisy_convolutional((4, 4), (2,), (3,), 3, 0, activation=Activation(activation), **how)
    how = {"spiking": True, "presentation": "whole", "steps": 3, "leak": 0.8, "law": Gaussian(), "scales": (0.5, 1.0)}
    yield initial_noisy_in_time((4, 4), (3,), 3, 0, activation=Activation("threshold"), **how)


def flat(gradients, channels_last):
    """Tensors as one row in the order of our arrays, in which channels come last."""
    arrays = [each.numpy() for each in gradients]
    if len(arrays) == 6 and not channels_last:  # a convolution of two channels and 2 x 2 positions, then neurons
        arrays[2] = np.moveaxis(arrays[2].reshape(-1, 2, 2, 2), 1, -1)
    return np.concatenate([(np.moveaxis(each, 1, -1) if each.shape[1:] == (1, 2, 2) else each).ravel() for each in arrays])


def test_pytorchs_forms_of_the_likelihood_ratio_have_the_same_mean():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: python -m pip install torch")
    from minicereb.bench import noisy_peers as peers

    few, classes = np.random.default_rng(0).random((2, 16), dtype=np.float32), np.array([2, 0])
    images, labels = np.tile(few, (300, 1)), np.tile(classes, 300)
    fires, smooth, spikes = tiny_networks()
    works = [
        (fires, "flip", "resample", peers.convolutional_changes(fires, images, labels, 4, True)),
        (smooth, "resample", "resample", peers.convolutional_changes(smooth, images, labels, 4, False)),
        (fires, "flip", "resample", peers.convolutional_scores(fires, images, labels, 4, True)),
        (spikes, "flip", "derivative", peers.spiking_flips(spikes, images, labels)),
    ]
    threads = torch.get_num_threads()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    try:
        for network, name, last, forms in works:
            found = estimate(network, CrossEntropy(), estimator_named(name, last), few, classes, 3_000, Address(0, (0,)))
            expected = np.concatenate([layer[part].ravel() for layer in found.gradients for part in ("weight", "bias")])
            for form, work in forms.items():
                passes = np.stack([flat(work(), form != "PyTorch") for _ in range(25)]) / len(images)  # theirs are sums
                error = passes.std(axis=0) / len(passes) ** 0.5 + 1e-3
                assert (abs(passes.mean(axis=0) - expected) < 5 * error).all(), form
    finally:
        torch.set_num_threads(threads)


def test_the_command_times_learning_from_loss_values(monkeypatch):
    sizes = {"REPLICATIONS": 10, "IMAGE": (28, 28), "CHANNELS": 2, "HIDDEN": 4, "BATCH": 3, "SCORES": 4, "STEPS": 2}
    for name, value in sizes.items():
        monkeypatch.setattr(noisy_passes, name, value)
    result = invoke("bench", "--only", "glr", "--json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["rows"]
    assert [row["name"].partition(",")[0] for row in rows] == [
        *2 * ["GLR iteration"],
        "GLR by flips",
        "GLR by redrawn noise",
        "GLR by scores",
        "GLR by flips",
    ]
    assert all(row["seconds"] > 0 and row["floor_seconds"] > 0 for row in rows)
