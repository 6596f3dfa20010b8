"""Mel bands: where hearing is fine they are narrow, where it is coarse they are wide."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LINEAR_HZ_PER_MEL = 200.0 / 3  # Slaney's scale: linear below 1 kHz,
LOG_START_HZ = 1000.0  # logarithmic above
LOG_STEP = math.log(6.4) / 27


def hz_to_mel(hz: float) -> float:
    """Slaney's mel scale (Auditory Toolbox, 1998)."""
    if hz < LOG_START_HZ:
        return hz / LINEAR_HZ_PER_MEL
    return LOG_START_HZ / LINEAR_HZ_PER_MEL + math.log(hz / LOG_START_HZ) / LOG_STEP


def mel_to_hz(mel: Tensor) -> Tensor:
    """The inverse of :func:`hz_to_mel`, float tensor in, float tensor out."""
    knee = LOG_START_HZ / LINEAR_HZ_PER_MEL
    above = LOG_START_HZ * torch.exp(LOG_STEP * (mel - knee))
    return torch.where(mel < knee, mel * LINEAR_HZ_PER_MEL, above)


def mel_bands(n_fft: int, rate_hz: int, n_mels: int) -> Tensor:
    """Triangular filters of equal area over 0 Hz to rate / 2: float (n_fft // 2 + 1, n_mels)."""
    top = hz_to_mel(rate_hz / 2)
    edges = mel_to_hz(torch.linspace(0, top, n_mels + 2, dtype=torch.float64))
    frequency = torch.linspace(0, rate_hz / 2, n_fft // 2 + 1, dtype=torch.float64)[:, None]
    rising = (frequency - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequency) / (edges[2:] - edges[1:-1])
    weight = torch.minimum(rising, falling).clamp(min=0)
    return (weight * 2.0 / (edges[2:] - edges[:-2])).float()
