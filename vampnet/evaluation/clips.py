"""Clips to measure with: excerpts of a folder of music, spread evenly over its files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import Tensor

from vampnet import audio
from vampnet.loudness import normalize

LEAST_CLIPS = 4  # below, no set of clips can be held against another


@dataclass(frozen=True, eq=False)
class Clip:
    """An excerpt: its number, where it is from, mono sound float (S,) at -24 LUFS, rate in Hz."""

    number: int
    title: str
    sound: Tensor
    rate_hz: int

    @cached_property
    def content(self) -> str:
        """A hash of the samples: results are kept under what they were made of."""
        return hashlib.sha256(self.sound.numpy().tobytes()).hexdigest()[:16]


def places(durations_s: list[float], n_clips: int, seconds: float) -> list[tuple[int, float]]:
    """Where to cut: (file, start in seconds) of at most ``n_clips`` excerpts that never overlap.

    Every file gives one before any gives a second; those of a file lie evenly in it. Ordered so
    that any beginning of the list covers as many files as it can.
    """
    room = [int(duration // seconds) for duration in durations_s]
    counts = [0] * len(room)
    while sum(counts) < min(n_clips, sum(room)):
        for file, most in enumerate(room):
            if counts[file] < most and sum(counts) < n_clips:
                counts[file] += 1
    found = []
    for turn in range(max(counts, default=0)):
        for file, count in enumerate(counts):
            if turn < count:
                gap = (durations_s[file] - count * seconds) / (count + 1)
                found.append((file, gap + turn * (gap + seconds)))
    return found


def cut(folder: str | Path, rate_hz: int, n_clips: int, seconds: float) -> list[Clip]:
    """At most ``n_clips`` clips of ``seconds`` from the audio files below a folder.

    Files that are not audio are passed over, silent excerpts too. Raises ValueError where fewer
    than 4 clips come together.
    """
    files, durations = [], []
    for path in sorted(p for p in Path(folder).rglob("*") if p.is_file()):
        try:
            header = audio.probe(path)
        except audio.AudioError:
            continue
        files.append((path, header.sample_rate))
        durations.append(header.frames / header.sample_rate)
    found: list[Clip] = []
    for file, start_s in places(durations, n_clips, seconds):
        path, own_hz = files[file]
        piece = audio.read(path, start=int(start_s * own_hz), frames=int(seconds * own_hz))
        mono = audio.resample(
            piece.samples.mean(0, keepdim=True), own_hz, rate_hz, int(seconds * rate_hz)
        )
        if float(mono.abs().max()) < 1e-4:
            continue
        title = f"{path.stem}, {int(start_s // 60)}:{int(start_s % 60):02d}"
        found.append(Clip(len(found), title, normalize(mono, rate_hz)[0][0], rate_hz))
    if len(found) < LEAST_CLIPS:
        raise ValueError(
            f"'{folder}' gives {len(found)} clips of {seconds:g} s; at least {LEAST_CLIPS}"
        )
    return found
