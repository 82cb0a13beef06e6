"""The models of this project as scikit-learn classifiers: ``fit``, ``partial_fit``, ``predict`` and parameters.

These classifiers learn by the same code as ``minicereb train``: the same data, settings and seed give a model with the same bits.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import sys
import warnings
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

import numpy as np

from minicereb.attacks.adversarial_training import Adversary
from minicereb.attacks.settings import fitting_step
from minicereb.backend import to_device, to_numpy
from minicereb.datasets.dataset import Dataset
from minicereb.datasets.transforms import to_unit
from minicereb.errors import ArrayError, InputError, MinicerebError, require
from minicereb.experiments.architectures import IN_TIME, CerebellumModel, NoisyModel, PerceptronModel, build_learner, solve
from minicereb.experiments.configs import Data, Train
from minicereb.experiments.usual import INPUTS_PER_CELL, usual_of_cerebellum, usual_of_noisy
from minicereb.interface.arrays import class_numbers, features, labels, of_scikit_learn
from minicereb.interface.predictors import Parameters, Predictor
from minicereb.learning.probes import PROBES
from minicereb.learning.training import QUIET, Learner, Position, Split, divergence, restore, train
from minicereb.models.cerebellum import CerebellarNetwork
from minicereb.parallel import one_blas_thread
from minicereb.settings import declared

Class = TypeVar("Class", bound=type)

OWN_HELP = {
    "random_state": "Seed of the wiring, initial weights, order of the samples and validation split, like ``--seed``.",
    "adversarial": "Learn from samples attacked within this L∞ bound by seven steps of PGD; features must be in [0, 1].",
    "image_shape": "Height, width and perhaps channels of images; by default a row is a line of numbers.",
    "verbose": "Whether every epoch prints a line on standard error.",
}


OWN_USUAL = {
    "inputs_per_cell": f"{INPUTS_PER_CELL}, or all if there are fewer; full wiring: all",
    "learning_rate": "0.5 / cells; with neuronal noise 0.06, cnn 0.02, recurrent and spiking 0.01",
    "threshold": "0.5 with threshold fibres",
    "uncertainty": "0.1 with the pessimistic rule",
    "pessimism": "0.5 with the pessimistic rule or interval bounds",
    "hidden": "20, or 128 if not network='dense'",
    "estimator": "flip with thresholds, else resample; without noise, backprop or surrogate",
    "replications": "10000 plain, 128 sobol, 1 flip, resample, exact, backprop and surrogate, else 100",
    "last_layer": "score for dense and cnn if the estimator uses scores; resample for cnn with flip or resample; else derivative",
    "noise_scale": "2; with network='cnn' 0.3 for convolutions, 0.5 for outputs; if recurrent or spiking 0.5 and 1",
    "channels": "16 with network='cnn'",
    "presentation": "whole with network='spiking', else rows",
    "persistence": "12 with network='recurrent' and flip or resample, else 0",
}


def described(*settings: type) -> Callable[[Class], Class]:
    """Return a decorator that documents a classifier's parameters by the descriptions of the fields of `settings`."""
    fields = {field.name: field for each in settings for field in dataclasses.fields(each)}

    def describe(cls: Class) -> Class:
        lines = []
        for name, parameter in inspect.signature(cls).parameters.items():
            about = declared(fields[name]) if name in fields else None
            kind = str(parameter.annotation).replace(" | ", " or ")
            text = OWN_HELP[name] if about is None or name in OWN_HELP else about.text
            usual = OWN_USUAL.get(name, about.usual if about is not None else "") if parameter.default is None else ""
            choices = f" One of {', '.join(about.names)}." if about is not None and about.choices is not None else ""
            lines += [f"{name} : {kind}, default {usual or repr(parameter.default)}", f"    {text}{choices}"]
        first, _, rest = inspect.cleandoc(cls.__doc__ or "").partition("\n\nAttributes\n")
        cls.__doc__ = f"{first}\n\nParameters\n----------\n" + "\n".join(lines) + f"\n\nAttributes\n{rest}"
        return cls

    return describe


