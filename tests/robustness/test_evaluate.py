"""Outcomes image by image, and the counts that follow from them."""

import masking_classifiers as masking
import numpy as np
import pytest

from minicereb.certificates.certify import certify
from minicereb.datasets.dataset import Dataset
from minicereb.errors import InputError, MinicerebError
from minicereb.robustness.catalogue import ALL, ATTACKS, BY_STRENGTH, FLIPS, STANDARD, attacks_named
from minicereb.robustness.checklist import CheckContext, checklist
from minicereb.robustness.evaluate import EvaluationPlan, EvaluationTarget, evaluate_images
from minicereb.robustness.outcomes import BROKEN, NOT_TRIED, WITHSTOOD, Counts, no_outcomes
from minicereb.robustness.substitutes import own_substitute

ATTACKED = ("pgd-mse", "apgd-margin", "fab-t")


def evaluated(subject, plan, images=40, stop=None):
    ids = np.arange(images, dtype=np.int64)
    outcomes = no_outcomes(ids, subject.labels[ids], subject.rows.shape[1], len(plan.epsilons), len(plan.attacks))
    done = 0
    for done, _ in evaluate_images(subject, plan, outcomes, 0):
        if done == stop:
            break
    return outcomes, done


@pytest.fixture(scope="module")
def plan():
    return EvaluationPlan((0.01, 0.04), ATTACKED)


def test_what_is_broken_stays_broken_and_is_not_attacked_again(subject_for, learned, plan):
    outcomes, _ = evaluated(subject_for(learned), plan)
    assert not (outcomes.survivors(1) & ~outcomes.survivors(0)).any()
    again = outcomes.tried[1, 1:, ~outcomes.survivors(0)]
    assert (again == NOT_TRIED).all()
    assert (outcomes.tried[:, :, ~outcomes.clean] == NOT_TRIED).all()
    assert (outcomes.tried[:, 0, outcomes.clean] != NOT_TRIED).all()  # an attack with a figure of its own is made on every image
    assert set(np.unique(outcomes.tried)) <= {NOT_TRIED, WITHSTOOD, BROKEN}


def test_the_nearest_misclassified_image_is_what_it_claims(subject_for, learned, plan):
    subject = subject_for(learned)
    outcomes, _ = evaluated(subject, plan)
    found = np.flatnonzero(np.isfinite(outcomes.distance) & outcomes.clean)
    assert len(found) > 0
    answers = learned.forward(outcomes.nearest[found])[0].argmax(axis=1)
    assert (answers != outcomes.labels[found]).all()
    clean = subject.rows[outcomes.ids] / np.float32(255)
    assert np.allclose(np.abs(outcomes.nearest - clean).max(axis=1)[found], outcomes.distance[found], atol=1e-6)
    for e, epsilon in enumerate(plan.epsilons):
        assert ((outcomes.distance > epsilon) | ~outcomes.survivors(e))[outcomes.clean].all()


def test_counts_agree_with_the_outcomes(subject_for, learned, plan):
    outcomes, _ = evaluated(subject_for(learned), plan)
    counts = Counts(plan.attacks, plan.epsilons)
    counts.add(outcomes)
    for e in range(2):
        entry = counts.at(e, certified=False)
        assert entry["attacked"] == outcomes.survivors(e).mean()
        assert min(entry["by_attack"].values()) >= entry["attacked"]
        assert entry["by_attack"]["fab-t"] == entry["attacked"]  # the last
        assert sum(entry["broken_first_by"].values()) == (outcomes.clean & ~outcomes.survivors(e)).sum()
        assert entry["certified"] is None
        low, high = entry["attacked_interval"]
        assert low <= entry["attacked"] <= high
    curve = counts.curve()["attacked"]
    assert curve[0] == outcomes.clean.mean()
    assert curve[-1] == counts.at(1, False)["attacked"]
    assert curve[25] <= counts.at(0, False)["attacked"]
    assert all(a >= b for a, b in zip(curve, curve[1:], strict=False))


