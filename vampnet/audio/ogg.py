"""The pages of an Ogg file: which streams it holds, whether all is there, and the comments.

A page: "OggS", version 0, a byte of flags, 8 bytes of position, 4 of the stream's serial number, 4
of the page's, 4 of checksum, the count of segments, their lengths, the segments. Source: RFC 3533;
the packets of Vorbis (Vorbis I, section 4) and Opus (RFC 7845).
"""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from vampnet.audio import tags
from vampnet.audio.content import Content, Flaw, Limits, Part
from vampnet.audio.flac import is_empty_comment
from vampnet.audio.spliced import Piece, Spliced

_START = b"OggS\0"
_HEADER = 27  # bytes before the segments' lengths
_CONTINUED, _FIRST, _LAST = 1, 2, 4  # flags
_SERIAL, _NUMBER, _CHECKSUM = 14, 18, 22  # where in a page they stand
_OUR_SERIAL = struct.pack("<I", 0x766D706E)
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_SEGMENTS = 255
# How the packets of a codec start: the first, and the one with the comments; packets of headers.
_VORBIS, _OPUS, _FLAC = b"\x01vorbis", b"OpusHead", b"\x7fFLAC"
_COMMENTS = {_VORBIS: (b"\x03vorbis", 3), _OPUS: (b"OpusTags", 2)}
_SHORTEST_HEAD = 19  # bytes of a codec's first packet
_OPUS_HZ = 48000


@dataclass
class _Stream:
    """One stream of a file: pages (start, end), its first bytes, the last position seen."""

    serial: bytes
    head: bytes
    pages: list[tuple[int, int]] = field(default_factory=list)
    number: int = 0
    position: int = 0
    ended: bool = False
    open_packet: bool = False

    @property
    def kind(self) -> bytes:
        """How the first packet of its codec starts; b"" for no sound."""
        known = (_VORBIS, _OPUS, _FLAC) if len(self.head) >= _SHORTEST_HEAD else ()
        return next((kind for kind in known if self.head.startswith(kind)), b"")

    @property
    def shape(self) -> tuple[bytes, int, int]:
        """Codec, channels, rate of the positions in Hz."""
        if self.kind == _VORBIS:
            return self.kind, self.head[11], int.from_bytes(self.head[12:16], "little")
        return self.kind, self.head[9], _OPUS_HZ


def find(file: BinaryIO, size: int, base: int, limits: Limits) -> Content:
    """The sound of an Ogg file whose first page is at `base`, and all beside it."""
    streams, end = _streams(file, size, base, limits)
    sounds = [stream for stream in streams if stream.kind]
    if any(stream.kind == _FLAC for stream in sounds):
        raise Flaw("is FLAC in an Ogg container, which is not read; export it as .flac")
    if not sounds:
        raise Flaw("is an Ogg file without Vorbis or Opus sound; export it as Ogg Vorbis")
    for one, next_one in zip(sounds, sounds[1:], strict=False):
        if next_one.pages[0][0] < one.pages[-1][0]:
            raise Flaw("holds several sounds at once, side by side; export it as one")
        if next_one.shape != one.shape:
            raise Flaw("holds joined sounds of different kinds; export it as one")
    parts = [Part(Spliced(*_pieces(file, stream))) for stream in sounds]
    packets = _header_packets(file, sounds[0])
    return Content(
        "OGG",
        tuple(parts),
        chunks=() if _is_empty(packets[1], sounds[0].kind) else ((b"comments", packets[1]),),
        trailing=tags.content(file, end, size),
    )


