"""The chunks of a wav or aiff file that decoders drop: loop points, tempo, markers, time stamps.

A DAW writes them beside the sound (`acid`: tempo and beats, `smpl`: loop points, `cue `: markers,
`bext`: time stamp, `LIST`: names of the markers). They speak of sample positions; where length and
rate stay as they were they stay right, so they are copied verbatim behind the sound.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

KEPT_RIFF = (b"acid", b"smpl", b"cue ", b"bext", b"LIST")
KEPT_AIFF = (b"MARK", b"INST", b"basc", b"trns", b"cate")
# More than this in one chunk is not a marker list; it is left behind.
MAX_CHUNK_BYTES = 4 * 1024 * 1024
# A recorder that writes to a pipe leaves a size near 2 or 4 GiB: it means "to the end of the file".
_OPEN_ENDED = (0x7FFFF000, 0xFFFFF000)


@dataclass(frozen=True)
class Chunks:
    """What a walk through a file's chunks found.

    kind: b"RIFF", b"RIFX", b"RF64", b"FORM" or b"" for files that are not made of chunks.
    channels: as the header says, None where it says nothing.
    kept: the (name, content) pairs to copy.
    missing_bytes: how much of the sound the header promises and the file lacks (0 = complete);
        None where there is no sound chunk at all.
    """

    kind: bytes = b""
    channels: int | None = None
    kept: tuple[tuple[bytes, bytes], ...] = ()
    missing_bytes: int | None = 0


def _order(kind: bytes) -> str:
    return ">" if kind in (b"FORM", b"RIFX") else "<"


def walk(file: BinaryIO, size: int) -> Chunks:
    """Walk the chunks of an open file of `size` bytes, past the sound; nothing in it raises."""
    file.seek(0)
    head = file.read(12)
    kind, form = head[:4], head[8:12]
    if (kind, form) not in {
        (b"RIFF", b"WAVE"),
        (b"RIFX", b"WAVE"),
        (b"RF64", b"WAVE"),
        (b"FORM", b"AIFF"),
        (b"FORM", b"AIFC"),
    }:
        return Chunks()
    order, is_aiff = _order(kind), kind == b"FORM"
    channels, missing, kept, data_size_64 = None, None, [], None
    while len(head := file.read(8)) == 8:
        name, length = head[:4], struct.unpack(order + "I", head[4:])[0]
        start = file.tell()
        if name == b"ds64":
            data_size_64 = struct.unpack("<Q", file.read(16)[8:].ljust(8, b"\0"))[0]
        elif name in (b"fmt ", b"COMM"):
            field = file.read(4).ljust(4, b"\0")
            channels = struct.unpack(order + "H", field[:2] if is_aiff else field[2:])[0]
        elif name in (b"data", b"SSND"):
            if kind == b"RF64" and data_size_64 is not None:
                length = data_size_64
            open_ended = any(0 <= length - mark < 0x1000 for mark in _OPEN_ENDED)
            missing = 0 if open_ended else max(0, start + length - size)
        elif name in (KEPT_AIFF if is_aiff else KEPT_RIFF) and length <= MAX_CHUNK_BYTES:
            content = file.read(length)
            if len(content) == length:
                kept.append((name, content))
        file.seek(start + length + length % 2)
    return Chunks(kind, channels, tuple(kept), missing)


def append(file: BinaryIO, kept: tuple[tuple[bytes, bytes], ...]) -> None:
    """Append chunks behind the sound of a complete wav or aiff file opened "r+b"; correct its size.

    Files that are not made of chunks, and wav files that would pass 4 GiB, are left as they are.
    """
    file.seek(0)
    kind = file.read(4)
    if not kept or kind not in (b"RIFF", b"RIFX", b"RF64", b"FORM"):
        return
    order = _order(kind)
    size = file.seek(0, 2)
    body = b"\0" * (size % 2)
    for name, content in kept:
        body += name + struct.pack(order + "I", len(content)) + content + b"\0" * (len(content) % 2)
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
