"""``minicereb task eyelid``: what it prints and writes, and what it says to a mistake."""

import json

import pytest
from commands import invoke
from json_files import read_any
from PIL import Image

from minicereb.experiments.identity import from_json
from minicereb.tasks.eyelid_conditioning import Eyelid

QUICK = ("task", "eyelid", "--cells", "300", "--trials", "6")


def test_a_session_is_told_drawn_and_kept(tmp_path):
    result = invoke(*QUICK, "--extinction", 2, "--out", "session", "--animate", "films/eyelid.gif")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["trial", "phase", "closure", "%", "peak", "ms"]
    assert any(line.startswith("extinction: ") for line in lines)
    written = {path.name for path in (tmp_path / "session").iterdir()}
    drawn = {f"{name}.{ending}" for name in ("raster", "synapses", "lids") for ending in ("png", "svg")}
    assert written == {"session.json"} | drawn
    stored = read_any(tmp_path / "session" / "session.json")
    assert from_json(stored["config"]).session == Eyelid(cells=300, acquisition=6, extinction=2)
    assert len(stored["record"]["closure"]) == 8
    with Image.open(tmp_path / "films" / "eyelid.gif") as film:
        assert film.n_frames == 8
    assert [path.name for path in (tmp_path / "films").iterdir()] == ["eyelid.gif"]


def test_the_document_holds_settings_and_record(tmp_path):
    arguments = (*QUICK, "--interval", 250, "--protocol", "trace", "--lesion", "golgi", "--lesion", "nuclei", "--json")
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    settings = Eyelid(250, "trace", acquisition=6, cells=300, lesions=("golgi", "nuclei"))
    assert from_json(told["settings"]) == settings
    assert told["closure"] == [0] * 6
    assert (told["peak"], told["criterion"], told["files"]) == (None, {"acquisition": None}, [])
    assert invoke(*arguments).stdout == result.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--interval", 2_500), "interval: 2500 is not valid; expected at most 1280 ms, so that the US is within the trial"),
        (("--interval", -500), "interval: -500 is not valid; expected a whole number above 0, a multiple of 5, in ms"),
        (("--us", -5), "us: -5 "),
        (("--lesion", "liver"), "'liver' is not one of 'granule', 'granule-shuffle', 'golgi', "),
        (("--trials", -1), "trials: -1 "),
        (("--animate", "film.mp4"), "animate: 'film.mp4' "),
        (("--protocol", "backward"), "'backward' is not one of"),
    ],
)
def test_a_mistake_is_told_in_one_line(arguments, said, tmp_path):
    result = invoke(*QUICK, *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""
    assert not list(tmp_path.iterdir())


def test_a_file_where_the_folder_should_be_is_left_alone(tmp_path):
    (tmp_path / "taken").write_text("mine")
    result = invoke(*QUICK, "--out", "taken")
    assert (result.exit_code, result.stderr) == (2, "Error: Invalid value for '--out': Directory 'taken' is a file.\n")
    assert (tmp_path / "taken").read_text() == "mine"
