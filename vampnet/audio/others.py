"""W64, AU and CAF files: whether all of the sound is there. soundfile decodes them as they are.

Sources: Sony Wave64 (2006), the AU manual page, Core Audio Format 1.0.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

from vampnet.audio.chunks import missing_sound
from vampnet.audio.content import Content, Flaw, Limits, Part
from vampnet.audio.spliced import Spliced

W64 = bytes.fromhex("726966662e91cf11a5d628db04c10000")
_W64_DATA = bytes.fromhex("64617461f3acd3118cd100c04f8edb8a")
_W64_UNKNOWN = 1 << 62
_AU_UNKNOWN = 0xFFFFFFFF
_CAF_UNKNOWN = -1
_MOST_CHUNKS = 1000
# Of a CAF file: what is copied. The others describe the sound or its packets.
_CAF_KEPT = (b"info", b"mark", b"strg", b"inst", b"midi", b"umid", b"uuid")
_CAF_KEPT_BYTES = 32 * 1024 * 1024


def find(file: BinaryIO, size: int, base: int, limits: Limits) -> Content:
    """The sound of a W64, AU or CAF file whose container starts at `base`."""
    file.seek(base)
    head = file.read(16)
    kept: tuple[tuple[bytes, bytes], ...] = ()
    if head == W64:
        missing = _missing_w64(file, size, base)
    elif head.startswith(b"caff"):
        missing, kept = _walk_caf(file, size, base)
    else:
        order = ">" if head.startswith(b".snd") else "<"
        start, length = struct.unpack(order + "II", head[4:12].ljust(8, b"\0"))
        missing = 0 if length == _AU_UNKNOWN else max(0, base + start + length - size)
    if missing:
        raise missing_sound(missing)
    return Content("", (Part(Spliced((file, base, size - base))),), chunks=kept)


def _missing_w64(file: BinaryIO, size: int, base: int) -> int:
    place = base + 40  # behind the file's name and size, and its kind
    for _ in range(_MOST_CHUNKS):
        if place + 24 > size:
            break
        file.seek(place)
        name, length = file.read(16), int.from_bytes(file.read(8), "little")
        if name == _W64_DATA:
            return 0 if length > _W64_UNKNOWN else max(0, place + length - size)
        place += max(24, (length + 7) // 8 * 8)  # the size counts these 24 bytes
    raise Flaw("is cut off: its header is there, its sound is missing")


def _walk_caf(file: BinaryIO, size: int, base: int) -> tuple[int, tuple[tuple[bytes, bytes], ...]]:
    """How many bytes of the sound are missing, and the chunks to copy."""
    place, missing, kept, room = base + 8, None, [], _CAF_KEPT_BYTES
    for _ in range(_MOST_CHUNKS):
        if place + 12 > size:
            break
        file.seek(place)
        name, length = file.read(4), struct.unpack(">q", file.read(8))[0]
        if name == b"data":
            length = size - place - 12 if length == _CAF_UNKNOWN else length
            missing = max(0, place + 12 + length - size)
        elif name in _CAF_KEPT and 0 <= length <= room:
            kept.append((name, file.read(length)))
            room -= length
        if length < 0:
            break
        place += 12 + length
    if missing is None:
        raise Flaw("is cut off: its header is there, its sound is missing")
    if place > size and not missing:
        raise Flaw("is cut off: its last chunk is not whole")
    return missing, tuple(kept)


def pack_caf(chunks: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """Chunks as they stand in a CAF file."""
    return b"".join(name + struct.pack(">q", len(data)) + data for name, data in chunks)
