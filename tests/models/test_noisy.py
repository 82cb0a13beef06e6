"""Noisy networks against loops over neurons, replications and images; and untrained networks."""

import numpy as np
import pytest
from noisy_oracle import LAWS, build_network, draw_points, on_device
from scipy import stats

from minicereb.backend import in_float64, to_device, to_numpy
from minicereb.calculus.activations import ACTIVATIONS, Activation
from minicereb.calculus.noise import Gaussian, draw_noise
from minicereb.errors import InputError
from minicereb.gradcheck.differences import check_gradient
from minicereb.models.noisy import initial_noisy

FALSE_ALARM = 1e-6
WIDTHS, SCALES = (5, 4, 3, 2), (1.5, 0.6, 0.3)
IMAGES, REPLICATIONS = 6, 7
X, LABELS = draw_points(IMAGES, WIDTHS[0], WIDTHS[-1])
X_T = np.ascontiguousarray(X.T)
by_activation = pytest.mark.parametrize("activation", ACTIVATIONS)
by_laws = pytest.mark.parametrize("laws", [LAWS[:3], [LAWS[3], None, LAWS[0]], [None] * 3], ids=["noisy", "one silent", "silent"])


def noise_for(laws, replications=REPLICATIONS, images=IMAGES):
    return draw_noise(X, laws, [(width, images, replications) for width in WIDTHS[1:]], 0, "a test of networks", ())


def neuron_by_neuron(network, x, noise, image, replication):
    """Signals of every layer, by the paper's Eq. 1, one neuron after the other."""
    signals = []
    for number, layer in enumerate(in_float64(network).layers):
        v = [
            float(bias + sum(w * one for w, one in zip(row, x, strict=True)))
            for row, bias in zip(layer.weight, layer.bias, strict=True)
        ]
        if noise is not None and noise[number] is not None:
            v = [u + layer.scale[0] * float(noise[number][neuron, image, replication]) for neuron, u in enumerate(v)]
        signals.append(v)
        x = layer.activation(np.array(v)) if layer.activation else v
    return signals, x


# -- running -----------------------------------------------------------------------------------------------------------------


@by_activation
@by_laws
def test_a_run_is_a_loop_over_images_replications_and_neurons(activation, laws):
    network, noise = build_network(WIDTHS, laws, SCALES, activation, dtype=np.float64), noise_for(laws)
    trace = network.run(X_T.astype(np.float64), noise)
    for image in range(IMAGES):
        for replication in range(trace.outputs.shape[2]):
            signals, outputs = neuron_by_neuron(network, X[image].astype(np.float64), noise, image, replication)
            for v, expected in zip(trace.signals, signals, strict=True):
                assert np.allclose(v[:, image, min(replication, v.shape[2] - 1)], expected, rtol=1e-12, atol=1e-12)
            assert np.allclose(trace.outputs[:, image, replication], outputs, rtol=1e-12, atol=1e-12)


def test_a_trace_holds_what_happened_in_every_layer():
    network, noise = build_network(WIDTHS, LAWS[:3], SCALES), noise_for(LAWS[:3])
    trace = network.run(X_T, noise)
    assert np.array_equal(trace.inputs[0], X_T[:, :, None])
    assert [u.shape[2] for u in trace.drives] == [1, REPLICATIONS, REPLICATIONS]  # the first is the same in all replications
    for number, layer in enumerate(network.layers):
        u, v, h, e = (kept[number] for kept in (trace.drives, trace.signals, trace.responses, trace.noise))
        assert e is noise[number]
        assert np.allclose(v, u + layer.scale * e, rtol=1e-6, atol=1e-6)
        assert np.array_equal(h, layer.activation(v) if layer.activation else v)
        assert number == 0 or trace.inputs[number] is trace.responses[number - 1]
    assert trace.outputs is trace.responses[-1]
    assert network.widths == list(WIDTHS[1:])


