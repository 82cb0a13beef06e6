"""A cerebellum behind convolutions: one classifier, whose input gradient goes through both."""

import dataclasses

import numpy as np
import pytest

from minicereb.backend import to_device
from minicereb.certificates.certify import certify
from minicereb.errors import InputError
from minicereb.gradcheck.differences import check_gradient
from minicereb.models.cerebellum import initial_cerebellum
from minicereb.models.convolutional import initial_convolutional
from minicereb.models.mlp import initial_mlp
from minicereb.models.visual import encoder_of, with_encoder
from minicereb.models.wiring import draw_wiring
from minicereb.randomness import generator
from minicereb.robustness.gradient_statistics import double_precision


@pytest.fixture
def visual():
    """Untrained, in float64, with an LTD mean."""
    network = initial_convolutional(
        (8, 8, 3),
        4,
        0,
        stages=((3,), (5,)),
        hidden=(6,),
        batch_norm=True,
        dropout=(0.2, 0.4),
        normalisation=(np.array([0.5, 0.4, 0.3]), np.array([0.2, 0.3, 0.2])),
    )
    encoder, features = encoder_of(network)
    cerebellum = initial_cerebellum(draw_wiring("random", 60, (features,), 4, 0), 4, 0)
    mean = to_device(generator(0, "a mean").random(60).astype(np.float32) / 4)
    return double_precision(with_encoder(encoder, dataclasses.replace(cerebellum, ltd_mean=mean)))


def test_the_encoder_ends_where_rows_begin_and_says_how_long_they_are(visual):
    assert visual.wiring.width == 2 * 2 * 5
    x = generator(0, "x").random((3, 8 * 8 * 3))
    features, _ = visual.encoder.forward(x)
    assert features.shape == (3, 20)
    np.testing.assert_array_equal(visual.cerebellum.forward(features)[0], visual.forward(x)[0])
    with pytest.raises(InputError, match="encoder"):
        encoder_of(initial_mlp(9, (4,), 3, 0))


def test_its_input_gradient_goes_through_both(visual):
    rng = generator(0, "images and credit")
    x, credit = rng.random((4, 8 * 8 * 3)), rng.standard_normal((4, 4))
    _, caches = visual.forward(x)
    check = check_gradient(lambda x: float((visual.forward(x)[0] * credit).sum()), visual.input_gradient(credit, caches), x)
    assert check.error < 1e-6
    assert check.directions >= 15


def test_it_has_certificates_that_no_random_point_contradicts(visual):
    rng = generator(0, "points")
    x, epsilon = rng.random((6, 8 * 8 * 3)), 0.002
    labels = visual.forward(x)[0].argmax(axis=1)
    margin = certify(visual, x, labels, epsilon).margin
    assert (margin > 0).any()
    for _ in range(50):
        outputs = visual.forward(np.clip(x + rng.uniform(-epsilon, epsilon, x.shape), 0, 1))[0]
        rivals = np.where(np.arange(4) == labels[:, None], -np.inf, outputs).max(axis=1)
        assert (outputs[np.arange(6), labels] - rivals >= margin).all()
