"""Synthetic notes and drum hits for the decoder's training: exact pitch, exact attacks.

Music has few single notes and few hits after silence, where errors are most audible.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vampnet.training.random_choice import RandomChoice

PEAK = 0.5
LOWEST_HZ, OCTAVES = 40.0, 5.2  # of fundamentals
CHORDS = ((0,), (0,), (0,), (0, 7), (0, 12), (0, 3, 7), (0, 4, 7), (0, 5, 9), (0, 4, 7, 11))


def _uniform(rng: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), generator=rng))


def held_notes(rng: torch.Generator, seconds: float, rate_hz: int) -> Tensor:
    """Return a sequence of notes, fifths, chords and detuned pads.

    Each lasts 0.5 to 4 s, with pauses of up to 0.2 s.

    Args:
        rng: a CPU generator.
        seconds: length.
        rate_hz: sample rate.

    Returns:
        float (S,).
    """
    total = torch.zeros(int(seconds * rate_hz))
    at = 0
    while at < len(total):
        n = min(len(total) - at, int(_uniform(rng, 0.5, 4.0) * rate_hz))
        total[at : at + n] = _note(rng, n, rate_hz)
        at += n + int(_uniform(rng, 0.0, 0.2) * rate_hz)
    return total


def _note(rng: torch.Generator, n: int, rate_hz: int) -> Tensor:
    """Return one note or chord of n samples, float (n,)."""
    random = RandomChoice(rng)
    time_s = torch.arange(n, dtype=torch.float64) / rate_hz
    root_hz = LOWEST_HZ * 2 ** _uniform(rng, 0, OCTAVES)
    voices = [root_hz * 2 ** (step / 12) for step in CHORDS[random.integer(0, len(CHORDS) - 1)]]
    if random.bernoulli(0.2):
        voices += [f * 2 ** (_uniform(rng, -12, 12) / 1200) for f in voices]
    n_partials, tilt = random.integer(1, 16), _uniform(rng, 0.5, 2.0)
    vibrato = _uniform(rng, 0, 0.004) * torch.sin(2 * math.pi * 5.5 * time_s) / (2 * math.pi * 5.5)
    warped = time_s + (vibrato if random.bernoulli(0.2) else 0)
    sound = torch.zeros_like(time_s)
    for f0 in voices:
        for k in range(1, n_partials + 1):
            if k * f0 > 0.45 * rate_hz:
                break
            phase = _uniform(rng, 0, 2 * math.pi)
            level = k**-tilt * _uniform(rng, 0.5, 1.0)
            sound += level * torch.sin(2 * math.pi * k * f0 * warped + phase)
    decay_s = _uniform(rng, 0.3, 2.0) if random.bernoulli(0.4) else 1e3
    attack_s = _uniform(rng, 0.001, 0.05)
    shape = torch.exp(-time_s / decay_s) * (time_s / attack_s).clamp(max=1)
    sound = sound * shape * ((n / rate_hz - time_s) / 0.02).clamp(max=1)
    peak = PEAK * 10 ** _uniform(rng, -1.0, 0.0)
    return (sound * (peak / sound.abs().max().clamp(min=1e-9))).float()


def drum_hits(rng: torch.Generator, seconds: float, rate_hz: int) -> Tensor:
    """Return hits of random kinds, 0.1 to 0.6 s apart.

    Args:
        rng: a CPU generator.
        seconds: length.
        rate_hz: sample rate.

    Returns:
        float (S,).
    """
    total = torch.zeros(int(seconds * rate_hz))
    at = int(_uniform(rng, 0.05, 0.3) * rate_hz)
    while at < len(total):
        one = _hit(rng, rate_hz)[: len(total) - at]
        total[at : at + len(one)] += one
        at += int(_uniform(rng, 0.1, 0.6) * rate_hz)
    return total


def _hit(rng: torch.Generator, rate_hz: int) -> Tensor:
    """Return one hit: a drum, a drum with noise, noise bursts or a plucked string, float (S,)."""
    random = RandomChoice(rng)
    time_s = torch.arange(int(0.4 * rate_hz), dtype=torch.float64) / rate_hz
    sound = torch.zeros_like(time_s)
    kind = random.integer(0, 3)
    if kind in (0, 1):  # a drum: its pitch falls
        low, drop = _uniform(rng, 40, 220), _uniform(rng, 0, 200)
        fall_s = _uniform(rng, 0.01, 0.05)
        phase = 2 * math.pi * (low * time_s + drop * fall_s * (1 - torch.exp(-time_s / fall_s)))
        start = _uniform(rng, 0, math.pi)
        sound += torch.cos(phase + start) * torch.exp(-time_s / _uniform(rng, 0.03, 0.2))
    if kind in (1, 2):  # noise, in one burst or a few
        noise = torch.randn(len(time_s), generator=rng).double()
        spectrum = torch.fft.rfft(noise)
        octave = torch.linspace(0, rate_hz / 2, len(spectrum)).clamp(min=1).log2()
        low, high = math.log2(_uniform(rng, 200, 8000)), math.log2(_uniform(rng, 9000, 20000))
        edges = (octave - low + 1).clamp(0, 1) * (high - octave + 1).clamp(0, 1)
        noise = torch.fft.irfft(spectrum * edges, n=len(time_s))
        burst = torch.exp(-time_s / _uniform(rng, 0.01, 0.12))
        if random.bernoulli(0.3):
            later = (time_s - _uniform(rng, 0.006, 0.02)).clamp(min=0)
            burst += 0.7 * torch.exp(-later / 0.02) * (later > 0)
        sound += _uniform(rng, 0.2, 1.0) * noise / noise.std() * 0.3 * burst
    if kind == 3:  # a plucked string
        f0 = LOWEST_HZ * 2 ** _uniform(rng, 0, 4.5)
        for k in range(1, random.integer(4, 16)):
            if k * f0 < 0.45 * rate_hz:
                fade = torch.exp(-time_s * k / _uniform(rng, 0.1, 0.6))
                sound += fade / k * torch.cos(2 * math.pi * k * f0 * time_s)
    sound *= ((0.4 - time_s) / 0.02).clamp(max=1)
    peak = PEAK * 10 ** _uniform(rng, -1.0, 0.0)
    return (sound * (peak / sound.abs().max().clamp(min=1e-9))).float()