@by_activation
def test_forward_is_the_network_without_noise(activation):
    network = build_network(WIDTHS, LAWS[:3], SCALES, activation)
    outputs, signals = network.forward(X)
    for image in range(IMAGES):
        expected, last = neuron_by_neuron(network, X[image], None, image, 0)
        assert np.allclose(outputs[image], last, rtol=1e-4, atol=1e-4)
        for v, wanted in zip(signals, expected, strict=True):
            assert np.allclose(v[image], wanted, rtol=1e-4, atol=1e-4)
    assert np.allclose(network.run(X_T, None).outputs[:, :, 0].T, outputs, rtol=1e-5, atol=1e-5)


@by_laws
def test_noise_of_0_is_no_noise(laws):
    network = build_network(WIDTHS, laws, SCALES)
    still = tuple(None if e is None else np.zeros_like(e) for e in noise_for(laws, 1))
    assert np.allclose(network.run(X_T, still).outputs[:, :, 0].T, network.forward(X)[0], rtol=1e-6, atol=1e-6)


# -- binding -----------------------------------------------------------------------------------------------------------------


@by_laws
def test_a_bound_network_is_the_classifier_that_its_noise_makes(laws):
    network, noise = build_network(WIDTHS, laws, SCALES), noise_for(laws)
    outputs = network.run(X_T, noise).outputs
    for k in range(outputs.shape[2]):
        bound = network.at(tuple(None if e is None else e[:, :, k : k + 1] for e in noise))
        first, signals = bound.forward(X)
        assert np.allclose(first, outputs[:, :, k].T, rtol=1e-5, atol=1e-5)
        assert np.array_equal(bound.forward(X)[0], first)
        assert [v.shape for v in signals] == [(IMAGES, width) for width in WIDTHS[1:]]


def test_to_bind_takes_one_replication_an_image():
    with pytest.raises(InputError, match="noise: '7 replications'.*one for each image"):
        build_network(WIDTHS, LAWS[:3], SCALES).at(noise_for(LAWS[:3])).forward(X)


# -- input gradients ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["sigmoid", "absolute"])
@pytest.mark.parametrize("bound", [False, True])
def test_the_input_gradient_of_a_smooth_network(activation, bound):
    network, x = build_network(WIDTHS, LAWS[:3], SCALES, activation, dtype=np.float64), X.astype(np.float64)
    model = network.at(noise_for(LAWS[:3], 1)) if bound else network
    credit = np.random.default_rng(0).standard_normal((IMAGES, WIDTHS[-1]))
    gradient = model.input_gradient(credit, model.forward(x)[1])
    check = check_gradient(lambda x: float((model.forward(x)[0] * credit).sum()), gradient, x)
    assert check.error < 1e-6
    assert check.directions > 10


@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name not in ("sigmoid", "absolute")])
def test_a_jump_or_a_pole_has_no_input_gradient(activation):
    network = build_network(WIDTHS, LAWS[:3], SCALES, activation)
    outputs, signals = network.forward(X)
    with pytest.raises(InputError, match=f"activation: '{activation}'"):
        network.input_gradient(outputs, signals)


# -- on every device ---------------------------------------------------------------------------------------------------------


@by_activation
@by_laws
def test_networks_stay_on_their_device(xp_device, activation, laws):
    host, noise = build_network(WIDTHS, laws, SCALES, activation), noise_for(laws)
    network, there = on_device(host), tuple(None if e is None else to_device(e) for e in noise)
    found = [network.run(to_device(X_T), there).outputs, network.forward(to_device(X))[0]]
    for array, expected in zip(found, (host.run(X_T, noise).outputs, host.forward(X)[0]), strict=True):
        assert type(array) is xp_device.ndarray
        assert array.dtype == np.float32
        assert np.allclose(to_numpy(array), expected, rtol=1e-4, atol=1e-4)
    one = tuple(None if e is None else e[:, :, :1] for e in there)
    outputs, signals = network.at(one).forward(to_device(X))
    if network.layers[0].activation.smooth:
        assert type(network.at(one).input_gradient(outputs, signals)) is xp_device.ndarray