class LearningClassifier(Parameters, Predictor):
    """Base class of the classifiers that learn."""

    epochs: int
    batch_size: int
    validation: float
    random_state: int
    verbose: bool
    adversarial: float | None = None
    _learner: Learner

    def _model(self, inputs: int) -> Any:
        """Return the settings of the network."""
        raise NotImplementedError

    def _settings(self, inputs: int, **changes: Any) -> Train:
        """Return all settings of the training run, as ``minicereb train`` would."""
        require(
            isinstance(self.random_state, int | np.integer), "random_state", self.random_state, "a whole number of at least 0"
        )
        names = {field.name for field in dataclasses.fields(Train)} - {"model", "data", "seed", "adversary", "encoder"}
        given = {name: value for name, value in self.get_params().items() if name in names}
        model = self._model(inputs)
        adversary = None
        if self.adversarial is not None:
            Adversary(self.adversarial, 1.0)  # raises an error for an invalid bound
            step = fitting_step(self.adversarial, Adversary.steps)
            adversary = Adversary(self.adversarial, step, Adversary.steps, getattr(model, "loss", Adversary.objective))
        return Train(model, Data("given", ""), seed=int(self.random_state), adversary=adversary, **given | changes)

    def fit(self, x: Any, y: Any) -> Any:
        """Train a new network on samples and their labels.

        Parameters
        ----------
        x : array-like, shape (samples, features)
            Finite numbers. Attacks and evaluations need features in [0, 1]. Bytes (uint8) are pixels from 0 to 255; learning and
            prediction read them as numbers from 0 to 1.
        y : array-like, shape (samples,)
            Numbers or names of at least two classes.

        Returns
        -------
        classifier
            This classifier, fitted.

        Raises
        ------
        ArrayError
            If samples or labels cannot be used.
        InputError
            If a parameter is not valid.
        MinicerebError
            If learning diverged and a number became infinite or NaN.

        Warns
        -----
        ConvergenceWarning
            If learning diverged; a UserWarning, unless the program uses scikit-learn.
        """
        rows = features(x)
        given = labels(y, len(rows))
        classes = np.unique(given)
        if len(classes) < 2:
            raise ArrayError(f"y holds one class only, {classes[:1].tolist()[0]!r}; expected at least 2 classes")
        self._set_names(x)
        self._begin(rows.shape[1], classes)
        config = self._settings(rows.shape[1])
        split = self._split(rows, class_numbers(given, classes))
        learner = build_learner(config, split.dataset)
        self.history_: list[dict[str, Any]] = []
        try:
            if config.in_closed_form:
                learner.model = solve(learner.model, split, config.model.ltd)  # type: ignore[union-attr]
            else:
                self._learn(learner, split, config)
        except MinicerebError as error:
            raise type(error)(self._in_python(str(error))) if type(error) is MinicerebError else error from None
        self._learner, self.network_ = learner, learner.model
        return self

    def _learn(self, learner: Learner, split: Split, config: Train) -> None:
        best: dict[str, Any] = {}
        position = Position()
        for now, done in train(learner, split, config.epochs, config.seed, Position(), best):
            position = now
            if done is not None:
                self.history_.append({name: value for name, value in asdict(done).items() if value is not None})
                self._tell(config.epochs)
        if config.keep == "best":
            restore(learner.arrays(), {name: to_numpy(array) for name, array in best.items()})
        earlier = config.keep == "best" and position.best_epoch < position.epoch
        warning = divergence(learner, split, self.history_[-1]["loss"] if earlier else None)
        if warning:
            warnings.warn(self._in_python(warning), of_scikit_learn("ConvergenceWarning", UserWarning), stacklevel=3)

    def partial_fit(self, x: Any, y: Any, classes: Any = None) -> Any:
        """Learn once from each sample, in the given order, continuing from the current weights; the learning rate is constant.

        Parameters
        ----------
        x, y
            As for :meth:`fit`.
        classes : array-like, shape (classes,), optional
            All labels that will occur; required at the first call, unless `y` contains them all.

        Returns
        -------
        classifier
            This classifier.

        Raises
        ------
        ArrayError
            As for :meth:`fit`, or for a label that is not one of the classes.
        InputError
            If a parameter is not valid, or learning needs all samples at once.
        """
        fitted = self.__sklearn_is_fitted__()
        rows = features(x, self.n_features_in_ if fitted else None, type(self).__name__)
        given = labels(y, len(rows))
        if fitted:
            self._check_names(x)
        else:
            known = np.unique(given if classes is None else labels(classes, len(classes)))
            if len(known) < 2:
                raise ArrayError(f"y holds one class only, {known[:1].tolist()[0]!r}; name all classes with classes=")
            self._set_names(x)
            self._begin(rows.shape[1], known)
        numbers = class_numbers(given, self.classes_)
        if not fitted:
            config = self._settings(rows.shape[1], validation=0.0, schedule="constant")
            require(not config.in_closed_form, "rule", "least-squares", "another rule: partial_fit is impossible in closed form")
            self._learner = build_learner(config, self._split(rows, numbers, 0.0).dataset)
            self.network_ = self._learner.model
        group = self._learner.batches_ahead * self._learner.batch_size
        for start in range(0, len(rows), group):
            part = slice(start, start + group)
            with np.errstate(**QUIET), one_blas_thread():
                for _ in self._learner.learn(to_unit(to_device(rows[part])), to_device(numbers[part])):
                    pass
        return self

    def _begin(self, inputs: int, classes: np.ndarray) -> None:
        self.n_features_in_, self.classes_ = inputs, classes

    def _split(self, rows: np.ndarray, numbers: np.ndarray, validation: float | None = None) -> Split:
        shape = (rows.shape[1],) if self.image_shape is None else tuple(self.image_shape)
        expected = f"height, width and perhaps channels of {rows.shape[1]} features"
        require(math.prod(shape) == rows.shape[1], "image_shape", shape, expected)
        dataset = Dataset("X", rows, numbers, rows[:0], numbers[:0], shape, len(self.classes_))
        return Split(dataset, self.validation if validation is None else validation, int(self.random_state))

    def _tell(self, epochs: int) -> None:
        if self.verbose:
            done = dict(self.history_[-1])
            words = ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in done.items() if name != "epoch")
            print(f"epoch {done['epoch']} of {epochs}: {words}", file=sys.stderr)

    def _in_python(self, said: str) -> str:
        """Return an error message of a command, with parameters in place of options."""
        return said.partition("; lower --learning-rate")[0] + "; lower learning_rate" if "--learning-rate" in said else said

    def _set_names(self, x: Any) -> None:
        names = _column_names(x)
        if names is not None:
            self.feature_names_in_ = names
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_

    def _check_names(self, x: Any) -> None:
        names, known, name = _column_names(x), getattr(self, "feature_names_in_", None), type(self).__name__
        if names is None and known is None:
            return
        if known is None:
            warnings.warn(f"X has feature names, but {name} was fitted without feature names", stacklevel=4)
        elif names is None:
            warnings.warn(f"X does not have valid feature names, but {name} was fitted with feature names", stacklevel=4)
        elif not np.array_equal(names, known):
            said = ["The feature names should match those that were passed during fit."]
            for what, which in (
                ("unseen at fit time", {*names} - {*known}),
                ("seen at fit time, yet now missing", {*known} - {*names}),
            ):
                said += [f"Feature names {what}:", *(f"- {each}" for each in sorted(which)[:5])] if which else []
            if len(said) == 1:
                said.append("Feature names must be in the same order as they were in fit.")
            raise ArrayError("\n".join([*said, ""]))


