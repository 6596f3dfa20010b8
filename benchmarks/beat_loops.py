"""Loops made by code whose beats and downbeats are known, for ``beats.py``.

Two sets of different patterns, tempi and sounds: one to tune on, one to report. Half of each set
are loops (whole bars from a downbeat on), half are excerpts cut anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import butter, sosfilt

RATE_HZ = 22050
PARTS = ("drums", "drums and bass", "full", "pads with percussion", "pads and bass", "bass")
SETS = ("tune", "report")


@dataclass(frozen=True)
class Loop:
    """Mono float32 samples at RATE_HZ; times in seconds; ``kind`` of rhythm; ``parts`` playing."""

    kind: str
    parts: str
    samples: np.ndarray
    beats_s: np.ndarray
    downbeats_s: np.ndarray
    bpm: float


@dataclass(frozen=True)
class Pattern:
    """One bar: steps at which each instrument plays, and the steps on which the beats lie."""

    beats: tuple[int, ...]
    kick: str
    snare: str
    hat: str
    bass: str
    steps_per_beat: int = 4


_FOUR, _THREE, _SIX = (0, 4, 8, 12), (0, 4, 8), (0, 3)
_SWING, _SEVEN = (0, 3, 6, 9), (0, 4, 8)
PATTERNS: dict[str, dict[str, list[Pattern]]] = {
    "straight": {
        "tune": [
            Pattern(
                _FOUR,
                "x.......x.x.....",
                "....x.......x...",
                "x.x.x.x.x.x.x.x.",
                "x..x..x.x..x..x.",
            ),
            Pattern(
                _FOUR,
                "x...x...x...x...",
                "....x.......x...",
                "..x...x...x...x.",
                "x.x.x.x.x.x.x.x.",
            ),
        ],
        "report": [
            Pattern(
                _FOUR,
                "x..x......x..x..",
                "....x..x.x..x..x",
                "x.x.x.x.x.x.x.x.",
                "x.....x...x.x...",
            ),
            Pattern(
                _FOUR,
                "x.....x.x.......",
                "....x.......x..x",
                "xxxxxxxxxxxxxxxx",
                "x.......x.....x.",
            ),
        ],
    },
    "swung": {
        "tune": [
            Pattern(_SWING, "x.....x.....", "...x.....x..", "x.xx.xx.xx.x", "x..x..x..x..", 3),
            Pattern(_SWING, "x....x......", "...x.....x..", "x..x.xx..x.x", "x....xx....x", 3),
        ],
        "report": [
            Pattern(_SWING, "x.....x.x...", "...x.....x.x", "x.xx.xx.xx.x", "x..x..x..x.x", 3),
            Pattern(_SWING, "x..x..x..x..", "...x.....x..", "x..x.xx..x.x", "x.....x.....", 3),
        ],
    },
    "3/4": {
        "tune": [
            Pattern(_THREE, "x...........", "....x...x...", "x.x.x.x.x.x.", "x.......x..."),
            Pattern(_THREE, "x.....x.....", "........x...", "x...x...x...", "x...x...x..."),
        ],
        "report": [
            Pattern(_THREE, "x.........x.", "....x...x...", "x...x.x.x...", "x..........."),
            Pattern(_THREE, "x.......x...", "....x.......", "x.x.x.x.x.x.", "x.x.x......."),
        ],
    },
    "6/8": {
        "tune": [
            Pattern(_SIX, "x.....", "...x..", "xxxxxx", "x..x..", 3),
            Pattern(_SIX, "x....x", "...x..", "x.xx.x", "x....x", 3),
        ],
        "report": [
            Pattern(_SIX, "x.x...", "...x..", "xxxxxx", "x.xx..", 3),
            Pattern(_SIX, "x.....", "...x.x", "x.xx.x", "x..x.x", 3),
        ],
    },
    "7/8": {
        "tune": [
            Pattern(_SEVEN, "x.......x.....", "....x.......x.", "x.x.x.x.x.x.x.", "x.......x.....")
        ],
        "report": [
            Pattern(_SEVEN, "x...x...x.....", "........x...x.", "x.x.x.x.x.x.x.", "x...x...x.x...")
        ],
    },
    "off-beat": {
        "tune": [
            Pattern(
                _FOUR,
                "x...x...x...x...",
                "................",
                "..x...x...x...x.",
                "..x...x...x...x.",
            ),
            Pattern(
                _FOUR,
                "........x.......",
                "........x.......",
                "..x...x...x...x.",
                "x.....x...x..x..",
            ),
        ],
        "report": [
            Pattern(
                _FOUR,
                "x...x...x...x...",
                "....x.......x...",
                "..x...x...x...x.",
                "..xx..xx..xx..xx",
            ),
            Pattern(
                _FOUR,
                "x.......x.......",
                "................",
                "..x.x.x...x.x.x.",
                "..x...x...x...x.",
            ),
        ],
    },
    "half-time": {
        "tune": [
            Pattern(
                _FOUR,
                "x.........x.....",
                "........x.......",
                "x.x.x.x.x.x.x.x.",
                "x.........x.....",
            ),
            Pattern(
                _FOUR, "x.....x.........", "........x.......", "x...x...x...x...", "x.....x....."
            ),
        ],
        "report": [
            Pattern(
                _FOUR,
                "x..x......x.....",
                "........x.......",
                "x.x.x.x.x.x.x.xx",
                "x..x......x.....",
            ),
            Pattern(_FOUR, "x.............x.", "........x.......", "x...x.x.x...x.x.", "x......."),
        ],
    },
}
SLOWEST_BPM, FASTEST_BPM = 60, 190
FASTEST = {"6/8": 125, "swung": 170, "7/8": 140}  # dotted quarters; quarters
SLOWEST = {"half-time": 110, "7/8": 90}


def made(which: str, per_kind: int = 2) -> list[Loop]:
    """The loops of a set: ``per_kind`` of each rhythm by each instrumentation."""
    rng = np.random.default_rng({"tune": 11, "report": 23}[which])
    loops = []
    for kind, sets in PATTERNS.items():
        for parts in PARTS:
            for turn in range(per_kind):
                pattern = sets[which][turn % len(sets[which])]
                loops.append(_loop(kind, parts, pattern, rng, excerpt=bool(turn % 2)))
    return loops


def _loop(
    kind: str,
    parts: str,
    pattern: Pattern,
    rng: np.random.Generator,
    excerpt: bool,
    spread: float = 0.0,
) -> Loop:
    low, high = SLOWEST.get(kind, SLOWEST_BPM), FASTEST.get(kind, FASTEST_BPM)
    bpm = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    step_s = 60 / bpm / pattern.steps_per_beat
    n_steps = len(pattern.kick)
    n_bars = max(2, round(rng.uniform(4, 18) / (n_steps * step_s)))
    n_bars += n_bars % 2 + 2 * excerpt
    samples = _played(parts, pattern, n_bars, step_s, rng, spread)
    firsts = np.arange(n_bars) * n_steps * step_s
    beats = (firsts[:, None] + np.array(pattern.beats)[None] * step_s).ravel()
    if excerpt:
        bar_s = n_steps * step_s
        start = float(rng.uniform(0.05, 1.0)) * bar_s
        end = len(samples) / RATE_HZ - float(rng.uniform(0.05, 1.0)) * bar_s
        samples = samples[round(start * RATE_HZ) : round(end * RATE_HZ)]
        beats, firsts = (t[(t >= start) & (t < end)] - start for t in (beats, firsts))
    samples = samples / np.abs(samples).max() * 0.9
    return Loop(kind, parts, samples.astype(np.float32), beats, firsts, bpm)


def _played(
    parts: str,
    pattern: Pattern,
    n_bars: int,
    step_s: float,
    rng: np.random.Generator,
    spread: float,
) -> np.ndarray:
    """All instruments over all bars; what sounds past the end wraps round to the start.

    spread: standard deviation of each instrument's log level.
    """
    n_steps = len(pattern.kick)
    out = np.zeros(round(n_bars * n_steps * step_s * RATE_HZ))
    root = 40 * 2 ** (rng.integers(0, 12) / 12)
    voices = {
        "kick": (_kick(rng), 0.9, pattern.kick, ("drums", "drums and bass", "full")),
        "snare": (_snare(rng), 0.5, pattern.snare, ("drums", "drums and bass", "full")),
        "hat": (_hat(rng), 0.2, pattern.hat, (*PARTS[:4],)),
    }
    gains = np.exp(rng.normal(0, spread, 5)) if spread else np.ones(5)
    chords = rng.choice([0, 3, 5, 7, 8, 10], size=n_bars)
    for bar in range(n_bars):
        start = bar * n_steps
        pitch = root * 2 ** (chords[bar] / 12)
        for gain, (sound, level, line, players) in zip(gains, voices.values(), strict=False):
            if parts in players:
                _put(out, sound, gain * level, line, start, step_s, rng)
        if "bass" in parts or parts == "full":
            note = _pluck(pitch, 0.35, rng)
            _put(out, note, 0.6 * gains[3], pattern.bass, start, step_s, rng)
        if "pads" in parts or parts == "full":
            chord = sum(_pad(4 * pitch * 2 ** (i / 12), n_steps * step_s) for i in (0, 3, 7))
            _put(out, chord, 0.15 * gains[4], "x", start, step_s, rng)
    return out + 0.0005 * rng.standard_normal(len(out))


def _put(out, sound, level, line, start, step_s, rng) -> None:
    """Add a sound at each x of a line, a few ms early or late, as loud as a player would."""
    for step, mark in enumerate(line):
        if mark == "x":
            at_s = (start + step) * step_s + rng.normal(0, 0.003)
            first = round(at_s * RATE_HZ)
            accent = level * (1.0 if step == 0 else rng.uniform(0.7, 1.0))
            np.add.at(out, np.arange(first, first + len(sound)) % len(out), accent * sound)


def _time(duration_s: float) -> np.ndarray:
    return np.arange(round(duration_s * RATE_HZ)) / RATE_HZ


def _kick(rng: np.random.Generator) -> np.ndarray:
    t, low = _time(0.25), rng.uniform(42, 60)
    phase = 2 * np.pi * (low * t + 120 * 0.03 * (1 - np.exp(-t / 0.03)))
    return np.sin(phase) * np.exp(-t / rng.uniform(0.06, 0.12))


def _snare(rng: np.random.Generator) -> np.ndarray:
    t = _time(0.2)
    body = 0.5 * np.sin(2 * np.pi * rng.uniform(160, 220) * t) * np.exp(-t / 0.05)
    return body + rng.standard_normal(len(t)) * np.exp(-t / rng.uniform(0.04, 0.08)) * 0.5


def _hat(rng: np.random.Generator) -> np.ndarray:
    t = _time(0.12)
    noise = sosfilt(butter(4, 6000, "high", fs=RATE_HZ, output="sos"), rng.standard_normal(len(t)))
    return np.asarray(noise) * np.exp(-t / rng.uniform(0.015, 0.04))


def _pluck(pitch_hz: float, duration_s: float, rng: np.random.Generator) -> np.ndarray:
    t = _time(duration_s)
    tone = sum(np.sin(2 * np.pi * k * pitch_hz * t) / k for k in range(1, 9))
    return tone * np.exp(-t / rng.uniform(0.08, 0.2)) * np.minimum(1, t / 0.004)


def _pad(pitch_hz: float, duration_s: float) -> np.ndarray:
    t = _time(duration_s)
    tone = sum(np.sin(2 * np.pi * k * pitch_hz * t + k) / k for k in range(1, 6))
    return tone * np.minimum(1, t / 0.06) * np.minimum(1, (duration_s - t) / 0.05)
