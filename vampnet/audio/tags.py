"""Tags around a sound: where those in front of it end and those behind it start.

ID3v2 (2.2 to 2.4) and APEv2 in front; ID3v1, Lyrics3v2, APEv2 and an ID3v2.4 with a footer behind.
They are copied byte by byte and never interpreted, and so are FLAC's metadata blocks and the
comments of Ogg streams. A library that parses tags (mutagen is GPL; tinytag, MIT, reads only) would
write back what it understood of them: pictures, loop points in TXXX frames, unsynchronised or
unknown frames and private data survive a copy of the bytes, and no version of any tag needs code.
soundfile's own metadata are ten fields of text.

Sources: id3.org (ID3v2.3.0, ID3v2.4.0 structure), the APEv2 and Lyrics3v2 specifications.
"""

from __future__ import annotations

from typing import BinaryIO

from vampnet.audio.content import Flaw

MAX_TAG_BYTES = 32 * 1024 * 1024  # larger ones are refused: they would be held in memory
_MOST_TAGS = 16
_ID3_HEADER, _APE_HEADER, _ID3V1, _LYRICS_END = 10, 32, 128, 15


def leading(file: BinaryIO, size: int, place: int = 0) -> int:
    """The byte behind the tags that start at `place`; `place` itself where there is none.

    Flaw where a tag claims more bytes than the file of `size` bytes has.
    """
    for _ in range(_MOST_TAGS):
        end = place + length_at(file, place)
        if end == place:
            break
        if end >= size:
            raise Flaw("is cut off: it ends inside its first tag")
        place = end
    return place


def length_at(file: BinaryIO, place: int) -> int:
    """Bytes of the ID3v2 or APEv2 tag that starts at `place`, or of an ID3v1 tag; 0 for none."""
    file.seek(place)
    head = file.read(_APE_HEADER)
    if head[:3] == b"ID3" and len(head) >= _ID3_HEADER and max(head[3:5]) < 0xFF:
        footer = _ID3_HEADER if head[5] & 0x10 and head[3] >= 4 else 0
        return _ID3_HEADER + _syncsafe(head[6:10]) + footer
    if head[:8] == b"APETAGEX" and len(head) == _APE_HEADER and head[23] & 0x20:
        return _APE_HEADER + int.from_bytes(head[12:16], "little")
    return 0


def trailing(file: BinaryIO, size: int, least: int = 0) -> int:
    """Where the tags at the end of a file of `size` bytes start; `size` where there are none.

    Nothing before the byte `least` is taken for a tag.
    """
    end = size
    for _ in range(_MOST_TAGS):
        length = _length_before(file, end)
        if not length or end - length < least:
            break
        end -= length
    return end


def _length_before(file: BinaryIO, end: int) -> int:
    """Bytes of the tag that ends at `end`; 0 for none."""
    start = max(0, end - _ID3V1)
    file.seek(start)
    tail = file.read(end - start)
    if len(tail) == _ID3V1 and tail.startswith(b"TAG"):
        return _ID3V1
    if tail[-_APE_HEADER:-24] == b"APETAGEX":
        foot = tail[-_APE_HEADER:]
        header = _APE_HEADER if foot[23] & 0x80 else 0
        return int.from_bytes(foot[12:16], "little") + header
    if tail.endswith(b"LYRICS200") and tail[-_LYRICS_END:-9].isdigit():
        return int(tail[-_LYRICS_END:-9]) + _LYRICS_END
    if tail[-_ID3_HEADER:-7] == b"3DI":
        return 2 * _ID3_HEADER + _syncsafe(tail[-4:])
    return 0


def content(file: BinaryIO, start: int, end: int) -> bytes:
    """The bytes from `start` to `end`; Flaw where they are more than a tag may have."""
    if end - start > MAX_TAG_BYTES:
        allowed = f"{MAX_TAG_BYTES >> 20} MiB are allowed"
        raise Flaw(f"has tags of {(end - start) / 2**20:.1f} MiB; {allowed}")
    file.seek(start)
    return file.read(max(0, end - start))


def _syncsafe(word: bytes) -> int:
    return sum((byte & 0x7F) << 7 * (3 - n) for n, byte in enumerate(word))
