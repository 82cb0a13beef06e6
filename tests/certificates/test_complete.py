import numpy as np
import pytest
import scipy.optimize
import scipy.sparse

from minicereb.certificates.affine import affine_network_of
from minicereb.certificates.certify import certify
from minicereb.certificates.chain import Goal, Target, ascend, backward, chain_of, chain_of_network, relaxed, usual_slopes
from minicereb.certificates.complete import verify
from minicereb.certificates.region import Region
from minicereb.errors import InputError
from minicereb.models.mlp import initial_mlp

SHAPES = [(3, 4, 2), (4, 6, 5, 3), (2, 5, 4, 3, 2)]


def drawn(shape, seed, radius=1.0, sparse=False, binary=False):
    """Weights and biases of a random network, and its chain over a box."""
    rng = np.random.default_rng(seed)
    weights = [rng.normal(size=(m, n)) / np.sqrt(n) for n, m in zip(shape[:-1], shape[1:], strict=True)]
    biases = [0.3 * rng.normal(size=m) for m in shape[1:]]
    if sparse:
        weights[0] = scipy.sparse.csr_array(weights[0] * (rng.random(weights[0].shape) < 0.6))
    centre = np.full(shape[0], 0.5) if binary else rng.normal(size=shape[0])
    ends = (np.zeros(shape[0]), np.ones(shape[0])) if binary else (centre - radius, centre + radius)
    return weights, biases, chain_of(weights, biases, *ends, binary=binary)


def exact_minimum(weights, biases, chain, row, binary=False):
    """The least value of ``row · outputs`` over the box, by mixed-integer programming (HiGHS)."""
    inputs, wide = len(chain.low), 1e3
    sizes = [len(bias) for bias in biases[:-1]]
    # variables: inputs; then for each layer signals v, responses h, and whether each unit is on
    count = inputs + 3 * sum(sizes)
    low, high = np.full(count, -wide), np.full(count, wide)
    low[:inputs], high[:inputs] = chain.low, chain.high
    integral, rows, least, most = np.zeros(count), [], [], []
    integral[:inputs] = binary

    def add(entries, lower, upper):
        line = np.zeros(count)
        for where, values in entries:
            line[where] += values
        rows.append(line)
        least.append(lower)
        most.append(upper)

    before, start = np.arange(inputs), inputs
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        weight = weight.toarray() if scipy.sparse.issparse(weight) else weight
        n = len(bias)
        v, h, on = (start + part * n + np.arange(n) for part in range(3))
        low[h], low[on], high[on], integral[on] = 0, 0, 1, 1
        for i in range(n):
            add([(before, weight[i]), ([v[i]], -1)], -bias[i], -bias[i])
            add([([h[i]], 1), ([v[i]], -1)], 0, np.inf)
            add([([h[i]], 1), ([v[i]], -1), ([on[i]], wide)], -np.inf, wide)
            add([([h[i]], 1), ([on[i]], -wide)], -np.inf, 0)
        before, start = h, start + 3 * n
    objective = np.zeros(count)
    objective[before] = row @ weights[-1]
    constraints = scipy.optimize.LinearConstraint(np.array(rows), least, most)
    bounds = scipy.optimize.Bounds(low, high)
    found = scipy.optimize.milp(objective, constraints=constraints, bounds=bounds, integrality=integral)
    assert found.status == 0
    return found.fun + row @ biases[-1]


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(4))
def test_the_verdict_is_that_of_mixed_integer_programming(shape, seed, binary):
    weights, biases, chain = drawn(shape, seed, sparse=seed % 2 == 1, binary=binary)
    row = np.random.default_rng(seed + 100).normal(size=shape[-1])
    true = exact_minimum(weights, biases, chain, row, binary)
    proved = verify(chain, [Goal(row[None], np.array([0.01 - true]))], 20)
    assert (proved.verdict, proved.counterexample) == ("certified", None)
    assert 0 < proved.bound <= 0.01
    refuted = verify(chain, [Goal(row[None], np.array([-0.01 - true]))], 20)
    assert refuted.verdict == "broken"
    x = refuted.counterexample
    assert (x >= chain.low).all()
    assert (x <= chain.high).all()
    assert not binary or np.isin(x, (0, 1)).all()
    assert row @ chain.outputs(x[None])[0] <= true + 0.01
    alone = verify(chain, [Goal(row[None], np.array([0.0]))], 20, judge=lambda x: False, most_branches=1)
    assert alone.bound <= true + 1e-9


