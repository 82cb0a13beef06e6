"""What hostile commands find in their working directory: small data, small runs of every kind, and odd files."""

from __future__ import annotations

import os
import shutil
import struct
import zipfile
from pathlib import Path

import numpy as np

from .arena import execute, restore

CEREBELLUM = ("train", "cerebellum", "--dataset", "tiny.npz", "--cells", "12", "--epochs", "2", "--batch-size", "10")
COMMANDS: dict[str, tuple[str, ...]] = {  # each makes what its name says
    "run": (*CEREBELLUM, "--out", "run"),
    "mlp": ("train", "mlp", "--dataset", "tiny.npz", "--hidden", "5", "--epochs", "2", "--out", "mlp"),
    "cnn": ("train", "cnn", "--dataset", "tiny.npz", "--stages", "3/4", "--hidden", "5", "--epochs", "2", "--out", "cnn"),
    "glr": ("train", "glr", "--dataset", "tiny.npz", "--hidden", "4", "--epochs", "2", "--out", "glr"),
    "visual": (
        "train",
        "cerebellum",
        "--dataset",
        "tiny.npz",
        "--encoder",
        "cnn",
        "--cells",
        "9",
        "--epochs",
        "1",
        "--out",
        "visual",
    ),
    "attack": ("attack", "run", "--images", "6", "--steps", "3", "--epsilon", "0.2"),
    "evaluation": ("evaluate", "run", "--images", "6", "--attacks", "fgsm-mse,pgd-margin"),
    "study": ("study", "width", "--dataset", "tiny.npz", "--out", "study"),
    "pole": ("task", "pole", "--cells", "60", "--trials", "2", "--seconds", "1", "--out", "pole"),
    "eyelid": ("task", "eyelid", "--cells", "60", "--trials", "3", "--extinction", "2", "--out", "eyelid"),
}
SUBMISSIONS = {
    "anna": "import numpy as np\n\n\ndef relu(z):\n    return np.maximum(z, 0)\n",
    "böb": "def relu(z):\n    return z\n",
}


def make_data(folder: Path) -> None:
    """Write the data sets: images of 8x8 in three classes, a random picture each with noise, as npz and as CIFAR-10 has them."""
    rng = np.random.default_rng(0)
    pictures = rng.random((3, 8, 8))
    arrays = {}
    for part, count in (("train", 60), ("test", 20)):
        labels = np.arange(count) % 3
        noisy = pictures[labels] + rng.normal(0, 0.2, (count, 8, 8))
        arrays |= {f"x_{part}": (255 * noisy.clip(0, 1)).astype(np.uint8), f"y_{part}": labels}
    np.savez(folder / "tiny.npz", **arrays)
    columns = {name: array[:, None] for name, array in arrays.items()}  # channels first, labels as Keras has them
    np.savez(folder / "first.npz", **columns)
    theirs = {f"{part}_images": arrays[f"x_{part}"] for part in ("train", "test")}
    np.savez(folder / "medmnist.npz", **theirs, **{f"{part}_labels": columns[f"y_{part}"] for part in ("train", "test")})
    rows = (
        f"{label},{','.join(map(str, image.ravel()))}" for image, label in zip(arrays["x_train"], arrays["y_train"], strict=True)
    )
    (folder / "table.csv").write_text("\n".join(rows) + "\n")
    (folder / "idx").mkdir()
    with zipfile.ZipFile(folder / "downloads.zip", "w") as archive:
        for part, count in (("train", 60), ("t10k", 20)):
            images = b"\0\0\x08\x03" + struct.pack(">3I", count, 28, 28) + rng.bytes(784 * count)
            labels = b"\0\0\x08\x01" + struct.pack(">I", count) + bytes(number % 10 for number in range(count))
            for name, content in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
                (folder / "downloads" / name).write_bytes(content)
                (folder / "idx" / name).write_bytes(content)
                archive.writestr(name, content)
    (folder / "cifar").mkdir()
    records = rng.integers(0, 256, (6, 10, 3073), dtype=np.uint8)
    records[:, :, 0] = np.arange(10)
    for name, each in zip((*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"), records, strict=True):
        each.tofile(folder / "cifar" / name)


def make_odd_files(work: Path) -> None:
    """Put files and folders with odd names and contents into the working directory, and a stranger's folder beside it."""
    for name, content in {"empty.txt": "", "empty.npz": "", "text.txt": "nothing in particular\n"}.items():
        (work / name).write_text(content)
    for name in ("empty", "folder.npz", "übung ☃", "sub", "downloads"):
        (work / name).mkdir()
    os.symlink("loop", work / "loop")
    os.symlink("no such place", work / "dangling")
    os.symlink("../stranger", work / "linked")
    for student, text in SUBMISSIONS.items():
        (work / "class" / student).mkdir(parents=True)
        (work / "class" / student / "relu.py").write_text(text)
    (work / "points.json").write_text('{"fgsm": 2, "im2col": 0.5}')
    stranger = work.parent / "stranger"
    stranger.mkdir()
    (stranger / "precious.txt").write_text("not to be touched\n")
    (work.parent / "home").mkdir()


def make(folder: Path, limit: float) -> list[str]:
    """Fill `folder` with the working directory and its neighbours, and return what could not be made."""
    work, problems = folder / "work", []
    work.mkdir(parents=True)
    make_odd_files(work)
    make_data(work)
    make_package(work)
    for name, command in COMMANDS.items():
        outcome = execute(list(command), work, limit)
        if outcome.code != 0:
            problems.append(f"{name}: {' '.join(command)}: {outcome.stderr[-300:]}")
    make_half(work, limit)
    shutil.copytree(work / "run", folder / "stranger" / "run")
    return problems


def make_half(work: Path, limit: float) -> None:
    """Leave a run as a kill does, between its checkpoint and its end."""

    def stop_early() -> None:
        from minicereb.experiments import runs

        def killed(*_: object) -> None:
            os._exit(9)

        runs._finish = killed

    execute([*CEREBELLUM, "--out", "half"], work, limit, prepare=stop_early)
    if not (work / "half" / "checkpoint.npz").exists():
        raise RuntimeError("no checkpoint was left: the fuzzer must be told where training now ends")


def copy(master: Path, folder: Path) -> None:
    """Make `folder` a fresh copy of `master`, with pipes that nobody writes to; runs are told the new path of their data."""
    restore(master, folder)
    for name in ("pipe", "pipe.npz", "übung ☃/config.json"):
        os.mkfifo(folder / "work" / name)
    old, new = str(master).encode(), str(folder).encode()
    for path in folder.rglob("*.json"):
        if path.is_file() and not path.is_symlink() and old in (text := path.read_bytes()):
            path.write_bytes(text.replace(old, new))


def make_package(work: Path) -> None:
    """Copy the lists that ship with the package to where a child can be told to look for them."""
    import minicereb
    from minicereb.datasets.store import CHECKOUT

    shutil.copytree(Path(minicereb.__file__).parent / "pretrained", work / "package" / "pretrained")
    (work / "package" / "data").mkdir()
    shutil.copy(CHECKOUT / "data" / "registry.json", work / "package" / "data")
