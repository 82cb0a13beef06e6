"""The noisy layers of a network on one image: drives, noise, signals and responses, in space and in time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from minicereb.calculus.noise import conditional_score
from minicereb.explain.drawings import Drawing, Image, LineChart, Map, Row
from minicereb.explain.explained_image import ExplainedImage
from minicereb.explain.fgsm_steps import PIXELS
from minicereb.explain.layer_steps import window_terms
from minicereb.explain.steps import SUBSCRIPT, Derivative, Rows, Step, checked, products
from minicereb.models.noisy import NoisyLayer, Trace
from minicereb.models.noisy_convolution import NoisyConvolution
from minicereb.models.noisy_time import NoisyTime

CHECKED = 3  # steps of a path whose derivatives are checked
LINES = 12  # neurons drawn in time, or as many as there are steps


def shaped(layer: NoisyLayer, values: np.ndarray, neurons: Sequence[int] = ()) -> np.ndarray:
    """Arrange a layer's values, one per unit, for a drawing.

    The values of a convolution get the shape (rows, columns, channels). The values of a layer with time steps get a row
    for each neuron of :func:`drawn_neurons` and a column for each step. The values of a dense layer stay as they are.
    """
    if isinstance(layer, NoisyConvolution):
        return values.reshape(*layer.positions, -1)
    return layer.in_steps(values)[:, drawn_neurons(layer, neurons)].T if isinstance(layer, NoisyTime) else values


def drawn_neurons(layer: NoisyTime, neurons: Sequence[int]) -> list[int]:
    """Return the neurons whose course over time is drawn: those that are shown, and the first ones."""
    return sorted({*neurons, *range(min(len(layer.bias), max(LINES, layer.steps)))})


def drawn_in_words(layer: NoisyLayer, neurons: Sequence[int] = ()) -> str:
    """Return what rows and columns mean in a picture of a layer with time steps; an empty string for other layers."""
    if not isinstance(layer, NoisyTime):
        return ""
    count = len(drawn_neurons(layer, neurons))
    return f" Each row is a neuron ({count} of {len(layer.bias)}); time runs to the right."


def unit_name(layer: NoisyLayer, unit: int) -> str:
    """Return a unit's name: its number or, in a convolution, its row, column and channel."""
    if not isinstance(layer, NoisyConvolution):
        return str(unit)
    return ", ".join(str(int(each)) for each in np.unravel_index(unit, (*layer.positions, len(layer.bias))))


def forward_steps(subject: ExplainedImage, trace: Trace, units: list[int], classes: list[int]) -> Iterator[Step]:
    """Yield a step for each layer.

    The first step shows `units` (neurons, for a layer with time steps), and the last step shows `classes`.
    """
    network = subject.model
    for number, layer in enumerate(network.layers):
        strong = np.argsort(-np.abs(trace.drives[number][:, 0, 0]), kind="stable")
        last = number == len(network.layers) - 1
        shown = classes if last else units if not number else [int(a) for a in strong[:2]]
        if isinstance(layer, NoisyTime):
            yield _in_time(subject, trace, layer, shown)
        else:
            yield _at_once(subject, trace, number, shown)


