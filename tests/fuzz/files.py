"""Files that commands read, each with its kind, the checksums that vouch for it and the commands that read it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from . import damage
from .kept import CEREBELLUM, COMMANDS

READ_RUN = (
    ("show", "RUN"),
    ("attack", "RUN", "--images", "6", "--steps", "3", "--epsilon", "0.2"),
    ("evaluate", "RUN", "--images", "6", "--attacks", "fgsm-mse,pgd-margin"),
    ("report", "RUN"),
    ("explain", "RUN", "--what", "learning"),
    ("export", "RUN", "out.npz"),
    ("models", "verify", "RUN"),
    ("gradcheck", "RUN", "--images", "1"),
)
DATA = (
    ("train", "cerebellum", "--dataset", "FILE", "--cells", "12", "--epochs", "1", "--out", "new"),
    ("train", "cnn", "--dataset", "FILE", "--stages", "3", "--hidden", "5", "--epochs", "1", "--out", "new"),
    ("attack", "run", "--images", "6", "--steps", "3"),
)


def read_run(name: str) -> tuple[tuple[str, ...], ...]:
    """The commands that read a run, and the training that would go on with it."""
    reading = tuple(tuple(name if word == "RUN" else word for word in command) for command in READ_RUN)
    return (*reading, COMMANDS[name]) if name in COMMANDS else reading


@dataclass(frozen=True)
class Target:
    """Files of one kind, and what reads them.

    Parameters
    ----------
    name : str
    files : str
        Pattern within the working directory.
    kind : str
        One of :data:`fuzz.damage.WAYS`, or ``"folder"``: a folder that is replaced by a link.
    commands : tuple
        Command lines; FILE stands for the file.
    told : tuple of str
        Where they may write.
    vouch : callable, optional
        Makes the checksums that vouch for the file right again.
    package : bool
        Whether the file is one that ships with the package.
    """

    name: str
    files: str
    kind: str
    commands: tuple[tuple[str, ...], ...]
    told: tuple[str, ...] = ()
    vouch: Callable[[Path, Path], None] | None = None
    package: bool = False
    weight: float = field(default=1.0)


def vouch_for_model(work: Path, path: Path) -> None:
    """Make a manifest name the model as it is now."""
    from minicereb.files import sha256_file

    manifest = path.parent / "manifest.json"
    written = json.loads(manifest.read_text())
    written["model_sha256"] = sha256_file(path)
    manifest.write_text(json.dumps(written))


def vouch_for_config(work: Path, path: Path) -> None:
    """Make a file with settings name their hash as it is now, where they still have one."""
    from minicereb.experiments.identity import config_hash, from_json

    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        stored["hash"] = config_hash(from_json(stored["config"]))
        path.write_text(json.dumps(stored), encoding="utf-8")
    except Exception:  # then the hash is wrong too
        return


def _runs() -> Iterator[Target]:
    for name in ("run", "mlp", "cnn", "glr", "visual", "half"):
        commands = read_run(name) if name != "half" else (*read_run("half"), (*CEREBELLUM, "--out", "half"))
        told = (name, "out.npz", "cnn")
        yield Target(f"{name} config", f"{name}/config.json", "json", commands, told, vouch_for_config, weight=2)
        yield Target(f"{name} manifest", f"{name}/manifest.json", "json", commands, told)
        yield Target(f"{name} metrics", f"{name}/metrics.jsonl", "jsonl", commands, told)
        if name != "half":
            yield Target(f"{name} model", f"{name}/model.npz", "npz", commands, told, vouch_for_model, weight=2)
    resume = ((*CEREBELLUM, "--out", "half"),)
    yield Target("checkpoint", "half/checkpoint.npz", "npz", resume, ("half",), weight=5)


def targets() -> list[Target]:
    """Return all kinds of files that are damaged."""
    attack, evaluation = COMMANDS["attack"], COMMANDS["evaluation"]
    run = (attack, evaluation, ("report", "run"))
    study = (
        *(COMMANDS["study"], ("study", "status", "study"), ("report", "study")),
        ("study", "width", "--dataset", "tiny.npz", "--out", "second", "--dry-run"),
    )
    pole, lists = COMMANDS["pole"], (("models", "list"), ("models", "verify", "run"), ("models", "fetch", "perceptron"))
    return [
        *_runs(),
        Target("attack record", "run/attacks/*.json", "json", run, ("run",), weight=2),
        Target("evaluation", "run/evaluations/*/evaluation.json", "json", run, ("run",), weight=2),
        Target("checklist", "run/evaluations/*/checklist.json", "json", run, ("run",)),
        Target("outcomes", "run/evaluations/*/images-*.npz", "npz", run, ("run",), weight=3),
        Target("evaluation folder", "run/evaluations/*", "folder", run, ("run",), weight=0.3),
        Target("folder of a run", "run/*/", "folder", run, ("run",), weight=0.3),
        Target("features", "cnn/features-*.npy", "npy", _BEHIND_FEATURES, ("visual", "cnn", "new", "out.npz"), weight=2),
        Target("study", "study/study.json", "json", study, ("study", "second"), weight=2),
        Target("study record", "study/experiments/*.json", "json", study, ("study", "second"), weight=2),
        Target("study's attack record", "study/runs/*/attacks/*.json", "json", study, ("study", "second"), weight=2),
        Target("study's run", "study/runs/*/*.json", "json", study, ("study", "second"), weight=2),
        Target("study's model", "study/runs/*/model.npz", "npz", study, ("study", "second"), vouch_for_model),
        Target("study's jobs", "study/jobs/*.json", "json", study, ("study", "second")),
        Target("study's folder", "study/*/", "folder", study, ("study", "second"), weight=0.3),
        Target("pole circuit", "pole/circuit.npz", "npz", (pole, (*pole[:-2], "--trials", "3", "--out", "pole")), ("pole",)),
        Target("pole result", "pole/*.json", "json", (pole, ("report", "pole")), ("pole",)),
        Target("eyelid session", "eyelid/session.json", "json", _EYELID, ("eyelid",), weight=0.3),
        Target("points", "points.json", "json", (_POINTS,), ("new",)),
        Target("data npz", "tiny.npz", "npz", DATA, ("new", "run"), weight=4),
        Target("data in other forms", "[fm]*.npz", "npz", DATA[:2], ("new",), weight=2),
        Target("data csv", "table.csv", "csv", DATA[:2], ("new",), weight=2),
        Target("data idx", "idx/*", "idx", (_with_data("idx"),), ("new",), weight=2),
        Target("zip file", "downloads.zip", "bytes", (("data", "import", "FILE"),), ("downloads",), weight=0.5),
        Target("data cifar", "cifar/*.bin", "bytes", _CIFAR, ("new",)),
        Target("downloaded data", "downloads/*", "idx", _IDX, ("new", "downloads")),
        Target("list of models", "package/pretrained/registry.json", "json", lists, ("runs",), package=True),
        Target("model that ships", "package/pretrained/perceptron/*", "bytes", lists, ("runs",), package=True),
        Target("list of data", "package/data/registry.json", "json", (("data", "list"), ("data", "verify")), package=True),
    ]  # fmt: skip


def _with_data(name: str) -> tuple[str, ...]:
    return ("train", "mlp", "--dataset", name, "--hidden", "5", "--epochs", "1", "--out", "new")


_CIFAR = (("train", "vgg", "--dataset", "cifar", "--width", "0.02", "--epochs", "1", "--out", "new"),)
_IDX = (
    ("train", "cerebellum", "--dataset", "mnist", "--cells", "5", "--out", "new"),
    *(("data", "verify", "mnist"), ("data", "list"), ("data", "import", "FILE")),
)
_POINTS = ("exercise", "grade", "class", "--points", "FILE", "--feedback", "new")
_EYELID = (COMMANDS["eyelid"], ("report", "eyelid"))
_BEHIND_FEATURES = (*read_run("visual"), (*COMMANDS["visual"][:-1], "new"))


def hurt(rng: random.Random, work: Path, chosen: Target) -> tuple[Path, str] | None:
    """Damage one file of a target, and return it with what was done; None if there is no such file."""
    found = sorted(path for path in work.glob(chosen.files) if path.is_dir() == (chosen.kind == "folder"))
    if not found:
        return None
    path = rng.choice(found)
    if chosen.kind == "folder":
        return path, damage.linked_folder(rng, path)
    said = damage.damage(rng, path, chosen.kind, chosen.package)
    if chosen.vouch is not None and rng.random() < 0.7 and path.is_file() and not path.is_symlink():
        chosen.vouch(work, path)
        said += ", vouched for"
    return path, said


def use_package(work: Path) -> Callable[[], None]:
    """Return what makes a child read the lists that ship from the working directory."""

    def prepare() -> None:
        import importlib.resources

        importlib.resources.files = lambda name: work / "package"  # type: ignore[assignment]

    return prepare
