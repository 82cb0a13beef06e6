"""A study of one's own is one short declaration, and known to every command once a package offers it as an entry point."""

import json
from importlib.metadata import EntryPoint
from pathlib import Path

import own_study
import pytest
from click.testing import CliRunner

from minicereb import extensions
from minicereb.cli.main import main
from minicereb.errors import ExtensionError, InputError
from minicereb.extensions import offered
from minicereb.studies import STUDIES, all_studies, study_named


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """Offer a study by the name of an entry point."""

    def install(name="steps", value="own_study:STUDY"):
        point = EntryPoint(name, value, "minicereb.studies")
        monkeypatch.setattr(extensions, "entry_points", lambda group: [point] if group == point.group else [])
        offered.cache_clear()

    monkeypatch.chdir(tmp_path)
    yield install
    offered.cache_clear()


def run(*arguments):
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_declaration_has_under_forty_lines():
    assert len(Path(own_study.__file__).read_text(encoding="utf-8").splitlines()) < 40


def test_every_command_knows_it(installed):
    installed()
    assert "Do more steps of PGD break more images?" in run("study", "list")
    listed = json.loads(run("study", "list", "--json"))["studies"]
    assert [each["name"] for each in listed] == [*STUDIES, "steps"]
    assert "3 of 3 jobs to do" in run("study", "steps", "--dry-run")
    printed = run("study", "steps")
    assert "| steps | robust accuracy, % |\n| --- | --- |\n| 1 | " in printed
    assert "3 of 3 jobs done" in run("study", "status", "runs/study-steps-smoke")
    page = run("report", "runs/study-steps-smoke", "--print")
    assert "Do more steps of PGD break more images?" in page
    assert "| steps | robust accuracy, % |" in page


def test_without_it_the_folder_is_still_reported_by_its_table(installed, monkeypatch):
    installed()
    run("study", "steps")
    monkeypatch.setattr(extensions, "entry_points", lambda group: [])
    offered.cache_clear()
    assert "| steps | robust accuracy, % |" in run("report", "runs/study-steps-smoke", "--print")
    with pytest.raises(InputError, match="study: 'steps'"):
        study_named("steps")


@pytest.mark.parametrize(("name", "value"), [("width", "own_study:STUDY"), ("steps", "own_study:plan"), ("steps", "no:thing")])
def test_what_is_no_study_or_has_a_name_of_ours_is_refused(installed, name, value):
    installed(name, value)
    with pytest.raises(ExtensionError, match="minicereb.studies"):
        all_studies()
