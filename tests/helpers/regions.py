"""Regions for tests, and noise in place of a model's output."""

from __future__ import annotations

import torch
from conftest import noise

from vampnet import audio
from vampnet.audio import AudioFormat
from vampnet.audio.limiter import PEAK_CEILING_DBFS
from vampnet.audio.region import Region

MODEL_HZ = 44100
CEILING = 10 ** (PEAK_CEILING_DBFS / 20)


def region_of(samples: torch.Tensor, rate: int = 44100, subtype: str = "PCM_24", **form) -> Region:
    native = audio.float_to_native(samples, subtype)
    return Region(native, rate, AudioFormat(form.pop("container", "WAV"), subtype, **form))


def generated(region: Region, channels: int | None = None, seed: int = 7) -> torch.Tensor:
    """Noise in place of a model's output: float (C, S') at the model's sample rate and level."""
    model_input = region.to_model(MODEL_HZ)[0]
    made = noise(1, model_input.shape[-1], channels or region.n_channels, 0.06, seed)
    return made + 0.02 * model_input[:1, 0]
