"""A look-ahead limiter in flat memory, and the ceiling that no replaced sample passes.

Audio is a float tensor (C, S), full scale 1.0.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import minimum_filter1d, uniform_filter1d
from torch import Tensor

PEAK_CEILING_DBFS = -0.1
# As a factor; one step of 16 bits lower, so that rounding to the steps of 16 bits or more cannot
# pass it.
CEILING = 10 ** (PEAK_CEILING_DBFS / 20) - 2**-15
LIMITER_REACH_MS = 5.0  # how far ahead of a peak, and behind it, the limiter turns the level down
BLOCK = 1 << 18  # samples worked on at once: an hour of music needs no more memory than a minute


def limited(
    samples: Tensor, gain: float, sample_rate: int, out: Tensor, clip_db: float = 0.0
) -> Tensor:
    """samples * gain, (C, S), in `out`, with peaks <= -0.1 dBFS. Returns `out`.

    The level dips smoothly around a peak, in all channels alike. clip_db: what is at most so much
    above the ceiling is clipped, as in a loud master, and makes no dip.
    """
    room = 10 ** (clip_db / 20)
    reach = 2 * max(1, round(LIMITER_REACH_MS * sample_rate / 1000)) + 1
    n_samples = samples.shape[1]
    for first in range(0, n_samples, BLOCK):
        last = min(first + BLOCK, n_samples)
        piece = torch.mul(samples[:, first:last], gain, out=out[:, first:last])
        start, end = max(0, first - reach), min(last + reach, n_samples)
        peaks = (samples[:, start:end].abs().amax(0) * gain).numpy()
        if peaks.max() > CEILING * room:
            dip = torch.from_numpy(_dip(peaks / room, reach)).float()
            piece.mul_(dip[first - start : last - start])
        if peaks.max() > CEILING:
            piece.clamp_(-CEILING, CEILING)
    return out


def _dip(peaks: np.ndarray, reach: int) -> np.ndarray:
    """A smooth factor for every sample, (n,), under which no peak passes the ceiling."""
    needed = np.maximum(peaks, 1e-9, dtype=np.float64)
    np.minimum(1.0, np.divide(CEILING, needed, out=needed), out=needed)
    # Each value of the smooth curve averages minima that all cover its own sample: never too high.
    return uniform_filter1d(minimum_filter1d(needed, reach, mode="nearest"), reach, mode="nearest")
