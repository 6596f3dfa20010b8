"""Convolutions of a few taps over many channels as matrix products, for a CPU.

Sound lies channels-last, float (B, T, C). A tile of N steps gives N - K + 1 outputs of a K tap
convolution. A tile is taken to a form in which the convolution is one matrix product a point,
and back; both ways are matrix products too. The forms: for 3 taps Toom and Cook's (values of the
polynomials at 8 points), for more taps a short Fourier transform, each complex product made of
three real ones (Karatsuba): 11 taps then cost 2.1 multiplications a channel pair, 3 taps 1.3.
With few channels nothing is gained.
Source of the form "spread, multiply, gather": Winograd, Arithmetic Complexity of Computations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

_TILE = {7: 26, 11: 32}  # taps: steps of a tile in the Fourier form
_SHORT_TILE = {7: 20, 11: 24}  # with so many channels that the weights' memory counts
_MANY = 512  # such channels
_POINTS = (1.0, 0.0, -1.0, 0.5, -0.5, 2.0, -2.0)  # of Toom and Cook's form, beside infinity


@dataclass(frozen=True, eq=False)
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


def form_for(taps: int, channels: int) -> Bilinear:
    """The form that was measured to be fast for so many taps."""
    if taps == 3:
        return toom_cook(taps)
    tile = (_SHORT_TILE if channels >= _MANY else _TILE).get(taps)
    return fourier(tile or 2 * (taps + taps % 2), taps)


class WideConvolution:
    """The transformed forms. weight: float (C', C, K), K odd; bias: float (C',)."""

    def __init__(self, weight: Tensor, bias: Tensor, dilation: int):
        self.taps, self.dilation = weight.shape[2], dilation
        form = form_for(self.taps, max(weight.shape[:2]))
        self.spread = form.spread.to(weight).contiguous()
        self.gather = form.gather.to(weight).contiguous()
        points = torch.einsum("mk,oik->mio", form.weigh.to(weight), weight)
        self.weight = points.contiguous()
        self.bias = bias / self.gather[0, 0]

    def __call__(self, x: Tensor) -> Tensor:
        """float (B, T, C) to (B, T, C')."""
        n_items, n_steps, _ = x.shape
        spectra, n_tiles = self._spread(x)
        products = torch.bmm(spectra.transpose(0, 1), self.weight)
        products[0] += self.bias
        gather = self.gather.expand(len(spectra), -1, -1)
        found = torch.bmm(gather, products.transpose(0, 1))
        found = found.view(n_items, self.dilation, n_tiles * len(self.gather), -1)
        return found.transpose(1, 2).flatten(1, 2)[:, :n_steps]

    def _spread(self, x: Tensor) -> tuple[Tensor, int]:
        """The tiles' values at the points, float (B * D * tiles, M, C), and the tiles of a phase.

        A convolution of dilation D is D by themselves, one a phase: steps d, d + D, d + 2 D, ...
        """
        n_items, n_steps, width = x.shape
        (n_points, tile), outputs = self.spread.shape, len(self.gather)
        reach, step = (self.taps - 1) * self.dilation // 2, self.dilation * width
        n_tiles = math.ceil(n_steps / (self.dilation * outputs))
        total = self.dilation * (n_tiles * outputs + self.taps - 1)
        x = pad(x, (0, 0, reach, total - n_steps - reach))
        made = x.new_empty(n_items, self.dilation, n_tiles, n_points, width)
        spread = self.spread.expand(n_tiles, -1, -1)
        for item, phases in zip(x, made, strict=True):
            for phase, target in enumerate(phases):
                tiles = (n_tiles, tile, width), (outputs * step, step, 1)
                torch.bmm(spread, item[phase:].as_strided(*tiles), out=target)
        return made.flatten(0, 2), n_tiles
