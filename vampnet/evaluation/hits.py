"""Synthetic hits through a codec: does their attack stay as sharp, and where it was?

Each hit is played at several places within a token frame: a codec that is right on average may
still shift every single hit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

KINDS = ("kick", "snare", "hat", "clap", "pluck")
PLACES = 8  # within a frame
APART_S = 0.5
LENGTH_S = 0.25  # of a hit
PEAK = 0.5
SMOOTHING_S = 0.003  # of the envelope, a Hann window
AROUND_S = (0.05, 0.1)  # before and after a hit: where its envelope is looked at


@dataclass(frozen=True)
class HitFigures:
    """What became of hits of one kind, means over their places.

    rise_ms: 10-90 % attack time beyond the input's; late_ms: of the 90 % point; jitter_ms: standard
    deviation of that over the places; before_db: energy in the 50 ms before a hit against the 50 ms
    from it on.
    """

    name: str
    rise_ms: float
    late_ms: float
    jitter_ms: float
    before_db: float


def hit(kind: str, rate_hz: int) -> Tensor:
    """One hit, float (S,), peak PEAK, its attack at sample 0; the same at every call."""
    time_s = torch.arange(int(LENGTH_S * rate_hz), dtype=torch.float64) / rate_hz
    noise = torch.randn(len(time_s), generator=torch.Generator().manual_seed(7)).double()
    if kind == "kick":  # a sine that falls from 180 to 50 Hz
        phase = 2 * math.pi * (50 * time_s + 130 * 0.03 * (1 - torch.exp(-time_s / 0.03)))
        sound = torch.cos(phase) * torch.exp(-time_s / 0.08)
    elif kind == "snare":
        body = torch.cos(2 * math.pi * 190 * time_s) * torch.exp(-time_s / 0.05)
        sound = body + 0.5 * noise * torch.exp(-time_s / 0.06)
    elif kind == "hat":
        sound = _without_lows(noise, rate_hz, 6000.0) * torch.exp(-time_s / 0.03)
    elif kind == "clap":  # three bursts, the loudest first
        burst = sum(
            level * torch.exp(-(time_s - at).clamp(min=0) / 0.02) * (time_s >= at)
            for at, level in ((0.0, 1.0), (0.011, 0.6), (0.022, 0.5))
        )
        sound = _without_lows(noise, rate_hz, 900.0) * burst
    elif kind == "pluck":  # a string: partials that fade the sooner the higher
        sound = torch.zeros_like(time_s)
        for k in range(1, 16):
            fade = torch.exp(-time_s * k / 0.3)
            sound += fade / k * torch.cos(2 * math.pi * 220 * k * time_s)
    else:
        raise ValueError(f"there is no hit '{kind}'; there are {', '.join(KINDS)}")
    fade_out = ((LENGTH_S - time_s) / 0.02).clamp(max=1)
    return (sound * fade_out * (PEAK / sound.abs().max())).float()


def hits(kind: str, rate_hz: int, hop: int) -> tuple[Tensor, list[int]]:
    """PLACES hits, float (S,), and the samples at which they begin, spread over a frame."""
    one, step = hit(kind, rate_hz), round(APART_S * rate_hz / hop) * hop
    starts = [(i + 1) * step + round(i * hop / PLACES) for i in range(PLACES)]
    sound = torch.zeros((PLACES + 2) * step)
    for start in starts:
        sound[start : start + len(one)] += one
    return sound, starts


def hit_figures(
    kind: str, before: Tensor, after: Tensor, starts: Sequence[int], rate_hz: int
) -> HitFigures:
    """Compare what went in with what came out, both float (S,), of one length."""
    lead, tail = (round(s * rate_hz) for s in AROUND_S)
    rises, delays, leaks = [], [], []
    for start in starts:
        span = slice(start - lead, start + tail)
        (old_10, old_90), (new_10, new_90) = (_attack(s[span], rate_hz) for s in (before, after))
        rises.append(1000 * ((new_90 - new_10) - (old_90 - old_10)) / rate_hz)
        delays.append(1000 * (new_90 - old_90) / rate_hz)
        early, late = after[start - lead : start], after[start : start + lead]
        leaks.append(float(early.square().sum() / late.square().sum().clamp(min=1e-20)))
    delay = torch.tensor(delays)
    leak = 10 * math.log10(sum(leaks) / len(leaks) + 1e-12)
    rise = sum(rises) / len(rises)
    return HitFigures(kind, rise, float(delay.mean()), float(delay.std()), leak)


def measure_hits(
    round_trip: Callable[[Tensor], Tensor], rate_hz: int, hop: int
) -> list[HitFigures]:
    """Figures of every kind after ``round_trip``, float (S,) to float (S,)."""
    found = []
    for kind in KINDS:
        sound, starts = hits(kind, rate_hz, hop)
        found.append(hit_figures(kind, sound, round_trip(sound), starts, rate_hz))
    return found


def _without_lows(noise: Tensor, rate_hz: int, edge_hz: float) -> Tensor:
    """Noise above ``edge_hz``, with an edge of an octave."""
    spectrum = torch.fft.rfft(noise)
    octave = (torch.arange(len(spectrum)) * (rate_hz / len(noise)) / edge_hz).clamp(min=1e-9).log2()
    return torch.fft.irfft(spectrum * (octave + 1).clamp(0, 1), n=len(noise))


def _attack(sound: Tensor, rate_hz: int) -> tuple[float, float]:
    """Samples at which the envelope first reaches 10 % and 90 % of its peak."""
    size = round(SMOOTHING_S * rate_hz) | 1
    window = torch.hann_window(size + 2, periodic=False, dtype=torch.float64)[1:-1]
    power = sound.double().square()[None, None]
    smooth = torch.nn.functional.conv1d(power, (window / window.sum())[None, None], padding="same")
    envelope = smooth[0, 0].clamp(min=0).sqrt()
    peak = float(envelope.max())
    found = []
    for share in (0.1, 0.9):
        found.append(float((envelope >= share * peak).double().argmax()))
    return found[0], found[1]
