"""Users' classifiers: results stay right whatever they do to their arrays, and the checklist warns of unfit ones."""

from dataclasses import replace

import linear_classifier as linear
import numpy as np
import pytest

from minicereb.attacks.classifier import Guarded, guarded
from minicereb.attacks.run import attack_images
from minicereb.attacks.settings import Attack
from minicereb.errors import InputError, InternalError, ModelError, NoGradientError
from minicereb.models.sequential import Sequential
from minicereb.robustness import checklist as module
from minicereb.robustness.catalogue import ATTACKS
from minicereb.robustness.checklist import CHECKS, CheckContext, checklist
from minicereb.robustness.evaluate import EvaluationPlan, EvaluationTarget, evaluate_images
from minicereb.robustness.optional import attempt
from minicereb.robustness.outcomes import no_outcomes
from minicereb.robustness.substitutes import own_substitute, substitutes_for

EPSILON, IMAGES = 0.2, 40


@pytest.fixture(scope="module")
def data():
    return linear.c3()


@pytest.fixture(scope="module")
def lin(data):
    return linear.lin(data)


def subject_of(model, data, **settings):
    return EvaluationTarget(model, data.x_test, data.y_test, data.image_shape, data.classes, **settings)


def evaluated(model, data, attacks=("apgd-t",), images=IMAGES, epsilon=EPSILON, **settings):
    subject, plan = subject_of(model, data, **settings), EvaluationPlan((epsilon,), attacks)
    ids = np.arange(images, dtype=np.int64)
    outcomes = no_outcomes(ids, subject.labels[ids], subject.rows.shape[1], 1, len(attacks))
    for _ in evaluate_images(subject, plan, outcomes, 0):
        pass
    return CheckContext(subject, plan, outcomes, 0)


def standing(*arguments, **settings):
    return evaluated(*arguments, **settings).outcomes.survivors(0)


def line(name, context):
    return next(finding for each, finding in checklist(context) if each == name)


# -- what a classifier does to its arrays ------------------------------------------------------------------------------------


@pytest.mark.parametrize("epsilon", [0.1, 0.2])
def test_the_linear_classifier_has_its_exact_robust_accuracy(data, lin, epsilon):
    exact = linear.robust(lin, data, epsilon)[:IMAGES]
    assert 0 < exact.sum() < IMAGES
    assert np.array_equal(standing(lin, data, epsilon=epsilon), exact)


def test_a_model_that_changes_its_input_in_place_has_its_exact_robust_accuracy(data, lin):
    exact = linear.robust(lin, data, EPSILON, binary=True)[:IMAGES]
    rows = data.x_test.copy()
    assert 0 < exact.sum() < IMAGES
    assert np.array_equal(standing(linear.InPlace(lin), data), exact)
    assert np.array_equal(data.x_test, rows)


@pytest.mark.parametrize("attack", ["pgd-margin", "apgd-ce", "apgd-t", "fab-t", "square"])
def test_buffers_that_a_model_uses_again_change_nothing(data, lin, attack, monkeypatch):
    few_queries(monkeypatch)
    assert np.array_equal(standing(linear.Buffered(lin), data, (attack,)), standing(lin, data, (attack,)))


def test_what_goes_in_and_out_is_copied(xp_device):
    kept = []

    class Keeps:
        def forward(self, x):
            kept.append(x)
            return x, x

        def input_gradient(self, d_outputs, cache):
            kept.append(d_outputs)
            return d_outputs

    x = xp_device.zeros((2, 3), dtype=xp_device.float32)
    model = guarded(Keeps())
    outputs, cache = model.forward(x)
    gradient = model.input_gradient(outputs, cache)
    for array in kept:
        array += 1
    for array in (x, outputs, gradient):
        assert float(abs(array).max()) == 0