def _at_once(subject: ExplainedImage, trace: Trace, number: int, units: list[int]) -> Step:
    """Return the step of a dense layer or a convolution: drive, noise, signal and response of a few units in the first run."""
    layer, last = subject.model.layers[number], number == len(subject.model.layers) - 1
    convolves = isinstance(layer, NoisyConvolution)
    x, u, v, h = (each[number][:, 0, 0] for each in (trace.inputs, trace.drives, trace.signals, trace.responses))
    e = trace.noise[number]
    alone = layer.respond_alone(v) if convolves else h
    kind = "unit" if convolves else "neuron"
    tables, rows, checks = [], [], []
    for a in units:
        terms: list[Any] = list(zip(range(len(x)), layer.weight[a], x, strict=True)) if not convolves else []
        if convolves:
            terms = list(window_terms(layer.weight, x.reshape(layer.image), place_of(layer, a), layer.stride))
        name, bias = unit_name(layer, a), layer.bias[a % len(layer.bias)]
        tables.append(products(f"{kind} {name}", ("input", "weight θ", "x"), terms, (f"u[{name}]", u[a]), [("bias", bias)]))
        unit = 0.0 if e is None else float(e[a, 0, 0])
        pooled = (h[int(layer.response_of_unit()[a])],) if convolves and layer.pool > 1 else ()
        rows.append((name, u[a], unit, unit * float(layer.scale[0]), v[a], alone[a], *pooled))
        checks += slope_checks(layer, v, [a])
    head = (kind, "drive u", "noise e", "r = σe", "v = u + r", "φ(v)", "pooled")
    tables.append(Rows(f"{kind}s", head[: len(rows[0])], rows))
    words = f"{len(v)} {kind}s, {_noise_and_activation(layer, e)}; the first of {trace.outputs.shape[2]} replications drawn here."
    if layer.activation is not None and layer.activation.name == "threshold":
        words += f" {int(alone.sum())} of them fire."
    if convolves:
        side = f", then the {layer.pooling} over squares of {layer.pool} × {layer.pool} units" if layer.pool > 1 else ""
        words += f" Every position has the same weights but its own noise{side}."
    shapes = {"x": x.shape, "θ": layer.weight.shape, "u": trace.drives[number].shape, "v": trace.signals[number].shape}
    r = np.zeros(len(u)) if e is None else e[:, 0, 0] * float(layer.scale[0])
    full = float(np.abs(np.stack([u, r, v])).max())
    carried = Map("x", x.reshape(layer.image) if convolves else x) if number else Image("x", subject.picture(x))
    middle = (Map(name, shaped(layer, values), full) for name, values in (("u", u), ("r", r), ("v", v)))
    drawn = Map("φ(v)", h.reshape(layer.pooled)) if convolves else subject.drawn("φ(v)", h)
    parts: Row = [carried, "θ →", next(middle), "+", next(middle), "=", next(middle), "φ →", drawn]
    drawings = [Drawing(f"The input, and every {kind}'s drive, noise, signal and response.", parts)]
    if convolves:
        drawings += [_window(layer, x, a) for a in units[:PIXELS]]
    elif not number:
        seen: Row = [subject.map(f"θ of neuron {a}", layer.weight[a]) for a in units[:PIXELS]]
        drawings.append(Drawing("The weights of some neurons: orange pixels excite, blue ones inhibit.", seen))
    hidden = f"h{number + 1}".translate(SUBSCRIPT)
    return Step(
        f"Layer {number + 1}, one replication", "G1", words, shapes, tables, checks, drawings=drawings,
        gives={"ŷ": "ŷ"} if last else {"x": hidden, hidden: hidden}, uses=("x",),
    )  # fmt: skip


def slope_checks(layer: NoisyLayer, v: np.ndarray, units: list[int]) -> list[Derivative]:
    """Compare φ' at the signals of some units with finite differences. Return an empty list if φ has no derivative."""
    if layer.activation is None or not layer.activation.smooth:
        return []
    checks = []
    for a in units:
        one = v[a : a + 1].copy()
        checks.append(
            checked(f"∂φ/∂v[{unit_name(layer, a)}]", np.asarray(layer.slope(one)).item(), one, 0, layer.activation, one)
        )
    return checks


def _noise_and_activation(layer: NoisyLayer, e: np.ndarray | None) -> str:
    noise = "no noise" if e is None or layer.law is None else f"{layer.law.name} noise of scale {layer.scale[0]:g}"
    return f"{noise}, {'no activation' if layer.activation is None else f'{layer.activation.name} neurons'}"


def place_of(layer: NoisyConvolution, unit: int) -> tuple[int, ...]:
    """Return the row, column and channel of a unit."""
    return tuple(int(each) for each in np.unravel_index(unit, (*layer.positions, len(layer.bias))))


