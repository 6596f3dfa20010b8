"""The convolutional codecs' networks: the same layers, faster.

On a CPU they run channels-last, float (B, T, C), wide ones as matrix products
(:mod:`short_convolution`), block after block in windows that stay in the processor's cache. The
factors of a Snake lie in the weights around it: alpha * snake(x) = u + sin(u)^2 with u = alpha * x.
Results equal the plain layers' up to rounding; those stay what trains, what runs elsewhere and what
defines the result.

On CUDA they run channels-last, too, as its convolutions want it: whole, by the library alone. The
decoder does so in float16, whose weights are converted once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from vampnet.codec.layers import Mean, Residual, Snake
from vampnet.codec.short_convolution import WideConvolution

WINDOW = 1 << 20  # values of one layer that a window holds
WIDE = 64  # channels from which short_convolution is faster than the library
WIDE_STEPS = 256  # likewise of a strided convolution as two products
LEAST_ALPHA = {torch.float32: 1e-8, torch.float16: 2.0**-12}  # smaller change next to nothing
FAST_ON = ("cpu", "cuda")  # kinds of devices

Convolution = nn.Conv1d | nn.ConvTranspose1d
Layer = Callable[[Tensor], Tensor]


def usable(x: Tensor) -> bool:
    """Whether this path may stand for the plain layers: float32 inference on such a device."""
    on_it = x.device.type in FAST_ON
    return on_it and x.dtype == torch.float32 and not torch.is_grad_enabled()


class FastNetwork:
    """What `network` computes, without gradients. Weights are prepared at first use.

    A weight that is loaded or changed in place later is noticed and prepared anew; one changed
    through ``.data`` is not.
    """

    dtype = torch.float32

    def __init__(self, network: nn.Module):
        self.network = network
        self._prepared: dict[nn.Module, tuple[tuple[object, ...], Layer]] = {}

    def __call__(self, x: Tensor) -> Tensor:
        """float (B, C, T) to (B, C', T'), as the plain network."""
        made = self._run(self.network, x.to(self.dtype).transpose(1, 2).contiguous())
        return made.transpose(1, 2).contiguous().to(x.dtype)

    def _run(self, module: nn.Module, x: Tensor) -> Tensor:
        """float (B, T, C) through one module."""
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
        chain = list(layers.children())
        neighbours = zip([None, *chain], chain, [*chain[1:], None], strict=False)
        for before, layer, after in neighbours:
            if isinstance(layer, Residual | Mean):
                units.append(layer)
                continue
            if units:
                x, units = self._windows(units, x), []
            if isinstance(layer, Snake):
                is_scaled = isinstance(before, Convolution)
                x = add_squared_sine_(x if is_scaled else x * self._factors(layer))
                if not isinstance(after, Convolution):
                    x = x.div_(self._factors(layer))
            elif isinstance(layer, Convolution):
                x = self._convolution(layer, before, after)(x)
            else:
                x = self._run(layer, x)
        return self._windows(units, x) if units else x

    def _factors(self, snake: Snake) -> Tensor:
        return alpha(snake, self.dtype).to(self.dtype)

    def _windows(self, units: list[nn.Module], x: Tensor) -> Tensor:
        """Layers that keep length and width, window by window: float (B, T, C) to the same."""
        if x.device.type != "cpu":
            return self._chain(units, x)
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

    def _convolution(
        self, layer: Convolution, before: nn.Module | None, after: nn.Module | None
    ) -> Layer:
        """A convolution's fast form, with the factors of a Snake on either side."""
        around = [snake if isinstance(snake, Snake) else None for snake in (before, after)]
        weights = [w for part in (layer, *around) if part for w in part.parameters()]
        state = tuple((w.data_ptr(), 0 if w.is_inference() else w._version) for w in weights)
        known = self._prepared.get(layer)
        if known is None or known[0] != state:
            known = self._prepared[layer] = state, prepare(layer, *around, dtype=self.dtype)
        return known[1]


