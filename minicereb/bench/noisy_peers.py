"""Passes of the likelihood-ratio method in PyTorch, as its users would write them; for comparison only, never used by the engine.

Nothing is differentiated automatically; all images, replications and changed units of a pass are in one tensor.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minicereb.backend import execution
from minicereb.bench.peers import import_torch, tensor_of
from minicereb.learning.resampling import PAIRS
from minicereb.models.noisy import NoisyNetwork
from minicereb.models.noisy_convolution import NoisyConvolution
from minicereb.models.noisy_time import NoisyTime

Work = dict[str, Callable[[], object]]


def glr_iterations(network: NoisyNetwork, images: np.ndarray, labels: np.ndarray, replications: int, activation: str) -> Work:
    """Return functions for an iteration of the plain estimator: on the whole batch at once, and image by image."""
    torch, device = import_torch(), execution().device
    first, second = ({name: tensor_of(getattr(layer, name)) for name in ("weight", "bias", "scale")} for layer in network.layers)
    x, y = tensor_of(images), tensor_of(labels)

    @torch.no_grad()
    def gradients(x: Any, y: Any) -> tuple[Any, ...]:
        count = len(x), replications
        noise_1 = torch.randn(*count, len(first["bias"]), device=device)
        noise_2 = torch.randn(*count, len(second["bias"]), device=device)
        v = torch.nn.functional.linear(x, first["weight"], first["bias"])[:, None] + first["scale"] * noise_1
        h = (v > 0).to(v.dtype) if activation == "threshold" else torch.sigmoid(v)
        z = torch.nn.functional.linear(h, second["weight"], second["bias"]) + second["scale"] * noise_2
        loss = torch.logsumexp(z, 2) - z.gather(2, y[:, None, None].expand(*count, 1))[:, :, 0]
        credit_1 = torch.einsum("ik,ika->ia", loss, noise_1) / (replications * first["scale"])
        credit_2 = (loss[:, :, None] * noise_2).reshape(-1, len(second["bias"])) / (replications * second["scale"])
        return credit_1.T @ x, credit_1.sum(0), credit_2.T @ h.reshape(len(credit_2), -1), credit_2.sum(0)

    def one_by_one() -> object:
        parts = [gradients(x[i : i + 1], y[i : i + 1]) for i in range(len(x))]
        return [torch.stack(arrays).sum(0) for arrays in zip(*parts, strict=True)]

    return {"PyTorch, whole batch": lambda: gradients(x, y), "PyTorch, image by image": one_by_one}


class _Layers:
    """The arrays of a convolution, a dense layer and an output layer as tensors, in one of PyTorch's two memory layouts."""

    def __init__(self, network: NoisyNetwork, images: np.ndarray, channels_last: bool) -> None:
        self.torch = torch = import_torch()
        first, second, last = network.layers
        assert isinstance(first, NoisyConvolution)
        form = torch.channels_last if channels_last else torch.contiguous_format
        height, width, channels = first.image
        self.x = tensor_of(images).reshape(-1, height, width, channels).permute(0, 3, 1, 2).contiguous(memory_format=form)
        self.kernel = tensor_of(first.weight).permute(0, 3, 1, 2).contiguous(memory_format=form)
        self.kernel_bias, self.stride = tensor_of(first.bias), first.stride
        self.weight, self.bias, self.outputs, self.output_bias = map(
            tensor_of, (second.weight, second.bias, last.weight, last.bias)
        )
        if not channels_last:  # responses are then flattened channel by channel
            places = self.weight.reshape(len(self.weight), *first.positions, len(self.kernel_bias))
            self.weight = places.permute(0, 3, 1, 2).reshape(len(self.weight), -1).contiguous()
        self.by_unit, self.by_neuron = self.weight.T.contiguous(), self.outputs.T.contiguous()
        self.channels_last = channels_last
        self.scales = [float(layer.scale[0]) for layer in network.layers]

    def rows(self, images: Any) -> Any:
        """Return responses, given in the form of images, as rows: shape (images, units)."""
        return (images.permute(0, 2, 3, 1) if self.channels_last else images).reshape(len(images), -1)

    def drives(self, x: Any) -> tuple[Any, tuple[int, ...]]:
        """Return the convolution's pre-activations without noise, as rows, and the shape of its responses as images."""
        v = self.torch.nn.functional.conv2d(x, self.kernel, self.kernel_bias, self.stride)
        return self.rows(v), tuple(v.shape)

    def kernel_gradient(self, x: Any, credit: Any, shape: tuple[int, ...]) -> tuple[Any, Any]:
        """Return the gradients of kernel and bias, given the credit of the convolution's units as rows."""
        count, channels, down, across = shape
        images = (
            credit.reshape(count, down, across, channels).permute(0, 3, 1, 2) if self.channels_last else credit.reshape(shape)
        )
        return self.torch.nn.grad.conv2d_weight(x, self.kernel.shape, images, self.stride), images.sum((0, 2, 3))


