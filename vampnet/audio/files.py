"""Audio files: read and write samples in the file's own format.

The only file of the library that opens audio files. A file is known by its content, never by its
name, and its header is checked against the limits before anything is decoded. Audio is a float32
tensor (C, S): channels, samples, full scale 1.0; `read_native` gives the file's own samples.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
from torch import Tensor

from vampnet.audio import chunks, mpeg, ogg
from vampnet.audio.sample_format import (
    ONE_BYTE,
    AudioFormat,
    flaw,
    float_to_native,
    format_for,
    native_dtype,
    native_to_float,
    written_endian,
)
from vampnet.system.atomic_file import PartFile, whole
from vampnet.system.errors import UserError

StrPath = str | os.PathLike[str]

_WRITE_BLOCK = 1 << 16  # frames; libsndfile's Vorbis encoder overflows its stack on huge writes
_UNKNOWN_FRAMES = 1 << 62  # libsndfile's "as many as there are"
_LOSSY = ("MP3", "OGG")
_FEW = 2 * mpeg.FRAME  # by so many samples the length of a lossy stream may be wrong


class AudioError(UserError):
    """A file that cannot be read or written as audio; one sentence for a musician."""


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class Limits:
    """What a file may be, checked before it is decoded; decoded size counts 4 bytes a sample."""

    max_duration_s: float = 3600.0
    max_channels: int = 8
    min_rate_hz: int = 8000
    max_rate_hz: int = 192000
    max_decoded_mib: int = 2048


DEFAULT_LIMITS = Limits()


def _label(path: Path) -> str:
    """The file's name as an error may show it: no folder, nothing unprintable, one line."""
    return "'" + "".join(c if c.isprintable() else "?" for c in path.name)[-100:] + "'"


def _reason(error: Exception) -> str:
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
        raise AudioError(f"{name} cannot be opened: {_reason(error)}") from None


def _check_whole(file: BinaryIO, found: chunks.Chunks, name: str) -> None:
    """AudioError where the end of the file is missing, as far as its container tells."""
    lost = None
    if found.missing_bytes is None:
        lost = "its header is there, its sound is missing"
    elif found.missing_bytes > 0:
        lost = f"{found.missing_bytes} bytes of sound that its header announces are missing"
    elif ogg.cut_off(file):
        lost = "the page that ends its sound is missing"
    elif n_samples := mpeg.lost(file):
        lost = f"{n_samples} samples that its header announces are missing"
    if lost:
        raise AudioError(f"{name} is cut off: {lost}")


@contextmanager
def _opened(path: StrPath, limits: Limits) -> Iterator[tuple[soundfile.SoundFile, Probe, str]]:
    """Open an audio file by its content and check its header; yields it, the header, its label."""
    name = _label(Path(path))
    file, size = _open_file(Path(path), name)
    with file:
        found = chunks.walk(file, size)
        if found.channels == 0:
            raise AudioError(f"{name} has 0 channels; 1 to {limits.max_channels} are allowed")
        _check_whole(file, found, name)
        file.seek(0)
        try:
            sound = soundfile.SoundFile(file)
        except (soundfile.SoundFileError, TypeError, ValueError):
            raise AudioError(
                f"{name} is not audio that can be read (its content was looked at, not its name);"
                " wav, aiff, flac, ogg and mp3 are allowed"
            ) from None
        with sound:
            header = _checked(sound, found, limits, name)
            if sound.format == "MP3" and mpeg.more_than(file, header.frames + _FEW):
                reason = "does not say how long it is (its bit rate varies)"
                raise AudioError(f"{name} {reason}; save it anew")
            yield sound, header, name


def _checked(sound: soundfile.SoundFile, found: chunks.Chunks, limits: Limits, name: str) -> Probe:
    """The header as a Probe, or AudioError where it is outside the limits."""
    frames, channels, rate = sound.frames, sound.channels, sound.samplerate
    if frames >= _UNKNOWN_FRAMES:
        raise AudioError(f"{name} does not say how long it is (a recorded stream); save it anew")
    if frames == 0:
        raise AudioError(f"{name} holds no sound (0 samples); at least 1 sample is needed")
    if not 1 <= channels <= limits.max_channels:
        raise AudioError(f"{name} has {channels} channels; 1 to {limits.max_channels} are allowed")
    if not limits.min_rate_hz <= rate <= limits.max_rate_hz:
        allowed = f"{limits.min_rate_hz} to {limits.max_rate_hz} Hz are allowed"
        raise AudioError(f"{name} has a sample rate of {rate} Hz; {allowed}")
    if frames > limits.max_duration_s * rate:
        allowed = f"{limits.max_duration_s:g} s are allowed"
        raise AudioError(f"{name} is {frames / rate:.1f} s long; {allowed}")
    size = frames * channels * 4 / 2**20
    if size > limits.max_decoded_mib:
        allowed = f"{limits.max_decoded_mib} MiB are allowed"
        raise AudioError(f"{name} decodes to {size:.1f} MiB; {allowed}")
    form = AudioFormat(sound.format, sound.subtype, sound.endian, found.kept, found.extensible)
    return Probe(frames, channels, rate, form)


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
            if start:
                sound.seek(start)
            # The memory of frames that a lying header promises is reserved, but never touched.
            room = np.empty((wanted, header.channels), native_dtype(header.format.subtype))
            samples = sound.read(out=room)
        except (soundfile.SoundFileError, RuntimeError):
            raise AudioError(f"{name} is damaged: its sound cannot be decoded") from None
    # The header of a lossy stream may count a few frames that its decoder does not give.
    if len(samples) < max(1, wanted - (_FEW if header.format.container in _LOSSY else 0)):
        raise AudioError(f"{name} is cut off: {len(samples)} of {wanted} samples are there")
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


