"""A data set of two small files that takes MNIST's place, and folders that are nobody's."""

import gzip
import hashlib

import numpy as np
import pytest

from minicereb.datasets import store

CONTENTS = {"images": bytes(range(256)) * 40, "labels": b"0123456789" * 7}


@pytest.fixture
def contents():
    """Content of each file, by name."""
    return CONTENTS


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The only place that is searched, with a registry of one data set called tiny; returns its folder for tiny."""
    files = tuple(
        store.DataFile("tiny", name, len(content), hashlib.sha256(content).hexdigest(), (f"http://127.0.0.1:9/{name}.gz",))
        for name, content in CONTENTS.items()
    )
    registry = {"tiny": store.Download("tiny", "two files", "none", "here", files)}
    monkeypatch.setattr(store, "downloads", lambda: registry)
    monkeypatch.setattr(store, "CHECKOUT", tmp_path / "no checkout")
    monkeypatch.setattr(store, "user_cache", lambda: tmp_path / "cache")
    monkeypatch.setenv("MINICEREB_DATA", str(tmp_path / "data"))
    return tmp_path / "data" / "tiny"


@pytest.fixture
def filled(folder):
    """The folder with both files in it, the first plain and the second as gzip."""
    folder.mkdir(parents=True)
    (folder / "images").write_bytes(CONTENTS["images"])
    (folder / "labels.gz").write_bytes(gzip.compress(CONTENTS["labels"]))
    return folder


@pytest.fixture
def own_arrays():
    """Arrays of a good npz file."""
    rng = np.random.default_rng(0)
    return {
        "x_train": rng.integers(0, 256, (12, 4, 5), dtype=np.uint8),
        "y_train": np.arange(12) % 3,
        "x_test": rng.integers(0, 256, (6, 4, 5), dtype=np.uint8),
        "y_test": np.arange(6) % 3,
    }
