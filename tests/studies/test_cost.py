"""The cost of an accuracy: where learning stops, what is counted, which rate is chosen, and what the table makes of it."""

import dataclasses

import pytest
from written import written

from minicereb.errors import InputError
from minicereb.experiments.architectures import CerebellumModel, NoisyModel, build_learner
from minicereb.experiments.configs import Data, Train
from minicereb.experiments.kinds.time_to_accuracy import FastestAgain, TimeToAccuracy, evaluations_per_image, fastest
from minicereb.experiments.laboratory import Laboratory
from minicereb.learning.training import Position, Split, train
from minicereb.report.figures import svg
from minicereb.studies import passes
from minicereb.studies.cost import figures, plan, table
from minicereb.studies.results import Results


@pytest.fixture
def config(strokes):
    learning = Train(NoisyModel((8,)), Data("strokes", strokes.sha256), 25, 1, 0.02, "adam")
    return TimeToAccuracy(learning, 1.0, 11, 44, 60.0)


def carry_out(config, strokes, out):
    steps, doing = Laboratory(strokes, out).run_experiment(config), []
    while True:
        try:
            doing.append(next(steps))
        except StopIteration as end:
            return end.value, doing


def test_it_learns_as_a_training_does(config, strokes, tmp_path):
    record, _ = carry_out(config, strokes, tmp_path)
    learner, split = build_learner(config.train, strokes), Split(strokes, config.train.validation, config.train.seed)
    epochs = [done for _, done in train(learner, split, 2, config.train.seed, Position(), {}) if done]
    assert [steps for steps, _, _ in record["curve"]] == [11, 22, 33, 44]
    assert [record["curve"][look][2] for look in (1, 3)] == [done.validation_accuracy for done in epochs]


def test_it_stops_at_the_first_look_that_is_good_enough(config, strokes, tmp_path):
    whole, _ = carry_out(config, strokes, tmp_path)
    assert not whole["reached"]
    assert whole["steps"] == 44
    accuracies = [accuracy for _, _, accuracy in whole["curve"]]
    target = sorted(accuracies)[1]
    look = next(number for number, accuracy in enumerate(accuracies) if accuracy >= target)
    record, _ = carry_out(dataclasses.replace(config, target=target), strokes, tmp_path)
    assert record["reached"]
    assert record["steps"] == 11 * (look + 1)
    assert [(steps, accuracy) for steps, _, accuracy in record["curve"]] == [(s, a) for s, _, a in whole["curve"][: look + 1]]
    assert record["accuracy"] >= target


def test_it_stops_when_the_seconds_are_over_and_counts_what_it_did(config, strokes, tmp_path):
    record, _ = carry_out(dataclasses.replace(config, limit_seconds=1e-6), strokes, tmp_path)
    assert not record["reached"]
    assert record["steps"] == 11
    assert record["loss_evaluations"] == 11 * 25 * 9
    assert record["images"] == 50
    assert record["seconds"] == record["curve"][0][1] > 1e-6


@pytest.mark.parametrize(
    ("model", "evaluations"),
    [
        (NoisyModel((20,)), 21),
        (NoisyModel((20, 10), replications=4), 124),
        (NoisyModel((20,), estimator="plain", replications=100, last_layer="score"), 100),
        (NoisyModel((20,), estimator="plain", replications=100, last_layer="score", placement="in-turn"), 200),
        (NoisyModel((20,), estimator="resample"), 81),
        (NoisyModel((20,), noise_scale=(1.0,), network="cnn", channels=(4, 4), probes=10), 41),
        (NoisyModel((20,), noise_scale=(1.0,), network="cnn", channels=(4, 4), probes=10, placement="in-turn"), 44),
        (NoisyModel((20,), noise_scale=(1.0,), network="recurrent", probes=10), 11),
        (NoisyModel((20,), noise_scale=(1.0,), network="spiking", estimator="resample", probes=10, replications=2), 82),
        (CerebellumModel("full", 10), 1),
    ],
)
def test_evaluations_of_the_loss_count_the_runs_that_flips_take(model, evaluations):
    assert evaluations_per_image(model) == evaluations


def run(reached, steps, accuracy=0.9, seconds=1.0, rate=0.01):
    curve = [[steps / 2, seconds / 2, accuracy / 2], [steps, seconds, accuracy]]
    numbers = {"steps": steps, "seconds": seconds, "accuracy": accuracy, "loss_evaluations": 100 * steps, "images": 50}
    return {"reached": reached, "learning_rate": rate, **numbers, "test_accuracy": 0.895, "curve": curve}


@pytest.mark.parametrize(
    ("records", "chosen"),
    [
        ([run(True, 30, seconds=1.0), run(True, 20, seconds=9.0), run(False, 10)], 1),
        ([run(False, 30, 0.7), run(False, 20, 0.8), run(False, 10, 0.6)], 1),
    ],
)
def test_the_fastest_took_the_fewest_steps_or_came_nearest(records, chosen):
    assert fastest(records) == chosen


def test_the_fastest_is_done_again_with_another_seed_after_those_it_is_chosen_from(config, strokes, tmp_path):
    low, high = (
        dataclasses.replace(config, limit_steps=11, train=dataclasses.replace(config.train, learning_rate=rate))
        for rate in (1e-6, 0.02)
    )
    record, doing = carry_out(FastestAgain((low, high), 3), strokes, tmp_path)
    assert record["learning_rate"] == 0.02
    assert len(list((tmp_path / "experiments").iterdir())) == 3
    alone, _ = carry_out(dataclasses.replace(high, train=dataclasses.replace(high.train, seed=3)), strokes, tmp_path / "alone")
    assert alone["accuracy"] == record["accuracy"]
    assert alone["test_accuracy"] == record["test_accuracy"]
    assert carry_out(FastestAgain((low, high), 3), strokes, tmp_path) == (record, [])


