"""Audio files: write samples in a given format, with the tags and chunks that belong to it.

wav and aiff files are written here, so that every chunk stays on its side of the sound; what a
codec has to encode is written by libsndfile, and what it drops is put around that.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from vampnet.audio import aiff, chunks, flac, ogg, others, wav
from vampnet.audio.files import Audio, AudioError, StrPath, label, reason
from vampnet.audio.mp3_rates import encode_mp3
from vampnet.audio.sample_format import AudioFormat, float_to_native, format_for
from vampnet.audio.spliced import Gapped
from vampnet.system.atomic_file import PartFile, atomic_file

_BLOCK = 1 << 16  # frames; libsndfile's Vorbis encoder overflows its stack on huge writes
_HEADER_CHUNKS = (b"fmt ", b"fact", b"COMM", b"FVER", b"wave")

Check = Callable[[], object]


def write(path: StrPath, audio: Audio) -> None:
    """Write a file in the audio's format (24 bit wav where it has none).

    The name's suffix may ask for another container. AudioError where it cannot be written; then
    nothing is left behind and an existing file stays.
    """
    form = format_for(path, audio.format)
    native = float_to_native(audio.samples, form.subtype)
    write_native(path, native, audio.sample_rate, form)


def check_writable(path: StrPath) -> None:
    """AudioError where no file can be put at `path`, to be known before the work is done."""
    target, name = Path(path), label(Path(path))
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
        raise AudioError(f"cannot write {name}: {reason(error)}") from None


def check_format(path: StrPath, form: AudioFormat) -> None:
    """AudioError where the file at `path` has a format that can be read, but not written again."""
    own = form.container in wav.CONTAINERS and form.subtype in wav.PLAIN
    own = own or (form.container == "AIFF" and form.subtype in aiff.PLAIN)
    if not own and not soundfile.check_format(form.container, form.subtype):
        kind = f"{form.container} of {form.subtype}"
        raise AudioError(
            f"{label(Path(path))} is {kind}, which can be read, but not written again;"
            " export it as wav, aiff, flac, ogg or mp3"
        )


def write_native(
    path: StrPath,
    native: np.ndarray,
    sample_rate: int,
    form: AudioFormat,
    check: Check = lambda: None,
) -> None:
    """Write native samples (S, C) in exactly this format, with its chunks and tags.

    The file appears whole or not at all. wav, aiff and flac hold the samples as they are; a codec
    of whole blocks (ADPCM, GSM) that would change the length gives way to 16 bits. mp3 and ogg keep
    rate, channels and (measured with libsndfile 1.2.2) the exact length without delay, but not the
    sample values; mp3 has 1 or 2 channels and the rates from 8 to 48 kHz. AudioError where the
    container cannot hold it or the disk refuses. What `check` raises, called every second or so of
    sound, ends the writing.
    """
    check_writable(path)
    name = label(Path(path))
    try:
        with atomic_file(Path(path).resolve()) as file:
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
    except (soundfile.SoundFileError, TypeError, ValueError, AssertionError, OverflowError):
        shape = f"{native.shape[1]} channels at {sample_rate} Hz as {form.subtype}"
        raise AudioError(f"cannot write {name}: {form.container} cannot hold {shape}") from None
    except OSError as error:
        raise AudioError(f"cannot write {name}: {reason(error)}") from None


def _encode(
    file: PartFile, native: np.ndarray, sample_rate: int, form: AudioFormat, check: Check
) -> int:
    """Write samples (S, C) in this format; how many of each channel a reader finds there."""
    channels, written = native.shape[1], len(native)
    shape = (sample_rate, channels, form.before)
    if form.container in wav.CONTAINERS and form.subtype in wav.PLAIN:
        order = ">" if form.endian == "BIG" else "<"
        header = wav.WavHeader(form.container, form.subtype, form.endian, *shape)
        _write_plain(file, native, header, order, form, check)
    elif form.container == "AIFF" and form.subtype in aiff.PLAIN:
        header = aiff.AiffHeader(form.subtype, form.endian, *shape)
        _write_plain(file, native, header, header.order, form, check)
    elif form.container == "OGG":
        _write_ogg(file, native, sample_rate, form, check)
    elif form.container == "MP3":
        _write_mp3(file, native, sample_rate, form, check)
    elif form.container == "FLAC":
        _write_flac(file, native, sample_rate, form, check)
    else:
        inner: Any = Gapped(file, 0, len(form.leading))
        _write_coded(inner, native, sample_rate, form, file, check)
        _append(file, len(form.leading), form)
        inner.seek(0)
        with soundfile.SoundFile(inner) as sound:
            written = sound.frames
    file.seek(0)
    file.write(form.leading)
    file.seek(0, os.SEEK_END)
    file.write(form.trailing)
    file.check()
    return written


def _write_plain(
    file: PartFile,
    native: np.ndarray,
    header: wav.WavHeader | aiff.AiffHeader,
    order: str,
    form: AudioFormat,
    check: Check,
) -> None:
    """A wav or aiff file whose samples lie in it as they are."""
    size_order = ">" if form.container == "AIFF" or form.endian == "BIG" else "<"
    behind = chunks.pack(form.chunks, size_order)
    width = len(_raw(native[:1], form.subtype, order)) if len(native) else 0
    n_bytes = width * len(native)
    file.write(form.leading + header.pack(n_bytes, len(behind)))
    for start in range(0, len(native), _BLOCK):
        check()
        file.write(_raw(native[start : start + _BLOCK], form.subtype, order))
        file.check()
    file.write(bytes(n_bytes % 2) + behind)


def _raw(block: np.ndarray, subtype: str, order: str) -> bytes:
    """Native samples (S, C) as they lie in a file."""
    block = np.ascontiguousarray(block)
    if subtype in ("FLOAT", "DOUBLE"):
        return block.astype(f"{order}f{4 if subtype == 'FLOAT' else 8}").tobytes()
    if subtype in ("ULAW", "ALAW"):
        out = io.BytesIO()
        channels = block.shape[1]
        with soundfile.SoundFile(out, "w", 8000, channels, subtype, format="RAW") as sound:
            sound.write(block)
        return out.getvalue()
    if subtype == "PCM_U8":
        return ((block >> 24) + 128).astype(np.uint8).tobytes()
    width = {"PCM_S8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4}[subtype]
    words = block.astype(f"{order}i4").view(np.uint8).reshape(*block.shape, 4)
    return words[..., 4 - width :].tobytes() if order == "<" else words[..., :width].tobytes()


def _write_coded(
    inner: Any,  # soundfile takes more than its types say
    native: np.ndarray,
    sample_rate: int,
    form: AudioFormat,
    file: PartFile,
    check: Check,
    **how: Any,
) -> None:
    """Let libsndfile write into `inner`, which stands for `file`."""
    # A file and not its name: libsndfile itself forgets a disk that was full when it closed, and
    # takes only names in UTF-8.
    kind = {"subtype": form.subtype, "endian": form.endian, "format": form.container, **how}
    try:
        with soundfile.SoundFile(inner, "w", sample_rate, native.shape[1], **kind) as sound:
            for start in range(0, len(native), _BLOCK):
                check()
                sound.write(np.ascontiguousarray(native[start : start + _BLOCK]))
                file.check()
    finally:
        file.check()  # a failed write goes before what the encoder made of it


def _write_mp3(
    file: PartFile, native: np.ndarray, sample_rate: int, form: AudioFormat, check: Check
) -> None:
    inner = Gapped(file, 0, len(form.leading))

    def encode(**how: Any) -> None:
        file.seek(0)
        file.truncate()
        _write_coded(inner, native, sample_rate, form, file, check, **how)

    encode_mp3(inner, encode, form.bit_rate, sample_rate, len(native))


def _write_flac(
    file: PartFile, native: np.ndarray, sample_rate: int, form: AudioFormat, check: Check
) -> None:
    blocks, first = flac.pack(form.chunks), len(form.leading)
    inner = Gapped(Gapped(file, 0, first), flac.HEAD_BYTES, len(blocks))
    _write_coded(inner, native, sample_rate, form, file, check)
    file.seek(first + flac.HEAD_BYTES)
    file.write(blocks)
    if flac.has_comment(form.chunks):
        flac.hide_comment(file, first + flac.HEAD_BYTES + len(blocks))


def _write_ogg(
    file: PartFile, native: np.ndarray, sample_rate: int, form: AudioFormat, check: Check
) -> None:
    draft = Path(os.fsdecode(file.name) + ".ogg")
    try:
        with PartFile(draft) as part:
            # 0 is the best an encoder has, 1 the smallest file.
            best = {"compression_level": 0.1} if form.subtype == "VORBIS" else {}
            _write_coded(part, native, sample_rate, form, part, check, **best)
            file.write(form.leading)
            ogg.rewrite(part, file, dict(form.chunks).get(b"comments", b""))
    finally:
        draft.unlink(missing_ok=True)


def _append(file: PartFile, base: int, form: AudioFormat) -> None:
    """Append chunks to a complete file of libsndfile's whose container starts at `base`."""
    kept = tuple(c for c in (*form.before, *form.chunks) if c[0] not in _HEADER_CHUNKS)
    size = file.seek(0, os.SEEK_END)
    if form.container == "CAF":
        file.write(others.pack_caf(kept))
    elif form.container in ("WAV", "WAVEX", "AIFF") and kept:
        order = ">" if form.container == "AIFF" or form.endian == "BIG" else "<"
        file.write(bytes((size - base) % 2) + chunks.pack(kept, order))
        end = file.seek(0, os.SEEK_END)
        file.seek(base + 4)
        file.write((end - base - 8).to_bytes(4, "big" if order == ">" else "little"))