def test_a_gradient_in_float64_does_not_carry_the_attack_into_float64(data, lin):
    """The images handed to the model stay float32, as promised, though it answers in float64."""
    seen = []

    class Double(linear.Wrapped):
        def forward(self, x):
            seen.append(x.dtype)
            outputs, _ = self.model.forward(x.astype(np.float64))
            return outputs.astype(np.float64), None

        def input_gradient(self, d_outputs, cache):
            return self.model.input_gradient(d_outputs, cache).astype(np.float64)

    exact = linear.robust(lin, data, EPSILON)[:IMAGES]
    assert np.array_equal(standing(Double(lin), data, ("pgd-margin", "apgd-t", "fab-t")), exact)
    assert set(seen) == {np.dtype(np.float32)}


def test_a_model_of_this_project_is_handed_its_images_without_a_copy(learned):
    assert guarded(learned) is learned
    assert isinstance(guarded(Sequential((linear.Linear(np.ones((2, 2)), np.zeros(2)),))), Guarded)  # a layer of the user's
    other = guarded(linear.BlackBox(learned))
    assert guarded(other) is other


@pytest.mark.parametrize(
    ("outputs", "told"),
    [
        ([[1.0, 2.0, 3.0]], "outputs of type builtins.list"),
        (np.zeros(3, dtype=np.float32), "outputs of shape \\(3,\\)"),
        (np.zeros((1, 3), dtype=complex), "outputs of complex128"),
        (np.zeros((7, 3), dtype=np.float32), "outputs of shape \\(7, 3\\)"),
    ],
)
def test_outputs_that_are_none_are_told(outputs, told):
    class Strange:
        def forward(self, x):
            return outputs, None

    with pytest.raises(InputError, match=told):
        guarded(Strange()).forward(np.zeros((1, 5), dtype=np.float32))


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        *(("int64", "float64"), ("uint32", "float64"), ("longdouble", "float64"), ("float64", "float64")),
        *(("float32", "float32"), ("float16", "float32"), ("int16", "float32"), ("bool", "float32")),
    ],
)
def test_outputs_keep_what_float32_cannot_hold(dtype, expected):
    """2²⁴ and 2²⁴ + 1 are one number in float32, and the answer was the first class."""
    values = [2**24, 2**24 + 1] if np.dtype(dtype).itemsize > 4 or dtype == "uint32" else [0, 1]
    model = type("Model", (), {"forward": lambda self, x: (np.array([values] * len(x), dtype=dtype), None)})()
    outputs, _ = guarded(model).forward(np.zeros((2, 3), dtype=np.float32))
    assert outputs.dtype == expected
    assert outputs.argmax(axis=1).tolist() == [1, 1]


@pytest.mark.parametrize("error", [RuntimeError("two\nlines"), ValueError(), SystemExit(1), np.linalg.LinAlgError("singular")])
def test_whatever_a_model_raises_is_one_line(data, lin, error):
    class Raises(linear.Wrapped):
        def forward(self, x):
            raise error

    with pytest.raises(ModelError, match=f"forward.* failed for x of shape .*: {type(error).__name__}") as raised:
        list(attack_images(Raises(lin), Attack("pgd", "margin", 0.1), data.x_test, data.y_test, np.arange(3)))
    assert "\n" not in str(raised.value)


# -- what makes it unfit -----------------------------------------------------------------------------------------------------


def few_queries(monkeypatch, queries=300):
    """Make Square use fewer queries, so that a test is quick."""
    square = ATTACKS["square"]
    fewer = tuple({**search, "steps": queries} for search in square.searches)
    monkeypatch.setitem(ATTACKS, "square", replace(square, searches=fewer))


def test_an_honest_model_passes_both_lines(data, lin):
    context = evaluated(lin, data)
    for name in ("answers-repeat", "batch-independent"):
        assert line(name, context).verdict == "pass"
        assert line(name, context).value == 0


def test_answers_that_depend_on_the_batch_fail(data, lin):
    context = evaluated(linear.Centred(lin), data)
    found = dict(checklist(context))
    assert found["answers-repeat"].verdict == "pass"
    assert found["batch-independent"].verdict == "fail"
    assert found["batch-independent"].detail["alone"] > 0.3
    assert "depend on the other images" in found["batch-independent"].reason