@pytest.mark.parametrize("seed", range(4))
def test_conjunctions_and_disjunctions(seed):
    weights, biases, chain = drawn((3, 6, 5, 2), seed, radius=0.5)
    x = chain.low + (chain.high - chain.low) * np.random.default_rng(seed).random((20_000, 3))
    z = chain.outputs(x)
    rows = np.array([[1.0, 0.3], [-0.5, 1.0]])
    least = (z @ rows.T).max(axis=1).min()  # of the larger of two rows
    single = [(z @ row).min() for row in rows]
    both = lambda by: Goal(rows, np.full(2, by - least))  # noqa: E731
    assert verify(chain, [both(0.1)], 20).verdict == "certified"
    assert verify(chain, [both(-0.01)], 20).verdict == "broken"
    apart = [Goal(row[None], np.array([0.1 - s])) for row, s in zip(rows, single, strict=True)]
    assert verify(chain, apart, 20).verdict == "certified"
    apart[1] = Goal(rows[1:], np.array([-0.01 - single[1]]))
    assert verify(chain, apart, 20).verdict == "broken"


def test_of_one_layer_the_bound_is_that_of_the_closed_form():
    weights, biases, chain = drawn((3, 4, 2), 3)
    least, most = chain.least, chain.most
    row = np.array([1.0, -1.0])
    a = row @ weights[1]
    slope = np.where(a < 0, most / (most - least), usual_slopes(least, most))
    slope = np.where(least >= 0, 1, np.where(most <= 0, 0, slope))
    over = np.where((least < 0) & (most > 0), -most * least / (most - least), 0)
    first = (a * slope) @ weights[0]
    expected = row @ biases[1] + (a * slope) @ biases[0] + np.minimum(a, 0) @ over
    expected += first @ (chain.low + chain.high) / 2 - abs(first) @ (chain.high - chain.low) / 2
    lines = relaxed(least[None], most[None], np.zeros((1, 4)), np.float64)
    box = (0.5 * (chain.low + chain.high))[None], (0.5 * (chain.high - chain.low))[None]
    bound = backward(chain, box, lines, usual_slopes(least, most)[None], row[None], None).bound[0]
    assert expected - 1e-4 < bound < expected


