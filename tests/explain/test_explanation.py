"""One image through every kind of model: derivatives, updates, estimates, and the report when one of them is wrong."""

import copy
import dataclasses
import re
from html import escape as escaped

import numpy as np
import pytest

from minicereb import datasets
from minicereb.attacks.adversarial_training import AdversarialTraining, Adversary
from minicereb.attacks.run import attack_images
from minicereb.attacks.settings import Attack
from minicereb.backend import in_float64
from minicereb.calculus.replicated import loss_named
from minicereb.datasets.transforms import to_unit
from minicereb.errors import InputError
from minicereb.experiments.architectures import (
    CerebellumModel,
    ConvolutionalModel,
    NoisyModel,
    PerceptronModel,
    build_learner,
    build_model,
    model_arrays,
    solve,
    total_steps,
)
from minicereb.experiments.configs import Data, Train
from minicereb.explain import Shown, explanation, means, pixel_number
from minicereb.explain.dependencies import arrows
from minicereb.explain.explained_image import switching_units
from minicereb.explain.render import tables, text
from minicereb.explain.screens import html
from minicereb.explain.training_step import take_step
from minicereb.gradcheck.differences import difference
from minicereb.learning import estimators
from minicereb.learning.estimators import LEARNED_BY
from minicereb.learning.glr import estimator_named, estimator_with
from minicereb.learning.history import NO_HISTORY, History
from minicereb.learning.noise import Address
from minicereb.learning.one_neuron import Flip
from minicereb.learning.optimizers import make_optimizer
from minicereb.learning.scores import ScoreFunction
from minicereb.learning.training import Position, Split, train
from minicereb.models import cerebellum, layers
from minicereb.models.noisy import NoisyNetwork
from minicereb.models.visual import encoder_of, with_encoder
from minicereb.randomness import generator

DATA = Data("strokes", "0" * 64)
IMAGE = 7


def noisy(estimator, loss="cross-entropy", output_noise=False, hidden=(6,), **options):
    options = {
        "replications": 1 if estimator == "exact" else 4,
        "last_layer": "derivative",
        "learn_scale": loss == "zero-one",
    } | options
    return NoisyModel(hidden, estimator=estimator, loss=loss, output_noise=output_noise, **options)


def kernels(estimator, **options):
    last = "resample" if estimator in ("flip", "resample") else "derivative"
    options = {
        "channels": (3,),
        "stride": 3,
        "noise_scale": (0.5,),
        "probes": 16,
        "last_layer": last,
        "output_noise": last == "resample",
    } | options
    return noisy(estimator, network="cnn", **options)


def in_time(estimator, network="recurrent", **options):
    return noisy(estimator, network=network, **{"noise_scale": (0.7,)} | options)


def config(model, optimizer="adam", rate=1e-3, **options):
    return Train(model, DATA, 10, 2, rate, optimizer=optimizer, **options)


