"""The benchmarks of convolutional networks and certificates, in a tiny size: what they count, measure and print."""

import json

import numpy as np
import pytest
from commands import invoke

from minicereb.bench import loops, vgg
from minicereb.bench.vgg import QUICK, VggSize


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


def test_the_command_times_certificates(monkeypatch):
    monkeypatch.setattr(loops, "FEW_CELLS", 300)
    monkeypatch.setattr(loops, "CERTIFIED_IMAGES", 70)
    result = invoke("bench", "--only", "certificates", "--json")
    assert result.exit_code == 0, result.output
    (row,) = json.loads(result.stdout)["rows"]
    assert row["name"] == "certificates of 70 images, 300 cells, k = 4, ε = 0.02"
    assert row["seconds"] > row["floor_seconds"] > 0


@pytest.mark.skipif(vgg._status("VmRSS") is None, reason="the system does not say how much memory a process has")
def test_memory_that_is_used_is_seen():
    before = vgg._status("VmRSS")
    held = np.ones(64 << 20, dtype=np.uint8)
    assert vgg._status("VmRSS") - before > 60 << 20
    assert vgg._status("VmHWM") >= vgg._status("VmRSS") - (4 << 20)
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
