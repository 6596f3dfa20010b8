"""The chunks of a wav or aiff file that decoders drop: loop points, tempo, markers, time stamps.

A DAW writes them beside the sound (`acid`, `strc`: tempo and beats, `smpl`, `inst`: loop points and
keys, `cue `: markers, `bext`, `iXML`: time stamps, `LIST`: names of the markers). They speak of
sample positions; where length and rate stay as they were they stay right, so they are copied
verbatim behind the sound.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

KEPT_RIFF = (b"acid", b"strc", b"smpl", b"inst", b"cue ", b"bext", b"iXML", b"LIST")
KEPT_AIFF = (b"MARK", b"INST", b"COMT", b"APPL", b"basc", b"trns", b"cate")
# More bytes in all, or more chunks, are not a DAW's: they are left behind, the walk ends.
MAX_KEPT_BYTES = 4 * 1024 * 1024
MAX_CHUNKS = 1000
# A recorder that writes to a pipe leaves a size near 2 or 4 GiB, sox one rounded down to whole
# frames: it means "to the end of the file".
_OPEN_ENDED = (0x7FFFF000, 0xFFFFF000)
_LONGEST_FRAME = 0x100  # bytes
# The names of a W64 file and of its sound, 16 bytes each; a size that is larger stands for none.
_W64 = bytes.fromhex("726966662e91cf11a5d628db04c10000")
_W64_DATA = bytes.fromhex("64617461f3acd3118cd100c04f8edb8a")
_W64_UNKNOWN = 1 << 62
_AU_UNKNOWN = 0xFFFFFFFF


@dataclass(frozen=True)
class Chunks:
    """What a walk through a file's chunks found.

    kind: b"RIFF", b"RIFX", b"RF64", b"FORM" or b"" for files that are not made of chunks.
    channels: as the header says, None where it says nothing.
    kept: the (name, content) pairs to copy.
    missing_bytes: how much of the sound the header promises and the file lacks (0 = complete);
        None where there is no sound chunk at all.
    extensible: the first 24 bytes of an extensible `fmt `, with valid bits and speakers, or b"".
    """

    kind: bytes = b""
    channels: int | None = None
    kept: tuple[tuple[bytes, bytes], ...] = ()
    missing_bytes: int | None = 0
    extensible: bytes = b""


def _kind(file: BinaryIO) -> bytes:
    """b"RIFF", b"RIFX", b"RF64" or b"FORM", or b"" for what is neither wav nor aiff."""
    file.seek(0)
    head = file.read(12)
    wav, aiff = (b"RIFF", b"RIFX", b"RF64"), (b"AIFF", b"AIFC")
    kinds = {b"WAVE": wav, aiff[0]: (b"FORM",), aiff[1]: (b"FORM",)}.get(head[8:12], ())
    return head[:4] if head[:4] in kinds else b""


def _order(kind: bytes) -> str:
    return ">" if kind in (b"FORM", b"RIFX") else "<"


def _each(file: BinaryIO, kind: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, start of its content and announced length of each chunk.

    Where there are more than MAX_CHUNKS, an empty name stands for the others.
    """
    place, end, data_size_64 = 12, file.seek(0, 2), None
    for _ in range(MAX_CHUNKS):
        if place + 8 > end:  # a 64-bit size may lead where no file can go
            return
        file.seek(place)
        head = file.read(8)
        name, length = head[:4], struct.unpack(_order(kind) + "I", head[4:])[0]
        if name == b"ds64":
            data_size_64 = struct.unpack("<Q", file.read(16)[8:].ljust(8, b"\0"))[0]
        elif name == b"data" and kind == b"RF64" and data_size_64 is not None:
            length = data_size_64
        yield name, place + 8, length
        place += 8 + length
        if length % 2 and place < end:
            file.seek(place)
            unpadded = file.read(4) in KEPT_RIFF + KEPT_AIFF  # some writers forget the pad byte
            place += 0 if unpadded else 1
    yield b"", place, 0


