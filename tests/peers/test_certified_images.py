"""No image that is certified is broken by the attacks of AutoAttack, foolbox or ART, where these are installed."""

import dataclasses

import numpy as np
import pytest

from minicereb import datasets
from minicereb.certificates.certify import certify
from minicereb.learning.optimizers import RMSprop
from minicereb.learning.pessimistic import PessimisticDeltaRule
from minicereb.models.cerebellum import initial_cerebellum
from minicereb.models.wiring import draw_wiring

torch = pytest.importorskip("torch", reason="PyTorch is not installed: python -m pip install torch")
pytestmark = pytest.mark.filterwarnings("ignore")  # what the other packages warn of is their own affair
EPSILON, SHAPE = 0.1, (1, 28, 28)


def module_of(model):
    """A PyTorch module whose derivative passes thresholds as if they were not there; by hand, so nothing of ours attacks."""
    after = dataclasses.replace(model, fires_above=None)

    class Outputs(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            rows = x.detach().numpy().reshape(len(x), -1)
            bits = rows if model.fires_above is None else (rows > model.fires_above).astype(np.float32)
            outputs, ctx.cache = after.forward(bits)
            ctx.shape = x.shape
            return torch.from_numpy(outputs)

        @staticmethod
        def backward(ctx, d_outputs):
            found = after.input_gradient(np.ascontiguousarray(d_outputs.numpy()), ctx.cache)
            return torch.from_numpy(np.ascontiguousarray(found)).reshape(ctx.shape)

    class Module(torch.nn.Module):
        def forward(self, x):
            return Outputs.apply(x)

    return Module().eval()


@pytest.fixture(scope="module")
def circuit():
    """A circuit of threshold fibres after 3,000 drawn digits, test images, labels, and which of the images are certified."""
    data = datasets.load("strokes")
    wiring = draw_wiring("random", 2_000, data.image_shape, inputs_per_cell=4, seed=0)
    model = initial_cerebellum(wiring, data.classes, 0, 0.5)
    rule = PessimisticDeltaRule(model, RMSprop(5e-4), 10, 0.99, EPSILON, 0.5, 300)
    list(rule.learn(datasets.to_unit(data.x_train[:3_000]), data.y_train[:3_000]))
    x, labels = datasets.to_unit(data.x_test[:200]), np.asarray(data.y_test[:200])
    right = model.forward(x)[0].argmax(axis=1) == labels
    x, labels = x[right], labels[right]
    certified = certify(model, x, labels, EPSILON).certified
    assert 20 < certified.sum() < len(x) - 3
    return model, x, labels, certified


def by_autoattack(module, x, y):
    autoattack = pytest.importorskip("pyautoattack", reason="AutoAttack is not installed: python -m pip install pyautoattack")
    names = ["apgd-ce", "apgd-t", "fab-t"]
    attack = autoattack.AutoAttack(module, attacks=names, norm="Linf", eps=EPSILON, version="custom", seed=0)
    found = attack.run_standard_evaluation(x, y, batch_size=len(x))
    return found[0] if isinstance(found, tuple) else found


def by_foolbox(module, x, y):
    foolbox = pytest.importorskip("foolbox", reason="foolbox is not installed: python -m pip install foolbox")
    model = foolbox.PyTorchModel(module, bounds=(0, 1), device="cpu")
    return foolbox.attacks.LinfPGD(steps=40)(model, x, y, epsilons=EPSILON)[1]


def by_art(module, x, y):
    estimators = pytest.importorskip("art.estimators.classification", reason="ART is not installed")
    from art.attacks.evasion import SquareAttack

    loss = torch.nn.CrossEntropyLoss()
    model = estimators.PyTorchClassifier(module, loss, input_shape=SHAPE, nb_classes=10, clip_values=(0, 1), device_type="cpu")
    found = SquareAttack(model, eps=EPSILON, max_iter=100, nb_restarts=1, verbose=False).generate(x.numpy(), y.numpy())
    return torch.from_numpy(found)


@pytest.mark.parametrize("attack", [by_autoattack, by_foolbox, by_art])
def test_what_is_certified_stays_right(circuit, attack):
    model, x, labels, certified = circuit
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - ART draws from it
    images, y = torch.from_numpy(x.reshape(-1, *SHAPE)), torch.from_numpy(labels.astype(np.int64))
    attacked = attack(module_of(model), images, y).numpy().reshape(len(x), -1)
    assert abs(attacked - x).max() <= EPSILON + 1e-6
    broken = model.forward(attacked)[0].argmax(axis=1) != labels
    assert not (broken & certified).any()
    assert broken.any()  # the attack does work