def write(path: StrPath, audio: Audio) -> None:
    """Write a file in the audio's format (24 bit wav where it has none).

    The name's suffix may ask for another container. AudioError where it cannot be written; then
    nothing is left behind and an existing file stays.
    """
    form = format_for(path, audio.format)
    write_native(path, float_to_native(audio.samples, form.subtype), audio.sample_rate, form)


def check_writable(path: StrPath) -> None:
    """AudioError where no file can be put at `path`, to be known before the work is done."""
    target, name = Path(path), _label(Path(path))
    try:
        if not target.name or "\0" in target.name:
            raise AudioError(f"cannot write {name}: that is not a file name")
        if target.is_dir():
            raise AudioError(f"cannot write {name}: it is a folder; a file name is needed")
        folder = target.resolve().parent  # a link is written where it leads
        if not folder.is_dir():
            raise AudioError(f"cannot write {name}: its folder does not exist")
        if not os.access(folder, os.W_OK):
            raise AudioError(f"cannot write {name}: writing in its folder is not permitted")
    except AudioError:
        raise
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise AudioError(f"cannot write {name}: {_reason(error)}") from None


def write_native(
    path: StrPath,
    native: np.ndarray,
    sample_rate: int,
    form: AudioFormat,
    check: Callable[[], object] = lambda: None,
) -> None:
    """Write native samples (S, C) in exactly this format, its chunks behind the sound.

    The file appears whole or not at all. wav, aiff and flac hold the samples as they are; a codec
    of whole blocks (ADPCM, GSM) that would change the length gives way to 16 bits. mp3 and ogg keep
    rate, channels and (measured with libsndfile 1.2.2) the exact length without delay, but not the
    sample values; mp3 has 1 or 2 channels and the rates from 8 to 48 kHz. AudioError where the
    container cannot hold it or the disk refuses. What `check` raises, called every second or so of
    sound, ends the writing.
    """
    check_writable(path)
    name = _label(Path(path))
    try:
        with whole(Path(path).resolve()) as file:
            written = _encode(file, native, sample_rate, form, check)
            if written != len(native) and native.dtype == np.int32 and not form.lossless:
                file.seek(0)
                file.truncate()
                plain = replace(form, subtype="PCM_16")
                written = _encode(file, native, sample_rate, plain, check)
            if written != len(native):
                raise AudioError(f"cannot write {name}: {written} of {len(native)} samples arrived")
    except AudioError:
        raise
    except (soundfile.SoundFileError, TypeError, ValueError, AssertionError):
        shape = f"{native.shape[1]} channels at {sample_rate} Hz as {form.subtype}"
        raise AudioError(f"cannot write {name}: {form.container} cannot hold {shape}") from None
    except OSError as error:
        raise AudioError(f"cannot write {name}: {_reason(error)}") from None


def _encode(
    file: PartFile,
    native: np.ndarray,
    sample_rate: int,
    form: AudioFormat,
    check: Callable[[], object],
) -> int:
    """Write samples (S, C) in this format; how many of each channel a reader finds there."""
    # 0 is the best an encoder has, 1 the smallest file.
    quality = {"compression_level": 0.1} if form.subtype in ("VORBIS", "MPEG_LAYER_III") else {}
    order = written_endian(form)
    kind = {"subtype": form.subtype, "endian": order, "format": form.container, **quality}
    # A file and not its name: libsndfile itself forgets a disk that was full when it closed, and
    # takes only names in UTF-8.
    with soundfile.SoundFile(file, "w", sample_rate, native.shape[1], **kind) as sound:
        for start in range(0, len(native), _WRITE_BLOCK):
            check()
            sound.write(np.ascontiguousarray(native[start : start + _WRITE_BLOCK]))
            file.check()
    file.check()
    one_byte = form.container == "AIFF" and form.subtype in ONE_BYTE
    chunks.mend(file, form.extensible, native.shape if one_byte else None)
    chunks.append(file, form.chunks)
    if form.container == "OGG":
        ogg.mend(file)
    if form.container == "MP3":  # all of it would have to be decoded
        return len(native)
    file.seek(0)
    with soundfile.SoundFile(file) as sound:
        return sound.frames
