"""Evaluation clips: excerpts of a folder of music, spread evenly over its files."""

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

MIN_CLIPS = 4  # fewer clips cannot be compared as two sets


@dataclass(frozen=True, eq=False)
class MusicClip:
    """An excerpt of a music file.

    Attributes:
        number: index among the clips.
        title: file and start time.
        sound: mono audio, float (S,) at -24 LUFS.
        rate_hz: sample rate in Hz.
    """

    number: int
    title: str
    sound: Tensor
    rate_hz: int

    @cached_property
    def content(self) -> str:
        """Hash of the samples, part of the cache key of a result."""
        return hashlib.sha256(self.sound.numpy().tobytes()).hexdigest()[:16]


def excerpt_starts(
    durations_s: list[float], n_clips: int, seconds: float
) -> list[tuple[int, float]]:
    """Choose where to cut excerpts that do not overlap.

    Every file gives one excerpt before any gives a second; those of a file are spaced evenly. Any
    prefix of the list covers as many files as it can.

    Args:
        durations_s: length of each file in seconds.
        n_clips: number of excerpts at most.
        seconds: length of an excerpt.

    Returns:
        (index of the file, start in seconds) of each excerpt.
    """
    capacity = [int(duration // seconds) for duration in durations_s]
    counts = [0] * len(capacity)
    while sum(counts) < min(n_clips, sum(capacity)):
        for file, most in enumerate(capacity):
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
    """An audio file: its path, its name in titles, length in seconds, sample rate in Hz."""

    path: Path
    name: str
    duration_s: float
    rate_hz: int


def cut_clips(folder: str | Path, rate_hz: int, n_clips: int, seconds: float) -> list[MusicClip]:
    """Cut clips from the audio files below a folder.

    Files that are not audio and silent excerpts are skipped. Damaged files, whose clips are taken
    from the other files instead, duplicates and the number of files that are too short are logged.

    Args:
        folder: folder of audio files, searched recursively.
        rate_hz: sample rate of the clips in Hz.
        n_clips: number of clips at most.
        seconds: length of a clip.

    Returns:
        The clips, numbered from 0.

    Raises:
        UserError: the folder does not exist, or gives fewer than 4 clips.
    """
    files = _files(Path(folder))
    found: list[MusicClip] = []
    titles: dict[str, str] = {}
    for file, start_s, mono in _excerpts(files, rate_hz, n_clips, seconds):
        if float(mono.abs().max()) < 1e-4:
            continue
        title = f"{file.name}, {int(start_s // 60)}:{int(start_s % 60):02d}"
        clip = MusicClip(len(found), title, normalize(mono, rate_hz)[0][0], rate_hz)
        before = titles.setdefault(clip.content, title)
        if before is not title:  # two equal clips would count as different music
            log.warning("skipped: %s is the same as %s", title, before)
            continue
        found.append(clip)
    n_short = sum(file.duration_s < seconds for file in files)
    short = f"{n_short} of {len(files)} audio files are shorter than {seconds:g} s"
    if len(found) < MIN_CLIPS:
        raise UserError(
            f"'{folder}' gives {len(found)} clips of {seconds:g} s; at least {MIN_CLIPS}"
            + f" ({short})" * bool(n_short)
        )
    if n_short:
        log.warning("skipped: %s", short)
    return found


def _excerpts(
    files: Sequence[_File], rate_hz: int, n_clips: int, seconds: float
) -> list[tuple[_File, float, Tensor]]:
    """File, start in seconds and mono audio float (1, S) of each clip, without damaged files."""
    sounds: dict[tuple[_File, float], Tensor] = {}
    while True:
        durations = [file.duration_s for file in files]
        wanted = [(files[i], start_s) for i, start_s in excerpt_starts(durations, n_clips, seconds)]
        damaged = _damaged(wanted, rate_hz, seconds, sounds)
        if not damaged:
            return [(file, start_s, sounds[file, start_s]) for file, start_s in wanted]
        files = [file for file in files if file not in damaged]


def _files(folder: Path) -> list[_File]:
    """List the audio files below a folder by path, each once, following links.

    Raises UserError where the folder does not exist.
    """
    if not folder.is_dir():
        kind = "is not a folder" if folder.exists() else "does not exist"
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
    """Drop files with the content of an earlier one; only files of equal size are compared."""
    sizes = Counter(path.stat().st_size for path in paths)
    seen: dict[str, Path] = {}
    found = []
    for path in paths:
        if sizes[path.stat().st_size] > 1:
            first = seen.setdefault(sha256(path), path)
            if first is not path:
                names = (other.relative_to(folder).as_posix() for other in (path, first))
                log.warning("skipped: %s is the same as %s", *names)
                continue
        found.append(path)
    return found


def _names(paths: Sequence[Path], folder: Path) -> list[str]:
    """Unique names: the stem, or where that is ambiguous the path below the folder."""
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
    """Read the wanted excerpts into ``sounds`` and return the files that cannot be read.

    ``sounds`` maps (file, start in seconds) to mono audio float (1, S).
    """
    found: set[_File] = set()
    for file, start_s in wanted:
        if file in found or (file, start_s) in sounds:
            continue
        start, frames = int(start_s * file.rate_hz), int(seconds * file.rate_hz)
        try:
            piece = audio.read(file.path, start=start, frames=frames)
        except audio.AudioError as error:
            log.warning("skipped: %s", error)
            found.add(file)
            continue
        mono = piece.samples.mean(0, keepdim=True)
        sounds[file, start_s] = audio.resample(mono, file.rate_hz, rate_hz, int(seconds * rate_hz))
    return found