def test_answers_that_depend_on_the_order_fail(data, lin):
    class Favourite(linear.Wrapped):
        """Treats the first image of a batch differently; a single image is always the first."""

        def forward(self, x):
            outputs, cache = self.model.forward(x)
            outputs[1:] *= 2
            return outputs, cache

    assert line("batch-independent", evaluated(Favourite(lin), data)).verdict == "fail"


def test_a_model_that_cannot_answer_one_image_fails(data, lin):
    class Training(linear.Wrapped):
        """Behaves like batch normalisation left in training mode."""

        def forward(self, x):
            if len(x) == 1:
                raise ValueError("Expected more than 1 value per channel when training")
            return self.model.forward(x)

    found = line("batch-independent", evaluated(Training(lin), data, ("pgd-margin",)))
    assert found.verdict == "fail"
    assert "more than 1 value" in found.reason


def test_a_model_that_changes_while_it_is_asked_fails(data, lin):
    class Drifting(linear.Wrapped):
        """After some calls it answers in the reverse order of classes, for good."""

        calls = 0

        def forward(self, x):
            self.calls += 1
            outputs, cache = self.model.forward(x)
            return (outputs[:, ::-1] if self.calls > 5 else outputs), cache

    found = line("answers-repeat", evaluated(Drifting(lin), data, ("pgd-margin",)))
    assert found.verdict == "fail"
    assert "changes while it is used" in found.reason


def test_random_outputs_fail_even_where_every_answer_stays(data, lin):
    context = evaluated(linear.Noisy(lin, scale=0.02), data, ("pgd-margin",), epsilon=0.05)
    assert np.array_equal(context.target.answers(context.ids), context.target.answers(context.ids))
    found = dict(checklist(context))
    assert found["answers-repeat"].verdict == "fail"
    assert found["answers-repeat"].value == 1
    assert found["answers-repeat"].detail["answers"] == 0
    assert "random" in found["answers-repeat"].reason
    for name in ("float32-suffices", "batch-independent"):
        assert found[name].verdict == "not tested"
        assert "random" in found[name].reason


@pytest.mark.parametrize("wrong", [0.0, 1.0, 1e4])
def test_rounding_that_differs_with_the_batch_does_not_fail(data, lin, wrong):
    """Sums in another order, for every size of batch; also of outputs that are large beside their differences."""

    class Rounded(linear.Wrapped):
        def forward(self, x):
            order = np.random.default_rng(len(x)).permutation(x.shape[1])
            x, weight = (x - np.float32(0.5))[:, order], self.model.weight[order]
            total = np.zeros((len(x), 3), dtype=np.float32)
            for pixel in range(x.shape[1]):
                total += x[:, pixel, None] * weight[pixel] + np.float32(wrong / 64)
            return total + self.model.bias, None

    context = evaluated(Rounded(lin), data, ("fgsm-mse",))
    assert not np.array_equal(context.target.outputs(context.ids), context.target.outputs(context.ids, at_once=1))
    assert line("batch-independent", context).verdict == "pass"


# -- the attack that stands for the evaluation -------------------------------------------------------------------------------


def test_the_attack_that_stands_for_the_evaluation_is_not_one_that_breaks_nothing(data, lin):
    context = evaluated(linear.Scaled(lin), data, ("apgd-ce", "apgd-t", "fab-t"))
    dead, alive = (context.broken(context.made(name), context.ids) for name in ("apgd-ce", "apgd-t"))
    assert dead == 0
    assert alive == (~linear.robust(lin, data, EPSILON)[:IMAGES]).sum()
    assert context.principal == "apgd-t"
    for name in ("more-iterations", "unbounded-reaches-chance", "falls-with-epsilon"):
        found = line(name, context)
        assert found.verdict == "pass", (name, found)
        assert "apgd-t" in found.reason or name == "more-iterations"


