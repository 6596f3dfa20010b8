"""FLAC files: their metadata, their length and their checksum.

"fLaC", blocks of metadata (a byte of type, whose highest bit marks the last one, three of size),
frames. Source: RFC 9639.
"""

from __future__ import annotations

import mmap
from typing import BinaryIO

from vampnet.audio import tags
from vampnet.audio.content import Chunks, Content, Flaw, Limits, Part
from vampnet.audio.spliced import Spliced

_MAGIC = b"fLaC"
_START = _MAGIC + b"\0\0\0\x22"  # a stream starts with a block of type 0 and 34 bytes
_STREAMINFO, _PADDING, _SEEKTABLE, _COMMENT = 0, 1, 3, 4
_INFO_BYTES = 34
HEAD_BYTES = len(_MAGIC) + 4 + _INFO_BYTES  # what encoders write first
_BITS = (8, 16, 24)
_MOST_TRIED = 4  # frames that the end of a file may belong to
_LONGEST_FRAME = 1 << 20  # bytes; of 8 channels of 65535 samples of 16 bits


def find(file: BinaryIO, size: int, base: int, limits: Limits) -> Content:
    """The sound of a FLAC file whose container starts at `base`, and all beside it."""
    end = tags.trailing(file, size, base + HEAD_BYTES)
    starts = _streams(file, base, end)
    parts, shapes, md5 = [], set(), b""
    for start, stop in zip(starts, [*starts[1:], end], strict=True):
        info = _info(file, start, stop)
        frames, bits = _frames(info), _bits(info)
        if bits not in _BITS:
            raise Flaw(f"is FLAC of {bits} bits; 8, 16 and 24 are read: export it with 24 bits")
        shapes.add((_rate(info), _channels(info), bits))
        limits.check(frames, _channels(info), _rate(info))
        if not frames:
            frames = _counted(file, start, stop)
        head = _MAGIC + b"\0\0\0\x22" + _with_frames(info, frames)
        body = start + HEAD_BYTES
        parts.append(Part(Spliced(head, (file, body, stop - body))))
        md5 = info[18:34]
    if len(shapes) > 1:
        raise Flaw("holds FLAC sounds of different rates or channels; export it as one")
    return Content(
        "FLAC",
        tuple(parts),
        chunks=_blocks(file, starts[0], end),
        trailing=tags.content(file, end, size),
        md5=md5 if len(parts) == 1 else b"",
    )


def _streams(file: BinaryIO, base: int, end: int) -> list[int]:
    """Where the FLAC streams of a file start: more than one where files were joined."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        starts, place = [base], data.find(_START, base + HEAD_BYTES, end)
        while place >= 0:
            starts.append(place)
            place = data.find(_START, place + HEAD_BYTES, end)
    return starts


def _info(file: BinaryIO, start: int, end: int) -> bytes:
    """The STREAMINFO block's content of the stream that starts there."""
    file.seek(start)
    head = file.read(HEAD_BYTES)
    if end - start < HEAD_BYTES or head[4] & 0x7F != _STREAMINFO or head[5:8] != b"\0\0\x22":
        raise Flaw("is a damaged FLAC file: its header is not one")
    return head[8:]


def _blocks(file: BinaryIO, start: int, end: int) -> Chunks:
    """The metadata of the stream that starts there: type and content of each block to copy."""
    found, place, last, size = [], start + HEAD_BYTES, False, 0
    file.seek(start + 4)
    last = bool(file.read(1)[0] & 0x80)
    while not last:
        file.seek(place)
        head = file.read(4)
        length = int.from_bytes(head[1:], "big")
        if len(head) < 4 or place + 4 + length > end or head[0] & 0x7F == 0x7F:
            raise Flaw("is cut off or damaged: it ends inside its metadata")
        last, kind = bool(head[0] & 0x80), head[0] & 0x7F
        size += length
        if kind not in (_STREAMINFO, _PADDING, _SEEKTABLE):
            if size > tags.MAX_TAG_BYTES:
                raise Flaw(f"has more than {tags.MAX_TAG_BYTES >> 20} MiB of metadata")
            content = file.read(length)
            if kind != _COMMENT or not is_empty_comment(content):
                found.append((bytes([kind]), content))
        place += 4 + length
    return tuple(found)


