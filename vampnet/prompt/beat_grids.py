"""Beats of steady music: every even grid of bars that may fit is scored, the best one is taken.

A grid (tempo, place of the first bar, kind of bar) folds the attacks of four bands (low, middle,
high, change of harmony) onto one bar of steps. Its score is linear in that folded bar: how much it
looks like a bar that begins there. The weights (``weights/beats/grids.safetensors``, 1.6 KB) are a
conditional logit over all grids of a clip, fitted to loops made by code with random patterns
(``benchmarks/fit_beats.py``); they also weigh the tempo, and whether the clip is a whole number
of bars and begins with one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file

SAMPLE_RATE_HZ = 22050
HOP = 110  # samples, 5 ms
RATE_HZ = SAMPLE_RATE_HZ / HOP
BARS = ((4, 4), (4, 3), (3, 4), (2, 3))  # beats in a bar, steps in a beat
N_BANDS = 4
N_EXTRAS = 7  # one, log tempo and its square, four of how the clip and the bars fit
SLOWEST_BPM, FASTEST_BPM = 52.0, 225.0
WEIGHTS = Path(__file__).parents[1] / "weights" / "beats" / "grids.safetensors"

_WINDOW, _LAG = 512, 2  # samples; frames over which a rise is measured
_EDGES = ((0, 5), (5, 46), (46, 257))  # bins of 43 Hz: below 200, to 2000, above
_HARMONY_BINS, _HARMONY_FRAMES = 52, 30  # below 2.2 kHz, 150 ms before and after
_BELL = np.exp(-0.5 * (np.arange(-9, 10) / 3.0) ** 2)  # 15 ms: players are no more exact
_PEAKS = 8  # lags of the recurrence that are tried, each with its simple multiples
_RATIOS = (1, 2, 1 / 2, 3, 1 / 3, 3 / 2, 2 / 3, 4 / 3, 3 / 4)
_NEAR = 0.008  # relative difference of periods that are one
_NEAR_S = 0.045  # how near the clip's start the first bar must begin to begin there
_WHOLE_BEATS = 0.03  # how near a whole number of bars a loop is, in beats


@dataclass(frozen=True)
class Grid:
    """Period of a beat and time of a downbeat in seconds, beats in a bar."""

    period_s: float
    first_s: float
    beats_per_bar: int


def best_grid(mono: np.ndarray) -> Grid | None:
    """The likeliest grid of mono audio (S,) at 22050 Hz; None where nothing recurs."""
    grids, features = candidates(mono)
    if not grids:
        return None
    return grids[int((features @ weights()).argmax())]


@cache
def weights() -> np.ndarray:
    """Float (D,): what :func:`candidates`' features count; OSError without the file."""
    return load_file(WEIGHTS)["weights"].astype(np.float64)


def candidates(mono: np.ndarray) -> tuple[list[Grid], np.ndarray]:
    """Grids that may fit, n of them, and their features, float (n, D)."""
    duration_s = len(mono) / SAMPLE_RATE_HZ
    bands, total = attacks(mono)
    grids: list[Grid] = []
    rows: list[np.ndarray] = []
    for period in _periods(total, duration_s):
        for kind, (n_beats, n_steps) in enumerate(BARS):
            step = period / n_steps
            phase, _ = _comb(total, step)
            bar = _folded(bands, phase, step, n_beats * n_steps)
            if bar is None:
                continue
            for turn in range(bar.shape[1]):
                first_s = (phase + turn * step) / RATE_HZ % (period * n_beats / RATE_HZ)
                grid = Grid(period / RATE_HZ, first_s, n_beats)
                grids.append(grid)
                rows.append(_row(kind, np.roll(bar, -turn, axis=1), grid, duration_s))
    return grids, np.stack(rows) if rows else np.zeros((0, 0))