def test_an_attack_that_met_only_what_others_left_is_measured_on_all_images(data, lin):
    """The strongest comes last and breaks few; the first broke more images, but not more than this would have."""
    context = evaluated(lin, data, ("weak", "fgsm-mse", "apgd-t"), epsilon=0.3)
    first = (context.outcomes.first_breaker(0)[context.chosen][None] == np.arange(3)[:, None]).sum(axis=1)
    assert first[1] > first[2] > 0
    assert context.principal == "apgd-t"


def test_square_stands_for_an_evaluation_whose_gradients_lead_nowhere(data, lin, monkeypatch):
    class Flat(linear.Wrapped):
        def input_gradient(self, d_outputs, cache):
            return self.model.input_gradient(d_outputs, cache) * 0

    few_queries(monkeypatch)
    assert evaluated(Flat(lin), data, ("apgd-ce", "pgd-tuned", "square")).principal == "square"


# -- helpers that cannot be had ----------------------------------------------------------------------------------------------


def test_a_model_that_refuses_float64_is_not_tested_there(data, lin):
    found = line("float32-suffices", evaluated(linear.Single(lin), data))
    assert found.verdict == "not tested"
    assert found.value is None
    assert "RuntimeError: expected scalar type Float but found float64" in found.reason


def test_a_line_whose_probe_fails_is_not_tested_and_the_others_are(data, lin):
    """A model that accepts a few images only after its evaluation has ended."""

    class Tired(linear.Wrapped):
        tired = False

        def input_gradient(self, d_outputs, cache):
            if self.tired:
                raise OSError("the connection is closed")
            return self.model.input_gradient(d_outputs, cache)

    model = Tired(lin)
    context = evaluated(model, data)
    model.tired = True
    found = dict(checklist(context))
    assert list(found) == list(CHECKS)
    assert found["answers-repeat"].verdict == found["random-not-stronger"].verdict == "pass"
    for name in ("gradients-there", "float32-suffices", "fgsm-not-stronger", "more-iterations", "loss-has-settled"):
        assert found[name].verdict == "not tested"
        assert "OSError: the connection is closed" in found[name].reason


def test_a_contradiction_is_never_passed_over(data, lin, monkeypatch):
    def contradicts(context):
        raise InternalError("internal check failed")

    context = evaluated(lin, data)
    monkeypatch.setitem(module.CHECKS, "fgsm-not-stronger", contradicts)
    with pytest.raises(InternalError):
        list(checklist(context))


def test_a_mistake_of_our_own_is_never_passed_over():
    with pytest.raises(IndexError):
        attempt(lambda: [][0])


def test_a_substitute_that_cannot_be_had_is_told_in_its_line(data, lin):
    import dataclasses

    degenerate = dataclasses.replace(data, x_train=np.full_like(data.x_train, 0.3))
    untrained = dataclasses.replace(data, x_train=data.x_train[:0], y_train=data.y_train[:0])
    for unusable in (degenerate, untrained):
        with pytest.raises(InputError):
            own_substitute(unusable, 0)
        substitutes, why = substitutes_for(unusable, 0, {})
        assert substitutes == {}
        context = evaluated(lin, data, ("apgd-t", "transfer"), substitutes=substitutes, no_substitute=why)
        assert not context.was_made("transfer")
        found = line("transfer-not-stronger", context)
        assert found.verdict == "not tested"
        assert why in found.reason
    others, why = substitutes_for(degenerate, 0, {"another": lin})
    assert list(others) == ["another"]
    assert why


# -- black boxes and random models -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [linear.BlackBox, linear.Unimplemented])
def test_a_black_box_is_evaluated_without_gradients(data, lin, kind, monkeypatch):
    few_queries(monkeypatch)
    context = evaluated(kind(lin), data, ("square", "random"), images=20)
    exact = linear.robust(lin, data, EPSILON)[:20]
    assert (exact <= context.outcomes.survivors(0)).all()
    assert context.outcomes.survivors(0).mean() < 1
    assert context.principal == "square"
    found = dict(checklist(context))
    for name in ("gradients-there", "float32-suffices", "fgsm-not-stronger", "not-squared-error-alone"):
        assert found[name].verdict == "not tested"
        assert "no input" in found[name].reason
    assert found["black-box-not-stronger"].verdict == "not tested"
    for name in ("answers-repeat", "batch-independent", "unbounded-reaches-chance", "random-not-stronger"):
        assert found[name].verdict == "pass", (name, found[name])
    with pytest.raises(NoGradientError, match="no input.gradient"):
        evaluated(kind(lin), data, ("apgd-ce",))


