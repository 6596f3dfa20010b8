"""Convolutions of a few taps over many channels as matrix products, for a CPU.

Sound lies channels-last, float (B, T, C). A tile of N steps gives N - K + 1 outputs of a K tap
convolution. A tile is taken to a form in which the convolution is one matrix product a point,
and back; both ways are matrix products too. The forms: for 3 taps Toom and Cook's (values of the
polynomials at 8 points), for more taps a short Fourier transform, each complex product made of
three real ones (Karatsuba): 11 taps then cost 2.5 multiplications a channel pair, 3 taps 1.3.
Layers to or from very few channels multiply a whole tile by a banded matrix.
Source of the form "spread, multiply, gather": Winograd, Arithmetic Complexity of Computations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

WIDE = 16  # channels from which the transformed forms are the faster ones
_TILE = {7: 20, 11: 24}  # taps: steps of a tile in the Fourier form
_POINTS = (1.0, 0.0, -1.0, 0.5, -0.5, 2.0, -2.0)  # of Toom and Cook's form, beside infinity
_BAND = 8  # outputs of a tile in the banded form


@dataclass(frozen=True)
class Bilinear:
    """``gather @ ((spread @ tile) * (weigh @ taps))`` is the tile's valid correlation.

    spread (M, N), weigh (M, K), gather (N - K + 1, M), float64. Entry 0 goes into all outputs
    alike: a bias is added there.
    """

    spread: Tensor
    weigh: Tensor
    gather: Tensor


def fourier(tile: int, taps: int) -> Bilinear:
    """The Fourier form for an even tile of N steps and K <= N taps: M = 3 N / 2 - 1."""
    steps = torch.arange(tile, dtype=torch.float64)
    spread, weigh, gather = [torch.ones(tile).double()], [torch.ones(taps).double()], []
    gather.append(torch.ones(tile).double())
    nyquist = (-1.0) ** steps
    for cycles in range(1, tile // 2):
        angle = 2 * math.pi * cycles * steps / tile
        cosine, sine = angle.cos(), angle.sin()
        spread += [cosine - sine, cosine, -sine]  # real + imaginary, real, imaginary
        cos_taps, sin_taps = cosine[:taps], sine[:taps]  # a correlation: conjugate spectrum
        weigh += [cos_taps, sin_taps - cos_taps, cos_taps + sin_taps]
        gather += [2 * (cosine - sine), -2 * sine, -2 * cosine]
    spread.append(nyquist)
    weigh.append(nyquist[:taps])
    gather.append(nyquist)
    outputs = torch.stack(gather, dim=1)[: tile - taps + 1] / tile
    return Bilinear(torch.stack(spread), torch.stack(weigh), outputs)


def toom_cook(taps: int) -> Bilinear:
    """Toom and Cook's form for K taps and as many outputs as the points allow: M = N = 8."""

    def values(size: int) -> Tensor:
        powers = torch.tensor(_POINTS, dtype=torch.float64)[:, None] ** torch.arange(size)
        infinity = torch.zeros(1, size, dtype=torch.float64)
        infinity[0, -1] = 1.0
        return torch.cat([powers, infinity])

    n_points = len(_POINTS) + 1
    spread = torch.linalg.inv(values(n_points)).t()  # the transposed product: a correlation
    return Bilinear(spread, values(taps), values(n_points - taps + 1).t())


def form_for(taps: int) -> Bilinear:
    """The form that was measured to be fast for so many taps."""
    if taps == 3:
        return toom_cook(taps)
    return fourier(_TILE.get(taps, 2 * taps + taps % 2 * 2), taps)


def _tiles(x: Tensor, taps: int, outputs: int, dilation: int, order: str) -> Tensor:
    """Overlapping tiles of x (B, T, C), filled up with zeros for an output of T steps.

    order "tile": contiguous (B, D, tiles, N, C); order "step": contiguous (N, B, D, tiles, C),
    D = dilation: each of its phases is a convolution by itself.
    """
    n_items, n_steps, width = x.shape
    tile, reach = outputs + taps - 1, (taps - 1) * dilation // 2
    n_tiles = math.ceil(n_steps / (dilation * outputs))
    total = dilation * (n_tiles * outputs + taps - 1)
    x = pad(x, (0, 0, reach, total - n_steps - reach))
    step = dilation * width
    sizes = (n_items, dilation, n_tiles, tile, width)
    strides = (total * width, width, outputs * step, step, 1)
    view = x.as_strided(sizes, strides)
    return (view.permute(3, 0, 1, 2, 4) if order == "step" else view).contiguous()


class WideConvolution:
    """The transformed forms. weight: float (C', C, K), K odd; bias: float (C',)."""

    def __init__(self, weight: Tensor, bias: Tensor, dilation: int):
        self.taps, self.dilation = weight.shape[2], dilation
        form = form_for(self.taps)
        self.spread = form.spread.to(weight).contiguous()
        self.gather = form.gather.to(weight).contiguous()
        weigh = form.weigh.to(weight)
        flat = weight.permute(2, 1, 0).reshape(self.taps, -1)
        self.weight = (weigh @ flat).view(len(weigh), weight.shape[1], weight.shape[0])
        self.bias = bias * (weight.new_ones(()) / self.gather[0, 0])

    def __call__(self, x: Tensor) -> Tensor:
        """float (B, T, C) to (B, T, C')."""
        n_items, n_steps, width = x.shape
        outputs = len(self.gather)
        tiles = _tiles(x, self.taps, outputs, self.dilation, "step")
        n_tiles, tile = tiles.shape[3], tiles.shape[0]
        spectra = (self.spread @ tiles.view(tile, -1)).view(len(self.spread), -1, width)
        products = torch.bmm(spectra, self.weight)
        products[0] += self.bias
        found = self.gather @ products.flatten(1)
        found = found.view(outputs, n_items, self.dilation, n_tiles, -1)
        return found.permute(1, 3, 0, 2, 4).reshape(n_items, -1, found.shape[-1])[:, :n_steps]


class NarrowConvolution:
    """The banded form. weight: float (C', C, K), K odd; bias: float (C',)."""

    def __init__(self, weight: Tensor, bias: Tensor, dilation: int):
        width_out, width, self.taps = weight.shape
        self.dilation = dilation
        band = weight.new_zeros(_BAND + self.taps - 1, width, _BAND, width_out)
        for output in range(_BAND):
            band[output : output + self.taps, :, output] = weight.permute(2, 1, 0)
        self.band = band.view(-1, _BAND * width_out)
        self.bias = bias.repeat(_BAND)

    def __call__(self, x: Tensor) -> Tensor:
        """float (B, T, C) to (B, T, C')."""
        n_items, n_steps, _ = x.shape
        tiles = _tiles(x, self.taps, _BAND, self.dilation, "tile")
        n_tiles = tiles.shape[2]
        found = torch.addmm(self.bias, tiles.view(-1, len(self.band)), self.band)
        found = found.view(n_items, self.dilation, n_tiles, _BAND, -1)
        return found.permute(0, 2, 3, 1, 4).reshape(n_items, -1, found.shape[-1])[:, :n_steps]
