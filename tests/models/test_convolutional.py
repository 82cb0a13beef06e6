"""Convolutional networks: derivatives through every layer, draws and statistics in training, invalid settings."""

import numpy as np
import pytest

from minicereb.backend import configure, to_device, to_numpy
from minicereb.errors import InputError
from minicereb.gradcheck.differences import check_gradient
from minicereb.learning.backprop import Backpropagation, statistics_of
from minicereb.learning.optimizers import SGD
from minicereb.models.convolutional import BatchNorm, Convolution, Dropout, Images, MaxPool, initial_convolutional, vgg11
from minicereb.models.layers import Dense
from minicereb.models.sequential import Sequential
from minicereb.parallel import run_lanes
from minicereb.randomness import generator

NORMALISATION = np.array([0.3, 0.5]), np.array([0.2, 0.4])


def network(dtype=np.float64, shape=(7, 6, 2), **settings):
    """Build two stages and a hidden layer, with every array in a given precision and different from its initial value."""
    settings = {"stages": ((3, 4), (5,)), "hidden": (6,), "batch_norm": True, "dropout": (0.2, 0.4)} | settings
    began = initial_convolutional(shape, 3, 0, normalisation=NORMALISATION, **settings)
    rng = generator(1, "network")

    def moved(layer):
        names = {"weight", "bias", "gamma", "beta", "mean", "variance", "deviation"} & layer.__dict__.keys()
        if not names:
            return layer
        shift = {name: to_device(rng.random(getattr(layer, name).shape) / 4) for name in sorted(names)}
        arrays = {name: (getattr(layer, name) + shift[name].astype(np.float32)).astype(dtype) for name in names}
        return type(layer)(**(layer.__dict__ | arrays))

    return Sequential(tuple(moved(layer) for layer in began.layers))


def images(count=4, inputs=84, dtype=np.float64):
    rng = generator(0, "images")
    return rng.random((count, inputs)).astype(dtype), rng.standard_normal((count, 3)).astype(dtype)


def test_the_input_gradient_of_the_whole_network():
    x, credit = images()
    model = network()
    _, caches = model.forward(x)
    d_x = model.input_gradient(credit, caches)
    check = check_gradient(lambda x: float((model.forward(x)[0] * credit).sum()), d_x, x)
    assert check.error < 1e-6
    assert check.directions >= 15


@pytest.mark.parametrize("learning", [False, True])
def test_the_derivatives_by_every_parameter(learning):
    x, credit = images()
    model = network(batch_norm=learning)
    bound = model.while_learning(0, 3) if learning else model
    gradients = [each for each in bound.weight_gradients(credit, bound.forward(x)[1]) if each]
    parameters = [layer.parameters for layer in model.layers if hasattr(layer, "parameters")]
    assert [each.keys() for each in gradients] == [each.keys() for each in parameters]
    for layer, gradient in zip(parameters, gradients, strict=True):
        for name, array in layer.items():
            before = array.copy()

            def credited(values, array=array, before=before):
                array[...] = values
                found = float((bound.forward(x)[0] * credit).sum())
                array[...] = before
                return found

            scale = np.linalg.norm(gradient[name])
            if learning and name == "bias" and scale < 1e-10:  # of a convolution: the batch's mean takes it away
                continue
            assert check_gradient(credited, gradient[name], before).error < 1e-5


def test_what_is_drawn_belongs_to_seed_step_and_layer():
    x, _ = images()
    model = network()
    outputs = [model.while_learning(seed, step).forward(x)[0] for seed, step in ((0, 1), (0, 1), (0, 2), (1, 1))]
    assert np.array_equal(outputs[0], outputs[1])
    assert not np.array_equal(outputs[0], outputs[2])
    assert not np.array_equal(outputs[0], outputs[3])
    masks = [
        cache
        for layer, cache in zip(model.layers, model.while_learning(0, 1).forward(x)[1], strict=True)
        if isinstance(layer, Dropout)
    ]
    assert [mask.shape for mask in masks] == [(4, 3, 3, 4), (4, 1, 1, 5), (4, 6)]


def test_outside_learning_nothing_is_drawn_and_nothing_follows():
    x, _ = images()
    model = network()
    before = {name: array.copy() for name, array in statistics_of(model).items()}
    assert np.array_equal(model.forward(x)[0], model.forward(x)[0])
    assert np.allclose(model.forward(x)[0][:2], model.forward(x[:2])[0], rtol=0, atol=1e-12)
    assert all(np.array_equal(array, before[name]) for name, array in statistics_of(model).items())


def test_statistics_follow_the_batches():
    v = generator(0, "values").standard_normal((50, 3, 3, 2)) * 3 + 7
    layer = BatchNorm(np.ones(2), np.zeros(2), np.zeros(2), np.ones(2))
    learning = Sequential((layer,)).while_learning(0, 1)
    for _ in range(200):
        learning.forward(v)
    assert layer.mean == pytest.approx(v.mean(axis=(0, 1, 2)))
    assert layer.variance == pytest.approx(v.reshape(-1, 2).var(axis=0, ddof=1))


def test_a_step_learns_and_everything_that_changes_is_named():
    x, _ = images(dtype=np.float32)
    model = network(np.float32)
    rule = Backpropagation(model, SGD(0.1), 4, seed=0)
    before = {name: array.copy() for name, array in rule.arrays().items()}
    (learned,) = rule.learn(x, np.array([0, 1, 2, 0]))
    assert learned.outputs.shape == (4, 3)
    unchanged = [name for name, array in rule.arrays().items() if np.array_equal(array, before[name])]
    assert set(unchanged) <= {"bias_0", "bias_2", "bias_4"}  # of convolutions: the batch's mean takes them away
    assert {name.split("_")[0] for name in rule.arrays()} == {"weight", "bias", "gamma", "beta", "mean", "variance"}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_device_computes_the_same(xp_device, dtype):
    x, credit = images(dtype=dtype)
    model = network(dtype)
    outputs, caches = model.while_learning(0, 1).forward(to_device(x))
    d_x = model.input_gradient(to_device(credit), model.forward(to_device(x))[1])
    gradients = model.while_learning(0, 1).weight_gradients(to_device(credit), caches)
    for array in (outputs, d_x, *(array for layer in gradients for array in layer.values())):
        assert type(array) is xp_device.ndarray
        assert array.dtype == dtype
        assert np.isfinite(to_numpy(array)).all()


