"""The study of masking: alarms and their counts, by hand."""

import pytest
from written import written

from minicereb.experiments.configs import Data
from minicereb.experiments.evaluation.settings import EvaluatedModel
from minicereb.experiments.kinds.attacked import AttackedModel
from minicereb.robustness.checklist import CHECKS
from minicereb.studies.masking import EVERYTHING, MASKING, PAPERS, models_of, papers_checks, table
from minicereb.studies.results import Results

STATISTICS = {"zero": 0.0, "zero_entries": 0.25, "not_finite": 0.0, "counts": [1] * 60}


def evaluation(config, fgsm, pgd, left):
    entries = [
        {
            "epsilon": epsilon,
            "by_attack": {"fgsm-mse": fgsm, "pgd-mse": pgd},
            "attacked": left,
            "checklist": [{"name": name, "verdict": "pass"} for name in CHECKS],
        }
        for epsilon in config.epsilons
    ]
    return {"epsilons": entries, "images": 100}


def results_of(fgsm=0.5, pgd=0.5, doubled=0.5, tuned=0.5, unbounded=0.0, zero=0.0, left=0.5):
    """Records of the study at smoke scale, of every model the same."""
    found = []
    for config in MASKING.plan(Data("by hand", "0" * 64), "smoke", (0,)):
        if isinstance(config, EvaluatedModel):
            record = evaluation(config, fgsm, pgd, left if config.attacks != PAPERS else pgd)
        elif isinstance(config, AttackedModel):
            steps = config.attack.steps
            share = doubled if steps == 80 else tuned if steps == 100 else pgd
            record = {"robust_accuracy": unbounded if config.attack.epsilon == EVERYTHING else share}
        else:
            record = {"classes": 10, "before": STATISTICS | {"zero": zero}, "after": STATISTICS}
        found.append((config, record))
    return Results(found)


@pytest.mark.parametrize(
    ("shares", "alarm"),
    [
        ({}, None),
        ({"fgsm": 0.48}, "FGSM breaks more"),
        ({"fgsm": 0.49}, None),  # a point is tolerated
        ({"fgsm": 0.6}, None),
        ({"doubled": 0.4}, "80 steps break more"),
        ({"tuned": 0.4}, "tuned steps break more"),
        ({"zero": 0.02}, "images without gradient"),
        ({"left": 0.0}, None),  # that another objective breaks everything, none of them sees
    ],
)
def test_each_of_the_papers_checks_sees_its_own(shares, alarm):
    checks = papers_checks(models_of(results_of(**shares))[0], 0.1)
    assert [check.name for check in checks if check.alarm] == ([alarm] if alarm else [])


def test_unbounded_above_chance_is_an_alarm_at_either_setting():
    checks = papers_checks(models_of(results_of(unbounded=0.11))[0], 0.1)
    assert [check.name for check in checks if check.alarm] == ["unbounded, as printed", "unbounded, tuned"]


def test_the_legend_counts_who_would_have_caught_it():
    lines = written(table, results_of(left=0.2, fgsm=0.3)).splitlines()
    assert any("| 30.0 (21.2-40.0) | 20.0 **alarm** | 0.0 |" in line for line in lines)
    (legend,) = (line for line in lines if "Wrongly called robust:" in line)
    assert "Of the 8 rows" in legend
    assert "FGSM breaks more 8; 80 steps break more 0;" in legend
    assert legend.endswith("by none of them in 0.")
    assert "Of the 0 rows" in written(table, results_of())


def test_an_evaluation_by_the_papers_attacks_stands_beside_the_whole_one():
    evaluations = [config for config, _ in results_of() if isinstance(config, EvaluatedModel)]
    assert len(evaluations) == 16
    assert {config.attacks for config in evaluations} == {PAPERS, (*PAPERS, "apgd-margin")}
    assert len({config.train for config in evaluations}) == 8
