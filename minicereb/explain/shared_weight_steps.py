"""How a weight that several units share learns from loss values: over the positions of a convolution, or over time.

The credit of every unit is taken from the estimator itself. A shared weight moves the drive of all units that use it, so
its change is a sum over these units; the layer's own weight gradient computes this sum ``[M-SHARED]``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from minicereb.calculus.noise import Law
from minicereb.experiments.architectures import NoisyModel
from minicereb.explain.drawings import Drawing, Map
from minicereb.explain.explained_image import ExplainedImage, Place, chosen_cells
from minicereb.explain.few_runs import FewRuns
from minicereb.explain.noisy_layer_steps import drawn_in_words, responses_of, shaped, unit_name
from minicereb.explain.steps import Derivative, Rows, Step, checked, compared, products
from minicereb.gradcheck.differences import difference, moving
from minicereb.learning.credit import GradientEstimate
from minicereb.learning.one_neuron import Flip, Probed, Resample
from minicereb.learning.pathwise import Surrogate
from minicereb.learning.probes import draw_units
from minicereb.learning.resampling import redrawn
from minicereb.learning.scores import ScoreFunction
from minicereb.models.noisy import NoisyLayer
from minicereb.models.noisy_convolution import NoisyConvolution
from minicereb.models.noisy_time import NoisyTime

POSITIONS = 8  # positions that are shown one by one


class SharedWeight(NamedTuple):
    """One shared weight: the name of its array, ``"weight"`` or ``"recurrent"``, and its indices in the array."""

    name: str
    entry: tuple[int, ...]

    @property
    def symbol(self) -> str:
        """The weight's symbol, as in the equations."""
        return f"{'θ' if self.name == 'weight' else 'R'}_0[{', '.join(map(str, self.entry))}]"

    @property
    def place(self) -> Place:
        """The weight's place among the parameters of the network."""
        return self.symbol, f"{self.name}_0", self.entry

    @property
    def cell(self) -> int:
        """The channel or neuron that the weight leads to."""
        return self.entry[0]

    def gradient(self, layer: NoisyLayer, found: GradientEstimate, x: np.ndarray) -> float:
        """Return the weight's entry in an estimator's gradient for one image."""
        every = found.gradients[0] | layer.weight_gradient(found.first_credit, x)
        return float(every[self.name][self.entry])

    def gradient_of_run(self, layer: NoisyLayer, credits: np.ndarray, signals: np.ndarray, x: np.ndarray) -> float:
        """Return the weight's derivative in one run, as the layer sums it; `credits` and `signals` have the shape (units,)."""
        if self.name == "recurrent":
            assert isinstance(layer, NoisyTime)
            return float(layer.recurrent_gradient(credits[:, None, None], signals[:, None, None])["recurrent"][self.entry])
        return float(layer.weight_gradient(credits[None], x)["weight"][self.entry])

    def units(self, layer: NoisyLayer) -> np.ndarray:
        """Return the units that use the weight, ordered by position or by time."""
        return np.arange(self.cell, layer.units, len(layer.bias), dtype=np.int64)

    def inputs(self, layer: NoisyLayer, signals: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return the number that the weight is multiplied by in each of its units, in one run."""
        if isinstance(layer, NoisyConvolution):
            (down, across), s, (_, i, j, channel) = layer.positions, layer.stride, self.entry
            image = x.reshape(layer.image)[:, :, channel]
            return image[i : i + s * (down - 1) + 1 : s, j : j + s * (across - 1) + 1 : s].ravel()
        assert isinstance(layer, NoisyTime)
        if self.name == "recurrent":
            heard = responses_of(layer, layer.in_steps(signals))[:-1, self.entry[1]]
            return np.concatenate([np.zeros(1, dtype=np.float64), heard])
        return np.broadcast_to(x.reshape(-1, layer.weight.shape[1])[:, self.entry[1]], (layer.steps,))


def shared_weights(subject: ExplainedImage, few: FewRuns) -> list[SharedWeight]:
    """Return the weights to show: for each channel or neuron chosen, those with the largest derivatives in the first run."""
    layer = subject.model.layers[0]
    credit, signals = few.credits(layer)[:, :1], few.trace.signals[0][:, :, :1]
    every = layer.weight_gradient(credit.T, subject.x)
    if isinstance(layer, NoisyTime):
        every |= layer.recurrent_gradient(credit[:, :, None], signals)
    names = [name for name in ("weight", "recurrent") if name in every]
    found = []
    by_cell = np.abs(every[names[-1]].reshape(len(layer.bias), -1)).max(axis=1)
    what = "channels" if isinstance(layer, NoisyConvolution) else "neurons"
    for cell in chosen_cells(subject, [int(by_cell.argmax())], len(layer.bias), what):
        for name in names:
            strength = np.abs(every[name][cell])
            index: tuple[int, ...] = tuple(int(each) for each in np.unravel_index(int(strength.argmax()), strength.shape))
            if subject.shown.pixels and name == "weight" and isinstance(layer, NoisyTime):
                index = (subject.shown.pixels[0] % layer.weight.shape[1],)
            found.append(SharedWeight(name, (cell, *index)))
    return found


def shown_unit(subject: ExplainedImage, few: FewRuns, weight: SharedWeight) -> int:
    """Return the unit of a convolution to show.

    Of the units that see the chosen pixel, it contributes most to the weight's derivative.
    """
    layer = subject.model.layers[0]
    units, inputs = weight.units(layer), weight.inputs(layer, few.trace.signals[0][:, 0, 0], subject.x)
    moves = np.abs(few.credits(layer)[units, 0] * inputs)
    if subject.shown.pixels:
        sees = layer.sent_from(np.array([subject.shown.pixels[:1]], dtype=np.int64))[0, 0, units] != 0
        moves = np.where(sees, 1 + moves, moves / (1 + moves.max()))
    return int(units[int(moves.argmax())])


def learning_steps(
    subject: ExplainedImage, settings: NoisyModel, few: FewRuns, weights: list[SharedWeight], tag: str, about_baseline: str
) -> Iterator[Step]:
    """Yield a step for the losses and their baseline, one for the units' credit, and one for each weight's sum over units."""
    scored = isinstance(few.estimator, ScoreFunction)
    if scored:
        yield _losses_step(few, settings, about_baseline)
    yield _credit_step(subject, settings, few, weights, tag)
    for weight in weights:
        yield _sum_step(subject, few, weight, scored)


def _losses_step(few: FewRuns, settings: NoisyModel, about_baseline: str) -> Step:
    losses, baselines = few.losses
    rows = [(k, *pair, pair[0] - pair[1]) for k, pair in enumerate(zip(losses, baselines, strict=True))]
    tag = "M-LOO" if few.estimator.baseline else "M-LEARNED" if few.history.baseline is not None else "G5"
    words = f"{len(losses)} runs of the image, each with noise of its own, and the loss of each. {about_baseline}"
    if settings.output_draws > 1:
        words += f" The loss of a run is the mean over {settings.output_draws} draws of the outputs' noise."
    words += " What a run teaches is its advantage L - b: what its noise did is made likelier where L - b is negative."
    drawing = Drawing("L - b of each run: blue runs went better than the baseline.", [Map("L - b", (losses - baselines)[None])])
    numbers = [Rows("each run", ("run", "L", "baseline b", "L - b"), rows)]
    return Step(
        "The losses of a few runs", tag, words, {"L": losses.shape}, numbers, drawings=[drawing],
        gives={"L - b": "L - b"}, uses=("L",),
    )  # fmt: skip


def _credit_step(subject: ExplainedImage, settings: NoisyModel, few: FewRuns, weights: list[SharedWeight], tag: str) -> Step:
    """Return the step with the credit of a few units in the first run, and the factors of this credit."""
    layer, name = subject.model.layers[0], settings.estimator
    in_time = isinstance(layer, NoisyTime)
    tables: list[Rows] = []
    checks: list[Derivative] = []
    for weight in (each for each in weights if each.name == "weight"):
        units = weight.units(layer) if in_time else _most_moved(subject, few, weight)
        if isinstance(few.estimator, ScoreFunction):
            tables.append(_by_score(layer, few, units))
            checks += _score_checks(layer, few, units[np.argsort(-np.abs(few.credits(layer)[units, 0]), kind="stable")[:2]])
        elif isinstance(few.estimator, Flip):
            tables.append(_by_flip(layer, few, units, settings.probes))
            checks += _flip_checks(layer, few, units)
        elif isinstance(few.estimator, Resample):
            tables += _by_resampling(layer, few, units, settings.probes)
        else:
            rows = [(_called(layer, a), few.trace.drives[0][a, 0, 0], few.credits(layer)[a, 0]) for a in units]
            tables.append(Rows(f"credit, {_cell(layer, weight.cell)}", (_of(layer), "u", "credit"), rows))
    words = f"The estimator is {name}. Every {'neuron in every step' if in_time else 'unit at every position'} has a credit."
    if few.places is not None:
        words += (
            f" Only {settings.probes} units are changed in each run, drawn at random; the credit of a drawn unit is divided by "
            "how often it is drawn on average [M-PROBE], that of all others is 0."
        )
        words += " After a changed response the later steps run again with the same noise [M-RERUN]." if in_time else ""
    if isinstance(few.estimator, Surrogate):
        words += " It replaces the derivative of the threshold by a surrogate, so it is biased."
    credit = few.credits(layer)
    cells = [weight.cell for weight in weights]
    drawn = [Map(f"run {k}", shaped(layer, credit[:, k], cells)) for k in range(min(credit.shape[1], 2))]
    drawings = [Drawing(f"The credit of every unit of the first layer in a run.{drawn_in_words(layer, cells)}", [*drawn])]
    if in_time and few.credit is not None and layer.leak:
        words += (
            " The potential remembers, so the drive of a step is also moved by the input of the steps before: g_t = d_t + "
            "λ(1 - h_t) g_{t+1}, from the last step backwards."
        )
    uses = ("h₁", "L - b") if isinstance(few.estimator, ScoreFunction) else ("h₁", "L")
    return Step(
        f"The credit of {'every step' if in_time else 'a unit'} ({name})", tag, words, {"credit": credit.shape}, tables, checks,
        drawings=drawings, gives={"credit": "credit"}, uses=uses,
    )  # fmt: skip


def _of(layer: NoisyLayer) -> str:
    return "step" if isinstance(layer, NoisyTime) else "unit"


def _cell(layer: NoisyLayer, cell: int) -> str:
    return f"neuron {cell}" if isinstance(layer, NoisyTime) else f"channel {cell}"


def _called(layer: NoisyLayer, unit: int) -> str | int:
    return int(unit) // len(layer.bias) if isinstance(layer, NoisyTime) else unit_name(layer, int(unit))


def _most_moved(subject: ExplainedImage, few: FewRuns, weight: SharedWeight) -> np.ndarray:
    """Return the units that contribute most to the weight's derivative in the first run, ordered by position; at least one."""
    layer = subject.model.layers[0]
    units, inputs = weight.units(layer), weight.inputs(layer, few.trace.signals[0][:, 0, 0], subject.x)
    moves = np.abs(few.credits(layer)[units, 0] * inputs)
    order = np.argsort(-moves, kind="stable")[:POSITIONS]
    return units[np.sort(order[: max(1, int((moves[order] > 0).sum()))])]


def _by_score(layer: NoisyLayer, few: FewRuns, units: np.ndarray) -> Rows:
    """Return the table of advantage times score for each unit in the first run."""
    assert few.credit is not None
    (losses, baselines), sigma = few.losses, float(layer.scale[0])
    advantage, carried = losses[0] - baselines[0], few.credits(layer)
    own = few.credit.each()[:, 0, 0]
    remembers = isinstance(layer, NoisyTime) and layer.leak > 0
    rows = []
    for a in units:
        score = few.credit.values[a, 0, 0] / sigma
        rows.append((_called(layer, a), advantage, score, own[a], *((carried[a, 0],) if remembers else ())))
    head: tuple[str, ...] = ("unit", "L - b", "score/σ", "credit")
    if isinstance(layer, NoisyTime):
        head = ("step", "L - b", "q", "d = (L - b) q", "g = d + λ(1 - h) g'")[: 4 + remembers]
    return Rows(f"{_cell(layer, int(units[0]) % len(layer.bias))}, run 0", head, rows)


def _score_checks(layer: NoisyLayer, few: FewRuns, units: np.ndarray) -> list[Derivative]:
    """Compare each unit's score with the derivative of the log probability of its response."""
    assert few.credit is not None
    law, sigma = layer.law, float(layer.scale[0])
    assert law is not None
    v, e = few.trace.signals[0][:, 0, 0], few.trace.noise[0][:, 0, 0]  # type: ignore[index]
    spikes = few.estimator.conditional and layer.activation is not None and layer.activation.name == "threshold"  # type: ignore[attr-defined]
    checks = []
    for a in units:
        u = v[a : a + 1] - sigma * e[a]

        def logarithm(u: np.ndarray, a: int = int(a)) -> float:
            return _logarithm(law, (1 if v[a] > 0 else -1) * u / sigma, spikes, (v[a] - u) / sigma)

        of = f"∂ln {'P(h' if spikes else 'f(v'}[{_called(layer, a)}])/∂u"
        checks.append(checked(of, few.credit.values[a, 0, 0] / sigma, u, 0, logarithm, u))
    return checks


def _logarithm(law: Law, towards: np.ndarray, spikes: bool, e: np.ndarray) -> float:
    """Return the sum of ln F(±u/σ) if the units either spike or are silent (`spikes`), otherwise the sum of ln f(e)."""
    return float(np.log(law.distribution(towards) if spikes else law.density(e)).sum())


def _by_flip(layer: NoisyLayer, few: FewRuns, units: np.ndarray, probes: int) -> Rows:
    """Return the table of credits in the first run: the effect of firing on the loss, times the density at the threshold."""
    assert few.credit is not None
    assert few.at is not None
    sigma, law = float(layer.scale[0]), layer.law
    assert law is not None
    u, fires = few.at.drives[:, 0, 0], (few.at.signals[:, 0, 0] > 0).astype(np.float64)
    own, carried = few.credit.each()[:, 0, 0], few.credits(layer)[:, 0]
    density = law.density(u / sigma) / sigma
    drawn = np.ones((2, layer.units), dtype=np.float64)
    if few.places is not None:
        assert isinstance(layer, Probed)
        drawn = _drawn(few, layer, probes, layer.flip_effect(few.at.unpooled) * law.density(few.at.drives / layer.scale))
    times = drawn[0] / drawn[1]
    rows = []
    for a in units:
        factor = density[a] * times[a]
        effect: Any = own[a] / factor if factor else ""
        more = (carried[a],) if few.places is None else (int(drawn[0, a]), drawn[1, a])
        rows.append((_called(layer, a), u[a], fires[a], density[a], effect, own[a], *more))
    last = ("credit d", "g = d + λ(1 - h) g'") if few.places is None else ("credit", "times drawn", "on average")
    head = (_of(layer), "u", "fires", "f(u/σ)/σ", "L(fires) - L(does not)", *last)
    return Rows(f"{_cell(layer, int(units[0]) % len(layer.bias))}, run 0", head, rows)


def _drawn(few: FewRuns, layer: Probed, probes: int, chance: np.ndarray) -> np.ndarray:
    """Return how often each unit is drawn in the first run, and the expected number of draws, shape (2, units)."""
    assert few.places is not None
    chosen = draw_units(chance, few.places, probes)
    found = np.stack([np.zeros(layer.units, dtype=np.float64), np.ones(layer.units, dtype=np.float64)])
    np.add.at(found[0], chosen.units[0], 1)
    found[1, chosen.units[0]] = chosen.times[0]
    return found


def _flip_checks(layer: NoisyLayer, few: FewRuns, units: np.ndarray) -> list[Derivative]:
    """Compare the density at the threshold with the derivative of the firing probability, for the two units nearest to firing."""
    assert few.at is not None
    law, sigma, u = layer.law, float(layer.scale[0]), few.at.drives[:, 0, 0]
    assert law is not None
    checks = []
    for a in units[np.argsort(np.abs(u[units]), kind="stable")[:2]]:
        place, sign = u[a : a + 1].copy(), -1.0 if u[a] > 0 else 1.0  # the rarer event, whose probability does not round to 1
        chance = moving(place, 0, lambda place, sign: law.distribution(sign * place / sigma)[0], place, sign)
        density = float(law.density(place / sigma)[0]) / sigma
        of = f"∂P({_of(layer)} {_called(layer, a)} {'is silent' if sign < 0 else 'fires'})/∂u"
        checks.append(compared(of, sign * density, difference(chance)))
    return checks


def _by_resampling(layer: NoisyLayer, few: FewRuns, units: np.ndarray, probes: int) -> list[Rows]:
    """Return two tables: the losses at the quadrature nodes of one unit's redrawn noise, and the credit of several units."""
    assert few.at is not None
    assert few.credit is not None
    assert few.places is not None
    assert isinstance(few.estimator, Resample)
    assert isinstance(layer, Probed)
    v, own = few.at.signals, few.credit.each()[:, 0, 0]
    drawn = _drawn(few, layer, probes, np.ones_like(v))
    chosen, loss_with = few.estimator.probe(few.at, layer, np.ones_like(v), few.places)
    u, e = (chosen.of(np.broadcast_to(each, v.shape)) for each in (few.at.drives, few.at.noise))  # type: ignore[arg-type]
    seen: list[tuple[np.ndarray, np.ndarray]] = []

    def losses_at(nodes: list[np.ndarray]) -> list[np.ndarray]:
        found = [loss_with(layer.respond_alone(u + each * layer.scale)) for each in nodes]
        seen.extend(zip(nodes, found, strict=True))
        return found

    redrawn(layer, e, losses_at, False)
    strongest = int(units[np.abs(own[units]).argmax()])
    at = int(np.flatnonzero(chosen.units[0] == strongest)[0]) if drawn[0, strongest] else 0
    unit, law = int(chosen.units[0, at]), layer.law
    assert law is not None
    nodes = [(nodes[0, at], loss[0, at], float(law.score(nodes[0, at : at + 1])[0])) for nodes, loss in seen]
    rows = [(_called(layer, a), int(drawn[0, a]), drawn[1, a], own[a]) for a in units]
    cell = _cell(layer, int(units[0]) % len(layer.bias))
    return [
        Rows(f"unit {unit_name(layer, unit)}, run 0, with its own noise redrawn", ("noise e", "loss L", "score"), nodes),
        Rows(f"{cell}, run 0", (_of(layer), "times drawn", "on average", "credit"), rows),
    ]


def _sum_step(subject: ExplainedImage, few: FewRuns, weight: SharedWeight, scored: bool) -> Step:
    """Return the step with the sum over positions or steps for one weight, in the first run and over all runs."""
    layer, x = subject.model.layers[0], subject.x
    in_time = isinstance(layer, NoisyTime)
    credits, signals, units = few.credits(layer), few.trace.signals[0][:, 0], weight.units(layer)
    inputs = weight.inputs(layer, signals[:, 0], x)
    by_run = [weight.gradient_of_run(layer, credits[:, k], signals[:, k], x) for k in range(credits.shape[1])]
    names = (_of(layer), "credit g" if in_time else "credit", "h before" if weight.name == "recurrent" else "input x")
    terms = [(_called(layer, a), credits[a, 0], each) for a, each in zip(units, inputs, strict=True)]
    tables = [products("run 0", names, terms, ("the sum", by_run[0]), most=len(terms) if in_time else POSITIONS)]
    rows: list[tuple[Any, ...]] = [(k, each) for k, each in enumerate(by_run)]
    estimate = weight.gradient(layer, few.found, x)
    rows.append(("mean: the estimate", estimate))
    tables.append(Rows("each run", ("run", f"sum over {'steps' if in_time else 'positions'}"), rows))
    where = "in every step" if in_time else "at every position"
    words = (
        f"{weight.symbol} is the same {where}, so it moves {len(units)} drives, each "
        f"by its own input. Its derivative is the sum over them; the last line is what the layer's own weight gradient gives."
    )
    checks = _sum_checks(subject, few, weight, scored)
    if scored:
        words += " Without L - b the same sum is the derivative of the logarithm of this run's probability, at fixed responses."
    tag = "M-PATH" if few.credit is not None else "M-BPTT"
    if not in_time:
        tag = "M-SHARED" if scored else "M-CONV-DW"
    moved = credits[units, 0] * inputs
    maps = [(_name, values) for _name, values in (("credit", credits[units, 0]), (names[2], inputs), ("product", moved))]
    if in_time:
        drawn = [Map(name, np.asarray(values)[None]) for name, values in maps]
    else:
        drawn = [Map(name, np.asarray(values).reshape(layer.positions)) for name, values in maps]
    caption = f"The units that share {weight.symbol}, in run 0: the products are summed."
    drawing = Drawing(caption, [drawn[0], "⊙", drawn[1], "=", drawn[2]])
    shapes = {"credit": credits.shape, "θ" if weight.name == "weight" else "R": getattr(layer, weight.name).shape}
    symbol = f"ĝ({weight.symbol[0]})"
    return Step(
        f"The sum for one shared weight, {weight.symbol}", tag, words, shapes, tables, checks, drawings=[drawing],
        gives={symbol: symbol, weight.name: symbol}, uses=("image", "credit"),
    )  # fmt: skip


def _sum_checks(subject: ExplainedImage, few: FewRuns, weight: SharedWeight, scored: bool) -> list[Derivative]:
    """Check a run's sum against the derivative of its log probability (for fixed responses) or of its loss (for fixed noise)."""
    layer, x = subject.model.layers[0], subject.x
    array, signals = getattr(layer, weight.name), few.trace.signals[0][:, :, :1]
    if few.credit is None:
        if isinstance(few.estimator, Surrogate) or (isinstance(layer, NoisyTime) and layer.leak):
            return []

        def loss() -> float:
            outputs = subject.model.run(np.ascontiguousarray(x.T), few.noise).outputs
            return float(few.loss.value(outputs, subject.labels).mean())

        return [checked(f"∂L/∂{weight.symbol}", weight.gradient(layer, few.found, x), array, weight.entry, loss)]
    if not scored:
        return []
    law, sigma, conditional = layer.law, float(layer.scale[0]), few.estimator.conditional  # type: ignore[attr-defined]
    assert law is not None
    spikes = conditional and layer.activation is not None and layer.activation.name == "threshold"
    score = few.credit.values[:, 0, :1] / sigma
    score = layer.carried(score, signals[:, 0])[:, 0]
    image = np.ascontiguousarray(x.T)[:, :, None]

    def logarithm() -> float:
        along = isinstance(layer, NoisyTime)
        u = layer.drives_along(image, responses_of(layer, signals)) if along else layer.drive(image)
        return _logarithm(law, np.where(signals > 0, 1, -1) * u / sigma, spikes, (signals - u) / sigma)

    value = weight.gradient_of_run(layer, score, signals[:, 0, 0], x)
    of = f"∂ln {'P(h)' if spikes else 'f(v)'}/∂{weight.symbol}"
    return [checked(of, value, array, weight.entry, logarithm)]