def _window(layer: NoisyConvolution, x: np.ndarray, unit: int) -> Drawing:
    """Draw the part of the input that a unit sees, and its kernel."""
    (row, column, channel), (_, high, wide, _) = place_of(layer, unit), layer.weight.shape
    top, left = row * layer.stride, column * layer.stride
    patch = x.reshape(layer.image)[top : top + high, left : left + wide]
    return Drawing(
        f"What unit {unit_name(layer, unit)} sees, and the kernel of its channel.",
        [Map("its patch of x", patch), "·", Map(f"θ[{channel}]", layer.weight[channel])],
    )


def _in_time(subject: ExplainedImage, trace: Trace, layer: NoisyTime, neurons: list[int]) -> Step:
    """Return the step of a layer with time steps: what moves a few neurons' potentials over time, and their responses."""
    spiking = layer.firing > 0
    x, h_mean, e = trace.inputs[0][:, 0, 0], trace.responses[0][:, 0, 0], trace.noise[0]
    u, v = (layer.in_steps(each[0][:, 0, 0]) for each in (trace.drives, trace.signals))
    noise = np.zeros_like(v) if e is None else layer.in_steps(e[:, 0, 0])
    h, m = responses_of(layer, v), u + layer.firing
    currents = np.broadcast_to(layer.currents(x[:, None, None])[:, :, 0, 0], u.shape)
    none = np.zeros((1, u.shape[1]), dtype=u.dtype)
    kept = np.concatenate([none, layer.leak * (1 - h[:-1]) * m[:-1]])
    heard = np.zeros_like(u) if layer.recurrent is None else np.concatenate([none, h[:-1] @ layer.recurrent.T])
    middle = ("kept λ(1-h)m", kept) if spiking else ("heard R h", heard)
    parts = (("input θx + b", currents), middle, ("m", m), ("u = m - ϑ", u), ("e", noise), ("v = u + σe", v), ("h = φ(v)", h))
    head = ("step", *(name for name, _ in parts))
    tables = [
        Rows(f"neuron {i}", head, [(t, *(values[t, i] for _, values in parts)) for t in range(layer.steps)]) for i in neurons
    ]
    flat = v.reshape(-1)
    checks = slope_checks(layer, flat, [int(np.abs(v[:, i]).argmin()) * v.shape[1] + i for i in neurons])
    sees = "the whole image" if layer.whole else "the next row of the image"
    words = (
        f"{len(layer.bias)} neurons in {layer.steps} steps, {_noise_and_activation(layer, e)}; the first of "
        f"{trace.outputs.shape[2]} replications drawn here. Every step shows {sees}. "
    )
    if spiking:
        words += (
            f"A share λ = {layer.leak:g} of the potential remains after a step without a spike, nothing after a spike; the "
            f"threshold is ϑ = {layer.firing:g}. There are {int(h.sum())} spikes. The next layer reads the mean over time."
        )
    else:
        words += "A neuron hears the responses of all neurons in the step before. The next layer reads the last response."
    words += " The noise decides on the response, but is not added to the potential."
    rows = drawn_neurons(layer, neurons)
    raster: Row = [Image("x", subject.picture(x)), "→", Map("m", m[:, rows].T), "φ →", Map("h", h[:, rows].T), "→"]
    raster.append(Map("read out", h_mean))
    drawings = [Drawing(f"The potentials m, and the responses h.{drawn_in_words(layer, neurons)}", raster)]
    time = np.arange(layer.steps, dtype=np.int64)
    for i in neurons[:PIXELS]:
        lines: dict[str, tuple[np.ndarray, ...]] = {"potential m": (time, m[:, i]), "m + noise": (time, v[:, i] + layer.firing)}
        if spiking:
            lines["threshold ϑ"] = (time, np.full(layer.steps, layer.firing))
        said = f"Neuron {i} over time" + ("; it fires where m + noise is above ϑ." if spiking else ".")
        drawings.append(Drawing(said, [LineChart(f"neuron {i}", lines, ("step", "potential"))]))
    shapes = {"x": x.shape, "θ": layer.weight.shape, "m": m.shape, "h": h.shape}
    if layer.recurrent is not None:
        shapes["R"] = layer.recurrent.shape
    return Step(
        "Layer 1 in time, one replication", "M-LIF", words, shapes, tables, checks, drawings=drawings,
        gives={"x": "h₁", "h₁": "h₁"}, uses=("x",),
    )  # fmt: skip


