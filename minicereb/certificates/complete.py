"""A complete verifier: branch and bound over undecided units and binary inputs, until a property is proved or refuted.

The search runs in single precision. A branch is closed only by a bound in double precision that allows for rounding, and a
counterexample counts only if the model itself confirms it. In every branch, the bounds on hidden units are tightened under two
assumptions: the conditions of the branch, *and* that the property fails (Kotha et al. 2023, arXiv:2302.01404), since only inputs
for which it fails are of interest.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from minicereb.certificates.chain import CLOSED, ROWS, Chain, Goal, Relaxed, Target, ascend, backward, relaxed, usual_slopes
from minicereb.certificates.hull import has_hull, hull_of, raised
from minicereb.errors import require
from minicereb.randomness import generator

TIGHTENED = 2_048  # largest number of hidden units whose own bounds are tightened
ROOT_STEPS, ROOT_ROUNDS, ROOT_RATE = 20, 4, 0.2  # ascents of slopes for the bounds of the whole box
BRANCH_STEPS, TIGHTENING_STEPS, TRIAL_STEPS = 20, 5, 3
TRIALS = 16  # candidate splits that are compared before one is made
BRANCHES = 8  # branches split at once
NUMBERS = 1 << 20  # hidden signals of the branches in one batch
STARTS, DESCENT_STEPS = 16, 40  # starts and steps of the attack before the search
STARTING = 1 << 16  # approximate number of hidden signals of all starts
HULL_SHARE = 0.25  # largest share of the time limit spent before the search
STORED = 1 << 30  # bytes of multipliers kept with branches


class Decision(NamedTuple):
    """The result of a search.

    Attributes
    ----------
    verdict : {"certified", "broken", "unknown"}
    bound : float
        Lower bound on the values of all goals that allows for rounding; above 0 if and only if the verdict is ``"certified"``.
    counterexample : array of float64, shape (inputs,), or None
        An input that meets a goal according to the model itself.
    branches : int
        Number of branches that were bounded.
    seconds : float
    """

    verdict: str
    bound: float
    counterexample: np.ndarray | None
    branches: int
    seconds: float


Judge = Callable[[np.ndarray], bool]


class _Broken(Exception):
    """A counterexample was found."""


@dataclass(eq=False)
class _Branch:
    """A part of the box: the branches that lead to it, bounds on its units, and the best multipliers so far."""

    low: np.ndarray
    high: np.ndarray
    sign: np.ndarray
    least: np.ndarray
    most: np.ndarray
    free: np.ndarray
    weight: np.ndarray
    tight: list[tuple[np.ndarray, np.ndarray]]
    bound: float = -np.inf
    score: np.ndarray | None = None
    last: int | None = None  # the unit that was split last

    def split(self, number: int, side: int, chain: Chain) -> _Branch:
        """Return the part where hidden unit `number` is on (`side` is 1) or off (`side` is -1).

        Numbers after the last unit refer to inputs: the first of them is input 0.
        """
        sign, least, most, free = self.sign.copy(), self.least.copy(), self.most.copy(), self.free.copy()
        low, high = self.low, self.high
        if number < chain.units:
            sign[number], free[number] = side, 0
            (least if side > 0 else most)[number] = 0.0
        else:
            i = number - chain.units
            column = chain.weights[0][:, [i]]
            column = column.toarray()[:, 0] if hasattr(column, "toarray") else column[:, 0]
            width, (low, high) = high[i] - low[i], (low.copy(), high.copy())
            (low if side > 0 else high)[i] = (high if side > 0 else low)[i]
            gone, view = column * width, chain.views[0]
            least[view] += np.maximum(side * gone, 0)
            most[view] -= np.maximum(-side * gone, 0)
        last = number if number < chain.units else None
        return _Branch(low, high, sign, least, most, free, self.weight, self.tight, self.bound, last=last)


def verify(
    chain: Chain, goals: Sequence[Goal], seconds: float, judge: Judge | None = None, most_branches: int | None = None
) -> Decision:
    """Prove that no input in a chain's box meets any of the goals, or find an input that does.

    Parameters
    ----------
    chain : Chain
    goals : sequence of Goal
        An input meets a goal if its outputs z satisfy all rows of ``C z + d ≤ 0``.
    seconds : float
        Time limit, above 0.
    judge : callable, optional
        Takes an input and returns whether the model itself meets a goal there; by default the chain decides, in double precision.
    most_branches : int, optional
        Stop after this many branches; with 1, only slopes are optimised.

    Returns
    -------
    Decision

    Raises
    ------
    InputError
        If the time limit is not above 0, or a goal does not fit the outputs.

    Examples
    --------
    >>> from minicereb.certificates.chain import chain_of
    >>> w, b = [np.array([[1.0], [-1.0]]), np.array([[1.0, 1.0]])], [np.zeros(2), np.zeros(1)]
    >>> box = chain_of(w, b, np.array([-1.0]), np.array([1.0]))  # the outputs are |x|
    >>> [verify(box, [Goal(np.array([[-1.0]]), np.array([d]))], 10).verdict for d in (1.1, 0.9)]
    ['certified', 'broken']
    """
    began = time.monotonic()
    require(0 < seconds < float("inf"), "seconds-per-image", seconds, "a number above 0")
    for goal in goals:
        outputs = len(chain.biases[-1])
        shape = (len(goal.offsets), outputs)
        require(goal.rows.shape == shape and len(goal.offsets) > 0, "goal", goal.rows.shape, f"rows of {outputs} numbers")
    search = _Search(chain, began + seconds, judge or _by_outputs(chain, goals), most_branches)
    try:
        bounds = [search.by_hull(goal, began + HULL_SHARE * seconds) for goal in goals]
        left = [i for i, bound in enumerate(bounds) if bound <= 0]
        for i in left:
            search.attack(goals[i])
        if most_branches == 1:
            left = [i for i in left if bounds[i] == -np.inf]  # goals bounded by the hull already have optimised slopes
        if left:
            search.prepare()
        for i in left:
            bounds[i] = max(bounds[i], search.prove(goals[i]))
    except _Broken:
        return Decision("broken", -np.inf, search.found, search.branches, time.monotonic() - began)
    bound = min(bounds, default=np.inf)
    return Decision("certified" if bound > 0 else "unknown", bound, None, search.branches, time.monotonic() - began)


def _by_outputs(chain: Chain, goals: Sequence[Goal]) -> Judge:
    def judge(x: np.ndarray) -> bool:
        z = chain.outputs(x[None])[0]
        return any(bool((goal.rows @ z + goal.offsets <= 0).all()) for goal in goals)

    return judge


class _Search:
    """The state of one verification."""

    def __init__(self, chain: Chain, until: float, judge: Judge, most_branches: int | None):
        self.whole, self.until, self.judge = chain, until, judge
        self.most_branches = most_branches or 1 << 62
        self.found: np.ndarray | None = None
        self.branches = 0

    @property
    def over(self) -> bool:
        return time.monotonic() > self.until

    # -- counterexamples ---------------------------------------------------------------------------------------------------------

    def attack(self, goal: Goal) -> None:
        """Search for a counterexample by sign-gradient descent.

        Starts are the middle of the box and some of its corners. A counterexample raises :class:`_Broken`.
        """
        chain, rng = self.whole, generator(0, "verify")
        centre, radius = 0.5 * (chain.low + chain.high), 0.5 * (chain.high - chain.low)
        starts = max(2, min(STARTS, STARTING // max(1, chain.units)))
        x = centre + radius * np.concatenate((np.zeros((1, len(centre))), rng.choice([-1.0, 1.0], (starts - 1, len(centre)))))
        for step in range(DESCENT_STEPS):
            if self.over:
                return
            values = chain.outputs(x) @ goal.rows.T + goal.offsets
            slope = chain.slope(goal.rows[values.argmax(axis=1)], x)
            corner = np.where(slope > 0, chain.low, chain.high)
            self.try_out(corner, goal)
            size = max(0.02, 0.5 * 0.9**step)
            x = np.clip(x - 2 * size * radius * np.sign(slope), chain.low, chain.high)
            if not chain.binary:
                self.try_out(x, goal)

    def try_out(self, x: np.ndarray, goal: Goal) -> None:
        """Test the most promising of the inputs `x` on the model itself; raise :class:`_Broken` if it meets a goal."""
        x = np.clip(x, self.whole.low, self.whole.high)
        values = (self.whole.outputs(x) @ goal.rows.T + goal.offsets).max(axis=1)
        best = int(values.argmin())
        if values[best] <= 0 and self.judge(x[best]):
            self.found = x[best]
            raise _Broken

    # -- bounds ------------------------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Tighten the bounds over the whole box, independently of the goal."""
        chain = self.whole
        self.chain, self.single = chain, chain.in_precision(np.float32)
        self.root = self._root(chain)
        if chain.units <= TIGHTENED and chain.views:
            self._tighten(self.root, None, ROOT_STEPS, ROOT_RATE)
        self._shrink()

    def _root(self, chain: Chain) -> _Branch:
        slopes = usual_slopes(chain.least, chain.most).astype(np.float32)
        tight = []
        if chain.units <= TIGHTENED:
            widths = [view.stop - view.start for view in chain.views]
            tight = [(np.tile(slopes, (2 * each, 1)), np.zeros((2 * each, 0), dtype=np.float32)) for each in widths]
        nothing = np.zeros(chain.units, dtype=np.int8)
        return _Branch(chain.low, chain.high, nothing, chain.least, chain.most, slopes, np.zeros(0, dtype=np.float32), tight)

    def _shrink(self) -> None:
        """Remove the units that are now known to be off over the whole box."""
        self.chain = replace(self.chain, least=self.root.least, most=self.root.most).without_silent()
        self.single = self.chain.in_precision(np.float32)
        self.root = self._root(self.chain)

    def _tighten(self, branch: _Branch, goal: Goal | None, steps: int, rate: float) -> bool:
        """Tighten the bounds of undecided units over the inputs that meet a goal. Return False if no input can meet the goal."""
        chain, single = self.chain, self.single
        branch.least, branch.most, branch.tight = branch.least.copy(), branch.most.copy(), list(branch.tight)
        rows = 0 if goal is None else len(goal.offsets)
        for layer, view in enumerate(chain.views):
            if layer == 0 and goal is None:
                continue  # intervals are exact there
            width = view.stop - view.start
            units = np.flatnonzero((branch.least[view] < 0) & (branch.most[view] > 0))
            if not len(units):
                continue
            free, weight = branch.tight[layer]
            free, weight = free.copy(), weight.copy() if weight.shape[1] == rows else np.zeros((2 * width, rows), np.float32)
            if branch.last is not None:
                free[:, branch.last] = 0  # this entry was a slope and is now a multiplier
            numbers = np.concatenate((units, width + units))
            line_of = relaxed(branch.least[None], branch.most[None], branch.sign[None], np.float32)
            exact = relaxed(branch.least[None], branch.most[None], branch.sign[None], np.float64)
            found = np.empty(len(numbers))
            for start in range(0, len(numbers), ROWS):
                some = numbers[start : start + ROWS]
                target = Target(layer, some % width, np.where(some < width, 1.0, -1.0).astype(np.float32))
                best = ascend(
                    single,
                    _box([branch], np.float32),
                    line_of,
                    free[some].astype(np.float32),
                    weight[some],
                    _as(goal),
                    target,
                    steps,
                    rate,
                )
                free[some], weight[some] = best.free, best.weight
                found[start : start + ROWS] = self._exact([branch], exact, best.free, best.weight, goal, target)
            few = len(units)
            branch.least[view][units] = np.maximum(branch.least[view][units], found[:few])
            branch.most[view][units] = np.minimum(branch.most[view][units], -found[few:])
            branch.tight[layer] = free.astype(self.kept), weight
            if bool((branch.least > branch.most).any()):
                return False
        return True

    kept: type = np.float16  # precision of stored multipliers

    def _exact(
        self,
        branches: list[_Branch],
        lines: Relaxed,
        free: np.ndarray,
        weight: np.ndarray,
        goal: Goal | None,
        target: Target | None,
    ) -> np.ndarray:
        """Return the bounds of branches in double precision, with rounding taken into account."""
        w = weight.astype(np.float64)
        top = None if goal is None else w @ goal.rows
        bound = backward(self.chain, _box(branches, np.float64), lines, free.astype(np.float64), top, target).bound
        if goal is None:
            return bound
        return bound + (w @ goal.offsets - SLACK * (w @ abs(goal.offsets)))

    def _bound(self, branches: list[_Branch], goal: Goal, steps: int) -> np.ndarray:
        """Raise the bounds of branches, and return them. Bounds above 0 have been confirmed in double precision."""
        least, most, sign = (np.stack([getattr(each, name) for each in branches]) for name in ("least", "most", "sign"))
        lines = relaxed(least, most, sign, np.float32)
        free, weight = (np.stack([getattr(each, name) for each in branches]) for name in ("free", "weight"))
        best = ascend(self.single, _box(branches, np.float32), lines, free, weight, _as(goal), None, steps)
        for each, *values in zip(branches, best.bound, best.free, best.weight, strict=True):
            each.bound, each.free, each.weight = values
            each.bound = min(float(each.bound), 0.0)  # until it is confirmed in double precision
        closed = np.flatnonzero(best.bound > CLOSED)
        if len(closed):
            exact = relaxed(least[closed], most[closed], sign[closed], np.float64)
            some = [branches[i] for i in closed]
            for each, bound in zip(
                some, self._exact(some, exact, best.free[closed], best.weight[closed], goal, None), strict=True
            ):
                each.bound = float(bound)
        return np.array([each.bound for each in branches])

    def _score(self, branches: list[_Branch], goal: Goal) -> None:
        """Store by how much the relaxation of each unit or input loosens the bound.

        Test the corners where bounds are attained.
        """
        least, most, sign = (np.stack([getattr(each, name) for each in branches]) for name in ("least", "most", "sign"))
        lines, box = relaxed(least, most, sign, np.float32), _box(branches, np.float32)
        free, weight = (np.stack([getattr(each, name) for each in branches]) for name in ("free", "weight"))
        back = backward(self.single, box, lines, free, weight @ goal.rows.astype(np.float32), None)
        self.try_out(
            np.stack([np.where(a > 0, each.low, each.high) for a, each in zip(back.inputs, branches, strict=True)]), goal
        )
        a = np.concatenate([np.zeros((len(branches), 0)), *(each for each in back.credit if each is not None)], axis=1)
        below = np.maximum(a, 0) * np.minimum(free * -least, (1 - free) * most)
        lost = np.where(lines.fixed, 0.0, np.maximum(-a, 0) * lines.over + 1e-3 * below + 1e-9)
        if self.chain.binary:
            first = self.chain.views[0]
            reach = np.where(lines.fixed, 0, abs(a))[:, first] @ abs(self.chain.weights[0])
            lost = np.concatenate((lost, np.broadcast_to((0.5 * reach + 1e-9) * box[1], (len(lost), reach.shape[1]))), axis=1)
        for each, score in zip(branches, lost.astype(np.float32), strict=True):
            each.score = score

    # -- the search --------------------------------------------------------------------------------------------------------------

    def by_hull(self, goal: Goal, until: float) -> float:
        """Return a lower bound on the value of a goal that has a single row, computed by :mod:`minicereb.certificates.hull`.

        For any other goal, return -∞. Also test the corner of the box where the bound is attained.
        """
        chain = self.whole
        if not has_hull(chain) or len(goal.offsets) != 1:
            return -np.inf
        self.branches += 1
        offset, hull = float(goal.offsets[0]), hull_of(chain, goal.rows[0])
        hull = hull._replace(constant=hull.constant + offset - SLACK * abs(offset))
        best = raised(hull, over=lambda: time.monotonic() > until)
        if best.bound <= 0:
            self.try_out(0.5 * (chain.low + chain.high + (chain.high - chain.low) * best.corner)[None], goal)
        return best.bound

    def prove(self, goal: Goal) -> float:
        """Return a lower bound on a goal's value. It is above 0 if the search proves that no input meets the goal."""
        chain, root, single = self.chain, self.root, self.single
        self.root = replace(root)  # bounds found for one goal do not hold for others
        try:
            return self._prove(goal)
        finally:
            self.chain, self.root, self.single = chain, root, single

    def _prove(self, goal: Goal) -> float:
        rows = len(goal.offsets)
        root = self.root
        root.weight = np.full(rows, 1 / rows, dtype=np.float32)
        self.branches += 1
        if float(self._bound([root], goal, BRANCH_STEPS)[0]) > 0:
            return root.bound
        if self.most_branches <= 1:
            self._bound([root], goal, 5 * BRANCH_STEPS)
            return self._double(root, goal)
        small = self.chain.units <= TIGHTENED and bool(self.chain.views)
        for _ in range(ROOT_ROUNDS if small else 0):
            if self.over or not self._tighten(root, goal, ROOT_STEPS, ROOT_RATE):
                return min(self._double(root, goal), 0.0) if self.over else TINIEST
        if small:
            tight, weight = root.tight, root.weight
            alive = root.most > 0
            kept = [np.flatnonzero(np.tile(alive[view], 2)) for view in self.chain.views]
            free = root.free[alive]
            self._shrink()
            root = self.root
            root.free, root.weight = free, weight
            root.tight = [(f[which][:, alive].astype(self.kept), w[which]) for (f, w), which in zip(tight, kept, strict=True)]
        self._bound([root], goal, 5 * BRANCH_STEPS)
        return TINIEST if root.bound > 0 else self._search(root, goal, small)

    def _double(self, branch: _Branch, goal: Goal) -> float:
        lines = relaxed(branch.least[None], branch.most[None], branch.sign[None], np.float64)
        return float(self._exact([branch], lines, branch.free[None], branch.weight[None], goal, None)[0])

    def _search(self, root: _Branch, goal: Goal, small: bool) -> float:
        count, stored = itertools.count(), 0
        at_once = max(1, min(BRANCHES, NUMBERS // max(1, self.chain.units) // (2 * TRIALS)))
        self._score([root], goal)
        heap = [(root.bound, next(count), root)]
        while heap:
            if self.over or self.branches >= self.most_branches:
                return min(self._double(heap[0][2], goal), 0.0)
            parents = [heapq.heappop(heap)[2] for _ in range(min(at_once, len(heap)))]
            children = []
            for parent, number in zip(parents, self._choices(parents, goal), strict=True):
                if number is None:
                    self._solve(parent, goal)
                    children.append(parent)
                    continue
                for side in (1, -1):
                    child = parent.split(number, side, self.chain)
                    if self.over or not small or self._tighten(child, goal, TIGHTENING_STEPS, 0.1):
                        children.append(child)
            self.branches += 2 * len(parents)
            for some in _batches(children, max(1, NUMBERS // max(1, self.chain.units))):
                before = [each.bound for each in some]
                self._bound(some, goal, BRANCH_STEPS)
                left = [each for each in some if each.bound <= 0]
                for each, was in zip(some, before, strict=True):
                    each.bound = max(each.bound, was)
                if left:
                    self._score(left, goal)
                for each in left:
                    size = sum(free.nbytes for free, _ in each.tight)
                    if stored > STORED:
                        each.tight = root.tight
                    stored += size
                    heapq.heappush(heap, (each.bound, next(count), each))
            stored = stored if len(heap) % 64 else sum(free.nbytes for _, _, each in heap for free, _ in each.tight)
        return TINIEST

    def _solve(self, branch: _Branch, goal: Goal) -> None:
        """Solve the linear programme of a branch that has nothing left to split, and store its multipliers."""
        from scipy.optimize import linprog  # slow to import, and few searches come this far

        chain, inputs, rows = self.chain, len(branch.low), len(goal.offsets)
        branch.sign = np.where(branch.sign != 0, branch.sign, np.where(branch.least >= 0, 1, -1)).astype(np.int8)
        matrix, offset = np.eye(inputs), np.zeros(inputs)
        limits, ends = [], []
        for number, (weights, bias) in enumerate(zip(chain.weights, chain.biases, strict=True)):
            matrix, offset = weights @ matrix, weights @ offset + bias
            if number < len(chain.views):
                sign = branch.sign[chain.views[number]]
                limits.append(-sign[:, None] * matrix)
                ends.append(sign * offset)
                matrix, offset = (sign > 0)[:, None] * matrix, (sign > 0) * offset
        limits.append(goal.rows @ matrix)
        ends.append(-goal.rows @ offset - goal.offsets)
        value = np.repeat([0.0, -1.0], [chain.units, rows])[:, None]  # of the largest row
        bounds = [*zip(branch.low, branch.high, strict=True), (None, None)]
        least = np.repeat([0.0, 1.0], [inputs, 1])
        found = linprog(least, np.hstack((np.vstack(limits), value)), np.concatenate(ends), bounds=bounds)
        if found.status == 0:
            if not chain.binary:
                self.try_out(found.x[None, :-1], goal)
            multipliers = np.maximum(-found.ineqlin.marginals, 0).astype(np.float32)
            branch.free, branch.weight = multipliers[: chain.units], multipliers[chain.units :]

    def _choices(self, branches: list[_Branch], goal: Goal) -> list[int | None]:
        """Return where to split each branch: at the unit or input whose split raises the bounds of the two parts most.

        Only the most promising ones are tried.
        """
        tried = []
        for each in branches:
            assert each.score is not None
            most = min(TRIALS, int((each.score > 0).sum()))
            tried.append(np.argsort(-each.score)[:most].tolist())
        children = [
            each.split(number, side, self.chain)
            for each, numbers in zip(branches, tried, strict=True)
            for number in numbers
            for side in (1, -1)
        ]
        for some in _batches(children, ROWS):
            self._bound(some, goal, TRIAL_STEPS)
        bounds: Iterator[float] = iter([each.bound for each in children])
        choices: list[int | None] = []
        for each, numbers in zip(branches, tried, strict=True):
            gains = [np.prod([max(min(next(bounds), 0.0) - each.bound, 1e-6) for _ in (1, -1)]) for _ in numbers]
            choices.append(numbers[int(np.argmax(gains))] if numbers else None)
        return choices


SLACK = 2.0**-50
TINIEST = 2.0**-1000  # the bound if the proof shows only that the goal is met nowhere


def _box(branches: list[_Branch], dtype: type) -> tuple[np.ndarray, np.ndarray]:
    if all(each.low is branches[0].low and each.high is branches[0].high for each in branches):
        branches = branches[:1]
    low, high = (np.stack([getattr(each, name) for each in branches]) for name in ("low", "high"))
    return (0.5 * (low + high)).astype(dtype), (0.5 * (high - low)).astype(dtype)


def _as(goal: Goal | None) -> Goal | None:
    return None if goal is None else Goal(*(array.astype(np.float32) for array in goal))


def _batches(branches: list[_Branch], size: int) -> Iterator[list[_Branch]]:
    for start in range(0, len(branches), size):
        yield branches[start : start + size]
