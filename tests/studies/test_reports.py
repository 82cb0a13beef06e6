"""Reports on folders as experiments leave them: a study, a run, an evaluation; and what they tell of any other."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from commands import invoke
from json_files import read_any

from minicereb import datasets
from minicereb.errors import DataError, InputError
from minicereb.experiments.architectures import CerebellumModel
from minicereb.experiments.configs import Data, Train, describe_training
from minicereb.experiments.evaluation.own_model import _check_folder
from minicereb.experiments.evaluation.settings import EvaluatedModel
from minicereb.experiments.identity import config_hash, from_json
from minicereb.experiments.pages import checklists
from minicereb.files import write_json
from minicereb.report.page import Command, Picture, Table, Text, html, write
from minicereb.robustness.checklist import CHECKS
from minicereb.studies import STUDIES
from minicereb.studies.glr_tables import GLR_TABLES
from minicereb.studies.report import report_on
from minicereb.studies.study import Study, carry_out, read_study

BLOCKS = [Table(["model", "said"], [["a", "1.0"]]), Text("In %.")]
HOSTILE = '<b onclick="alert(1)">mnist</b>|'


def plan(data, scale, seeds):
    train = Train(CerebellumModel("random", 300, 4), data, 10, 1, 0.5 / 300)
    return [EvaluatedModel(train, (0.02, 0.1), 8, ("pgd-mse", "apgd-margin"))]


@pytest.fixture(scope="module")
def small():
    return datasets.load("strokes", train=400, test=60)


@pytest.fixture(autouse=True)
def _the_same_data(small, monkeypatch):
    monkeypatch.setattr(datasets, "load", lambda name: small)


@pytest.fixture(scope="module")
def study(tmp_path_factory, small):
    folder = tmp_path_factory.mktemp("studies") / "study-toy"
    toy = Study("toy", "Does it hold?", plan, lambda results: BLOCKS, dataset={"smoke": "strokes"})
    list(carry_out(toy, "smoke", (0,), small, folder))
    return folder


@pytest.fixture
def run(study):
    return next((study / "runs").iterdir())


@pytest.fixture
def evaluation(run):
    return next((run / "evaluations").iterdir())


def section(page, title):
    return next(each.blocks for each in page.filled if each.title == title)


def report(*arguments):
    return invoke("report", *arguments)


def test_the_page_of_a_study_has_what_a_reader_asks_for(study):
    page = report_on(study)
    assert page.lead == "Does it hold? Scale smoke, seed 0."
    titles = [each.title for each in page.filled]
    assert titles == [
        "What the paper expects",
        "Figures",
        "Table",
        "Masking checklist",
        "Settings",
        "Versions",
        "To reproduce it",
        "Each accuracy with its interval",
    ]
    assert section(page, "Table") == BLOCKS
    record = read_any(study / "study.json")["results"][0]["record"]
    rows = section(page, "Each accuracy with its interval")[1].rows
    low, high = record["epsilons"][0]["attacked_interval"]
    assert rows[0][2:5] == [f"{100 * record['epsilons'][0]['attacked']:.1f}", f"{100 * low:.1f} to {100 * high:.1f}", "8"]
    assert [row[1] for row in rows] == [f"{side}, OT, ε = {e}" for e in ("0.02", "0.1") for side in ("attacked", "certified")]
    assert ["train.model.cells", "300"] in section(page, "Settings")[0].rows
    assert section(page, "To reproduce it") == [Command("minicereb study toy --scale smoke --seed 0 --dataset strokes")]
    assert section(page, "Figures")[0].name == "accuracy-0"  # the study itself draws none


def test_the_checklist_is_counted_and_what_fails_or_warns_is_told(study):
    counts = section(report_on(study), "Masking checklist")[1]
    assert [row[0] for row in counts.rows] == list(CHECKS)
    assert all(sum(map(int, row[1:])) == 2 for row in counts.rows)
    lines = [{"name": "answers-repeat", "verdict": verdict, "reason": f"so {verdict}"} for verdict in ("warn", "pass", "fail")]
    blocks = checklists([{"model": "a", "epsilons": [{"epsilon": 0.1, "checklist": lines}]}])
    assert blocks[1].rows == [["answers-repeat", "1", "1", "1", "0"]]
    assert blocks[3].rows == [["a", "0.1", "answers-repeat", v, f"so {v}"] for v in ("fail", "warn")]
    assert checklists([]) == []


def test_figures_of_the_study_are_shown_as_drawn_and_never_those_of_a_report(study, tmp_path):
    folder = tmp_path / "study"
    shutil.copytree(study, folder)
    (folder / "two.png").write_bytes(b"png")
    (folder / "one.png").write_bytes(b"png")
    (folder / "one.svg").write_bytes(b"<svg/>")
    (folder / "report-accuracy-0.svg").write_bytes(b"<svg/>")
    (folder / "page.html").touch()  # a report under another name
    (folder / "page-one.svg").write_bytes(b"<svg/>")
    shown = [(each.name, each.ending) for each in section(report_on(folder), "Figures")]
    assert shown == [("one", ".svg"), ("two", ".png")]


def test_the_page_of_a_run_has_its_attacks_and_evaluations(run):
    train = read_any(run / "config.json")["config"]
    attack = {"kind": "Attack", "method": "pgd", "objective": "mse", "epsilon": 0.1, "steps": 40, "step_size": 0.01}
    record = {"method": "pgd", "objective": "mse", "epsilon": 0.1, "images": 8, "clean_accuracy": 0.75, "robust_accuracy": 0.5}
    record |= {"robust_interval": [0.15, 0.85], "seconds": 1.0}
    config = {"kind": "AttackedModel", "train": train, "attack": attack, "images": 8}
    write_json(run / "attacks" / f"{config_hash(from_json(config))[:16]}.json", {"config": config, "record": record})
    page = report_on(run)
    assert section(page, "Attacks")[0].rows == [["pgd, mse, ε = 0.1, 40 steps of 0.01", "0", "8", "75.0", "50.0", "15.0 to 85.0"]]
    assert {type(block) for block in section(page, "Learning curve")} == {Picture, Table}
    assert [type(block) for block in section(page, "Evaluations")] == [Text, Picture, Table]
    assert ["model.cells", "300"] in section(page, "Settings")[0].rows


def test_a_run_that_is_not_complete_says_so(run, tmp_path):
    shutil.copy(run / "config.json", tmp_path)
    assert "Not complete" in section(report_on(tmp_path), "Result")[0].text


def test_the_page_of_an_evaluation_brackets_and_names_its_command(evaluation):
    page = report_on(evaluation)
    picture, bracket = section(page, "Between attacked and certified")[:2]
    assert picture.ending == ".svg"
    assert "first 8 test images" in picture.caption
    assert [row[0] for row in bracket.rows] == ["0.02", "0.1"]
    assert all("(" in cell for row in bracket.rows for cell in row[1:3])
    assert [row[0] for row in section(page, "By attack")[1].rows] == ["pgd-mse, alone", "after apgd-margin"]
    verdicts = [row[1] for block in section(page, "Checklist") if isinstance(block, Table) for row in block.rows]
    assert "pass" in verdicts
    (nearest,) = section(page, "Nearest misclassified images")
    assert b"data:image/png;base64" in nearest.content
    assert section(page, "Gradients")[0].name == "gradients"
    (command,) = section(page, "To reproduce it")
    expected = "--epsilon 0.02 --epsilon 0.1 --images 8 --attacks pgd-mse,apgd-margin --norm linf --seed 0 --answer ot"
    assert command.text.endswith(expected)


def test_images_are_not_drawn_from_other_data(evaluation, monkeypatch):
    other = datasets.Dataset("strokes", *(np.zeros((10, 784), dtype=np.uint8), np.zeros(10, dtype=np.int64)) * 2, (28, 28), 10)
    monkeypatch.setattr(datasets, "load", lambda name: other)
    (said,) = section(report_on(evaluation), "Nearest misclassified images")
    assert said.text.startswith("Not drawn: ")
    assert f"strokes holds other data (SHA-256 {other.sha256[:12]}...)" in said.text


def test_an_evaluation_of_an_own_classifier_needs_no_run(evaluation, tmp_path):
    folder = tmp_path / "own"
    shutil.copytree(evaluation, folder)
    write_json(folder / "evaluation.json", {**read_any(folder / "evaluation.json"), "run": "own:linear", "data": "rows.npz"})
    page = report_on(folder)
    (command,) = section(page, "To reproduce it")
    assert command.text.startswith("minicereb evaluate --model own:linear --dataset rows.npz")
    assert "Nearest misclassified images" not in [each.title for each in page.filled]


def test_a_report_does_not_keep_an_own_classifier_from_being_evaluated_again(evaluation, tmp_path):
    folder = tmp_path / "own"
    shutil.copytree(evaluation, folder)
    write(report_on(folder), folder / "report.html")
    (folder / ".evaluation.json.x1y2.part").touch()  # of a process that was killed
    _check_folder(folder)
    (folder / "mine.txt").touch()
    with pytest.raises(InputError, match="nothing but an evaluation"):
        _check_folder(folder)


def test_options_that_the_record_does_not_hold_are_said_to_be_missing(evaluation):
    other = evaluation.with_name("0" * 16)
    shutil.copytree(evaluation, other)
    record = read_any(other / "evaluation.json")
    write_json(other / "evaluation.json", record | {"hash": "0" * 64})
    try:
        assert "further options" in section(report_on(other), "To reproduce it")[1].text
    finally:
        shutil.rmtree(other)


def test_equal_folders_give_equal_bytes_and_names_are_not_taken_for_markup(study, run, evaluation, tmp_path):
    for folder in (study, run, evaluation):
        assert html(report_on(folder)) == html(report_on(folder))
    folder = tmp_path / "hostile"
    shutil.copytree(evaluation, folder)
    record = read_any(folder / "evaluation.json")
    write_json(folder / "evaluation.json", {**record, "run": HOSTILE, "data": HOSTILE, "model": HOSTILE})
    document = html(report_on(folder))
    assert "<b onclick" not in document
    assert "&lt;b onclick" in document


def test_nothing_is_called_better_without_an_interval(study, run, evaluation, tmp_path):
    for folder in (study, run, evaluation):
        _, text, *_ = write(report_on(folder), tmp_path / "page.html")
        assert not {"better", "worse", "best"} & set(text.read_text().replace("keep | best", "").split())


@pytest.mark.parametrize("name", ["ablation", "glr-tables", "transfer"])
def test_models_that_differ_have_different_names(name):
    plan = STUDIES[name].plan(Data("strokes14", "0" * 64), "paper", (0, 1))
    trains = {train for experiment in plan for train in experiment.trainings}
    assert len({describe_training(train) for train in trains}) == len(trains)


def test_every_figure_of_a_study_has_a_caption():
    assert {name for name, each in STUDIES.items() if each.figures} == {name for name, each in STUDIES.items() if each.captions}


def test_every_study_says_what_its_paper_expects_and_what_is_published_stands_beside():
    assert {name for name, each in STUDIES.items() if each.expectation} >= {"objectives", "ablation", "transfer", "glr-tables"}
    experiments = GLR_TABLES.plan(Data("strokes14", "0" * 64), "smoke", (0,))
    printed = [GLR_TABLES.published(each) for each in experiments]
    assert {"filtered original_ot": "98", "filtered adversarial_ot": "45", "filtered adversarial_lap": "45"} in printed


def test_the_command_writes_a_page_and_names_it(study, tmp_path, monkeypatch):
    result = report(study, "--json")
    assert result.exit_code == 0, result.output
    named = json.loads(result.stdout)
    assert named["report"] == str(study / "report.html")
    assert all(study in (study / path).parents for path in named["figures"])
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    result = report(study, "--out", tmp_path / "page.html", "--open")
    assert result.stdout.split() == [str(tmp_path / "page.html"), str(tmp_path / "page.md")]
    assert opened == [(tmp_path / "page.html").as_uri()]
    assert (tmp_path / "page.html").read_bytes() == (study / "report.html").read_bytes()


@pytest.mark.parametrize(
    ("made", "told"),
    [
        ((), "the folder of a study, a run or an evaluation"),
        (("runs/",), "given again, completes it"),
        (("images-000000.npz",), "it has no evaluation.json"),
    ],
)
def test_any_other_folder_is_told_in_one_line(tmp_path, made, told):
    for name in made:
        (tmp_path / name).mkdir() if name.endswith("/") else (tmp_path / name).touch()
    result = report(tmp_path)
    assert result.exit_code == 2
    assert told in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "report.html").exists()


def test_what_is_no_folder_and_a_file_that_is_no_page_are_told(study, tmp_path):
    with pytest.raises(InputError, match="there is no such folder"):
        report_on(tmp_path / "nothing")
    with pytest.raises(InputError, match="this is a file"):
        report_on(study / "study.json")
    result = report(study, "--out", tmp_path / "page.pdf")
    assert result.exit_code == 2
    assert "a file that ends in .html" in result.stderr


@pytest.mark.parametrize(("name", "content"), [("study.json", "[]"), ("study.json", "{"), ("evaluation.json", "{}")])
def test_a_damaged_file_is_named(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=name):
        report_on(tmp_path)


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "docs" / "results").glob("*/study.json")), ids=str)
def test_every_study_in_the_documentation_is_read_again(path):
    assert read_study(path)["results"]
