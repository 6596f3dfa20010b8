"""The convolutional codecs' networks for inference: the same layers, faster.

On a CPU they run channels-last, float (B, T, C), wide convolutions as matrix products
(:mod:`short_convolution`), block after block in windows that stay in the processor's cache. The
factors of a Snake are folded into the weights around it: alpha * snake(x) = u + sin(u)^2 with
u = alpha * x. Results equal the plain layers' up to rounding; the plain layers define the result
and are used for training and on other devices.

On CUDA the networks run channels-last too, as its convolutions prefer, but unwindowed and with
torch's convolutions only. The decoder runs in float16, with its weights converted once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from vampnet.codec.layers import Mean, Residual, Snake
from vampnet.codec.short_convolution import WideConvolution

WINDOW = 1 << 20  # values of one layer in a window
WIDE = 64  # channels from which short_convolution is faster than torch
WIDE_STRIDED = 256  # likewise of a strided convolution as two products
MIN_ALPHA = {torch.float32: 1e-8, torch.float16: 2.0**-12}  # smaller ones change almost nothing
FAST_DEVICES = ("cpu", "cuda")

Convolution = nn.Conv1d | nn.ConvTranspose1d
FastLayer = Callable[[Tensor], Tensor]


def fast_path_available(x: Tensor) -> bool:
    """Return whether this path can replace the plain layers: float32 inference, FAST_DEVICES."""
    supported = x.device.type in FAST_DEVICES
    return supported and x.dtype == torch.float32 and not torch.is_grad_enabled()


class FastNetwork:
    """Runs `network` without gradients, on weights that are prepared at the first use.

    Weights that are loaded or changed in place later are prepared again; changes through ``.data``
    are not detected.
    """

    dtype = torch.float32

    def __init__(self, network: nn.Module):
        self.network = network
        self._prepared: dict[nn.Module, tuple[tuple[object, ...], FastLayer]] = {}

    def __call__(self, x: Tensor) -> Tensor:
        """Map float (B, C, T) to (B, C', T'), as the plain network does."""
        y = self._run(self.network, x.to(self.dtype).transpose(1, 2).contiguous())
        return y.transpose(1, 2).contiguous().to(x.dtype)

    def _run(self, module: nn.Module, x: Tensor) -> Tensor:
        """Run one module on float (B, T, C)."""
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
        """Run layer after layer; consecutive residual layers in windows."""
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
        return snake_alpha(snake, self.dtype).to(self.dtype)

    def _windows(self, units: list[nn.Module], x: Tensor) -> Tensor:
        """Run layers that keep length and width, window by window: float (B, T, C) to the same."""
        if x.device.type != "cpu":
            return self._chain(units, x)
        reach = sum(map(_receptive_field, units))
        n_steps = x.shape[1]
        size = max(WINDOW // (x.shape[0] * x.shape[2]), 4 * reach)
        if n_steps <= size + 2 * reach:
            return self._chain(units, x)
        y = torch.empty_like(x)
        for start in range(0, n_steps, size):
            end = min(start + size, n_steps)
            first = max(0, start - reach)
            piece = self._chain(units, x[:, first : end + reach])
            y[:, start:end] = piece[:, start - first : end - first]
        return y

    def _chain(self, units: list[nn.Module], x: Tensor) -> Tensor:
        for unit in units:
            x = self._run(unit, x)
        return x

    def _convolution(
        self, layer: Convolution, before: nn.Module | None, after: nn.Module | None
    ) -> FastLayer:
        """The fast form of a convolution, with the factors of the Snakes around it."""
        around = [snake if isinstance(snake, Snake) else None for snake in (before, after)]
        weights = [w for part in (layer, *around) if part for w in part.parameters()]
        state = tuple((w.data_ptr(), 0 if w.is_inference() else w._version) for w in weights)
        cached = self._prepared.get(layer)
        if cached is None or cached[0] != state:
            prepared = fast_convolution(layer, *around, dtype=self.dtype)
            cached = self._prepared[layer] = state, prepared
        return cached[1]


class Float16Network(FastNetwork):
    """Runs a network in float16 with float32 sums: the error is 54 dB or more below the signal.

    Where a layer's values exceed the range of float16 (65504), ``exact`` is run instead.
    """

    dtype = torch.float16

    def __init__(self, exact: FastNetwork):
        super().__init__(exact.network)
        self.exact = exact

    def __call__(self, x: Tensor) -> Tensor:
        """Map float32 (B, C, T) to (B, C', T')."""
        y = super().__call__(x)
        return y if torch.isfinite(y).all() else self.exact(x)


def _receptive_field(module: nn.Module) -> int:
    """Steps on each side that layers of stride 1 read."""
    if isinstance(module, Mean):
        return max(_receptive_field(chain) for chain in module)
    if isinstance(module, nn.Conv1d):
        return (module.kernel_size[0] - 1) * module.dilation[0] // 2
    return sum(_receptive_field(child) for child in module.children())


def snake_alpha(layer: Snake, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return a Snake's factors, float32 (C,), clamped so that ``dtype`` can divide by them."""
    alpha, smallest = layer.alpha.detach().view(-1), MIN_ALPHA[dtype]
    return alpha.where(alpha.abs() > smallest, smallest)


