"""Multiscale mel error: a perceptual distance of two signals that ignores phase.

Source: arXiv 2307.04686, section 4.2 (windows of 2048 and 512 samples, 150 and 80 bands, L1 of
log10 mel magnitudes).
"""

from __future__ import annotations

import torch
from torch import Tensor

from vampnet.audio.mel import mel_bands

SCALES = ((2048, 150), (512, 80))  # FFT length in samples, mel bands
Levels = tuple[Tensor, ...]
FLOOR = 1e-5  # smaller mel magnitudes are clamped to it


def log_mel(audio: Tensor, rate_hz: int, n_fft: int, n_mels: int) -> Tensor:
    """log10 mel magnitudes with a hop of n_fft / 4.

    Args:
        audio: float (..., S).
        rate_hz: its sample rate in Hz.
        n_fft: FFT length in samples.
        n_mels: number of mel bands.

    Returns:
        float (..., n_mels, frames).
    """
    window = torch.hann_window(n_fft, dtype=audio.dtype, device=audio.device)
    flat = audio.reshape(-1, audio.shape[-1])
    spectrum = torch.stft(
        flat, n_fft, n_fft // 4, window=window, pad_mode="reflect", return_complex=True
    ).abs()
    bands = mel_bands(n_fft, rate_hz, n_mels).to(audio)
    levels = (spectrum.transpose(-1, -2) @ bands).clamp(min=FLOOR).log10().transpose(-1, -2)
    return levels.reshape(*audio.shape[:-1], n_mels, -1)


def levels(audio: Tensor, rate_hz: int) -> Levels:
    """log10 mel magnitudes at every scale.

    Args:
        audio: float (..., S).
        rate_hz: its sample rate in Hz.

    Returns:
        One float (..., bands, frames) per scale.
    """
    return tuple(log_mel(audio, rate_hz, n_fft, n_mels) for n_fft, n_mels in SCALES)


def mel_error(first: Tensor, second: Tensor, rate_hz: int) -> float:
    """Mean absolute difference of log10 mel magnitudes, summed over both scales.

    Args:
        first: float (..., S), at least 2048 samples.
        second: of the same shape.
        rate_hz: sample rate of both in Hz.

    Returns:
        The error, 0 for equal signals.

    Raises:
        ValueError: the shapes differ, or are too short.
    """
    if first.shape != second.shape or first.shape[-1] < SCALES[0][0]:
        raise ValueError(
            f"sounds have shapes {tuple(first.shape)} and {tuple(second.shape)}; "
            f"they need one shape of at least {SCALES[0][0]} samples"
        )
    both = zip(levels(first, rate_hz), levels(second, rate_hz), strict=True)
    return sum(float((a - b).abs().mean()) for a, b in both)
