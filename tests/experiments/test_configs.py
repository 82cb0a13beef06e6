"""Experiments as values: they survive JSON, and their hash tells just what changes a result."""

import dataclasses
import json
import subprocess
import sys

import pytest

from minicereb.attacks.adversarial_training import Adversary
from minicereb.attacks.settings import Attack
from minicereb.errors import DataError, InputError
from minicereb.experiments.architectures import CerebellumModel, ConvolutionalModel, NoisyModel, PerceptronModel
from minicereb.experiments.configs import Data, Train, describe, describe_attack
from minicereb.experiments.identity import config_hash, config_kind, differences, from_json, to_json
from minicereb.experiments.kinds.attacked import AttackedModel, MovedOutputs
from minicereb.files import canonical_json

ADVERSARY = Adversary(0.1, 0.03)
TRAIN = Train(CerebellumModel("random", 100, 4), Data("strokes", "a" * 64), 10, 2, 0.005)
CONFIGS = [
    TRAIN,
    Train(PerceptronModel((30, 20)), Data("mnist", "b" * 64), 32, 1, 1e-3, "adam", 7, 0.0, "last"),
    AttackedModel(TRAIN, Attack("pgd", "margin", 0.1, step_size=0.01), 50),  # as the default was then
]


@pytest.mark.parametrize("config", CONFIGS)
def test_a_config_comes_back_from_json_equal_and_with_the_same_hash(config):
    again = from_json(json.loads(canonical_json(to_json(config))))
    assert again == config
    assert config_hash(again) == config_hash(config)


# As the first version computed them, before any field was added.
PINNED = (
    "473cc610f2a36e1dc0e6914991cd78f8dc588e77a3e932041855ab2935005bd9",
    "d5be900428c4555c3ccb7b7eabcf0d769402184b03710c0046a2d06f3b0ca4a0",
    "22e70519936249064eb664f4abf7f3ab9c58c70c91b3854d83b0b0dae157e744",
)


def test_a_training_against_an_adversary_comes_back_from_json():
    config = dataclasses.replace(CONFIGS[1], model=PerceptronModel((30,), l1=1e-4), adversary=ADVERSARY)
    assert from_json(json.loads(canonical_json(to_json(config)))) == config
    assert differences(config, CONFIGS[1])[-1] == "adversary: Adversary here, None there"


@pytest.mark.parametrize(("config", "digest"), list(zip(CONFIGS, PINNED, strict=True)))
def test_the_hash_is_pinned_so_that_old_runs_are_found_again(config, digest):
    assert config_hash(config) == digest


def test_settings_from_before_a_field_was_added_are_read_with_its_default():
    for config, digest in zip(CONFIGS[:2], PINNED, strict=False):
        old = to_json(config)
        del old["schedule"], old["adversary"]
        old["model"] = {name: value for name, value in old["model"].items() if name not in ("l1", "l2")}
        assert from_json(old) == config
        assert config_hash(from_json(old)) == digest


@config_kind
@dataclasses.dataclass(frozen=True)
class Several:
    """A toy: configs in a tuple, and a field that came later."""

    trains: tuple[Train, ...]
    later: int = dataclasses.field(default=3, metadata={"added": True})


def test_configs_in_a_tuple_come_back_from_json_and_count():
    several = Several((TRAIN, CONFIGS[1]))
    assert from_json(to_json(several)) == several
    renamed = dataclasses.replace(TRAIN, data=Data("elsewhere.npz", "a" * 64))
    assert config_hash(Several((renamed, CONFIGS[1]))) == config_hash(several)
    assert config_hash(Several((CONFIGS[1], TRAIN))) != config_hash(several)


def test_an_added_field_counts_only_when_it_differs_from_its_default():
    assert config_hash(Several((TRAIN,), 3)) == config_hash(Several((TRAIN,)))
    assert config_hash(Several((TRAIN,), 4)) != config_hash(Several((TRAIN,)))
    assert differences(Several((), 4), Several(())) == ["later: 4 here, 3 there"]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (CerebellumModel("full", 5970, ltd=False), "full, 5,970 cells, no LTD, batch 10"),
        (CerebellumModel("random", 100, 4), "random k=4, 100 cells, LTD, batch 10"),
        (PerceptronModel((30, 20)), "perceptron 30-20, batch 10"),
        (PerceptronModel((30,), l2=0.1, l1=1e-4), "perceptron 30, l2 0.1, l1 0.0001, batch 10"),
    ],
)
def test_a_model_is_described_in_a_few_words(model, words):
    assert describe(dataclasses.replace(TRAIN, model=model)) == words