def _column_names(x: Any) -> np.ndarray | None:
    """Return the names of a table's columns, if these names are strings."""
    columns = getattr(x, "columns", None)
    if columns is None or not hasattr(x, "shape"):
        return None
    names = np.asarray(columns, dtype=object)
    return names if len(names) and all(isinstance(each, str) for each in names.tolist()) else None


def _whole_numbers(name: str, value: Any) -> tuple[int, ...]:
    """Return the sizes of layers, given as one number or several."""
    given = (value,) if isinstance(value, int | np.integer) else value
    try:
        return tuple(each.item() if isinstance(each, np.generic) else each for each in given)
    except TypeError:
        raise InputError(name, value, "whole numbers, one for each layer") from None


@described(CerebellumModel, Train)
class Cerebellum(LearningClassifier):
    """A simulated cerebellum: fixed granule cells, and Purkinje cells that learn by a local rule ``[C1]`` ``[C4]``.

    Attributes
    ----------
    classes_ : array, shape (classes,)
        The labels, sorted.
    n_features_in_ : int
    network_ : CerebellarNetwork
        Wiring, LTD means and readout weights.
    history_ : list of dict
        Mean loss and accuracies of each epoch.

    Examples
    --------
    >>> import minicereb
    >>> x = np.random.default_rng(0).random((200, 6), dtype=np.float32)
    >>> y = np.where(x[:, 0] > x[:, 1], "first", "second")
    >>> model = minicereb.Cerebellum(cells=500, epochs=20).fit(x, y)
    >>> model
    Cerebellum(cells=500, epochs=20)
    >>> model.score(x, y) > 0.9
    True
    """

    network_: CerebellarNetwork

    def __init__(
        self,
        cells: int = 20_000,
        inputs_per_cell: int | None = None,
        ltd: bool = True,
        *,
        wiring: str = "random",
        replacement: bool = False,
        patch: bool = False,
        field: int | None = None,
        codons: float | None = None,
        ltd_decay: float = 0.99,
        rule: str = "delta",
        loss: str = "mse",
        mossy_fibres: str = "graded",
        threshold: float | None = None,
        uncertainty: float | None = None,
        pessimism: float | None = None,
        epochs: int = 10,
        batch_size: int = 10,
        learning_rate: float | None = None,
        optimizer: str = "rmsprop",
        schedule: str = "constant",
        validation: float = 1 / 12,
        keep: str = "best",
        adversarial: float | None = None,
        image_shape: tuple[int, ...] | None = None,
        random_state: int = 0,
        verbose: bool = False,
    ) -> None:
        self.cells = cells
        self.inputs_per_cell = inputs_per_cell
        self.ltd = ltd
        self.wiring = wiring
        self.replacement = replacement
        self.patch = patch
        self.field = field
        self.codons = codons
        self.ltd_decay = ltd_decay
        self.rule = rule
        self.loss = loss
        self.mossy_fibres = mossy_fibres
        self.threshold = threshold
        self.uncertainty = uncertainty
        self.pessimism = pessimism
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.optimizer = optimizer
        self.schedule = schedule
        self.validation = validation
        self.keep = keep
        self.adversarial = adversarial
        self.image_shape = image_shape
        self.random_state = random_state
        self.verbose = verbose

    def _with_usual(self, inputs: int) -> dict[str, Any]:
        given = self.get_params()
        usual = usual_of_cerebellum(given)
        if "inputs_per_cell" in usual:
            usual["inputs_per_cell"] = min(INPUTS_PER_CELL, inputs)
        return given | usual

    def _model(self, inputs: int) -> CerebellumModel:
        given = self._with_usual(inputs)
        return CerebellumModel(**{field.name: given[field.name] for field in dataclasses.fields(CerebellumModel)})

    def _settings(self, inputs: int, **changes: Any) -> Train:
        self._model(inputs)  # raises an error for a number of cells for which there is no default rate
        return super()._settings(inputs, **{"learning_rate": self._with_usual(inputs)["learning_rate"], **changes})


