"""Fit the beat tracker's weights to loops made by code with random patterns.

    PYTHONPATH=. python benchmarks/fit_beats.py vampnet/weights/beats/grids.safetensors

The patterns come from a grammar, not from ``beat_loops.py``'s lists, levels and tone are random;
4 of 10 are excerpts cut anywhere. A minute for 100 loops of which each gives about 900 grids.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import beat_loops
import numpy as np
import torch
from beat_loops import PARTS, RATE_HZ, Loop, Pattern
from safetensors.numpy import save_file
from scipy.signal import lfilter

from vampnet.prompt.beat_grids import BARS, N_EXTRAS, Grid, candidates

TYPES = {"4s": 0.58, "4t": 0.16, "3s": 0.13, "3t": 0.03, "6t": 0.10}  # beats; straight, triple
TYPICAL_BPM, TEMPO_WEIGHT = 115.0, 2.0  # music's tempi lie nearer together than the loops'


def pattern(rng: np.random.Generator) -> tuple[str, Pattern]:
    """A random bar of a random type: which steps each instrument plays."""
    kind = str(rng.choice(list(TYPES), p=list(TYPES.values())))
    n_steps = 3 if kind[1] == "t" else 4
    n_beats = {"4": 4, "3": 3, "6": 2}[kind[0]]
    beats = tuple(range(0, n_beats * n_steps, n_steps))
    strength = np.array([_strength(i, n_steps, n_beats) for i in range(n_beats * n_steps)])
    weights = [0.45, 0.22, 0.15, 0.18] if n_beats == 4 else [0.75, 0.0, 0.0, 0.25]
    style = str(rng.choice(["back", "four", "half", "sparse"], p=weights))
    kick, snare = _kick(style, beats, strength, rng), _snare(style, beats, strength, rng)
    hat, bass = _hat(n_steps, strength, rng), _bass(n_steps, kick, strength, rng)
    lines = ("".join("x" if on else "." for on in line) for line in (kick, snare, hat, bass))
    return kind, Pattern(beats, *lines, steps_per_beat=n_steps)


def _strength(step: int, n_steps: int, n_beats: int) -> float:
    if step % n_steps:
        return 0.25 if step % n_steps == 2 else 0.08
    if step == 0:
        return 1.0
    return 0.6 if n_beats != 4 or step == 2 * n_steps else 0.45


def _kick(style, beats, strength, rng) -> np.ndarray:
    if style == "four":
        return np.isin(np.arange(len(strength)), beats)
    odds = strength * (0.35 if style == "half" else 0.7)
    if style == "back":
        odds[list(beats[1::2])] *= 0.4
    on = rng.random(len(odds)) < odds
    on[0] |= rng.random() < 0.95
    return on


def _snare(style, beats, strength, rng) -> np.ndarray:
    on = np.zeros(len(strength), dtype=bool)
    if style == "half":
        on[beats[2]] = True
    elif style == "back" or (style == "four" and rng.random() < 0.6):
        three = [beats[1:], beats[2:], beats[1:2]][rng.choice(3, p=[0.6, 0.2, 0.2])]
        on[list(three if len(beats) == 3 else beats[1::2])] = True
    on[1:] |= rng.random(len(on) - 1) < 0.05
    return on


def _hat(n_steps, strength, rng) -> np.ndarray:
    at = np.arange(len(strength)) % n_steps
    eighths = at % 2 == 0 if n_steps == 4 else at != 1
    off = at == 2
    lines = [eighths, at == 0, at >= 0, off, at < 0, rng.random(len(at)) < 0.2 + 0.5 * strength]
    on = lines[rng.choice(6, p=[0.35, 0.12, 0.15, 0.2, 0.06, 0.12])]
    return on ^ (rng.random(len(on)) < 0.04)


def _bass(n_steps, kick, strength, rng) -> np.ndarray:
    at = np.arange(len(strength)) % n_steps
    eighths = at % 2 == 0 if n_steps == 4 else at != 1
    lines = [rng.random(len(at)) < 0.9 * strength, at == 2, eighths, kick.copy()]
    chosen = rng.choice(4, p=[0.45, 0.17, 0.18, 0.2])
    if chosen != 1:
        lines[chosen][0] |= rng.random() < 0.9
    return lines[chosen]


def loop(rng: np.random.Generator) -> Loop:
    """A random loop of a random pattern, its level and tone random, too."""
    kind, made = pattern(rng)
    parts = PARTS[rng.integers(len(PARTS))]
    name = {"6t": "6/8", "4t": "swung"}.get(kind, "")
    given = beat_loops._loop(name, parts, made, rng, excerpt=bool(rng.random() < 0.4), spread=0.6)
    tone = lfilter([1, -rng.uniform(-0.7, 0.7)], [1], given.samples)
    noise = 10 ** rng.uniform(-4, -2) * rng.standard_normal(len(tone))
    mono = (tone + noise) / np.abs(tone + noise).max()
    times = (given.beats_s, given.downbeats_s)
    return Loop(kind, parts, mono.astype(np.float32), *times, given.bpm)


def right(grid: Grid, loop: Loop) -> bool:
    """Whether the grid has the loop's beats and bars."""
    period = float(np.median(np.diff(loop.beats_s)))
    if abs(grid.period_s / period - 1) > 0.015:
        return False
    bar_s = grid.period_s * grid.beats_per_bar
    error = np.abs((loop.downbeats_s - grid.first_s + bar_s / 2) % bar_s - bar_s / 2).max()
    gaps = np.diff(loop.downbeats_s)
    same = not len(gaps) or abs(np.median(gaps) / period - grid.beats_per_bar) < 0.1
    return bool(error < 0.05 and same)


