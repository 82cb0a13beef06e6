"""What a dry run says of each kind of job: more for more of it, and a bound where it is not known how much there will be."""

import dataclasses

import pytest

from minicereb.attacks.settings import Attack
from minicereb.experiments import costs
from minicereb.experiments.architectures import CerebellumModel, ConvolutionalModel
from minicereb.experiments.costs import estimates
from minicereb.experiments.evaluation.settings import EvaluatedModel
from minicereb.experiments.kinds.attacked import AttackedModel, MovedOutputs
from minicereb.experiments.kinds.conditioning import Conditioning
from minicereb.experiments.kinds.gradient_sources import GradientSources
from minicereb.experiments.kinds.paired import PairedComparison
from minicereb.experiments.kinds.pole import PoleBalancing
from minicereb.experiments.kinds.transfer import TransferMatrix
from minicereb.experiments.laboratory import Laboratory
from minicereb.robustness.catalogue import ALL, STANDARD
from minicereb.tasks.eyelid_conditioning import Eyelid
from minicereb.tasks.pole_balancing import PoleTask
from minicereb.tasks.pole_learners import ErrorDriven

PGD = Attack("pgd", "margin", 0.1)


@pytest.fixture
def steady(monkeypatch):
    """Probes as if a step took a second and all else nothing, so that what is counted can be seen."""
    monkeypatch.setattr(costs.Probes, "attack", lambda self, train, attack: (0.0, 1.0))
    monkeypatch.setattr(costs.Probes, "answer", lambda self, train: 0.25)
    monkeypatch.setattr(costs.Probes, "evaluation", lambda self, config: ("analytic", 0.5))


@pytest.fixture
def seconds(strokes, tmp_path):
    return lambda job: next(estimates([job], Laboratory(strokes, tmp_path))).seconds


@pytest.fixture
def at_most(strokes, tmp_path):
    return lambda job: next(estimates([job], Laboratory(strokes, tmp_path))).at_most


@pytest.mark.parametrize(
    ("attack", "steps"),
    [
        (Attack("fgsm", "mse", 0.1), 1),
        (Attack("pgd", "mse", 0.1, steps=7), 7),
        (Attack("apgd", "dlr", 0.1, steps=5, targets=9, restarts=2), 90),
        (Attack("square", "margin", 0.1, steps=50), 50),
    ],
)
def test_the_steps_of_an_attack_are_counted(attack, steps, steady, seconds, cerebellum):
    assert seconds(AttackedModel(cerebellum, attack, 10)) == seconds(MovedOutputs(cerebellum, attack, 10)) == 10 * steps


def test_a_matrix_is_its_attacks_and_all_answers(steady, seconds, cerebellum, perceptron):
    assert seconds(TransferMatrix((cerebellum, perceptron), PGD, 10)) == 2 * 10 * 40 + 2 * 3 * 10 * 0.25


def test_an_evaluation_is_its_attacks_at_every_epsilon_its_certificates_and_its_checklist(steady, seconds, cerebellum):
    def checklist(principal):  # of at most 100 images
        return 7 * principal + 3 + 40 + 1000

    standard = 100 + 9 * 100 + 5000 + 0.5, 2 * 9 * 100
    assert seconds(EvaluatedModel(cerebellum, (0.1,), 10)) == 10 * (sum(standard) + checklist(100))
    assert seconds(EvaluatedModel(cerebellum, (0.1, 0.2), 10)) == 10 * (2 * standard[0] + standard[1] + 2 * checklist(100))
    assert seconds(EvaluatedModel(cerebellum, (0.1,), 1000)) == 1000 * sum(standard) + 100 * checklist(100)
    weak = EvaluatedModel(cerebellum, (0.1,), 10, ("weak",))
    assert seconds(weak) == 10 * (3 + 0.5 + checklist(3) + 2 * 3 + 1000)
    by_way = dataclasses.replace(weak, substitutes=(cerebellum, cerebellum))
    assert seconds(by_way) == seconds(weak) + 10 * 2 * 100


def test_a_bound_is_called_one(steady, at_most, cerebellum):
    one, other = (EvaluatedModel(cerebellum, (epsilon,), 10) for epsilon in (0.1, 0.2))
    assert at_most(one)
    assert at_most(AttackedModel(cerebellum, Attack("square", "margin", 0.1), 10))
    assert not at_most(AttackedModel(cerebellum, PGD, 10))
    paired = PairedComparison(one, dataclasses.replace(one, seed=1))
    assert not at_most(paired)
    assert not at_most(cerebellum)
    assert at_most(other)


def test_what_is_not_tried_is_told(seconds, cerebellum):
    assert seconds(GradientSources(cerebellum, (("flip", 1),), 5)) is None
    assert seconds(EvaluatedModel(cerebellum, (0.1,), 5, answer="lap")) is None


def test_every_attack_and_certificate_can_be_tried(seconds, cerebellum, perceptron):
    for train in (cerebellum, perceptron):
        named = EvaluatedModel(train, (0.1,), 10, ALL, substitutes=(perceptron,))
        assert seconds(named) > seconds(EvaluatedModel(train, (0.1,), 10, STANDARD)) / 2 > 0


def test_every_image_is_attacked_while_an_attack_is_tried(strokes, cerebellum, monkeypatch):
    """FAB leaves alone what is wrong already, and a model that has not learned is nearly always wrong."""
    met = []

    def watched(model, attack, rows, labels, ids, **options):
        met.append((model.forward(rows[ids].astype("float32") / 255)[0].argmax(axis=1) == labels[ids]).all())
        return iter(())

    monkeypatch.setattr(costs, "attack_images", watched)
    costs.Probes(strokes).attack(cerebellum, Attack("fab", "margin", 0.1))
    assert met
    assert all(met)


def test_the_features_of_an_encoder_are_counted_once(strokes, cerebellum, tmp_path):
    network = dataclasses.replace(cerebellum, model=ConvolutionalModel(((2,),), (4,)), optimizer="adam")
    behind = [dataclasses.replace(cerebellum, encoder=network, seed=seed) for seed in (0, 1)]
    _, first, second = estimates([network, *behind], Laboratory(strokes, tmp_path))
    images, features = len(strokes.x_train) + len(strokes.x_test), 14 * 14 * 2
    assert first.disk - second.disk == 4 * images * features


def test_the_closed_form_takes_longer_with_more_cells(seconds, cerebellum):
    few, many = (
        dataclasses.replace(cerebellum, model=CerebellumModel("random", cells, 4, rule="least-squares")) for cells in (200, 4000)
    )
    assert 0 < seconds(few) < seconds(many) < 3600


def test_a_session_of_conditioning_is_its_trials(monkeypatch, seconds):
    monkeypatch.setattr(costs, "_conditioning", lambda settings: (2.0, 0.5))
    assert seconds(Conditioning(Eyelid(acquisition=10, extinction=3, reacquisition=1))) == 2 + 14 * 0.5


def test_balancing_is_at_most_all_its_trials_and_tests(monkeypatch, seconds, at_most):
    monkeypatch.setattr(costs, "_balancing", lambda task: (2.0, 0.125))
    job = PoleBalancing(PoleTask(ErrorDriven(), seconds=40.0), 7, angles=(0.0, 1.0, 2.0))
    assert seconds(job) == 2 + 10 * 40 * 0.125
    assert at_most(job)


def test_motor_tasks_are_timed(seconds):
    assert 0 < seconds(Conditioning(Eyelid(cells=200))) < 600
    assert 0 < seconds(PoleBalancing(PoleTask(ErrorDriven(), cells=200, seconds=2.0), 3)) < 600