def walk(file: BinaryIO, size: int) -> Chunks:
    """Walk the chunks of an open file of `size` bytes, past the sound; nothing in it raises."""
    kind = _kind(file)
    if not kind:
        return Chunks(missing_bytes=_missing_elsewhere(file, size))
    order, is_aiff = _order(kind), kind == b"FORM"
    channels, missing, kept, extensible = None, None, [], b""
    room = MAX_KEPT_BYTES
    for name, start, length in _each(file, kind):
        file.seek(start)
        if name in (b"fmt ", b"COMM"):
            head = file.read(24).ljust(4, b"\0")
            channels = struct.unpack(order + "H", head[:2] if is_aiff else head[2:4])[0]
            is_extensible = not is_aiff and length == 40 and len(head) == 24
            extensible = head if is_extensible else b""
        elif name in (b"data", b"SSND"):
            open_ended = any(-_LONGEST_FRAME <= length - mark < 0x1000 for mark in _OPEN_ENDED)
            missing = 0 if open_ended else max(0, start + length - size)
        elif not name and missing is None:
            missing = 0  # the sound may lie among the others
        elif name in (KEPT_AIFF if is_aiff else KEPT_RIFF) and length <= room:
            content = file.read(length)
            if len(content) == length:
                kept.append((name, content))
                room -= length
    return Chunks(kind, channels, tuple(kept), missing, extensible)


def _missing_elsewhere(file: BinaryIO, size: int) -> int | None:
    """How much of its sound a W64 or AU file of `size` bytes lacks; 0 for files of other kinds."""
    file.seek(0)
    head = file.read(len(_W64))
    if head[:4] in (b".snd", b"dns."):
        start, length = struct.unpack((">" if head[0] == 46 else "<") + "II", head[4:12].ljust(8))
        return 0 if length == _AU_UNKNOWN else max(0, start + length - size)
    place = 40  # behind the file's name and size, and its kind
    for _ in range(MAX_CHUNKS if head == _W64 else 0):
        if place + 24 > size:
            return None
        file.seek(place)
        name, length = file.read(16), struct.unpack("<Q", file.read(8))[0]
        if name == _W64_DATA:
            return 0 if length > _W64_UNKNOWN else max(0, place + length - size)
        place += max(24, (length + 7) // 8 * 8)  # the size counts these 24 bytes
    return 0


def append(file: BinaryIO, kept: tuple[tuple[bytes, bytes], ...]) -> None:
    """Append chunks behind the sound of a complete wav or aiff file opened "r+b"; correct its size.

    Files that are not made of chunks, and wav files that would pass 4 GiB, are left as they are.
    """
    kind = _kind(file)
    if not kept or not kind:
        return
    order = _order(kind)
    size = file.seek(0, 2)
    parts = [b"\0" * (size % 2)]
    for name, content in kept:
        parts += [name, struct.pack(order + "I", len(content)), content, b"\0" * (len(content) % 2)]
    body = b"".join(parts)
    total = size + len(body) - 8
    if kind != b"RF64" and total > 0xFFFFFFFF:
        return
    file.write(body)
    if kind == b"RF64":
        file.seek(20)  # RF64: the 64-bit size stands first in the ds64 chunk
        file.write(struct.pack("<Q", total))
    else:
        file.seek(4)
        file.write(struct.pack(order + "I", total))


def mend(
    file: BinaryIO, extensible: bytes = b"", aiff_shape: tuple[int, int] | None = None
) -> None:
    """Put right what libsndfile makes up in a complete wav or aiff file opened "r+b".

    extensible: as a walk found it in a file; its valid bits and speakers come back where channels
        and bits are the same.
    aiff_shape: (samples, channels) of one byte each in an aiff file; libsndfile counts a pad byte
        as one more sample.

    The time stamp of its `PEAK` chunk is cleared, so that equal sounds are equal files.
    """
    kind = _kind(file)
    for name, start, length in _each(file, kind) if kind else ():
        file.seek(start)
        if name == b"PEAK":
            _put(file, start + 4, b"\0" * 4)
        elif name == b"fmt " and length == 40 and extensible:
            head = file.read(16)
            if head[2:4] + head[14:16] == extensible[2:4] + extensible[14:16]:
                _put(file, start + 18, extensible[18:24])
        elif name == b"COMM" and aiff_shape:
            _put(file, start + 2, struct.pack(">I", aiff_shape[0]))
        elif name == b"SSND" and aiff_shape:
            # 8 bytes of offset and block size stand before the sound
            _put(file, start - 4, struct.pack(">I", 8 + aiff_shape[0] * aiff_shape[1]))


def _put(file: BinaryIO, place: int, content: bytes) -> None:
    file.seek(place)
    file.write(content)