# -- untrained networks ------------------------------------------------------------------------------------------------------


def initial(**changed):
    given = {"inputs": 5, "hidden": (4, 3), "classes": 2, "seed": 0, "activation": Activation("threshold"), "law": Gaussian()}
    return initial_noisy(**{**given, "scales": (0.5,), **changed})


def test_weights_and_biases_are_normal_with_a_standard_deviation_of_a_tenth():
    network = initial(inputs=200, hidden=(100, 50), classes=40)
    for layer in network.layers:
        for values in (layer.weight.ravel(), layer.bias):
            assert values.dtype == np.float32
            assert stats.kstest(values.astype(np.float64), stats.norm(0, 0.1).cdf).pvalue > FALSE_ALARM / 6


def test_an_untrained_network_is_what_was_asked_for():
    network = initial(scales=(1.0, 0.5, 0.25), activation=Activation("sigmoid", 3.0))
    assert [layer.weight.shape for layer in network.layers] == [(4, 5), (3, 4), (2, 3)]
    assert [layer.bias.shape for layer in network.layers] == [(4,), (3,), (2,)]
    assert [layer.scale.tolist() for layer in network.layers] == [[1.0], [0.5], [0.25]]
    assert [layer.law for layer in network.layers] == [Gaussian()] * 3
    assert [layer.activation for layer in network.layers] == [Activation("sigmoid", 3.0)] * 2 + [None]
    assert list(network.parameters) == [f"{name}_{number}" for number in range(3) for name in ("weight", "bias", "scale")]
    assert all(network.parameters[f"weight_{number}"] is layer.weight for number, layer in enumerate(network.layers))


def test_the_outputs_may_be_silent_or_have_an_activation_and_all_may_be_silent():
    assert [layer.law for layer in initial(output_noise=False).layers] == [Gaussian(), Gaussian(), None]
    assert initial(output_activation=True).layers[-1].activation == Activation("threshold")
    assert [layer.law for layer in initial(law=None).layers] == [None] * 3
    assert [layer.scale.tolist() for layer in initial().layers] == [[0.5]] * 3


def test_the_seed_decides_and_widths_of_other_layers_do_not():
    first, again, other = initial(), initial(), initial(seed=1)
    for one, same, another in zip(first.layers, again.layers, other.layers, strict=True):
        assert np.array_equal(one.weight, same.weight)
        assert not np.isclose(one.weight, another.weight).any()
    assert np.array_equal(initial(hidden=(4, 7)).layers[0].weight, first.layers[0].weight)


ON_THE_HOST = initial().parameters


def test_every_device_begins_with_the_same_bits(xp_device):
    for name, array in initial().parameters.items():
        assert type(array) is xp_device.ndarray
        assert np.array_equal(to_numpy(array), ON_THE_HOST[name])


@pytest.mark.parametrize(
    ("changed", "setting", "expected"),
    [
        ({"hidden": ()}, "hidden", "at least one layer"),
        ({"hidden": (4, 0)}, "hidden", "at least 1 unit"),
        ({"scales": (1.0, 2.0)}, "noise-scale", "one number, or 3"),
        ({"scales": ()}, "noise-scale", "one number, or 3"),
        ({"scales": (0.0,)}, "noise-scale", "above 0"),
        ({"scales": (1.0, -1.0, 1.0)}, "noise-scale", "above 0"),
        ({"scales": (float("nan"),)}, "noise-scale", "above 0"),
        ({"scales": (float("inf"),)}, "noise-scale", "above 0"),
    ],
)
def test_settings_that_make_no_network_are_refused(changed, setting, expected):
    with pytest.raises(InputError, match=expected) as caught:
        initial(**changed)
    assert caught.value.setting == setting
