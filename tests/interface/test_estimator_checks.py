"""The classifiers against scikit-learn's own checks of classifiers; which do not apply is named with the reason."""

import warnings

import numpy as np
import pytest

import minicereb
from minicereb.errors import InputError

sklearn = pytest.importorskip("sklearn", reason="scikit-learn is not installed: python -m pip install scikit-learn")
from sklearn.base import clone  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_score  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import MinMaxScaler  # noqa: E402
from sklearn.utils import estimator_checks  # noqa: E402

CLASSIFIERS = (
    minicereb.Cerebellum(cells=500),
    minicereb.Perceptron(),
    minicereb.LikelihoodRatioNetwork(),
)
ROUNDED = "outputs are float32, and the check compares to 1e-7: the last bits of a matrix product depend on the other rows"
DO_NOT_APPLY = {
    "check_methods_sample_order_invariance": ROUNDED,
    "check_methods_subset_invariance": ROUNDED,
}

if tuple(map(int, sklearn.__version__.split(".")[:2])) >= (1, 6):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn remarks that they are not subclasses of its BaseEstimator
        checks = estimator_checks.parametrize_with_checks(list(CLASSIFIERS), expected_failed_checks=lambda _: DO_NOT_APPLY)

    @checks
    def test_scikit_learn(estimator, check):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # checks give tables on which nothing can converge
            check(estimator)

else:

    def test_scikit_learn_before_its_checks_accepted_classes_without_its_base():
        pytest.skip("scikit-learn before 1.6 checks only subclasses of its own")


@pytest.fixture(scope="module")
def table():
    x = np.random.default_rng(0).random((240, 6))
    return x, np.where(x[:, 0] + x[:, 1] > x[:, 2] + x[:, 3], "left", "right")


@pytest.mark.parametrize("model", CLASSIFIERS, ids=lambda model: type(model).__name__)
def test_predictions_agree_to_single_precision_whatever_the_order(model, table):
    """What the two checks above ask for, to the precision that there is."""
    x, y = table
    model = clone(model).fit(x, y)
    whole, order = model.decision_function(x), np.random.default_rng(1).permutation(len(x))
    scale = abs(whole).max()
    assert np.allclose(model.decision_function(x[order]), whole[order], rtol=0, atol=1e-5 * scale)
    assert np.allclose(
        np.concatenate([model.decision_function(x[i : i + 1]) for i in range(40)]), whole[:40], rtol=0, atol=1e-5 * scale
    )


def test_search_over_folds_in_a_pipeline(table):
    x, y = table
    pipeline = make_pipeline(MinMaxScaler(), minicereb.Cerebellum(cells=300, epochs=5))
    grid = {"cerebellum__cells": [100, 300], "cerebellum__inputs_per_cell": [2, 4]}
    search = GridSearchCV(pipeline, grid, cv=3).fit(x * 7 - 3, y)
    assert search.best_score_ > 0.7
    assert set(search.best_params_) == set(grid)
    assert cross_val_score(minicereb.Perceptron((20,), epochs=80), x, y, cv=3).mean() > 0.7
    assert cross_val_score(minicereb.Cerebellum(200), x, y, cv=3, scoring="roc_auc").mean() > 0.7


def test_a_search_can_be_attacked(table):
    x, y = table
    search = GridSearchCV(minicereb.Cerebellum(300), {"inputs_per_cell": [2, 4]}, cv=3).fit(x, y)
    result = minicereb.attack(search, x, y, epsilon=0.05)
    assert result.clean_accuracy == search.score(x, y)
    assert result.robust_accuracy < result.clean_accuracy


def test_its_errors_are_scikit_learn_s_too(table):
    with pytest.raises(sklearn.exceptions.NotFittedError, match="call fit"):
        minicereb.Cerebellum().predict(table[0])


def test_models_of_scikit_learn_are_told_how_to_be_attacked(table):
    with pytest.raises(InputError, match=r"model: 'Pipeline' is not valid; expected .* minicereb.from_sklearn\(model\)"):
        minicereb.attack(make_pipeline(MinMaxScaler(), minicereb.Cerebellum(100)), *table)
    with pytest.raises(InputError, match="model: 'Cerebellum' .* the classifier itself, with images already scaled"):
        minicereb.from_sklearn(make_pipeline(MinMaxScaler(), minicereb.Cerebellum(100)))
