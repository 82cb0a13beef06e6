"""The common parts of the package's classifiers: prediction, and the parameters that scikit-learn expects.

Nothing here needs scikit-learn. If a program imports scikit-learn, that library's own errors, warnings and tags are used.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from minicereb.backend import to_device, to_numpy
from minicereb.datasets.transforms import to_unit
from minicereb.errors import InputError, NotFittedError, did_you_mean
from minicereb.interface.arrays import class_numbers, features, labels, of_scikit_learn
from minicereb.parallel import blocks, images_per_block, one_blas_thread


class Predictor:
    """A classifier that consists of a network and names for its classes.

    Attributes
    ----------
    network_ : network
        The network that computes the outputs: any object with ``forward`` and, unless it is a black box, ``input_gradient``.
    classes_ : array, shape (classes,)
        The labels, sorted; the position of a label is the index of its output.
    n_features_in_ : int
        Number of values in a row.
    """

    network_: Any
    classes_: np.ndarray
    n_features_in_: int
    image_shape: Any = None

    def outputs(self, x: Any) -> np.ndarray:
        """Return the outputs of the network, array of shape (samples, classes).

        Parameters
        ----------
        x : array-like, shape (samples, features)

        Raises
        ------
        NotFittedError
            If the classifier is not fitted.
        ArrayError
            If `x` is not a table of numbers, or does not have the classifier's number of features.
        """
        self._require_network()
        self._check_names(x)
        rows = features(x, self.n_features_in_, type(self).__name__)
        size = images_per_block(getattr(self.network_, "bytes_per_image", 0) + 64 * rows.shape[1])
        with one_blas_thread():
            parts = (self.network_.forward(to_unit(to_device(rows[part])))[0] for part in blocks(len(rows), size))
            return np.concatenate([to_numpy(part) for part in parts])

    def decision_function(self, x: Any) -> np.ndarray:
        """Return the outputs, shape (samples, classes); with two classes their difference, shape (samples,), as in scikit-learn.

        Arguments and errors are the same as for :meth:`outputs`.
        """
        outputs = self.outputs(x)
        return outputs[:, 1] - outputs[:, 0] if len(self.classes_) == 2 else outputs

    def predict(self, x: Any) -> np.ndarray:
        """Return the label with the largest output for each sample, shape (samples,); ties go to the first.

        Arguments and errors are the same as for :meth:`outputs`.
        """
        numbers = self.outputs(x).argmax(axis=1)
        return self.classes_[numbers]

    def score(self, x: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the fraction of samples that are classified correctly, optionally weighted by `sample_weight`."""
        predicted = self.predict(x)
        right = predicted == labels(y, len(predicted))
        return float(np.average(right, weights=sample_weight))

    def numbers_of(self, y: Any, samples: int) -> np.ndarray:
        """Return the class index of each label, int64; raise :class:`ArrayError` if a label is unknown."""
        return class_numbers(labels(y, samples), self.classes_)

    def _require_network(self) -> None:
        if getattr(self, "network_", None) is None:
            name = type(self).__name__
            theirs = of_scikit_learn("NotFittedError", NotFittedError)
            kind = theirs if theirs is NotFittedError else type("NotFittedError", (NotFittedError, theirs), {})
            raise kind(f"This {name} instance is not fitted yet: call fit(x, y) first")

    def _check_names(self, x: Any) -> None:
        """Check that a table has the column names of the training data, if these are known."""


class Parameters:
    """Parameters as scikit-learn expects them: each argument of ``__init__`` is an attribute of the same name."""

    _estimator_type = "classifier"  # read by scikit-learn before 1.6

    @classmethod
    def _parameters(cls) -> dict[str, inspect.Parameter]:
        return {name: each for name, each in inspect.signature(cls).parameters.items() if name != "self"}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters, keyed by name; `deep` has no effect, since no parameter is a classifier."""
        return {name: getattr(self, name) for name in self._parameters()}

    def set_params(self, **parameters: Any) -> Any:
        """Change the named parameters and return the classifier; an :class:`InputError` names a parameter that does not exist."""
        known = list(self._parameters())
        for name in parameters:
            if name not in known:
                expected = f"a parameter of {type(self).__name__}: {', '.join(known)}{did_you_mean(name, known)}"
                raise InputError("set_params", name, expected)
        for name, value in parameters.items():
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        changed = (
            f"{name}={getattr(self, name)!r}"
            for name, each in self._parameters().items()
            if repr(getattr(self, name)) != repr(each.default)
        )
        return f"{type(self).__name__}({', '.join(changed)})"

    def __sklearn_tags__(self) -> Any:
        """Return the tags for scikit-learn 1.6 and later: a classifier of dense finite numbers that needs labels."""
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(),
            input_tags=InputTags(),
        )

    def __sklearn_is_fitted__(self) -> bool:
        """Return whether the classifier is fitted."""
        return getattr(self, "network_", None) is not None
