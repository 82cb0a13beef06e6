"""Attack a classifier, or evaluate how robust it is, in one call."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from minicereb.attacks.classifier import unguarded
from minicereb.attacks.gradients import binary_stage
from minicereb.attacks.methods import method_named
from minicereb.attacks.run import attack_images
from minicereb.attacks.settings import Attack
from minicereb.backend import is_array, to_numpy
from minicereb.datasets.transforms import to_unit
from minicereb.errors import InputError, require
from minicereb.experiments.evaluation.folder import BLOCK
from minicereb.experiments.evaluation.settings import bounds_of, check_epsilons, fitting_gradient
from minicereb.inputs import check_images
from minicereb.interface.arrays import features, shape_of_images
from minicereb.interface.predictors import Predictor
from minicereb.interface.results import AttackResult, Evaluation
from minicereb.parallel import blocks
from minicereb.robustness.catalogue import COMPLETE, attack_named, attacks_named, attacks_on
from minicereb.robustness.checklist import CHECKED, CheckContext, checklist
from minicereb.robustness.evaluate import EvaluationPlan, EvaluationTarget, evaluate_images
from minicereb.robustness.outcomes import Counts, no_outcomes

BLACK_BOX = ("square", "random")  # the attacks that need no gradient
CLASSIFIERS = "a classifier of minicereb, or of minicereb.from_sklearn, from_torch, from_onnx or from_callable"


def predictor_of(model: Any) -> Predictor:
    """Return the best classifier of a scikit-learn search, or the model itself; raise :class:`InputError` for anything else."""
    found = getattr(model, "best_estimator_", model)
    if isinstance(found, Predictor):
        found._require_network()
        return found
    if isinstance(found, type):
        raise InputError("model", found.__name__, f"an object, not its class: {found.__name__}().fit(x, y)")
    library = type(found).__module__.partition(".")[0]
    if library == "sklearn" or hasattr(found, "named_parameters"):
        made = "from_sklearn" if library == "sklearn" else "from_torch"
        raise InputError("model", type(found).__name__, f"a classifier of minicereb; minicereb.{made}(model) makes one from it")
    if callable(getattr(found, "forward", None)):
        raise InputError(
            "model", type(found).__name__, f"{CLASSIFIERS}; networks are attacked by minicereb.attacks.run.attack_images"
        )
    raise InputError("model", type(found).__name__, CLASSIFIERS)


def images_of(model: Predictor, x: Any, y: Any, image_shape: Any) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    """Return images as rows with values in [0, 1], the indices of their classes, and the shape of one image.

    Images may have any shape (images, ...) with as many numbers as the model reads, and channels last. It raises
    :class:`InputError` if a value is outside [0, 1].
    """
    found = to_numpy(x) if is_array(x) else np.asarray(x)
    many = found.ndim > 2 and math.prod(found.shape[1:]) == model.n_features_in_
    shape = shape_of_images(
        found.shape[1:] if many and image_shape is None else image_shape, model.n_features_in_, model.image_shape
    )
    expected = f"height and width, and perhaps channels, of {model.n_features_in_} inputs"
    require(math.prod(shape) == model.n_features_in_, "image_shape", shape, expected)
    model._check_names(x)
    rows = features(found.reshape(len(found), -1) if many else found, model.n_features_in_, type(model).__name__)
    check_images(to_unit(rows), np.arange(len(rows)))
    return rows, model.numbers_of(y, len(rows)), shape


def attack(
    model: Any,
    x: Any,
    y: Any,
    *,
    method: str = "pgd",
    objective: str = "margin",
    epsilon: float = 0.1,
    norm: str = "linf",
    steps: int | None = None,
    step_size: float | None = None,
    restarts: int = 1,
    random_start: bool = True,
    keep: str = "best",
    targets: int = 0,
    gradient: str = "fitting",
    draws: int = 32,
    seed: int = 0,
    image_shape: tuple[int, ...] | None = None,
) -> AttackResult:
    """Attack images, and return the classifier's predictions afterwards: ``minicereb attack`` as a function.

    Parameters
    ----------
    model : classifier
        A fitted classifier of this package, a scikit-learn search over such classifiers, or another package's model from
        ``from_sklearn``, ``from_torch``, ``from_onnx`` or ``from_callable``.
    x : array-like, shape (images, inputs), or (images, height, width) with or without channels
        Images in [0, 1], or uint8 from 0 to 255.
    y : array-like, shape (images,)
        Their labels.
    method : str
        A search of :data:`minicereb.attacks.methods.METHODS`: fgsm, pgd, momentum, apgd, fab, fmn, square, random and others.
    objective : {"margin", "cross-entropy", "mse", "dlr"}
        The objective that the search ascends.
    epsilon : float
        Largest change of a pixel (L∞), or largest length of an image's change (L2), for pixels from 0 to 1.
    norm : {"linf", "l2"}
    steps : int, optional
        Number of steps of each search; by default the method's own number.
    step_size : float, optional
        Step size of pgd and momentum, by default 2.5 ε / steps.
    restarts, targets, draws : int
    random_start : bool
    keep : {"best", "last"}
        As for :class:`minicereb.attacks.settings.Attack`.
    gradient : str
        Source of the input gradient. ``"fitting"`` chooses the model's own gradient, a gradient passed through its thresholds, or
        an estimate if noisy neurons have no derivative.
    seed : int
        Seed of random starts and noise.
    image_shape : tuple of int, optional
        Height, width and optionally channels of an image, for Square and for pictures. The default is the shape of `x` or, if `x`
        has rows, the shape that the model knows. If neither is known, images are taken to be square.

    Returns
    -------
    AttackResult
        It prints as a table; in a notebook it also shows images.

    Raises
    ------
    InputError
        If a setting is not valid, or a value of an image is outside [0, 1].
    ArrayError
        If images and labels do not fit the model or each other.
    NotFittedError
        If the classifier is not fitted.
    NoGradientError
        If the method needs a gradient and the model has none.

    Examples
    --------
    >>> import minicereb
    >>> x = np.random.default_rng(0).random((200, 6), dtype=np.float32)
    >>> y = (x[:, 0] > x[:, 1]).astype(int)
    >>> model = minicereb.Cerebellum(cells=500, epochs=20).fit(x, y)
    >>> result = minicereb.attack(model, x, y, epsilon=0.1)
    >>> result.robust_accuracy < result.clean_accuracy
    True
    """
    one = predictor_of(model)
    rows, numbers, shape = images_of(one, x, y, image_shape)
    settings = Attack(
        method,
        objective,
        epsilon,
        steps=method_named(method).steps if steps is None else steps,
        step_size=step_size,
        restarts=restarts,
        random_start=random_start,
        keep=keep,
        seed=seed,
        gradient=fitting_gradient(one.network_) if gradient == "fitting" else gradient,
        draws=draws,
        norm=norm,
        targets=targets,
    )
    parts = list(attack_images(one.network_, settings, rows, numbers, np.arange(len(rows)), image_shape=shape))
    before, after, clean, predicted, distance = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("x", "x_adv", "clean_predicted", "predicted", "distance")
    )
    names = one.classes_
    return AttackResult(settings, before, after, names[numbers], names[clean], names[predicted], distance, shape)


def evaluate(
    model: Any,
    x: Any,
    y: Any,
    *,
    epsilons: Sequence[float] | float = (0.1, 0.3),
    attacks: Iterable[str] | str | None = None,
    norm: str = "linf",
    certify: bool = True,
    check: bool = True,
    gradient: str = "fitting",
    draws: int = 32,
    seed: int = 0,
    image_shape: tuple[int, ...] | None = None,
    verbose: bool = False,
) -> Evaluation:
    """Evaluate robustness by many attacks, certificates and a checklist: ``minicereb evaluate`` as a function.

    The standard attacks take minutes on a thousand images, so begin with ``x[:200], y[:200]``.

    Parameters
    ----------
    model, x, y, norm, gradient, draws, seed, image_shape
        As for :func:`attack`.
    epsilons : sequence of float
        Values of ε, the largest change.
    attacks : str or sequence of str, optional
        ``"standard"``, ``"all"``, or names of :data:`minicereb.robustness.catalogue.ATTACKS`, as a list or separated by commas.
        The default is the standard attacks or, for a black box, ``square`` and ``random``, which need no gradient.
    certify : bool
        Whether to compute certificates, if the model has them.
    check : bool
        Whether to go through the checklist (docs/robustness.md), on the first 100 images.
    verbose : bool
        Whether each step prints a line on standard error.

    Returns
    -------
    Evaluation
        It prints as a table; in a notebook it also draws the accuracy over ε.

    Raises
    ------
    InputError, ArrayError, NotFittedError, NoGradientError
        As for :func:`attack`.
    InternalError
        If a certified image is broken.
    """
    one = predictor_of(model)
    given = (epsilons,) if isinstance(epsilons, int | float | np.number) else epsilons
    strengths = tuple(sorted({float(each) for each in given}))
    check_epsilons(strengths)
    network, fires = one.network_, binary_stage(one.network_) is not None
    black_box = not callable(getattr(unguarded(network), "input_gradient", None))
    named = (BLACK_BOX if black_box else ("standard",)) if attacks is None else attacks
    names = attacks_on(attacks_named(named.split(",") if isinstance(named, str) else named), fires)
    own = [name for name in names if not attack_named(name).transferred]
    require(bool(own) and COMPLETE not in names, "attacks", ",".join(names), "attacks on the model itself")
    rows, numbers, shape = images_of(one, x, y, image_shape)
    certifier, why = bounds_of(network, certify)
    source = fitting_gradient(network) if gradient == "fitting" else gradient
    target = EvaluationTarget(
        network,
        rows,
        numbers,
        shape,
        len(one.classes_),
        source,
        draws,
        certifier=certifier,
        no_substitute="no training images were given from which to train another model",
    )
    plan = EvaluationPlan(strengths, names, norm, seed)
    counts, found, checks = Counts(names, strengths, norm), [], [list[dict[str, Any]]() for _ in strengths]
    for part in blocks(len(rows), BLOCK):
        ids = np.arange(part.start, part.stop, dtype=np.int64)
        outcomes = no_outcomes(ids, numbers[ids], rows.shape[1], len(strengths), len(names))
        for _, doing in evaluate_images(target, plan, outcomes, 0):
            _tell(verbose, f"images {part.start}-{part.stop}: {doing}")
        counts.add(outcomes)
        found.append(outcomes)
    for e, lines in enumerate(checks if check else ()):
        for name, result in checklist(CheckContext(target, plan, found[0], e)):
            _tell(verbose, f"checklist at {strengths[e]:g}: {name}")
            lines.append({"name": name, **result._asdict()})
    record = {
        "model": repr(one),
        "gradient": source,
        "no_certificate": why,
        "images": counts.images,
        "clean_accuracy": counts.clean / counts.images,
        "norm": norm,
        "seed": seed,
        "epsilons": [{**counts.at(e, certifier is not None), "checklist": checks[e]} for e in range(len(strengths))],
        "checked_images": min(counts.images, CHECKED) if check else 0,
        "curve": counts.curve(),
    }
    nearest, distance = (np.concatenate([getattr(each, name) for each in found]) for name in ("nearest", "distance"))
    return Evaluation(record, nearest, distance)


def _tell(verbose: bool, doing: str) -> None:
    if verbose:
        print(doing, file=sys.stderr)
