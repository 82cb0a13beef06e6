import itertools

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse

from minicereb.certificates.chain import Goal, ascend, backward, chain_of, relaxed, usual_slopes
from minicereb.certificates.complete import verify
from minicereb.certificates.hull import has_hull, hull_of, lower, raised
from minicereb.certificates.images import verify_image
from minicereb.models.cerebellum import CerebellarNetwork
from minicereb.models.wiring import draw_wiring

INPUTS, UNITS, EACH = 7, 12, 3


def drawn(seed, sparse=True, binary=False, twice=False):
    """A chain with one hidden layer of units with three inputs each, and a function of its outputs."""
    rng = np.random.default_rng(seed)
    inputs = np.array([rng.choice(INPUTS, EACH, replace=twice) for _ in range(UNITS)])
    ends = np.arange(0, inputs.size + 1, EACH)
    first = scipy.sparse.csr_array((rng.normal(size=inputs.size), inputs.ravel(), ends), shape=(UNITS, INPUTS))
    first = first if sparse else first.toarray()
    weights = [first, rng.normal(size=(2, UNITS))]
    biases = [0.3 * rng.normal(size=UNITS), rng.normal(size=2)]
    centre = np.full(INPUTS, 0.5) if binary else rng.normal(size=INPUTS)
    radius = 0.5 if binary else rng.random(INPUTS) * (rng.random(INPUTS) < 0.9)
    return chain_of(weights, biases, centre - radius, centre + radius, unit=0.0, binary=binary), rng.normal(size=2)


def dense(weights):
    return weights.toarray() if scipy.sparse.issparse(weights) else weights


def margins(chain, row, count=20_000):
    """The function at random points and at random corners of the box."""
    rng = np.random.default_rng(99)
    places = np.concatenate((rng.random((count, INPUTS)), rng.integers(0, 2, (count, INPUTS))))
    return chain.outputs(chain.low + (chain.high - chain.low) * places) @ row


def hull_minimum(chain, row):
    """The minimum over the convex hulls of single units, by linear programming (HiGHS) over the corners of each unit's inputs.

    A unit with a negative coefficient is a mixture of the corners of its own box; one with a positive coefficient lies above 0
    and above its signal.
    """
    weights, share = dense(chain.weights[0]), row @ chain.weights[1]
    costs, rows, ends, equal, level = [*np.zeros(INPUTS)], [], [], [], []
    columns = INPUTS + sum(2 ** np.count_nonzero(w) if c < 0 else 1 for w, c in zip(weights, share, strict=True))
    for w, bias, c in zip(weights, chain.biases[0], share, strict=True):
        at = len(costs)
        if c >= 0:
            line = np.zeros(columns)
            line[:INPUTS], line[at] = w, -1
            rows.append(line)
            ends.append(-bias)
            costs.append(c)
            continue
        where = np.flatnonzero(w)
        corners = np.array(list(itertools.product(*zip(chain.low[where], chain.high[where], strict=True))))
        line = np.zeros(columns)
        line[at : at + len(corners)] = 1
        equal.append(line)
        level.append(1)
        for place, number in enumerate(where):
            line = np.zeros(columns)
            line[at : at + len(corners)], line[number] = corners[:, place], -1
            equal.append(line)
            level.append(0)
        costs.extend(c * np.maximum(corners @ w[where] + bias, 0))
    bounds = [*zip(chain.low, chain.high, strict=True), *[(0, None)] * (columns - INPUTS)]
    found = scipy.optimize.linprog(costs, rows or None, ends or None, equal or None, level or None, bounds=bounds)
    assert found.status == 0
    return found.fun + row @ chain.biases[1]


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_the_ascent_reaches_the_minimum_over_the_hulls_and_does_not_pass_it(seed, twice):
    chain, row = drawn(seed, twice=twice)
    hull, exact = hull_of(chain, row), hull_minimum(chain, row)
    far = hull._replace(constant=hull.constant - 100.0)  # so the ascent does not end above 0
    found = raised(far, 400).bound + 100
    assert exact - 2e-3 < found < exact + 1e-12
    assert exact <= margins(chain, row).min() + 1e-9


def test_the_hull_is_tighter_than_optimised_linear_relaxation():
    gained = []
    for seed in range(6):
        chain, row = drawn(seed)
        lines = relaxed(chain.least[None], chain.most[None], np.zeros((1, chain.units)), np.float64)
        box = (0.5 * (chain.low + chain.high))[None], (0.5 * (chain.high - chain.low))[None]
        goal = Goal(row[None], np.array([-100.0]))
        usual = usual_slopes(chain.least, chain.most)[None]
        alone = ascend(chain, box, lines, usual, np.ones((1, 1)), goal, None, 300).bound[0] + 100
        hull = hull_of(chain, row)
        gained.append(raised(hull._replace(constant=hull.constant - 100), 300).bound + 100 - alone)
    assert min(gained) > -1e-3
    assert max(gained) > 0.1


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_with_one_slope_for_each_unit_it_is_the_linear_relaxation(seed, sparse):
    chain, row = drawn(seed, sparse)
    hull = hull_of(chain, row)
    lines = relaxed(chain.least[None], chain.most[None], np.zeros((1, chain.units)), np.float64)
    box = (0.5 * (chain.low + chain.high))[None], (0.5 * (chain.high - chain.low))[None]
    slopes = usual_slopes(chain.least, chain.most)[None]
    expected = backward(chain, box, lines, slopes, row[None], None).bound[0]
    found = lower(hull, np.broadcast_to(hull.above.slopes, hull.above.reach.shape), hull.below.slopes).bound
    assert expected - 1e-9 < found < expected + 1e-9


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_any_slopes_give_a_bound(seed, binary):
    rng = np.random.default_rng(seed)
    chain, row = drawn(seed, binary=binary)
    hull, least = hull_of(chain, row), margins(chain, row).min()
    for _ in range(50):
        assert lower(hull, rng.random(hull.above.reach.shape), rng.random(hull.below.height.shape)).bound < least


