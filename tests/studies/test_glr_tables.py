"""The study of the paper's tables: what it plans, what its tables say of the records, its figures, and how it goes on."""

import dataclasses
import itertools
import json
import re

import numpy as np
import pytest
from json_files import read_any
from written import written

from minicereb import datasets
from minicereb.experiments.architectures import NoisyModel
from minicereb.experiments.configs import Data
from minicereb.experiments.identity import from_json
from minicereb.experiments.kinds.transfer import pictures_path, record_of
from minicereb.experiments.runs import read_run
from minicereb.files import read_npz
from minicereb.report.figures import save_figure
from minicereb.studies import glr_tables
from minicereb.studies.glr_tables import (
    GLR_TABLES,
    ROWS,
    SUBSTITUTES,
    GlrScale,
    LearningSettings,
    figures,
    name_of,
    plan,
    row_name,
    table,
)
from minicereb.studies.results import Results
from minicereb.studies.study import carry_out

DATA = Data("mnist14", "0" * 64)
TINY = GlrScale(2, 1, 1, 30, 8, 4)
FIGURES = ["fig2-activations.png", "fig5-losses.png", "fig6-pairs.png", "fig7-activations.png"]


@pytest.fixture(scope="module")
def small():
    return datasets.load("strokes14", train=240, test=30)


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    monkeypatch.setitem(glr_tables.SIZES, "smoke", TINY)


@pytest.fixture(scope="module")
def done(small, tmp_path_factory):
    """The study, carried out."""
    out = tmp_path_factory.mktemp("whole") / "alone"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(glr_tables.SIZES, "smoke", TINY)
        steps = list(carry_out(GLR_TABLES, "smoke", (0,), small, out))
    return out, steps


def results_in(out):
    return Results(((from_json(each["config"]), each["record"]) for each in read_any(out / "study.json")["results"]), out)


# -- the plan ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scale", "networks"), [("smoke", 15), ("course", 15), ("paper", 18)])
def test_every_network_meets_every_substitute_and_nothing_is_chosen_on_images_held_out(scale, networks):
    planned = plan(DATA, scale, (0, 123))
    assert len(set(planned)) == len(planned) == 2 * networks * len(SUBSTITUTES)
    assert len({config.target for config in planned}) == 2 * networks
    assert len({config.substitute for config in planned}) == 2 * len(SUBSTITUTES)
    assert len({name_of(config.target) for config in planned}) == networks
    for config in planned:
        assert {config.target.keep, config.substitute.keep} == {"last"}
        assert config.target.seed == config.substitute.seed == config.seed
        assert config.target.batch_size == 25
        assert config.target.model.hidden == (20,)


def test_the_paper_scale_is_the_papers():
    for config in plan(DATA, "paper", (0,)):
        assert config.target.epochs == (24 if config.target.model.loss == "zero-one" else 12)
        assert (config.images, config.replications, config.attack.epsilon) == (5_000, 10_000, 0.1)


def test_the_papers_step_is_gradient_descent_at_a_constant_rate():
    trains = {config.target for config in plan(DATA, "paper", (0,)) if name_of(config.target).endswith("the paper's step")}
    assert len(trains) == 5
    assert {(train.optimizer, train.learning_rate, train.schedule) for train in trains} == {("sgd", 0.1, "constant")}


# -- the tables --------------------------------------------------------------------------------------------------------------


def test_the_tables_say_what_the_records_say(done):
    out, steps = done
    assert steps[-1].done == steps[-1].total == 17 + 30  # trainings, experiments
    text, results = (out / "table.md").read_text(), results_in(out)
    assert text.count("\n| --- |") == 2
    for number, hidden in enumerate(SUBSTITUTES):
        part = text.split("| network |")[number + 1]
        for config, record in results:
            if config.substitute.model.hidden != hidden:
                continue
            (line,) = [line for line in part.split("\n") if line.startswith(f"| {name_of(config.target)} |")]
            for cell, column in zip(line.split(" | ")[1:7], glr_tables.COLUMNS, strict=True):
                subset, name = column.split(".")
                share = record[subset][name]
                assert cell == ("-" if share is None else f"{100 * share['right'] / share['of']:.1f}")
        known = results[number][1]["substitute"]["original"]["accuracy"]
        assert f"its own accuracy is {100 * known:.1f} % on the images" in part
    assert "strokes14, first 30 test images" in text
    assert "LAP: 8 noisy runs. Seed 0; 95% intervals" in text
    assert "Epochs: cross-entropy 2, 0-1 loss 1." in text


def right(**names):
    """Answers that are right on this many of ten images; the substitute is right on the first eight of them."""
    counts = {"original_substitute": 8, "adversarial_substitute": 1, **names}
    return {name: np.arange(10) < count for name, count in counts.items()}


def by_hand(seeds, counts):
    """Table of hand-made records: `counts` by the row's number, target's right answers to original and adversarial images."""
    results = []
    for config in plan(DATA, "smoke", seeds):
        original, adversarial, lap = counts(config)
        answers = right(original_ot=original, adversarial_ot=adversarial)
        answers |= {} if lap is None else right(original_lap=lap, adversarial_lap=lap)
        results.append((config, record_of(answers)))
    return written(table, results)


