"""Which container a file is, and a decoder for the sound in it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import BinaryIO

import numpy as np
import soundfile

from vampnet.audio import aiff, flac, mpeg, ogg, others, tags, wav
from vampnet.audio.content import Content, Flaw, Limits
from vampnet.audio.sample_format import AudioFormat

_ALLOWED = "wav, aiff, flac, ogg and mp3 are allowed"
_NOT_READ = {  # by bytes of the file's start and where they stand
    (4, b"ftyp"): "an MPEG-4 file (m4a, mp4)",
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"): "a Windows Media file (wma)",
    (0, b"\x1a\x45\xdf\xa3"): "a Matroska file (mka, webm)",
    (0, b"\xff\xf1"): "an AAC file",
    (0, b"\xff\xf9"): "an AAC file",
    (0, b"wvpk"): "a WavPack file",
    (0, b"MAC "): "a Monkey's Audio file (ape)",
    (0, b"DSD "): "a DSD file (dsf)",
    (0, b"FRM8"): "a DSD file (dff)",
    (0, b"MThd"): "a MIDI file",
}
_MOST_PARTS = 500  # joined sounds in a file; each has a decoder
_HASHED = 1 << 16  # frames at once


def find(file: BinaryIO, size: int, limits: Limits) -> Content:
    """What lies in an open file of `size` bytes; Flaw where that cannot be read or is not whole."""
    base = tags.leading(file, size)
    file.seek(base)
    head = file.read(16)
    form = head[8:12]
    if head[:4] in wav.KINDS and form == b"WAVE":
        content = wav.find(file, size, base, limits)
    elif head[:4] == b"FORM" and form in (b"AIFF", b"AIFC"):
        content = aiff.find(file, size, base, limits)
    elif head[:4] == b"fLaC":
        content = flac.find(file, size, base, limits)
    elif head[:4] == b"OggS":
        content = ogg.find(file, size, base, limits)
    elif head == others.W64 or head[:4] in (b".snd", b"dns.", b"caff"):
        content = others.find(file, size, base, limits)
    else:
        content = mpeg.find(file, size, base, limits) or _refuse(head)
    return content if content.leading else replace(content, leading=tags.content(file, 0, base))


def _refuse(head: bytes) -> Content:
    for (place, mark), kind in _NOT_READ.items():
        if head[place : place + len(mark)] == mark:
            raise Flaw(f"is {kind}, which is not read; {_ALLOWED}")
    raise Flaw(
        f"is not audio that can be read (its content was looked at, not its name); {_ALLOWED}"
    )


class Decoder:
    """The sound of a file, decoded: the parts of `content` one after the other.

    frames: samples of each channel; channels; rate_hz; form: how the file was written. Flaw where
    the decoder cannot read it, or its parts differ.
    """

    def __init__(self, content: Content) -> None:
        if len(content.parts) > _MOST_PARTS:
            joined = f"{len(content.parts)} joined sounds"
            raise Flaw(f"holds {joined}; at most {_MOST_PARTS} are allowed: export it as one")
        self._content = content
        self._parts: list[soundfile.SoundFile] = []
        try:
            for part in content.parts:
                self._parts.append(soundfile.SoundFile(part.file, **part.options))
        except (soundfile.SoundFileError, TypeError, ValueError):
            self.close()
            kind = content.container or "its kind"
            raise Flaw(
                f"is not audio that can be read: it is damaged or of an unknown variant of {kind};"
                f" {_ALLOWED}"
            ) from None
        first = self._parts[0]
        self.channels, self.rate_hz = first.channels, first.samplerate
        self.frames = sum(part.frames for part in self._parts)
        if any((p.channels, p.samplerate) != (self.channels, self.rate_hz) for p in self._parts):
            self.close()
            raise Flaw("holds joined sounds of different rates or channels; export it as one")
        self.form = AudioFormat(
            content.container or first.format,
            first.subtype,
            content.endian or first.endian,
            content.chunks,
            content.before,
            content.leading,
            content.trailing,
            content.bit_rate,
        )

    def read(self, start: int, out: np.ndarray) -> int:
        """Fill `out` (S, C) from frame `start` on; how many frames were there.

        Raises soundfile.SoundFileError or RuntimeError where the sound is damaged.
        """
        done = 0
        for part in self._parts:
            wanted = min(len(out) - done, max(0, part.frames - start))
            if wanted:
                if start:
                    part.seek(start)
                got = len(part.read(out=out[done : done + wanted]))
                done += got
                if got < wanted:
                    break
            start = max(0, start - part.frames)
        return done

    def differs(self, samples: np.ndarray) -> bool:
        """Whether all native samples (S, C) of the file have another checksum than it says."""
        if not self._content.md5.strip(b"\0"):
            return False
        width = {"PCM_S8": 1, "PCM_16": 2, "PCM_24": 3}[self.form.subtype]
        digest = hashlib.md5(usedforsecurity=False)
        for first in range(0, len(samples), _HASHED):
            block = np.ascontiguousarray(samples[first : first + _HASHED], "<i4")
            digest.update(block.view(np.uint8).reshape(-1, 4)[:, 4 - width :].tobytes())
        return digest.digest() != self._content.md5

    def close(self) -> None:
        """Close the decoders."""
        for part in self._parts:
            part.close()
