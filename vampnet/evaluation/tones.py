"""Held synthetic notes through a codec: is it in tune, balanced and steady?

Every partial's frequency is known, so that an error of a few cents shows. Sources for the bounds
people notice: Moore, Glasberg and Shailer (JASA 1984) for mistuned partials.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

A4_HZ = 440.0
SECONDS = 5.0
EDGE_S = 0.5  # left out at either end: a note's beginning belongs to the hits
FADE_S = 0.02
RMS_DBFS = -24.0
BLOCK_S = 0.05  # of the level whose deviation is the waver
ZERO_PADDING = 4  # of the long spectrum; its peaks are interpolated between bins
TOGETHER_CENTS = 60.0  # lines nearer than this are one partial, of several voices
REACH_CENTS = 150.0  # how far a partial is searched for, at most
LEAST_DB = -45.0  # partials below the strongest by more than this are not measured


@dataclass(frozen=True)
class Tone:
    """A held sound: a name, fundamentals in Hz, and how many partials (level 1/k) each has."""

    name: str
    fundamentals_hz: tuple[float, ...]
    n_partials: int = 8

    def lines(self, rate_hz: int) -> list[tuple[float, float]]:
        """(frequency in Hz, amplitude) of every sine, by frequency, below 0.45 of the rate."""
        found = [
            (k * f0, 1.0 / k) for f0 in self.fundamentals_hz for k in range(1, self.n_partials + 1)
        ]
        return sorted(line for line in found if line[0] < 0.45 * rate_hz)

    def partials(self, rate_hz: int) -> list[tuple[float, float]]:
        """(lowest, highest) frequency in Hz of every partial, of one line or of several voices."""
        found: list[tuple[float, float]] = []
        for frequency, _ in self.lines(rate_hz):
            if found and _cents(frequency, found[-1][1]) < TOGETHER_CENTS:
                found[-1] = (found[-1][0], frequency)
            else:
                found.append((frequency, frequency))
        return found

    def sound(self, rate_hz: int) -> Tensor:
        """float (S,), SECONDS long, the same at every call; phases are spread (Schroeder's)."""
        time_s = torch.arange(int(SECONDS * rate_hz), dtype=torch.float64) / rate_hz
        total = torch.zeros_like(time_s)
        for i, (frequency, amplitude) in enumerate(self.lines(rate_hz)):
            phase = math.pi * i * (i + 1) / 8 + 0.3
            total += amplitude * torch.sin(2 * math.pi * frequency * time_s + phase)
        total *= 10 ** (RMS_DBFS / 20) / total.square().mean().sqrt()
        ramp = (torch.minimum(time_s, SECONDS - time_s) / FADE_S).clamp(max=1)
        return (total * ramp).float()


@dataclass(frozen=True)
class ToneFigures:
    """What became of a tone.

    cents: largest distance of a partial's strongest line from where it was; balance_db: largest
    change of a partial's level against the mean change; waver_db: standard deviation of the level
    in blocks of 50 ms beyond the input's.
    """

    name: str
    cents: float
    balance_db: float
    waver_db: float


def note_hz(midi: float) -> float:
    """Frequency in Hz of a MIDI note number, A4 = 69 = 440 Hz."""
    return A4_HZ * 2 ** ((midi - 69) / 12)


def tones() -> list[Tone]:
    """Notes from E1 to C6, sines, fifths, triads and detuned pads."""
    notes = {"E1": 28, "A1": 33, "D2": 38, "G2": 43, "C3": 48, "F3": 53, "A3": 57, "D4": 62,
             "G4": 67, "C5": 72, "F5": 77, "A5": 81, "C6": 84}  # fmt: skip
    found = [Tone(name, (note_hz(midi),)) for name, midi in notes.items()]
    found += [Tone(f"sine {hz:g} Hz", (hz,), 1) for hz in (43.7, 98.3, 251.0, 517.0, 1003.0)]
    chords = (
        ("fifth E2", 40, (0, 7)), ("fifth A3", 57, (0, 7)),
        ("minor triad C3", 48, (0, 3, 7)), ("major triad G3", 55, (0, 4, 7)),
        ("major triad C4", 60, (0, 4, 7)), ("minor triad A4", 69, (0, 3, 7)),
    )  # fmt: skip
    found += [Tone(name, tuple(note_hz(root + s) for s in steps)) for name, root, steps in chords]
    for name, midi in (("A2", 45), ("E3", 52), ("C4", 60)):
        voices = tuple(note_hz(midi + cents / 100) for cents in (-7, 0, 6))
        found.append(Tone(f"detuned pad {name}", voices))
    return found


def tone_figures(tone: Tone, before: Tensor, after: Tensor, rate_hz: int) -> ToneFigures:
    """Compare what went in with what came out, both float (S,), of one length."""
    edge = int(EDGE_S * rate_hz)
    first, second = (sound[edge:-edge].double() for sound in (before, after))
    cents, changes = [], []
    spectra = [_spectrum(sound) for sound in (first, second)]
    bin_hz = rate_hz / (2 * (len(spectra[0]) - 1))
    partials = tone.partials(rate_hz)
    levels = [[_level_db(s, span, bin_hz) for span in _spans(partials)] for s in spectra]
    for i, (lowest, highest) in enumerate(partials):
        if levels[0][i] < max(levels[0]) + LEAST_DB:
            continue
        low, high = _spans(partials)[i]
        line = _strongest_hz(spectra[1], low, high, bin_hz)
        cents.append(max(0.0, _cents(line, highest), _cents(lowest, line)))
        changes.append(levels[1][i] - levels[0][i])
    mean = sum(changes) / len(changes)
    waver = float(_block_levels(second, rate_hz).std() - _block_levels(first, rate_hz).std())
    balance = max(abs(change - mean) for change in changes)
    return ToneFigures(tone.name, max(cents), balance, max(0.0, waver))


def measure_tones(
    round_trip: Callable[[Tensor], Tensor], rate_hz: int, some: Sequence[Tone] = ()
) -> list[ToneFigures]:
    """Figures of every tone (or of ``some``) after ``round_trip``, float (S,) to float (S,)."""
    found = []
    for tone in some or tones():
        sound = tone.sound(rate_hz)
        found.append(tone_figures(tone, sound, round_trip(sound), rate_hz))
    return found


def _cents(frequency: float, other: float) -> float:
    return 1200 * math.log2(frequency / other)


def _spans(partials: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Where each partial is searched for, in Hz: halfway to its neighbours, or REACH_CENTS."""
    reach = 2 ** (REACH_CENTS / 1200)
    spans = []
    for i, (lowest, highest) in enumerate(partials):
        low, high = lowest / reach, highest * reach
        if i:
            low = max(low, math.sqrt(partials[i - 1][1] * lowest))
        if i + 1 < len(partials):
            high = min(high, math.sqrt(highest * partials[i + 1][0]))
        spans.append((low, high))
    return spans


def _spectrum(sound: Tensor) -> Tensor:
    """Power of the whole sound, Hann window, finely sampled: float (bins,)."""
    window = torch.hann_window(len(sound), dtype=sound.dtype)
    size = 2 ** math.ceil(math.log2(len(sound))) * ZERO_PADDING
    return torch.fft.rfft(sound * window, n=size).abs().square()


def _level_db(power: Tensor, span: tuple[float, float], bin_hz: float) -> float:
    first, last = (round(hz / bin_hz) for hz in span)
    return 10 * math.log10(float(power[first : last + 1].sum()) + 1e-20)


def _strongest_hz(power: Tensor, low_hz: float, high_hz: float, bin_hz: float) -> float:
    """Frequency of the largest value within a span, by a parabola through its neighbours."""
    first, last = max(1, round(low_hz / bin_hz)), min(len(power) - 2, round(high_hz / bin_hz))
    peak = first + int(power[first : last + 1].argmax())
    left, top, right = ((power[peak - 1 : peak + 2] + 1e-30).log()).tolist()
    bend = left - 2 * top + right
    away = 0.5 * (left - right) / bend if bend < 0 else 0.0
    return (peak + max(-0.5, min(0.5, away))) * bin_hz


def _block_levels(sound: Tensor, rate_hz: int) -> Tensor:
    """Level in dB of every block of BLOCK_S: float (blocks,)."""
    size = round(BLOCK_S * rate_hz)
    blocks = sound[: len(sound) // size * size].reshape(-1, size)
    return 10 * (blocks.square().mean(-1) + 1e-12).log10()
