"""The classifiers learn by the engine, with the bits of the commands, and refuse what they cannot use in one line."""

import copy
import pickle

import numpy as np
import pytest
from commands import succeed

import minicereb
from minicereb.errors import ArrayError, InputError, NotFittedError
from minicereb.experiments.architectures import model_arrays
from minicereb.experiments.runs import learned_arrays, read_run

OFTEN = ["--epochs", "2", "--seed", "3"]
PESSIMISTIC = ["--mossy-fibres", "threshold", "--rule", "pessimistic", "--loss", "cross-entropy"]
AS_COMMANDS = {
    "cerebellum": (
        ["train", "cerebellum", "--cells", "300", *OFTEN],
        lambda: minicereb.Cerebellum(300, epochs=2, random_state=3),
    ),
    "cerebellum, threshold fibres, pessimistic": (
        [
            "train",
            "cerebellum",
            "--cells",
            "300",
            "--mossy-fibres",
            "threshold",
            "--rule",
            "pessimistic",
            "--loss",
            "cross-entropy",
            *OFTEN,
        ],
        lambda: minicereb.Cerebellum(
            300, mossy_fibres="threshold", rule="pessimistic", loss="cross-entropy", epochs=2, random_state=3
        ),
    ),
    "cerebellum, closed form": (
        ["train", "cerebellum", "--cells", "100", "--rule", "least-squares", "--seed", "3"],
        lambda: minicereb.Cerebellum(100, rule="least-squares", random_state=3),
    ),
    "cerebellum, local wiring": (
        ["train", "cerebellum", "--cells", "300", "--wiring", "local", "--field", "3", "--no-ltd", *OFTEN],
        lambda: minicereb.Cerebellum(300, ltd=False, wiring="local", field=3, epochs=2, image_shape=(14, 14), random_state=3),
    ),
    "perceptron": (
        ["train", "mlp", "--hidden", "20,10", *OFTEN],
        lambda: minicereb.Perceptron((20, 10), epochs=2, random_state=3),
    ),
    "perceptron, adversarial": (
        ["train", "mlp", "--hidden", "20", "--adversarial", "0.1", *OFTEN],
        lambda: minicereb.Perceptron(20, adversarial=0.1, epochs=2, random_state=3),
    ),
    "perceptron, interval bounds": (
        ["train", "mlp", "--hidden", "20", "--interval-bounds", "0.05", *OFTEN],
        lambda: minicereb.Perceptron(20, interval_bounds=0.05, epochs=2, random_state=3),
    ),
    "threshold network": (
        ["train", "glr", "--hidden", "12", *OFTEN],
        lambda: minicereb.LikelihoodRatioNetwork(12, epochs=2, random_state=3),
    ),
    "sigmoid network": (
        ["train", "glr", "--hidden", "12", "--activation", "sigmoid", "--noise-scale", "1", *OFTEN],
        lambda: minicereb.LikelihoodRatioNetwork((12,), "sigmoid", noise_scale=(1.0,), epochs=2, random_state=3),
    ),
    "convolutional network from loss values": (
        ["train", "glr", "--network", "cnn", "--channels", "4", "--pool", "2", "--hidden", "12", *OFTEN],
        lambda: minicereb.LikelihoodRatioNetwork(
            12, network="cnn", channels=4, pool=2, epochs=2, image_shape=(14, 14), random_state=3
        ),
    ),
    "recurrent network": (
        ["train", "glr", "--network", "recurrent", "--hidden", "12", "--replications", "4", *OFTEN],
        lambda: minicereb.LikelihoodRatioNetwork(
            12, network="recurrent", replications=4, epochs=2, image_shape=(14, 14), random_state=3
        ),
    ),
    "spiking network": (
        ["train", "glr", "--network", "spiking", "--hidden", "12", "--steps", "3", *OFTEN],
        lambda: minicereb.LikelihoodRatioNetwork(12, network="spiking", steps=3, epochs=2, random_state=3),
    ),
}


@pytest.fixture(scope="module")
def drawn():
    """Small digits: 400 to learn from."""
    data = minicereb.datasets.load("strokes14")
    return data.x_train[:400], data.y_train[:400], data.x_test[:200], data.y_test[:200]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, drawn):
    path = tmp_path_factory.mktemp("front") / "digits.npz"
    shaped = [part.reshape(-1, 14, 14) if part.ndim == 2 else part for part in drawn]
    np.savez(path, **dict(zip(("x_train", "y_train", "x_test", "y_test"), shaped, strict=True)))
    return path


