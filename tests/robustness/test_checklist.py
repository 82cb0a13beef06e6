"""The checklist: silent about an honest evaluation, and a verdict for each way of deceiving oneself."""

import dataclasses

import masking_classifiers as masking
import numpy as np
import pytest

from minicereb.robustness.checklist import CHECKS, CheckContext, checklist
from minicereb.robustness.evaluate import EvaluationPlan, evaluate_images
from minicereb.robustness.outcomes import no_outcomes
from minicereb.robustness.substitutes import own_substitute

EPSILON = 0.03
IMAGES = 40


@pytest.fixture(scope="module")
def other(drawn):
    return {"another": own_substitute(drawn, seed=1)}


def verdicts(subject, attacks, other, epsilon=EPSILON, images=IMAGES):
    subject = dataclasses.replace(subject, substitutes=other)
    plan = EvaluationPlan((epsilon,), attacks)
    ids = np.arange(images, dtype=np.int64)
    outcomes = no_outcomes(ids, subject.labels[ids], subject.rows.shape[1], 1, len(attacks))
    for _ in evaluate_images(subject, plan, outcomes, 0):
        pass
    return dict(checklist(CheckContext(subject, plan, outcomes, 0)))


def test_an_honest_evaluation_passes_every_check(subject_for, learned, other):
    found = verdicts(subject_for(learned), ("apgd-margin", "apgd-ce"), other)
    assert list(found) == list(CHECKS)
    assert {name: finding.verdict for name, finding in found.items() if finding.verdict not in ("pass", "warn")} == {}
    assert found["gradients-there"].verdict == found["float32-suffices"].verdict == "pass"
    assert found["unbounded-reaches-chance"].value == 0
    assert all(finding.reason for finding in found.values())


def test_a_weak_attack_is_told(subject_for, learned, other):
    found = verdicts(subject_for(learned), ("weak",), other)
    assert found["more-iterations"].verdict in ("warn", "fail")
    for name in ("fgsm-not-stronger", "loss-has-settled", "black-box-not-stronger"):
        assert found[name].verdict == "fail", (name, found[name])
    assert found["not-squared-error-alone"].verdict == "fail"


def test_saturated_outputs_are_told(subject_for, learned, other):
    found = verdicts(subject_for(masking.Saturated(learned)), ("apgd-ce",), other)
    assert found["gradients-there"].verdict == found["float32-suffices"].verdict == "fail"
    assert found["gradients-there"].value > 0.5
    together = verdicts(subject_for(masking.Saturated(learned)), ("apgd-ce", "apgd-margin"), other)
    assert together["gradients-there"].verdict == "warn"


def test_shattered_gradients_are_told(subject_for, learned, other):
    found = verdicts(subject_for(masking.Shattered(learned)), ("apgd-margin",), {"the same, undisguised": learned}, epsilon=0.1)
    for name in ("random-not-stronger", "black-box-not-stronger", "transfer-not-stronger"):
        assert found[name].verdict == "fail", (name, found[name])


def test_a_gradient_that_is_zero_everywhere_is_told(subject_for, learned, other):
    found = verdicts(subject_for(masking.Stepped(learned)), ("apgd-margin", "apgd-ce"), other)
    assert found["gradients-there"].verdict == "fail"
    assert found["gradients-there"].value == 1
    assert found["unbounded-reaches-chance"].verdict == "fail"


def test_answers_that_change_are_told(subject_for, learned, other):
    found = verdicts(subject_for(masking.Nervous(learned)), ("pgd-margin",), other)
    assert found["answers-repeat"].verdict == "fail"


def test_the_squared_error_beside_other_objectives_is_a_warning(subject_for, learned, other):
    found = verdicts(subject_for(masking.Saturated(learned, 20.0)), ("pgd-mse", "apgd-margin"), other)["not-squared-error-alone"]
    assert found.verdict == "warn" if found.value > 0.01 else found.verdict == "pass"
    assert found.value >= 0


def test_nothing_right_is_nothing_to_test(subject_for, learned, other):
    class Wrong(masking.Wrapped):
        def forward(self, x):
            outputs, cache = self.model.forward(x)
            return -outputs, cache

    found = verdicts(subject_for(Wrong(learned)), ("apgd-margin",), other, images=10)
    assert {finding.verdict for finding in found.values()} <= {"not tested", "pass"}
