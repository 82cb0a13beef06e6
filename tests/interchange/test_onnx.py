"""ONNX files: networks survive writing and reading, agree with onnxruntime, and anything unknown is refused by name."""

import numpy as np
import pytest
from commands import document, invoke, refused, succeed

from minicereb.calculus.activations import Activation
from minicereb.calculus.noise import Gaussian
from minicereb.certificates.affine import why_not_certifiable
from minicereb.errors import InputError, MinicerebError
from minicereb.experiments.evaluation.own_model import classifier_named
from minicereb.experiments.runs import dataset_of, load_model, read_run
from minicereb.interchange.onnx_reader import read_onnx
from minicereb.interchange.onnx_writer import write_onnx
from minicereb.models.cerebellum import CerebellarNetwork
from minicereb.models.convolutional import initial_convolutional
from minicereb.models.mlp import initial_mlp
from minicereb.models.noisy import initial_noisy
from minicereb.models.noisy_convolution import initial_noisy_convolutional
from minicereb.models.noisy_time import initial_noisy_in_time
from minicereb.models.wiring import draw_wiring

onnx = pytest.importorskip("onnx", reason="onnx is not installed: python -m pip install onnx")
onnx_reference = pytest.importorskip("onnx.reference")
helper = onnx.helper


def noisy(activation):
    return initial_noisy(12, (7,), 3, seed=1, activation=activation, law=None, scales=(1.0,))


def cerebellum(kind, fires_above=None):
    wiring = draw_wiring(kind, 30, (12,), None if kind == "full" else 4, seed=3)
    rng = np.random.default_rng(0)
    mean = rng.random(30, dtype=np.float32)
    return CerebellarNetwork(wiring, mean, rng.standard_normal((30, 3), dtype=np.float32), fires_above)


def convolutional():
    normalisation = np.array([0.3, 0.4, 0.5]), np.array([0.2, 0.3, 0.4])
    return initial_convolutional(
        (8, 6, 3), 4, 1, stages=((5,), (6,)), hidden=(7,), batch_norm=True, dropout=(0.1, 0.1), normalisation=normalisation
    )


NETWORKS = {
    "perceptron": (lambda: initial_mlp(12, (9, 8), 3, seed=1), 12),
    "cerebellum, random wiring": (lambda: cerebellum("random"), 12),
    "cerebellum, full wiring": (lambda: cerebellum("full"), 12),
    "cerebellum, threshold fibres": (lambda: cerebellum("random", 0.4), 12),
    "threshold": (lambda: noisy(Activation("threshold")), 12),
    "sigmoid of slope 3": (lambda: noisy(Activation("sigmoid", 3.0)), 12),
    "convolutional": (convolutional, 144),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_survives_writing_and_reading(name, tmp_path):
    make, inputs = NETWORKS[name]
    model, path = make(), tmp_path / "model.onnx"
    write_onnx(model, inputs, path)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    x = np.random.default_rng(2).random((20, inputs), dtype=np.float32)
    again = read_onnx(path)
    np.testing.assert_allclose(again.network.forward(x)[0], model.forward(x)[0], rtol=1e-4, atol=1e-5)
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    session = runtime.InferenceSession(path)
    rows = x if again.order is None else x[:, np.argsort(again.order)]
    (outputs,) = session.run(None, {"x": rows.reshape(20, *again.shape)})
    np.testing.assert_allclose(outputs, model.forward(x)[0], rtol=1e-4, atol=1e-5)


def write(path, nodes, shape, outputs=2, **constants):
    value = helper.make_tensor_value_info
    made = [helper.make_node(kind, read, [out], **attributes) for kind, read, out, attributes in nodes]
    arrays = [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(made, "g", [value("x", 1, [1, *shape])], [value(nodes[-1][2], 1, [1, outputs])], arrays)
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)]).SerializeToString())
    return path


def random(*shape):
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def test_arithmetic_with_constants_before_and_after_a_matrix(tmp_path):
    nodes = [
        ("Sub", ["x", "mean"], "a", {}),
        ("Div", ["a", "deviation"], "b", {}),
        ("Flatten", ["b"], "c", {}),
        ("MatMul", ["c", "w"], "d", {}),
        ("Add", ["b1", "d"], "e", {}),
        ("Mul", ["e", "s"], "f", {}),
        ("Sub", ["f", "t"], "g", {}),
        ("Relu", ["g"], "h", {}),
        ("Gemm", ["h", "v", "b2"], "y", {}),
    ]
    arrays = {"mean": random(1, 3, 1, 1), "deviation": random(3, 1, 1), "w": random(12, 5), "b1": random(5)}
    arrays |= {"s": np.float32([3.0]), "t": random(1, 5), "v": random(5, 2), "b2": random(2)}
    read = read_onnx(write(tmp_path / "m.onnx", nodes, (3, 2, 2), **arrays))
    x = random(4, 3, 2, 2)
    hidden = ((x - arrays["mean"]) / arrays["deviation"]).reshape(4, -1) @ arrays["w"] + arrays["b1"]
    expected = np.maximum(hidden * 3 - arrays["t"], 0) @ arrays["v"] + arrays["b2"]
    rows = x.reshape(4, -1)[:, read.order]
    np.testing.assert_allclose(read.network.forward(rows)[0], expected, rtol=1e-4, atol=1e-4)


