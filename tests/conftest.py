"""One test body for every device, and small models to try things on."""

import dataclasses
import functools

import numpy as np
import pytest
import strict_arrays
from hypothesis import settings
from toy_study import study

from minicereb import backend, datasets
from minicereb.backend import to_device
from minicereb.datasets import strokes
from minicereb.experiments.architectures import CerebellumModel, PerceptronModel
from minicereb.experiments.configs import Data, Train
from minicereb.models.cerebellum import initial_cerebellum
from minicereb.models.wiring import draw_wiring
from minicereb.randomness import generator
from minicereb.robustness.evaluate import EvaluationTarget
from minicereb.robustness.substitutes import own_substitute

# Drawing the digits takes two seconds, which each command of a test would spend again.
strokes._draw_block = functools.lru_cache(maxsize=64)(strokes._draw_block)

settings.register_profile("minicereb", deadline=None, derandomize=True)
settings.load_profile("minicereb")


def pytest_make_parametrize_id(val, argname):
    """Name bytes by their length: packed bytes may hold the time, and every worker must collect the same tests."""
    return f"{argname}-{len(val)}-bytes" if isinstance(val, bytes) else None


@pytest.fixture(autouse=True)
def _execution_as_before():
    """Configuration changes of one test do not affect the next."""
    before = backend._execution
    yield
    backend._execution = before


@pytest.fixture
def tmp_path(tmp_path):
    """Give each test a folder of its own, so that it does not find the results of other tests."""
    path = tmp_path / "alone"
    path.mkdir()
    return path


@pytest.fixture(params=["cpu", "strict", "cuda"])
def xp_device(request, monkeypatch):
    """The array library of each device in turn, with the device configured: NumPy, the strict stand-in for CuPy, CuPy."""
    if request.param == "strict":
        return strict_arrays.install(monkeypatch)
    if request.param == "cuda" and backend.cupy_problem() is not None:
        pytest.skip(f"no GPU: {backend.cupy_problem()}")
    backend.configure(device=request.param)
    return backend.xp_of(to_device(np.zeros(1, dtype=np.float32)))


@pytest.fixture(scope="session")
def build_cerebellum():
    """Builds a small cerebellum on the configured device, in float64 unless asked, with an LTD mean that is not zero."""

    def build(cells=40, shape=(5, 6), kind="random", k=3, classes=3, seed=0, dtype=np.float64, ltd=True, **options):
        wiring = draw_wiring(kind, cells, shape, None if kind == "full" else k, seed, **options)
        wiring = dataclasses.replace(wiring, weights=wiring.weights.astype(dtype))
        model = initial_cerebellum(wiring, classes, seed)
        mean = generator(seed, "a mean").random(cells) * ltd / 2
        return dataclasses.replace(model, ltd_mean=to_device(mean.astype(dtype)), readout=model.readout.astype(dtype))

    return build


@pytest.fixture(scope="session")
def draw_images():
    """Draws images in [0, 1] and labels on the configured device."""

    def draw(count, inputs=30, classes=3, seed=0, dtype=np.float64):
        rng = generator(seed, "images of a test")
        x, labels = rng.random((count, inputs)).astype(dtype), rng.integers(0, classes, count)
        return to_device(x), to_device(labels)

    return draw


@pytest.fixture(scope="session")
def drawn():
    return datasets.load("strokes", train=400, test=60)


@pytest.fixture(scope="session")
def learned(drawn):
    return own_substitute(drawn, seed=0)


@pytest.fixture
def subject_for(drawn):
    def subject(model, **settings):
        return EvaluationTarget(model, drawn.x_test, drawn.y_test, drawn.image_shape, drawn.classes, **settings)

    return subject


@pytest.fixture(scope="session")
def strokes():
    return datasets.load("strokes", train=600, test=100)


@pytest.fixture
def cerebellum(strokes):
    return Train(CerebellumModel("random", 500, 4), Data("strokes", strokes.sha256), 10, 3, 0.5 / 500)


@pytest.fixture
def perceptron(strokes):
    return Train(PerceptronModel((20,)), Data("strokes", strokes.sha256), 4, 3, 1e-3, "adam")


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """Store the data in a file, so that every process finds them."""
    drawn = datasets.load("strokes", train=400, test=60)
    images = {split: getattr(drawn, split).reshape(-1, 28, 28) for split in ("x_train", "x_test")}
    path = tmp_path_factory.mktemp("data") / "small.npz"
    np.savez(path, **images, y_train=drawn.y_train, y_test=drawn.y_test)
    return datasets.load(str(path))


@pytest.fixture(scope="session")
def whole(small, tmp_path_factory):
    """Return the result of the study when nothing interrupts it."""
    out = tmp_path_factory.mktemp("whole") / "alone"
    assert [step.done for step in study(small, out)][-1] == 12
    return out