PESSIMISTIC = {"rule": "pessimistic", "uncertainty": 0.1, "pessimism": 0.5}
CASES = {
    "cerebellum": config(CerebellumModel("random", 300, 4), "rmsprop"),
    "cerebellum, synapses twice": config(CerebellumModel("random", 300, 12, replacement=True), "sgd", 1e-4, schedule="cosine"),
    "cerebellum, many synapses": config(CerebellumModel("random", 300, 100)),
    "cerebellum, full": config(CerebellumModel("full", 300, ltd=False)),
    "cerebellum, closed form": config(CerebellumModel("local", 300, 9, patch=True, rule="least-squares")),
    "cerebellum, attacked": config(CerebellumModel("random", 300, 4), adversary=Adversary(0.1, 0.05, 2, "mse")),
    "cerebellum, threshold fibres": config(CerebellumModel("random", 300, 4, mossy_fibres="threshold", threshold=0.5)),
    "cerebellum, pessimistic": config(
        CerebellumModel("random", 300, 4, mossy_fibres="threshold", threshold=0.5, **PESSIMISTIC), "rmsprop"
    ),
    "cerebellum, pessimistic, graded": config(CerebellumModel("full", 99, ltd=False, loss="cross-entropy", **PESSIMISTIC), "sgd"),
    "perceptron": config(PerceptronModel((30, 20), l2=1e-3, l1=1e-4), "momentum"),
    "linear, squared error": config(PerceptronModel((), loss="mse"), "sgd", 1e-3, adversary=Adversary(0.1, 0.05, 2)),
    "convolutional": config(ConvolutionalModel(((3,), (4, 4)), (8,), True, l2=1e-3), seed=3, schedule="cosine"),
    "cerebellum, behind an encoder": config(
        CerebellumModel("random", 300, 4), encoder=config(ConvolutionalModel(((3,),), (8,), True))
    ),
    "convolutional, plain": config(ConvolutionalModel(((3,),), (), dropout=(0.0, 0.0)), "rmsprop"),
    **{f"noisy, {name}": config(noisy(name)) for name in estimators.ESTIMATORS if name != "backprop"},
    **{f"noisy, {name}, 0-1": config(noisy(name, "zero-one", True)) for name in ("flip", "exact")},
    "noisy, outputs too": config(noisy("flip", output_noise=True, hidden=(6, 5), l2=1e-3)),
    "noisy, paper": config(noisy("plain", output_noise=True, last_layer="score")),
    "noisy, smooth": config(noisy("backprop", activation="sigmoid", noise="laplace", noise_scale=(0.5,), hidden=(6, 5))),
    "noisy, kinked": config(noisy("antithetic", activation="absolute", noise="logistic", noise_scale=(0.5,))),
    "noisy, poles": config(noisy("resample", activation="log-absolute", noise="student-t")),
    "noisy, baseline by class": config(noisy("baseline", baseline="class", replications=2), "sgd"),
    "noisy, baseline by image": config(noisy("rao-blackwell", baseline="image", replications=1)),
    "noisy, in turn": config(noisy("baseline", placement="in-turn", hidden=(6, 5))),
    "noisy, in turn, flip": config(noisy("flip", placement="in-turn", hidden=(6, 5))),
    "noisy, output draws": config(noisy("baseline", output_noise=True, last_layer="score", output_draws=4)),
    "noisy, surrogate": config(noisy("surrogate")),
    **{f"noisy, kernels, {name}": config(kernels(name)) for name in ("baseline", "flip", "resample")},
    "noisy, kernels, rao-blackwell, pooled": config(kernels("rao-blackwell", pool=2, channels=(3, 4), kernel=3, stride=2)),
    "noisy, kernels, flip, max": config(kernels("flip", pool=2, pooling="max", stride=1)),
    "noisy, kernels, in turn": config(kernels("antithetic", placement="in-turn")),
    "noisy, kernels, by class": config(kernels("baseline", baseline="class", activation="sigmoid"), "sgd"),
    "noisy, kernels, smooth": config(kernels("backprop", activation="sigmoid", last_layer="derivative", hidden=())),
    **{f"noisy, recurrent, {name}": config(in_time(name)) for name in ("plain", "baseline", "rao-blackwell")},
    "noisy, recurrent, smooth": config(in_time("backprop", activation="sigmoid")),
    "noisy, recurrent, sigmoid": config(in_time("antithetic", activation="sigmoid", noise="logistic")),
    "noisy, recurrent, surrogate": config(in_time("surrogate")),
    "noisy, recurrent, flip": config(in_time("flip", probes=32, persistence=12.0)),
    "noisy, recurrent, resample": config(in_time("resample", activation="sigmoid", probes=32)),
    "noisy, spiking, resample": config(in_time("resample", "spiking", probes=32)),
    **{f"noisy, spiking, {name}": config(in_time(name, "spiking")) for name in ("flip", "rao-blackwell", "baseline")},
    "noisy, spiking, by image": config(in_time("rao-blackwell", "spiking", presentation="whole", steps=5, baseline="image")),
    "noisy, spiking, surrogate": config(in_time("surrogate", "spiking")),
    "silent": config(noisy("backprop", activation="sigmoid", noise="none", noise_scale=(), replications=1)),
}  # fmt: skip


@pytest.fixture(scope="module")
def data():
    return datasets.load("strokes", train=300, test=20)


@pytest.fixture(scope="module")
def learned(data):
    """The models of the cases after a few batches, so that no array is still as it was drawn."""
    models = {}

    def model_of(case):
        if case not in models:
            settings = CASES[case]
            if getattr(settings.model, "rule", "") == "least-squares":
                models[case] = solve(build_model(settings, data), Split(data, 0.0, 0), ltd=True)
            else:
                rule = build_learner(settings, data)
                x, model = to_unit(data.x_train[:40]), rule.model
                if settings.encoder is not None:  # as it was drawn
                    encoder, _ = encoder_of(build_model(settings.encoder, data))
                    x, model = encoder.forward(x)[0], with_encoder(encoder, model)
                list(rule.learn(x, data.y_train[:40]))
                models[case] = model
        return models[case]

    return model_of