@pytest.mark.parametrize("name", AS_COMMANDS)
def test_bits_are_those_of_the_command(name, folder, drawn, tmp_path):
    command, make = AS_COMMANDS[name]
    succeed(*command, "--dataset", str(folder), "--out", str(tmp_path / "run"))
    run = read_run(tmp_path / "run")
    model = make().fit(drawn[0], drawn[1])
    stored = learned_arrays(run)
    for array, values in model_arrays(model.network_).items():
        assert np.array_equal(values, stored[array]), array
    assert model.score(drawn[2], drawn[3]) == run.result["test_accuracy"]


def test_bytes_are_pixels():
    x = np.random.default_rng(0).integers(0, 256, (60, 9), dtype=np.uint8)
    y = (x[:, 0] > x[:, 1]).astype(int)
    one, other = (minicereb.Cerebellum(50, epochs=1).fit(each, y) for each in (x, x * np.float32(1 / 255)))
    assert np.array_equal(one.network_.readout, other.network_.readout)
    assert np.array_equal(one.predict(x), other.predict(x * np.float32(1 / 255)))


def test_partial_fit_over_parts_equals_one_over_all(drawn):
    x, y = drawn[:2]
    for make in (lambda: minicereb.Cerebellum(100), lambda: minicereb.Perceptron(20, batch_size=10)):
        whole, parts = make().partial_fit(x, y), make()
        for start in range(0, 400, 200):
            parts.partial_fit(x[start : start + 200], y[start : start + 200], classes=range(10))
        for name, values in model_arrays(whole.network_).items():
            assert np.array_equal(values, model_arrays(parts.network_)[name]), name
        assert whole.score(x, y) > 0.2


def test_partial_fit_goes_on_after_fit(drawn):
    x, y = drawn[:2]
    model = minicereb.Cerebellum(100, epochs=1).fit(x, y)
    before = model.network_.readout.copy()
    assert model.partial_fit(x, y) is model
    assert not np.array_equal(model.network_.readout, before)


def test_classes_have_any_names_and_two_have_one_decision():
    x = np.random.default_rng(0).random((100, 4))
    for names in (["no", "yes"], [7, -2], [False, True]):
        y = np.array(names)[(x[:, 0] > x[:, 1]).astype(int)]
        model = minicereb.Cerebellum(200).fit(x, y)
        assert model.classes_.tolist() == sorted(names)
        decision = model.decision_function(x)
        assert decision.shape == (100,)
        assert np.array_equal(model.predict(x), np.where(decision > 0, model.classes_[1], model.classes_[0]))


@pytest.mark.parametrize("make", [minicereb.Cerebellum, minicereb.Perceptron, minicereb.LikelihoodRatioNetwork])
def test_copies_and_pickles_answer_alike(make):
    x = np.random.default_rng(0).random((80, 4))
    model = make(epochs=1, **({"cells": 50} if make is minicereb.Cerebellum else {})).fit(x, (x[:, 0] > x[:, 1]).astype(int))
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert np.array_equal(other.predict(x), model.predict(x))
        other.partial_fit(x, model.predict(x))


X, Y = np.eye(4), np.array([0, 1, 0, 1])


@pytest.mark.parametrize(
    ("make", "x", "y", "said"),
    [
        (lambda: minicereb.Cerebellum(0), X, Y, "^cells: 0 is not valid; expected a whole number of at least 1"),
        (lambda: minicereb.Cerebellum("many"), X, Y, "^cells: 'many' is not valid"),
        (lambda: minicereb.Cerebellum(inputs_per_cell=9), X, Y, "^inputs.per.cell: 9 is not valid"),
        (lambda: minicereb.Cerebellum(rule="detla"), X, Y, "^rule: 'detla' is not valid; .*did you mean 'delta'"),
        (lambda: minicereb.Cerebellum(random_state=None), X, Y, "^random_state: None is not valid"),
        (lambda: minicereb.Cerebellum(image_shape=(3, 2)), X, Y, r"^image_shape: \(3, 2\) is not valid"),
        (lambda: minicereb.Cerebellum(adversarial=-1.0), X, Y, "^adversarial: -1.0 is not valid"),
        (lambda: minicereb.Perceptron(hidden=None), X, Y, "^hidden: None is not valid"),
        (lambda: minicereb.Perceptron(optimizer="adamant"), X, Y, "^optimizer: 'adamant' is not valid"),
        (
            lambda: minicereb.LikelihoodRatioNetwork(estimator="flap"),
            X,
            Y,
            "^estimator: 'flap' is not valid; .*did you mean 'flip'",
        ),
        (minicereb.Cerebellum, X, Y[:3], "inconsistent numbers of samples: 4 rows of X, 3 labels"),
        (minicereb.Cerebellum, X, Y + 0.5, "^Unknown label type: y is continuous"),
        (minicereb.Cerebellum, X, Y * 0, "^y holds one class only, 0"),
        (minicereb.Cerebellum, X, np.eye(4), "^y has the shape .* if labels are one-hot"),
        (minicereb.Cerebellum, X * np.nan, Y, "^X contains NaN"),
        (minicereb.Cerebellum, X * 1e39, Y, "^X contains NaN or inf, or a number too large for float32"),
        (minicereb.Cerebellum, X.reshape(4, 2, 2), Y, "^Expected 2D array, got 3D array .*X.reshape"),
    ],
)
def test_what_cannot_be_used_is_one_line(make, x, y, said):
    with pytest.raises(ValueError, match=said) as caught:
        make().fit(x, y)
    assert isinstance(caught.value, InputError | ArrayError)
    assert "\n" not in str(caught.value)


