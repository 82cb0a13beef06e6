"""Paired comparisons: counted by hand from outcomes that are kept, refused where the images differ, tabled with intervals."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from written import written

from minicereb.errors import DataError, InputError
from minicereb.experiments.architectures import PerceptronModel
from minicereb.experiments.configs import Data, Train
from minicereb.experiments.evaluation.settings import EvaluatedModel, evaluation_folder
from minicereb.experiments.identity import from_json, to_json
from minicereb.experiments.kinds.paired import PairedComparison, compared
from minicereb.experiments.laboratory import Laboratory
from minicereb.files import write_json, write_npz
from minicereb.robustness.outcomes import BROKEN, WITHSTOOD, no_outcomes
from minicereb.statistics import mcnemar_test, paired_difference_interval
from minicereb.studies.tables import comparison_table

ONE, OTHER = (
    EvaluatedModel(Train(PerceptronModel(()), Data("by hand", "0" * 64), 1, 1, 0.1, seed=s), (0.1, 0.2), 6) for s in (0, 1)
)
# Of each image: right as it is; number of the ε from which on it is broken (2: none), up to which it is certified (-1: none).
OF_ONE = [(1, 2, 1), (1, 2, 0), (1, 1, -1), (1, 1, 0), (0, 0, -1), (1, 0, -1)]
OF_OTHER = [(1, 2, 0), (1, 0, -1), (1, 1, -1), (0, 0, -1), (0, 0, -1), (1, 1, -1)]


def evaluation_record(config):
    """Only whether there are certificates is read from it; the rest is as in any evaluation."""
    share, interval = (0.0, [0.0, 1.0]) if config.certify else (None, None)
    entry = {"attacked": 0.5, "attacked_interval": [0.0, 1.0], "certified": share, "certified_interval": interval}
    entry |= {"by_attack": {"a": 0.5}, "broken_first_by": {"a": 1}, "checklist": []}
    about = {"run": "r", "model": "m", "data": "d", "answer": "ot", "gradient": "analytic", "no_certificate": None}
    about |= {"images": 6, "clean_accuracy": 0.5, "norm": "linf", "seed": 0, "checked_images": 6}
    curve = {"epsilon": [0.0], "attacked": [0.5]}
    return {**about, "epsilons": [{"epsilon": epsilon, **entry} for epsilon in config.epsilons], "curve": curve}


def laboratory_with(folder, *evaluations):
    """Laboratory whose runs have these outcomes, in files of four images and two."""
    for config, images in evaluations:
        place = evaluation_folder(SimpleNamespace(folder=folder / str(config.train.seed)), config)
        place.mkdir(parents=True)
        for first in (0, 4):
            part = images[first : first + 4]
            outcomes = no_outcomes(
                np.arange(first, first + len(part)), np.zeros(len(part), dtype=np.int64), 2, 2, len(config.attacks)
            )
            for n, (right, broken, certified) in enumerate(part):
                outcomes.predicted[n] = not right
                outcomes.tried[:, :, n] = WITHSTOOD
                outcomes.tried[broken:, n % len(config.attacks), n] = BROKEN if right else 0
                outcomes.certified[: certified + 1, n] = True
            write_npz(place / f"images-{first:06d}.npz", outcomes.arrays() | {"done": np.array(9), "seconds": np.array(0.0)})
        write_json(place / "evaluation.json", evaluation_record(config))
    runs = lambda train: [SimpleNamespace(folder=folder / str(train.seed), manifest={"model_sha256": "f" * 64})]  # noqa: E731
    return SimpleNamespace(complete_runs=runs, record_path=lambda config: folder / "record.json")


def record_of(config, laboratory):
    *_, end = drain(config.run(laboratory))
    return end


def drain(steps):
    while True:
        try:
            yield next(steps)
        except StopIteration as stop:
            yield stop.value
            return


def test_discordant_images_are_counted_by_hand(tmp_path):
    record = record_of(PairedComparison(ONE, OTHER), laboratory_with(tmp_path, (ONE, OF_ONE), (OTHER, OF_OTHER)))
    assert record["images"] == 6
    counts = [
        (found["only_one"], found["only_other"]) for found in (record["clean"], *(e["attacked"] for e in record["epsilons"]))
    ]
    assert counts == [(1, 0), (2, 1), (1, 0)]
    assert [(e["certified"]["only_one"], e["certified"]["only_other"]) for e in record["epsilons"]] == [(2, 0), (1, 0)]
    first = record["epsilons"][0]["attacked"]
    assert (first["one"], first["other"], first["difference"]) == (4 / 6, 3 / 6, 1 / 6)
    assert first["interval"] == list(paired_difference_interval(2, 1, 6))
    assert first["p"] == mcnemar_test(2, 1)


def test_epsilons_that_only_one_has_are_left_out_and_no_certificate_is_none(tmp_path):
    fewer = dataclasses.replace(OTHER, epsilons=(0.05, 0.2), certify=False)
    config = PairedComparison(ONE, fewer)
    record = record_of(config, laboratory_with(tmp_path, (ONE, OF_ONE), (fewer, OF_OTHER)))
    assert config.epsilons == (0.2,)
    assert [(entry["epsilon"], entry["certified"]) for entry in record["epsilons"]] == [(0.2, None)]
    assert (record["epsilons"][0]["attacked"]["only_one"], record["epsilons"][0]["attacked"]["only_other"]) == (1, 0)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({}, "other: 'the same evaluation'"),
        ({"images": 5}, "images: 5"),
        ({"norm": "l2"}, "norm: 'l2'"),
        ({"attacks": ("pgd-mse",)}, "attacks: "),
        ({"epsilons": (0.3,)}, "epsilon: "),
        ({"train": dataclasses.replace(ONE.train, data=Data("others", "1" * 64))}, "data: 'others'"),
    ],
)
def test_what_cannot_be_compared_is_refused(changed, message):
    with pytest.raises(InputError, match=message):
        PairedComparison(ONE, dataclasses.replace(ONE, **changed))


def test_evaluations_of_other_images_are_refused_and_lost_outcomes_named(tmp_path):
    laboratory = laboratory_with(tmp_path, (ONE, OF_ONE), (OTHER, OF_OTHER[:5]))
    with pytest.raises(InputError, match="evaluation of other images"):
        record_of(PairedComparison(ONE, OTHER), laboratory)
    for path in tmp_path.rglob("images-*.npz"):
        path.unlink()
    with pytest.raises(DataError, match="no outcomes of images; delete .*record.json"):
        record_of(PairedComparison(ONE, OTHER), laboratory)


def test_a_comparison_follows_from_the_evaluations_it_does_first(perceptron, strokes, tmp_path):
    quick = dataclasses.replace(perceptron, epochs=1)
    one, other = (EvaluatedModel(dataclasses.replace(quick, seed=s), (0.02,), 20, ("fgsm-mse",), certify=False) for s in (0, 1))
    config = PairedComparison(one, other)
    assert from_json(to_json(config)) == config
    laboratory = Laboratory(strokes, tmp_path)
    *_, record = drain(laboratory.run_experiment(config))
    *_, evaluated = drain(laboratory.run_experiment(one))
    assert record["epsilons"][0]["attacked"]["one"] == evaluated["epsilons"][0]["attacked"]
    assert record["clean"]["one"] == evaluated["clean_accuracy"]
    assert len(record["runs"]) == 2


# -- the table ---------------------------------------------------------------------------------------------------------------


def compared_counts(one, other, images=100):
    right = np.arange(images)
    return compared(right < one, right >= images - other)


def table_of(pairs, *labels):
    return written(lambda results: comparison_table(results, *labels), pairs)


def test_the_table_has_an_interval_and_an_adjusted_p_in_every_row():
    named = dataclasses.replace(OTHER, train=dataclasses.replace(OTHER.train, model=PerceptronModel((5,)), seed=0))
    counts = [compared_counts(10, 0), compared_counts(1, 1), compared_counts(0, 5)]
    record = {"images": 100, "clean": counts[0], "epsilons": [{"epsilon": 0.1, "attacked": counts[1], "certified": counts[2]}]}
    results = [(ONE, {}), (PairedComparison(ONE, named), record)]
    lines = table_of(results, ("attacked", "certified")).splitlines()
    assert lines[2].startswith("| perceptron , batch 1 | perceptron 5, batch 1 | 0 | - | clean | +10.0 [+")
    assert lines[2].endswith("| 10 | 0 | 0.0059 |")  # 3 · 2 / 2¹⁰
    assert lines[3].endswith("| 1 | 1 | 1.00 |")
    assert "| 0.1 | certified | -5.0 [-1" in lines[4]
    assert "3 tests made" in lines[-1]
    record["epsilons"][0]["attacked"] = compared_counts(0, 0)
    lines = table_of(results, ("attacked", "certified")).splitlines()
    assert len(lines) == 2 + 2 + 2  # no image is classified correctly by only one of the two: no row
    assert "3 tests made" in lines[-1]
    assert len(table_of(results).splitlines()) == len(lines) - 1
    assert table_of(results[:1]) == ""


def test_models_of_one_description_are_told_apart_by_what_differs():
    record = {"images": 100, "clean": compared_counts(1, 2), "epsilons": []}
    row = table_of([(PairedComparison(ONE, OTHER), record)]).splitlines()[2]
    assert "| the same except seed: 1 here, 0 there | 0, 1 |" in row