def _pieces(file: BinaryIO, stream: _Stream) -> list[Piece]:
    """The pages of a stream, those that follow each other as one piece, the last one flagged so."""
    runs: list[list[int]] = []
    for start, end in stream.pages:
        if runs and runs[-1][1] == start:
            runs[-1][1] = end
        else:
            runs.append([start, end])
    pieces: list[Piece] = [(file, start, end - start) for start, end in runs]
    if not stream.ended:  # a decoder that waits for the end gives up before it
        start, end = stream.pages[-1]
        file.seek(start)
        page = bytearray(file.read(end - start))
        page[5] |= _LAST
        pieces[-1] = (file, runs[-1][0], start - runs[-1][0])
        pieces.append(_sealed(page, stream.number, stream.serial))
    return pieces


def _streams(file: BinaryIO, size: int, base: int, limits: Limits) -> tuple[list[_Stream], int]:
    """The streams of a file and where its last page ends. Flaw for a page that is damaged."""
    found: list[_Stream] = []
    current: dict[bytes, _Stream] = {}
    place = base
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        while place < size:
            page = _page(data, place)
            if page is None:
                break
            serial = page[_SERIAL:_NUMBER]
            if page[5] & _FIRST:
                current[serial] = _Stream(serial, page[_HEADER + page[26] :])
                found.append(current[serial])
            if serial not in current:
                raise Flaw("is a damaged Ogg file: a page belongs to no stream")
            _add(current[serial], page, place, limits)
            place += len(page)
    _check_end(file, size, place, found)
    return found, place


def _page(data: mmap.mmap, place: int) -> bytes | None:
    """The page that starts there; None where none does. Flaw where it is cut off or damaged."""
    head = data[place : place + _HEADER + _SEGMENTS]
    if not head.startswith(_START):
        return None
    size = _size(head)
    page = data[place : place + size]
    if len(page) < size:
        raise Flaw("is cut off: the page that ends its sound is missing")
    without = page[:_CHECKSUM] + bytes(4) + page[_CHECKSUM + 4 :]
    if checksum(without) != int.from_bytes(page[_CHECKSUM : _CHECKSUM + 4], "little"):
        raise Flaw(f"is damaged: the checksum of the Ogg page at byte {place} is wrong")
    return page


def _add(stream: _Stream, page: bytes, place: int, limits: Limits) -> None:
    number = int.from_bytes(page[_NUMBER:_CHECKSUM], "little")
    if stream.pages and number != stream.number + 1:
        raise Flaw(f"is damaged: an Ogg page is missing at byte {place}")
    if stream.ended:
        raise Flaw("is a damaged Ogg file: a stream goes on behind its end")
    stream.number, stream.ended = number, bool(page[5] & _LAST)
    stream.pages.append((place, place + len(page)))
    stream.open_packet = page[26] > 0 and page[_HEADER + page[26] - 1] == _SEGMENTS
    position = int.from_bytes(page[6:14], "little", signed=True)
    if position > stream.position and stream.kind in (_VORBIS, _OPUS):
        stream.position = position
        limits.check(position, *stream.shape[1:])


def _check_end(file: BinaryIO, size: int, place: int, streams: list[_Stream]) -> None:
    """Flaw where what follows the last page is not a tag, or a packet is not whole."""
    if any(stream.open_packet and not stream.ended for stream in streams):
        raise Flaw("is cut off: the page that ends its sound is missing")
    rest = tags.content(file, place, size)
    if not rest or all(stream.ended for stream in streams) and _START not in rest:
        return
    if tags.trailing(file, size, place) > place and rest.strip(b"\0"):
        raise Flaw(f"is cut off or damaged: {len(rest)} bytes at its end are no Ogg page")


def _header_packets(file: BinaryIO, stream: _Stream) -> list[bytes]:
    """The packets of the codec's headers. Flaw where they are not whole."""
    start, count = _COMMENTS[stream.kind]
    packets, packet = [], b""
    for first, end in stream.pages:
        file.seek(first)
        page = file.read(end - first)
        place = _HEADER + page[26]
        for length in page[_HEADER:place]:
            packet += page[place : place + length]
            place += length
            if length < _SEGMENTS:
                packets.append(packet)
                packet = b""
        if len(packets) >= count:
            break
    if len(packets) < count or not packets[1].startswith(start):
        raise Flaw("is a damaged Ogg file: its header is not whole")
    return packets[:count]