def test_a_row_by_hand_beside_the_papers():
    text = by_hand((0,), lambda config: (9, 4, None if config.target.model.noise == "none" else 5))
    first, second = text.split("| network |")[1:]
    assert "\n| sigmoid (trained by BP, without noise) | 90.0 | 40.0 | - | 100.0 | 50.0 | - | 99 | 28 | - |\n" in first
    assert "\n| sigmoid (trained by BP, without noise) | 90.0 | 40.0 | - | 100.0 | 50.0 | - | 99 | 62 | - |\n" in second
    assert "\n| sigmoid (trained by BP, with noise) | 90.0 | 40.0 | 50.0 | 100.0 | 50.0 | 62.5 | - | - | - |\n" in first
    assert "\n| threshold | 90.0 | 40.0 | 50.0 | 100.0 | 50.0 | 62.5 | 95 | 52 | 53 |\n" in first
    for name in ("log-absolute", "log-absolute-minus"):
        assert f"\n| {name} | 90.0 | 40.0 | 50.0 | 100.0 | 50.0 | 62.5 | 97 | 81 | 83 |\n" in second
    assert "\n| threshold, 0-1 loss | 90.0 | 40.0 | 50.0 | 100.0 | 50.0 | 62.5 | 86 | 56 | 58 |\n" in first
    assert "2 hidden layers (300-100 ReLU); its own accuracy is 80.0 % on the images and 10.0 % on the adversarial" in first
    assert "5 hidden layers (300-200-100-100-100 ReLU)" in second


def test_several_seeds_are_a_mean_and_the_widest_interval_is_told():
    text = by_hand((0, 123), lambda config: (9, 4 if config.seed == 0 else 7, 5))
    assert "\n| absolute | 90.0 | 55.0 | 50.0 | 100.0 | 68.8 | 62.5 | 96 | 53 | 53 |\n" in text  # (50 + 87.5) / 2
    assert "Seeds 0, 123, means; 95% intervals for one seed are at most 68.6 points wide." in text


def test_another_noise_scale_has_a_row_of_its_own():
    assert row_name(NoisyModel((20,), noise_scale=(2**0.5,))) == "threshold, σ = 1.41"


# -- figures -----------------------------------------------------------------------------------------------------------------


def test_every_figure_is_drawn(done):
    out, _ = done
    assert sorted(path.name for path in out.glob("*.png")) == FIGURES
    assert all((out / name).read_bytes().startswith(b"\x89PNG") for name in FIGURES)


def test_the_pairs_that_are_drawn_are_the_first_images(done, small):
    out, _ = done
    pairs = read_npz(pictures_path(out, results_in(out)[0][0]))
    assert pairs["x"].shape == pairs["x_adv"].shape == (8, 14, 14)
    np.testing.assert_array_equal(pairs["x"].reshape(8, -1), small.x_test[:8] * np.float32(1 / 255))
    assert np.abs(pairs["x_adv"] - pairs["x"]).max() == pytest.approx(0.1)


def test_networks_with_noise_and_without_have_a_validation_loss_and_perceptrons_have_none(done):
    out, _ = done
    for config, record in results_in(out):
        target, substitute = (read_run(out / "runs" / name).metrics() for name in record["runs"])
        assert [each["epoch"] for each in target] == list(range(1, config.target.epochs + 1))
        assert all(0 < each["validation_loss"] < 10 for each in target)
        assert all(each["validation_loss"] is None for each in substitute)


def test_curves_of_runs_from_before_the_validation_loss_are_drawn_without_it(done, tmp_path):
    out, _ = done
    results = results_in(out)
    for _, record in results:
        source, copy = out / "runs" / record["runs"][0], tmp_path / "runs" / record["runs"][0]
        copy.mkdir(parents=True, exist_ok=True)
        lines = [json.loads(line) for line in (source / "metrics.jsonl").read_text().splitlines()]
        old = [{name: value for name, value in line.items() if name != "validation_loss"} for line in lines]
        (copy / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in old))
        (copy / "config.json").write_bytes((source / "config.json").read_bytes())
        manifest = json.loads((source / "manifest.json").read_text())
        del manifest["metrics_sha256"]  # which came later still
        (copy / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "experiments").mkdir()
    path = pictures_path(out, results[0][0])
    (tmp_path / "experiments" / path.name).write_bytes(path.read_bytes())
    for name, figure in figures(Results(results, tmp_path)).items():
        save_figure(figure, tmp_path / f"{name}.png")
    same = {name: (tmp_path / name).read_bytes() == (out / name).read_bytes() for name in FIGURES}
    assert same == {name: name != "fig5-losses.png" for name in FIGURES}


# -- going on ----------------------------------------------------------------------------------------------------------------


def test_stopped_and_taken_up_again_it_does_nothing_twice(done, small, tmp_path, monkeypatch):
    monkeypatch.setattr(glr_tables, "ROWS", ROWS[3:5])
    monkeypatch.setattr(glr_tables, "PAPERS_STEP", ())
    study = dataclasses.replace(GLR_TABLES, figures=None)
    list(carry_out(study, "smoke", (0,), small, tmp_path / "elsewhere" / "whole"))
    for stop in (2, 9):
        progress = carry_out(study, "smoke", (0,), small, tmp_path / "stopped")
        list(itertools.islice(progress, stop))
        progress.close()
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "stopped" / "experiments").glob("*.json")}
    assert kept
    list(carry_out(study, "smoke", (0,), small, tmp_path / "stopped"))
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert (tmp_path / "stopped" / "table.md").read_text() == (tmp_path / "elsewhere" / "whole" / "table.md").read_text()
    row = re.search(r"\| threshold \| .*", (tmp_path / "stopped" / "table.md").read_text())[0]
    assert row in (done[0] / "table.md").read_text()  # the same row, whatever stands beside it


def test_settings_are_read_at_the_head_of_the_file(monkeypatch):
    changed = ROWS[3]._replace(learning=LearningSettings("rao-blackwell", 10, "score", 0.5))
    monkeypatch.setattr(glr_tables, "ROWS", (changed,))
    target = plan(DATA, "course", (0,))[0].target
    assert (target.model.estimator, target.model.replications, target.model.last_layer) == ("rao-blackwell", 10, "score")
    assert target.learning_rate == 0.5