class HalfNetwork(FastNetwork):
    """In float16, whose convolutions sum in float32: 54 dB or more above what that changes.

    Where a layer's values pass the range of float16 (65504), the result is ``exact``'s.
    """

    dtype = torch.float16

    def __init__(self, exact: FastNetwork):
        super().__init__(exact.network)
        self.exact = exact

    def __call__(self, x: Tensor) -> Tensor:
        """float32 (B, C, T) to (B, C', T')."""
        made = super().__call__(x)
        return made if torch.isfinite(made).all() else self.exact(x)


def _reach(module: nn.Module) -> int:
    """Steps to each side that layers of stride 1 read."""
    if isinstance(module, Mean):
        return max(_reach(chain) for chain in module)
    if isinstance(module, nn.Conv1d):
        return (module.kernel_size[0] - 1) * module.dilation[0] // 2
    return sum(_reach(child) for child in module.children())


def alpha(layer: Snake, dtype: torch.dtype = torch.float32) -> Tensor:
    """A Snake's factors, float32 (C,), none too near to 0 to divide by in ``dtype``."""
    found, least = layer.alpha.detach().view(-1), LEAST_ALPHA[dtype]
    return found.where(found.abs() > least, least)


def add_squared_sine_(x: Tensor) -> Tensor:
    """x + sin(x)^2, in place."""
    sine = x.sin()
    return x.addcmul_(sine, sine)


def prepare(
    layer: Convolution,
    before: Snake | None = None,
    after: Snake | None = None,
    dtype: torch.dtype = torch.float32,
) -> Layer:
    """The fast form of a convolution; its weights are copies, in ``dtype``.

    before, after: what it stands between; its input comes scaled by the one's factors, its output
    leaves scaled by the other's.
    """
    weight, bias = layer.weight.detach(), layer.bias
    bias = torch.zeros(layer.out_channels).to(weight) if bias is None else bias.detach()
    transposed = isinstance(layer, nn.ConvTranspose1d)
    if transposed:
        weight = weight.transpose(0, 1)
    if before is not None:
        weight = weight / alpha(before, dtype)[:, None]
    if after is not None:
        factors = alpha(after, dtype)
        weight, bias = weight * factors[:, None, None], bias * factors
    weight, bias = weight.to(dtype), bias.to(dtype)
    if transposed:
        return LibraryConvolution(layer, weight.transpose(0, 1), bias)
    if weight.device.type != "cpu" or dtype != torch.float32:
        return LibraryConvolution(layer, weight, bias)
    stride, least = layer.stride[0], min(weight.shape[:2])
    if stride > 1 and least >= WIDE_STEPS:
        return StepDown(weight, bias, stride, int(layer.padding[0]))
    if stride == 1 and weight.shape[2] == 1:
        return Pointwise(weight, bias)
    if stride == 1 and least >= WIDE:
        return WideConvolution(weight, bias, layer.dilation[0])
    return LibraryConvolution(layer, weight, bias)


class LibraryConvolution:
    """A convolution or transposed one as the library computes it, channels last."""

    def __init__(self, layer: Convolution, weight: Tensor, bias: Tensor):
        self.weight = weight[:, :, None].clone(memory_format=torch.channels_last)
        self.bias = bias.clone()
        call = torch.conv2d if isinstance(layer, nn.Conv1d) else torch.conv_transpose2d
        sizes = {name: (1, getattr(layer, name)[0]) for name in ("stride", "dilation")}
        self.call = partial(call, padding=(0, layer.padding[0]), **sizes)

    def __call__(self, x: Tensor) -> Tensor:
        """float (B, T, C) to (B, T', C')."""
        row = x.transpose(1, 2)[:, :, None]  # an image one pixel high
        return self.call(row, self.weight, self.bias)[:, :, 0].transpose(1, 2)


class Pointwise:
    """A convolution of one tap."""

    def __init__(self, weight: Tensor, bias: Tensor):
        self.weight, self.bias = weight[:, :, 0].t().contiguous(), bias.clone()

    def __call__(self, x: Tensor) -> Tensor:
        """float (B, T, C) to (B, T, C')."""
        return torch.addmm(self.bias, x.flatten(0, 1), self.weight).view(*x.shape[:2], -1)


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