def test_an_evaluation_goes_on_where_it_was_stopped(subject_for, learned, plan):
    subject = subject_for(learned)
    whole, steps = evaluated(subject, plan, images=10)
    for stop in range(0, steps, 2):
        outcomes, done = evaluated(subject, plan, images=10, stop=stop)
        for _ in evaluate_images(subject, plan, outcomes, done):
            pass
        for name, array in whole.arrays().items():
            assert np.array_equal(array, outcomes.arrays()[name], equal_nan=array.dtype.kind == "f"), name


def test_an_image_both_certified_and_broken_is_an_error(subject_for, learned):
    def everything(x, labels, ids, epsilon, norm):
        return np.ones(len(x), dtype=bool), np.ones(len(x), dtype=np.float64)

    subject = subject_for(learned, certifier=everything)
    with pytest.raises(MinicerebError, match=r"image \d+ is certified at 0.1 and broken by apgd-margin"):
        evaluated(subject, EvaluationPlan((0.1,), ("apgd-margin",)))


def test_on_every_device(xp_device, drawn):
    """Require the same outcomes, except for images that rounding decides; of three digits, for a few targets to attack."""
    train, test = drawn.y_train < 3, drawn.y_test < 3
    parts = drawn.x_train[train], drawn.y_train[train], drawn.x_test[test], drawn.y_test[test]
    digits = Dataset("three digits", *parts, drawn.image_shape, 3)
    model = own_substitute(digits, seed=0)
    subject = EvaluationTarget(
        model,
        digits.x_test,
        digits.y_test,
        digits.image_shape,
        digits.classes,
        substitutes={"another": own_substitute(digits, seed=1)},
        certifier=lambda x, labels, ids, epsilon, norm: certify(model, x, labels, epsilon, norm),
    )
    plan = EvaluationPlan((0.01, 0.03), ("fgsm-mse", "apgd-t", "fab-t", "transfer"))
    outcomes, _ = evaluated(subject, plan, images=6)
    assert outcomes.clean.any()
    assert (outcomes.certified <= outcomes.clean).all()
    for name, finding in checklist(CheckContext(subject, plan, outcomes, 0)):
        assert finding.verdict in ("pass", "warn"), (name, finding)


def test_a_judge_has_the_last_word(subject_for, learned):
    """If the judge is always right, no image is broken, whatever the model itself answers."""
    subject = subject_for(learned)
    judged = subject_for(learned, judge=lambda x, ids: subject.labels[ids])
    outcomes, _ = evaluated(judged, EvaluationPlan((0.1,), ("apgd-margin",)))
    assert outcomes.clean.all()
    assert outcomes.survivors(0).all()


def test_outputs_of_the_wrong_shape_are_told(subject_for, learned):
    class Short(masking.Wrapped):
        def forward(self, x):
            outputs, cache = self.model.forward(x)
            return outputs[:, :4], cache

    with pytest.raises(InputError, match="model: 'outputs of shape"):
        evaluated(subject_for(Short(learned)), EvaluationPlan((0.1,), ("apgd-margin",)))


def test_the_catalogue():
    assert attacks_named(["standard"]) == STANDARD
    assert attacks_named(["all"]) == ALL
    assert attacks_named(["square", "standard", "square"]) == ("square", "apgd-ce", "apgd-t", "fab-t", "fmn-t", "square-ensemble")
    assert set(BY_STRENGTH) | {"fab-t", "fmn-t", "square", "square-ensemble", "random", "transfer", *FLIPS} == set(ATTACKS)
    for name in ATTACKS:
        for epsilon in (0.0, 0.1, 2.0):
            for norm in ("linf", "l2"):
                assert all(attack.epsilon == epsilon for attack in ATTACKS[name].make(epsilon, norm, 0, "analytic", 1))
    for names in ([], ["nothing"], ["standard", ""]):
        with pytest.raises(InputError, match="attacks: "):
            attacks_named(names)
