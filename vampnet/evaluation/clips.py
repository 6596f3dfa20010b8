"""Clips to measure with: excerpts of a folder of music, spread evenly over its files."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import Tensor

from vampnet import audio
from vampnet.audio.loudness import normalize
from vampnet.system.errors import UserError
from vampnet.system.file_tree import files_below
from vampnet.system.hashes import sha256

log = logging.getLogger(__name__)

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


@dataclass(frozen=True)
class _File:
    """A file to cut from: where it lies, what it is called in titles, length in s, rate in Hz."""

    path: Path
    name: str
    duration_s: float
    rate_hz: int


def cut(folder: str | Path, rate_hz: int, n_clips: int, seconds: float) -> list[Clip]:
    """At most ``n_clips`` clips of ``seconds`` from the audio files below a folder.

    Files that are not audio are passed over, silent excerpts too. Told in the log are a damaged
    file, with the clips placed among the others, a file or clip that was there before, and how many
    files are too short. Raises ValueError where fewer than 4 clips come together.
    """
    files = _files(Path(folder))
    found: list[Clip] = []
    titles: dict[str, str] = {}
    for file, start_s, mono in _excerpts(files, rate_hz, n_clips, seconds):
        if float(mono.abs().max()) < 1e-4:
            continue
        title = f"{file.name}, {int(start_s // 60)}:{int(start_s % 60):02d}"
        clip = Clip(len(found), title, normalize(mono, rate_hz)[0][0], rate_hz)
        before = titles.setdefault(clip.content, title)
        if before is not title:  # held against each other they would pass for different music
            log.warning("passed over: %s is the same as %s", title, before)
            continue
        found.append(clip)
    n_short = sum(file.duration_s < seconds for file in files)
    short = f"{n_short} of {len(files)} audio files are shorter than {seconds:g} s"
    if len(found) < LEAST_CLIPS:
        raise UserError(
            f"'{folder}' gives {len(found)} clips of {seconds:g} s; at least {LEAST_CLIPS}"
            + f" ({short})" * bool(n_short)
        )
    if n_short:
        log.warning("passed over: %s", short)
    return found


def _excerpts(
    files: Sequence[_File], rate_hz: int, n_clips: int, seconds: float
) -> list[tuple[_File, float, Tensor]]:
    """File, start in s and mono sound float (1, S) of each clip, of files that are not damaged."""
    sounds: dict[tuple[_File, float], Tensor] = {}
    while True:
        durations = [file.duration_s for file in files]
        wanted = [(files[i], start_s) for i, start_s in places(durations, n_clips, seconds)]
        damaged = _damaged(wanted, rate_hz, seconds, sounds)
        if not damaged:
            return [(file, start_s, sounds[file, start_s]) for file, start_s in wanted]
        files = [file for file in files if file not in damaged]


def _files(folder: Path) -> list[_File]:
    """The audio files below a folder, in linked folders too, by path, each once.

    Raises ValueError where there is no folder.
    """
    if not folder.is_dir():
        kind = "is no folder" if folder.exists() else "is not there"
        raise UserError(f"'{folder}' {kind}; give a folder of audio files")
    headers = {}
    for path in files_below(folder):
        with suppress(audio.AudioError):
            headers[path] = audio.probe(path)
    paths = _without_copies(list(headers), folder)
    return [
        _File(
            path, name, headers[path].frames / headers[path].sample_rate, headers[path].sample_rate
        )
        for path, name in zip(paths, _names(paths, folder), strict=True)
    ]


def _without_copies(paths: Sequence[Path], folder: Path) -> list[Path]:
    """The files without further ones of the same bytes; only those of one size are compared."""
    sizes = Counter(path.stat().st_size for path in paths)
    seen: dict[str, Path] = {}
    found = []
    for path in paths:
        if sizes[path.stat().st_size] > 1:
            first = seen.setdefault(sha256(path), path)
            if first is not path:
                names = (other.relative_to(folder).as_posix() for other in (path, first))
                log.warning("passed over: %s is the same as %s", *names)
                continue
        found.append(path)
    return found


def _names(paths: Sequence[Path], folder: Path) -> list[str]:
    """Names that no two files share: the stem, or else the path below the folder."""
    below = [path.relative_to(folder) for path in paths]
    stems = Counter(path.stem for path in below)
    bare = Counter(path.with_suffix("") for path in below)
    found = []
    for path in below:
        short = path.with_suffix("") if bare[path.with_suffix("")] == 1 else path
        found.append(path.stem if stems[path.stem] == 1 else short.as_posix())
    return found


def _damaged(
    wanted: Sequence[tuple[_File, float]],
    rate_hz: int,
    seconds: float,
    sounds: dict[tuple[_File, float], Tensor],
) -> set[_File]:
    """Put what is wanted into ``sounds``, float (1, S) by file and start in s; files that fail."""
    found: set[_File] = set()
    for file, start_s in wanted:
        if file in found or (file, start_s) in sounds:
            continue
        start, frames = int(start_s * file.rate_hz), int(seconds * file.rate_hz)
        try:
            piece = audio.read(file.path, start=start, frames=frames)
        except audio.AudioError as error:
            log.warning("passed over: %s", error)
            found.add(file)
            continue
        mono = piece.samples.mean(0, keepdim=True)
        sounds[file, start_s] = audio.resample(mono, file.rate_hz, rate_hz, int(seconds * rate_hz))
    return found
