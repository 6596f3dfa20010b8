"""The pages of an Ogg file: whether its end is there, and a number that does not change by chance.

A page: "OggS", version 0, a byte of flags, 8 bytes of position, 4 of the stream's serial number, 4
of the page's, 4 of checksum, the count of segments, their lengths, the segments. Source: RFC 3533.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

_START = b"OggS\0"
_HEADER = 27  # bytes before the segments' lengths
_LONGEST_PAGE = _HEADER + 255 + 255 * 255
_LAST_OF_STREAM = 4  # a flag
_SERIAL, _CHECKSUM = 14, 22  # where in a page they stand
_OUR_SERIAL = 0x766D706E
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def cut_off(file: BinaryIO) -> bool:
    """Whether an open Ogg file ends before its end: its last page is not whole or not the last.

    False for other files. Encoders flag the last page of a stream; where there are several, one
    after the other or interleaved, the file's last page is the last of one of them. What follows
    the last page (tags of other kinds) does not count.
    """
    file.seek(0)
    if file.read(len(_START)) != _START:
        return False
    end = file.seek(0, 2)
    before = max(0, end - 2 * _LONGEST_PAGE)
    file.seek(before)
    tail = file.read()
    place = tail.rfind(_START)
    page = tail[place:] if place >= 0 else b""
    return not page or len(page) < _size(page) or not page[5] & _LAST_OF_STREAM


def mend(file: BinaryIO) -> None:
    """Give the one stream of a complete Ogg file opened "r+b" the same serial number each time.

    The encoder draws it, by which equal sounds would be different files.
    """
    for place, page in _pages(file):
        page[_SERIAL : _SERIAL + 4] = struct.pack("<I", _OUR_SERIAL)
        page[_CHECKSUM : _CHECKSUM + 4] = bytes(4)  # counts as 0 in itself
        page[_CHECKSUM : _CHECKSUM + 4] = struct.pack("<I", checksum(page))
        file.seek(place)
        file.write(page[:_HEADER])


def checksum(page: bytes | bytearray) -> int:
    """CRC-32 of the polynomial 0x04c11db7, each byte's highest bit first, from 0 on.

    zlib's starts with the lowest bit, from all ones on, and inverts what comes out.
    """
    mirrored = ~zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) & 0xFFFFFFFF
    return int.from_bytes(mirrored.to_bytes(4, "little").translate(_REVERSED), "big")


def _pages(file: BinaryIO) -> Iterator[tuple[int, bytearray]]:
    """Each page of a file and where it stands, up to the first that is none or not whole."""
    place = 0
    while True:
        file.seek(place)
        page = bytearray(file.read(_LONGEST_PAGE))
        if not page.startswith(_START) or len(page) < _size(page):
            return
        del page[_size(page) :]
        yield place, page
        place += len(page)


def _size(page: bytes | bytearray) -> int:
    """The bytes of the page that starts here; one more than there are where its head is not."""
    head = _HEADER + page[_HEADER - 1] if len(page) >= _HEADER else len(page) + 1
    return head + sum(page[_HEADER:head])
