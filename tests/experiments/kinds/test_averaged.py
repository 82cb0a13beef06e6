"""White-box attacks on networks that answer by LAP, and the study that puts them beside transferred ones."""

import pytest
from written import written

from minicereb import datasets
from minicereb.attacks.settings import Attack
from minicereb.experiments.architectures import NoisyModel
from minicereb.experiments.configs import Data, Train
from minicereb.experiments.identity import from_json, to_json
from minicereb.experiments.kinds import attacked
from minicereb.experiments.kinds.attacked import AttackedAverage, AttackedModel
from minicereb.experiments.kinds.transfer import TransferredAttack
from minicereb.experiments.laboratory import Laboratory
from minicereb.studies import study_named
from minicereb.studies.glr_tables import name_of


@pytest.fixture(scope="module")
def dataset():
    return datasets.load("strokes14", train=600, test=60)


def carry_out(config, laboratory):
    steps = laboratory.run_experiment(config)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def test_an_attack_on_the_average_is_judged_on_fresh_noise(dataset, tmp_path):
    train = Train(NoisyModel((8,)), Data(dataset.name, dataset.sha256), 25, 4, 0.03, "adam", validation=0.0)
    attack = Attack("pgd", "margin", 0.2, steps=10, step_size=0.04, gradient="flip", draws=8)
    config = AttackedAverage(train, attack, 40, search_replications=16, replications=400)
    record = carry_out(config, Laboratory(dataset, tmp_path))
    assert record["images"] == 40
    assert record["robust_accuracy"] < record["clean_accuracy"] - 0.2
    low, high = record["robust_interval"]
    assert low <= record["robust_accuracy"] <= high
    assert from_json(to_json(config)) == config
    assert carry_out(config, Laboratory(dataset, tmp_path)) == record


def test_images_that_the_search_has_wrong_are_attacked_as_well(dataset, tmp_path, monkeypatch):
    train = Train(NoisyModel((8,)), Data(dataset.name, dataset.sha256), 25, 1, 0.03, "adam", validation=0.0)
    attack, met = Attack("pgd", "margin", 0.2, steps=3, step_size=0.04, gradient="flip", draws=8), []

    original = attacked.attack_images

    def watched(*given, **options):
        for block in original(*given, **options):
            met.append(block)
            yield block

    monkeypatch.setattr(attacked, "attack_images", watched)
    carry_out(AttackedAverage(train, attack, 40, search_replications=4, replications=50), Laboratory(dataset, tmp_path))
    assert any((block.clean_predicted != block.y).any() for block in met)
    assert all((block.distance > 0).all() for block in met)


def test_the_study_attacks_every_network_by_all_ways_that_it_has():
    study = study_named("glr-whitebox")
    plan = study.plan(Data("strokes14", "0" * 64), "smoke", (0,))
    kinds = [type(config) for config in plan]
    networks = len(dict.fromkeys(config.trainings[0] for config in plan))
    assert kinds.count(TransferredAttack) == networks
    assert kinds.count(AttackedModel) == 2 * networks
    silent = sum(config.trainings[0].model.noise == "none" for config in plan if isinstance(config, TransferredAttack))
    assert kinds.count(AttackedAverage) == 2 * (networks - silent)
    assert {config.attack.gradient for config in plan if isinstance(config, AttackedModel)} == {"analytic", "backprop", "flip"}


def test_its_table_has_a_row_for_each_network_and_a_mark_for_what_is_not_there():
    study = study_named("glr-whitebox")
    plan = study.plan(Data("strokes14", "0" * 64), "smoke", (0, 1))
    share = {"accuracy": 0.5}

    def record(config):
        if isinstance(config, TransferredAttack):
            lap = None if config.target.model.noise == "none" else share
            return {"all": {"adversarial_ot": {"accuracy": config.target.seed / 4}, "adversarial_lap": lap}}
        return {"clean_accuracy": 0.75, "robust_accuracy": 0.25 + config.trainings[0].seed / 2, "images": 40}

    lines = written(study.table, [(config, record(config)) for config in plan]).splitlines()
    rows = [line for line in lines[2:] if line.startswith("|")]
    assert len(rows) == len(dict.fromkeys(name_of(config.trainings[0]) for config in plan))
    assert [cell.strip() for cell in rows[0].split("|")[2:-1]] == ["75.0", "12.5", "50.0", "50.0", "-", "-", "-", "-"]
    assert [cell.strip() for cell in rows[2].split("|")[2:-1]] == ["75.0", "12.5", "50.0", "50.0", "75.0", "50.0", "50.0", "50.0"]
    assert "seeds 0, 1" in lines[-1]
