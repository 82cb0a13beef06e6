"""A data set that another package offers: known to every command by its name."""

import json
import sys
from importlib.metadata import EntryPoint
from types import ModuleType

import numpy as np
import pytest
from click.testing import CliRunner

from minicereb import extensions
from minicereb.cli.main import main
from minicereb.datasets import Dataset, load
from minicereb.datasets.registry import NamedDataset, names
from minicereb.errors import ExtensionError, InputError


def stripes(bright=255):
    """Horizontal or vertical stripes."""
    rows = np.zeros((40, 8, 8), dtype=np.uint8)
    rows[::2, ::2], rows[1::2, :, ::2] = bright, bright
    labels = np.arange(40) % 2
    return Dataset("whatever", rows.reshape(40, 64)[:30], labels[:30], rows.reshape(40, 64)[30:], labels[30:], (8, 8), 2)


@pytest.fixture
def offered(monkeypatch):
    """Offer the objects of a fake package as data sets."""

    def offer(**objects):
        package = ModuleType("fake_package")
        vars(package).update(objects)
        monkeypatch.setitem(sys.modules, "fake_package", package)
        points = [EntryPoint(name, f"fake_package:{name}", "minicereb.datasets") for name in objects]
        monkeypatch.setattr(extensions, "entry_points", lambda group: [point for point in points if point.group == group])
        extensions.offered.cache_clear()

    yield offer
    extensions.offered.cache_clear()


def test_every_command_knows_it_by_its_name(offered, tmp_path):
    offered(stripes=NamedDataset(stripes, 30, 10, (8, 8), "stripes across or down", "CC0", "fake_package"))
    listed = json.loads(CliRunner().invoke(main, ["data", "list", "--json"]).stdout)["datasets"]
    assert listed[-1]["name"] == "stripes"
    assert (listed[-1]["title"], listed[-1]["training"], listed[-1]["licence"]) == ("stripes across or down", 30, "CC0")
    run = str(tmp_path / "run")
    arguments = ["train", "cerebellum", "--dataset", "stripes", "--cells", "50", "--epochs", "1", "--out", run, "--json"]
    trained = CliRunner().invoke(main, arguments)
    assert trained.exit_code == 0, trained.output
    again = CliRunner().invoke(main, ["gradcheck", run, "--images", "1"])
    assert again.exit_code == 0, again.output
    assert '"name": "stripes"' in (tmp_path / "run" / "config.json").read_text()


def test_it_is_loaded_under_its_name_with_its_options(offered):
    offered(stripes=NamedDataset(stripes, 30, 10, (8, 8), options=("bright",)))
    assert names()[-1] == "stripes"
    assert load("stripes").name == "stripes"
    assert load("stripes", bright=7).x_train.max() == 7
    with pytest.raises(InputError, match="dark"):
        load("stripes", dark=1)
    with pytest.raises(InputError, match="cifar10, stripes, or the path"):
        load("strypes")


def test_what_is_no_data_set_is_refused(offered):
    offered(stripes=NamedDataset(lambda: 3, 30, 10, (8, 8)), waves=4)
    with pytest.raises(ExtensionError, match="'stripes' loads an object of type int; expected Dataset"):
        load("stripes")
    with pytest.raises(ExtensionError, match="'waves'.*expected NamedDataset"):
        load("waves")
