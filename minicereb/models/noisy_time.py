"""Noisy layers that run over time steps: recurrent units, and leaky integrate-and-fire neurons ``[M-LIF]``.

The weights are the same in every time step, and every unit has its own noise in every step. The noise affects whether a neuron
fires but is not added to its membrane potential. So the membrane potential follows from the image and the earlier responses, and
the probability of a path is a product over steps ``[M-PATH]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from minicereb.backend import Array, to_device, xp_of
from minicereb.calculus.activations import Activation
from minicereb.calculus.noise import Law
from minicereb.compiled import compiled
from minicereb.errors import InputError, require
from minicereb.models.noisy import NoisyLayer, NoisyNetwork, check_scales
from minicereb.randomness import generator

PRESENTATIONS = ("rows", "whole")
FEW = 1 << 13  # numbers from which on a loop flips spikes
TILE = 1024  # neurons and runs whose potentials after a flip are held at once, in the fastest cache
SPREAD = 2.0  # initial spread of a unit's drive, in noise scales or thresholds, for inputs of size 1


@dataclass(frozen=True, eq=False)
class NoisyTime(NoisyLayer):
    """Units with time steps: ``m_t = λ(1 - h_{t-1}) m_{t-1} + θ x_t + b + R h_{t-1}``, ``h_t = φ(m_t - ϑ + r_t)`` ``[M-LIF]``.

    With λ = 0 and ϑ = 0 these are the units of a simple recurrent network. With λ > 0 and a threshold as φ they are leaky
    integrate-and-fire neurons: a spike resets the membrane potential m to 0. In a trace, the drive u = m - ϑ, the signal v = u
    + σe and the noise have one entry per neuron and step, ordered by step: entry t · neurons + i is neuron i in step t.

    Parameters
    ----------
    weight : array, shape (neurons, inputs of a step)
        θ.
    bias : array, shape (neurons,)
        b.
    scale, law, activation
        As for :class:`~minicereb.models.noisy.NoisyLayer`.
    recurrent : array, shape (neurons, neurons), or None
        The recurrent weights R; None for neurons that are not connected to each other.
    steps : int
        T.
    whole : bool
        Whether every step shows the whole input; otherwise the input has T equal parts, such as the rows of an image, and step t
        shows part t.
    leak : float
        λ, from 0 to 1: the fraction of the membrane potential that remains after a step.
    firing : float
        ϑ.
    averages : bool
        Whether the layer's response is the mean of h over time; otherwise the response is h of the last step.
    """

    recurrent: Array | None = None
    steps: int = 1
    whole: bool = False
    leak: float = 0.0
    firing: float = 0.0
    averages: bool = False

    @property
    def inputs(self) -> int:
        """Length of x."""
        return int(self.weight.shape[1]) * (1 if self.whole else self.steps)

    @property
    def units(self) -> int:
        """Number of values that have their own noise: neurons times steps."""
        return len(self.bias) * self.steps

    def in_steps(self, array: Array) -> Array:
        """Return a view of an array (units, ...) with the shape (steps, neurons, ...)."""
        return array.reshape(self.steps, len(self.bias), *array.shape[1:])

    def currents(self, x: Array) -> Array:
        """Return ``θ x_t + b``, shape (steps, neurons, ...), or (1, neurons, ...) for whole images; x has the shape (inputs,
        ...).
        """
        xp, shape = xp_of(x), x.shape[1:]
        parts = x.reshape(1 if self.whole else self.steps, self.weight.shape[1], -1)
        currents = xp.matmul(self.weight, parts) + self.bias[:, None]
        return currents.reshape(*currents.shape[:2], *shape)

    def membrane(self, current: Array, m: Array | None, h: Array | None) -> Array:
        """Return m of a step, given the current of this step, and m and h of the step before (None for the first step)."""
        if m is None or h is None:
            return current
        if self.leak:
            current = current + self.leak * (1 - h) * m
        if self.recurrent is not None:
            passed = xp_of(h).dot(self.recurrent, h.reshape(len(h), -1))
            current = current + passed.reshape(h.shape)
        return current

    def run(self, x: Array, e: Array | None) -> tuple[Array, Array, Array]:
        """Return drives u and signals v, (units, images, replications), and the response, (neurons, images, replications)."""
        currents, xp = self.currents(x), xp_of(x)
        noise = None if e is None else self.in_steps(e)
        m, h, total = None, None, None
        drives, signals = [], []
        for t in range(self.steps):
            m = self.membrane(currents[0 if self.whole else t], m, h)
            u = m - x.dtype.type(self.firing)
            v = u if noise is None else u + noise[t] * self.scale
            h = super().respond(v)
            total = h if total is None else total + h
            drives.append(xp.broadcast_to(u, v.shape))
            signals.append(v)
        response = total / x.dtype.type(self.steps) if self.averages else h
        return xp.concatenate(drives), xp.concatenate(signals), response

    def drives_along(self, x: Array, responses: Array) -> Array:
        """Return u along a path: each step's drive, given the responses of the steps before ``[M-PATH]``.

        Parameters
        ----------
        x : array, shape (inputs, images, replications)
        responses : array, shape (units, images, replications)
            The responses h of every step.

        Returns
        -------
        array, shape (units, images, replications)
        """
        xp, currents = xp_of(x), self.currents(x)
        m, before, drives = None, None, []
        for t, h in enumerate(self.in_steps(responses)):
            m = self.membrane(currents[0 if self.whole else t], m, before)
            drives.append(xp.broadcast_to(m - x.dtype.type(self.firing), h.shape))
            before = h
        return xp.concatenate(drives)

    def drive_of_rows(self, x: Array) -> Array:
        """Return u of a run without noise, for images in rows: (images, inputs) gives (images, units)."""
        xp = xp_of(x)
        return xp.ascontiguousarray(self.run(xp.ascontiguousarray(x.T)[:, :, None], None)[0][:, :, 0].T)

    def drive(self, x: Array) -> Array:
        """Return u of a run without noise, for x of shape (inputs, images, replications)."""
        return self.run(x, None)[0]

    def respond(self, v: Array) -> Array:
        """Return the response to signals (units, ...): h of the last step or the mean over all steps, shape (neurons, ...)."""
        h = super().respond(self.in_steps(v))
        return h.mean(axis=0) if self.averages else h[-1]

    def respond_in_rows(self, v: Array) -> Array:
        """Return the response for images in rows."""
        return xp_of(v).ascontiguousarray(self.respond(v.T).T)

    def signal_gradient(self, d_response: Array, v: Array, slope: Array | float) -> Array:
        """Return the gradient with respect to v, given the gradient with respect to the response ``[M-BPTT]``.

        The result has the shape of v and is found by backpropagation through time. `slope` is φ'(v) or its surrogate. The reset
        of the membrane is treated as if it did not depend on v.
        """
        xp, signals = xp_of(v), self.in_steps(v)
        slopes = self.in_steps(xp.broadcast_to(xp.asarray(slope, dtype=v.dtype), v.shape))
        share = d_response / v.dtype.type(self.steps) if self.averages else d_response
        found: list[Array] = []
        later: Array | None = None  # gradient with respect to the next step's membrane potential
        for t in reversed(range(self.steps)):
            d_h = share if self.averages or t == self.steps - 1 else xp.zeros_like(share)
            if later is not None and self.recurrent is not None:
                d_h = d_h + xp.dot(self.recurrent.T, later.reshape(len(later), -1)).reshape(later.shape)
            d_v = slopes[t] * d_h
            later = self._carry(d_v, signals[t], later)
            found.append(d_v)
        return xp.concatenate(found[::-1])

    def signal_gradient_in_rows(self, d_response: Array, v: Array, slope: Array | float) -> Array:
        """Return, for images in rows, the gradient with respect to every step's input, which :meth:`input_gradient` takes."""
        xp = xp_of(v)
        v = v.T
        d_v = self.signal_gradient(d_response.T, v, slope.T if hasattr(slope, "T") else slope)
        return xp.ascontiguousarray(self.carried(d_v, v).T)

    def _carry(self, d_v: Array, v: Array, later: Array | None) -> Array:
        """Return the gradient with respect to m_t, given `d_v` (with respect to v_t) and `later` (with respect to m_{t+1}).

        The responses are held fixed.
        """
        return d_v if later is None or not self.leak else d_v + self.leak * (1 - super().respond(v)) * later

    def carried(self, d_v: Array, v: Array) -> Array:
        """Return the gradient with respect to every step's input, which also acts on later steps through the membrane.

        The gradient is ``g_t = d_t + λ(1 - h_t) g_{t+1}`` ``[M-PATH]``, where d is the gradient with respect to the signals;
        both have the shape (units, ...).
        """
        if not self.leak:
            return d_v
        parts, signals = self.in_steps(d_v), self.in_steps(v)
        found: list[Array] = []
        later = None
        for t in reversed(range(self.steps)):
            later = self._carry(parts[t], signals[t], later)
            found.append(later)
        return xp_of(v).concatenate(found[::-1])

    def recurrent_gradient(self, d_m: Array, v: Array) -> dict[str, Array]:
        """Return the gradient with respect to R, summed over images and replications; without R, the dictionary is empty.

        `d_m` is the gradient with respect to every step's input.
        """
        if self.recurrent is None:
            return {}
        neurons = len(self.bias)
        before = super().respond(v[:-neurons] if self.steps > 1 else v[:0])
        xp = xp_of(v)
        later = self.in_steps(d_m)[1:].reshape(self.steps - 1, neurons, -1)
        products = xp.matmul(later, before.reshape(self.steps - 1, neurons, -1).transpose(0, 2, 1))
        return {"recurrent": products.sum(axis=0)}

    def _by_step(self, d_m: Array) -> Array:
        """Return gradients, shape (rows, units), with one row for each input vector.

        If every step shows the whole input, the gradients of all steps are added up in one row; otherwise each step becomes a
        row.
        """
        each = d_m.reshape(len(d_m), self.steps, -1)
        return each.sum(axis=1) if self.whole else each.reshape(-1, len(self.bias))

    def weight_gradient(self, d_v: Array, x: Array) -> dict[str, Array]:
        """Return the gradients of θ and b, summed over rows and steps ``[M-SHARED]``.

        `d_v`, shape (rows, units), is the gradient with respect to every step's input; `x` has the shape (rows, inputs).
        """
        return super().weight_gradient(self._by_step(d_v), x.reshape(-1, self.weight.shape[1]))

    def input_gradient(self, d_v: Array) -> Array:
        """Return the gradient with respect to x, (rows, inputs), given `d_v`, the gradient with respect to every step's input.

        `d_v` has the shape (rows, units).
        """
        return super().input_gradient(self._by_step(d_v)).reshape(len(d_v), -1)

    def largest_changes(self, rise: Array, fall: Array) -> Array:
        """Return a bound on how much each drive can change while the responses of earlier steps are held fixed ``[M-ADAPTIVE]``.

        It has the shape (images, units).
        """
        xp, shape = xp_of(rise), (-1, self.weight.shape[1])
        alone = NoisyLayer(self.weight, self.bias, self.scale, self.law, self.activation)
        currents = alone.largest_changes(rise.reshape(shape), fall.reshape(shape)).reshape(len(rise), -1, len(self.bias))
        found: list[Array] = []
        for t in range(self.steps):
            now = currents[:, 0 if self.whole else t]
            found.append(now + self.leak * found[-1] if found else now)
        return xp.concatenate(found, axis=1)

    def gain(self) -> float:
        """Return a bound on the L2 norm of a change of the drives if the change of the inputs has the L2 norm 1.

        The responses in earlier steps are held fixed.
        """
        after = np.subtract.outer(np.arange(self.steps), np.arange(self.steps))
        kept = np.where(after >= 0, float(self.leak) ** np.maximum(after, 0), 0.0)  # from a step (column) to a later one (row)
        return float(np.linalg.norm(kept.sum(axis=1) if self.whole else kept, 2)) * super().gain()

    def respond_alone(self, v: Array) -> Array:
        """Return φ(v), entry by entry, for signals of any shape.

        Unlike :meth:`respond`, it leaves out no time step and does not average over time steps.
        """
        return super().respond(v)

    def flip_effect(self, fires: Array) -> Array:
        """Return the factor of each unit's density when flips are drawn: always 1, because any response may change later ones."""
        return xp_of(fires).ones_like(fires)

    def after_changes(self, v: Array, u: Array, units: Array, responses: Array) -> Array:
        """Return the change of the layer's response for each of several changes of a single unit.

        All noise is held fixed. The steps after the step of the changed unit are computed again ``[M-RERUN]``, for all changes at
        once, as differences from the given run. Where nothing has changed, the difference is exactly 0.

        Parameters
        ----------
        v, u : array, shape (units, images, replications)
            Signals and drives of a run.
        units : array of int, shape (runs, changes)
            The units that are changed; a run is an image with one replication. On the CPU the computation is fastest if
            the units of each run are sorted, because the steps before a change are skipped.
        responses : array, shape (runs, changes)
            The changed response of each of these units.

        Returns
        -------
        array, shape (changes, runs, neurons)
        """
        xp, neurons, (runs, number) = xp_of(v), len(self.bias), units.shape

        def by_run(array: Array) -> Array:
            """Return an array (units, images, replications) with the shape (steps, runs, neurons)."""
            return xp.ascontiguousarray(array.reshape(self.steps, neurons, runs).transpose(0, 2, 1))

        signals = by_run(v)
        kept = self.respond_alone(signals)
        potentials = by_run(u) + v.dtype.type(self.firing) if self.leak else signals
        step, neuron, responses = (xp.ascontiguousarray(each.T) for each in (units // neurons, units % neurons, responses))
        begins = np.zeros(number, dtype=np.int64)  # the first step of change k in any run; on a GPU it is not read back
        if isinstance(v, np.ndarray):
            begins = np.minimum.accumulate(step.min(axis=1)[::-1])[::-1]
        change = xp.zeros((number, runs, neurons), dtype=v.dtype)
        moved, total = xp.zeros_like(change) if self.leak else None, xp.zeros_like(change) if self.averages else None
        for t in range(self.steps):
            active = int(np.searchsorted(begins, t, "right"))
            now = change[:active]
            if t:
                more = 0 if self.recurrent is None else xp.dot(now.reshape(-1, neurons), self.recurrent.T).reshape(now.shape)
                if moved is not None:
                    past = moved[:active]
                    past[...] = more + self.leak * ((1 - kept[t - 1]) * past - now * (potentials[t - 1] + past))
                    more = past
                now[...] = self.respond_alone(signals[t] + more) - kept[t]
            places = xp.arange(active)[:, None], xp.arange(runs), neuron[:active]
            other = responses[:active] - kept[t][places[1:]]
            now[places] = xp.where(step[:active] == t, other, now[places])
            if total is not None:
                total[:active] += now
        return change if total is None else total / v.dtype.type(self.steps)

    def after_flip(self, v: Array, u: Array, t: int, response: Array) -> Array:
        """Return each neuron's response if its spike in step `t` is flipped, with all noise held fixed.

        Parameters
        ----------
        v, u : array, shape (units, images, replications)
            Signals and drives in one run of the layer, whose neurons have thresholds and are not connected to each other.
        t : int
        response : array, shape (neurons, images, replications)
            The layer's response in this run.

        Returns
        -------
        array, shape (neurons, images, replications)
        """
        loop = compiled(after_flip_loop, u, v, least=FEW) if self.averages else None
        if loop is not None:
            change = np.empty((len(self.bias), *v.shape[1:]), dtype=v.dtype)
            real, shape = v.dtype.type, (self.steps, change.size)
            memory = np.empty((2, TILE), dtype=v.dtype)
            loop(u.reshape(shape), v.reshape(shape), t, real(self.leak), real(self.firing), *memory, change.reshape(-1))
            return response + change
        signals, drives = self.in_steps(v), self.in_steps(u)
        was = super().respond(signals[t])
        m, h, change = drives[t] + v.dtype.type(self.firing), 1 - was, 1 - 2 * was
        kept = was
        for later in range(t + 1, self.steps):
            before = drives[later - 1] + v.dtype.type(self.firing)
            more = self.leak * ((1 - h) * m - (1 - kept) * before)  # change of this step's membrane potential
            m = drives[later] + v.dtype.type(self.firing) + more
            kept, h = super().respond(signals[later]), super().respond(signals[later] + more)
            change = change + (h - kept) if self.averages else h - kept
        if self.averages:
            change = change / v.dtype.type(self.steps)
        return response + change


def after_flip_loop(drives: Array, signals: Array, t: int, leak: Any, firing: Any, m: Array, h: Array, change: Array) -> None:
    """Compute the change of the mean response as in :meth:`NoisyTime.after_flip`, for a few neurons and runs at a time.

    Parameters
    ----------
    drives, signals : array, shape (steps, neurons and runs)
    t : int
        Step in which the neuron is flipped.
    leak, firing : float
    m, h : array, shape (some neurons,)
        Overwritten with the potentials and responses after the flip.
    change : array, shape (neurons and runs,)
        Overwritten.
    """
    u, steps, one, none = np.uint64, len(drives), change.dtype.type(1), change.dtype.type(0)
    for first in range(0, len(change), len(m)):
        count = min(len(m), len(change) - first)
        for k in range(count):
            i = u(first + k)
            kept = one if signals[t, i] > 0 else none
            m[k], h[k], change[i] = drives[t, i] + firing, one - kept, one - kept - kept
        for later in range(t + 1, steps):
            for k in range(count):
                i = u(first + k)
                kept = one if signals[later - 1, i] > 0 else none
                before = drives[later - 1, i] + firing
                more = leak * ((one - h[k]) * m[k] - (one - kept) * before)
                m[k] = drives[later, i] + firing + more
                kept = one if signals[later, i] > 0 else none
                h[k] = one if signals[later, i] + more > 0 else none
                change[i] += h[k] - kept
        for k in range(count):
            change[u(first + k)] /= change.dtype.type(steps)


def initial_noisy_in_time(
    image: tuple[int, ...],
    hidden: tuple[int, ...],
    classes: int,
    seed: int,
    *,
    spiking: bool,
    presentation: str,
    steps: int,
    leak: float,
    activation: Activation,
    law: Law | None,
    scales: tuple[float, ...],
    output_noise: bool = True,
    output_activation: bool = False,
    persistence: float = 0.0,
) -> NoisyNetwork:
    """Return an untrained network with time steps: a recurrent or spiking layer, and an output layer that reads it out.

    Parameters
    ----------
    image : tuple of int
        Shape of an image; the first axis indexes the rows.
    hidden : tuple of int
        Number of neurons, as a tuple with one entry.
    classes, seed : int
    spiking : bool
        Whether the layer consists of leaky integrate-and-fire neurons with threshold 1, whose mean activity is read out.
        Otherwise the layer consists of recurrent units, whose last response is read out.
    presentation : {"rows", "whole"}
        Whether a time step shows the next row of the image, or the whole image.
    steps : int
        Number of time steps, if the whole image is shown.
    leak : float
        The leak λ of spiking neurons.
    activation : Activation
    law : Law or None
    scales : tuple of float
        Noise scale σ of the layer and of the outputs, or one value for both.
    output_noise, output_activation : bool
        As for :func:`~minicereb.models.noisy.initial_noisy`.
    persistence : float
        p, for recurrent units. If p is above 0, each unit is initially connected only to itself, with weight pσ and
        bias -pσ/2, and its input weights have the spread pσ instead of 2σ. So the input can switch the unit, and its
        response outlasts the noise. If p is 0, the recurrent weights are random.

    Raises
    ------
    InputError
        If there is not exactly one hidden layer, or an image has no rows.
    """
    if len(hidden) != 1 or hidden[0] < 1:
        expected = "one number of at least 1: such networks have one layer with time steps"
        raise InputError("hidden", ",".join(map(str, hidden)), expected)
    require(presentation in PRESENTATIONS, "presentation", presentation, " or ".join(PRESENTATIONS))
    whole = presentation == "whole"
    if not whole and len(image) < 2:
        raise InputError("presentation", presentation, "whole for inputs that are not images with rows")
    scales = check_scales(scales, 2) if law is not None else (1.0, 1.0)
    count, (neurons,) = steps if whole else image[0], hidden
    inputs = int(np.prod(image)) // (1 if whole else image[0])
    size = 1.0 if spiking else scales[0]
    persistence = 0.0 if spiking else persistence

    def draw(name: str, outputs: int, width: int, spread: float) -> Array:
        values = generator(seed, f"noisy network in time, {name}").standard_normal((outputs, width), dtype=np.float32)
        return to_device(values * np.float32(SPREAD * spread / width**0.5))

    def numbers(*values: float) -> Array:
        return to_device(np.array(values, dtype=np.float32))

    connections = None if spiking else draw("recurrent", neurons, neurons, size)
    if persistence:
        connections = to_device(np.eye(neurons, dtype=np.float32) * np.float32(persistence * size))
    layer = NoisyTime(
        draw("input", neurons, inputs, size * (persistence / SPREAD if persistence else 1.0)),
        numbers(*[-persistence * size / 2] * neurons),
        numbers(scales[0]),
        law,
        activation,
        recurrent=connections,
        steps=count,
        whole=whole,
        leak=leak if spiking else 0.0,
        firing=1.0 if spiking else 0.0,
        averages=spiking,
    )
    last = NoisyLayer(
        draw("output", classes, neurons, 1.0),
        numbers(*[0.0] * classes),
        numbers(scales[1]),
        law if output_noise else None,
        activation if output_activation else None,
    )
    return NoisyNetwork((layer, last))