@described(PerceptronModel, Train)
class Perceptron(LearningClassifier):
    """A multilayer perceptron of ReLU units, trained by backpropagation ``[M-BP]``, as a control.

    Attributes
    ----------
    classes_ : array, shape (classes,)
        The labels, sorted.
    n_features_in_ : int
    network_ : Sequential
        Dense layers and ReLU units.
    history_ : list of dict
        Mean loss and accuracies of each epoch.
    """

    def __init__(
        self,
        hidden: tuple[int, ...] = (300, 100),
        *,
        l2: float = 0.0,
        l1: float = 0.0,
        loss: str = "cross-entropy",
        interval_bounds: float | None = None,
        pessimism: float | None = None,
        epochs: int = 10,
        batch_size: int = 32,
        learning_rate: float = 1e-3,
        optimizer: str = "adam",
        schedule: str = "constant",
        validation: float = 1 / 12,
        keep: str = "best",
        adversarial: float | None = None,
        image_shape: tuple[int, ...] | None = None,
        random_state: int = 0,
        verbose: bool = False,
    ) -> None:
        self.hidden = hidden
        self.l2 = l2
        self.l1 = l1
        self.loss = loss
        self.interval_bounds = interval_bounds
        self.pessimism = pessimism
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.optimizer = optimizer
        self.schedule = schedule
        self.validation = validation
        self.keep = keep
        self.adversarial = adversarial
        self.image_shape = image_shape
        self.random_state = random_state
        self.verbose = verbose

    def _model(self, inputs: int) -> PerceptronModel:
        pessimism = 0.5 if self.interval_bounds is not None and self.pessimism is None else self.pessimism
        penalties = (self.l2, self.l1, self.loss)
        return PerceptronModel(_whole_numbers("hidden", self.hidden), *penalties, self.interval_bounds, pessimism)