def _loss(outputs: Any, labels: Any) -> Any:
    """Return the cross-entropy, shape (images, ...), of outputs of shape (images, ..., classes)."""
    own = outputs.gather(-1, labels.reshape(-1, *(1,) * (outputs.dim() - 1)).expand(*outputs.shape[:-1], 1))
    return outputs.logsumexp(-1) - own[..., 0]


def _density(a: Any) -> Any:
    return (-0.5 * a * a).exp_().mul_((2 * math.pi) ** -0.5)


def _respond(v: Any, threshold: bool) -> Any:
    return (v > 0).to(v.dtype) if threshold else v.sigmoid()


def _nodes(noise: Any) -> tuple[Any, Any]:
    """Return new values for the noise, and their weights in the derivative, both of shape (..., 2 PAIRS)."""
    import torch

    strata = torch.arange(PAIRS, device=noise.device)
    q = torch.special.ndtri(((strata + torch.special.ndtr(noise)[..., None]) / (2 * PAIRS)).clamp_(1e-6, 0.5))
    nodes = torch.cat((-q, q), -1)
    return nodes, nodes / (2 * PAIRS)


def _redrawn_outputs(drive: Any, noise: Any, scale: float, labels: Any) -> Any:
    """Return the credit of the outputs, shape (images, classes), estimated by redrawing the noise of one output at a time."""
    import torch

    nodes, weights = _nodes(noise)
    classes = drive.shape[1]
    own = torch.eye(classes, device=drive.device)[:, None]
    changed = (drive + scale * noise)[:, None, None] + own * (scale * (nodes - noise[..., None]))[..., None]
    return (_loss(changed, labels) * weights).sum(-1) / scale


def convolutional_changes(network: NoisyNetwork, images: np.ndarray, labels: np.ndarray, probes: int, threshold: bool) -> Work:
    """Return functions for a pass that changes one unit at a time: it flips a threshold unit, or redraws another unit's noise.

    For each image, `probes` units of the convolution are drawn and changed; in the dense layer and the outputs all units are
    changed. The units to flip are drawn with probabilities proportional to the density of their noise at the threshold,
    by systematic sampling (equally spaced points with one random start).
    """
    torch, y = import_torch(), tensor_of(labels)

    def pass_of(net: _Layers) -> Callable[[], object]:
        x, (scale, scale_1, scale_2) = net.x, net.scales

        @torch.no_grad()
        def work() -> object:
            u, shape = net.drives(x)
            e = torch.randn_like(u)
            h = _respond(torch.add(u, e, alpha=scale), threshold)
            u_1 = torch.addmm(net.bias, h, net.by_unit)
            e_1 = torch.randn_like(u_1)
            v_1 = torch.add(u_1, e_1, alpha=scale_1)
            h_1 = _respond(v_1, threshold)
            u_2 = torch.addmm(net.output_bias, h_1, net.by_neuron)
            e_2 = torch.randn_like(u_2)
            z = torch.add(u_2, e_2, alpha=scale_2)
            loss, start = _loss(z, y), torch.rand(len(x), 1, device=x.device)
            points = (torch.arange(probes, device=x.device) + start) / probes
            if threshold:
                sums = _density(u / scale).cumsum(1)
                total = sums[:, -1:]
                units = torch.searchsorted(sums, points * total, right=True).clamp_(max=h.shape[1] - 1)
                change = (1 - 2 * h.gather(1, units))[:, :, None]
            else:
                units = (points * h.shape[1]).long().clamp_(max=h.shape[1] - 1)
                nodes, weights = _nodes(e.gather(1, units))
                change = torch.add(u.gather(1, units)[:, :, None], nodes, alpha=scale).sigmoid_() - h.gather(1, units)[:, :, None]
            columns = torch.nn.functional.embedding(units, net.by_unit)[:, :, None]
            drives = torch.addcmul(v_1[:, None, None], columns, change[..., None])
            changed = torch.add(
                torch.matmul(_respond(drives, threshold), net.by_neuron), (z - u_2 + net.output_bias)[:, None, None]
            )
            found = _loss(changed, y)
            if threshold:
                values = (found - loss[:, None, None])[..., 0] * change[..., 0] * total / (probes * scale)
                change_1 = (1 - 2 * h_1)[..., None]
            else:
                values = (found * weights).sum(-1) * (h.shape[1] / (probes * scale))
                nodes, weights = _nodes(e_1)
                change_1 = torch.add(u_1[..., None], nodes, alpha=scale_1).sigmoid_() - h_1[..., None]
            credit = torch.zeros_like(u).scatter_add_(1, units, values)
            found = _loss(torch.addcmul(z[:, None, None], net.by_neuron[:, None], change_1[..., None]), y)
            if threshold:
                credit_1 = (found[..., 0] - loss[:, None]) * change_1[..., 0] * _density(u_1 / scale_1) / scale_1
            else:
                credit_1 = (found * weights).sum(-1) / scale_1
            credit_2 = _redrawn_outputs(u_2, e_2, scale_2, y)
            return (
                *net.kernel_gradient(x, credit, shape),
                credit_1.T @ h,
                credit_1.sum(0),
                credit_2.T @ h_1,
                credit_2.sum(0),
            )

        return work

    return {name: pass_of(_Layers(network, images, last)) for name, last in LAYOUTS.items()}


