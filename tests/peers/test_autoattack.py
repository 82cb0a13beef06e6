"""The reference AutoAttack and ours on the same PyTorch model: at most one image in 500 differs, in our favour."""

import numpy as np
import pytest

import minicereb
from minicereb import datasets
from minicereb.errors import MinicerebError

torch = pytest.importorskip("torch", reason="PyTorch is not installed: python -m pip install torch")
pytestmark = pytest.mark.filterwarnings("ignore")  # what the other packages warn of is their own affair
EPSILON, SEEN, IMAGES = 0.03, 20_000, 500


def trained(data):
    """A perceptron of 60 hidden units, trained by PyTorch on noisy images."""
    torch.manual_seed(0)
    nn = torch.nn
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 60), nn.ReLU(), nn.Linear(60, 10))
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    images, labels = torch.tensor(datasets.to_unit(data.x_train[:SEEN])), torch.tensor(data.y_train[:SEEN])
    for _ in range(3):
        for at in range(0, SEEN, 100):
            x, y = images[at : at + 100], labels[at : at + 100]
            x = (x + torch.empty_like(x).uniform_(-0.05, 0.05)).clamp(0, 1)
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()
    return net.eval()


@pytest.mark.slow
def test_autoattack_breaks_no_image_that_ours_leaves():
    peer = pytest.importorskip("pyautoattack", reason="AutoAttack is not installed: python -m pip install pyautoattack")
    try:
        data = datasets.load("mnist")
    except MinicerebError as error:
        pytest.skip(f"no MNIST here: {error}")
    net = trained(data)
    x, labels = datasets.to_unit(data.x_test[:IMAGES]), data.y_test[:IMAGES]
    found = minicereb.evaluate(minicereb.from_torch(net, (28, 28)), x, labels, epsilons=EPSILON, check=False)
    ours = found.distance <= EPSILON + 1e-6  # pixels are rounded
    assert 1 - ours.mean() == pytest.approx(found.attacked[EPSILON])
    judge = peer.AutoAttack(net, norm="Linf", eps=EPSILON, version="standard", device="cpu", seed=0)
    attacked, *_ = judge.run_standard_evaluation(torch.tensor(x).reshape(-1, 1, 28, 28), torch.tensor(labels), batch_size=IMAGES)
    with torch.no_grad():
        theirs = net(attacked).argmax(1).numpy() != labels
    assert 0.5 < 1 - theirs.mean() < 0.9
    assert not (theirs & ~ours).any()
    assert np.sum(ours & ~theirs) <= 1