def examples(n: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Features float16 (grids, D) and which are right, bool (grids,), of n loops."""
    rng, found = np.random.default_rng(seed), []
    while len(found) < n:
        made = loop(rng)
        if len(made.samples) < 2 * RATE_HZ or len(made.beats_s) < 3 or not len(made.downbeats_s):
            continue
        grids, features = candidates(made.samples)
        good = np.array([right(grid, made) for grid in grids], dtype=bool)
        if good.any():
            found.append((features.astype(np.float16), good))
    return found


def fitted(data: list[tuple[np.ndarray, np.ndarray]], decay: float, steps: int) -> np.ndarray:
    """Weights (D,) of the conditional logit: the right grids' share of each loop's softmax."""
    features = torch.from_numpy(np.concatenate([x for x, _ in data])).float()
    good = torch.from_numpy(np.concatenate([y for _, y in data]))
    group = torch.from_numpy(np.repeat(np.arange(len(data)), [len(y) for _, y in data]))
    weights = torch.zeros(features.shape[1], requires_grad=True)
    optimizer = torch.optim.Adam([weights], 0.03)
    for step in range(steps):
        score = features @ weights
        top = torch.full((len(data),), -1e9).scatter_reduce(0, group, score, "amax")
        odds = (score - top[group].detach()).exp()
        total = torch.zeros(len(data)).scatter_add(0, group, odds)
        hit = torch.zeros(len(data)).scatter_add(0, group, odds * good)
        loss = -(hit / total + 1e-12).log().mean() + decay * weights.square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 49:
            print(f"step {step + 1}: loss {loss.item():.3f}", flush=True)
    return weights.detach().numpy()


def typical(weights: np.ndarray) -> np.ndarray:
    """Less for a tempo the farther it lies, in octaves squared, from TYPICAL_BPM."""
    adjusted, apart = weights.copy(), np.log2(110 / TYPICAL_BPM)
    for kind in range(len(BARS)):
        first = len(weights) - (len(BARS) - kind) * N_EXTRAS
        adjusted[first + 1] -= TEMPO_WEIGHT * apart
        adjusted[first + 2] -= TEMPO_WEIGHT / 2
    return adjusted


def main() -> None:
    """See the top of the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--loops", type=int, default=640)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--decay", type=float, default=1.5e-3)
    parser.add_argument("--steps", type=int, default=150)
    args = parser.parse_args()
    found = typical(fitted(examples(args.loops, args.seed), args.decay, args.steps))
    save_file({"weights": found.astype(np.float32)}, args.out)


if __name__ == "__main__":
    main()