@pytest.mark.parametrize("learning", [False, True])
def test_threads_change_no_bit(monkeypatch, learning):
    monkeypatch.setattr("minicereb.calculus.convolution.POSITIONS", 50)
    monkeypatch.setattr("minicereb.parallel.ACTIVITY_BYTES", 600)
    x, credit = images(9, dtype=np.float32)
    found = []
    for threads in (1, 2, 3):
        configure(threads=threads)
        bound = network(np.float32).while_learning(0, 1) if learning else network(np.float32)
        (step,) = run_lanes(lambda x, bound=bound: bound.forward(x), [x])
        outputs, caches = step
        ((gradients, d_x),) = run_lanes(
            lambda d, bound=bound, caches=caches: (
                bound.weight_gradients(d, caches) if learning else [],
                bound.input_gradient(d, caches),
            ),
            [credit],
        )
        found.append([outputs, d_x, *(array for layer in gradients for array in layer.values())])
    for others in found[1:]:
        assert all(np.array_equal(one, other) for one, other in zip(found[0], others, strict=True))


def test_weights_begin_as_it_says():
    model = initial_convolutional(
        (32, 32, 3),
        10,
        0,
        stages=((64,), (128,)),
        hidden=(256,),
        batch_norm=False,
        dropout=(0, 0),
        normalisation=(np.zeros(3), np.ones(3)),
    )
    convolutions = [layer for layer in model.layers if isinstance(layer, Convolution)]
    dense = [layer for layer in model.layers if isinstance(layer, Dense)]
    assert [layer.weight.shape for layer in convolutions] == [(64, 3, 3, 3), (128, 3, 3, 64)]
    assert [layer.weight.shape for layer in dense] == [(256, 8 * 8 * 128), (10, 256)]
    for layer, variance in ((convolutions[1], 2 / (9 * 64)), (dense[0], 2 / 8192), (dense[1], 1 / 256)):
        assert layer.weight.var() == pytest.approx(variance, rel=0.15)
    assert not any(isinstance(layer, (Dropout, BatchNorm)) for layer in model.layers)


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 1)])
def test_grey_images_have_one_channel(shape):
    normalisation = np.array([0.1]), np.array([0.3])
    model = initial_convolutional(
        shape, 10, 0, stages=((4,),), hidden=(), batch_norm=False, dropout=(0, 0), normalisation=normalisation
    )
    assert isinstance(model.layers[0], Images)
    assert model.layers[0].shape == (28, 28, 1)
    assert model.forward(np.zeros((2, 784), dtype=np.float32))[0].shape == (2, 10)
    assert model.bytes_per_image > 28 * 28 * 4 * 4


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"shape": (784,)}, "dataset: .*a data set of images"),
        ({"stages": ((3,),) * 3}, "stages: 3 is not valid; expected fewer for images of 7 x 6 pixels"),
        ({"dropout": (0.2, 1.0)}, "dropout: .*shares from 0 to less than 1"),
    ],
)
def test_what_cannot_be_built_is_told(settings, said):
    with pytest.raises(InputError, match=said):
        network(**settings)


PARAMETERS = {1.0: 7_583_562, 0.5: 1_900_458, 0.25: 477_402}


@pytest.mark.parametrize("width", PARAMETERS)
def test_vgg_has_eight_convolutions_and_the_parameters_of_its_width(width):
    (stages, hidden), statistics = vgg11(width), (np.zeros(3), np.ones(3))
    settings = {"stages": stages, "hidden": hidden, "batch_norm": True, "dropout": (0.25, 0.5)}
    model = initial_convolutional((32, 32, 3), 10, 0, normalisation=statistics, **settings)
    kinds = [type(layer).__name__ for layer in model.layers]
    block, end = ["Convolution", "BatchNorm", "ReLU"], ["MaxPool", "Dropout"]
    expected = ["Images", *block * 2, *end, *block * 2, *end, *block * 4, *end, "Flat"]
    assert kinds == [*expected, *["Dense", "ReLU", "Dropout"] * 2, "Dense"]
    assert [layer.size for layer in model.layers if isinstance(layer, MaxPool)] == [2, 2, 2]
    convolved = [len(layer.weight) for layer in model.layers if isinstance(layer, Convolution)]
    assert convolved == [round(width * outputs) for outputs in (64, 64, 128, 128, 256, 256, 256, 256)]
    dense = [layer.weight.shape for layer in model.layers if isinstance(layer, Dense)]
    assert dense == [(1024 * width, 4096 * width), (1024 * width, 1024 * width), (10, 1024 * width)]
    assert sum(array.size for layer in model.layers for array in getattr(layer, "parameters", {}).values()) == PARAMETERS[width]


def test_the_narrowest_vgg_has_one_unit_in_a_layer():
    assert vgg11(1e-9) == (((1, 1), (1, 1), (1, 1, 1, 1)), (1, 1))


@pytest.mark.parametrize("width", [0, -1, float("nan"), float("inf"), 17])
def test_a_width_that_cannot_be_is_named(width):
    with pytest.raises(InputError, match="width"):
        vgg11(width)
