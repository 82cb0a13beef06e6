"""Attacks and evaluations in one call give what the commands give, as tables and pictures."""

import json
import re

import numpy as np
import pytest
from commands import document, succeed

import minicereb
from minicereb.errors import ArrayError, InputError, NotFittedError


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A run of the command, the model that learned as it did, and the images it was tested on."""
    data, folder = minicereb.datasets.load("strokes14"), tmp_path_factory.mktemp("measured")
    parts = [data.x_train[:400], data.y_train[:400], data.x_test[:40], data.y_test[:40]]
    shaped = [part.reshape(-1, 14, 14) if part.ndim == 2 else part for part in parts]
    np.savez(folder / "digits.npz", **dict(zip(("x_train", "y_train", "x_test", "y_test"), shaped, strict=True)))
    run = folder / "run"
    succeed("train", "cerebellum", "--cells", "300", "--epochs", "3", "--dataset", folder / "digits.npz", "--out", run)
    return run, minicereb.Cerebellum(300, epochs=3).fit(*parts[:2]), *parts[2:]


TARGETED = "--method apgd --objective dlr --targets 3 --epsilon 0.05"


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ("", {}),
        (TARGETED, {"method": "apgd", "objective": "dlr", "targets": 3, "epsilon": 0.05}),
        ("--method square --steps 50 --epsilon 0.1 --seed 5", {"method": "square", "steps": 50, "seed": 5}),
        ("--norm l2 --epsilon 0.5", {"norm": "l2", "epsilon": 0.5}),
    ],
)
def test_an_attack_is_that_of_the_command(digits, options, settings, tmp_path):
    run, model, x, y = digits
    result = minicereb.attack(model, x, y, **settings)
    saved = tmp_path / "attacked.npz"
    record = document("attack", run, *options.split(), "--save", saved)
    assert (result.clean_accuracy, result.robust_accuracy) == (record["clean_accuracy"], record["robust_accuracy"])
    assert list(result.robust_interval) == record["robust_interval"]
    with np.load(saved) as stored:
        assert np.array_equal(result.x_adv, stored["x_adv"])
    assert np.array_equal(model.predict(result.x_adv), result.predicted)


@pytest.mark.slow
def test_an_evaluation_is_that_of_the_command(digits):
    run, model, x, y = digits
    x, y = x[:12], y[:12]
    result = minicereb.evaluate(model, x, y, epsilons=(0.02, 0.1), attacks="apgd-ce,fab-t,square")
    command = "--epsilon 0.02 --epsilon 0.1 --attacks apgd-ce,fab-t,square --images 12"
    record = document("evaluate", run, *command.split())
    same = ("attacked", "attacked_interval", "certified", "certified_interval", "by_attack", "broken_first_by", "epsilon")
    for ours, theirs in zip(result.record["epsilons"], record["epsilons"], strict=True):
        assert {name: ours[name] for name in same} == {name: theirs[name] for name in same}
        assert {line["name"] for line in ours["checklist"]} == {line["name"] for line in theirs["checklist"]}
    assert result.record["curve"] == record["curve"]
    assert result.attacked == {0.02: record["epsilons"][0]["attacked"], 0.1: record["epsilons"][1]["attacked"]}
    assert result.certified[0.02] == record["epsilons"][0]["certified"]
    json.dumps(result.record)
    found = np.isfinite(result.distance) & (result.distance > 0)
    outputs = model.outputs(result.nearest[found])  # on the edge to another class, so that rounding decides
    rival = np.where(np.arange(10) == y[found, None], -np.inf, outputs).max(axis=1)
    assert (outputs[np.arange(found.sum()), y[found]] - rival <= 1e-5).all()
    text, page = repr(result), result._repr_html_()
    assert re.search(r"^accuracy in % +ε = 0\.02 +ε = 0\.1$", text, re.MULTILINE)
    assert "after square" in text
    assert page.count("<img") == 1
    assert "after square" in page


def test_a_result_prints_a_table_and_shows_pictures(digits):
    _, model, x, y = digits
    result = minicereb.attack(model, x, y, epsilon=0.2)
    lines = repr(result).splitlines()
    assert lines[0] == "pgd on margin, ε = 0.2, 40 steps, 40 images"
    assert [line.split()[0] for line in lines[1:]] == ["accuracy", "clean", "attacked"]
    page = result._repr_html_()
    assert page.count("<img") == 1
    assert "<td>attacked</td>" in page
    assert minicereb.attack(model, x[:3], y[:3], epsilon=0.0, image_shape=(196,))._repr_html_().count("<img") == 0


def test_images_may_keep_their_shape(digits):
    _, model, x, y = digits
    flat, square = (minicereb.attack(model, each, y, method="square", steps=20) for each in (x, x.reshape(-1, 14, 14)))
    assert np.array_equal(flat.x_adv, square.x_adv)
    assert flat.image_shape == (14, 14)


def test_an_evaluation_reports_its_steps_and_may_leave_out_the_checklist(digits, capsys):
    _, model, x, y = digits
    result = minicereb.evaluate(model, x[:5], y[:5], epsilons=0.1, attacks=["random"], certify=False, check=False, verbose=True)
    assert "random at 0.1" in capsys.readouterr().err
    assert "no certificates: not asked for" in repr(result)
    assert result.certified == {0.1: None}
    assert result.complaints == []


def test_labels_of_any_kind_come_back():
    x = np.random.default_rng(0).random((60, 4), dtype=np.float32)
    y = np.where(x[:, 0] > x[:, 1], "left", "right")
    result = minicereb.attack(minicereb.Cerebellum(200).fit(x, y), x, y, epsilon=0.3)
    assert set(result.predicted) == {"left", "right"}
    assert result.robust_accuracy < result.clean_accuracy


@pytest.mark.parametrize("what", [minicereb.attack, minicereb.evaluate])
def test_what_cannot_be_attacked_is_one_line(what, digits):
    _, model, x, y = digits
    standardised = (x / np.float32(255) - 0.5) / 0.3
    for wrong, error, said in (
        ((model, standardised, y), InputError, r"images: 'values from .*float in \[0, 1\], or uint8 .* standardised"),
        ((model, x.astype(float), y), InputError, "images: 'values from 0 to .*divide by 255"),
        ((model, x[:, :5], y), ArrayError, "X has 5 features, but Cerebellum is expecting 196"),
        ((model, x, y + 1), ArrayError, "y contains 10, which is not one of the classes 0, 1, 2"),
        ((model, x, y[:3]), ArrayError, "40 rows of X, 3 labels"),
        ((minicereb.Cerebellum(), x, y), NotFittedError, "not fitted yet"),
        ((minicereb.Cerebellum, x, y), InputError, r"an object, not its class: Cerebellum\(\).fit"),
        ((model.network_, x, y), InputError, "model: 'CerebellarNetwork' is not valid; expected a classifier of minicereb"),
        ((str, x, y), InputError, "model: 'str' is not valid"),
    ):
        with pytest.raises(error, match=said) as caught:
            what(*wrong)
        assert isinstance(caught.value, ValueError)
        assert "\n" not in str(caught.value)


def test_settings_of_an_attack_are_checked(digits):
    _, model, x, y = digits
    with pytest.raises(InputError, match="method: 'pgt' .*did you mean 'pgd'"):
        minicereb.attack(model, x, y, method="pgt")
    with pytest.raises(InputError, match="epsilon: -1 is not valid"):
        minicereb.attack(model, x, y, epsilon=-1)
    with pytest.raises(InputError, match="attacks: 'apdg-ce' .*did you mean 'apgd-ce'"):
        minicereb.evaluate(model, x, y, attacks="apdg-ce")
    with pytest.raises(InputError, match="epsilon: .* at least one number"):
        minicereb.evaluate(model, x, y, epsilons=())
    with pytest.raises(InputError, match="attacks: 'transfer' .*attacks on the model itself"):
        minicereb.evaluate(model, x, y, attacks="transfer")
