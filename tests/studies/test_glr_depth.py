"""The tables of glr-depth from invented records."""

from written import written

from minicereb.experiments.configs import Data
from minicereb.experiments.evaluation.settings import EvaluatedModel
from minicereb.experiments.kinds.time_to_accuracy import TimeToAccuracy, evaluations_per_image
from minicereb.report.figures import svg
from minicereb.studies.glr_depth import NETWORKS, WAYS, figures, place_of, plan, table
from minicereb.studies.results import Results

SHARE, INTERVAL = {"attacked": 0.5, "certified": 0.25}, {"attacked_interval": [0.3, 0.7], "certified_interval": [0.1, 0.4]}


def invented(seeds=(0,)):
    found = []
    for config in plan(Data("mnist14", "0" * 64), "course", seeds):
        network, way = place_of(config)
        if isinstance(config, TimeToAccuracy):
            reached = (network, config.train.seed) != ("4 hidden layers", 0)
            steps = 100 + 100 * config.train.seed
            evaluations = steps * 25 * evaluations_per_image(config.train.model, (14, 14))
            record = {"reached": reached, "steps": steps, "seconds": 2.0, "loss_evaluations": evaluations, "images": 3500}
            record |= {"curve": [[20, 0.4, 0.3], [steps, 2.0, 0.86]], "test_accuracy": 0.85, "accuracy": 0.86}
        else:
            record = {
                "test_accuracy": 0.9 + 0.02 * config.train.seed,
                "test_images": 28_000,
                "run": f"{network} {way} {config.seed}",
            }
            record |= {"clean_accuracy": 0.88, "images": config.images}
            record["epsilons"] = [{"epsilon": e, **SHARE, **INTERVAL} for e in config.epsilons]
        found.append((config, record))
    return Results(found)


def row(text, name, number=0):
    return [line for line in text.splitlines() if line.startswith(f"| {name} |")][number].strip("| ").split(" | ")[1:]


def test_every_network_learns_in_every_way():
    places = {place_of(config) for config in plan(Data("mnist14", "0" * 64), "course", (0,))}
    assert places == {(network, way) for network in NETWORKS for way in WAYS}


def test_the_table_shows_passes_and_marks_runs_that_did_not_reach_the_target():
    text = written(table, invented())
    assert row(text, "1 hidden layer: scores")[2:] == ["50", "0.125", "100", "2"]
    assert row(text, "1 hidden layer: one neuron at a time")[2:4] == ["21", "0.0525"]
    assert row(text, "convolutional: one neuron at a time")[2] == "33"  # one run and 32 changed units
    assert row(text, "spiking: one neuron at a time")[2] == "81"  # one run and 20 neurons in 4 steps
    assert row(text, "spiking: surrogate")[2] == "1"
    assert row(text, "recurrent: one neuron at a time")[2] == "65"  # one run and 64 changed units
    assert row(text, "spiking: surrogate")[0] == "0.024"
    assert row(text, "4 hidden layers: surrogate")[3:] == ["> 0.0025", "> 100", "> 2"]
    assert row(text, "recurrent: surrogate", 1)[:3] == ["88.0 (75.7-95.5)", "50.0 (35.5-64.5)", "25.0 (13.1-38.2)"]


def test_over_seeds_the_table_has_means():
    text = written(table, invented((0, 1)))
    assert row(text, "2 hidden layers: surrogate")[1].startswith("91.0 (")
    assert row(text, "2 hidden layers: surrogate")[4] == "150"
    assert row(text, "4 hidden layers: surrogate")[4] == "> 150"
    assert "seeds 0, 1" in text


def test_the_evaluations_judge_the_mean_answer():
    evaluated = [config for config in plan(Data("mnist14", "0" * 64), "paper", (0, 1)) if isinstance(config, EvaluatedModel)]
    assert {config.answer for config in evaluated} == {"lap"}
    assert len(evaluated) == 2 * len(NETWORKS) * len(WAYS)


def test_the_figure_has_a_panel_for_each_way():
    drawn = figures(invented((0, 1)))["depth"]
    assert [axes.get_title() for axes in drawn.axes] == [f"by {way}" for way in WAYS]
    assert [len(axes.lines) for axes in drawn.axes] == [len(NETWORKS)] * 3
    assert svg(drawn)
