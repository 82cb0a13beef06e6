"""The study of seeds: differences seed by seed, counted by hand, and what it says where it can say nothing."""

import pytest
from commands import invoke
from written import written

from minicereb import datasets
from minicereb.cli import study as command
from minicereb.experiments.configs import Data
from minicereb.experiments.costs import JobCost
from minicereb.experiments.evaluation.settings import EvaluatedModel
from minicereb.statistics import detectable_difference, mean_interval, standard_deviation
from minicereb.studies.results import Results
from minicereb.studies.seeds import NAMES, PAIRS, SEEDS, Measure, by_seed, differences, name_of_model, table

TEST, ATTACKED, MSE = Measure("test"), Measure("attacked", 0.1), Measure("MSE-PGD", 0.1)
SHARES = {"full": 0.2, "full, LTD": 0.3, "random k=4": 0.5, "random k=4, LTD": 0.5}


def results_of(seeds, certified=0.0):
    """Records as if more seeds made the models with LTD, and only these, more and more robust."""
    found = []
    for config in SEEDS.plan(Data("by hand", "0" * 64), "smoke", seeds):
        if isinstance(config, EvaluatedModel):
            name, seed = name_of_model(config.train), config.train.seed
            share = SHARES[name] + 0.01 * seed * ("LTD" in name)
            entry = {"epsilon": 0.1, "attacked": share, "certified": certified, "by_attack": {"pgd-mse": 0.9}}
            found.append((config, {"test_accuracy": share + 0.1, "test_images": 60, "images": 100, "epsilons": [entry]}))
        else:
            counts = (
                {"only_one": 12, "only_other": 0, "p": 2 / 2**12} if config.one.train.seed else {"only_one": 1, "only_other": 1}
            )
            side = {"p": 1.0, **counts}
            found.append((config, {"images": 100, "epsilons": [{"epsilon": 0.1, "attacked": side, "certified": None}]}))
    return Results(found)


def test_differences_are_taken_seed_by_seed():
    found = differences(results_of((0, 3, 5)), [TEST, ATTACKED, MSE])
    each = found["full, LTD", "full", ATTACKED]
    assert each.values == pytest.approx([0.1, 0.13, 0.15])
    assert each.found == 2  # Holm: the smallest p is multiplied by 12 tests
    variance = (2 + 2 * (12 - 12**2 / 100)) / 3 / 100**2
    assert each.error == pytest.approx(variance**0.5)
    assert found["random k=4, LTD", "random k=4", TEST].values == pytest.approx([0, 0.03, 0.05])
    assert found["random k=4", "full", MSE] == ([0.0] * 3, None, None)
    assert len(found) == 3 * len(PAIRS)


def test_the_table_has_intervals_and_detectable_differences():
    lines = written(table, results_of((0, 3, 5))).splitlines()
    row = next(line for line in lines if line.startswith("| full, LTD | full | attacked 0.1 |")).split(" | ")
    values = [0.1, 0.13, 0.15]
    low, high = mean_interval(values)
    assert row[3] == f"+12.7 [{100 * low:+.1f}, {100 * high:+.1f}]"
    expected = [100 * detectable_difference(standard_deviation(values), n) for n in (2, 5, 10)]
    assert [float(cell.rstrip(" |")) for cell in row[-3:]] == pytest.approx(expected, abs=0.051)
    assert row[6] == "2 of 3"
    assert "| MSE-PGD 0.1 | 90.0 (all) | 90.0 (all) | 90.0 (all) | 90.0 (all) |" in lines
    assert "for the 12 tests of the table" in lines[-1]


def test_with_one_seed_there_is_no_interval_and_it_says_so():
    said = written(table, results_of((0,)))
    assert "One seed: how far apart other seeds lie is unknown" in said
    assert "| full, LTD | full | attacked 0.1 | +10.0, one seed | - |" in said
    assert "[" not in said
    assert "| - | - | - |" in said


def test_what_no_evaluation_has_is_left_out():
    results = results_of((0, 3), certified=None)
    assert by_seed(results, Measure("certified", 0.1)) == {name: {} for name in NAMES}
    assert "certified 0.1" not in written(table, results)


@pytest.mark.parametrize(("given", "used"), [((), (0, 123)), (("--seed", "7"), (7,))])
def test_the_command_takes_the_studys_own_seeds_unless_others_are_given(given, used, monkeypatch):
    drawn = datasets.load("strokes", train=20, test=10)
    monkeypatch.setattr(command.datasets, "load", lambda name: drawn)
    monkeypatch.setattr(command, "estimates", lambda jobs, laboratory: [JobCost(job, True, 0.0) for job in jobs])
    said = invoke("study", "seeds", "--scale", "smoke", "--dry-run", *given)
    assert said.exit_code == 0, said.output
    assert {word.split()[0] for word in said.stdout.split("training ")[1:]} == {"full,", "random"}
    seeds = {int(line.rsplit(" ", 1)[1]) for line in said.stdout.splitlines() if "training " in line}
    assert seeds == set(used)
