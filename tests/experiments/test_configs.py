"""Experiments as values: they survive JSON, and their hash tells just what changes a result."""

import dataclasses

import pytest

from minicereb.attacks.run import Attack
from minicereb.errors import DataError, InputError
from minicereb.experiments.configs import (
    AttackedModel,
    CerebellumModel,
    Data,
    PerceptronModel,
    Train,
    config_hash,
    differences,
    from_json,
    to_json,
)
from minicereb.files import canonical_json

TRAIN = Train(CerebellumModel("random", 100, 4), Data("strokes", "a" * 64), 10, 2, 0.005)
CONFIGS = [
    TRAIN,
    Train(PerceptronModel((30, 20)), Data("mnist", "b" * 64), 32, 1, 1e-3, "adam", 7, 0.0, "last"),
    AttackedModel(TRAIN, Attack("pgd", "margin", 0.1), 50),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_a_config_comes_back_from_json_equal_and_with_the_same_hash(config):
    import json

    again = from_json(json.loads(canonical_json(to_json(config))))
    assert again == config
    assert config_hash(again) == config_hash(config)


def test_the_hash_is_pinned_so_that_old_runs_are_found_again():
    assert config_hash(TRAIN) == config_hash(dataclasses.replace(TRAIN))
    assert len({config_hash(config) for config in CONFIGS}) == len(CONFIGS)


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"batch_size": 1}, {"keep": "last"}, {"model": CerebellumModel("random", 100, 5)}, {"data": Data("x", "c")}],
)
def test_every_setting_changes_the_hash(change):
    assert config_hash(dataclasses.replace(TRAIN, **change)) != config_hash(TRAIN)


def test_the_name_of_the_data_does_not_change_the_hash_but_their_content_does():
    assert config_hash(dataclasses.replace(TRAIN, data=Data("elsewhere.npz", "a" * 64))) == config_hash(TRAIN)


def test_differences_name_the_setting_and_both_values():
    other = dataclasses.replace(TRAIN, seed=5, model=CerebellumModel("random", 200, 4))
    assert differences(TRAIN, other) == ["cells: 100 here, 200 there", "seed: 0 here, 5 there"]


@pytest.mark.parametrize("value", [None, {"kind": "Nothing"}, {"kind": "Train"}, {"no": "kind"}])
def test_what_is_not_a_config_is_refused_or_no_training(value):
    if value is None:
        assert from_json(value) is None
    else:
        with pytest.raises(DataError, match="not the settings"):
            from_json(value)


@pytest.mark.parametrize(
    ("setting", "make"),
    [
        ("wiring", lambda: CerebellumModel("dense", 10)),
        ("cells", lambda: CerebellumModel("full", 0)),
        ("inputs-per-cell", lambda: CerebellumModel("random", 10, 0)),
        ("inputs-per-cell", lambda: CerebellumModel("random", 10)),
        ("inputs-per-cell", lambda: CerebellumModel("full", 10, 4)),
        ("replacement", lambda: CerebellumModel("full", 10, replacement=True)),
        ("patch", lambda: CerebellumModel("random", 10, 4, patch=True)),
        ("ltd-decay", lambda: CerebellumModel("full", 10, ltd_decay=1.0)),
        ("rule", lambda: CerebellumModel("full", 10, rule="hope")),
        ("hidden", lambda: PerceptronModel((3, 0))),
        ("batch-size", lambda: dataclasses.replace(TRAIN, batch_size=0)),
        ("epochs", lambda: dataclasses.replace(TRAIN, epochs=0)),
        ("learning-rate", lambda: dataclasses.replace(TRAIN, learning_rate=float("nan"))),
        ("optimizer", lambda: dataclasses.replace(TRAIN, optimizer="adagrad")),
        ("seed", lambda: dataclasses.replace(TRAIN, seed=-1)),
        ("validation", lambda: dataclasses.replace(TRAIN, validation=1.0)),
        ("keep", lambda: dataclasses.replace(TRAIN, keep="worst")),
        ("images", lambda: AttackedModel(TRAIN, Attack("fgsm", "mse", 0.1), 0)),
    ],
)
def test_a_bad_setting_is_named(setting, make):
    with pytest.raises(InputError) as caught:
        make()
    assert caught.value.setting == setting
