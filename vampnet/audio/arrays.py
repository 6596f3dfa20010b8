"""Samples in memory, numpy or torch, as regions and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from vampnet.audio.region import Region
from vampnet.audio.resampling import all_finite
from vampnet.audio.sample_format import AudioFormat
from vampnet.system.errors import UserError

MAX_CHANNELS = 64
MIN_RATE_HZ, MAX_RATE_HZ = 1000, 768_000


def from_array(audio: Any, sample_rate: int) -> list[Region]:
    """Return the regions, one per item, of float samples (S,), (C, S) or (B, C, S).

    Raises UserError for another type or shape, samples that are not finite, and a sample rate that
    is not a whole number of Hz.
    """
    if not isinstance(audio, (np.ndarray, Tensor)):
        raise UserError(f"audio is {type(audio).__name__}; a numpy array or tensor is needed")
    samples = torch.from_numpy(audio) if isinstance(audio, np.ndarray) else audio
    if not samples.is_floating_point():
        raise UserError(f"audio is of {samples.dtype}; floats with full scale 1.0 are needed")
    if samples.ndim not in (1, 2, 3) or 0 in samples.shape:
        allowed = "(samples), (channels, samples) or (batch, channels, samples)"
        raise UserError(f"audio has shape {tuple(samples.shape)}; allowed is {allowed}")
    if samples.ndim > 1 and samples.shape[-2] > MAX_CHANNELS:
        raise UserError(
            f"audio has shape {tuple(samples.shape)}, so {samples.shape[-2]} channels; at most "
            f"{MAX_CHANNELS} are allowed. Channels come before samples: transpose it."
        )
    if isinstance(sample_rate, bool) or sample_rate != int(sample_rate):
        raise UserError(f"sample_rate is {sample_rate!r}; a whole number of Hz is needed")
    if not MIN_RATE_HZ <= sample_rate <= MAX_RATE_HZ:
        allowed = f"{MIN_RATE_HZ} to {MAX_RATE_HZ}"
        raise UserError(f"sample_rate is {sample_rate}; allowed is {allowed} Hz")
    samples = samples.detach().cpu().float()
    if not all_finite(samples):
        raise UserError("audio holds NaN or infinite samples; none are allowed")
    batch = samples.reshape(-1, *samples.shape[-2:]) if samples.ndim > 1 else samples[None, None]
    form = AudioFormat("WAV", "FLOAT")
    return [Region(np.ascontiguousarray(x.numpy().T), int(sample_rate), form) for x in batch]


def to_array(takes: Tensor, like: Any) -> Any:
    """Return float (takes, B, C, S) in the kind, dtype, device and shape of the array ``like``.

    With more than one take, takes are the first axis.
    """
    shape = like.shape if len(takes) == 1 else (len(takes), *like.shape)
    samples = takes.reshape(shape)
    if isinstance(like, np.ndarray):
        return samples.numpy().astype(like.dtype)
    return samples.to(like.device, like.dtype)