def test_rows_that_become_images_at_once(tmp_path):
    nodes = [("Reshape", ["x", "sizes"], "a", {}), ("Conv", ["a", "k"], "b", {}), ("Flatten", ["b"], "c", {}),
             ("Gemm", ["c", "w"], "y", {})]  # fmt: skip
    arrays = {"sizes": np.array([-1, 2, 3, 4]), "k": random(5, 2, 3, 2), "w": random(15, 2)}
    read = read_onnx(write(tmp_path / "m.onnx", nodes, (24,), **arrays))
    x = random(6, 2, 3, 4)
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 2), axis=(2, 3))
    expected = np.einsum("nchwij,ocij->nohw", windows, arrays["k"]).reshape(6, -1) @ arrays["w"]
    np.testing.assert_allclose(read.network.forward(x.reshape(6, -1)[:, read.order])[0], expected, rtol=1e-4, atol=1e-4)


def test_sign_and_greater(tmp_path):
    nodes = [
        ("Greater", ["x", "c"], "a", {}),
        ("Cast", ["a"], "b", {"to": 1}),
        ("Gemm", ["b", "w", "c3"], "d", {"transB": 1}),
        ("Sign", ["d"], "e", {}),
        ("Gemm", ["e", "v"], "y", {}),
    ]
    arrays = {"c": np.float32(0.5), "w": random(3, 6), "c3": random(3), "v": random(3, 2)}
    read = read_onnx(write(tmp_path / "m.onnx", nodes, (6,), **arrays))
    x = random(9, 6)
    expected = np.sign((x > 0.5) @ arrays["w"].T + arrays["c3"]) @ arrays["v"]
    np.testing.assert_allclose(read.network.forward(x)[0], expected, rtol=1e-4, atol=1e-5)


W, GEMM = {"w": random(4, 2)}, [("Gemm", ["x", "w"], "y", {})]
REFUSED = {
    "an operator": ([("Softmax", ["x"], "y", {})], {}, "Softmax"),
    "an attribute": ([("Gemm", ["x", "w"], "y", {"alpha": 2.0})], W, "alpha = 2.0"),
    "a branch": ([("Relu", ["x"], "a", {}), ("Add", ["a", "x"], "b", {}), ("Gemm", ["b", "w"], "y", {})], W, "Add"),
    "no constant": ([("MatMul", ["x", "x"], "y", {})], {}, "MatMul"),
    "a wrong width": (GEMM, {"w": random(5, 2)}, "(2, 5)"),
    "half precision": (GEMM, {"w": random(4, 2).astype(np.float16)}, "float16"),
    "not finite": (GEMM, {"w": np.full((4, 2), np.inf, dtype=np.float32)}, "not finite"),
    "another output": ([*GEMM, ("Relu", ["y"], "z", {}), ("Gemm", ["x", "w"], "y2", {})], W, "y2"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_the_layers_cannot_compute_is_refused_by_name(what, tmp_path):
    nodes, constants, words = REFUSED[what]
    with pytest.raises(MinicerebError, match="m.onnx") as refused:
        read_onnx(write(tmp_path / "m.onnx", nodes, (4,), **constants))
    assert words.replace("y2", "Gemm") in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"no network", b"\x08\x08" + b"\xff" * 40])
def test_a_file_that_is_no_network_is_refused(content, tmp_path):
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(MinicerebError, match=r"m\.onnx"):
        read_onnx(tmp_path / "m.onnx")