def responses_of(layer: NoisyTime, v: np.ndarray) -> np.ndarray:
    """Return the responses h of all units before the readout, in the shape of the signals v."""
    return v if layer.activation is None else layer.activation(v)


def path_step(trace: Trace, layer: NoisyTime, neurons: list[int]) -> Step:
    """Return the step with the probability of the first run's path, factor by factor for a few neurons, and the scores."""
    law, sigma = layer.law, float(layer.scale[0])
    assert law is not None
    u, v = (layer.in_steps(each[0][:, 0, 0]) for each in (trace.drives, trace.signals))
    e = layer.in_steps(trace.noise[0][:, 0, 0])  # type: ignore[index]
    h, own = responses_of(layer, v), law.score(e.copy()) / sigma
    spikes = layer.activation is not None and layer.activation.name == "threshold"
    checks = []
    if spikes:
        sign = 2 * h - 1
        chance = law.distribution(sign * u / sigma)
        logarithms, given = np.log(chance), conditional_score(law, h, u / sigma) / sigma
        head: tuple[str, ...] = ("step", "u", "h", "P(h | before) = F(±u/σ)", "q = E[s | h]/σ", "s(e)/σ")
        table: tuple[np.ndarray, ...] = (u, h, chance, given, own)
        what = "ln P(h"
    else:
        chance = law.density(e) / sigma
        logarithms, given = np.log(chance), own
        head = ("step", "u", "v", "density f(e)/σ", "q = s(e)/σ")
        table = (u, v, chance, own)
        what = "ln f(v"
    rows = [Rows(f"neuron {i}", head, [(t, *(values[t, i] for values in table)) for t in range(layer.steps)]) for i in neurons]
    for i in neurons:
        for t in sorted(np.argsort(-np.abs(given[:, i]), kind="stable")[:CHECKED].tolist()):
            place = u[t, i : i + 1].copy()

            def logarithm(place: np.ndarray, t: int = t, i: int = i) -> float:
                if spikes:
                    return float(np.log(law.distribution((2 * h[t, i] - 1) * place / sigma))[0])
                return float(np.log(law.density((v[t, i] - place) / sigma))[0])

            checks.append(checked(f"∂{what}[{t}, {i}])/∂u", given[t, i], place, 0, logarithm, place))
    sums = [(f"neuron {i}", float(logarithms[:, i].sum())) for i in neurons] + [("all neurons", float(logarithms.sum()))]
    rows.append(Rows(f"logarithm of the {'probability' if spikes else 'density'} of the path", ("path of", "sum of ln"), sums))
    words = (
        "Given the responses before, the potential is known, and every neuron decides for itself by its own noise. So the "
        f"{'probability' if spikes else 'density'} of the path is a product over steps and neurons, and its logarithm a sum. "
    )
    words += (
        "The derivative of that logarithm with respect to u, at fixed responses, is the score q of the response; the score of "
        "the noise s(e)/σ has the same mean."
        if spikes
        else "These units are not either on or off, so the density of their signals v takes the place of P(h)."
    )
    caption = f"The score q; orange: a larger drive would have made the response likelier.{drawn_in_words(layer, neurons)}"
    drawings = [Drawing(caption, [Map("q", shaped(layer, given.reshape(-1), neurons))])]
    return Step(
        "The probability of this path", "M-PATH", words, {"h": h.shape, "q": given.shape}, rows, checks, drawings=drawings,
        gives={"q": "q"}, uses=("h₁",),
    )  # fmt: skip