@pytest.fixture(scope="module")
def told(data, learned):
    """The steps of the cases."""
    steps = {}

    def steps_of(case):
        if case not in steps:
            steps[case] = list(explanation(CASES[case], data, learned(case), IMAGE))
        return steps[case]

    return steps_of


@pytest.mark.parametrize("case", CASES)
def test_every_derivative_agrees_with_its_finite_difference(case, told):
    derivatives = [each for step in told(case) for each in step.derivatives]
    assert len(derivatives) >= 12
    for each in derivatives:
        if each.verdict == "kink":
            assert "=" in each.kink or "equal" in each.kink, each
            continue
        apart = abs(each.value - each.difference)
        nothing = abs(each.value) < 1e-9  # 0 but for rounding: a bias before batch normalisation, a loss that is saturated
        assert apart <= 1e-6 * abs(each.value) or (nothing and apart <= 1e-11), each
        assert each.verdict == "agrees" or (nothing and each.verdict == "rounding"), each
    assert sum(each.verdict == "agrees" and each.value != 0 for each in derivatives) >= 8


@pytest.mark.parametrize("case", ["perceptron", "convolutional", "convolutional, deep"])
def test_where_no_credit_passes_the_way_shown_is_one_that_it_could_take(case, data, learned):
    settings = CASES.get(case) or config(ConvolutionalModel(((4,), (6,)), (12,), True))
    model = copy.deepcopy(learned(case) if case in CASES else build_model(settings, data))
    *_, hidden, last = (layer for layer in model.layers if isinstance(layer, layers.Dense))
    hidden.bias[:] = -100  # no unit is active
    last.bias[:] = np.linspace(-1, 1, 10)
    for pixel in ("7,7", "3,3", "5,16"):
        for step in explanation(settings, data, model, IMAGE, shown=Shown(pixels=(pixel_number(pixel, data.image_shape),))):
            assert "ReLULearning" not in step.words
            for each in step.derivatives:
                assert each.verdict == "agrees" or (abs(each.value) < 1e-9 and each.verdict in ("rounding", "kink")), each


def steps_follow(settings):
    return getattr(settings.model, "rule", "") != "least-squares"


@pytest.mark.parametrize("optimizer", ["rmsprop", "adam", "momentum", "sgd"])
@pytest.mark.parametrize("kind", ["cerebellum", "perceptron"])
def test_the_step_shown_lowers_the_loss(kind, optimizer, data):
    """From an empty memory, RMSprop and Adam once moved every weight by their largest step, and the loss rose."""
    model = CerebellumModel("random", 300, 4) if kind == "cerebellum" else PerceptronModel((30,))
    rate = {"sgd": 1e-3, "momentum": 1e-3}.get(optimizer, 0.5 / 300 if kind == "cerebellum" else 1e-3)
    settings = Train(model, DATA, 10, 10, rate, optimizer=optimizer)
    learner = build_learner(settings, data)
    list(train(learner, Split(data, 0.0, 0), 10, 0, Position(), {}))
    for image in range(5):
        (said,) = [
            step.words for step in explanation(settings, data, learner.model, image, "learning") if "bit for bit" in step.words
        ]
        before, after = re.search(r"goes from (\S+) to (\S+)\.", said).groups()
        assert float(after) < float(before), (image, said)
        assert ("of the run's first" in said) == (optimizer != "sgd")


def by_earlier_steps(settings):
    return getattr(settings.model, "baseline", "mean") != "mean"


def learner_of(settings, model, optimizer, total=100):
    return settings.model.learner(model, optimizer, settings.batch_size, settings.seed, total, images=100)