def add_squared_sine_(x: Tensor) -> Tensor:
    """Compute x + sin(x)^2 in place."""
    sine = x.sin()
    return x.addcmul_(sine, sine)


def fast_convolution(
    layer: Convolution,
    before: Snake | None = None,
    after: Snake | None = None,
    dtype: torch.dtype = torch.float32,
) -> FastLayer:
    """Return the fast form of a convolution; its weights are copies, in ``dtype``.

    Args:
        layer: the convolution.
        before: the Snake before it, by whose factors its input is scaled.
        after: the Snake after it, by whose factors its output must be scaled.
        dtype: number format of the weights.
    """
    weight, bias = layer.weight.detach(), layer.bias
    bias = torch.zeros(layer.out_channels).to(weight) if bias is None else bias.detach()
    transposed = isinstance(layer, nn.ConvTranspose1d)
    if transposed:
        weight = weight.transpose(0, 1)
    if before is not None:
        weight = weight / snake_alpha(before, dtype)[:, None]
    if after is not None:
        factors = snake_alpha(after, dtype)
        weight, bias = weight * factors[:, None, None], bias * factors
    weight, bias = weight.to(dtype), bias.to(dtype)
    if transposed:
        return TorchConvolution(layer, weight.transpose(0, 1), bias)
    if weight.device.type != "cpu" or dtype != torch.float32:
        return TorchConvolution(layer, weight, bias)
    stride, least = layer.stride[0], min(weight.shape[:2])
    if stride > 1 and least >= WIDE_STRIDED:
        return StridedConvolution(weight, bias, stride, int(layer.padding[0]))
    if stride == 1 and weight.shape[2] == 1:
        return Pointwise(weight, bias)
    if stride == 1 and least >= WIDE:
        return WideConvolution(weight, bias, layer.dilation[0])
    return TorchConvolution(layer, weight, bias)


class TorchConvolution:
    """A convolution or transposed convolution by torch, channels-last."""

    def __init__(self, layer: Convolution, weight: Tensor, bias: Tensor):
        self.weight = weight[:, :, None].clone(memory_format=torch.channels_last)
        self.bias = bias.clone()
        call = torch.conv2d if isinstance(layer, nn.Conv1d) else torch.conv_transpose2d
        sizes = {name: (1, getattr(layer, name)[0]) for name in ("stride", "dilation")}
        self.call = partial(call, padding=(0, layer.padding[0]), **sizes)

    def __call__(self, x: Tensor) -> Tensor:
        """Map float (B, T, C) to (B, T', C')."""
        row = x.transpose(1, 2)[:, :, None]  # an image one pixel high
        return self.call(row, self.weight, self.bias)[:, :, 0].transpose(1, 2)


class Pointwise:
    """A convolution with one tap."""

    def __init__(self, weight: Tensor, bias: Tensor):
        self.weight, self.bias = weight[:, :, 0].t().contiguous(), bias.clone()

    def __call__(self, x: Tensor) -> Tensor:
        """Map float (B, T, C) to (B, T, C')."""
        return torch.addmm(self.bias, x.flatten(0, 1), self.weight).view(*x.shape[:2], -1)


class StridedConvolution:
    """A convolution with 2 * stride taps, as two matrix products of whole strides."""

    def __init__(self, weight: Tensor, bias: Tensor, stride: int, padding: int):
        self.stride, self.padding = stride, padding
        taps = weight.permute(2, 1, 0).reshape(2, -1, weight.shape[0])
        self.first, self.second = taps[0].contiguous(), taps[1].contiguous()
        self.bias = bias.clone()

    def __call__(self, x: Tensor) -> Tensor:
        """Map float (B, T, C) to (B, (T + 2 * padding) // stride - 1, C')."""
        n_items, n_steps, width = x.shape
        n_strides = (n_steps + 2 * self.padding) // self.stride
        end = n_strides * self.stride - n_steps - self.padding
        strides = pad(x, (0, 0, self.padding, end)).view(n_items, n_strides, -1)
        y = torch.matmul(strides[:, :-1], self.first).add_(self.bias)
        return y.add_(torch.matmul(strides[:, 1:], self.second))
