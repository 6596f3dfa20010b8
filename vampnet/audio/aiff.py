"""aiff and aifc files, read by their own header and written with all it held.

Sources: Audio Interchange File Format 1.3, AIFF-C draft of 1991, QuickTime File Format (`wave`).
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import BinaryIO

from vampnet.audio.chunks import Walker, is_open_ended, missing_sound, pack
from vampnet.audio.content import Chunks, Content, Flaw, Limits, Part
from vampnet.audio.spliced import Spliced

_BY_WIDTH = {1: "PCM_S8", 2: "PCM_16", 3: "PCM_24", 4: "PCM_32"}
_WIDTHS = {subtype: width for width, subtype in _BY_WIDTH.items()}
_WIDTHS |= {"PCM_U8": 1, "ULAW": 1, "ALAW": 1, "FLOAT": 4, "DOUBLE": 8}
PLAIN = tuple(_WIDTHS)
# Compression types whose samples lie in the file as they are: subtype ("" = by the bits), order.
_TYPES = {
    b"NONE": ("", ">"),
    b"twos": ("", ">"),
    b"sowt": ("", "<"),
    b"raw ": ("PCM_U8", ">"),
    b"in24": ("PCM_24", ">"),
    b"in32": ("PCM_32", ">"),
    b"42ni": ("PCM_24", "<"),
    b"23ni": ("PCM_32", "<"),
    b"fl32": ("FLOAT", ">"),
    b"FL32": ("FLOAT", ">"),
    b"fl64": ("DOUBLE", ">"),
    b"FL64": ("DOUBLE", ">"),
    b"ulaw": ("ULAW", ">"),
    b"ULAW": ("ULAW", ">"),
    b"alaw": ("ALAW", ">"),
    b"ALAW": ("ALAW", ">"),
}
_WRITTEN_TYPES = {
    "PCM_U8": b"raw ", "FLOAT": b"fl32", "DOUBLE": b"fl64", "ULAW": b"ulaw", "ALAW": b"alaw",
}  # fmt: skip
_VERSION = bytes.fromhex("a2805140")  # of AIFF-C
_DROPPED = frozenset((b"SSND", b"PEAK"))
_OURS = (b"COMM", b"FVER", b"wave")  # the header, where a file gets a new one


@dataclass(frozen=True)
class _Format:
    channels: int
    frames: int
    rate_hz: int
    subtype: str  # "" for what a codec has to decode
    order: str

    @property
    def frame_bytes(self) -> int:
        """Bytes of a frame of all channels."""
        return self.channels * _WIDTHS[self.subtype]


def _rate(extended: bytes) -> int:
    """An 80-bit float as a whole number; 0 if it is not a rate."""
    exponent, mantissa = struct.unpack(">HQ", extended)
    return round(math.ldexp(mantissa, exponent - 16383 - 63)) if exponent < 16383 + 40 else 0


def _extended(value: int) -> bytes:
    """A whole number above 0 as an 80-bit float."""
    exponent = value.bit_length() - 1
    return struct.pack(">HQ", 16383 + exponent, value << 63 - exponent)


def _parse(common: bytes, wave: bytes) -> _Format:
    """What a COMM chunk says; wave: that of a QuickTime `wave` chunk, which may swap bytes."""
    if len(common) < 18:
        raise Flaw(f"has a header of {len(common)} bytes; 18 are needed")
    channels, frames, bits = struct.unpack(">HIH", common[:8])
    kind = common[18:22] if len(common) >= 22 else b"NONE"
    subtype, order = _TYPES.get(kind, (None, ">"))
    if subtype == "":
        subtype = _BY_WIDTH.get((bits + 7) // 8)
    if subtype is None and kind in _TYPES:
        raise Flaw(f"has {bits} bits a sample; 1 to 32 are allowed")
    at = wave.find(b"enda")
    if at >= 0 and wave[at + 4 : at + 6] == b"\0\1":
        order = "<"
    return _Format(channels, frames, _rate(common[8:18]), subtype or "", order)


def find(file: BinaryIO, size: int, base: int, limits: Limits) -> Content:
    """The sound of an aiff file whose container starts at `base`, and all beside it."""
    walker = Walker(file, size, base, ">", b"SSND")
    walk = walker.walk()
    header, sound = (
        next((c for c in walk.chunks if c.name == b"COMM"), None),
        walk.chunks[walk.sound],
    )
    if header is None:
        raise Flaw("has no header (a COMM chunk)")
    wave = next((c for c in walk.chunks if c.name == b"wave"), None)
    own = _parse(walker.content(header), walker.content(wave) if wave else b"")
    kept = walker.kept(walk.chunks[: walk.sound], _DROPPED)
    behind = walker.kept(walk.chunks[walk.sound + 1 :], _DROPPED)
    if header.start > sound.start:  # allowed, but written where readers look first
        kept += tuple(chunk for chunk in behind if chunk[0] in _OURS)
        behind = tuple(chunk for chunk in behind if chunk[0] not in _OURS)
    if own.subtype:
        limits.check(0, own.channels, own.rate_hz)
        part = _plain_part(walker, own, sound.start, sound.length, limits)
        plain = _header(own.subtype, own.order, own.rate_hz, own.channels)
        kept = _without_frames(kept)
        kept = () if kept == plain and header.start < sound.start else kept
    else:
        part = Part(Spliced((file, base, size - base)))
    return Content(
        "AIFF",
        (part,),
        endian="LITTLE" if own.order == "<" else "FILE",
        before=kept,
        chunks=behind,
        trailing=walker.trailing(walk),
    )


def _plain_part(walker: Walker, own: _Format, start: int, length: int, limits: Limits) -> Part:
    """The samples: as many as the header counts, more where the sound's chunk has more."""
    walker.file.seek(start)
    offset = int.from_bytes(walker.file.read(4), "big")
    if length < 8 or offset > length - 8:
        raise Flaw("is cut off: its header is there, its sound is missing")
    walker.file.seek(start + 8)
    if walker.file.read(offset).strip(b"\0"):
        raise Flaw(f"is damaged: {offset} bytes in front of its sound are not empty")
    first, there = start + 8 + offset, length - 8 - offset
    n_bytes = 0 if is_open_ended(own.frames * own.frame_bytes) else own.frames * own.frame_bytes
    if n_bytes > there:
        raise missing_sound(n_bytes - there)
    if there - n_bytes >= own.frame_bytes:
        walker.file.seek(first + n_bytes)
        if walker.file.read(there - n_bytes).strip(b"\0"):  # not padding: sound not counted
            n_bytes = there // own.frame_bytes * own.frame_bytes
    limits.check(n_bytes // own.frame_bytes, own.channels, own.rate_hz)
    options = {
        "format": "RAW",
        "subtype": own.subtype,
        "endian": "LITTLE" if own.order == "<" else "BIG",
        "channels": own.channels,
        "samplerate": own.rate_hz,
    }
    return Part(Spliced((walker.file, first, n_bytes)), options)


def _without_frames(chunks: Chunks) -> Chunks:
    return tuple(
        (name, content[:2] + bytes(4) + content[6:] if name == b"COMM" else content)
        for name, content in chunks
    )


def _header(subtype: str, order: str, rate_hz: int, channels: int) -> Chunks:
    """The chunks in front of the sound where a file had none of its own; 0 frames."""
    width = _WIDTHS[subtype]
    common = struct.pack(">HIH", channels, 0, 8 * width) + _extended(rate_hz)
    kind = _WRITTEN_TYPES.get(subtype, b"sowt" if order == "<" else b"")
    if not kind:
        return ((b"COMM", common),)
    return ((b"FVER", _VERSION), (b"COMM", common + kind + b"\0\0"))


def valid_bits(before: Chunks) -> int:
    """Bits of a sample that count, by the header among these chunks; 0 where none says it."""
    common = dict(before).get(b"COMM", b"")
    return int.from_bytes(common[6:8], "big") if len(common) >= 18 else 0


class AiffHeader:
    """What stands in front of the samples of an aiff file, as :class:`wav.AiffHeader` for wav."""

    def __init__(
        self, subtype: str, endian: str, rate_hz: int, channels: int, before: Chunks
    ) -> None:
        # A little-endian file of more than 16 bits has a type of its own that few readers know.
        self.order = "<" if endian == "LITTLE" and subtype == "PCM_16" else ">"
        given = dict(before)
        own = _parse(given[b"COMM"], given.get(b"wave", b"")) if b"COMM" in given else None
        wanted = (subtype, rate_hz, channels)
        if own is not None and (own.subtype, own.rate_hz, own.channels) == wanted:
            self._chunks, self.order = before, own.order
        else:
            rest = tuple(chunk for chunk in before if chunk[0] not in _OURS)
            self._chunks = _header(subtype, self.order, rate_hz, channels) + rest
        self._frame = _WIDTHS[subtype] * channels

    def pack(self, n_bytes: int, behind: int) -> bytes:
        """The bytes in front of `n_bytes` of sound, which `behind` bytes of chunks follow.

        OverflowError where an aiff file cannot be so large.
        """
        frames = struct.pack(">I", n_bytes // self._frame)
        chunks = tuple(
            (name, content[:2] + frames + content[6:] if name == b"COMM" else content)
            for name, content in self._chunks
        )
        head, common = pack(chunks, ">"), dict(chunks)[b"COMM"]
        size = 4 + len(head) + 16 + n_bytes + n_bytes % 2 + behind
        if size > 0xFFFFFFFF:
            raise OverflowError(f"an aiff file of {size} bytes")
        form = b"AIFC" if len(common) >= 22 else b"AIFF"
        sizes = struct.pack(">III", 8 + n_bytes, 0, 0)
        return b"FORM" + struct.pack(">I", size) + form + head + b"SSND" + sizes