def test_who_asks_too_early_or_for_another_parameter_is_told():
    with pytest.raises(NotFittedError, match="This Cerebellum instance is not fitted yet"):
        minicereb.Cerebellum().predict(X)
    with pytest.raises(InputError, match="'cels' is not valid; expected a parameter of Cerebellum: .*did you mean 'cells'"):
        minicereb.Cerebellum().set_params(cels=3)
    with pytest.raises(InputError, match="another rule: partial_fit"):
        minicereb.Cerebellum(rule="least-squares").partial_fit(X, Y)
    with pytest.raises(ArrayError, match="y contains 5, which is not one of the classes 0, 1"):
        minicereb.Cerebellum(20).partial_fit(X, Y).partial_fit(X, Y + 5)


def test_a_rate_that_diverges_is_a_warning_or_an_error_about_the_parameter():
    x = np.random.default_rng(0).random((100, 4))
    y = (x[:, 0] > x[:, 1]).astype(int)
    with pytest.warns(UserWarning, match="training diverged: .*; lower learning_rate$"):
        minicereb.Cerebellum(100, learning_rate=50.0, epochs=1).fit(x, y)


def test_parameters_that_differ_from_the_default_are_shown():
    assert repr(minicereb.Cerebellum()) == "Cerebellum()"
    assert repr(minicereb.Cerebellum(100, ltd=False)) == "Cerebellum(cells=100, ltd=False)"
    assert minicereb.Cerebellum(5).set_params(cells=7).get_params()["cells"] == 7
    for parameter in minicereb.Cerebellum().get_params():
        assert f"\n{parameter} : " in minicereb.Cerebellum.__doc__


NETWORKS = {
    "cnn": {"network": "cnn", "channels": (4,), "hidden": ()},
    "recurrent": {"network": "recurrent", "hidden": 12, "activation": "sigmoid", "estimator": "backprop"},
    "spiking": {"network": "spiking", "hidden": 12, "steps": 3},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_with_structure_are_attacked_evaluated_and_kept(name, drawn):
    x, y, x_test, y_test = (part.reshape(len(part), -1) for part in drawn)
    model = minicereb.LikelihoodRatioNetwork(**NETWORKS[name], epochs=2, image_shape=(14, 14)).fit(x, y.ravel())
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.outputs(x_test), model.outputs(x_test))
    assert repr(again) == repr(model)
    part = x_test[:10], y_test.ravel()[:10]
    assert minicereb.attack(model, *part, method="square", steps=20, epsilon=0.2).robust_accuracy <= 1
    assert minicereb.evaluate(model, *part, epsilons=(0.1,), attacks=("random",)).attacked
    if name == "recurrent":  # it is smooth
        assert minicereb.attack(model, *part, method="pgd", steps=3, epsilon=0.3).robust_accuracy < model.score(*part)
    model.partial_fit(x[:50], y.ravel()[:50])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"network": "cnn"}, "image_shape: None is not valid; expected height and width"),
        ({"network": "recurrent"}, "image_shape: None is not valid; expected height and width"),
        ({"network": "spiking", "presentation": "rows"}, "image_shape: None is not valid; expected height and width"),
        ({"network": "cnn", "image_shape": (14, 14), "kernel": 15}, "kernel: 15 .*at most 14"),
        ({"network": "cnn", "image_shape": (196,)}, "image_shape"),
        ({"network": "spiking", "estimator": "exact"}, "estimator: 'exact'.*flip, resample, rao-blackwell"),
        ({"network": "spike"}, "network: 'spike'.*did you mean 'spiking'"),
        ({"channels": (4,)}, "channels.*network cnn"),
        ({"network": "spiking", "leak": 2}, "leak: 2 .*from 0 to 1"),
    ],
)
def test_parameters_that_do_not_fit_a_network_are_refused_in_one_line(given, expected, drawn):
    model = minicereb.LikelihoodRatioNetwork(**given)
    with pytest.raises(ValueError, match=expected) as caught:
        model.fit(drawn[0].reshape(-1, 196), drawn[1])
    assert "\n" not in str(caught.value)
