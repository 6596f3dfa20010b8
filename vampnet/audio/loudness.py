"""Integrated loudness (ITU-R BS.1770-4) in flat memory, and the gain to a loudness.

Audio is a float tensor (C, S), full scale 1.0; loudness in LUFS, gains as factors.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.signal import sosfilt
from torch import Tensor

TARGET_LUFS = -24.0
MOST_GAIN = 1e10  # what is 200 dB too soft holds no sound; a gain without end would overflow
_USUAL_SHARE = 0.999  # of the samples; above 4 times what these reach, and full scale, are spikes
_SPIKE = 4.0
MIN_LOUDNESS_S = 0.4  # the length of a gating block; below it the plain RMS is taken
_HOP_S = 0.1  # gating blocks overlap by three quarters
_HOPS_A_BLOCK = 4
_ABSOLUTE_GATE_LUFS = -70.0
_RELATIVE_GATE_LU = -10.0
_OFFSET_DB = -0.691  # BS.1770: a 997 Hz sine of 0 dBFS peak in one channel reads -3.01 LUFS
_HOPS_AT_ONCE = 200


def _k_weighting(sample_rate: int) -> np.ndarray:
    """The K-weighting filters as second-order sections (2, 6): the head's shelf, the low cut.

    A shelf of +4 dB at 1500 Hz (Q 1/sqrt 2) and a high-pass at 38 Hz (Q 0.5), by the audio EQ
    cookbook's formulas, so that they hold at every sample rate.
    """
    root = 10 ** (4.0 / 80)  # fourth root of the shelf's power gain
    level = root * root
    turn = 2 * math.pi * 1500.0 / sample_rate
    cosine, slope = math.cos(turn), math.sin(turn) / math.sqrt(2) * 2 * root
    up, down = level + 1, level - 1
    shelf = [
        level * (up + down * cosine + slope),
        -2 * level * (down + up * cosine),
        level * (up + down * cosine - slope),
        up - down * cosine + slope,
        2 * (down - up * cosine),
        up - down * cosine - slope,
    ]
    turn = 2 * math.pi * 38.0 / sample_rate
    cosine, slope = math.cos(turn), math.sin(turn)
    half = (1 + cosine) / 2
    low_cut = [half, -2 * half, half, 1 + slope, -2 * cosine, 1 - slope]
    return np.array([np.array(shelf) / shelf[3], np.array(low_cut) / low_cut[3]])


def _hop_energies(samples: np.ndarray, edges: np.ndarray, filters: np.ndarray) -> np.ndarray:
    """K-weighted energy between successive edges (in samples), summed over the channels.

    Filtered piece by piece, so that memory stays flat however long the audio is.
    """
    energies = np.zeros(len(edges) - 1)
    for row in samples:
        state = np.zeros((2, 2))
        for first in range(0, len(energies), _HOPS_AT_ONCE):
            piece = edges[first : first + _HOPS_AT_ONCE + 1]
            heard, state = sosfilt(filters, row[piece[0] : piece[-1]].astype(np.float64), zi=state)
            hops = np.add.reduceat(heard**2, piece[:-1] - piece[0])
            energies[first : first + len(hops)] += hops
    return energies


def _lufs(mean_square: float) -> float:
    return _OFFSET_DB + 10 * math.log10(mean_square) if mean_square > 0 else -math.inf


def loudness_lufs(samples: Tensor, sample_rate: int) -> float:
    """Integrated loudness of (C, S) in LUFS, all channels weighted alike; -inf for silence.

    Below 0.4 s it is the RMS level on the same scale (mean squares summed over the channels).
    Where every block lies under the gate of -70 LUFS that gate is open, so that quiet audio has a
    loudness too. A last block that is seven eighths full counts. Source: ITU-R BS.1770-4, Annex 1.
    """
    values = samples.detach().cpu().numpy()
    n_samples = values.shape[-1]
    if not values.size:
        return -math.inf
    hop = _HOP_S * sample_rate
    if n_samples >= MIN_LOUDNESS_S * sample_rate:
        edges = (hop * np.arange(round(n_samples / hop) + 1) + 1e-6).astype(np.int64)
        edges = edges.clip(max=n_samples)
        energies = _hop_energies(values, edges, _k_weighting(sample_rate))
        blocks = np.convolve(energies, np.ones(_HOPS_A_BLOCK), "valid")
        blocks = blocks / (MIN_LOUDNESS_S * sample_rate)
        floor = 10 ** ((_ABSOLUTE_GATE_LUFS - _OFFSET_DB) / 10)
        loud = blocks[blocks > floor] if (blocks > floor).any() else blocks
        loud = loud[loud >= loud.mean() * 10 ** (_RELATIVE_GATE_LU / 10)]
        return _lufs(float(loud.mean()))
    energy = sum(float(np.square(row, dtype=np.float64).sum()) for row in values)
    return _lufs(energy / n_samples)


def loudest_audible(samples: Tensor) -> float:
    """Up to which level the samples of (C, S) count as sound; inf where no sample is beyond it.

    Float files may hold single samples far above full scale, which no converter plays. Music that
    was recorded too hot as a whole is not cut.
    """
    peak = max(float(samples.max()), -float(samples.min()))
    if peak <= 1.0:
        return math.inf
    sizes = samples.abs().flatten().numpy()
    place = int(_USUAL_SHARE * (len(sizes) - 1))
    usual = float(np.partition(sizes, place)[place])
    level = max(1.0, _SPIKE * usual)
    return level if peak > level else math.inf


def normalize(
    samples: Tensor, sample_rate: int, target: float = TARGET_LUFS, loudness: float | None = None
) -> tuple[Tensor, float]:
    """Bring (C, S) to a loudness of `target` LUFS with one gain for all channels, peaks kept <= 1.

    loudness: what :func:`loudness_lufs` gives for the samples, where it is known. Returns the new
    samples and the gain (a factor); silence comes back with gain 1.
    """
    loudness = loudness_lufs(samples, sample_rate) if loudness is None else loudness
    if loudness == -math.inf:
        return samples, 1.0
    gain = 10 ** ((target - loudness) / 20)
    peak = max(float(samples.max()), -float(samples.min()))
    gain = min(gain, MOST_GAIN)
    if gain * peak > 1.0:
        gain = 1.0 / peak
    return (samples * gain).clamp_(-1.0, 1.0), gain
