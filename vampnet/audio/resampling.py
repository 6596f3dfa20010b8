"""Resampling and exact length of sample tensors."""

from __future__ import annotations

import math

import numpy as np
import soxr
import torch
from torch import Tensor


def all_finite(samples: Tensor) -> bool:
    """Whether no sample of a tensor with at least one is NaN or infinite; makes no copy of it."""
    return all(math.isfinite(end) for end in samples.aminmax())  # a NaN shows in both


def fit(samples: Tensor, n_samples: int) -> Tensor:
    """Samples (..., S) cut or filled with zeros at the end to exactly `n_samples`."""
    missing = n_samples - samples.shape[-1]
    if missing > 0:
        return torch.nn.functional.pad(samples, (0, missing))
    return samples[..., :n_samples]


def resample(samples: Tensor, from_hz: int, to_hz: int, n_samples: int | None = None) -> Tensor:
    """Resample (C, S) without delay to (C, n_samples), by default ceil(S * to_hz / from_hz).

    soxr HQ, linear phase: sample 0 stays at time 0; equal channels stay equal.
    """
    count = math.ceil(samples.shape[-1] * to_hz / from_hz) if n_samples is None else n_samples
    if from_hz == to_hz:
        return fit(samples, count)
    out = torch.zeros(samples.shape[0], count)
    for channel, row in enumerate(samples.detach().cpu().float().numpy()):
        moved = soxr.resample(np.ascontiguousarray(row), from_hz, to_hz, quality="HQ")[:count]
        out[channel, : len(moved)] = torch.from_numpy(moved)
    return out.to(samples.device)
