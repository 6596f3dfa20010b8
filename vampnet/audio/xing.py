"""The length header of MP3 files: "Xing" or "Info", flags, frames, bytes, table, quality, LAME's.

It stands in a frame of its own, where the sound of a frame would start. LAME's part says how many
samples the encoder put in front of the sound and behind it. Source: the LAME tag specification,
revision 1.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from vampnet.audio.mpeg_frames import header

_FRAMES, _BYTES, _TABLE, _QUALITY = 1, 2, 4, 8  # flags
_TABLE_BYTES, _LAME_BYTES = 100, 36
_METHOD, _DELAYS = 9, 21  # where in LAME's part they stand; two delays of 12 bits
_NAMES = (b"Xing", b"Info")
_LAYER_3 = 3
_CHECKSUM = 34  # where in LAME's part the checksum of all in front of it stands
_KNOWN_DELAYS = (0, 528, 576, 1104, 1105, 1152)  # of encoders, in samples
_CANONICAL = 20 + _TABLE_BYTES  # where LAME's part stands behind the name, if nothing is left out


@dataclass(frozen=True)
class Xing:
    """frames, n_bytes: None where the header does not say; quality; LAME's part, b"" for none.

    lame_start: where in the frame LAME's part stands.
    """

    name: bytes
    frames: int | None
    n_bytes: int | None
    quality: bytes = bytes(4)
    lame: bytes = b""
    lame_start: int = 0

    @property
    def method(self) -> int:
        """How bit rates were chosen: 1, 8 constant, 2, 9 average, 3 to 6 variable; 0 unknown."""
        return self.lame[_METHOD] & 0xF if self.lame else 0


def read_xing(frame: bytes, side_bytes: int) -> Xing | None:
    """The length header in a frame whose sound starts behind `side_bytes`; None where none is."""
    place = start = 4 + side_bytes
    name = frame[place : place + 4]
    if name not in _NAMES:
        return None
    flags = int.from_bytes(frame[place + 4 : place + 8], "big")
    place += 8
    values: list[int | None] = []
    for flag in (_FRAMES, _BYTES):
        values.append(int.from_bytes(frame[place : place + 4], "big") if flags & flag else None)
        place += 4 if flags & flag else 0
    place += _TABLE_BYTES if flags & _TABLE else 0
    quality = frame[place : place + 4] if flags & _QUALITY else bytes(4)
    place += 4 if flags & _QUALITY else 0
    for at in (place, start + _CANONICAL):  # flags may have been cleared that were true
        lame = frame[at : at + _LAME_BYTES]
        if len(lame) == _LAME_BYTES and lame[:4].isalnum():
            return Xing(name, values[0], values[1], quality, lame, at)
    return Xing(name, values[0], values[1], quality)


def trusted(frame: bytes, xing: Xing, frames: int, n_bytes: int) -> Xing:
    """The header that stood in `frame`, without a padding that may cost sound.

    LAME's part ends with a checksum of the frame's start. Where it is right, or would be with the
    true counts of frames and bytes, its delays are. Else the delay is one of those that encoders
    have, and no padding is taken away.
    """
    if not xing.lame:
        return xing
    counts, checked = frame.find(xing.name) + 8, xing.lame_start + _CHECKSUM
    right = struct.pack(">II", frames, n_bytes + len(frame))
    stated = xing.lame[_CHECKSUM:]
    for n in (0, 4, 8):
        guess = frame[:counts] + right[:n] + frame[counts + n : checked]
        if stated != bytes(2) and _crc16(guess) == stated:
            return xing
    delay = int.from_bytes(xing.lame[_DELAYS : _DELAYS + 3], "big") >> 12
    if delay in _KNOWN_DELAYS and stated == bytes(2):
        return xing  # an encoder that writes no checksum
    return replace(xing, lame=lame_part(delay if delay in _KNOWN_DELAYS else 0, 0, xing.lame))


def _crc16(data: bytes) -> bytes:
    """CRC-16 of the polynomial 0x8005, lowest bit first."""
    register = 0
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0xA001 if register & 1 else 0)
    return register.to_bytes(2, "big")


def xing_frame(head: bytes, frames: int, n_bytes: int, own: Xing | None = None) -> bytes:
    """A frame with a length header for `frames` frames of `n_bytes` in all.

    head: the header of the first of them. own: the header that was there; its delays are kept.
    b"" for layers that have no such header.
    """
    first = header(head)
    if first is None or first.kind[1] != _LAYER_3:
        return b""
    lame = own.lame if own else b""
    needed = 4 + first.side_bytes + 20 + len(lame)
    plain = bytes([0xFF, head[1] | 1])  # without a checksum
    for number in range(1, 15):
        made = plain + bytes([number << 4 | head[2] & 0x0C, head[3]])
        found = header(made)
        if found is not None and found.size >= needed:
            break
    else:
        return b""
    name = own.name if own else _NAMES[1]
    flags = _FRAMES | _BYTES | _QUALITY
    quality = own.quality if own else bytes(4)
    counts = struct.pack(">III", flags, frames, n_bytes + found.size)
    tag = made + bytes(found.side_bytes) + name + counts + quality
    if lame:
        tag += lame[:_CHECKSUM]
        tag += _crc16(tag)
    return tag.ljust(found.size, b"\0")


def lame_part(delay: int, padding: int, template: bytes = b"") -> bytes:
    """LAME's part of a header for an encoder that put so many samples around the sound."""
    made = bytearray(template or b"LAME3.100".ljust(_LAME_BYTES, b"\0"))
    made[_DELAYS : _DELAYS + 3] = (delay << 12 | padding).to_bytes(3, "big")
    return bytes(made)
