"""Print, as Markdown, how well the beat trackers do on loops whose beats are known.

    PYTHONPATH=. python benchmarks/beats.py [--set report] [--real FOLDER] [--trackers A,B]

FOLDER: the loops of the Debian package sonic-pi-samples (CC0), whose lengths give their beats.
F: share of beats within 70 ms, precision and recall together. CMLt: share of beats in a correct
stretch of the right tempo and phase (17.5 %). Octave: tempo wrong by 1/3, 1/2, 2/3, 3/2, 2 or 3.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch
from beat_loops import PARTS, RATE_HZ, SETS, Loop, made

from vampnet.audio import resample
from vampnet.prompt.beats import TRACKERS, Beats, track

NEAR_S = 0.07
CONTINUITY = 0.175
TEMPO = 0.04
OCTAVES = (1 / 3, 1 / 2, 2 / 3, 3 / 2, 2, 3)
REAL_BEATS = {  # in four-beat bars from the first sample on; short ones are played twice or more
    "loop_amen": 4, "loop_amen_full": 16, "loop_breakbeat": 4, "loop_compus": 16,
    "loop_electric": 4, "loop_garzul": 16, "loop_industrial": 2, "loop_mehackit1": 4,
    "loop_mehackit2": 4, "loop_mika": 16, "loop_perc1": 4, "loop_perc2": 4, "loop_safari": 16,
    "loop_weirdo": 8,
}  # fmt: skip
LEAST_S = 4.0


def f_measure(found: Sequence[float] | np.ndarray, true: Sequence[float] | np.ndarray) -> float:
    """Each time may match one: the nearest free one within 70 ms, in order of time."""
    found, true = list(found), list(true)
    if not found and not true:
        return 1.0
    i = j = hits = 0
    while i < len(found) and j < len(true):
        if abs(found[i] - true[j]) <= NEAR_S:
            hits, i, j = hits + 1, i + 1, j + 1
        elif found[i] < true[j]:
            i += 1
        else:
            j += 1
    return 2 * hits / (len(found) + len(true))


def cmlt(found: Sequence[float] | np.ndarray, true: Sequence[float] | np.ndarray) -> float:
    """Share of beats whose place and gap to the one before are right (Davies et al., 2009)."""
    f, t = np.asarray(found), np.asarray(true)
    if len(f) < 2 or len(t) < 2:
        return 0.0
    right = 0
    for n, time_s in enumerate(f):
        k = int(np.abs(t - time_s).argmin())
        gap = t[k] - t[k - 1] if k else t[1] - t[0]
        period = f[n] - f[n - 1] if n else f[1] - f[0]
        near = abs(t[k] - time_s) < CONTINUITY * gap
        right += near and abs(1 - period / gap) < CONTINUITY
    return right / max(len(f), len(t))


def octave_error(found: Beats, bpm: float) -> bool:
    """Whether the tempo is a simple multiple of the true one, and not it."""
    return found.bpm is not None and any(
        abs(found.bpm / bpm / ratio - 1) < TEMPO for ratio in OCTAVES
    )


def real(folder: Path) -> list[Loop]:
    """The loops of REAL_BEATS, each at least LEAST_S long."""
    loops = []
    for name, n_beats in REAL_BEATS.items():
        audio, rate_hz = soundfile.read(folder / f"{name}.flac", dtype="float32", always_2d=True)
        mono = resample(torch.from_numpy(audio.mean(1))[None], rate_hz, RATE_HZ)[0].numpy()
        times = int(np.ceil(LEAST_S / (len(mono) / RATE_HZ)))
        period = len(mono) / RATE_HZ / n_beats
        beats = np.arange(n_beats * times) * period
        loops.append(Loop("real", "real", np.tile(mono, times), beats, beats[::4], 60 / period))
    return loops


def measured(loop: Loop, tracker: str) -> dict[str, float]:
    """What a tracker reaches on a loop, and its time."""
    start = time.process_time()
    found = track(torch.from_numpy(loop.samples), RATE_HZ, tracker=tracker)
    seconds = time.process_time() - start
    return {
        "F": f_measure(found.times_s, loop.beats_s),
        "CMLt": cmlt(found.times_s, loop.beats_s),
        "downbeat F": f_measure(found.downbeats_s, loop.downbeats_s),
        "octave": float(octave_error(found, loop.bpm)),
        "CPU s per minute": 60 * seconds / (len(loop.samples) / RATE_HZ),
    }


def table(loops: list[Loop], tracker: str) -> None:
    """Print the means of each kind and of all."""
    rows = [(loop, measured(loop, tracker)) for loop in loops]
    groups = {kind: [m for loop, m in rows if loop.kind == kind] for kind, _ in _kinds(loops)}
    for parts in PARTS:
        groups[parts] = [m for loop, m in rows if loop.parts == parts]
    every = [m for loop, m in rows if loop.kind != "real"]
    groups["all made"] = every
    for name, found in groups.items():
        if found:
            mean = {key: np.mean([m[key] for m in found]) for key in found[0]}
            print(
                f"| {tracker} | {name} ({len(found)}) | {mean['F']:.3f} | {mean['CMLt']:.3f} | "
                f"{mean['downbeat F']:.3f} | {mean['octave']:.0%} | "
                f"{mean['CPU s per minute']:.1f} |",
                flush=True,
            )


def _kinds(loops: list[Loop]) -> list[tuple[str, None]]:
    return list(dict.fromkeys((loop.kind, None) for loop in loops))


def main() -> None:
    """See the top of the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", choices=SETS, default="report")
    parser.add_argument("--real", type=Path, help="folder with the loops of sonic-pi-samples")
    parser.add_argument("--trackers", default=",".join(TRACKERS[1:]))
    parser.add_argument("--per-kind", type=int, default=2)
    args = parser.parse_args()
    loops = made(args.set, args.per_kind) + (real(args.real) if args.real else [])
    print("| tracker | loops | F | CMLt | downbeat F | octave | CPU s per minute |")
    print("|---|---|---|---|---|---|---|")
    for tracker in args.trackers.split(","):
        try:
            table(loops, tracker)
        except ValueError as error:
            print(f"| {tracker} | {error} |")


if __name__ == "__main__":
    main()