@pytest.mark.parametrize("changes", [{"target": 0}, {"target": 1.1}, {"every": 0}, {"limit_steps": 0}, {"limit_seconds": 0}])
def test_settings_that_cannot_be_used_are_refused(config, changes):
    with pytest.raises(InputError):
        dataclasses.replace(config, **changes)


@pytest.mark.parametrize("changes", [{"schedule": "cosine"}, {"validation": 0.0}])
def test_a_training_that_has_no_end_or_nothing_to_look_at_is_refused(config, changes):
    train = dataclasses.replace(config.train, **changes)
    with pytest.raises(InputError, match=next(iter(changes))):
        dataclasses.replace(config, train=train)


def test_a_choice_needs_something_to_choose_from():
    with pytest.raises(InputError, match="among"):
        FastestAgain((), 0)


SLOWER = {1: 1, 100: 10, 10_000: 100}  # by K


def invented(plain_reaches=True):
    """Records: at the best rate flips take 100 steps and 1 s, with the further seeds 2 s and 3 s; plain is ever slower."""
    results = []
    for config in plan(Data("mnist14", "0" * 64), "course", (5,)):
        again = isinstance(config, FastestAgain)
        learning = (config.among[0] if again else config).train
        slower, rate = SLOWER[learning.model.replications], learning.learning_rate
        if again:
            record = run(plain_reaches or slower < 100, 100, seconds=slower * (config.seed - 4.0), rate=0.02)
        else:
            record = run(rate < 0.05, 100 if rate == 0.02 else 300, seconds=1.0 * slower, rate=rate)
        results.append((config, record))
    return results


def row(text, name, number=0):
    return [line for line in text.splitlines() if line.startswith(f"| {name} |")][number].split(" | ")[1:]


def test_the_plan_tries_every_rate_once_and_the_fastest_with_three_seeds_in_all():
    experiments = plan(Data("mnist14", "0" * 64), "course", (5,))
    assert [type(each) for each in experiments[:7]] == [TimeToAccuracy] * 5 + [FastestAgain] * 2
    assert [each.seed for each in experiments if isinstance(each, FastestAgain)] == [6, 7] * 3
    further = plan(Data("mnist14", "0" * 64), "paper", (0, 123))
    assert [each.seed for each in further if isinstance(each, FastestAgain)] == [123, 124] * 3


def test_the_table_compares_the_means_at_the_fastest_rate():
    text = written(table, invented())
    assert row(text, "flip, K = 1")[:4] == ["0.02", "3 of 3", "2 (1 to 3)", "100"]
    assert row(text, "plain, K = 100")[2:] == ["20 (10 to 30)", "100", "0.01", "89.5", "10 |"]
    assert row(text, "plain, K = 10,000")[-1] == "100 |"
    assert row(text, "flip, K = 1", 1) == ["300", "100", "300", "not in 300 (90.0%)", "not in 300 (90.0%) |"]


def test_runs_that_did_not_reach_it_make_bounds():
    cells = row(written(table, invented(plain_reaches=False)), "plain, K = 10,000")
    assert cells[1:3] == ["1 of 3", "> 200 (100 to 300)"]
    assert cells[-1] == "> 100 |"


def test_the_figure_is_drawn():
    assert svg(figures(Results(invented()))["cost"])


def test_passes_are_related_to_the_best_earlier_way_with_an_interval_over_seeds():
    """Invented records: each way takes a fixed number of passes, but for the seed; flips do not reach the target."""
    experiments, found = passes.plan(Data("mnist14", "0" * 64), "course", (0,)), []
    took = dict(zip(passes.WAYS, (6.0, 3.0, 2.0, 1.5, 0.75, 0.6), strict=True))
    way_of = {index: name for index, name in enumerate(name for name in passes.WAYS for _ in range(3))}
    for index, config in enumerate(experiments):
        name, again = way_of[index], isinstance(config, FastestAgain)
        rate = config.among[0].train.learning_rate if again else config.train.learning_rate
        slower = 1 if again or rate == 0.006 else 2
        seed = config.seed if again else config.train.seed
        record = {
            "reached": name != "flip, outputs resampled",
            "learning_rate": rate,
            "steps": int(1000 * took[name] * slower),
            "seconds": 10.0,
            "loss_evaluations": int(1e6 * took[name] * slower * (1 + (name == "K = 1, all three") * 0.1 * seed)),
            "accuracy": 0.9,
            "images": 4200,
            "test_accuracy": 0.9,
            "curve": [],
        }
        found.append((config, record))
    shown, legend = passes.table(Results(found))
    rows = {row[0]: row[1:] for row in shown.rows}
    assert shown.head[4] == "passes / those of Rao-Blackwell, K = 4"
    assert rows["flip, outputs resampled"][1:4] == ["0 of 3", "> 6", "> 2 [2, 2]"]
    assert rows["K = 1, baseline by image"][2:4] == ["1.5", "0.5 [0.5, 0.5]"]
    assert rows["K = 1, all three"][2] == "0.66"
    assert rows["K = 1, all three"][3].startswith("0.219 [")  # the geometric mean of 0.2, 0.22 and 0.24 is 0.2194
    assert "4,200 held-out" in legend.text