def pack(blocks: Chunks) -> bytes:
    """Metadata blocks as they stand in a file, none of them the last."""
    return b"".join(kind + len(data).to_bytes(3, "big") + data for kind, data in blocks)


def is_empty_comment(content: bytes) -> bool:
    """Whether a Vorbis comment names the encoder and says nothing else."""
    vendor = int.from_bytes(content[:4], "little")
    return content[4 + vendor : 8 + vendor] == bytes(4)


def has_comment(blocks: Chunks) -> bool:
    """Whether a Vorbis comment is among these metadata blocks."""
    return any(kind == bytes([_COMMENT]) for kind, _ in blocks)


def hide_comment(file: BinaryIO, place: int) -> None:
    """Turn the encoder's own comment, the block at `place`, into padding; a file has only one."""
    file.seek(place)
    head = file.read(4)
    if head[0] & 0x7F == _COMMENT:
        file.seek(place)
        file.write(bytes([head[0] & 0x80 | _PADDING]))
        file.seek(place + 4)
        file.write(bytes(int.from_bytes(head[1:], "big")))


def _rate(info: bytes) -> int:
    return int.from_bytes(info[10:13], "big") >> 4


def _channels(info: bytes) -> int:
    return (info[12] >> 1 & 7) + 1


def _bits(info: bytes) -> int:
    return ((info[12] & 1) << 4 | info[13] >> 4) + 1


def _frames(info: bytes) -> int:
    """Samples of each channel; 0 = not known."""
    return (info[13] & 0xF) << 32 | int.from_bytes(info[14:18], "big")


def _with_frames(info: bytes, frames: int) -> bytes:
    word = bytes([info[13] & 0xF0 | frames >> 32 & 0xF]) + (frames & 0xFFFFFFFF).to_bytes(4, "big")
    return info[:13] + word + info[18:]


def _counted(file: BinaryIO, start: int, end: int) -> int:
    """The samples of a stream that does not say so, by the number in its last frame's header."""
    first = max(start + HEAD_BYTES, end - _LONGEST_FRAME)
    file.seek(first)
    tail, info = file.read(end - first), _info(file, start, end)
    place, tried = len(tail), 0
    while tried < _MOST_TRIED and (place := tail.rfind(b"\xff", 0, place)) >= 0:
        if tail[place + 1 : place + 2] in (b"\xf8", b"\xf9"):
            count = _end_of_frame(tail[place : place + 17], info)
            tried += bool(count)
            if count and _crc(tail[place:], 0x8005, 16) == 0:
                return count
    raise Flaw("does not say how long it is, and its last frame is not whole; export it again")


def _end_of_frame(head: bytes, info: bytes) -> int:
    """The number of the sample behind the frame with this header; 0 if it is not a header."""
    if len(head) < 6 or head[2] >> 4 == 0 or head[3] >> 4 > 10 or head[3] & 1:
        return 0
    coded = head[4]
    extra = next((n for n in range(8) if not coded << n & 0x80), 8)
    n_bytes = 1 if extra == 0 else extra
    if extra == 1 or extra > 7:
        return 0
    number = coded & (0x7F >> extra)
    for byte in head[5 : 4 + n_bytes]:
        number = number << 6 | byte & 0x3F
    place, code = 4 + n_bytes, head[2] >> 4
    if code == 1:
        block = 192
    elif code <= 5:
        block = 576 << code - 2
    elif code <= 7:
        width = code - 5
        block = int.from_bytes(head[place : place + width], "big") + 1
        place += width
    else:
        block = 256 << code - 8
    place += {12: 1, 13: 2, 14: 2}.get(head[2] & 0xF, 0)
    if len(head) <= place or _crc(head[: place + 1], 0x07, 8):
        return 0
    fixed = int.from_bytes(info[2:4], "big")  # the largest block: that of all but the last
    return number + block if head[1] & 1 else number * fixed + block


def _crc(data: bytes, polynomial: int, bits: int) -> int:
    """The checksum of data, 0 where its own checksum ends it."""
    register, top, mask = 0, 1 << bits - 1, (1 << bits) - 1
    for byte in data:
        register ^= byte << bits - 8
        for _ in range(8):
            register = (register << 1 ^ (polynomial if register & top else 0)) & mask
    return register
