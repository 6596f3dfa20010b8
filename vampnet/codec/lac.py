"""The codec of the original VampNet (LAC): DAC's encoder and quantiser, another decoder block."""

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
    """Decoder blocks hold three parallel chains of kernels 3, 7 and 11, whose mean is taken."""

    family = "lac"
    unit_reach = sum(dilation + 1 for dilation in DILATIONS) * (max(KERNELS) // 2)

    def __init__(self, **kwargs: Any) -> None:
        """DAC's arguments without latent_dim: the code is as wide as the encoder's last layer."""
        if "latent_dim" in kwargs:
            raise TypeError("LAC has no argument latent_dim")
        super().__init__(**kwargs)
        self.kwargs.pop("latent_dim")

    @staticmethod
    def stride_padding(stride: int) -> int:
        """Zeros at each end of a strided convolution."""
        return stride // 2

    @staticmethod
    def units(width: int) -> list[nn.Module]:
        """What follows the change of rate in each decoder block."""
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