def test_against_whom_it_learned_is_said_of_a_model():
    assert describe(dataclasses.replace(CONFIGS[1], adversary=ADVERSARY)).endswith("batch 32, against cross-entropy 0.1")


def test_an_attacked_model_stands_on_its_training():
    assert CONFIGS[2].trainings == (TRAIN,)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"batch_size": 1},
        {"keep": "last"},
        {"schedule": "cosine"},
        {"adversary": ADVERSARY},
        {"model": CerebellumModel("random", 100, 5)},
        {"data": Data("x", "c")},
    ],
)
def test_every_setting_changes_the_hash(change):
    assert config_hash(dataclasses.replace(TRAIN, **change)) != config_hash(TRAIN)


def test_every_setting_of_a_penalty_and_an_adversary_changes_the_hash():
    models = [PerceptronModel((3,), **penalty) for penalty in ({}, {"l1": 0.1}, {"l2": 0.1})]
    changes = ({}, {"epsilon": 0.2}, {"step_size": 0.02}, {"steps": 8}, {"objective": "margin"})
    adversaries = [None, *(dataclasses.replace(ADVERSARY, **change) for change in changes)]
    configs = [dataclasses.replace(TRAIN, model=model, adversary=each) for model in models for each in adversaries]
    assert len({config_hash(config) for config in configs}) == 18


def test_augmentation_changes_the_hash_and_what_is_without_it_has_the_hash_from_before():
    without = dataclasses.replace(TRAIN, model=ConvolutionalModel(((4,),), (5,)))
    augmented = dataclasses.replace(without, augment=True)
    assert config_hash(augmented) != config_hash(without)
    assert from_json(json.loads(canonical_json(to_json(augmented)))) == augmented
    old = to_json(without)
    assert old.pop("augment") is False
    assert config_hash(from_json(old)) == config_hash(without)


def test_the_name_of_the_data_does_not_change_the_hash_but_their_content_does():
    assert config_hash(dataclasses.replace(TRAIN, data=Data("elsewhere.npz", "a" * 64))) == config_hash(TRAIN)


def test_differences_name_the_setting_and_both_values():
    other = dataclasses.replace(TRAIN, seed=5, model=CerebellumModel("random", 200, 4))
    assert differences(TRAIN, other) == ["cells: 100 here, 200 there", "seed: 0 here, 5 there"]


@pytest.mark.parametrize("value", [None, [], 3, {"kind": "Nothing"}, {"kind": "Train"}, {"kind": ["Train"]}, {"no": "kind"}])
def test_what_is_not_a_config_is_refused(value):
    with pytest.raises(DataError, match="not the settings"):
        from_json(value)


CNN = dataclasses.replace(TRAIN, model=ConvolutionalModel(((4,),), (5,)))
HUGE = 99999999999999999999


@pytest.mark.parametrize(
    ("config", "path", "value", "said"),
    [
        (CNN, ("model", "dropout"), [0.25], "model.dropout"),
        (CNN, ("model", "dropout"), [0.25, "half"], r"model.dropout\[1\] is 'half'"),
        (CNN, ("model", "stages"), [[4], 3], r"model.stages\[1\] is 3; expected a list"),
        (CNN, ("model",), None, "model is None"),
        (CNN, ("model",), to_json(ADVERSARY), "model.kind is 'Adversary'"),
        (CNN, ("model", "hidden"), [HUGE], r"model.hidden\[0\]"),
        (TRAIN, ("data",), 3, "data is 3"),
        (TRAIN, ("data", "sha256"), None, "data.sha256"),
        (TRAIN, ("adversary",), "pgd", "adversary is 'pgd'"),
        (TRAIN, ("encoder",), [], "encoder"),
        (TRAIN, ("batch_size",), 2.5, "batch_size is 2.5"),
        (TRAIN, ("batch_size",), True, "batch_size is True"),
        (TRAIN, ("epochs",), "3", "epochs is '3'"),
        (TRAIN, ("seed",), None, "seed is None"),
        (TRAIN, ("learning_rate",), {}, "learning_rate is an object"),
        (TRAIN, ("model", "cells"), HUGE, "model.cells is 99999999999999999999; expected a whole number"),
        (TRAIN, ("model", "ltd"), 1, "model.ltd is 1; expected true or false"),
        (TRAIN, ("flavour",), 1, "flavour is 1; expected nothing of this name"),
        (CONFIGS[2], ("attack", "norm"), ["linf"], "attack.norm"),
        (CONFIGS[2], ("train",), "a training", "train is 'a training'"),
    ],
)
def test_a_setting_of_another_type_is_named(config, path, value, said):
    stored = json.loads(json.dumps(to_json(config)))
    *outer, last = path
    place = stored
    for name in outer:
        place = place[name]
    place[last] = value
    with pytest.raises(DataError, match=said):
        from_json(stored)