@pytest.mark.parametrize("branch", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_the_ascent_follows_the_derivative(seed, branch):
    from minicereb.certificates.chain import _forward

    rng = np.random.default_rng(seed)
    _, _, chain = drawn((3, 6, 5, 2), seed)
    sign = np.where(rng.random((2, chain.units)) < 0.3, rng.choice([-1, 1], (2, chain.units)), 0) * branch
    lines = relaxed(chain.least[None], chain.most[None], sign, np.float64)
    box = (0.5 * (chain.low + chain.high))[None], (0.5 * (chain.high - chain.low))[None]
    free, top = rng.random((2, chain.units)), rng.normal(size=(2, 2))
    back = backward(chain, box, lines, free, top, None)
    slope, _ = _forward(chain, box, lines, free, back)
    for unit in range(chain.units):
        ahead, behind = free.copy(), free.copy()
        ahead[:, unit] += 1e-6
        behind[:, unit] -= 1e-6
        bounds = [backward(chain, box, lines, each, top, None).bound for each in (ahead, behind)]
        assert np.allclose((bounds[0] - bounds[1]) / 2e-6, slope[:, unit], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_optimised_slopes_are_never_looser(seed):
    _, _, chain = drawn((4, 8, 8, 3), seed)
    goal = Goal(np.array([[1.0, -1.0, 0.0]]), np.zeros(1))
    lines = relaxed(chain.least[None], chain.most[None], np.zeros((1, chain.units)), np.float64)
    box = (0.5 * (chain.low + chain.high))[None], (0.5 * (chain.high - chain.low))[None]
    usual = usual_slopes(chain.least, chain.most)[None]
    plain = backward(chain, box, lines, usual, goal.rows, None).bound[0]
    found = [ascend(chain, box, lines, usual, np.ones((1, 1)), goal, None, steps).bound[0] for steps in (1, 20, 60)]
    assert plain == found[0] <= found[1] <= found[2]
    x = chain.low + (chain.high - chain.low) * np.random.default_rng(seed).random((1000, 4))
    assert found[2] <= (chain.outputs(x) @ goal.rows[0]).min()
    if seed == 0:
        assert found[2] > plain


def test_bounds_of_hidden_units_hold_where_the_goal_is_met():
    weights, biases, chain = drawn((3, 6, 5, 2), 2)
    goal = Goal(np.array([[1.0, -1.0]]), np.array([0.2]))
    lines = relaxed(chain.least[None], chain.most[None], np.zeros((1, chain.units)), np.float64)
    box = (0.5 * (chain.low + chain.high))[None], (0.5 * (chain.high - chain.low))[None]
    target = Target(1, np.repeat(np.arange(5), 2), np.tile([1.0, -1.0], 5))
    free = np.tile(usual_slopes(chain.least, chain.most), (10, 1))
    found = ascend(chain, box, lines, free, np.zeros((10, 1)), goal, target, 60).bound
    x = chain.low + (chain.high - chain.low) * np.random.default_rng(0).random((50_000, 3))
    x = x[(chain.outputs(x) @ goal.rows[0] + 0.2) <= 0]
    v = np.maximum(x @ weights[0].T + biases[0], 0) @ weights[1].T + biases[1]
    assert len(x)
    assert (found <= (v[:, target.unit] * target.sign).min(axis=0)).all()


def test_a_model_of_this_project_is_bounded_in_its_own_precision():
    model = initial_mlp(12, (16,), 4, seed=3)
    x = np.random.default_rng(0).random((8, 12), dtype=np.float32)
    labels = model.forward(x)[0].argmax(axis=1)
    plain = certify(model, x, labels, 0.1).margin
    for i in range(8):
        chain = chain_of_network(affine_network_of(model), Region.around(x[i : i + 1], 0.1, "linf"))
        y = labels[i]
        goals = [Goal((np.eye(4)[y] - np.eye(4)[j])[None], np.zeros(1)) for j in range(4) if j != y]
        root = verify(chain, goals, 20, most_branches=1)
        full = verify(chain, goals, 20)
        assert full.verdict in ("certified", "broken")
        assert full.verdict == "certified" or plain[i] <= 0
        if full.verdict == "broken":
            assert model.forward(full.counterexample[None].astype(np.float32))[0].argmax() != y
        else:
            assert root.verdict in ("certified", "unknown")


def test_what_ran_out_of_time_is_unknown():
    _, _, chain = drawn((8, 40, 40, 2), 0, radius=2.0)
    goal = Goal(np.array([[1.0, 0.0]]), np.zeros(1))
    found = verify(chain, [goal], 1e-3, judge=lambda x: False)
    assert found.verdict == "unknown"
    assert found.bound <= 0
    assert found.counterexample is None


def test_bad_input():
    _, _, chain = drawn((3, 4, 2), 0)
    goal = Goal(np.ones((1, 2)), np.zeros(1))
    with pytest.raises(InputError, match="seconds-per-image: 0 is not valid; expected a number above 0"):
        verify(chain, [goal], 0)
    with pytest.raises(InputError, match="goal"):
        verify(chain, [Goal(np.ones((1, 3)), np.zeros(1))], 1)
    with pytest.raises(InputError, match="weights"):
        chain_of([np.ones((2, 3))], [np.zeros(2)], np.zeros(4), np.ones(4))