@pytest.mark.parametrize("case", CASES)
def test_the_update_shown_is_that_of_training_bit_for_bit(case, data, learned, told):
    settings, x = CASES[case], to_unit(data.x_test[IMAGE : IMAGE + 1]).astype(np.float64)
    labels = data.y_test[IMAGE : IMAGE + 1]
    model, total = in_float64(learned(case)), total_steps(settings, data)
    if settings.encoder is not None:
        encoder, model = model.encoder, model.cerebellum
        x = encoder.forward(x)[0]
    before = {name: array.copy() for name, array in model_arrays(model).items()}
    everything = learner_of(settings, model, make_optimizer("sgd", 1.0)).arrays()  # all but an optimiser's state
    initial = {name: array.copy() for name, array in everything.items() if name != "loss_by_class"}
    rule = learner_of(
        settings,
        model,
        make_optimizer(settings.optimizer, settings.learning_rate, total if settings.schedule == "cosine" else None),
        total,
    )
    if settings.adversary is not None:
        rule = AdversarialTraining(rule, settings.adversary, settings.seed, total)
    split, warmed, is_learned = Split(data, settings.validation, settings.seed), 0, by_earlier_steps(settings)
    order = split.training[generator(settings.seed, "order", 0).permutation(len(split.training))]
    for start in range(0, len(order), settings.batch_size):
        most = {"sgd": 0, "momentum": 10, "adam": 20, "rmsprop": 100}[settings.optimizer]
        if warmed == (20 if is_learned else most) or not steps_follow(settings):
            break
        ids = order[start : start + settings.batch_size]
        seen = to_unit(data.x_train[ids]).astype(np.float64)
        list(rule.learn(seen if settings.encoder is None else encoder.forward(seen)[0], data.y_train[ids]))
        for name, array in rule.arrays().items():
            if name in initial:
                array[...] = initial[name]
        warmed += 1
    baseline = rule.mean_loss.by_class[labels[0]] if is_learned else None
    list(rule.learn(x, labels))
    after = model_arrays(model)
    again = in_float64(learned(case))
    inner = () if settings.encoder is None else (again.encoder,)
    taken = take_step(settings, data, again.cerebellum if inner else again, x, labels, *inner)
    assert (taken.warmed, taken.baseline) == (warmed, baseline)
    assert not is_learned or f"here b = {baseline:.6g}." in " ".join(step.words for step in told(case))
    assert {name: array.tobytes() for name, array in taken.before.items()} == {
        name: array.tobytes() for name, array in before.items()
    }
    assert {name: array.tobytes() for name, array in taken.after.items()} == {
        name: array.tobytes() for name, array in after.items()
    }
    shown = [rows for step in told(case) if step.title.startswith("The weights change") for rows in step.numbers]
    if getattr(settings.model, "rule", "") == "least-squares":
        assert shown == []
        return
    (rows,) = shown
    assert any(change for _, _, _, change, _ in rows.rows)
    for symbol, was, gradient, change, now in rows.rows:
        name, place = re.fullmatch(r"(\w+)\[(.*)\]", symbol).groups()
        name = {"W": "readout"}.get(name, name.replace("θ", "weight").replace("R_", "recurrent_"))
        place = tuple(map(int, place.split(",")))
        assert (was, now) == (before[name][place], after[name][place])
        assert change == now - was
        assert gradient == taken.gradients[name][place]


@pytest.mark.parametrize("case", [case for case in CASES if case.startswith("noisy")])
def test_every_mean_lies_where_it_should_within_its_interval(case, told):
    estimates = [(each, "biased" in step.words) for step in told(case) for each in step.estimates]
    assert len(estimates) >= (2 if case in SHARED else 3)
    for each, biased in estimates:
        assert each.verdict == "within" or biased, each
        assert each.half < 0.2 or case in SHARED, each
    exact = case not in SHARED and len(CASES[case].model.hidden) == 1 and CASES[case].model.activation == "threshold"
    if exact and CASES[case].model.output_noise == (CASES[case].model.loss == "zero-one"):
        assert all(each.reference_half == 0 for each, _ in estimates[:3])


SHARED = [case for case, settings in CASES.items() if getattr(settings.model, "network", "dense") != "dense"]


def table(steps, caption):
    """The rows of the first table whose caption begins so, in the first step that has one."""
    return next(list(rows.rows) for step in steps for rows in step.numbers if rows.caption.startswith(caption))


def unit_of(layer, name, cell):
    """The unit of a name: row, column and channel, or a step of the neuron `cell`."""
    if isinstance(name, int):
        return name * len(layer.bias) + cell
    return np.ravel_multi_index(tuple(map(int, name.split(","))), (*layer.positions, len(layer.bias)))


def noise_shown(case, model):
    """The estimator and the noise of the few runs that an explanation shows, drawn once more."""
    settings, address = CASES[case].model, Address(0, (IMAGE,), "explained noise")
    given = (settings.estimator, settings.last_layer, settings.placement, settings.probes, settings.output_draws)
    estimator = estimator_with(estimator_named(*given), settings.baseline, settings.allocation)
    runs = 1 if settings.estimator in ("backprop", "surrogate") else 4
    return estimator, estimator.draw(model, np.zeros((1, 784)), 1, runs, address)