def _is_empty(packet: bytes, kind: bytes) -> bool:
    """Whether the packet of comments names the encoder and says nothing else."""
    return is_empty_comment(packet[len(_COMMENTS[kind][0]) :])


def rewrite(source: BinaryIO, target: BinaryIO, comments: bytes = b"") -> None:
    """Copy the one stream of a complete Ogg file with other comments and a fixed serial number.

    comments: the whole packet, b"" = those that are there. The encoder draws the serial number, by
    which equal sounds would be different files.
    """
    pages = list(_pages(source))
    stream = _Stream(b"", pages[0][1][_HEADER + 1 :], [(at, at + len(page)) for at, page in pages])
    start, count = _COMMENTS[stream.kind]
    packets = _header_packets(source, stream)
    if comments.startswith(start):
        packets[1] = comments
    number = 0
    for first, group in ((_FIRST, packets[:1]), (0, packets[1:])):
        for page in _packed(group, first):
            target.write(_sealed(page, number))
            number += 1
    seen = 0
    for _, page in pages:
        if seen < count:  # a codec's headers end with a page
            seen += sum(length < _SEGMENTS for length in page[_HEADER : _HEADER + page[26]])
            continue
        target.write(_sealed(page, number))
        number += 1


def _packed(packets: list[bytes], flags: int) -> Iterator[bytearray]:
    """Packets as pages of position 0, without numbers and checksums."""
    lengths = [
        length
        for packet in packets
        for length in [_SEGMENTS] * (len(packet) // _SEGMENTS) + [len(packet) % _SEGMENTS]
    ]
    body, place = b"".join(packets), 0
    for first in range(0, len(lengths), _SEGMENTS):
        here = lengths[first : first + _SEGMENTS]
        goes_on = first > 0 and lengths[first - 1] == _SEGMENTS
        mark = flags | (_CONTINUED if goes_on else 0)
        done = any(length < _SEGMENTS for length in here)  # a packet ends on this page
        head = _START + bytes([mark]) + struct.pack("<q", 0 if done else -1) + bytes(12)
        yield bytearray(head + bytes([len(here), *here]) + body[place : place + sum(here)])
        place += sum(here)


def _sealed(page: bytes | bytearray, number: int, serial: bytes = _OUR_SERIAL) -> bytes:
    """The page with this serial number, this number of its own and its checksum."""
    page = bytearray(page)
    page[_SERIAL:_CHECKSUM] = serial + struct.pack("<I", number)
    page[_CHECKSUM : _CHECKSUM + 4] = bytes(4)  # counts as 0 in itself
    page[_CHECKSUM : _CHECKSUM + 4] = struct.pack("<I", checksum(page))
    return bytes(page)


def checksum(page: bytes | bytearray) -> int:
    """CRC-32 of the polynomial 0x04c11db7, each byte's highest bit first, from 0 on.

    zlib's starts with the lowest bit, from all ones on, and inverts what comes out.
    """
    mirrored = ~zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) & 0xFFFFFFFF
    return int.from_bytes(mirrored.to_bytes(4, "little").translate(_REVERSED), "big")


def _pages(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Each page of a file and where it stands, up to the first that is none or not whole."""
    place = 0
    while True:
        file.seek(place)
        page = file.read(_HEADER + _SEGMENTS + _SEGMENTS * _SEGMENTS)
        if not page.startswith(_START) or len(page) < _size(page):
            return
        yield place, page[: _size(page)]
        place += _size(page)


def _size(page: bytes) -> int:
    """The bytes of the page that starts here; one more than there are where its head is not."""
    head = _HEADER + page[_HEADER - 1] if len(page) >= _HEADER else len(page) + 1
    return head + sum(page[_HEADER:head])
