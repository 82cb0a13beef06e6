"""The benchmarked work in PyTorch, written as its users would write it; for comparison only, never used by the engine."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from minicereb.backend import execution, to_device, to_numpy
from minicereb.errors import MinicerebError, install_command
from minicereb.models.cerebellum import CerebellarNetwork
from minicereb.models.convolutional import BatchNorm, Convolution, Dropout, Flat, MaxPool
from minicereb.models.layers import Dense, ReLU
from minicereb.models.sequential import Sequential


def import_torch() -> ModuleType:
    """Return PyTorch, limited to as many threads as minicereb uses; raise :class:`MinicerebError` if it is not installed."""
    try:
        import torch
    except ImportError as error:
        raise MinicerebError(f"--peers needs PyTorch, which is not installed: {install_command('torch')}") from error
    torch.set_num_threads(execution().threads)
    return torch


def tensor_of(array: Any) -> Any:
    """Return a copy of an array as a tensor on the device in use."""
    return import_torch().tensor(to_numpy(array), device=execution().device)


def _one_hot(labels: np.ndarray) -> Any:
    torch = import_torch()
    return torch.nn.functional.one_hot(tensor_of(labels)).to(torch.float32)


def _parts(model: CerebellarNetwork) -> tuple[Any, ...]:
    """Return copies of the model's arrays: the projection as sparse CSR, its indices and weights, the readout, and the mean."""
    torch, wiring = import_torch(), model.wiring
    cells, per_cell = wiring.weights.shape
    weights, inputs, readout = tensor_of(wiring.weights), tensor_of(wiring.inputs).to(torch.int64), tensor_of(model.readout)
    rows = torch.arange(0, cells * per_cell + 1, per_cell, device=inputs.device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sparse CSR tensors announce that they are in beta
        csr = torch.sparse_csr_tensor(rows, inputs.reshape(-1), weights.reshape(-1), (cells, wiring.width))
    return csr, inputs, weights, readout, torch.zeros(cells, device=inputs.device)


def learning_steps(
    model: CerebellarNetwork, images: np.ndarray, labels: np.ndarray, batch: int
) -> dict[str, Callable[[], object]]:
    """Return PyTorch's three learning steps: with a CSR product, with the same product while freed memory is kept for reuse, and
    with a gather.

    PyTorch's step returns its temporary arrays of 8 MB to the operating system, which clears them before the next step.
    Once a larger block has been freed, the C library keeps the memory of such arrays instead. Our step has no such
    arrays.
    """
    torch = import_torch()
    csr, inputs, weights, _, _ = _parts(model)
    x = tensor_of(images).reshape(-1, batch, images.shape[1])
    y = _one_hot(labels).reshape(len(x), batch, -1)
    rate = 0.5 / len(inputs)

    def learner(respond: Callable[[Any], Any], contract: Callable[..., Any], product: Callable[..., Any]) -> Callable[[], object]:
        _, _, _, readout, mean = _parts(model)
        square, turn = torch.zeros_like(readout), iter(range(10**9))

        @torch.no_grad()
        def step() -> None:
            at = next(turn) % len(x)
            z, error = contract(respond(x[at]), mean, readout, y[at])
            gradient = product(z, error)
            square.mul_(0.99).addcmul_(gradient, gradient, value=0.01)
            readout.addcdiv_(gradient, square.sqrt().add_(1e-8), value=-rate)

        return step

    def columns(h: Any, mean: Any, readout: Any, target: Any) -> tuple[Any, Any]:  # h is (cells, batch)
        mean.mul_(0.99).add_(h.mean(1), alpha=0.01)
        z = h.sub_(mean[:, None])
        return z, (z.T @ readout - target) / batch

    def rows(h: Any, mean: Any, readout: Any, target: Any) -> tuple[Any, Any]:  # h is (batch, cells)
        mean.mul_(0.99).add_(h.mean(0), alpha=0.01)
        z = h.sub_(mean)
        return z, (z @ readout - target) / batch

    csr_step = functools.partial(learner, lambda x: (csr @ x.T).relu_(), columns, lambda z, error: z @ error)
    return {
        "PyTorch, sparse CSR": csr_step(),
        "PyTorch, sparse CSR, freed memory kept": _keeping_freed_memory(csr_step()),
        "PyTorch, gather": learner(lambda x: (x[:, inputs] * weights).sum(-1).relu_(), rows, lambda z, error: z.T @ error),
    }


def _keeping_freed_memory(step: Callable[[], object]) -> Callable[[], object]:
    """Allocate and free a block of 31 MiB before each step: the C library then keeps freed blocks of up to this size."""

    def kept() -> object:
        np.empty(31 << 20, dtype=np.uint8)
        return step()

    return kept


def pgd_steps(model: CerebellarNetwork, images: np.ndarray, labels: np.ndarray) -> dict[str, Callable[[], object]]:
    """Return functions for the input gradient of the squared error: one by hand with sparse products, two by autograd."""
    torch = import_torch()
    csr, inputs, weights, readout, mean = _parts(model)
    x, y = tensor_of(images), _one_hot(labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        by_input = csr.to_sparse_csc()
        transposed = torch.sparse_csr_tensor(by_input.ccol_indices(), by_input.row_indices(), by_input.values(), csr.shape[::-1])

    @torch.no_grad()
    def by_hand() -> object:
        h = (csr @ x.T).relu_()
        error = h.T @ readout - mean @ readout - y
        return transposed @ ((readout @ error.T).mul_(h > 0))

    def by_autograd() -> object:
        leaf = x.clone().requires_grad_()
        outputs = (torch.sparse.mm(csr, leaf.T).relu().T - mean) @ readout
        return torch.autograd.grad(0.5 * ((outputs - y) ** 2).sum(), leaf)[0]

    def by_gather() -> object:
        leaf = x.clone().requires_grad_()
        h = torch.nn.functional.embedding_bag(inputs, leaf.T.contiguous(), per_sample_weights=weights, mode="sum").relu()
        outputs = (h.T - mean) @ readout
        return torch.autograd.grad(0.5 * ((outputs - y) ** 2).sum(), leaf)[0]

    return {
        "PyTorch, sparse CSR by hand": by_hand,
        "PyTorch, sparse CSR and autograd": by_autograd,
        "PyTorch, embedding bag": by_gather,
    }


def apgd_runs(
    model: CerebellarNetwork, images: np.ndarray, labels: np.ndarray, epsilon: float, steps: int
) -> dict[str, Callable[[], object]]:
    """Return a function that runs APGD by autograd on a cerebellum with full wiring; its result is the final outputs."""
    torch, device = import_torch(), execution().device
    projection, readout, mean = map(tensor_of, (model.wiring.weights, model.readout, model.ltd_mean))
    x, y = tensor_of(images), tensor_of(labels)
    low, high = (x - epsilon).clamp(min=0), (x + epsilon).clamp(max=1)
    first, less, least = max(int(0.22 * steps), 1), max(int(0.03 * steps), 1), max(int(0.06 * steps), 1)

    def outputs(here: Any) -> Any:
        return (torch.relu(here @ projection.T) - mean) @ readout

    def slope(here: Any) -> tuple[Any, Any, Any]:
        leaf = here.detach().requires_grad_()
        logits = outputs(leaf)
        loss = torch.nn.functional.cross_entropy(logits, y, reduction="none")
        return logits.detach(), loss.detach(), torch.autograd.grad(loss.sum(), leaf)[0]

    def attack() -> object:
        here = torch.maximum(torch.minimum(x + epsilon * (2 * torch.rand_like(x) - 1), high), low)
        before, size = here, torch.full((len(x), 1), 2 * epsilon, device=device)
        logits, value, gradient = slope(here)
        best, best_value, best_gradient = here.clone(), value.clone(), gradient.clone()
        broken, wrong = x.clone(), logits.argmax(1) != y
        broken[wrong] = here[wrong]
        window, since, rises = first, 0, torch.zeros(len(x), device=device)
        halved_before, value_before = torch.ones(len(x), dtype=torch.bool, device=device), value.clone()
        for step in range(steps):
            share = 0.75 if step else 1.0
            stepped = torch.maximum(torch.minimum(here + size * gradient.sign(), high), low)
            stepped = here + share * (stepped - here) + (1 - share) * (here - before)
            before, here = here, torch.maximum(torch.minimum(stepped, high), low)
            last = value
            logits, value, gradient = slope(here)
            rises += value > last
            wrong = logits.argmax(1) != y
            broken[wrong] = here[wrong]
            better = value > best_value
            best[better], best_gradient[better], best_value[better] = here[better], gradient[better], value[better]
            since += 1
            if since == window:
                halve = (rises < 0.75 * window) | (~halved_before & (value_before >= best_value))
                size[halve] /= 2
                here[halve], gradient[halve] = best[halve], best_gradient[halve]
                halved_before, value_before, rises = halve, best_value.clone(), torch.zeros_like(rises)
                window, since = max(window - less, least), 0
        with torch.no_grad():
            return outputs(broken)

    return {"PyTorch, autograd": attack}


def classifier(model: CerebellarNetwork | Sequential, shape: tuple[int, int]) -> Callable[[Any], Any]:
    """Return a perceptron or a cerebellum as a PyTorch classifier of images (images, 1, height, width).

    A cerebellum's projection is computed as a dense or a sparse CSR product.
    """
    if isinstance(model, Sequential):
        layers = [(tensor_of(each.weight), tensor_of(each.bias)) if isinstance(each, Dense) else None for each in model.layers]

        def answers(x: Any) -> Any:
            x = x.reshape(len(x), shape[0] * shape[1])
            for layer in layers:
                x = x.relu() if layer is None else x @ layer[0].T + layer[1]
            return x

        return answers
    csr, _, _, readout, _ = (
        _parts(model) if model.wiring.inputs is not None else (None, None, None, tensor_of(model.readout), None)
    )
    matrix, mean = None if csr is not None else tensor_of(model.wiring.weights), tensor_of(model.ltd_mean)

    def outputs(x: Any) -> Any:
        rows = x.reshape(len(x), shape[0] * shape[1])
        drive = rows @ matrix.T if matrix is not None else (csr @ rows.T).T
        return drive.relu() @ readout - mean @ readout

    return outputs


def _autoattack() -> ModuleType:
    try:
        import pyautoattack.square
    except ImportError as error:
        needs = "a comparison with AutoAttack needs pyautoattack, which is not installed"
        raise MinicerebError(f"{needs}: {install_command('pyautoattack')}") from error
    return pyautoattack


def square_runs(
    model: CerebellarNetwork, images: np.ndarray, labels: np.ndarray, shape: tuple[int, int], epsilon: float, queries: int
) -> dict[str, Callable[[], object]]:
    """Return a function that runs AutoAttack's Square, from the package pyautoattack."""
    torch, device = import_torch(), execution().device
    x, y = tensor_of(images.reshape(-1, 1, *shape)), tensor_of(labels)
    outputs = classifier(model, shape)
    search = _autoattack().square.SquareAttack(outputs, norm="Linf", n_queries=queries, eps=epsilon, seed=0, device=device)

    @torch.no_grad()
    def attack() -> object:
        return search.perturb(x, y)

    return {"AutoAttack's Square, PyTorch": attack}


def autoattack(
    model: CerebellarNetwork | Sequential,
    images: np.ndarray,
    labels: np.ndarray,
    shape: tuple[int, int],
    epsilon: float,
    batch: int,
) -> dict[str, Callable[[], object]]:
    """Return a function that runs AutoAttack's standard ensemble and returns the attacked images as rows, on the host."""
    torch, outputs = import_torch(), classifier(model, shape)

    class Module(torch.nn.Module):  # type: ignore[name-defined, misc]
        def forward(self, x: Any) -> Any:
            return outputs(x)

    judge = _autoattack().AutoAttack(Module(), norm="Linf", eps=epsilon, version="standard", device=execution().device, seed=0)
    x, y = tensor_of(images.reshape(-1, 1, *shape)), tensor_of(labels)

    def attack() -> np.ndarray:
        attacked, *_ = judge.run_standard_evaluation(x, y, batch_size=batch)
        return to_numpy(attacked.cpu().numpy()).reshape(len(images), -1)

    return {"AutoAttack": attack}


def convolutional_network(model: Sequential) -> tuple[Any, list[tuple[np.ndarray, Any]]]:
    """Copy all layers of a convolutional network except the first, ``Images``, into a PyTorch network with channels first.

    Return the PyTorch network, in training mode, and a list of pairs, each of a learned array of `model` and the PyTorch
    parameter that was initialised from it.
    """
    torch = import_torch()
    nn: Any = torch.nn
    layers: list[Any] = []
    pairs: list[tuple[np.ndarray, Any]] = []

    class ChannelsLast(nn.Module):
        """Move the channels of images to the last axis, as our layers expect."""

        def forward(self, images: Any) -> Any:
            return images.permute(0, 2, 3, 1)

    makers: dict[type, Callable[[Any], Any]] = {
        Convolution: lambda layer: nn.Conv2d(
            layer.weight.shape[3], len(layer.weight), layer.weight.shape[1:3], layer.stride, layer.padding
        ),
        BatchNorm: lambda layer: nn.BatchNorm2d(len(layer.gamma)),
        Dense: lambda layer: nn.Linear(*layer.weight.shape[::-1]),
        ReLU: lambda layer: nn.ReLU(),
        MaxPool: lambda layer: nn.MaxPool2d(layer.size),
        Dropout: lambda layer: nn.Dropout(layer.rate),
        Flat: lambda layer: nn.Sequential(ChannelsLast(), nn.Flatten()),
    }
    for layer in model.layers[1:]:
        layers.append(makers[type(layer)](layer))
        arrays = getattr(layer, "parameters", {}).values()
        pairs += list(zip(map(to_numpy, arrays), layers[-1].parameters(), strict=True))
    with torch.no_grad():
        for array, parameter in pairs:
            parameter.copy_(torch.tensor(np.moveaxis(array, -1, 1) if array.ndim > 2 else array))
    return nn.Sequential(*layers).to(execution().device), pairs


LAYOUTS = ("PyTorch", "PyTorch, channels last")


def convolutional_steps(
    model: Sequential, images: np.ndarray, credit: np.ndarray, layouts: tuple[str, ...] = LAYOUTS
) -> dict[str, Callable[[], object]]:
    """Return functions, one per memory layout, that compute all weight gradients for a batch of normalised images."""
    torch, device, begins = import_torch(), execution().device, model.layers[0]
    pixels = to_numpy(begins.forward(to_device(images))[0])

    def step_of(layout: str) -> Callable[[], object]:
        form = torch.channels_last if layout == LAYOUTS[1] else torch.contiguous_format
        network = convolutional_network(model)[0].to(memory_format=form)
        x = torch.tensor(np.moveaxis(pixels, -1, 1), device=device).contiguous(memory_format=form)
        d_outputs = tensor_of(credit)

        def step() -> object:
            network.zero_grad()
            return network(x).backward(d_outputs)

        return step

    return {layout: step_of(layout) for layout in layouts}