@pytest.mark.parametrize("kind", [linear.BlackBox, linear.Unimplemented])
def test_what_cannot_be_made_is_not_tested_where_nothing_is_left(data, lin, kind, monkeypatch):
    """This check once passed, although FGSM does not exist for a model without a gradient."""
    few_queries(monkeypatch)
    context = evaluated(kind(lin), data, ("square", "random"), images=20, epsilon=1.0)
    assert len(context.left()) == 0
    found = line("fgsm-not-stronger", context)
    assert (found.verdict, "no input" in found.reason) == ("not tested", True)
    assert line("fgsm-not-stronger", evaluated(lin, data, images=20, epsilon=1.0)).verdict == "pass"


@pytest.mark.parametrize("epsilon", [0.02, EPSILON, 1.0])
def test_every_line_says_of_how_many_images(data, lin, epsilon):
    """Shares refer to the correctly classified images; those in the table refer to all."""
    context = evaluated(lin, data, ("apgd-ce", "pgd-mse"), epsilon=epsilon)
    assert len(context.ids) > 0
    for name, finding in checklist(context):
        if finding.verdict != "not tested":
            assert f"the {len(context.ids)} correctly classified images" in finding.reason, (name, finding)


def test_gradients_averaged_over_calls_break_more_of_a_random_model(data, lin):
    """Noise on the pixels drowns the gradient of one call; success is judged by calls that the search has not seen."""

    class Noisy(linear.Wrapped):
        def __init__(self, model):
            super().__init__(model)
            self.rng, self.calls = np.random.default_rng(0), 0

        def forward(self, x):
            self.calls += 1
            return self.model.forward(x)

        def input_gradient(self, d_outputs, cache):
            gradient = self.model.input_gradient(d_outputs, cache)
            return gradient + self.rng.normal(0, 3 * abs(gradient).max(), gradient.shape).astype(np.float32)

    exact = linear.robust(lin, data, EPSILON)[:IMAGES]
    left = {}
    for gradient, draws in (("analytic", 1), ("eot", 30)):
        model = Noisy(lin)
        context = evaluated(model, data, ("fgsm-mse", "pgd-margin"), gradient=gradient, draws=draws)
        left[gradient] = context.outcomes.survivors(0)
        assert (exact <= left[gradient]).all()
    assert left["eot"].sum() < left["analytic"].sum()


def test_means_over_calls_are_those_of_the_calls(data, lin):
    from minicereb.attacks.gradients import Landscape, exact, source_named
    from minicereb.attacks.objectives import objective_named

    def landscape(model, source):
        return Landscape(guarded(model), objective_named("margin"), data.y_test[:8], source)

    calm = landscape(lin, exact).value_and_gradient(data.x_test[:8])
    for look in ("look", "slope"):
        model = linear.Noisy(lin, scale=0.3)
        averaged = landscape(model, source_named("eot", guarded(model), 400, 0))
        point = averaged.evaluate(data.x_test[:8]) if look == "look" else averaged.value_and_gradient(data.x_test[:8])[0]
        assert np.allclose(point.outputs, calm[0].outputs, atol=0.1)
    gradient = landscape(lin, source_named("eot", guarded(lin), 3, 0)).value_and_gradient(data.x_test[:8])[1]
    assert np.allclose(gradient, calm[1], atol=1e-6)


def test_a_model_of_ours_is_not_asked_twice(learned, drawn):
    attack = Attack("pgd", "margin", 0.1, gradient="eot")
    with pytest.raises(InputError, match="gradient: 'eot' is not valid; expected analytic"):
        list(attack_images(learned, attack, drawn.x_test, drawn.y_test, np.arange(3)))
