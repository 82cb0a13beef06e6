"""How the protocol's models learn, and how what was found of them is told."""

import dataclasses

import pytest

from minicereb import datasets
from minicereb.errors import InputError
from minicereb.experiments.architectures import CerebellumModel
from minicereb.experiments.configs import Data
from minicereb.experiments.evaluation.settings import EvaluatedModel
from minicereb.experiments.kinds.attacked import AttackedModel
from minicereb.studies import paper_versus_code, sparsity, study_named
from minicereb.studies.protocol import as_coded, as_printed, examined, published
from minicereb.studies.published import CEREBELLUM, logged_for
from minicereb.studies.results import Results
from minicereb.studies.tables import bracket_table, by_model, over_epsilon, paper_table

DATA = Data("mnist", "0" * 64)
SPARSE = CerebellumModel("random", 200_000, 4)


def results_of(train, accuracy, left):
    """Results as a study has them: `left` of 8 images under the evaluation, everything else `accuracy`."""
    results = []
    for config in examined(train, "smoke"):
        record = {"run": f"seed {train.seed}", "test_accuracy": accuracy, "test_images": 1_000, "images": config.images}
        if isinstance(config, EvaluatedModel):
            entry = {"attacked": left, "certified": None, "by_attack": {"pgd-mse": accuracy}}
            record |= {"clean_accuracy": accuracy, "epsilons": [entry for _ in config.epsilons]}
        else:
            record |= {"robust_accuracy": accuracy}
        results.append((config, record))
    return Results(results)


def test_the_paper_and_its_code_differ_in_what_they_say_they_do():
    printed, coded = as_printed(SPARSE, DATA, 10, 0), as_coded(SPARSE, DATA, 10, 0)
    assert (printed.batch_size, printed.choose_on, printed.model.replacement) == (10, "validation", False)
    assert printed.validation == pytest.approx(1 / 12)
    assert (coded.batch_size, coded.choose_on, coded.model.replacement, coded.validation) == (1, "test", True, 0.0)
    assert printed.learning_rate == coded.learning_rate == 0.5 / 200_000
    assert not as_coded(CerebellumModel("full", 1_000), DATA, 10, 0).model.replacement


def test_every_way_between_them_changes_one_thing():
    ways = dict(paper_versus_code.ways(SPARSE, DATA, 10, 0))
    coded, printed = ways.pop("as the code has it"), ways.pop("as the paper has it")
    assert (coded, printed) == (as_coded(SPARSE, DATA, 10, 0), as_printed(SPARSE, DATA, 10, 0))
    expected = {
        "batch of ten": {"batch_size"},
        "without replacement": {"model"},
        "chosen on held-out images": {"validation", "choose_on"},
    }
    everything = coded
    for name, train in ways.items():
        changed = {f.name for f in dataclasses.fields(train) if getattr(train, f.name) != getattr(coded, f.name)}
        assert changed == expected[name]
        everything = dataclasses.replace(everything, **{field: getattr(train, field) for field in changed})
    assert everything == printed


def test_models_at_paper_scale_are_those_that_figures_are_published_for():
    published = {key for key in CEREBELLUM if key[0] is not None and key[2]}
    models = [train.model for train in sparsity.trainings(DATA, "paper", 0)]
    planned = {(model.inputs_per_cell, model.cells, model.ltd) for model in models}
    assert planned - published == {(None, 5_970, True)}
    for inputs, cells, _ in published:
        assert cells == round(4_800_000 / (inputs + 20))


def test_published_figures_stand_beside_ours_and_only_where_there_are_some():
    base = as_printed(CerebellumModel("full", 1_000, ltd=False), DATA, 10, 0)
    other = results_of(as_printed(CerebellumModel("full", 999), DATA, 10, 0), 0.8, 0.25)
    table, legend = paper_table(by_model(Results(results_of(base, 0.9, 0.5) + other)))
    assert table.rows[0][1:5] == ["90.0 (88.0-91.8)", "93.14", "90.0 (78.2-96.7)", "20.3"]
    assert table.rows[1][2] == "-"
    assert "Published: " in legend.text
    assert logged_for(base) is not None
    assert logged_for(dataclasses.replace(base, data=Data("strokes", "0" * 64))) is None


def test_a_report_shows_published_figures_for_just_what_they_are_about():
    coded = as_coded(CerebellumModel("full", 1_000, ltd=False), DATA, 10, 0)
    told = [published(experiment) for experiment in examined(coded, "paper")]
    assert told == [{}, {"fgsm, mse, ε = 0.1": "20.3"}, {"pgd, mse, ε = 0.1, 40 steps of 0.01, last iterate": "9.3"}, {}, {}]
    assert not any(published(each) for each in examined(as_coded(CerebellumModel("full", 999), DATA, 10, 0), "paper"))


def test_of_another_attack_or_iterate_nothing_is_published():
    train = as_coded(CerebellumModel("full", 1_000, ltd=False), DATA, 10, 0)
    papers = next(each for each in examined(train, "paper") if published(each) and each.attack.method == "pgd")
    for change in ({"keep": "best"}, {"steps": 80}, {"step_size": 0.02}, {"objective": "margin"}):
        assert published(dataclasses.replace(papers, attack=dataclasses.replace(papers.attack, **change))) == {}


@pytest.mark.parametrize("name", ["sparsity", "optimum", "paper-versus-code"])
def test_studies_made_for_784_inputs_refuse_others(name):
    study_named(name).check(datasets.load("strokes", train=10, test=10))
    with pytest.raises(InputError, match="images of 784 pixels"):
        study_named(name).check(datasets.load("strokes14", train=10, test=10))


def test_seeds_are_one_row_and_their_mean():
    trains = [as_printed(SPARSE, DATA, 10, seed) for seed in (0, 123)]
    found = by_model(Results(results_of(trains[0], 0.9, 0.5) + results_of(trains[1], 0.7, 0.25)))
    assert len(found) == 1
    assert bracket_table(found)[0].rows == [["random k=4, 200,000 cells, LTD, batch 10", "37.5 (0.0-100.0)"]]
    ((epsilons, shares),) = over_epsilon(found).values()
    assert epsilons.tolist() == [0.0, 0.1]
    assert shares == pytest.approx([0.8, 0.375])


def test_where_every_image_of_every_model_is_broken_a_sentence_says_so():
    results = results_of(as_printed(SPARSE, DATA, 10, 0), 0.9, 0.0)
    table, legend = bracket_table(by_model(results))
    assert table.head == ["model"]
    assert legend.text.endswith("At ε = 0.1 every image of every model is broken (0 of 8 images: at most 36.9%).")
    for record in results.where(EvaluatedModel).records:
        record["epsilons"][0]["certified"] = 0.0
    assert "At ε = 0.1 nothing is certified (0 of 8 images: at most 36.9%)." in bracket_table(by_model(results))[1].text


def test_every_model_is_under_the_papers_attacks_and_the_evaluation():
    kinds = [type(config) for config in examined(as_printed(SPARSE, DATA, 10, 0), "course")]
    assert kinds == [EvaluatedModel, *[AttackedModel] * 4]
