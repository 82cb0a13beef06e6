"""A user's own classifier: anything with the two methods, found by the name of the function that makes it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minicereb.attacks.classifier import guarded
from minicereb.backend import to_device
from minicereb.certificates.affine import why_not_certifiable
from minicereb.certificates.certify import certify
from minicereb.datasets.dataset import Dataset
from minicereb.datasets.transforms import to_unit
from minicereb.errors import InputError, MinicerebError, ModelError, NoGradientError, did_you_mean, one_line, require
from minicereb.experiments.evaluation.folder import CHECKLIST, FIGURES, RECORD, block_paths, evaluate_into, read_evaluation
from minicereb.experiments.evaluation.settings import check_epsilons, check_transfers
from minicereb.experiments.laboratory import Record
from minicereb.files import contents
from minicereb.report.page import REPORT, REPORT_TEXT
from minicereb.robustness.catalogue import STANDARD, attack_named, attacks_named
from minicereb.robustness.evaluate import EvaluationPlan, EvaluationTarget
from minicereb.robustness.substitutes import substitutes_for

OWN_GRADIENTS = ("analytic", "eot")  # that a classifier of the user's can be attacked by
NOT_ASKED = "not asked for"
FORM = "package.module:factory, the name of a function without arguments that returns a classifier"


def classifier_named(name: str) -> Any:
    """Return what the function of this name returns: an object with ``forward`` and ``input_gradient``.

    Parameters
    ----------
    name : str
        ``package.module:factory``; modules are also looked for in the working folder.

    Raises
    ------
    InputError
        If there is no such function, or it does not return a classifier.
    MinicerebError
        If the function fails.
    """
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
    except (Exception, SystemExit) as error:  # whatever a user's module raises
        raise MinicerebError(f"model: {module_name} cannot be imported: {one_line(error)}") from error
    factory = getattr(module, attribute, None)
    if factory is None:
        names = [each for each, value in vars(module).items() if callable(value) and not each.startswith("_")]
        raise InputError("model", name, f"{FORM}; {module_name} has no {attribute}{did_you_mean(attribute, names)}")
    require(callable(factory), "model", name, FORM)
    try:
        model = factory()
    except (Exception, SystemExit) as error:  # whatever a user's function raises
        raise MinicerebError(f"model: {name}() failed: {one_line(error)}") from error
    expected = (
        "an object with forward(x) -> (outputs, cache) and, unless it is a black box, input_gradient(d_outputs, cache) -> d_x"
    )
    require(callable(getattr(model, "forward", None)), "model", f"{name}() without forward", expected)
    return model


def try_out(model: Any, dataset: Dataset) -> tuple[int, str]:
    """Ask a classifier for the answer to two images and for its gradient, so that what is wrong is told before hours of work.

    Returns
    -------
    classes : int
        Outputs that it has. Where the data have no training images, which say how many classes there are, these may be more
        than the classes of the test images.
    black_box : str
        Why it has no input gradient; empty if it has one.

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
        raise ModelError(f"{error}; {rows}: were others meant by --dataset?") from error
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


@dataclass(frozen=True)
class ForeignModel:
    """A user's classifier to be evaluated; settings as for :class:`~minicereb.experiments.evaluation.settings.EvaluatedModel`.

    `gradient` is ``"analytic"``, or ``"eot"`` for a classifier that answers at random: every search then looks at means over
    `draws` calls. Whether an image is broken is decided by one call that no search has seen.
    """

    name: str
    epsilons: tuple[float, ...]
    images: int
    attacks: tuple[str, ...] = STANDARD
    norm: str = "linf"
    seed: int = 0
    certify: bool = True
    gradient: str = "analytic"
    draws: int = 32

    def __post_init__(self) -> None:
        check_epsilons(self.epsilons)
        require(self.images >= 1, "images", self.images, "a whole number of at least 1")
        require(self.norm in ("linf", "l2"), "norm", self.norm, "linf or l2")
        require(self.seed >= 0, "seed", self.seed, "a whole number of at least 0")
        require(self.gradient in OWN_GRADIENTS, "gradient", self.gradient, " or ".join(OWN_GRADIENTS))
        require(1 <= self.draws < 2**31, "draws", self.draws, "a whole number from 1 to 2147483647")
        attacks_named(self.attacks)


