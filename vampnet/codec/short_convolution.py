"""Convolutions of a few taps over many channels as matrix products, for a CPU.

Tensors are channels-last, float (B, T, C). A tile of N steps gives N - K + 1 outputs of a K tap
convolution. A tile is transformed so that the convolution becomes one matrix product per point, and
the result is transformed back; both transforms are matrix products too. For 3 taps the transform is
Toom-Cook's (values of the polynomials at 8 points), for more taps a short Fourier transform, with
each complex product as three real ones (Karatsuba): 11 taps then cost 2.1 multiplications per
channel pair, 3 taps 1.3. With few channels nothing is gained.
Source of the bilinear form: Winograd, Arithmetic Complexity of Computations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

_TILE = {7: 26, 11: 32}  # taps: steps of a tile in the Fourier form
_SHORT_TILE = {7: 20, 11: 24}  # likewise from _MANY_CHANNELS on, where weight memory matters
_MANY_CHANNELS = 512
_POINTS = (1.0, 0.0, -1.0, 0.5, -0.5, 2.0, -2.0)  # of Toom-Cook, besides infinity


@dataclass(frozen=True, eq=False)
class BilinearForm:
    """The valid correlation of a tile with taps, by an elementwise product of their transforms.

    It is ``output_transform @ ((input_transform @ tile) * (filter_transform @ taps))``.

    Attributes:
        input_transform: float64 (M, N).
        filter_transform: float64 (M, K).
        output_transform: float64 (N - K + 1, M). Entry 0 contributes equally to all outputs: the
            bias is added there.
    """

    input_transform: Tensor
    filter_transform: Tensor
    output_transform: Tensor


def fourier(tile: int, taps: int) -> BilinearForm:
    """Return the Fourier form for an even tile of N steps and K <= N taps: M = 3 N / 2 - 1."""
    steps = torch.arange(tile, dtype=torch.float64)
    inputs, filters = [torch.ones(tile).double()], [torch.ones(taps).double()]
    outputs = [torch.ones(tile).double()]
    nyquist = (-1.0) ** steps
    for cycles in range(1, tile // 2):
        angle = 2 * math.pi * cycles * steps / tile
        cosine, sine = angle.cos(), angle.sin()
        inputs += [cosine - sine, cosine, -sine]  # real + imaginary, real, imaginary
        cos_taps, sin_taps = cosine[:taps], sine[:taps]  # a correlation: conjugate spectrum
        filters += [cos_taps, sin_taps - cos_taps, cos_taps + sin_taps]
        outputs += [2 * (cosine - sine), -2 * sine, -2 * cosine]
    inputs.append(nyquist)
    filters.append(nyquist[:taps])
    outputs.append(nyquist)
    output_transform = torch.stack(outputs, dim=1)[: tile - taps + 1] / tile
    return BilinearForm(torch.stack(inputs), torch.stack(filters), output_transform)


def toom_cook(taps: int) -> BilinearForm:
    """Return the Toom-Cook form for K taps and as many outputs as possible: M = N = 8."""

    def values(size: int) -> Tensor:
        powers = torch.tensor(_POINTS, dtype=torch.float64)[:, None] ** torch.arange(size)
        infinity = torch.zeros(1, size, dtype=torch.float64)
        infinity[0, -1] = 1.0
        return torch.cat([powers, infinity])

    n_points = len(_POINTS) + 1
    # transposed: a correlation
    input_transform = torch.linalg.inv(values(n_points)).t()
    return BilinearForm(input_transform, values(taps), values(n_points - taps + 1).t())


def form_for(taps: int, channels: int) -> BilinearForm:
    """Return the form that was measured to be fastest for these taps and channels."""
    if taps == 3:
        return toom_cook(taps)
    tile = (_SHORT_TILE if channels >= _MANY_CHANNELS else _TILE).get(taps)
    return fourier(tile or 2 * (taps + taps % 2), taps)


class WideConvolution:
    """A convolution in transformed form. weight: float (C', C, K), K odd; bias: float (C',)."""

    def __init__(self, weight: Tensor, bias: Tensor, dilation: int):
        self.taps, self.dilation = weight.shape[2], dilation
        form = form_for(self.taps, max(weight.shape[:2]))
        self.input_transform = form.input_transform.to(weight).contiguous()
        self.output_transform = form.output_transform.to(weight).contiguous()
        points = torch.einsum("mk,oik->mio", form.filter_transform.to(weight), weight)
        self.weight = points.contiguous()
        self.bias = bias / self.output_transform[0, 0]

    def __call__(self, x: Tensor) -> Tensor:
        """Map float (B, T, C) to (B, T, C')."""
        n_items, n_steps, _ = x.shape
        spectra, n_tiles = self._transform_input(x)
        products = torch.bmm(spectra.transpose(0, 1), self.weight)
        products[0] += self.bias
        output_transform = self.output_transform.expand(len(spectra), -1, -1)
        outputs = torch.bmm(output_transform, products.transpose(0, 1))
        outputs = outputs.view(n_items, self.dilation, n_tiles * len(self.output_transform), -1)
        return outputs.transpose(1, 2).flatten(1, 2)[:, :n_steps]

    def _transform_input(self, x: Tensor) -> tuple[Tensor, int]:
        """The transformed tiles, float (B * D * tiles, M, C), and the number of tiles per phase.

        A convolution of dilation D is D separate ones, one per phase: steps d, d + D, d + 2 D, ...
        """
        n_items, n_steps, width = x.shape
        (n_points, tile), outputs = self.input_transform.shape, len(self.output_transform)
        reach, step = (self.taps - 1) * self.dilation // 2, self.dilation * width
        n_tiles = math.ceil(n_steps / (self.dilation * outputs))
        total = self.dilation * (n_tiles * outputs + self.taps - 1)
        x = pad(x, (0, 0, reach, total - n_steps - reach))
        made = x.new_empty(n_items, self.dilation, n_tiles, n_points, width)
        input_transform = self.input_transform.expand(n_tiles, -1, -1)
        for item, phases in zip(x, made, strict=True):
            for phase, target in enumerate(phases):
                tiles = (n_tiles, tile, width), (outputs * step, step, 1)
                torch.bmm(input_transform, item[phase:].as_strided(*tiles), out=target)
        return made.flatten(0, 2), n_tiles
