"""Multiscale mel error: how different two sounds are to the ear, whatever their phase.

Source: arXiv 2307.04686, section 4.2 (windows of 2048 and 512 samples, 150 and 80 bands, L1 of
log10 mel magnitudes).
"""

from __future__ import annotations

import torch
from torch import Tensor

from vampnet.audio.mel import mel_bands

SCALES = ((2048, 150), (512, 80))  # FFT length in samples, mel bands
Levels = tuple[Tensor, ...]
FLOOR = 1e-5  # mel magnitude below which levels count as equal


def log_mel(audio: Tensor, rate_hz: int, n_fft: int, n_mels: int) -> Tensor:
    """log10 mel magnitudes, hop n_fft / 4: float (..., S) to (..., n_mels, frames)."""
    window = torch.hann_window(n_fft, dtype=audio.dtype, device=audio.device)
    flat = audio.reshape(-1, audio.shape[-1])
    spectrum = torch.stft(
        flat, n_fft, n_fft // 4, window=window, pad_mode="reflect", return_complex=True
    ).abs()
    bands = mel_bands(n_fft, rate_hz, n_mels).to(audio)
    levels = (spectrum.transpose(-1, -2) @ bands).clamp(min=FLOOR).log10().transpose(-1, -2)
    return levels.reshape(*audio.shape[:-1], n_mels, -1)


def levels(audio: Tensor, rate_hz: int) -> Levels:
    """A sound float (..., S) in both scales: log10 mel magnitudes, float (..., bands, frames)."""
    return tuple(log_mel(audio, rate_hz, n_fft, n_mels) for n_fft, n_mels in SCALES)


def mel_error(first: Tensor, second: Tensor, rate_hz: int) -> float:
    """Mean |difference| of log10 mel magnitudes, added over both scales; 0 for equal sounds.

    Both float (..., S) of one shape, at least 2048 samples. Raises ValueError otherwise.
    """
    if first.shape != second.shape or first.shape[-1] < SCALES[0][0]:
        raise ValueError(
            f"sounds have shapes {tuple(first.shape)} and {tuple(second.shape)}; "
            f"they need one shape of at least {SCALES[0][0]} samples"
        )
    both = zip(levels(first, rate_hz), levels(second, rate_hz), strict=True)
    return sum(float((a - b).abs().mean()) for a, b in both)