@pytest.mark.parametrize(
    ("setting", "make"),
    [
        ("cells", lambda: CerebellumModel("random", HUGE, 4)),
        ("hidden[1]", lambda: PerceptronModel((3, HUGE))),
        ("hidden[0]", lambda: PerceptronModel(("3",))),
        ("dropout", lambda: ConvolutionalModel(((4,),), (5,), dropout=(0.5,))),
        ("batch-size", lambda: dataclasses.replace(TRAIN, batch_size=HUGE)),
        ("data", lambda: dataclasses.replace(TRAIN, data="mnist")),
        ("epsilon", lambda: Attack("fgsm", "mse", float("nan"))),
        ("steps", lambda: Attack("pgd", "mse", 0.1, steps=1.5)),
    ],
)
def test_a_setting_of_another_type_is_refused_by_whoever_makes_it(setting, make):
    with pytest.raises(InputError) as caught:
        make()
    assert caught.value.setting == setting


def test_a_seed_may_be_larger_than_other_numbers():
    config = dataclasses.replace(TRAIN, seed=HUGE)
    assert from_json(json.loads(json.dumps(to_json(config)))) == config


LEAST_SQUARES = CerebellumModel("full", 10, rule="least-squares")


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
        ("adversarial", lambda: dataclasses.replace(TRAIN, model=LEAST_SQUARES, adversary=ADVERSARY)),
        ("adversarial", lambda: dataclasses.replace(TRAIN, model=NoisyModel((3,)), adversary=ADVERSARY)),
        ("l2", lambda: PerceptronModel((3,), l2=-1.0)),
        ("l1", lambda: PerceptronModel((3,), l1=float("nan"))),
        ("schedule", lambda: dataclasses.replace(TRAIN, schedule="linear")),
        ("augment", lambda: dataclasses.replace(TRAIN, augment=True)),
        ("images", lambda: AttackedModel(TRAIN, Attack("fgsm", "mse", 0.1), 0)),
    ],
)
def test_a_bad_setting_is_named(setting, make):
    with pytest.raises(InputError) as caught:
        make()
    assert caught.value.setting == setting


def test_attacks_that_differ_are_told_apart_by_their_words():
    pgd = Attack("pgd", "margin", 0.1, gradient="flip")
    changes = [
        {}, {"objective": "mse"}, {"epsilon": 0.2}, {"steps": 8}, {"step_size": 0.02}, {"restarts": 2}, {"random_start": False},
        {"keep": "last"}, {"gradient": "frozen"}, {"draws": 8}, {"norm": "l2"}, {"targets": 2}, {"method": "apgd"},
    ]  # fmt: skip
    words = [describe_attack(dataclasses.replace(pgd, **change)) for change in changes]
    assert len(set(words)) == len(changes)
    assert words[0] == "pgd, margin, ε = 0.1, 40 steps of 0.00625, along flip, 32 draws"
    assert describe_attack(Attack("fgsm", "mse", 8 / 255)) == "fgsm, mse, ε = 8/255"


def test_a_kind_of_experiment_is_found_by_its_name_alone():
    """A program that has imported none of the kinds reads the settings of each."""
    settings = to_json(MovedOutputs(TRAIN, Attack("fgsm", "mse", 0.1), 5))
    code = "import json, sys; from minicereb.experiments.identity import from_json, to_json; settings = json.loads(sys.argv[1])"
    code += "; assert 'minicereb.experiments.kinds.attacked' not in sys.modules; assert to_json(from_json(settings)) == settings"
    subprocess.run([sys.executable, "-c", code, json.dumps(settings)], check=True)
