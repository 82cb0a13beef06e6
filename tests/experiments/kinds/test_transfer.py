"""A transferred attack, counted by hand: who is attacked, what is counted, and what is kept."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from minicereb.attacks.settings import Attack
from minicereb.backend import to_device, to_numpy
from minicereb.calculus.noise import law_named
from minicereb.datasets.dataset import Dataset
from minicereb.errors import InputError, MinicerebError
from minicereb.experiments.architectures import NoisyModel, PerceptronModel
from minicereb.experiments.configs import Data, Train
from minicereb.experiments.kinds import transfer
from minicereb.experiments.kinds.transfer import TransferredAttack, pictures_path
from minicereb.files import canonical_json, read_npz
from minicereb.models.layers import Dense
from minicereb.models.noisy import NoisyLayer, NoisyNetwork
from minicereb.models.prediction import average_probabilities
from minicereb.models.sequential import Sequential
from minicereb.statistics import proportion_interval

DATA = Data("by hand", "0" * 64)
TARGET, SUBSTITUTE = (Train(PerceptronModel(()), DATA, 1, 1, 0.1, seed=seed) for seed in (0, 1))
FGSM = Attack("fgsm", "cross-entropy", 0.1)
# The substitute answers with the brighter pixel, so its step makes the label's pixel darker by 0.1 and the other brighter.
IMAGES = [  # image, label, image after the attack
    ((0.9, 0.1), 0, (0.8, 0.2)),
    ((0.55, 0.45), 0, (0.45, 0.55)),  # fools the substitute
    ((0.3, 0.7), 0, (0.2, 0.8)),  # misclassified already, and attacked all the same
    ((0.05, 0.95), 1, (0.15, 0.85)),
    ((0.0, 0.15), 1, (0.1, 0.05)),  # fools the substitute
    ((1.0, 0.95), 1, (1.0, 0.85)),  # misclassified already; leaves the box but for clipping
    ((0.7, 0.4), 0, (0.6, 0.5)),  # fools the target, not the substitute
]


def dataset(images=IMAGES):
    x, y = np.array([x for x, _, _ in images], dtype=np.float32), np.array([y for _, y, _ in images])
    return Dataset("by hand", x, y, x, y, (1, 2), 2)


def dense(bias):
    return Sequential((Dense(to_device(np.eye(2, dtype=np.float32)), to_device(np.array(bias, dtype=np.float32))),))


def noisy(bias, scale, law="gaussian"):
    """The same as ``dense``, with noise on its outputs."""
    scale = to_device(np.array([scale], dtype=np.float32))
    weight, bias = to_device(np.eye(2, dtype=np.float32)), to_device(np.array(bias, dtype=np.float32))
    return NoisyNetwork((NoisyLayer(weight, bias, scale, law and law_named(law), None),))


def carried_out(target, out, images=7, replications=20, data=None, substitute=None):
    """Record and steps of the experiment on models given."""
    models = {TARGET: target, SUBSTITUTE: substitute or dense((0.0, 0.0))}
    laboratory = SimpleNamespace(dataset=data or dataset(), out=out, model=models.get)
    config = TransferredAttack(TARGET, SUBSTITUTE, FGSM, images, replications)
    steps = []

    def all_of():
        record = yield from config.run(laboratory)
        steps.append(record)

    doing = list(all_of())
    return config, steps[0], doing


def share(right, of):
    return {"right": right, "of": of, "accuracy": right / of, "interval": list(proportion_interval(right, of))}


def test_counts_by_hand(xp_device, tmp_path):
    """The target takes the second class unless the first pixel is brighter by more than 0.2."""
    _, record, doing = carried_out(dense((0.0, 0.2)), tmp_path)
    assert record["images"] == 7
    assert record["substitute"] == {"original": share(5, 7), "adversarial": share(3, 7)}
    assert record["all"]["original_ot"] == share(5, 7)
    assert record["all"]["adversarial_ot"] == share(4, 7)
    assert record["filtered"]["original_ot"] == share(4, 5)
    assert record["filtered"]["adversarial_ot"] == share(3, 5)
    for subset in ("all", "filtered"):
        assert record[subset]["original_lap"] is record[subset]["adversarial_lap"] is None
    assert doing[-1].endswith("7 images")
    canonical_json(record)


def test_every_image_takes_the_whole_step_within_the_box(tmp_path):
    config, _, _ = carried_out(dense((0.0, 0.2)), tmp_path)
    pairs = read_npz(pictures_path(tmp_path, config))
    np.testing.assert_array_equal(pairs["x"][:, 0], np.array([x for x, _, _ in IMAGES], dtype=np.float32))
    np.testing.assert_allclose(pairs["x_adv"][:, 0], [x_adv for _, _, x_adv in IMAGES], atol=1e-6)
    assert pairs["y"].tolist() == [y for _, y, _ in IMAGES]
    assert pairs["original_substitute"].tolist() == [0, 0, 1, 1, 1, 0, 0]
    assert pairs["adversarial_substitute"].tolist() == [0, 1, 1, 1, 0, 0, 0]
    assert pairs["adversarial_ot"].tolist() == [0, 1, 1, 1, 1, 1, 1]


def test_with_hardly_any_noise_lap_answers_as_ot_and_without_any_it_is_left_out(tmp_path):
    _, quiet, _ = carried_out(noisy((0.0, 0.2), 1e-4), tmp_path)
    for subset in ("all", "filtered"):
        for kind in ("original", "adversarial"):
            assert quiet[subset][f"{kind}_lap"] == quiet[subset][f"{kind}_ot"]
    _, silent, _ = carried_out(noisy((0.0, 0.2), 1.0, law=None), tmp_path)
    assert silent["all"]["adversarial_lap"] is None
    assert silent["all"]["adversarial_ot"] == quiet["all"]["adversarial_ot"] == share(4, 7)


def test_lap_counts_what_the_mean_probabilities_say(tmp_path):
    target = noisy((0.0, 0.2), 3.0)
    config, record, _ = carried_out(target, tmp_path, replications=5)
    for kind in ("original", "adversarial"):
        x = read_npz(pictures_path(tmp_path, config))["x" if kind == "original" else "x_adv"].reshape(-1, 2)
        means = to_numpy(average_probabilities(target, x, np.arange(7), 5, 0))
        right = means.argmax(axis=1) == [y for _, y, _ in IMAGES]
        assert record["all"][f"{kind}_lap"] == share(int(right.sum()), 7)
        assert record["filtered"][f"{kind}_lap"] == share(int(right[[0, 1, 3, 4, 6]].sum()), 5)


def test_the_memory_for_images_changes_nothing_but_the_steps(tmp_path, monkeypatch):
    whole = carried_out(noisy((0.0, 0.2), 3.0), tmp_path)
    monkeypatch.setattr(transfer, "images_per_block", lambda bytes_per_image: 3)
    cut = carried_out(noisy((0.0, 0.2), 3.0), tmp_path)
    assert [len(doing) for _, _, doing in (whole, cut)] == [1, 3]
    assert [{**record, "seconds": 0} for _, record, _ in (whole, cut)] == [{**whole[1], "seconds": 0}] * 2


def test_only_the_first_images_are_attacked_and_a_filter_may_leave_none(tmp_path):
    wrong = [IMAGES[2], IMAGES[5], IMAGES[0]]
    _, record, _ = carried_out(dense((0.0, 0.2)), tmp_path, images=2, data=dataset(wrong))
    assert record["all"]["original_ot"] == share(1, 2)
    assert record["filtered"]["original_ot"] == {"right": 0, "of": 0, "accuracy": None, "interval": [0.0, 1.0]}


def test_more_images_than_there_are_are_refused(tmp_path):
    with pytest.raises(InputError, match="images.*7 test images"):
        carried_out(dense((0.0, 0.2)), tmp_path, images=8)


def test_a_substitute_that_is_not_finite_is_no_attack(tmp_path):
    with pytest.raises(MinicerebError, match="not finite"), np.errstate(invalid="ignore"):
        carried_out(dense((0.0, 0.2)), tmp_path, substitute=dense((np.nan, 0.0)))


@pytest.mark.parametrize(
    ("setting", "value"),
    [("attack", dataclasses.replace(FGSM, method="pgd")), ("images", 0), ("replications", 0), ("seed", -1)],
)
def test_settings_that_mean_nothing_are_named(setting, value):
    config = TransferredAttack(TARGET, SUBSTITUTE, FGSM, 7, 20)
    with pytest.raises(InputError) as caught:
        dataclasses.replace(config, **{setting: value})
    assert caught.value.setting == ("method" if setting == "attack" else setting)


def test_the_target_comes_first_among_the_trainings():
    target = dataclasses.replace(TARGET, model=NoisyModel((3,)))
    assert TransferredAttack(target, SUBSTITUTE, FGSM, 7, 20).trainings == (target, SUBSTITUTE)
