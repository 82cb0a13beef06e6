"""Evaluation of a user's own classifier, given by the name of a function that returns it or as an ONNX file."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Generator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from minicereb.attacks.classifier import guarded
from minicereb.attacks.gradients import binary_stage
from minicereb.backend import to_device
from minicereb.datasets.dataset import Dataset
from minicereb.datasets.transforms import to_unit
from minicereb.errors import InputError, MinicerebError, ModelError, NoGradientError, did_you_mean, one_line, require
from minicereb.experiments.evaluation import folder
from minicereb.experiments.evaluation.settings import EvaluatedModel, bounds_of, check_epsilons, check_images, target_of
from minicereb.experiments.records import Record
from minicereb.files import contents
from minicereb.interchange.onnx_reader import read_onnx
from minicereb.report.page import REPORT, REPORT_TEXT
from minicereb.robustness.catalogue import FLIPS, STANDARD, attack_named, attacks_named, attacks_on
from minicereb.robustness.evaluate import EvaluationPlan
from minicereb.settings import checked, declared, field_of, setting

FORM = "FILE.onnx, or package.module:factory, the name of a function without arguments that returns a classifier"
METHODS = "an object with forward(x) -> (outputs, cache) and, unless it is a black box, input_gradient(d_outputs, cache) -> d_x"
DECLARED = {field.name: declared(field) for field in fields(EvaluatedModel)}


def classifier_named(name: str) -> Any:
    """Return the classifier made by the function ``package.module:factory``, or stored in an ONNX file.

    The module may be in the working folder. An :class:`InputError` is raised if there is no such function or it does not
    return a classifier, and a :class:`MinicerebError` if the function fails.
    """
    if name.endswith(".onnx"):
        return read_onnx(Path(name)).network
    module_name, _, attribute = name.partition(":")
    require(bool(module_name and attribute), "model", name, FORM)
    if module_name.endswith(".py"):
        module_name = module_name.removesuffix(".py").replace("/", ".")
        raise InputError("model", name, f"the name of the module, not of its file: {module_name}:{attribute}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise InputError("model", name, f"{FORM} ({error})") from error
    except (Exception, SystemExit) as error:  # a user's module may raise anything
        raise MinicerebError(f"model: {module_name} cannot be imported: {one_line(error)}") from error
    factory = getattr(module, attribute, None)
    if factory is None:
        names = [each for each, value in vars(module).items() if callable(value) and not each.startswith("_")]
        raise InputError("model", name, f"{FORM}; {module_name} has no {attribute}{did_you_mean(attribute, names)}")
    require(callable(factory), "model", name, FORM)
    try:
        model = factory()
    except (Exception, SystemExit) as error:  # a user's function may raise anything
        raise MinicerebError(f"model: {name}() failed: {one_line(error)}") from error
    require(callable(getattr(model, "forward", None)), "model", f"{name}() without forward", METHODS)
    return model


def try_out(model: Any, dataset: Dataset) -> tuple[int, str]:
    """Classify two images and compute their gradient, so that mistakes are reported before hours of work.

    Returns
    -------
    classes : int
        Number of outputs; without training images it may exceed the number of classes in the data.
    black_box : str
        Reason why the classifier has no input gradient; empty if it has one.

    Raises
    ------
    InputError
        If a shape or a type is wrong.
    MinicerebError
        If a value is not finite, or the classifier fails.
    """
    model, x = guarded(model), to_unit(to_device(dataset.x_test[:2]))
    try:
        outputs, cache = model.forward(x)
    except ModelError as error:
        rows = f"the images of {dataset.name} are rows of {dataset.inputs:,} numbers from 0 to 1"
        raise ModelError(f"{error}; {rows}: is this the right --dataset?") from error
    untrained, shape = len(dataset.x_train) == 0, outputs.shape
    fits = shape[0] == len(x) and (shape[1] >= dataset.classes if untrained else shape[1] == dataset.classes)
    expected = f"shape ({len(x)}, {dataset.classes}{' or more' if untrained else ''}), an output for each class of {dataset.name}"
    require(fits, "model", f"outputs of shape {shape} for {len(x)} images", expected)
    _require_finite(outputs, "outputs")
    try:
        gradient = model.input_gradient(outputs * 0 + 1, cache)
    except NoGradientError as error:
        return shape[1], str(error)
    _require_finite(gradient, "input gradients")
    return shape[1], ""


def _require_finite(values: Any, what: str) -> None:
    if not bool(np.isfinite(float(abs(values).max()))):
        raise MinicerebError(f"model: its {what} are not finite on the first test images; an evaluation would prove nothing")


@checked
@dataclass(frozen=True)
class OwnModel:
    """Settings of the evaluation of a user's classifier.

    `gradient` is ``"analytic"`` or, for a randomised classifier, ``"eot"``: the searches then average over `draws` calls.
    Whether an image is broken is decided by one further call, independent of the search.
    """

    name: str
    epsilons: tuple[float, ...] = field_of(DECLARED["epsilons"])
    images: int = field_of(DECLARED["images"])
    attacks: tuple[str, ...] = field_of(DECLARED["attacks"], STANDARD)
    norm: str = field_of(DECLARED["norm"], "linf")
    seed: int = field_of(DECLARED["seed"], 0)
    certify: bool = field_of(DECLARED["certify"], True)
    gradient: str = setting("analytic", "Source of the input gradient.", choices=("analytic", "eot"))
    draws: int = field_of(DECLARED["draws"], 32)

    def __post_init__(self) -> None:
        check_epsilons(self.epsilons)
        attacks_named(self.attacks)


def evaluate_own_model(config: OwnModel, dataset: Dataset, out: Path) -> Generator[str, None, Record]:
    """Evaluate a user's classifier and write the results into the folder `out`; yield the progress and return the record.

    The named function may return a different classifier at every call, so an earlier evaluation is not resumed. The files
    of an earlier evaluation with the same name, data and settings are replaced.

    Raises
    ------
    InputError
        If `out` holds other files, or an evaluation of another model, on other data or with other settings.
    """
    check_images(config, dataset)
    _check_folder(out)
    _check_not_another(config, dataset, out)
    model = classifier_named(config.name)
    classes, black_box = try_out(model, dataset)
    needing = [name for name in config.attacks if attack_named(name).white_box]
    if black_box and needing:
        what = f"{', '.join(needing)} need a gradient of the model, and it has none ({black_box.removeprefix('model: ')})"
        raise MinicerebError(f"attacks: {what}; give --attacks square,random, which need no gradient")
    averaged = config.gradient == "eot"
    deterministic = "analytic: a model of this project answers the same at every call"
    require(not averaged or guarded(model) is not model, "gradient", "eot", deterministic)
    fires = binary_stage(model) is not None
    gradient = "straight-through" if fires and not averaged else config.gradient
    attacks = attacks_on(config.attacks, fires)
    certifier, why = bounds_of(model, config.certify)
    given = {"model": model, "classes": classes, "gradient": gradient, "certifier": certifier}
    target = target_of(config, dataset, {}, **given)
    for path in _files(out):
        path.unlink()
    plan = EvaluationPlan(config.epsilons, attacks, config.norm, config.seed)
    about: Record = {"run": config.name, "model": type(model).__name__, "data": dataset.name, "answer": "ot"}
    about |= {"gradient": gradient, **({"draws": config.draws} if averaged else {}), "no_certificate": why}
    return (yield from folder.evaluate_into(out, target, plan, config.images, about))


def _files(out: Path) -> list[Path]:
    """Return the files that an earlier evaluation left in a folder."""
    figures = (name for png in folder.FIGURES for name in (png, Path(png).with_suffix(".svg").name))
    names = (folder.RECORD, folder.CHECKLIST, *figures, REPORT, REPORT_TEXT)
    pictures = (path for ending in (".svg", ".png") for path in out.glob(f"{Path(REPORT).stem}-*{ending}"))
    return [*folder.block_paths(out), *(out / name for name in names if (out / name).exists()), *pictures]


def _check_folder(out: Path) -> None:
    """Raise an error unless an evaluation may be written into `out`."""
    if out.exists() and (not out.is_dir() or set(contents(out)) - set(_files(out))):
        raise InputError("out", str(out), "a new or empty folder, or one that holds nothing but an evaluation")


def _check_not_another(config: OwnModel, dataset: Dataset, out: Path) -> None:
    """Raise an error if `out` holds another complete evaluation."""
    if not (out / folder.RECORD).exists():
        return
    kept = folder.read_evaluation(out)
    there = {**kept, "epsilons": tuple(each["epsilon"] for each in kept["epsilons"])}
    there |= {"attacks": tuple(kept["epsilons"][0]["by_attack"]), "certify": kept["no_certificate"] != folder.NOT_ASKED}
    if there["gradient"] == "straight-through":  # the gradient of such a model itself would be zero
        there["gradient"] = "analytic"
    there["attacks"] = tuple(each for each in there["attacks"] if each in config.attacks or each not in FLIPS)
    wanted = {"run": config.name, "data": dataset.name}
    same = ("epsilons", "attacks", "images", "norm", "seed", "certify", "gradient", *(("draws",) * (config.gradient == "eot")))
    wanted |= {name: getattr(config, name) for name in same}
    others = [name.replace("epsilons", "epsilon") for name in wanted if there.get(name) != wanted[name]]
    if others:
        what = "" if "run" in others else f" with other settings ({', '.join(others)})"
        expected = f"a new folder: this one holds the evaluation of {kept['run']}{what}; give another --out, or delete it"
        raise InputError("out", str(out), expected)