@pytest.mark.parametrize("case", SHARED)
def test_the_sum_shown_for_a_shared_weight_is_the_estimators_own(case, data, learned, told):
    model, steps, settings = in_float64(learned(case)), told(case), CASES[case]
    x, labels, layer = to_unit(data.x_test[IMAGE : IMAGE + 1]).astype(np.float64), data.y_test[IMAGE : IMAGE + 1], model.layers[0]
    estimator, noise = noise_shown(case, model)
    taken = take_step(settings, data, model, x, labels)
    history = NO_HISTORY if taken.baseline is None else History(np.array([taken.baseline]))
    found = estimator.on(model, loss_named("cross-entropy"), np.ascontiguousarray(x.T), labels, noise, False, history)
    every = found.gradients[0] | layer.weight_gradient(found.first_credit, x)
    sums = [step for step in steps if step.title.startswith("The sum for one shared weight")]
    assert len(sums) == 1 + (settings.model.network == "recurrent")
    for step in sums:
        symbol, place = re.search(r"([θR])_0\[(.*)\]", step.title).groups()
        place = tuple(map(int, place.split(",")))
        by_run = list(step.numbers[1].rows)
        assert by_run[-1][1] == every["weight" if symbol == "θ" else "recurrent"][place]
        assert np.isclose(np.mean([each for _, each in by_run[:-1]]), by_run[-1][1], rtol=1e-10, atol=1e-14)
        assert by_run[0][1] == step.numbers[0].rows[-1][-1] != 0
        if settings.model.network == "cnn":
            rows, columns = layer.positions
            image, s, (channel, i, j, depth) = x.reshape(layer.image), layer.stride, place
            credit = found.first_credit[0].reshape(rows, columns, -1)[:, :, channel]
            patch = [[image[s * r + i, s * c + j, depth] for c in range(columns)] for r in range(rows)]
            assert np.isclose((credit * np.array(patch)).sum(), by_run[-1][1], rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("case", [case for case in SHARED if isinstance(LEARNED_BY[CASES[case].model.estimator], ScoreFunction)])
def test_losses_baselines_and_scores_shown_are_those_of_the_runs(case, data, learned, told):
    model, steps, settings = in_float64(learned(case)), told(case), CASES[case].model
    x_t, labels = to_unit(data.x_test[IMAGE : IMAGE + 1]).astype(np.float64).T.copy(), data.y_test[IMAGE : IMAGE + 1]
    estimator, noise = noise_shown(case, model)
    in_turn = settings.placement == "in-turn"
    trace = model.run(x_t, (noise[0], *(None if in_turn else e for e in noise[1:])))
    losses = loss_named("cross-entropy").value(trace.outputs, labels)
    rows = np.array(table(steps, "each run"))
    assert np.allclose(rows[:, 1], losses[0], rtol=1e-12)
    if settings.baseline == "mean":
        expected = estimator.design.others(losses)[0] if estimator.baseline else np.zeros(4)
        assert np.allclose(rows[:, 2], expected, rtol=1e-9, atol=1e-12)
    else:
        assert np.ptp(rows[:, 2]) < 1e-12 < rows[0, 2]
    cell = int(re.search(r"θ_0\[(\d+)", " ".join(step.title for step in steps))[1])
    layer, (u, v, e) = model.layers[0], (array[:, 0, 0] for array in (trace.drives[0], trace.signals[0], trace.noise[0]))
    score = layer.law.score(e.copy())
    if settings.estimator == "rao-blackwell":  # a share of the score's mean over noise with the same response
        a, fires = u / layer.scale[0], v > 0
        score = np.where(fires, 1, -1) * layer.law.density(a) / layer.law.distribution(np.where(fires, a, -a))
    shown = table([step for step in steps if step.title.startswith("The credit of")], "")
    for name, advantage, score_shown, credit, *_ in shown:
        unit = unit_of(layer, name, cell)
        assert np.isclose(advantage, rows[0, 3], rtol=1e-12)
        assert np.isclose(score_shown, score[unit] / layer.scale[0], rtol=1e-9)
        assert np.isclose(credit, advantage * score_shown, rtol=1e-12)


def test_redrawn_noise_shown_gives_the_credit_shown(learned, told):
    case = "noisy, kernels, resample"
    (step,) = [step for step in told(case) if step.title.startswith("The credit of")]
    nodes, credits = step.numbers
    unit = re.match(r"unit (.*), run 0", nodes.caption)[1]
    ((_, times, average, credit),) = [row for row in credits.rows if row[0] == unit]
    pairs = list(zip(nodes.rows[::2], nodes.rows[1::2], strict=True))
    assert all(above[0] == -below[0] for above, below in pairs)
    mean = sum((above[1] - below[1]) * above[2] for above, below in pairs) / (2 * len(pairs))
    assert np.isclose(mean / learned(case).layers[0].scale[0] * times / average, credit, rtol=1e-6)


@pytest.mark.parametrize("case", [case for case in SHARED if CASES[case].model.estimator == "flip"])
def test_a_flip_shown_is_the_loss_of_a_run_in_which_the_unit_does_the_other_thing(case, data, learned, told):
    model, steps = in_float64(learned(case)), told(case)
    x_t, labels = to_unit(data.x_test[IMAGE : IMAGE + 1]).astype(np.float64).T.copy(), data.y_test[IMAGE : IMAGE + 1]
    _, noise = noise_shown(case, model)
    noise = [None if e is None else e[:, :, :1].copy() for e in getattr(noise, "noise", noise)]
    loss, layer = loss_named("cross-entropy"), model.layers[0]
    trace = model.run(x_t, tuple(noise))
    before = loss.value(trace.outputs, labels)[0, 0]
    cell = int(re.search(r"θ_0\[(\d+)", " ".join(step.title for step in steps))[1])
    seen = 0
    for name, drive, fires, _, effect, *_ in table([step for step in steps if step.title.startswith("The credit of")], ""):
        unit = unit_of(layer, name, cell)
        if effect == "":
            continue
        other = [None if e is None else e.copy() for e in noise]
        other[0][unit] = (-drive + (-1 if fires else 1)) / layer.scale[0]
        after = loss.value(model.run(x_t, tuple(other)).outputs, labels)[0, 0]
        assert np.isclose(effect, (before - after) if fires else (after - before), rtol=1e-6, atol=1e-12)
        seen += effect != 0
    assert seen


@pytest.mark.parametrize("case", ["cerebellum", "cerebellum, synapses twice", "perceptron", "convolutional", "noisy, flip"])
def test_products_add_up_to_what_the_model_has(case, told):
    tables = [rows for step in told(case) for rows in step.numbers if rows.head[-1] == "product"]
    assert len(tables) >= 4
    for rows in tables:
        assert np.isclose(sum(row[-1] for row in rows.rows[:-1]), rows.rows[-1][-1], rtol=1e-12, atol=1e-14), rows.caption
        assert all(row[3] == row[1] * row[2] for row in rows.rows if row[1] != "")


@pytest.mark.parametrize("case", ["cerebellum", "convolutional", "noisy, flip"])
def test_a_model_is_left_as_it_is_and_told_the_same_again(case, data, learned, told):
    first = [step.as_json() for step in told(case)]
    before = [array.tobytes() for array in model_arrays(learned(case)).values()]
    assert [step.as_json() for step in explanation(CASES[case], data, learned(case), IMAGE)] == first
    assert [array.tobytes() for array in model_arrays(learned(case)).values()] == before


@pytest.mark.parametrize("case", ["cerebellum", "perceptron"])
def test_the_fgsm_shown_is_the_attack(case, data, learned, told):
    (step,) = [step for step in told(case) if step.tag == "M-FGSM"]
    attack = Attack("fgsm", "margin", 0.1)
    (block,) = attack_images(learned(case), attack, data.x_test, data.y_test, np.array([IMAGE]))
    if block.clean_predicted[0] == block.y[0]:  # the attack leaves alone what is wrong already
        for name, _, _, moved in step.numbers[0].rows:
            assert abs(block.x_adv[0, int(name.split()[0])] - moved) < 1e-6
    assert len(step.numbers[1].rows) == 10


def test_a_wrong_derivative_is_told(data, learned, monkeypatch):
    monkeypatch.setattr(cerebellum, "relu_input_gradient", lambda d_h, active, out=None: d_h)
    steps = list(explanation(CASES["cerebellum"], data, learned("cerebellum"), IMAGE, "attack"))
    assert any(each.verdict == "differs" for each in steps[-2].derivatives)
    monkeypatch.undo()
    weight_gradient = layers.dense_weight_gradient
    monkeypatch.setattr(layers, "dense_weight_gradient", lambda d_v, x: tuple(1.00001 * each for each in weight_gradient(d_v, x)))
    steps = list(explanation(CASES["perceptron"], data, learned("perceptron"), IMAGE, "learning"))
    told = [each.of for step in steps for each in step.derivatives if each.verdict == "differs"]
    assert len(told) == 6
    assert any("THEY DIFFER" in line for step in steps for line in text(1, step))


def test_a_biased_estimator_is_told(data, learned, monkeypatch):
    on = Flip.on

    def biased(self, *arguments):
        piece = on(self, *arguments)
        return piece._replace(first_credit=1.1 * piece.first_credit)

    monkeypatch.setattr(Flip, "on", biased)
    steps = list(explanation(CASES["noisy, flip"], data, learned("noisy, flip"), IMAGE, "learning"))
    assert [each.verdict for step in steps for each in step.estimates][:2] == ["outside", "outside"]


def test_noise_too_rare_to_be_seen_is_allowed_for(data, learned):
    first, last = in_float64(learned("noisy, flip")).layers
    sure = NoisyNetwork((dataclasses.replace(first, weight=40 * first.weight), last))
    loss, flip, exact = loss_named("cross-entropy"), *(estimator_named(name, "derivative") for name in ("flip", "exact"))
    verdicts = {"within": [], "outside": []}
    for image in range(6):
        x, labels = data.x_test[image : image + 1] / 255.0, data.y_test[image : image + 1]
        found, should = (means.groups_of(each, sure, loss, x, labels, Address(0, (image,))) for each in (flip, exact))
        for neuron in range(6):
            series, reference = (means.weight_series(each, neuron, 1.0) for each in (found, should))
            alone = means.estimate_of("", series._replace(bound=0.0), reference, "")
            verdicts[alone.verdict].append(means.estimate_of("", series, reference, "").verdict)
    assert len(verdicts["outside"]) >= 3  # Student's interval alone: a neuron that never did the other thing
    assert set(verdicts["outside"]) == set(verdicts["within"]) == {"within"}


def test_no_credit_exceeds_its_bound(data, learned):
    x, labels = data.x_test[:1] / 255.0, data.y_test[:1]
    for case, kind in (("noisy, flip", "flip"), ("noisy, rao-blackwell", "rao-blackwell"), ("noisy, flip, 0-1", "resample")):
        network, settings = in_float64(learned(case)), CASES[case].model
        estimator, loss = estimator_named(kind, "derivative"), loss_named(settings.loss)
        bound = means.credit_bounds_of(estimator, network, loss, x, labels)
        found = means.groups_of(estimator, network, loss, x, labels, Address(0, (1,)), 200, 2)
        assert (np.abs(found.credit).max(axis=0) <= bound.credit).all(), case
        assert np.abs(found.last).max() <= bound.last
        assert (np.abs(found.credit).max(axis=0) > 1e-3 * bound.credit).any()


def test_a_kink_is_named(data, learned):
    model, settings = in_float64(learned("cerebellum")), CASES["cerebellum"]
    silent = np.flatnonzero((data.x_test[IMAGE][model.wiring.inputs] == 0).all(axis=1))
    pixel = int(model.wiring.inputs[silent[0], 0])
    (check,) = list(explanation(settings, data, learned("cerebellum"), IMAGE, "attack", Shown(pixels=(pixel,))))[-2].derivatives
    assert check.verdict == "kink"
    assert f"granule cells at v = 0: {silent[(model.wiring.inputs[silent] == pixel).any(axis=1)][0]}" in check.kink
    flat = in_float64(learned("convolutional, plain"))
    x = np.full((1, 784), 0.5, dtype=np.float64)
    assert "MaxPool of layer 4 with equal pixels" in switching_units(flat, x, (0, 400))
    assert (x == 0.5).all()


def test_a_difference_knows_how_exact_it_is():
    smooth = difference(lambda t: np.exp(3 * t))
    assert abs(smooth.slope - 3) < 1e-9
    assert not smooth.kink
    assert difference(lambda t: abs(t)).kink
    near = difference(lambda t: max(t - 1e-3, 0.0) + 2 * t)
    assert abs(near.slope - 2) < 1e-9
    assert not near.kink
    assert difference(lambda t: 7.0)[:2] == (0.0, pytest.approx(0, abs=1e-12))
    drowned = difference(lambda t: 1 + 1e-13 * t)
    assert abs(drowned.slope - 1e-13) <= 4 * drowned.rounding


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"image": 20}, "image: 20"),
        ({"image": -1}, "image: -1"),
        ({"what": "everything"}, "what: 'everything'"),
        ({"shown": {"classes": (10,)}}, "class: 10"),
        ({"shown": {"pixels": (784,)}}, "pixel: 784"),
        ({"shown": {"cells": (300,)}}, "cell: 300"),
        ({"shown": {"epsilon": -1.0}}, "epsilon: -1.0"),
        ({"shown": {"objective": "hope"}}, "objective: 'hope'"),
        ({"case": "perceptron", "shown": {"cells": (3,)}}, "cell: (3,)"),
        ({"case": "noisy, kernels, flip", "shown": {"cells": (3,)}}, "cell: 3"),
        ({"case": "noisy, spiking, flip", "shown": {"cells": (6,)}}, "cell: 6"),
    ],
)
def test_what_is_not_there_is_named(options, named, data, learned):
    case = options.get("case", "cerebellum")
    model, image, what = learned(case), options.get("image", 0), options.get("what")
    with pytest.raises(InputError, match=re.escape(named)):
        list(explanation(CASES[case], data, model, image, what, Shown(**options.get("shown", {}))))


