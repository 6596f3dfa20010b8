"""Audio from magnitudes in three bands, each with its own window length.

Long windows at low frequencies for pitch resolution, short ones at high frequencies for attacks.
Phase is estimated by fast Griffin-Lim (Perraudin et al., WASPAA 2013) in every band separately,
from a deterministic, local initial phase: the same magnitudes give the same samples wherever a
window begins. A low band is processed at a decimated rate, at little cost.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

REPEAT = 64  # token frames after which the initial phases repeat: a frequency grid of 0.9 Hz


@dataclass(frozen=True)
class Band:
    """A range of frequencies and its short-time spectrum.

    Attributes:
        n_fft: window in samples.
        per_frame: columns per token frame.
        first, last: its bins, ``last`` excluded.
        decimation: the rate is divided by this for Griffin-Lim.
        effort: factor on the codec's number of Griffin-Lim iterations.
    """

    n_fft: int
    per_frame: int
    first: int
    last: int
    decimation: int
    effort: float

    @property
    def n_bins(self) -> int:
        """Magnitudes per column."""
        return self.last - self.first

    def window(self, like: Tensor) -> Tensor:
        """Return the Hann window of its spectrum, float (n_fft,)."""
        return torch.hann_window(self.n_fft, dtype=like.dtype, device=like.device)


def three_bands(rate_hz: int) -> tuple[Band, ...]:
    """Return three bands: below 1 kHz, 1 to 4 kHz and above.

    Their windows are 93, 46 and 23 ms long at 44.1 kHz.
    """
    low, high = 1000.0 / rate_hz, 4000.0 / rate_hz
    return (
        Band(4096, 1, 0, round(low * 4096), 16, 2.0),
        Band(2048, 2, round(low * 2048), round(high * 2048), 4, 1.5),
        Band(1024, 4, round(high * 1024), 513, 1, 1.0),
    )


def band_spectrum(audio: Tensor, band: Band, hop: int) -> Tensor:
    """Return the short-time spectrum of a band.

    Args:
        audio: float (B, T * hop).
        band: the band.
        hop: samples per token frame.

    Returns:
        complex (B, T * per_frame, bins); column c is centred in the c-th of the equal parts of the
        signal.
    """
    step = hop // band.per_frame
    side = band.n_fft // 2 - step // 2
    window = band.window(audio)
    padded = F.pad(audio, (side, band.n_fft - step - side))
    spectrum = torch.stft(
        padded, band.n_fft, step, window=window, center=False, return_complex=True
    )
    return spectrum[:, band.first : band.last].transpose(1, 2)


def magnitudes(audio: Tensor, band: Band, hop: int) -> Tensor:
    """Return the magnitudes of a band.

    Args:
        audio: float (B, T * hop).
        band: the band.
        hop: samples per token frame.

    Returns:
        float (B, T * per_frame, bins), in units of a sine's amplitude; columns as in
        :func:`band_spectrum`.
    """
    return band_spectrum(audio, band, hop).abs() * 2 / band.window(audio).sum()


def band_wave(audio: Tensor, band: Band, hop: int) -> Tensor:
    """Return the audio of one band, with its original phase.

    Args:
        audio: float (B, T * hop).
        band: the band.
        hop: samples per token frame.

    Returns:
        float (B, T * hop).
    """
    step, window = hop // band.per_frame, band.window(audio)
    columns = band_spectrum(audio, band, hop)
    whole = F.pad(columns, (band.first, band.n_fft // 2 + 1 - band.last))
    wave = _to_wave(whole, window, step, _weight(window, columns.shape[1], step))
    start = band.n_fft // 2 - step // 2
    return wave[:, start : start + audio.shape[-1]]


def nearest_peak(magnitude: Tensor, rounds: int = 2) -> Tensor:
    """Return the spectral peak that each bin belongs to, by following the rising slope.

    Args:
        magnitude: float (..., bins).
        rounds: the peak is at most 2 ** rounds bins away.

    Returns:
        int64 (..., bins), indices of bins.
    """
    around = F.pad(magnitude, (1, 1), value=-1.0)
    before, after = around[..., :-2], around[..., 2:]
    left = (before >= magnitude) & (before >= after)
    right = (after > magnitude) & ~left
    bins = torch.arange(magnitude.shape[-1], device=magnitude.device)
    uphill = bins + right.long() - left.long()
    for _ in range(rounds):  # each doubles the reach: 2 ** rounds bins in all, the main lobe
        uphill = uphill.gather(-1, uphill)
    return uphill


def peak_phase(magnitude: Tensor, n_fft: int, hop: int, repeat: int) -> Tensor:
    """Return an initial phase for Griffin-Lim: that of a stationary sine at every peak.

    A peak's frequency is interpolated from its larger neighbour (Grandke, IEEE Trans. Instrum.
    Meas. 1983) and rounded so that a whole number of cycles fits ``repeat`` columns: windows that
    start at multiples of that have the same phase.

    Args:
        magnitude: float (B, columns, bins) of Hann windows.
        n_fft: window in samples.
        hop: samples per column.
        repeat: columns.

    Returns:
        complex (B, columns, bins), of magnitude 1.
    """
    sides = F.pad(magnitude, (1, 1))
    before, after = sides[..., :-2], sides[..., 2:]
    ratio = torch.maximum(before, after) / magnitude.clamp(min=1e-12)
    away = ((2 * ratio - 1) / (ratio + 1)).clamp(0, 0.5) * torch.where(after > before, 1.0, -1.0)
    bins = torch.arange(magnitude.shape[-1], device=magnitude.device)
    cycles = ((bins + away) * (hop / n_fft * repeat)).round()
    cycles = cycles.gather(-1, nearest_peak(magnitude))
    # the phase repeats every ``repeat`` columns: the modulo keeps it exact in float32
    column = torch.arange(magnitude.shape[1], device=magnitude.device)[:, None] % repeat + 0.5
    turns = cycles * column % repeat / repeat  # at the middle of a column's window
    return torch.polar(torch.ones_like(turns), 2 * math.pi * (turns + bins % 2 * 0.5))


def overlap_add(columns: Tensor, hop: int) -> Tensor:
    """Overlap-add columns, float (B, C, n_fft), to (B, (C + ceil(n_fft / hop) - 1) * hop)."""
    n_items, n_columns, n_fft = columns.shape
    n_parts = -(-n_fft // hop)
    wave = columns.new_zeros(n_items, n_columns + n_parts - 1, hop)
    for part in range(n_parts):
        piece = columns[..., part * hop : (part + 1) * hop]
        wave[:, part : part + n_columns, : piece.shape[-1]] += piece
    return wave.flatten(1)


def _weight(window: Tensor, n_columns: int, hop: int) -> Tensor:
    """Sum of the overlapping squared windows, float (1, samples): the inverse divides by it."""
    columns = window.square().expand(1, n_columns, len(window))
    return overlap_add(columns, hop).clamp_(min=1e-3)


def _to_wave(spectrum: Tensor, window: Tensor, hop: int, weight: Tensor) -> Tensor:
    """Least-squares inverse of a short-time spectrum, complex (B, columns, bins)."""
    columns = torch.fft.irfft(spectrum, n=len(window)).mul_(window)
    return overlap_add(columns, hop).div_(weight)


def griffin_lim(
    magnitude: Tensor, phase: Tensor, window: Tensor, hop: int, iterations: int, momentum: float
) -> Tensor:
    """Estimate a consistent spectrum of these magnitudes by fast Griffin-Lim.

    Args:
        magnitude: float (B, columns, bins), column c centred at sample c * hop + hop / 2.
        phase: complex (B, columns, bins), the initial phase, of magnitude 1.
        window: float (n_fft,).
        hop: samples per column.
        iterations: of Griffin-Lim.
        momentum: 0..1, of the fast form.

    Returns:
        complex (B, columns, bins).
    """
    n_fft, n_columns = window.shape[0], magnitude.shape[1]
    weight = _weight(window, n_columns, hop)
    spectrum = magnitude * phase
    previous: Tensor | None = None
    for _ in range(iterations):
        wave = _to_wave(spectrum, window, hop, weight)
        columns = wave.unfold(-1, n_fft, hop)[:, :n_columns]
        rebuilt = torch.view_as_real(torch.fft.rfft(columns * window))
        pushed = rebuilt if previous is None else torch.lerp(previous, rebuilt, 1 + momentum)
        previous = rebuilt
        real, imaginary = pushed.unbind(-1)
        scale = torch.addcmul(real.square(), imaginary, imaginary).add_(1e-20).rsqrt_()
        spectrum = torch.view_as_complex(pushed) * scale.mul_(magnitude)
    return spectrum


def synthesize_band(
    magnitude: Tensor, band: Band, hop: int, iterations: int, momentum: float
) -> Tensor:
    """Synthesise the audio of one band.

    Args:
        magnitude: float (B, T * per_frame, bins), as :func:`magnitudes` returns.
        band: the band.
        hop: samples per token frame.
        iterations: of Griffin-Lim at effort 1.
        momentum: of fast Griffin-Lim.

    Returns:
        float (B, T * hop).
    """
    step = hop // band.per_frame
    window = band.window(magnitude)
    small = window[:: band.decimation]  # a Hann window again, at the lower rate
    full = F.pad(magnitude * (small.sum() / 2), (band.first, len(small) // 2 + 1 - band.last))
    rounds, small_step = round(iterations * band.effort), step // band.decimation
    phase = peak_phase(full, len(small), small_step, REPEAT * band.per_frame)
    spectrum = griffin_lim(full, phase, small, small_step, rounds, momentum)
    above = band.n_fft // 2 + 1 - spectrum.shape[-1]
    whole = F.pad(spectrum * band.decimation, (0, above))
    wave = _to_wave(whole, window, step, _weight(window, magnitude.shape[1], step))
    start = band.n_fft // 2 - step // 2  # column 0 is centred half a step into the signal
    return wave[:, start : start + magnitude.shape[1] * step]
