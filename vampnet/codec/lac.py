"""The codec of the original VampNet (LAC): DAC with another decoder block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from vampnet.codec.dac import DAC
from vampnet.codec.layers import Mean, residual_unit
from vampnet.system.errors import UserError

KERNELS = (3, 7, 11)
DILATIONS = (1, 3, 5)


class LAC(DAC):
    """A DAC whose decoder blocks average three parallel chains with kernels 3, 7 and 11."""

    family = "lac"
    unit_context = sum(dilation + 1 for dilation in DILATIONS) * (max(KERNELS) // 2)

    def __init__(self, **kwargs: Any) -> None:
        """Build from DAC's arguments without latent_dim, which is the encoder's last width.

        Raises:
            ValueError: for an odd stride, and as for :class:`DAC`.
        """
        if "latent_dim" in kwargs:
            raise TypeError("LAC has no argument latent_dim")
        super().__init__(**kwargs)
        self.kwargs.pop("latent_dim")

    @staticmethod
    def stride_padding(stride: int) -> int:
        """Return the zero padding at each end of a strided convolution, in samples."""
        return stride // 2

    @staticmethod
    def units(width: int) -> list[nn.Module]:
        """Return the layers after the transposed convolution of a decoder block."""
        chains = [
            nn.Sequential(
                *(residual_unit(width, kernel, dilation, kernel) for dilation in DILATIONS)
            )
            for kernel in KERNELS
        ]
        return [Mean(chains)]

    def _check_rates(self, encoder_rates: Sequence[int], decoder_rates: Sequence[int]) -> None:
        super()._check_rates(encoder_rates, decoder_rates)
        odd = [rate for rate in (*encoder_rates, *decoder_rates) if rate % 2]
        if odd:
            raise UserError(f"LAC strides must be even, the file has {odd}")