def test_what_is_asked_for_is_shown(data, learned):
    shown = Shown(cells=(5, 17), classes=(2,), pixels=(pixel_number("14,15", (28, 28)),))
    steps = list(explanation(CASES["cerebellum"], data, learned("cerebellum"), 0, shown=shown))
    names = [each.of for step in steps for each in step.derivatives]
    assert {"∂l/∂W[5, 2]", "∂l/∂W[17, 2]", "∂l/∂x[407 (14, 15)]"} <= set(names)
    with pytest.raises(InputError, match="pixel: '28,0'"):
        pixel_number("28,0", (28, 28))
    with pytest.raises(InputError, match="pixel: 'middle'"):
        pixel_number("middle", (28, 28))


@pytest.mark.parametrize("case", CASES)
def test_text_and_page_hold_every_step(case, told):
    steps = told(case)
    lines = [line for number, step in enumerate(steps, 1) for line in text(number, step)]
    document = html("A <title>", "A lead.", steps)
    for number, step in enumerate(steps, 1):
        assert f"{number}. {step.title}" in lines
        assert f'<h2 id="title-{number}">{number}. {escaped(step.title)}</h2>'.replace("&#x27;", "&#39;") in document
        assert not step.tag or f"   [{step.tag}]  {step.formula}" in lines
        assert step.drawings, step.title
        for _, _, rows in tables(step):
            assert all(escaped(cell).replace("&#x27;", "&#39;") in document for row in rows for cell in row)
    assert document.count("<figure>") == sum(len(step.drawings) for step in steps)
    assert document.count("<table>") == sum(len(list(tables(step))) for step in steps)
    assert all(dataclasses.is_dataclass(step) for step in steps)
    beyond = re.sub(r"data:image/(png|svg\+xml);base64,[\w+/=]*", "", document)
    assert re.findall(r"https?:|url\(|@import|<link|<iframe", beyond) == []
    assert set(re.findall(r"src=\"[^\"]*\"|href=\"[^#][^\"]*\"", beyond)) == {'src=""'}
    assert "A &lt;title&gt;" in document


