"""Models of other packages, and attacks of other packages on ours, against the packages themselves, where they are installed."""

import numpy as np
import pytest

import minicereb
from minicereb.errors import InputError, NoGradientError

pytestmark = pytest.mark.filterwarnings("ignore")  # what other packages warn of is their own affair


@pytest.fixture(scope="module")
def table():
    x = np.random.default_rng(0).random((300, 16))
    return x, (3 * (x[:, 0] + x[:, 1]) // 2).astype(int).clip(0, 2)


# -- scikit-learn ------------------------------------------------------------------------------------------------------------


def test_models_of_scikit_learn_answer_alike_and_are_certified(table):
    pytest.importorskip("sklearn")
    from sklearn.linear_model import LogisticRegression, SGDClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, StandardScaler
    from sklearn.svm import LinearSVC

    x, y = table
    two = np.where(y > 0, "many", "few")
    for model in (
        LogisticRegression(),
        LinearSVC(),
        SGDClassifier(random_state=0),
        MLPClassifier((12, 8), max_iter=40, random_state=0),
        MLPClassifier((12,), activation="tanh", max_iter=40, random_state=0),
        MLPClassifier((12, 5), activation="logistic", max_iter=40, random_state=0),
        MLPClassifier((6,), activation="identity", max_iter=40, random_state=0),
        make_pipeline(StandardScaler(), MinMaxScaler((-1, 1)), MLPClassifier((12,), max_iter=40, random_state=0)),
    ):
        for labels in (y, two):
            model.fit(x, labels)
            adapted = minicereb.from_sklearn(model)
            scores = model.decision_function(x) if hasattr(model, "decision_function") else np.log(model.predict_proba(x))
            if labels is y:
                found, scores = (each - each[:, :1] for each in (adapted.decision_function(x), scores))
            else:
                found, scores = adapted.decision_function(x), scores if scores.ndim == 1 else scores[:, 1] - scores[:, 0]
            assert np.allclose(found, scores, atol=1e-4 * abs(scores).max())
            assert (adapted.predict(x) == model.predict(x)).mean() > 0.99
            assert adapted.certifiable
    result = minicereb.evaluate(adapted, x[:20], two[:20], epsilons=0.02, attacks="apgd-ce", check=False)
    assert result.certified[0.02] <= result.attacked[0.02] <= result.clean_accuracy


def test_other_models_of_scikit_learn_are_black_boxes(table):
    pytest.importorskip("sklearn")
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    x, y = table
    forest = RandomForestClassifier(10, random_state=0).fit(x, y)
    with pytest.raises(InputError, match="model: 'RandomForestClassifier' .*else minicereb.from_callable"):
        minicereb.from_sklearn(forest)
    with pytest.raises(InputError, match="LogisticRegression that is not fitted"):
        minicereb.from_sklearn(LogisticRegression())
    model = minicereb.from_callable(forest.predict_proba, 16)
    assert (model.predict(x) == forest.predict(np.float32(x))).all()
    result = minicereb.attack(model, x[:40], y[:40], method="square", steps=100, epsilon=0.2)
    assert result.robust_accuracy < result.clean_accuracy
    assert (forest.predict(result.x_adv) == result.predicted).all()
    with pytest.raises(NoGradientError, match="attacks that need none are square and random"):
        minicereb.attack(model, x[:5], y[:5])
    assert set(minicereb.evaluate(model, x[:5], y[:5], epsilons=0.1, check=False).record["epsilons"][0]["by_attack"]) == {
        "square",
        "random",
    }


# -- PyTorch -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def torch():
    found = pytest.importorskip("torch", reason="PyTorch is not installed: python -m pip install torch")
    found.manual_seed(0)
    return found


def modules(torch):
    """Modules by name, with the shape of their images, and whether they can be converted."""
    nn, functional = torch.nn, torch.nn.functional

    class Written(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 5, 3, padding=1), nn.Conv2d(5, 6, 3, stride=2)
            self.last = nn.Linear(6 * 1, 4)
            self.register_buffer("mean", torch.tensor([0.3, 0.4, 0.5]).reshape(1, 3, 1, 1))

        def forward(self, x):
            x = functional.relu(self.first((x - self.mean) / 0.25))
            x = functional.max_pool2d(torch.relu(self.second(x)), 2)
            return self.last(x.view(x.size(0), -1))

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.last = nn.Linear(12, 12), nn.Linear(12, 3)

        def forward(self, x):
            return self.last(x + torch.tanh(self.inner(x)))

    dense = nn.Sequential(nn.Linear(12, 9), nn.ReLU(), nn.Dropout(0.5), nn.Linear(9, 8), nn.Sigmoid(), nn.Linear(8, 3))
    convolutional = nn.Sequential(
        *(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(16, 7), nn.ReLU(), nn.Linear(7, 3)),
    )
    with torch.no_grad():
        convolutional[1].running_mean += 0.1
        convolutional[1].running_var *= 2
    return {
        "dense": (dense, None, True),
        "images into rows": (nn.Sequential(nn.Flatten(), nn.Linear(2 * 2 * 3, 3)), (2, 2, 3), True),
        "convolutional": (convolutional, (6, 7, 3), True),
        "as people write them": (Written(), (6, 7, 3), True),
        "residual": (Residual(), None, False),
        "leaky": (nn.Sequential(nn.Linear(12, 9), nn.LeakyReLU(), nn.Linear(9, 3)), None, False),
        "double precision": (nn.Sequential(nn.Linear(12, 9), nn.GELU(), nn.Linear(9, 3)).double(), None, False),
    }


@pytest.mark.parametrize(
    "name", ["dense", "images into rows", "convolutional", "as people write them", "residual", "leaky", "double precision"]
)
def test_modules_answer_and_are_derived_alike(torch, name):
    module, shape, converts = modules(torch)[name]
    module.eval()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    model = minicereb.from_torch(module, shape)
    assert (model.not_converted == "") == converts, model.not_converted
    assert model.certifiable == converts
    x = np.random.default_rng(1).random((6, model.n_features_in_), dtype=np.float32)
    images = torch.tensor(x, dtype=next(module.parameters()).dtype, requires_grad=True)
    outputs = module(images if shape is None else images.reshape(-1, *shape).permute(0, 3, 1, 2))
    assert np.allclose(model.outputs(x), outputs.detach().numpy(), atol=1e-5)
    credit = np.random.default_rng(2).standard_normal(outputs.shape).astype(np.float32)
    outputs.backward(torch.tensor(credit, dtype=outputs.dtype))
    _, cache = model.network_.forward(x)
    assert np.allclose(model.network_.input_gradient(credit, cache), images.grad.numpy(), atol=1e-5)
    assert all((value == before[key]).all() for key, value in module.state_dict().items())
    assert all(parameter.grad is not None for parameter in module.parameters())  # of our own backward call above
    result = minicereb.attack(model, x, model.predict(x), epsilon=0.5)
    attacked = torch.tensor(result.x_adv, dtype=images.dtype)
    theirs = module(attacked if shape is None else attacked.reshape(-1, *shape).permute(0, 3, 1, 2)).argmax(dim=1)
    assert (theirs.numpy() == result.predicted).all()


def test_what_a_module_must_be(torch):
    with pytest.raises(InputError, match="module: 'str' is not valid"):
        minicereb.from_torch("net")
    with pytest.raises(InputError, match="BatchNorm2d in training mode.*eval"):
        minicereb.from_torch(modules(torch)["convolutional"][0].train(), (6, 7, 3))
    with pytest.raises(InputError, match=r"image_shape: None .*\(height, width\)"):
        minicereb.from_torch(modules(torch)["convolutional"][0].eval())
    with pytest.raises(minicereb.errors.ModelError, match="forward.* failed"):
        minicereb.from_torch(modules(torch)["convolutional"][0].eval(), (2, 2, 3))


@pytest.fixture(scope="module")
def learned(table):
    x, y = table
    return minicereb.Cerebellum(400, epochs=20).fit(x, y)


def test_our_classifiers_are_modules(torch, learned, table):
    x, y = table
    module = minicereb.to_torch(learned)
    images = torch.tensor(x[:50], dtype=torch.float32, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(module(images), torch.tensor(y[:50]), reduction="sum")
    loss.backward()
    outputs, cache = learned.network_.forward(np.float32(x[:50]))
    probabilities = np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)
    expected = learned.network_.input_gradient(probabilities - np.eye(3, dtype=np.float32)[y[:50]], cache)
    assert np.allclose(images.grad.numpy(), expected, atol=1e-4 * abs(expected).max())
    again = minicereb.from_torch(minicereb.to_torch(learned), (4, 4))
    assert (again.predict(x) == learned.predict(x)).all()


def test_attacks_of_torchattacks_run_on_ours(torch, learned, table):
    torchattacks = pytest.importorskip("torchattacks")
    x, y = np.float32(table[0][:60]), table[1][:60]
    images = torch.tensor(x.reshape(-1, 1, 4, 4))
    attacked = torchattacks.PGD(minicereb.to_torch(learned), eps=0.1, alpha=0.02, steps=20)(images, torch.tensor(y))
    theirs = (learned.predict(attacked.numpy().reshape(60, -1)) == y).mean()
    ours = minicereb.attack(learned, x, y, objective="cross-entropy", epsilon=0.1).robust_accuracy
    assert abs(theirs - ours) <= 0.1 < learned.score(x, y) - theirs


def test_attacks_of_foolbox_run_on_ours(torch, learned, table):
    foolbox = pytest.importorskip("foolbox")
    x, y = np.float32(table[0][:60]), table[1][:60]
    model = minicereb.to_foolbox(learned)
    _, clipped, found = foolbox.attacks.LinfPGD(steps=40, rel_stepsize=2.5 / 40)(
        model, torch.tensor(x), torch.tensor(y), epsilons=0.1
    )
    theirs = 1 - found.numpy().mean()
    ours = minicereb.attack(learned, x, y, objective="cross-entropy", epsilon=0.1).robust_accuracy
    assert abs(theirs - ours) <= 0.1
    assert (learned.predict(clipped.numpy()) != y).mean() == pytest.approx(found.numpy().mean())


def test_attacks_of_art_run_on_ours(learned, table):
    pytest.importorskip("art")
    from art.attacks.evasion import FastGradientMethod, ProjectedGradientDescent, SquareAttack

    x, y = np.float32(table[0][:60]), table[1][:60]
    model = minicereb.to_art(learned)
    attacked = ProjectedGradientDescent(model, eps=0.1, eps_step=0.02, max_iter=20, verbose=False).generate(x, np.eye(3)[y])
    theirs = (learned.predict(attacked) == y).mean()
    ours = minicereb.attack(learned, x, y, objective="cross-entropy", epsilon=0.1).robust_accuracy
    assert abs(theirs - ours) <= 0.1
    once = FastGradientMethod(model, eps=0.1).generate(x, np.eye(3)[y])
    fgsm = minicereb.attack(learned, x, y, method="fgsm", objective="cross-entropy", epsilon=0.1)
    right = fgsm.clean_predicted == y  # ours leaves the others as they are
    assert np.allclose(once[right], fgsm.x_adv[right], atol=1e-6)
    assert model.class_gradient(x[:5]).shape == (5, 3, 16)
    assert np.array_equal(model.class_gradient(x[:5], 1)[:, 0], model.class_gradient(x[:5])[:, 1])
    images = minicereb.to_art(learned, (4, 4, 1))
    squares = SquareAttack(images, eps=0.2, max_iter=50, p_init=0.3, verbose=False).generate(x.reshape(-1, 4, 4, 1), np.eye(3)[y])
    assert (learned.predict(squares.reshape(60, -1)) == y).mean() < learned.score(x, y)


# -- ONNX and functions ------------------------------------------------------------------------------------------------------


def test_a_network_from_an_onnx_file(learned, table, tmp_path):
    pytest.importorskip("onnx")
    from minicereb.interchange.onnx_writer import write_onnx

    write_onnx(learned.network_, 16, tmp_path / "model.onnx")
    model = minicereb.from_onnx(tmp_path / "model.onnx")
    x, y = table
    assert (model.predict(x) == learned.predict(x)).all()
    assert model.certifiable
    assert repr(model) == "model.onnx (converted)"
    assert minicereb.attack(model, x[:30], y[:30], epsilon=0.2).robust_accuracy < 0.5


def test_a_function_that_answers_otherwise_is_one_line():
    for function, said in (
        (lambda x: x[:, 0], r"outputs of shape \(2,\)"),
        (lambda x: x[:, :1], "model: '1 output' .*at least two outputs"),
        (lambda x: x.missing, "forward.* failed"),
        (lambda x: [["a", "b"]] * len(x), "model: 'outputs of <U1'"),
        (3, "function: 'int' is not valid"),
    ):
        with pytest.raises(minicereb.errors.MinicerebError, match=said) as caught:
            minicereb.from_callable(function, 4)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="classes: .* different labels in ascending order"):
        minicereb.from_callable(lambda x: x, 3, classes=["b", "a", "c"])
    model = minicereb.from_callable(lambda x: x, 3, classes=["a", "b", "c"])
    assert model.predict(np.eye(3)).tolist() == ["a", "b", "c"]