def evaluate_foreign(config: ForeignModel, dataset: Dataset, out: Path) -> Generator[str, None, Record]:
    """Evaluate a user's classifier into the folder `out`, yielding the progress in words and returning the record.

    What a function returns may change from call to call, so nothing of an earlier evaluation is used: the files of one of the
    same name, on the same data and with the same settings, are replaced. Those of any other are not.

    Raises
    ------
    InputError
        If `out` holds anything else, or the evaluation of another model, on other data or with other settings.
    """
    available = len(dataset.x_test)
    require(config.images <= available, "images", config.images, f"a whole number from 1 to the {available} test images")
    _check_folder(out)
    _check_not_another(config, dataset, out)
    model = classifier_named(config.name)
    classes, black_box = try_out(model, dataset)
    needing = [name for name in config.attacks if attack_named(name).white_box]
    if black_box and needing:
        what = f"{', '.join(needing)} follow a gradient of the model, and it has none ({black_box.removeprefix('model: ')})"
        raise MinicerebError(f"attacks: {what}; give --attacks square,random, which need none")
    if config.gradient == "eot":
        require(
            guarded(model) is not model, "gradient", "eot", "analytic: a model of this project answers the same at every call"
        )
    substitutes, no_substitute = substitutes_for(dataset, config.seed, {})
    check_transfers(config.attacks, substitutes, no_substitute)
    why = why_not_certifiable(model) if config.certify else NOT_ASKED
    subject = EvaluationTarget(
        model=model,
        rows=dataset.x_test,
        labels=dataset.y_test,
        image_shape=dataset.image_shape,
        classes=classes,
        gradient=config.gradient,
        draws=config.draws,
        certifier=None if why else lambda x, labels, ids, epsilon, norm: certify(model, x, labels, epsilon, norm),
        substitutes=substitutes,
        no_substitute=no_substitute,
    )
    for path in _files(out):
        path.unlink()
    plan = EvaluationPlan(config.epsilons, config.attacks, config.norm, config.seed)
    about: Record = {"run": config.name, "model": type(model).__name__, "data": dataset.name, "answer": "ot"}
    about |= {"gradient": config.gradient} | ({"draws": config.draws} if config.gradient == "eot" else {})
    return (yield from evaluate_into(out, subject, plan, config.images, {**about, "no_certificate": why}))


def _files(out: Path) -> list[Path]:
    """What an earlier evaluation left in a folder."""
    names = (RECORD, CHECKLIST, *FIGURES, *(Path(name).with_suffix(".svg").name for name in FIGURES), REPORT, REPORT_TEXT)
    pictures = (path for ending in (".svg", ".png") for path in out.glob(f"{Path(REPORT).stem}-*{ending}"))
    return [*block_paths(out), *(out / name for name in names if (out / name).exists()), *pictures]


def _check_folder(out: Path) -> None:
    """Raise unless an evaluation may be written into `out`."""
    if out.exists() and (not out.is_dir() or set(contents(out)) - set(_files(out))):
        raise InputError("out", str(out), "a new or empty folder, or one that holds nothing but an evaluation")


def _check_not_another(config: ForeignModel, dataset: Dataset, out: Path) -> None:
    """Raise if `out` holds a complete evaluation that is not this one."""
    if not (out / RECORD).exists():
        return
    kept, expected = read_evaluation(out), "a new folder: this one holds the evaluation of "
    wanted = {
        "run": config.name,
        "data": dataset.name,
        "epsilon": list(config.epsilons),
        "attacks": list(config.attacks),
        "images": config.images,
        "norm": config.norm,
        "seed": config.seed,
        "certify": config.certify,
        "gradient": config.gradient,
        **({"draws": config.draws} if config.gradient == "eot" else {}),
    }
    there = {**kept, "epsilon": [each["epsilon"] for each in kept["epsilons"]], "attacks": [*kept["epsilons"][0]["by_attack"]]}
    there["certify"] = kept["no_certificate"] != NOT_ASKED
    others = [name for name in wanted if there.get(name) != wanted[name]]
    if others:
        what = "" if "run" in others else f" with other settings ({', '.join(others)})"
        raise InputError("out", str(out), f"{expected}{kept['run']}{what}; give another --out, or delete it")
