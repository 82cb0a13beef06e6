"""The messages of errors."""

import configparser
import shlex
from importlib import metadata
from pathlib import Path

import pytest

from minicereb.errors import install_command

SETTINGS = configparser.ConfigParser()
SETTINGS.read(Path(__file__).parents[1] / "setup.cfg", encoding="utf-8")


@pytest.mark.parametrize(
    ("extra", "library"),
    [("fast", "numba"), ("cluster", "distributed"), ("peers", "torch"), ("cuda12x", "cupy-cuda12x"), ("cuda13x", "cupy-cuda13x")],
)
def test_a_missing_library_is_installed_by_its_own_name_in_the_version_of_the_extra(extra, library):
    (requirement,) = SETTINGS["options.extras_require"][extra].split()
    assert shlex.split(install_command(library)) == ["python", "-m", "pip", "install", requirement]


def test_an_installation_without_metadata_still_says_what_to_install(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", missing)
    assert install_command("numba") == 'python -m pip install "numba"'