def attacks(mono: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Attacks in four bands, float (4, K), and in all, float (K,): 200.45 frames a second."""
    half = _WINDOW // 2
    padded = torch.from_numpy(np.pad(mono.astype(np.float32), (half, half)))
    frames = padded.unfold(0, _WINDOW, HOP) * torch.hann_window(_WINDOW)
    level = torch.log1p(torch.fft.rfft(frames).abs())
    before = torch.cat([torch.zeros(_LAG, level.shape[1]), level])[:-_LAG]
    rise = (level - before).clamp(min=0)
    bands = [rise[:, low:high].mean(1) for low, high in _EDGES]
    bands.append(_harmony_changes(level[:, :_HARMONY_BINS]))
    bell = _BELL / _BELL.sum()
    found = np.stack([np.convolve(b.double().numpy(), bell, mode="same") for b in bands])
    total = found[:3].mean(0)
    spread = total.std()
    scale = found.std(1) + np.array([0.15 * spread] * 3 + [0.02]) + 1e-9
    return np.log1p(2 * found / scale[:, None]), total / (spread + 1e-9)


def _harmony_changes(level: torch.Tensor) -> torch.Tensor:
    """1 - cosine of the mean spectra before and after each frame: (K, bins) to (K,)."""
    n_frames, around = len(level), _HARMONY_FRAMES
    sums = torch.cat([torch.zeros(1, level.shape[1]), level.cumsum(0)])
    at = torch.arange(n_frames)
    before = sums[at] - sums[(at - around).clamp(min=0)]
    after = sums[(at + around).clamp(max=n_frames)] - sums[at]
    change = 1 - torch.nn.functional.cosine_similarity(before, after, dim=1)
    change[: around // 2] = 0
    change[max(0, n_frames - around // 2) :] = 0
    return change


def _periods(total: np.ndarray, duration_s: float) -> list[float]:
    """Beat periods in frames that may be: of lags at which attacks recur, and whole loops' own."""
    centred = total - total.mean()
    size = 2 ** int(np.ceil(np.log2(2 * len(centred))))
    recurrence = np.fft.irfft(np.abs(np.fft.rfft(centred, size)) ** 2)[: len(centred)]
    n = len(centred)
    recurrence = recurrence / np.maximum(n - np.arange(n), n / 4)
    shortest, longest = 60 / FASTEST_BPM * RATE_HZ, 60 / SLOWEST_BPM * RATE_HZ
    lags = np.arange(int(RATE_HZ / 4), min(int(RATE_HZ * 1.2) + 2, n - 2))
    near = recurrence[lags]
    tops = lags[(near >= recurrence[lags - 1]) & (near >= recurrence[lags + 1])]
    tops = tops[np.argsort(-recurrence[tops], kind="stable")][:_PEAKS]
    rough = sorted({float(lag * ratio) for lag in tops for ratio in _RATIOS})
    periods: list[float] = []
    for period in rough:
        if shortest <= period <= longest and (not periods or period / periods[-1] > 1 + _NEAR):
            periods.append(period)
    periods = [_refined(total, period) for period in periods]
    for n_beats in range(2, int(duration_s * FASTEST_BPM / 60) + 1):
        own = duration_s * RATE_HZ / n_beats
        beside = [p for p in periods if abs(p / own - 1) > _NEAR]
        if own <= longest and len(beside) < len(periods):
            periods = [*beside, own]
    return periods


def _refined(total: np.ndarray, period: float) -> float:
    near = period * (1 + np.arange(-0.006, 0.0061, 0.0015))
    return float(max(near, key=lambda p: max(_comb(total, p / n)[1] for n in (3, 4))))


def _comb(total: np.ndarray, step: float) -> tuple[float, float]:
    """Where an even grid of that step meets most attacks, in frames, and the mean of those."""
    phases = np.arange(0, step, 1.0)
    at = np.round(phases[:, None] + np.arange(int(len(total) / step)) * step).astype(int)
    means = total[np.minimum(at, len(total) - 1)].mean(1)
    return float(phases[means.argmax()]), float(means.max())


def _folded(bands: np.ndarray, phase: float, step: float, n_steps: int) -> np.ndarray | None:
    """Mean attack at each step of a bar, float (4, n_steps); None if there is no whole bar."""
    n_frames = bands.shape[1]
    number = np.arange(int((n_frames - 1 - phase) / step) + 1)
    if len(number) < n_steps:
        return None
    at = np.minimum(np.round(phase + number * step).astype(int), n_frames - 1)
    near = np.clip(at + np.array([[-2], [0], [2]]), 0, n_frames - 1)
    values = bands[:, near].max(1)
    bar = np.zeros((len(bands), n_steps))
    for band, found in zip(bar, values, strict=True):
        np.add.at(band, number % n_steps, found)
    return bar / np.bincount(number % n_steps, minlength=n_steps)


def _row(kind: int, bar: np.ndarray, grid: Grid, duration_s: float) -> np.ndarray:
    """A grid's features: its folded bar and extras, in the places of its kind of bar."""
    octaves = np.log2(60 / grid.period_s / 110)
    bar_s = grid.period_s * grid.beats_per_bar
    n_bars = round(duration_s / bar_s)
    whole = n_bars >= 1 and abs(duration_s / bar_s - n_bars) * grid.beats_per_bar < _WHOLE_BEATS
    begins = min(grid.first_s, bar_s - grid.first_s) < _NEAR_S
    fits = (whole, whole and n_bars % 2 == 0, begins, begins and whole)
    sizes = [n * steps * N_BANDS for n, steps in BARS]
    row = np.zeros(sum(sizes) + len(BARS) * N_EXTRAS)
    start = sum(sizes[:kind])
    row[start : start + sizes[kind]] = bar.ravel()
    start = sum(sizes) + kind * N_EXTRAS
    row[start : start + N_EXTRAS] = (1, octaves, octaves**2, *fits)
    return row