@pytest.mark.parametrize("case", CASES)
def test_every_step_follows_from_the_image(case, told):
    steps = told(case)
    found = arrows(steps)
    reached = {0}
    for number, step in enumerate(steps[1:], 1):
        assert found[number].keys() <= reached, step.title
        assert found[number] or step.tag == "M-LS", step.title  # which does not depend on one image
        assert all(symbol in steps[source].gives.values() for source, symbol in found[number].items())
        assert step.symbol
        reached.add(number)
    assert {step.part for step in steps} == {"", "learning", "attack"}


def test_what_depends_on_what_in_the_cerebellum(told):
    steps = told("cerebellum")
    used = [{(steps[source].title, symbol) for source, symbol in each.items()} for each in arrows(steps).values()]
    of = {f"{step.part} {step.title}": each for step, each in zip(steps, used, strict=True)}
    granule, ltd, image = "Mossy fibres drive granule cells", "Long-term depression", steps[0].title
    assert of["learning Parallel fibres drive Purkinje cells"] == {(granule, "h"), (ltd, "μ")}
    weights = of["learning The derivative with respect to the weights"]
    assert weights == {(granule, "h"), (ltd, "μ"), ("The climbing fibre's error", "e")}
    assert of["attack The attack's objective (margin)"] == {(image, "ŷ")}
    assert of["attack One step of FGSM"] == {(image, "x"), ("The derivative with respect to the image", "∂l/∂x")}
