"""What docs/with/differences.md says of other tools, where they are installed in the versions that it names."""

import importlib
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pytest

import minicereb
from minicereb.attacks.ball import row_norms
from minicereb.interface.adapted import AdaptedClassifier
from minicereb.models.layers import Dense
from minicereb.models.sequential import Sequential

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "with" / "differences.md").read_text(encoding="utf-8")
pytestmark = pytest.mark.filterwarnings("ignore")


def of_version(package, number, distribution=None):
    """The package, if it is installed in this version; the page says nothing of others."""
    try:
        found = version(distribution or package)
    except PackageNotFoundError:
        pytest.skip(f"{package} is not installed")
    if found.partition("+")[0] != number:
        pytest.skip(f"{package} is {found}; the page is about {number}")
    assert number in PAGE
    return importlib.import_module(package)


def test_the_tests_that_the_page_names_exist():
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)
    assert len(named) > 12
    for path, test in named:
        assert f"def {test}" in (ROOT / path).read_text(encoding="utf-8"), (path, test)


def recorder(torch):
    class Recorder(torch.nn.Module):
        """Accepts every proposal: its margin falls with each call."""

        def __init__(self):
            super().__init__()
            self.seen = []

        def forward(self, x):
            self.seen.append(x.detach().clone())
            margin = torch.full((len(x),), 10 - 0.0005 * len(self.seen))
            return torch.stack([margin, 0 * margin], dim=1)

    return Recorder()


def changed(images):
    """Pixels that differ between a query and the next."""
    return int(np.any([(one != other).numpy() for one, other in zip(images, images[1:], strict=False)], axis=0).sum())


def test_squares_stay_off_the_last_row_and_column():
    torch, ours = of_version("torch", "2.13.0"), recorder(importlib.import_module("torch"))
    image, label = torch.full((1, 1, 8, 8), 0.5), torch.tensor([0])
    attacks = of_version("torchattacks", "3.5.1")
    theirs = recorder(torch)
    attacks.Square(theirs, eps=0.1, n_queries=2000, seed=0)(image, label)
    assert changed(theirs.seen[2:]) == 49
    model = minicereb.from_torch(ours, (8, 8))
    ours.seen.clear()
    minicereb.attack(model, image.numpy().reshape(1, -1), [0], method="square", steps=2000, epsilon=0.1)
    assert changed([each for each in ours.seen if len(each) == 1][1:]) == 64


def test_queries_of_square_are_its_steps():
    calls = []

    def never_wrong(x):
        calls.append(len(x))
        return np.stack([x[:, 0] + 1, 0 * x[:, 0]], axis=1)

    model = minicereb.from_callable(never_wrong, 16)
    calls.clear()
    minicereb.attack(model, np.full((1, 16), 0.5), [0], method="square", steps=50, epsilon=0.1)
    assert len(calls) == 50 + 2  # the image before and after


def flat(torch, slope):
    """Two outputs: 0.001, and a pixel times `slope`."""

    class Flat(torch.nn.Module):
        def forward(self, x):
            second = slope * x.flatten(1)[:, 0]
            return torch.stack([0 * second + 1e-3, second], dim=1)

    return Flat()


def test_short_gradients_give_full_steps_here():
    weight = np.zeros((2, 16), dtype=np.float32)
    weight[1, 0] = 1e-13
    model = AdaptedClassifier("flat", Sequential((Dense(weight, np.array([1e-3, 0], dtype=np.float32)),)), [0, 1], 16)
    result = minicereb.attack(model, np.full((1, 16), 0.5), [0], method="fgsm", norm="l2", epsilon=0.5)
    assert float(result.distance[0]) == pytest.approx(0.5)


def test_short_gradients_give_short_steps_in_torchattacks_and_foolbox():
    torch = of_version("torch", "2.13.0")
    x, y = torch.full((1, 1, 4, 4), 0.5), torch.tensor([0])
    attacks = of_version("torchattacks", "3.5.1")
    moved = attacks.PGDL2(flat(torch, 1e-13), eps=0.5, alpha=0.5, steps=1, random_start=False)(x, y) - x
    assert 2e-4 < float(moved.norm()) < 3e-4
    foolbox = of_version("foolbox", "3.3.4")
    model = foolbox.PyTorchModel(flat(torch, 1e-13).eval(), bounds=(0, 1))
    attack = foolbox.attacks.L2PGD(abs_stepsize=0.5, steps=1, random_start=False)
    moved = attack.run(model, x, foolbox.criteria.Misclassification(y), epsilon=0.5) - x
    assert 0.02 < float(moved.norm()) < 0.03


def test_norms_of_small_numbers():
    small = np.full((1, 4), 1e-24, dtype=np.float32)
    assert float(row_norms(small)[0]) == pytest.approx(2e-24)
    of_version("numpy", "2.4.6")
    assert np.linalg.norm(small) == 0


def test_deepfool_and_ties_and_derivatives():
    torch = of_version("torch", "2.13.0")
    assert torch.ones(1, 10).topk(1).indices.item() == 8
    assert torch.ones(1, 10).argmax().item() == 0
    x = torch.zeros(1, requires_grad=True)
    x.clamp(0, 1).sum().backward()
    assert x.grad.item() == 1
    attacks = of_version("torchattacks", "3.5.1")
    found = attacks.DeepFool(flat(torch, 0.0), steps=5)(torch.full((1, 1, 4, 4), 0.5), torch.tensor([0]))
    assert bool(torch.isnan(found).any())


def test_halves_of_pillow():
    of_version("PIL", "13.0.0", "pillow")
    from PIL import Image

    image = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    mean = image.reshape(14, 2, 14, 2).mean(axis=(1, 3))
    halved = np.asarray(Image.fromarray(image).resize((14, 14), Image.Resampling.BOX))
    assert 0.4 < (halved - mean).mean() < 0.6
    assert abs((np.asarray(Image.fromarray(image).reduce(2)) - mean).mean()) < 0.2


def test_seeds_of_scipy():
    of_version("scipy", "1.17.1")
    from scipy.stats import qmc

    assert not np.array_equal(qmc.Sobol(2, seed=0).random(4), qmc.Sobol(2, rng=0).random(4))


def test_starts_of_gymnasium():
    gymnasium = of_version("gymnasium", "1.4.0")
    whole, apart = (
        gymnasium.make_vec("CartPole-v1", num_envs=3, vectorization_mode=mode) for mode in ("vector_entry_point", "sync")
    )
    assert not np.array_equal(whole.reset(seed=0)[0], apart.reset(seed=0)[0])
