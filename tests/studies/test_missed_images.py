"""The study of what attacks miss: its models are those that ship, and its table counts what the records say."""

import json
from importlib import resources

import pytest
from written import written

from minicereb.experiments.configs import Data
from minicereb.experiments.identity import config_hash
from minicereb.robustness.catalogue import SETS
from minicereb.studies.missed_images import EPSILONS, SIZES, BrokenBySearch, experiments_of, models, plan, table

DATA = Data("strokes", "0" * 64)


@pytest.mark.parametrize("name", list(EPSILONS))
def test_the_models_are_those_that_ship(name):
    stored = json.loads((resources.files("minicereb") / "pretrained" / name / "config.json").read_text(encoding="utf-8"))
    data = Data("mnist", stored["config"]["data"]["sha256"])
    assert config_hash(models(data, shipped=True)[name]) == stored["hash"]


def records(misses):
    """Records of the smoke plan in which each search breaks images 0 to 19, but for those that `misses` says, from its attack."""
    found = {}
    for experiment in plan(DATA, "smoke", (0,)):
        broken = [image for image in range(20) if image not in misses(experiment.attack)]
        found[experiment] = {"wrong": [29], "broken": broken, "distance": [0.01] * len(broken)}
    return found


def compared(misses, name="perceptron"):
    size = SIZES["smoke"]
    return BrokenBySearch(name, models(DATA, False)[name], EPSILONS[name][1], size, 0, records(misses))


def test_what_another_finds_is_missed():
    each = compared(lambda attack: {3} if attack.method != "momentum" else {4} if attack.seed == 1 else {4, 5})
    assert each.anything == set(range(20))
    assert each.right == 29
    assert each.missed(set().union(*each.starts["APGD, margin"])) == 1
    assert [each.missed(found) for found in each.starts["momentum, margin"]] == [2, 1]
    assert each.missed(each.of_ensemble(SETS["standard"])) == 1
    assert each.missed(each.of_ensemble(SETS["all"])) == 0


def test_the_nearest_counts_within_epsilon_alone():
    size, train, epsilon = SIZES["smoke"], models(DATA, False)["perceptron"], EPSILONS["perceptron"][1]
    found = records(lambda attack: set())
    (far,) = experiments_of("perceptron", train, epsilon, size, 0)["FAB-T"]
    found[far] |= {"distance": [epsilon] * 12 + [epsilon * 1.01] * 8}
    each = BrokenBySearch("perceptron", train, epsilon, size, 0, found)
    assert each.missed(each.starts["FAB-T"][0]) == 8


def test_what_was_left_out_on_a_cerebellum_counts_as_found():
    each = compared(lambda attack: set(range(10)) if attack.method == "fab" else {19}, "base")
    assert each.missed(each.starts["FAB-T"][0]) == 0
    assert each.missed(each.starts["APGD, margin"][0]) == 1


def test_the_table_has_a_part_for_each_model():
    found = records(lambda attack: {3} if attack.method == "apgd" else set())
    printed = written(table, found.items())
    for name in EPSILONS:
        assert f"| {name} | ε = " in printed
    assert "| APGD, margin | 1 = 5.0 (0.1 to 24.9) [1.0; 1.0 to 1.0] |" in printed
    assert "| `all` | 0 = 0.0 (0.0 to 16.8) |" in printed
    assert max(len(line) for line in printed.splitlines()[:-1]) < 250
