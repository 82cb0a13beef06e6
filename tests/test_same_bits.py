"""The same commands give the same files as at the commit where the files of ``same_bits.json`` were recorded.

A reorganisation of the code must not move a number. Names of files and settings are compared on every machine; the results
themselves, bit for bit, where the processor, the kernels of the BLAS and the versions of Python, NumPy and SciPy are those of a
recording, since others may round otherwise. ``python tests/test_same_bits.py`` adds a recording of this machine.
"""

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import scipy
from processor import processor

RECORDED = Path(__file__).with_name("same_bits.json")
TRAIN = "--dataset digits --epochs 1 --threads 1"
COMMANDS = (
    f"train cerebellum {TRAIN} --cells 500 --out cerebellum",
    f"train cerebellum {TRAIN} --cells 100 --wiring full --no-ltd --rule least-squares --out closed",
    f"train mlp {TRAIN} --hidden 16 --adversarial 0.1 --adversarial-steps 2 --out mlp",
    f"train cnn {TRAIN} --out cnn",
    "train vgg --dataset colours.npz --epochs 1 --threads 1 --width 0.05 --out vgg",
    f"train glr {TRAIN} --hidden 8 --replications 8 --estimator plain --out glr",
    f"train cerebellum {TRAIN} --cells 200 --encoder cnn --out behind",
    "attack cerebellum --images 60 --threads 1",
    "attack glr --images 20 --steps 5 --gradient straight-through --threads 1",
    "evaluate cerebellum --images 20 --epsilon 0.1 --attacks pgd-margin,apgd-ce,square --threads 1",
    "study width --dataset digits --threads 1 --out width",
    "task eyelid --trials 20 --out eyelid",
    "task pole --trials 5 --out pole",
    "demo --threads 1 --out demo",
)
TIMES = {"seconds", "versions", "machine", "execution", "command", "mean_seconds", "total_seconds"}  # differ each time
LATER = re.compile(  # fields of settings that came after the recording, as they are where nobody sets them
    r'\n *"(?:(?:field|codons|threshold|uncertainty|pessimism|interval_bounds)": null'
    r'|loss": "mse"|mossy_fibres": "graded"|seconds_per_image": 60\.0|width": 8'
    r'|network": "dense"|channels": \[\]|kernel": 5|stride": 2|pool": 1|pooling": "mean"|placement": "all"|probes": 64'
    r'|presentation": "rows"|steps": 8|leak": 0\.8|output_draws": 1|baseline": "mean"|allocation": "equal"|persistence": 0\.0)'
    r"(?:,|(?=\n))"
)
FEATURES = re.compile(
    "features-[0-9a-f]{12}-"
)  # with the hash of an encoder's weights, which another processor may round otherwise
DEMO = "MINICEREB_DEMO" in os.environ  # it takes as long as all the others


def place():
    """What rounding depends on."""
    versions = ".".join(map(str, sys.version_info[:2])), np.__version__, scipy.__version__
    return f"{processor()}, {platform.machine()}, Python {', '.join(versions)}"


def colours():
    """Twenty coloured images for the VGG-11, which takes no smaller ones."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (40, 32, 32, 3), dtype=np.uint8), np.arange(40) % 4
    return {"x_train": images[:30], "y_train": labels[:30], "x_test": images[30:], "y_test": labels[30:]}


def carry_out(folder, commands):
    np.savez(folder / "colours.npz", **colours())
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    for command in commands:
        arguments = [sys.executable, "-c", "from minicereb.cli.main import main; main()", *command.split()]
        done = subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr}"


def without_words(value, inside_settings=False):
    """A JSON value without times and without sentences, which may be worded anew."""
    if isinstance(value, dict):
        kept = {key: without_words(item, inside_settings or key == "config") for key, item in value.items() if key not in TIMES}
        return {key: item for key, item in kept.items() if item is not ...}
    if isinstance(value, list):
        return [item for item in map(lambda v: without_words(v, inside_settings), value) if item is not ...]
    is_sentence = isinstance(value, str) and not inside_settings and not re.fullmatch(r"[0-9a-f]{16,64}", value)
    return ... if is_sentence else value


def without_seconds(path):
    """The bytes of a file; of an npz that says how long it took, those of its other arrays (a pole's seconds are a result)."""
    arrays = np.load(path) if path.suffix == ".npz" else {}
    if "seconds" not in arrays or path.name == "circuit.npz":
        return path.read_bytes()
    return b"".join(name.encode() + arrays[name].tobytes() for name in sorted(arrays) if name != "seconds")


def without_folder(path, folder):
    """The text of a file without the place of the test's own folder, which is another each time, and without later fields."""
    return re.sub(r",(\n *})", r"\1", LATER.sub("", path.read_text().replace(f"{folder}/", "")))


def digest(value):
    data = value if isinstance(value, bytes) else json.dumps(value, sort_keys=True).encode()
    return hashlib.sha256(data).hexdigest()[:16]


def seen(folder):
    """Settings, and results, of every file in a folder: two tables of digests."""
    settings, results = {}, {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = FEATURES.sub("features-HASH-", path.relative_to(folder).as_posix())
        if name == "colours.npz" or path.name == ".lock" or "jobs" in path.parts:
            continue
        settings[name] = digest(without_folder(path, folder).encode()) if path.name == "config.json" else None
        if path.suffix in (".npz", ".npy"):
            results[name] = digest(without_seconds(path))
        elif path.suffix in (".json", ".jsonl"):
            text = without_folder(path, folder)
            lines = text.splitlines() if path.suffix == ".jsonl" else [text]
            results[name] = digest([without_words(json.loads(line)) for line in lines])
    return settings, results


def test_the_same_commands_give_the_same_files(tmp_path):
    recorded = json.loads(RECORDED.read_text())
    carry_out(tmp_path, COMMANDS if DEMO else COMMANDS[:-1])
    settings, results = seen(tmp_path)
    expected = {name: value for name, value in recorded["settings"].items() if not name.startswith("demo/") or DEMO}
    assert settings == expected
    if place() not in recorded["results"]:
        pytest.skip(f"results were not recorded on {place()}; names and settings are the same")
    assert results == {name: value for name, value in recorded["results"][place()].items() if name in expected}


def test_words_are_left_out_and_numbers_are_not():
    was = {"a": 1.5, "said": "fine", "seconds": 3, "config": {"kind": "Train", "seed": 0}, "of": [{"x": "y"}, 2]}
    assert without_words(was) == {"a": 1.5, "config": {"kind": "Train", "seed": 0}, "of": [{}, 2]}
    assert digest(without_words(was)) != digest(without_words(was | {"a": 1.5000001}))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        carry_out(Path(made), COMMANDS)
        settings, results = seen(Path(made))
    kept = json.loads(RECORDED.read_text()) if RECORDED.exists() else {"results": {}}
    RECORDED.write_text(json.dumps({"settings": settings, "results": kept["results"] | {place(): results}}, indent=1) + "\n")
