"""Arguments from users are checked where they enter: one line says what is wrong, and nothing is read out of bounds."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minicereb import backend
from minicereb.attacks.adversarial_training import AdversarialTraining, Adversary
from minicereb.attacks.run import attack_images, trace
from minicereb.attacks.settings import Attack
from minicereb.backend import to_device, to_numpy
from minicereb.calculus.activations import Activation
from minicereb.calculus.convolution import convolution, convolution_input_gradient, convolution_weight_gradient
from minicereb.calculus.losses import squared_error
from minicereb.calculus.noise import Gaussian
from minicereb.calculus.projection import add_project_input_gradient, project
from minicereb.calculus.replicated import CrossEntropy
from minicereb.certificates.certify import certify
from minicereb.certificates.region import Region
from minicereb.certificates.smoothing import smoothing_certificate
from minicereb.datasets.dataset import Dataset
from minicereb.errors import InputError
from minicereb.inputs import as_ids, as_labels, check_rows
from minicereb.learning.backprop import Backpropagation
from minicereb.learning.estimators import ESTIMATORS
from minicereb.learning.glr import GLR, estimate
from minicereb.learning.least_squares import least_squares_readout
from minicereb.learning.noise import Address
from minicereb.learning.optimizers import SGD
from minicereb.learning.plasticity import DeltaRule
from minicereb.learning.training import accuracy
from minicereb.models.cerebellum import initial_cerebellum
from minicereb.models.convolutional import initial_convolutional
from minicereb.models.dimension import drawn_thresholds, granule_gram
from minicereb.models.mlp import initial_mlp
from minicereb.models.noisy import initial_noisy
from minicereb.models.prediction import Averaged, average_probabilities, lap_correct
from minicereb.models.visual import encoder_of, with_encoder
from minicereb.models.wiring import Wiring, draw_wiring
from minicereb.robustness.evaluate import EvaluationPlan, EvaluationTarget, evaluate_images
from minicereb.robustness.outcomes import no_outcomes

WIDTH, CLASSES, IMAGES = 30, 3, 7
PGD = Attack("pgd", "margin", 0.1, steps=2, step_size=0.05)


def sparse(cells=40):
    return initial_cerebellum(draw_wiring("random", cells, (5, 6), 3, 0), CLASSES, 0)


def noisy(smooth=True):
    kind = Activation("sigmoid" if smooth else "threshold")
    return initial_noisy(WIDTH, (6,), CLASSES, 0, activation=kind, law=Gaussian(), scales=(0.5,))


def convolutional():
    normal = np.zeros(1, dtype=np.float32), np.ones(1, dtype=np.float32)
    return initial_convolutional(
        (5, 6), CLASSES, 0, stages=((2,),), hidden=(), batch_norm=True, dropout=(0.0, 0.0), normalisation=normal
    )


def visual():
    encoder, features = encoder_of(convolutional())
    return with_encoder(encoder, initial_cerebellum(draw_wiring("random", 20, (features,), 2, 0), CLASSES, 0))


MODELS = {
    "sparse": sparse,
    "sparse, compiled": lambda: sparse(12_000),
    "matrix": lambda: initial_cerebellum(draw_wiring("random", 40, (5, 6), 20, 0), CLASSES, 0),
    "full": lambda: initial_cerebellum(draw_wiring("full", 40, (5, 6), None, 0), CLASSES, 0),
    "perceptron": lambda: initial_mlp(WIDTH, (8,), CLASSES, 0),
    "convolutional": convolutional,
    "visual": visual,
    "noisy": noisy,
    "bound": lambda: noisy().at(tuple(np.zeros((width, IMAGES, 1), dtype=np.float32) for width in (6, CLASSES))),
    "averaged": lambda: Averaged(noisy(), 4, 0),
}
every_model = pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return rng.random((IMAGES, WIDTH), dtype=np.float32), rng.integers(0, CLASSES, IMAGES)


def exhaust(results):
    for _ in results:
        pass


def one_line(caught, *parts):
    """The message is one line and has all these parts."""
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert str(part) in message, message


# -- width, shape and type -----------------------------------------------------------------------------------------------------


@every_model
@pytest.mark.parametrize("width", [1, WIDTH - 1, WIDTH + 1, 2 * WIDTH])
def test_forward_refuses_another_width_and_names_both(build, width):
    model = build()
    with pytest.raises(InputError) as caught:
        model.forward(np.zeros((IMAGES, width), dtype=np.float32))
    one_line(caught, f"({IMAGES}, {width})", WIDTH)


@every_model
@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda x: x[0], r"x\[None\] is one image"),
        (lambda x: x.reshape(-1, 5, 6), r"x.reshape\(len\(x\), -1\)"),
        (lambda x: x.reshape(-1, 1, 5, 6), r"x.reshape\(len\(x\), -1\)"),
        (lambda x: x.T, "x.T, if images are columns"),
        (lambda x: x.astype(np.uint8), "to_unit"),
        (lambda x: x.astype(np.float16), "float32 or float64"),
        (lambda x: x.astype(np.int64), "float32 or float64"),
        (lambda x: x.astype(">f4"), "float32 or float64"),
        (lambda x: x.tolist(), "a NumPy or CuPy array"),
        (lambda x: None, "a NumPy or CuPy array"),
    ],
    ids=["one", "images", "channels", "columns", "uint8", "float16", "int64", "big-endian", "list", "None"],
)
def test_forward_says_what_it_takes(build, spoil, told, images):
    with pytest.raises(InputError, match=told) as caught:
        build().forward(spoil(images[0]))
    one_line(caught)


@every_model
def test_input_gradient_refuses_what_is_no_derivative_by_the_outputs(build, images):
    model = build()
    if not hasattr(model, "input_gradient"):
        return
    outputs, cache = model.forward(images[0])
    for shape in ((1, CLASSES), (IMAGES + 1, CLASSES), (IMAGES, CLASSES + 1), (IMAGES,), (IMAGES, 1)):
        with pytest.raises(InputError) as caught:
            model.input_gradient(np.ones(shape, dtype=np.float32), cache)
        one_line(caught, shape, outputs.shape)


def test_channels_that_come_first_are_told_how_to_come_last():
    with pytest.raises(InputError, match=r"images.transpose\(0, 2, 3, 1\).reshape\(len\(images\), -1\)"):
        check_rows(np.zeros((9, 3, 4, 4), dtype=np.float32), 48, "images")


@pytest.mark.parametrize("spoil", [lambda x: x.reshape(-1, 5, 6), lambda x: x[0], lambda x: x.astype(str), lambda x: list(x)])
def test_entries_that_take_stored_images_say_how_to_make_rows_of_them(spoil, images):
    x, labels = images
    model, network = MODELS["perceptron"](), noisy(smooth=False)
    entries = (
        lambda x: exhaust(attack_images(model, PGD, x, labels, np.arange(IMAGES))),
        lambda x: trace(model, PGD, x, labels, np.arange(IMAGES)),
        lambda x: certify(model, x, labels, 0.1),
        lambda x: smoothing_certificate(network, x, labels, np.arange(IMAGES), 0.1, replications=4),
        lambda x: EvaluationTarget(model, x, labels, (5, 6), CLASSES),
    )
    for entry in entries:
        with pytest.raises(InputError, match="^images: ") as caught:
            entry(spoil(x))
        one_line(caught)


def test_uint8_means_pixel_over_255_wherever_stored_images_are_taken(images):
    x, labels = images
    stored = (255 * x).astype(np.uint8)
    unit, model, network = stored.astype(np.float32) * np.float32(1 / 255), MODELS["perceptron"](), noisy(smooth=False)
    assert np.array_equal(certify(model, stored, labels, 0.01).margin, certify(model, unit, labels, 0.01).margin)
    found, expected = (smoothing_certificate(network, each, labels, np.arange(IMAGES), 0.1, "l2", 40) for each in (stored, unit))
    assert np.array_equal(found.radius, expected.radius)


# -- values --------------------------------------------------------------------------------------------------------------------


def entries_of_images(labels):
    model, network = MODELS["perceptron"](), noisy(smooth=False)
    ids = np.arange(IMAGES)
    adversary = Adversary(0.1, 0.05, 2)

    def evaluate(x):
        subject, plan = EvaluationTarget(model, x, labels, (5, 6), CLASSES), EvaluationPlan((0.1,), ("pgd-margin",))
        exhaust(evaluate_images(subject, plan, no_outcomes(ids, subject.labels, WIDTH, 1, 1), 0))

    return {
        "attack_images": lambda x: exhaust(attack_images(model, PGD, x, labels, ids)),
        "trace": lambda x: trace(model, PGD, x, labels, ids),
        "certify": lambda x: certify(model, x, labels, 0.1),
        "certify, noisy": lambda x: certify(noisy(), x, labels, 0.1, "l2"),
        "Region": lambda x: Region.around(x, 0.1, "linf"),
        "smoothing": lambda x: smoothing_certificate(network, x, labels, ids, 0.1, replications=4),
        "evaluate": evaluate,
        "adversarial training": lambda x: exhaust(
            AdversarialTraining(Backpropagation(model, SGD(0.1), 5), adversary, 0, 10).learn(x, labels)
        ),
        "adversarial training, hits": lambda x: AdversarialTraining(Backpropagation(model, SGD(0.1), 5), adversary, 0, 10).hits(
            x, labels, 0
        ),
    }


@pytest.mark.parametrize("entry", entries_of_images(np.zeros(IMAGES, dtype=np.int64)))
@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda x: 255 * x, "divide by 255"),
        (lambda x: 3 * x - 1.5, r"float in \[0, 1\], or uint8 from 0 to 255: if your images are standardised"),
        (lambda x: np.where(x == x[4, 2], np.float32(np.nan), x), "'NaN in image 4 "),
        (lambda x: np.where(x == x[4, 2], np.float32(np.inf), x), "in image 4"),
    ],
    ids=["255", "standardised", "NaN", "infinity"],
)
def test_every_entry_refuses_images_outside_the_box(entry, spoil, told, images):
    x, labels = images
    x[:, 0] = 1
    with pytest.raises(InputError, match=told) as caught:
        entries_of_images(labels)[entry](spoil(x))
    one_line(caught)


def test_a_region_has_no_negative_radius():
    """For standardised images it once returned certificates, most of which random points broke."""
    rng = np.random.default_rng(0)
    inside = Region.around(rng.random((40, WIDTH)), 0.3, "linf")
    assert (inside.radius >= 0).all()
    with pytest.raises(InputError):
        Region.around(1.5 * rng.standard_normal((200, WIDTH)), 1.0, "linf")
    with pytest.raises(InputError, match="epsilon"):
        Region.around(rng.random((4, WIDTH)), -0.1, "linf")


def test_the_closed_form_refuses_what_is_not_finite_and_nothing_at_all(images):
    x, labels = images
    for spoiled in (np.nan, np.inf):
        x[3, 3] = spoiled
        with pytest.raises(InputError, match="NaN or infinity"):
            least_squares_readout(sparse(4), iter([(x, labels)]))
    with pytest.raises(InputError, match="at least one"):
        least_squares_readout(sparse(4), iter([]))


def test_a_data_set_is_checked_when_it_is_made(images):
    x, labels = images
    made = Dataset("mine", x, labels[:, None], x, labels[:, None].astype(np.uint8), (5, 6), CLASSES)
    assert made.y_train.shape == made.y_test.shape == (IMAGES,)
    assert made.y_train.dtype == made.y_test.dtype == np.int64
    spoiled = x.copy()
    spoiled[2, 2] = np.nan
    for changed in (
        {"x_train": spoiled},
        {"x_test": x[:, :-1]},
        {"x_train": x.reshape(-1, 5, 6)},
        {"y_train": labels[:-1]},
        {"y_test": labels - 1},
        {"y_test": labels + 1},
        {"y_test": np.eye(CLASSES)[labels]},
        {"image_shape": (1, 28, 28)},
    ):
        with pytest.raises(InputError) as caught:
            dataclasses.replace(made, **changed)
        one_line(caught)


# -- labels and numbers of images -----------------------------------------------------------------------------------------------


def entries_of_labels(x):
    """Every function that takes labels, as a function of them: the result, in which equal labels make equal bytes."""
    model, network, ids = MODELS["perceptron"](), noisy(smooth=False), np.arange(IMAGES)

    def learned(rule):
        def learn(labels):
            return [part.loss for part in rule().learn(x, labels)]

        return learn

    def evaluate(labels):
        subject, plan = EvaluationTarget(model, x, labels, (5, 6), CLASSES), EvaluationPlan((0.1,), ("pgd-margin",))
        outcomes = no_outcomes(ids, subject.labels, WIDTH, 1, 1)
        exhaust(evaluate_images(subject, plan, outcomes, 0))
        return [outcomes.distance]

    plain = ESTIMATORS["plain"]
    return {
        "attack_images": lambda y: [block.x_adv for block in attack_images(model, PGD, x, y, ids)],
        "trace": lambda y: [trace(model, PGD, x, y, ids)],
        "certify": lambda y: [certify(model, x, y, 0.01).margin],
        "smoothing": lambda y: [smoothing_certificate(network, x, y, ids, 0.1, "l2", 40).radius],
        "evaluate": evaluate,
        "DeltaRule": learned(lambda: DeltaRule(sparse(), SGD(0.1), 3, 0.9)),
        "Backpropagation": learned(lambda: Backpropagation(MODELS["perceptron"](), SGD(0.1), 3)),
        "GLR": learned(lambda: GLR(noisy(), CrossEntropy(), plain, SGD(0.1), 3, 4, 0)),
        "GLR, losses": lambda y: [GLR(noisy(), CrossEntropy(), plain, SGD(0.1), 3, 4, 0).losses(x, y, 0)],
        "estimate": lambda y: [estimate(noisy(), CrossEntropy(), plain, x, y, 4, Address(0, ())).loss],
        "adversarial training": learned(
            lambda: AdversarialTraining(Backpropagation(MODELS["perceptron"](), SGD(0.1), 3), Adversary(0.1, 0.05, 2), 0, 10)
        ),
        "least squares": lambda y: [least_squares_readout(sparse(4), iter([(x, y)])).readout],
        "accuracy": lambda y: [accuracy(model, x, y)],
        "lap_correct": lambda y: [lap_correct(network, x, y, ids, 8, 0)],
    }


every_entry_of_labels = pytest.mark.parametrize("entry", entries_of_labels(None))


@every_entry_of_labels
@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda y: y[:4], rf"shape \(4,\).*expected shape \({IMAGES},\)"),
        (lambda y: np.concatenate((y, y)), rf"shape \({2 * IMAGES},\).*expected shape \({IMAGES},\)"),
        (lambda y: y[0], r"expected"),
        (lambda y: np.eye(CLASSES)[y], r"labels.argmax\(axis=1\), if they are one-hot"),
        (lambda y: y.astype(np.float32), "whole numbers"),
        (lambda y: y.tolist(), "a NumPy or CuPy array"),
        (lambda y: np.where(np.arange(IMAGES) == 5, -1, y), "labels: -1 is not valid; expected indices of"),
    ],
    ids=["few", "many", "one", "one-hot", "float", "list", "negative"],
)
def test_every_entry_refuses_labels_that_are_none(entry, spoil, told, images):
    x, labels = images
    with pytest.raises(InputError, match=told) as caught:
        entries_of_labels(x)[entry](spoil(labels))
    one_line(caught)


@every_entry_of_labels
def test_no_label_is_beyond_the_classes(entry, images):
    x, labels = images
    labels[5] = CLASSES
    if entry in ("accuracy",):  # a model that it does not know may have more classes than it shows
        return
    with pytest.raises(InputError) as caught:
        entries_of_labels(x)[entry](labels)
    one_line(caught, CLASSES)


@every_entry_of_labels
def test_a_column_of_labels_is_taken(entry, images):
    x, labels = images
    call = entries_of_labels(x)[entry]
    expected = [np.asarray(part).tobytes() for part in call(labels)]
    for column in (labels[:, None], labels[:, None].astype(np.uint8), labels.astype(np.int8)):
        assert [np.asarray(part).tobytes() for part in call(column)] == expected


def test_labels_and_numbers_as_they_come(xp_device):
    found = as_labels(to_device(np.array([[2], [0]], dtype=np.uint8)), 2, 3)
    assert backend.xp_of(found) is xp_device
    assert to_numpy(found).tolist() == [2, 0]
    with pytest.raises(InputError, match="labels: 3 is not valid; expected indices of the 3 classes, from 0 to 2"):
        as_labels(to_device(np.array([0, 3])), 2, 3)
    assert as_ids(range(3), 3).tolist() == [0, 1, 2]
    assert as_ids([], 3).dtype == np.int64


@pytest.mark.parametrize(
    ("ids", "told"),
    [
        ([0, -1], "ids: -1 is not valid"),
        ([0, IMAGES], f"ids: {IMAGES} is not valid"),
        (np.ones(IMAGES, dtype=bool), r"numpy.flatnonzero\(ids\)"),
        (np.array([0.0, 1.0]), "float64"),
        (np.array([[0, 1]]), r"shape \(1, 2\)"),
    ],
    ids=str,
)
def test_numbers_of_images_do_not_count_from_the_end(ids, told, images):
    x, labels = images
    model = MODELS["perceptron"]()
    for entry in (
        lambda: exhaust(attack_images(model, PGD, x, labels, ids)),
        lambda: trace(model, PGD, x, labels, ids),
        lambda: accuracy(model, x, labels, ids),
    ):
        with pytest.raises(InputError, match=told):
            entry()


def test_noise_has_an_address_for_each_image(images):
    x, labels = images
    for ids in (np.arange(IMAGES - 1), np.arange(IMAGES + 1)):
        for entry in (
            lambda ids: average_probabilities(noisy(), x, ids, 4, 0),
            lambda ids: smoothing_certificate(noisy(), x, labels, ids, 0.1, replications=4),
        ):
            with pytest.raises(InputError, match="ids: "):
                entry(ids)


def test_noise_of_other_shapes_is_refused(images):
    x_t = np.ascontiguousarray(images[0].T)
    network = noisy()
    for first, last in (((5, IMAGES, 2), (3, IMAGES, 2)), ((6, 2, 2), (3, IMAGES, 2)), ((6, IMAGES), (3, IMAGES, 2))):
        with pytest.raises(InputError, match="noise"):
            network.run(x_t, (np.zeros(first, dtype=np.float32), np.zeros(last, dtype=np.float32)))
    with pytest.raises(InputError, match="noise"):
        network.run(x_t, (None,))
    with pytest.raises(InputError, match="x_t"):
        network.run(x_t.T, None)


# -- learners and others that look at granule cells ----------------------------------------------------------------------------


def test_whoever_projects_refuses_another_width(images):
    x, labels = images
    model, wide = sparse(), np.zeros((IMAGES, WIDTH + 1), dtype=np.float32)
    for entry in (
        lambda: exhaust(DeltaRule(model, SGD(0.1), 3, 0.9).learn(wide, labels)),
        lambda: exhaust(Backpropagation(MODELS["perceptron"](), SGD(0.1), 3).learn(wide, labels)),
        lambda: exhaust(GLR(noisy(), CrossEntropy(), ESTIMATORS["plain"], SGD(0.1), 3, 4, 0).learn(wide, labels)),
        lambda: least_squares_readout(model, iter([(wide, labels)])),
        lambda: granule_gram(model.wiring, wide),
        lambda: drawn_thresholds(model.wiring, wide, 0.1),
        lambda: certify(model, wide, labels, 0.1),
        lambda: average_probabilities(noisy(), wide, np.arange(IMAGES), 4, 0),
        lambda: smoothing_certificate(noisy(smooth=False), wide, labels, np.arange(IMAGES), 0.1, replications=4),
        lambda: accuracy(model, wide, labels),
        lambda: exhaust(attack_images(model, PGD, wide, labels, np.arange(IMAGES))),
    ):
        with pytest.raises(InputError) as caught:
            entry()
        one_line(caught, WIDTH + 1, WIDTH)
    with pytest.raises(InputError, match="thresholds"):
        granule_gram(model.wiring, x, np.zeros(39, dtype=np.float32))


def test_known_activity_has_a_row_for_each_cell():
    rule = DeltaRule(sparse(), SGD(0.1), 3, 0.9)
    activity = np.zeros((40, rule.columns), dtype=np.float32)
    for wrong in (activity[:-1], activity[:, :-1], np.zeros((41, rule.columns), dtype=np.float32)):
        with pytest.raises(InputError, match="activity"):
            rule.learn_known(wrong, np.zeros(2, dtype=np.int64))
    with pytest.raises(InputError, match="labels"):
        rule.learn_known(activity, np.zeros(rule.columns, dtype=np.int64))


def test_losses_want_a_label_for_each_row():
    """A single label would otherwise have been broadcast to every row."""
    with pytest.raises(InputError, match="labels"):
        squared_error(np.zeros((4, 3)), np.zeros(1, dtype=np.int64))


# -- sparse wiring -------------------------------------------------------------------------------------------------------------


WEIGHTS = np.ones((4, 2), dtype=np.float32)
INPUTS = np.array([[0, 1], [1, 2], [0, 4], [3, 3]], dtype=np.int32)


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        (INPUTS + 1, "numbers from 1 to 5.*indices of the 5 inputs, from 0 to 4"),
        (INPUTS - 1, "numbers from -1 to 3"),
        (INPUTS.astype(np.int64), "int64.*expected int32"),
        (INPUTS.astype(np.float32), "float32.*expected int32"),
        (INPUTS[:, ::-1], "ascending"),
        (INPUTS[:3], r"shape \(3, 2\).*\(4, 2\)"),
        (INPUTS.ravel(), r"shape \(8,\)"),
    ],
    ids=["beyond", "negative", "int64", "float", "order", "cells", "flat"],
)
def test_a_wiring_is_checked_when_it_is_made(inputs, told):
    with pytest.raises(InputError, match=told) as caught:
        Wiring(WEIGHTS, inputs, 5)
    one_line(caught)


def test_a_wiring_has_a_width():
    for width in (0, -1, 1 << 31):
        with pytest.raises(InputError, match="width"):
            Wiring(WEIGHTS, INPUTS, width)
    with pytest.raises(InputError, match="weights"):
        Wiring(WEIGHTS, None, 5)
    with pytest.raises(InputError, match="weights"):
        Wiring(np.empty((0, 2), dtype=np.float32), np.empty((0, 2), dtype=np.int32), 5)


def test_a_wiring_cannot_be_changed_afterwards():
    given = INPUTS.copy()
    view = given[:]
    wiring = Wiring(WEIGHTS, given, 5)
    view[...] = 1 << 30
    given[...] = -1
    assert np.array_equal(wiring.inputs, INPUTS)
    for array in (wiring.inputs, wiring.inputs[1:], draw_wiring("random", 9, (5, 6), 3, 0).inputs):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 0
    moved = dataclasses.replace(wiring, weights=2 * WEIGHTS)
    assert not moved.inputs.flags.writeable


def test_a_wiring_of_a_device_is_checked_too(xp_device):
    there = to_device(WEIGHTS), to_device(INPUTS)
    assert Wiring(*there, 5).cells == 4
    for width in (4, 3):
        with pytest.raises(InputError, match=f"from 0 to {width - 1}"):
            Wiring(*there, width)


def products(xp, cells, weights, inputs):
    """All functions that read by sparse indices, as functions of the columns that they read or write."""
    like = np.float32

    def out(rows, x_t):
        return xp.zeros((rows, x_t.shape[1]), dtype=like)

    return (
        lambda x_t: backend.sparse_product(weights, inputs, x_t, out(cells, x_t)),
        lambda x_t: backend.add_sparse_transpose_product(weights, inputs, out(cells, x_t), x_t),
        lambda x_t: project(weights, inputs, x_t, out(cells, x_t)),
        lambda x_t: add_project_input_gradient(weights, inputs, out(cells, x_t), x_t),
    )


@pytest.mark.parametrize("repeat", [1, 5000], ids=["few", "compiled"])
def test_products_refuse_indices_beyond_their_columns(repeat, xp_device):
    cells = 4 * repeat
    there = to_device(np.tile(WEIGHTS, (repeat, 1))), to_device(np.tile(INPUTS, (repeat, 1)))
    for product in products(xp_device, cells, *there):
        product(xp_device.zeros((5, 3), dtype=np.float32))
        with pytest.raises(InputError, match="numbers from 0 to 4.*indices of the 4 inputs") as caught:
            product(xp_device.zeros((4, 3), dtype=np.float32))
        one_line(caught)
    wiring = Wiring(*there, 5)
    for columns in (4, 6):
        x_t = xp_device.zeros((columns, 3), dtype=np.float32)
        for call in (wiring.project, wiring.add_input_gradient):
            with pytest.raises(InputError) as caught:
                call(slice(0, cells), x_t, xp_device.zeros((cells, 3), dtype=np.float32)) if call == wiring.project else call(
                    slice(0, cells), xp_device.zeros((cells, 3), dtype=np.float32), x_t
                )
            one_line(caught, columns, 5)


def test_products_refuse_shapes_and_types_that_do_not_fit():
    x_t, out = np.zeros((5, 3), dtype=np.float32), np.zeros((4, 3), dtype=np.float32)
    for weights, inputs, given, written, told in (
        (WEIGHTS, INPUTS[:3], x_t, out, "inputs"),
        (WEIGHTS, INPUTS, x_t, out[:3], "columns"),
        (WEIGHTS, INPUTS, x_t, np.zeros((5, 3), dtype=np.float32), "columns"),
        (WEIGHTS, INPUTS, x_t, out[:, :2], "columns"),
        (WEIGHTS, INPUTS, x_t[:, 0], out, "columns"),
        (WEIGHTS, INPUTS, x_t, np.zeros((3, 4), dtype=np.float32).T, "out"),
        (WEIGHTS, INPUTS, x_t.astype(np.float64), out, "out: 'float32'"),
        (WEIGHTS, INPUTS.astype(np.int64), x_t, out, "int64"),
    ):
        with pytest.raises(InputError, match=told) as caught:
            backend.sparse_product(weights, inputs, given, written)
        one_line(caught)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_where_scipy_moves_its_routines_its_operators_stand_in(monkeypatch, dtype):
    rng = np.random.default_rng(0)
    weights, inputs = rng.standard_normal((50, 5)).astype(dtype), np.sort(rng.integers(0, 12, (50, 5), dtype=np.int32), axis=1)
    x_t, d_v, before = (rng.standard_normal((rows, 8)).astype(dtype) for rows in (12, 50, 12))

    def both():
        out = backend.sparse_product(weights, inputs, x_t, np.full((50, 8), np.nan, dtype=dtype))
        fresh = backend.add_sparse_transpose_product(weights, inputs, d_v, np.zeros((12, 8), dtype=dtype))
        return out, fresh, backend.add_sparse_transpose_product(weights, inputs, d_v, before.copy())

    expected = both()
    monkeypatch.setattr(backend, "csr_matvecs", None)
    monkeypatch.setattr(backend, "csc_matvecs", None)
    found = both()
    for one, other in zip(found[:2], expected[:2], strict=True):
        assert one.tobytes() == other.tobytes()
    assert np.allclose(found[2], expected[2], rtol=0, atol=1e-5)


def test_the_project_runs_without_scipys_private_routines():
    script = """
