"""Codecs: waveform <-> codes. One interface (`Codec`), several families."""

from __future__ import annotations

from vampnet.codec.codec import Codec
from vampnet.codec.dac import DAC
from vampnet.codec.lac import LAC
from vampnet.codec.spectral import SpectralCodec

FAMILIES: dict[str, type[Codec]] = {family.family: family for family in (DAC, LAC, SpectralCodec)}

__all__ = ["DAC", "FAMILIES", "LAC", "Codec", "SpectralCodec"]
