"""Convolutional building blocks of the DAC and LAC families; weight norm is folded at load."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Snake(nn.Module):
    """x + sin(alpha x)^2 / alpha with one alpha per channel (Ziyin et al. 2020, periodic bias)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map float (B, width, T) to the same shape."""
        wave = torch.sin(self.alpha * x)
        return torch.addcmul(x, wave, wave * (self.alpha + 1e-9).reciprocal())


class Residual(nn.Sequential):
    """x + layers(x)."""

    def forward(self, input: Tensor) -> Tensor:
        """Map float (B, width, T) to the same shape."""
        return input + super().forward(input)


class Mean(nn.ModuleList):
    """The mean of parallel chains (multi-receptive-field fusion, Kong et al. 2020, HiFi-GAN)."""

    def forward(self, x: Tensor) -> Tensor:
        """Map float (B, width, T) to the same shape."""
        total = self[0](x)
        for chain in list(self)[1:]:
            total = total + chain(x)
        return total / len(self)


def same_conv(width_in: int, width_out: int, kernel: int, dilation: int = 1) -> nn.Conv1d:
    """Return a convolution that keeps the length (odd kernels)."""
    padding = (kernel - 1) * dilation // 2
    return nn.Conv1d(width_in, width_out, kernel, dilation=dilation, padding=padding)


def residual_unit(width: int, kernel: int, dilation: int, second_kernel: int) -> Residual:
    """Return Snake, dilated convolution, Snake, plain convolution, added to the input."""
    return Residual(
        Snake(width),
        same_conv(width, width, kernel, dilation),
        Snake(width),
        same_conv(width, width, second_kernel),
    )


def downsample_conv(width_in: int, width_out: int, stride: int, padding: int) -> nn.Conv1d:
    """Return a convolution that divides the rate by `stride`."""
    return nn.Conv1d(width_in, width_out, 2 * stride, stride=stride, padding=padding)


def upsample_conv(width_in: int, width_out: int, stride: int, padding: int) -> nn.ConvTranspose1d:
    """Return a transposed convolution that multiplies the rate by `stride`."""
    return nn.ConvTranspose1d(width_in, width_out, 2 * stride, stride=stride, padding=padding)