import sys
from pathlib import Path
import scipy.sparse
sys.modules["scipy.sparse._sparsetools"] = None
import numpy as np
from minicereb import backend
from minicereb.models.cerebellum import initial_cerebellum
from minicereb.models.wiring import draw_wiring
assert backend.csr_matvecs is None
model = initial_cerebellum(draw_wiring("random", 50, (5, 6), 3, 0), 3, 0)
outputs, cache = model.forward(np.full((4, 30), 0.5, dtype=np.float32))
print(outputs.tolist(), model.input_gradient(outputs, cache).shape)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    model = initial_cerebellum(draw_wiring("random", 50, (5, 6), 3, 0), 3, 0)
    outputs = model.forward(np.full((4, 30), 0.5, dtype=np.float32))[0]
    assert done.stdout.strip() == f"{outputs.tolist()} (4, 30)"


# -- convolutions --------------------------------------------------------------------------------------------------------------


def test_convolutions_refuse_what_does_not_fit():
    x, weight, bias = np.zeros((2, 6, 8, 3)), np.zeros((4, 3, 3, 3)), np.zeros(4)
    for wrong in (x[..., :2], x[..., :1], x[0], x.transpose(0, 3, 1, 2)):
        with pytest.raises(InputError, match="channels come last"):
            convolution(wrong, weight, bias, 1, 1)
    for stride, padding in ((0, 1), (-1, 1), (1, -1)):
        with pytest.raises(InputError, match="stride"):
            convolution(x, weight, bias, stride, padding)
    v = convolution(x, weight, bias, 1, 1)
    for wrong in (v.transpose(0, 2, 1, 3), v[:, :, :-1], v[..., :-1]):
        with pytest.raises(InputError, match=re.escape(str(wrong.shape))):
            convolution_input_gradient(wrong, weight, (6, 8), 1, 1)
    for wrong in (v.transpose(0, 2, 1, 3), v[:, :, :-1], v[:1]):
        with pytest.raises(InputError, match=re.escape(str(wrong.shape))):
            convolution_weight_gradient(wrong, x, (3, 3), 1, 1)


# -- what it costs -------------------------------------------------------------------------------------------------------------


def test_forward_looks_at_no_value(xp_device, monkeypatch):
    """A check of values would wait for the GPU at every step of a search."""
    model, x = sparse(), to_device(np.full((IMAGES, WIDTH), 0.5, dtype=np.float32))
    monkeypatch.setattr(backend, "check_indices", None)  # indices were checked when the wiring was made
    outputs, cache = model.forward(x)
    model.input_gradient(outputs, cache)


def test_scipys_private_routines_are_bound_in_one_place():
    root = Path(backend.__file__).parent
    assert [path.name for path in root.rglob("*.py") if "_sparsetools" in path.read_text(encoding="utf-8")] == ["backend.py"]


@pytest.mark.parametrize("other", [np.asmatrix, np.ma.masked_array])
def test_arrays_that_compute_by_other_rules_are_refused(other, images):
    x, y = images
    with pytest.raises(InputError, match="images.*a NumPy or CuPy array"):
        certify(MODELS["matrix"](), other(x), y, 0.1)
