"""Audio files: read samples in the file's own format.

A file is known by its content, never by its name, and its header is checked against the limits
before anything is decoded. Audio is a float32 tensor (C, S): channels, samples, full scale 1.0;
`read_native` gives the file's own samples.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
from torch import Tensor

from vampnet.audio.content import DEFAULT_LIMITS, Flaw, Limits
from vampnet.audio.reading import Decoder, find
from vampnet.audio.sample_format import AudioFormat, flaw, native_dtype, native_to_float
from vampnet.system.errors import UserError

StrPath = str | os.PathLike[str]

_UNKNOWN_FRAMES = 1 << 62  # libsndfile's "as many as there are"


class AudioError(UserError):
    """A file that cannot be read or written as audio; one sentence for a musician."""


@dataclass(frozen=True, eq=False)
class Audio:
    """Sound: samples float32 (C, S), full scale 1.0; rate in Hz; how its file was written."""

    samples: Tensor
    sample_rate: int
    format: AudioFormat | None = None


@dataclass(frozen=True)
class Probe:
    """What a header says: frames (samples of each channel), channels, rate in Hz, format."""

    frames: int
    channels: int
    sample_rate: int
    format: AudioFormat

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.frames / self.sample_rate


def label(path: Path) -> str:
    """The file's name as an error may show it: no folder, nothing unprintable, one line."""
    name = path.name or str(path)  # "." has none
    return "'" + "".join(c if c.isprintable() else "?" for c in name)[-100:] + "'"


def reason(error: Exception) -> str:
    """What an error says, without the path that it names."""
    return getattr(error, "strerror", None) or str(error)


def _open_file(path: Path, name: str) -> tuple[BinaryIO, int]:
    """Open a regular file that is not empty; the file and its size in bytes."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise AudioError(f"{name} is a folder; an audio file is needed")
        if not stat.S_ISREG(status.st_mode):
            raise AudioError(f"{name} is not a regular file; an audio file is needed")
        if status.st_size == 0:
            raise AudioError(f"{name} is empty (0 bytes); an audio file is needed")
        # By descriptor: soundfile would otherwise let the name's suffix overrule the content.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        return open(descriptor, "rb"), status.st_size
    except FileNotFoundError:
        raise AudioError(f"{name} does not exist; an audio file is needed") from None
    except AudioError:
        raise
    except (OSError, ValueError) as error:
        raise AudioError(f"{name} cannot be opened: {reason(error)}") from None


@contextmanager
def _opened(path: StrPath, limits: Limits) -> Iterator[tuple[Decoder, Probe, str]]:
    """Open an audio file by its content and check its header; yields it, the header, its label."""
    name = label(Path(path))
    file, size = _open_file(Path(path), name)
    with file:
        try:
            sound = Decoder(find(file, size, limits))
        except Flaw as wrong:
            raise AudioError(f"{name} {wrong}") from None
        try:
            yield sound, _checked(sound, limits, name), name
        finally:
            sound.close()


def _checked(sound: Decoder, limits: Limits, name: str) -> Probe:
    """The header as a Probe, or AudioError where it is outside the limits."""
    if sound.frames >= _UNKNOWN_FRAMES:
        raise AudioError(f"{name} does not say how long it is; export it again")
    if sound.frames < 1:
        raise AudioError(f"{name} holds no sound (0 samples); at least 1 sample is needed")
    try:
        limits.check(sound.frames, sound.channels, sound.rate_hz)
    except Flaw as wrong:
        raise AudioError(f"{name} {wrong}") from None
    return Probe(sound.frames, sound.channels, sound.rate_hz, sound.form)


def probe(path: StrPath, limits: Limits = DEFAULT_LIMITS) -> Probe:
    """Read a file's header only; AudioError where it is not audio or outside `limits`."""
    with _opened(path, limits) as (_, header, _):
        return header


def read_native(
    path: StrPath, limits: Limits = DEFAULT_LIMITS, start: int = 0, frames: int | None = None
) -> tuple[np.ndarray, int, AudioFormat]:
    """Read a file's own samples: array (S, C) int32, float32 or float64; rate in Hz; format.

    `start` and `frames` select a part, in frames; None = to the end. AudioError for what is not
    audio, is outside `limits`, cut off or damaged, or holds NaN or infinite values.
    """
    with _opened(path, limits) as (sound, header, name):
        if not 0 <= start < header.frames:
            raise AudioError(f"{name} has no frame {start}; 0 to {header.frames - 1} exist")
        wanted = header.frames - start if frames is None else min(frames, header.frames - start)
        try:
            # The memory of frames that a lying header promises is reserved, but never touched.
            samples = np.empty((wanted, header.channels), native_dtype(header.format.subtype))
            done = sound.read(start, samples)
        except (soundfile.SoundFileError, RuntimeError):
            raise AudioError(f"{name} is damaged: its sound cannot be decoded") from None
        if done < wanted:
            raise AudioError(f"{name} is cut off: {done} of {wanted} samples are there")
        if wanted == header.frames and sound.differs(samples):
            raise AudioError(f"{name} is damaged: its sound has another checksum than it says")
    wrong = flaw(samples, header.sample_rate)
    if wrong:
        raise AudioError(f"{name} holds {wrong}")
    return samples, header.sample_rate, header.format


def read(
    path: StrPath, limits: Limits = DEFAULT_LIMITS, start: int = 0, frames: int | None = None
) -> Audio:
    """Read a file, or `frames` of it from frame `start` on; errors as `read_native`."""
    native, rate, form = read_native(path, limits, start, frames)
    return Audio(native_to_float(native), rate, form)