def convolutional_scores(
    network: NoisyNetwork, images: np.ndarray, labels: np.ndarray, replications: int, threshold: bool
) -> Work:
    """Return functions for a pass of the plain score: on the whole batch at once, and on five images at a time."""
    torch, y = import_torch(), tensor_of(labels)

    def pass_of(net: _Layers, together: int) -> Callable[[], object]:
        scale, scale_1, scale_2 = net.scales

        def gradients(x: Any, y: Any) -> tuple[Any, ...]:
            u, shape = net.drives(x)
            e = torch.randn(len(x), replications, u.shape[1], device=x.device)
            h = _respond(torch.add(u[:, None], e, alpha=scale), threshold)
            u_1 = torch.addmm(net.bias, h.reshape(-1, u.shape[1]), net.by_unit)
            e_1 = torch.randn_like(u_1)
            h_1 = _respond(torch.add(u_1, e_1, alpha=scale_1), threshold)
            u_2 = torch.addmm(net.output_bias, h_1, net.by_neuron)
            e_2 = torch.randn_like(u_2)
            loss = _loss(torch.add(u_2, e_2, alpha=scale_2).reshape(len(x), replications, -1), y)
            credit = torch.bmm(loss[:, None], e)[:, 0] / (replications * scale)
            each = loss.reshape(-1, 1)
            credit_1, credit_2 = each * e_1 / (replications * scale_1), each * e_2 / (replications * scale_2)
            return (
                *net.kernel_gradient(x, credit, shape),
                credit_1.T @ h.reshape(len(u_1), -1),
                credit_1.sum(0),
                credit_2.T @ h_1,
                credit_2.sum(0),
            )

        @torch.no_grad()
        def work() -> object:
            parts = [slice(start, start + together) for start in range(0, len(net.x), together)]
            found = [gradients(net.x[part], y[part]) for part in parts]
            return [torch.stack(arrays).sum(0) for arrays in zip(*found, strict=True)]

        return work

    net = _Layers(network, images, True)
    return {
        "PyTorch, whole batch": pass_of(net, len(images)),
        "PyTorch, five images at a time": pass_of(net, 5),
    }


def spiking_flips(network: NoisyNetwork, images: np.ndarray, labels: np.ndarray) -> Work:
    """Return a function that flips each neuron's spike in each time step, one at a time; each step shows the whole image.

    At each step, the effects of all earlier flips are computed together. The output layer learns from the derivative of the
    loss with respect to the outputs.
    """
    torch, (layer, last) = import_torch(), network.layers
    assert isinstance(layer, NoisyTime)
    weight, bias, outputs, output_bias = map(tensor_of, (layer.weight, layer.bias, last.weight, last.bias))
    by_neuron, x, y = outputs.T.contiguous(), tensor_of(images), tensor_of(labels)
    one_hot = torch.nn.functional.one_hot(y, len(outputs)).to(x.dtype)
    scale, scale_1, leak, steps, firing = float(layer.scale[0]), float(last.scale[0]), layer.leak, layer.steps, layer.firing

    @torch.no_grad()
    def work() -> object:
        current = torch.addmm(bias, x, weight.T)
        e = torch.randn(steps, *current.shape, device=x.device)
        m = spikes = torch.zeros_like(current)
        drives, paths = [], []
        m_flipped = h_flipped = torch.empty(0, *current.shape, device=x.device)  # of all flips so far, (flips, images, neurons)
        count = torch.zeros(steps, *current.shape, device=x.device)
        for t in range(steps):
            m = torch.addcmul(current, 1 - spikes, m, value=leak) if t else current
            above = firing - scale * e[t]
            spikes = (m > above).to(m.dtype)
            drives.append(m - firing)
            paths.append(spikes)
            if t:
                m_flipped = torch.addcmul(current, 1 - h_flipped, m_flipped, value=leak)
                h_flipped = (m_flipped > above).to(m.dtype)
                count[:t] += h_flipped
            m_flipped = torch.cat((m_flipped, m[None]))
            h_flipped = torch.cat((h_flipped, 1 - spikes[None]))
            count[t] += sum(paths[:-1], 1 - spikes)
        path = torch.stack(paths)
        mean = path.mean(0)
        z = torch.addmm(output_bias, mean, by_neuron) + scale_1 * torch.randn(len(x), len(outputs), device=x.device)
        change = (count / steps - mean).permute(1, 0, 2)[..., None]
        found = _loss(torch.addcmul(z[:, None, None], by_neuron, change), y).permute(1, 0, 2)
        credit = (found - _loss(z, y)[:, None]) * (1 - 2 * path) * _density(torch.stack(drives) / scale) / scale
        later = credit[-1]
        total = later.clone()
        for t in range(steps - 2, -1, -1):
            later = torch.addcmul(credit[t], 1 - path[t], later, value=leak)
            total += later
        d_outputs = z.softmax(1) - one_hot
        return total.T @ x, total.sum(0), d_outputs.T @ mean, d_outputs.sum(0)

    return {"PyTorch, all flips together": work}


LAYOUTS = {"PyTorch": False, "PyTorch, channels last": True}