@described(NoisyModel, Train)
class LikelihoodRatioNetwork(LearningClassifier):
    """A network with neuronal noise that learns from its loss values (the generalised likelihood ratio method) ``[G-A1]``.

    The network predicts without noise. With ``network="cnn"`` it begins with convolutions; with ``"recurrent"`` or
    ``"spiking"`` its hidden layer runs over time steps. These networks need the `image_shape`, unless every time step shows the
    whole image.

    Attributes
    ----------
    classes_ : array, shape (classes,)
        The labels, sorted.
    n_features_in_ : int
    network_ : NoisyNetwork
        Layers with their noise.
    history_ : list of dict
        Mean loss and accuracies of each epoch.
    """

    def __init__(
        self,
        hidden: tuple[int, ...] | None = None,
        activation: str = "threshold",
        *,
        slope: float = 1.0,
        noise: str = "gaussian",
        noise_scale: tuple[float, ...] | None = None,
        noise_degrees: float | None = None,
        output_noise: bool = True,
        output_activation: bool = False,
        loss: str = "cross-entropy",
        estimator: str | None = None,
        replications: int | None = None,
        last_layer: str | None = None,
        l2: float = 0.0,
        l1: float = 0.0,
        learn_scale: bool = False,
        network: str = "dense",
        channels: tuple[int, ...] | None = None,
        kernel: int = 5,
        stride: int = 2,
        pool: int = 1,
        pooling: str = "mean",
        placement: str = "all",
        probes: int = PROBES,
        presentation: str | None = None,
        steps: int = 8,
        leak: float = 0.8,
        persistence: float | None = None,
        epochs: int = 30,
        batch_size: int = 50,
        learning_rate: float | None = None,
        optimizer: str = "adam",
        schedule: str = "cosine",
        validation: float = 0.0,
        keep: str = "best",
        image_shape: tuple[int, ...] | None = None,
        random_state: int = 0,
        verbose: bool = False,
    ) -> None:
        self.hidden = hidden
        self.activation = activation
        self.slope = slope
        self.noise = noise
        self.noise_scale = noise_scale
        self.noise_degrees = noise_degrees
        self.output_noise = output_noise
        self.output_activation = output_activation
        self.loss = loss
        self.estimator = estimator
        self.replications = replications
        self.last_layer = last_layer
        self.l2 = l2
        self.l1 = l1
        self.learn_scale = learn_scale
        self.network = network
        self.channels = channels
        self.kernel = kernel
        self.stride = stride
        self.pool = pool
        self.pooling = pooling
        self.placement = placement
        self.probes = probes
        self.presentation = presentation
        self.steps = steps
        self.leak = leak
        self.persistence = persistence
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.optimizer = optimizer
        self.schedule = schedule
        self.validation = validation
        self.keep = keep
        self.image_shape = image_shape
        self.random_state = random_state
        self.verbose = verbose

    def _with_usual(self) -> dict[str, Any]:
        given = self.get_params()
        for name in ("hidden", "channels"):
            if given[name] is not None:
                given[name] = _whole_numbers(name, given[name])
        given |= usual_of_noisy(given)
        if isinstance(given["noise_scale"], list):
            given["noise_scale"] = tuple(given["noise_scale"])
        return given

    def _model(self, inputs: int) -> NoisyModel:
        given = self._with_usual()
        model = NoisyModel(**{field.name: given[field.name] for field in dataclasses.fields(NoisyModel) if field.name in given})
        shown = model.network == "cnn" or model.network in IN_TIME and model.presentation == "rows"
        known = not shown or self.image_shape is not None and len(self.image_shape) in (2, 3)
        require(
            known,
            "image_shape",
            self.image_shape,
            f"height and width, and perhaps channels, of images with network={model.network!r}",
        )
        return model

    def _settings(self, inputs: int, **changes: Any) -> Train:
        return super()._settings(inputs, **{"learning_rate": self._with_usual()["learning_rate"], **changes})