@pytest.mark.parametrize("seed", range(3))
def test_the_derivatives_are_those_of_the_bound(seed):
    rng = np.random.default_rng(seed)
    chain, row = drawn(seed)
    hull = hull_of(chain, row)
    above, below = rng.random(hull.above.reach.shape), rng.random(hull.below.height.shape)
    point = lower(hull, above, below)
    step = 1e-6
    for place in np.ndindex(above.shape):
        ahead, behind = above.copy(), above.copy()
        ahead[place] += step
        behind[place] -= step
        slope = (lower(hull, ahead, below).bound - lower(hull, behind, below).bound) / (2 * step)
        assert np.isclose(slope, point.by_above[place], atol=1e-6)
    for place in range(len(below)):
        ahead, behind = below.copy(), below.copy()
        ahead[place] += step
        behind[place] -= step
        slope = (lower(hull, above, ahead).bound - lower(hull, above, behind).bound) / (2 * step)
        assert np.isclose(slope, point.by_below[place], atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_of_binary_inputs_it_is_below_every_corner(seed):
    chain, row = drawn(seed, binary=True)
    corners = np.array(list(itertools.product((0.0, 1.0), repeat=INPUTS)))
    least = (chain.outputs(corners) @ row).min()
    hull = hull_of(chain, row)
    best = raised(hull._replace(constant=hull.constant - 100), 300)
    assert best.bound + 100 < least
    assert np.isin(best.corner, (-1, 1)).all()
    proved = verify(chain, [Goal(row[None], np.array([0.01 - least]))], 20)
    refuted = verify(chain, [Goal(row[None], np.array([-0.01 - least]))], 20)
    assert (proved.verdict, refuted.verdict) == ("certified", "broken")


def test_rounding_of_the_model_is_subtracted():
    rng = np.random.default_rng(0)
    wide = 3000
    weights = [rng.normal(size=(wide, 40)).astype(np.float32), rng.normal(size=(1, wide)).astype(np.float32)]
    biases = [np.zeros(wide), np.zeros(1)]
    for x in rng.random((20, 40), dtype=np.float32):
        chain = chain_of([w.astype(np.float64) for w in weights], biases, x, x)
        computed = np.maximum(x @ weights[0].T, 0) @ weights[1].T
        bounds = [sign * raised(hull_of(chain, np.array([sign])), 0).bound for sign in (1.0, -1.0)]
        assert bounds[0] < computed[0] < bounds[1]
        assert bounds[1] - bounds[0] < 0.5  # of sums of about 4,000 in absolute values


def test_only_chains_of_one_hidden_layer_have_one():
    rng = np.random.default_rng(0)
    for shape in ((3, 2), (3, 4, 2), (3, 4, 4, 2)):
        weights = [rng.normal(size=(m, n)) for n, m in zip(shape[:-1], shape[1:], strict=True)]
        chain = chain_of(weights, [np.zeros(m) for m in shape[1:]], np.zeros(3), np.ones(3))
        assert has_hull(chain) == (len(shape) == 3)
        assert verify(chain, [Goal(np.array([[1.0, 0.0]]), np.array([1e3]))], 10).verdict == "certified"


@pytest.mark.parametrize("fires_above", [None, 0.5])
@pytest.mark.parametrize("kind", ["random", "full"])
def test_no_point_of_the_ball_of_a_cerebellum_is_below_the_bound(kind, fires_above):
    rng = np.random.default_rng(3)
    wiring = draw_wiring(kind, 60, (4, 4), 3, 1)
    model = CerebellarNetwork(wiring, np.zeros(60, np.float32), rng.normal(size=(60, 3)).astype(np.float32), fires_above)
    x = rng.random((30, 16), dtype=np.float32)
    labels, verdicts = model.forward(x)[0].argmax(axis=1), []
    for number, (image, label) in enumerate(zip(x, labels, strict=True)):
        epsilon = (0.01, 0.1)[number % 2]
        found = verify_image(model, image, int(label), epsilon, 20, most_branches=1)
        verdicts.append(found.verdict)
        noise = epsilon * rng.choice([-1, 0, 1], (2_000, 16)) * rng.choice([1, 0.5], (2_000, 1))
        near = np.clip(image + noise, 0, 1).astype(np.float32)
        outputs = model.forward(near)[0].astype(np.float64)
        others = np.delete(outputs, label, axis=1).max(axis=1)
        assert found.bound < (outputs[:, label] - others).min()
    assert {"certified", "broken"} <= set(verdicts)
