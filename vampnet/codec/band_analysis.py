"""Waveform to log band levels: the analysis of the spectral codec."""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEVEL_FLOOR = 3e-5  # amplitude of a sine (-90 dBFS) that is added to the levels
N_PITCH_TRANSFORMS = 3  # the first so many transforms of an Analysis tile the frequency axis
WIDE_EDGES_HZ = (20.0, 180.0, 450.0, 1000.0, 2200.0, 5000.0)  # short-window bands for attacks


def log_bands(n_fft: int, rate: int, low_hz: float, high_hz: float, per_octave: int) -> Tensor:
    """Return triangular bands, evenly spaced in log frequency.

    Returns:
        float (n_fft // 2 + 1, bands), columns sum to <= 1.
    """
    n_bands = int(math.floor(math.log2(high_hz / low_hz) * per_octave)) + 1
    centres = low_hz * 2.0 ** (torch.arange(-1, n_bands + 1, dtype=torch.float64) / per_octave)
    frequency = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * rate / n_fft
    octave = frequency.clamp(min=1e-3).log2()[:, None]
    below, centre, above = (c.log2() for c in (centres[:-2], centres[1:-1], centres[2:]))
    rising = (octave - below) / (centre - below)
    falling = (above - octave) / (above - centre)
    weight = torch.minimum(rising, falling).clamp(min=0)
    return (weight / weight.sum(0).clamp(min=1.0)).float()


def single_bins(n_fft: int, rate: int, low_hz: float, high_hz: float) -> Tensor:
    """Return one band per bin within ``low_hz``..``high_hz``: float (n_fft // 2 + 1, bands)."""
    frequency = torch.arange(n_fft // 2 + 1) * rate / n_fft
    keep = (frequency >= low_hz) & (frequency < high_hz)
    return torch.eye(n_fft // 2 + 1)[:, keep]


def wide_bands(n_fft: int, rate: int, edges_hz: tuple[float, ...]) -> Tensor:
    """Return averages between consecutive edges: float (n_fft // 2 + 1, len(edges) - 1)."""
    frequency = (torch.arange(n_fft // 2 + 1) * rate / n_fft)[:, None]
    edges = torch.tensor(edges_hz)
    inside = ((frequency >= edges[:-1]) & (frequency < edges[1:])).float()
    return inside / inside.sum(0).clamp(min=1.0)


class Analysis(nn.Module):
    """Waveform to log band levels, one vector per frame.

    Long windows at low frequencies for pitch, short ones (two per frame) at high ones for attacks.
    """

    def __init__(self, rate: int, hop: int):
        super().__init__()
        self.hop = hop
        top = min(19500.0, 0.44 * rate)
        low = torch.cat(
            [single_bins(4096, rate, 16.0, 510.0), log_bands(4096, rate, 510.0, 1450.0, 24)], dim=1
        )
        # (window length in samples, vectors per frame)
        self.transforms: list[tuple[int, int]] = [(4096, 1), (2048, 1), (1024, 2), (1024, 2)]
        tables = [
            low,
            log_bands(2048, rate, 1450.0, 5000.0, 24),
            log_bands(1024, rate, 5000.0, top, 12),
            wide_bands(1024, rate, WIDE_EDGES_HZ),
        ]
        for i, ((n_fft, _), table) in enumerate(zip(self.transforms, tables, strict=True)):
            self.register_buffer(f"window_{i}", torch.hann_window(n_fft), persistent=False)
            self.register_buffer(f"bands_{i}", table, persistent=False)
        widths = [n * t.shape[1] for (_, n), t in zip(self.transforms, tables, strict=True)]
        self.width, self.rate = sum(widths), rate
        self.starts = [sum(widths[:i]) for i in range(len(widths))]

    def pitch_bands(self, moment: float) -> tuple[Tensor, Tensor]:
        """Return the bands that tile the frequency axis.

        Args:
            moment: time within the frame, 0..1; selects one of several vectors per frame.

        Returns:
            Centres in Hz, ascending, float (bands,), and indices into the level vector, int64
            (bands,).
        """
        centres, places = [], []
        for i, (n_fft, per_frame) in enumerate(self.transforms[:N_PITCH_TRANSFORMS]):
            table = cast(Tensor, getattr(self, f"bands_{i}"))
            frequency = torch.arange(table.shape[0]) * (self.rate / n_fft)
            centres.append((table * frequency[:, None]).sum(0) / table.sum(0))
            first = self.starts[i] + int(moment * per_frame) * table.shape[1]
            places.append(torch.arange(first, first + table.shape[1]))
        return torch.cat(centres), torch.cat(places)

    def forward(self, audio: Tensor) -> Tensor:
        """Return log10 levels, float (B, T, width), of audio, float (B, T * hop)."""
        n_items, n_frames = audio.shape[0], audio.shape[1] // self.hop
        parts = []
        for i, (n_fft, per_frame) in enumerate(self.transforms):
            hop = self.hop // per_frame
            side = n_fft // 2 - hop // 2
            window = cast(Tensor, getattr(self, f"window_{i}"))
            padded = F.pad(audio, (side, n_fft - hop - side))
            spectrum = torch.stft(
                padded, n_fft, hop, window=window, center=False, return_complex=True
            )
            # scaled so that a sine of amplitude a has level a, whatever the window's length
            power = torch.view_as_real(spectrum).square().sum(-1) * (2.0 / window.sum()).square()
            levels = power.transpose(1, 2) @ cast(Tensor, getattr(self, f"bands_{i}"))
            parts.append((levels.sqrt() + LEVEL_FLOOR).log10().reshape(n_items, n_frames, -1))
        return torch.cat(parts, dim=-1)


def three_frame_mean(levels: Tensor) -> Tensor:
    """Average levels, float (B, T, F), over time with weights (1, 2, 1) / 4; same shape."""
    edges = F.pad(levels.transpose(1, 2), (1, 1), mode="replicate").transpose(1, 2)
    return (edges[:, :-2] + 2 * levels + edges[:, 2:]) / 4