def test_a_network_without_operators_of_its_own_is_not_written(tmp_path):
    with pytest.raises(InputError, match="log-absolute"):
        write_onnx(noisy(Activation("log-absolute")), 12, tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


def test_a_run_is_exported_and_read_as_a_model_of_somebody_else(tmp_path):
    run, file = tmp_path / "run", tmp_path / "model.onnx"
    succeed("train", "mlp", "--dataset", "strokes", "--hidden", "8", "--epochs", "1", "--out", run)
    assert succeed("export", run, file).stdout.split() == ["Gemm", "Relu", "Gemm"]
    other, found = classifier_named(str(file)), read_run(run)
    data = dataset_of(found)
    x = data.x_test[:50].astype(np.float32) / 255
    np.testing.assert_allclose(other.forward(x)[0], load_model(found, data).forward(x)[0], rtol=1e-5, atol=1e-6)
    assert why_not_certifiable(other) is None


def test_a_network_that_does_not_fit_the_data_ends_with_one_line(tmp_path):
    file = write(tmp_path / "m.onnx", GEMM, (4,), w=random(4, 2))
    result = invoke("evaluate", "--model", file, "--dataset", "strokes", "--out", tmp_path / "e")
    assert result.exit_code == 2
    assert "784" in result.stderr


# -- certify NETWORK.onnx --vnnlib FILE -----------------------------------------------------------------------------------------


@pytest.fixture
def asked(tmp_path):
    """A network in a file, and a function that writes the question whether another class wins within a radius of a point."""
    network = initial_mlp(3, (6,), 3, seed=1)
    file = tmp_path / "network.onnx"
    write_onnx(network, 3, file)
    centre = np.array([0.4, 0.5, 0.6])
    label = int(network.forward(centre[None].astype(np.float32))[0].argmax())

    def question(radius):
        lines = [f"(declare-const {name}_{n} Real)" for name in "XY" for n in range(3)]
        lines += [f"(assert (>= X_{n} {x - radius}))\n(assert (<= X_{n} {x + radius}))" for n, x in enumerate(centre)]
        wins = " ".join(f"(and (>= Y_{j} Y_{label}))" for j in range(3) if j != label)
        path = tmp_path / "question.vnnlib"
        path.write_text("\n".join([*lines, f"(assert (or {wins}))"]), encoding="ascii")
        return path

    return network, file, label, question


def test_a_property_is_decided_on_the_command_line(asked):
    network, file, label, question = asked
    found = document("certify", file, "--vnnlib", question(1e-4))
    assert found["verdict"] == "unsat"
    assert found["bound"] > 0
    assert found["counterexample"] is None
    found = document("certify", file, "--vnnlib", question(3.0))
    assert found["verdict"] == "sat"
    outputs = network.forward(np.array([found["counterexample"]], dtype=np.float32))[0][0]
    assert np.allclose(outputs, found["outputs"], rtol=1e-6, atol=1e-7)
    assert outputs.argmax() != label
    text = succeed("certify", file, "--vnnlib", question(3.0)).stdout
    assert text.startswith("sat: ")
    assert "input X: " in text
    assert succeed("certify", file, "--vnnlib", question(1e-4)).stdout.startswith("unsat: no input")
    assert (
        "--epsilon has no effect with --vnnlib" in succeed("certify", file, "--vnnlib", question(1e-4), "--epsilon", 0.2).stderr
    )


def test_what_cannot_be_decided_is_one_line(asked, tmp_path):
    _, file, _, question = asked
    path = question(1e-4)
    assert "--vnnlib" in refused("certify", file)
    assert "only networks in .onnx files have properties" in refused("certify", tmp_path, "--vnnlib", path)
    assert "seconds-per-image: 0.0" in refused("certify", file, "--vnnlib", path, "--seconds-per-image", 0)
    assert "does not exist" in refused("certify", file, "--vnnlib", tmp_path / "missing")
    (tmp_path / "other.vnnlib").write_text(path.read_text().replace("(declare-const X_2 Real)\n", ""))
    assert "X_2" in refused("certify", file, "--vnnlib", tmp_path / "other.vnnlib")
    wide = tmp_path / "wide.onnx"
    write_onnx(initial_mlp(4, (6,), 3, seed=1), 4, wide)
    assert "vnnlib: '3 inputs' is not valid; expected 4" in refused("certify", wide, "--vnnlib", path)
    few = tmp_path / "few.onnx"
    write_onnx(initial_mlp(3, (6,), 2, seed=1), 3, few)
    assert "outputs" in refused("certify", few, "--vnnlib", path)


@pytest.mark.parametrize("pooling", ["mean", "max"])
@pytest.mark.parametrize("channels", [(3,), (3, 2)])
@pytest.mark.parametrize("activation", ["threshold", "sigmoid"])
def test_noisy_convolutions_are_written_without_noise(tmp_path, pooling, channels, activation):
    how = {"kernel": 2, "stride": 1, "pool": 2, "pooling": pooling, "law": Gaussian(), "scales": (0.5,)}
    network = initial_noisy_convolutional((9, 10, 2), channels, (40,), 3, 0, activation=Activation(activation), **how)
    for layer in network.layers[1:]:
        layer.weight[...] *= 3
        layer.bias[...] = -1.5 * layer.weight.reshape(len(layer.bias), -1).sum(axis=1) / 3  # inputs are about a half
    write_onnx(network, 180, tmp_path / "net.onnx")
    x = 2 * np.random.default_rng(0).random((20, 9, 10, 2), dtype=np.float32) - 1
    session = onnx_reference.ReferenceEvaluator(str(tmp_path / "net.onnx"))
    (found,) = session.run(None, {"x": np.ascontiguousarray(x.transpose(0, 3, 1, 2))})
    expected = network.forward(x.reshape(20, -1))[0]
    assert np.allclose(found, expected, atol=1e-5)
    assert (np.ptp(expected, axis=0) > 0.01).all()


def test_layers_in_time_are_not_written(tmp_path):
    how = {"presentation": "whole", "steps": 2, "leak": 0.8, "law": Gaussian(), "scales": (0.5,)}
    network = initial_noisy_in_time((6, 5), (4,), 3, 0, spiking=True, activation=Activation("threshold"), **how)
    with pytest.raises(InputError, match=r"model: 'a layer with time steps'.*\.npz"):
        write_onnx(network, 30, tmp_path / "net.onnx")
