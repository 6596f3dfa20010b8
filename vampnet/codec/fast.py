"""The convolutional codecs' networks on a CPU: the same layers, faster.

Layers run channels-last, float (B, T, C), as matrix products (:mod:`short_convolution`), block
after block in windows that stay in the processor's cache. Results equal the plain layers' up to
rounding; the plain layers stay what trains, what runs on other devices and what defines the result.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from vampnet.codec.layers import Mean, Residual, Snake
from vampnet.codec.short_convolution import WIDE, NarrowConvolution, WideConvolution

WINDOW = 1 << 20  # values of one layer that a window holds

Layer = Callable[[Tensor], Tensor]


def usable(x: Tensor) -> bool:
    """Whether this path may stand for the plain layers: float32 inference on a CPU."""
    return x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_grad_enabled()


class FastNetwork:
    """What `network` computes, without gradients. Weights are prepared at first use.

    A weight that is loaded or changed in place later is noticed and prepared anew.
    """

    def __init__(self, network: nn.Module):
        self.network = network
        self._prepared: dict[nn.Module, tuple[tuple[int, int], Layer]] = {}

    def __call__(self, x: Tensor) -> Tensor:
        """float (B, C, T) to (B, C', T'), as the plain network."""
        return self._run(self.network, x.transpose(1, 2).contiguous()).transpose(1, 2).contiguous()

    def _run(self, module: nn.Module, x: Tensor) -> Tensor:
        """float (B, T, C) through one module."""
        if isinstance(module, Snake):
            return snake(module, x)
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
            return self._convolution(module)(x)
        if isinstance(module, Residual):
            return self._sequence(module, x).add_(x)
        if isinstance(module, Mean):
            first, *others = module
            total = self._run(first, x)
            for chain in others:
                total += self._run(chain, x)
            return total.div_(len(module))
        if isinstance(module, nn.Sequential):
            return self._sequence(module, x)
        if isinstance(module, nn.Tanh):
            return x.tanh()
        raise TypeError(f"no fast form of {type(module).__name__}")

    def _sequence(self, layers: nn.Module, x: Tensor) -> Tensor:
        """Layer after layer; runs of residual layers in windows."""
        units: list[nn.Module] = []
        for layer in layers.children():
            if isinstance(layer, Residual | Mean):
                units.append(layer)
                continue
            if units:
                x, units = self._windows(units, x), []
            x = self._run(layer, x)
        return self._windows(units, x) if units else x

    def _windows(self, units: list[nn.Module], x: Tensor) -> Tensor:
        """Layers that keep length and width, window by window: float (B, T, C) to the same."""
        reach = sum(map(_reach, units))
        n_steps = x.shape[1]
        size = max(WINDOW // (x.shape[0] * x.shape[2]), 4 * reach)
        if n_steps <= size + 2 * reach:
            return self._chain(units, x)
        made = torch.empty_like(x)
        for start in range(0, n_steps, size):
            end = min(start + size, n_steps)
            first = max(0, start - reach)
            piece = self._chain(units, x[:, first : end + reach])
            made[:, start:end] = piece[:, start - first : end - first]
        return made

    def _chain(self, units: list[nn.Module], x: Tensor) -> Tensor:
        for unit in units:
            x = self._run(unit, x)
        return x

    def _convolution(self, layer: nn.Conv1d | nn.ConvTranspose1d) -> Layer:
        weight = layer.weight
        state = (weight.data_ptr(), 0 if weight.is_inference() else weight._version)
        known = self._prepared.get(layer)
        if known is None or known[0] != state:
            known = self._prepared[layer] = state, prepare(layer)
        return known[1]


def _reach(module: nn.Module) -> int:
    """Steps to each side that layers of stride 1 read."""
    if isinstance(module, Mean):
        return max(_reach(chain) for chain in module)
    if isinstance(module, nn.Conv1d):
        return (module.kernel_size[0] - 1) * module.dilation[0] // 2
    return sum(_reach(child) for child in module.children())


def snake(layer: Snake, x: Tensor) -> Tensor:
    """Snake of float (B, T, C), with one new tensor."""
    alpha = layer.alpha.view(-1)
    wave = (x * alpha).sin_()
    return wave.square_().mul_((alpha + 1e-9).reciprocal()).add_(x)


def prepare(layer: nn.Conv1d | nn.ConvTranspose1d) -> Layer:
    """The fast form of a convolution; its weights are copies."""
    weight, bias = layer.weight.detach(), layer.bias
    bias = torch.zeros(layer.out_channels).to(weight) if bias is None else bias.detach()
    if isinstance(layer, nn.ConvTranspose1d):
        return StepUp(weight, bias, layer.stride[0], int(layer.padding[0]))
    if layer.stride[0] > 1:
        return StepDown(weight, bias, layer.stride[0], int(layer.padding[0]))
    if weight.shape[2] == 1:
        return Pointwise(weight, bias)
    wide = min(weight.shape[:2]) >= WIDE
    return (WideConvolution if wide else NarrowConvolution)(weight, bias, layer.dilation[0])


class Pointwise:
    """A convolution of one tap."""

    def __init__(self, weight: Tensor, bias: Tensor):
        self.weight, self.bias = weight[:, :, 0].t().contiguous(), bias.clone()

    def __call__(self, x: Tensor) -> Tensor:
        """float (B, T, C) to (B, T, C')."""
        return torch.addmm(self.bias, x.flatten(0, 1), self.weight).view(*x.shape[:2], -1)


class StepUp:
    """A transposed convolution of 2 * stride taps: one product, whose halves overlap."""

    def __init__(self, weight: Tensor, bias: Tensor, stride: int, padding: int):
        self.stride, self.padding = stride, padding
        self.weight = weight.permute(0, 2, 1).reshape(weight.shape[0], -1)
        self.bias = bias.clone()

    def __call__(self, x: Tensor) -> Tensor:
        """float (B, T, C) to (B, (T + 1) * stride - 2 * padding, C')."""
        n_items, n_steps, _ = x.shape
        parts = (x.reshape(-1, x.shape[2]) @ self.weight).view(n_items, n_steps, 2, -1)
        made = self.bias.repeat(self.stride).expand(n_items, n_steps + 1, -1).contiguous()
        made[:, :-1] += parts[:, :, 0]
        made[:, 1:] += parts[:, :, 1]
        made = made.view(n_items, -1, len(self.bias))
        return made[:, self.padding : made.shape[1] - self.padding].contiguous()


class StepDown:
    """A convolution of 2 * stride taps: two products of whole strides."""

    def __init__(self, weight: Tensor, bias: Tensor, stride: int, padding: int):
        self.stride, self.padding = stride, padding
        taps = weight.permute(2, 1, 0).reshape(2, -1, weight.shape[0])
        self.first, self.second = taps[0].contiguous(), taps[1].contiguous()
        self.bias = bias.clone()

    def __call__(self, x: Tensor) -> Tensor:
        """float (B, T, C) to (B, (T + 2 * padding) // stride - 1, C')."""
        n_items, n_steps, width = x.shape
        n_strides = (n_steps + 2 * self.padding) // self.stride
        end = n_strides * self.stride - n_steps - self.padding
        strides = pad(x, (0, 0, self.padding, end)).view(n_items, n_strides, -1)
        made = torch.matmul(strides[:, :-1], self.first).add_(self.bias)
        return made.add_(torch.matmul(strides[:, 1:], self.second))
