"""The chunks of wav and aiff files, as they are written and not only as they should be.

Each chunk is a name of four characters, a size of four bytes and the content, padded to an even
length. Writers forget the pad byte, pad to four, count the header as sound or leave sizes open;
what follows a chunk decides which of these it was.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import BinaryIO

from vampnet.audio import tags
from vampnet.audio.content import Chunks, Flaw

MAX_KEPT_BYTES = 64 * 1024 * 1024  # of all chunks that are copied
MAX_CHUNKS = 1000  # on each side of the sound that are copied: more are not a DAW's
_MAX_SKIPPED = 100_000  # in front of the sound
# A recorder that writes to a pipe leaves a size near 2 or 4 GiB, sox one rounded down to whole
# frames: it means "to the end of the file".
_OPEN_ENDED = (0x7F000000, 0x7FFFF000, 0xFFFFF000)
_LONGEST_FRAME = 0x100  # bytes
_NAME = re.compile(rb"[ -~]{4}")
_KNOWN = frozenset(
    b"fmt |fact|data|LIST|cue |smpl|inst|acid|strc|bext|iXML|JUNK|PAD |FLLR|id3 |ID3 |axml|chna|"
    b"cart|PEAK|levl|umid|minf|elm1|regn|DGDA|plst|DISP|ds64|bxml|_PMX|LGWV|ResU|afsp|MD5 |COMM|"
    b"SSND|FVER|MARK|INST|COMT|APPL|MIDI|AESD|NAME|AUTH|(c) |ANNO|basc|trns|cate|CHAN|wave".split(
        b"|"
    )
)


@dataclass(frozen=True)
class Chunk:
    """Name, first byte of the content, length of the content (what is there of the sound)."""

    name: bytes
    start: int
    length: int


@dataclass(frozen=True)
class Walk:
    """The chunks of a file, the number of the one with the sound, and where they end."""

    chunks: tuple[Chunk, ...]
    sound: int
    end: int

    def before(self, name: bytes) -> Chunk | None:
        """The first chunk of this name in front of the sound."""
        return next((chunk for chunk in self.chunks[: self.sound] if chunk.name == name), None)


class Walker:
    """Walks the chunks of an open file of `size` bytes whose container starts at `base`.

    order: "<" or ">", how sizes are written. sound: the name of the chunk with the sound.
    """

    def __init__(self, file: BinaryIO, size: int, base: int, order: str, sound: bytes) -> None:
        self.file, self.size, self.base = file, size, base
        self._order, self._sound, self._sound_64 = order, sound, None
        self.announced_end = base + 8 + self._head(base)[1]

    def walk(self) -> Walk:
        """All chunks; Flaw where there is no sound, or the file ends inside a chunk."""
        found: list[Chunk] = []
        place, sound = self.base + 12, -1
        while place + 8 <= self.size:
            name, length = self._head(place)
            start = place + 8
            if name == self._sound:
                if sound >= 0:
                    raise Flaw("holds more than one sound; export it as one")
                sound, length = len(found), self._sound_length(start, length)
            elif not self._rank(place):
                if name in _KNOWN:
                    raise Flaw(f"is cut off: it ends inside its '{name.decode()}' chunk")
                break
            elif name == b"ds64":
                self._sound_64 = self._number_64(start + 8)
            found.append(Chunk(name, start, length))
            place = self._next(start, length)
            if sound >= 0 and len(found) - sound > MAX_CHUNKS:
                return Walk(tuple(found), sound, self.size)
            if len(found) > _MAX_SKIPPED:
                raise Flaw(f"has more than {_MAX_SKIPPED} chunks before its sound")
        if sound < 0:
            raise Flaw("is cut off: its header is there, its sound is missing")
        return Walk(tuple(found), sound, min(place, self.size))

    def content(self, chunk: Chunk) -> bytes:
        """The bytes of a chunk."""
        self.file.seek(chunk.start)
        return self.file.read(chunk.length)

    def kept(self, chunks: tuple[Chunk, ...], dropped: frozenset[bytes]) -> Chunks:
        """Name and content of the chunks to copy; Flaw where they are too large."""
        wanted = [chunk for chunk in chunks[:MAX_CHUNKS] if chunk.name not in dropped]
        size = sum(chunk.length for chunk in wanted)
        if size > MAX_KEPT_BYTES:
            allowed = f"{MAX_KEPT_BYTES >> 20} MiB are allowed"
            raise Flaw(f"has chunks of {size / 2**20:.1f} MiB beside its sound; {allowed}")
        return tuple((chunk.name, self.content(chunk)) for chunk in wanted)

    def trailing(self, walk: Walk) -> bytes:
        """What lies behind the last chunk; Flaw for what may be sound that its size left out."""
        rest = tags.content(self.file, walk.end, self.size)
        if not rest.strip(b"\0"):
            return b""
        outside = self.base + 12 < self.announced_end <= walk.end + 1
        tagged = tags.trailing(self.file, self.size, walk.end) <= walk.end + 1
        if not outside and not tagged and not tags.length_at(self.file, walk.end):
            raise Flaw(f"is damaged: {len(rest)} bytes behind its sound are neither sound nor tags")
        return rest

    def _head(self, place: int) -> tuple[bytes, int]:
        """Name and announced length of the chunk at a place."""
        self.file.seek(place)
        head = self.file.read(8).ljust(8, b"\0")
        return head[:4], struct.unpack(self._order + "I", head[4:])[0]

    def _number_64(self, place: int) -> int:
        self.file.seek(place)
        return int.from_bytes(self.file.read(8), "little")

    def _rank(self, place: int) -> int:
        """2 where a known chunk starts that ends in the file, 1 for another one, 0 for none."""
        name, length = self._head(place)
        fits = place + 8 <= self.size and place + 8 + length <= self.size
        if name == self._sound:
            return 2
        return 2 if fits and name in _KNOWN else int(fits and bool(_NAME.fullmatch(name)))

    def _next(self, start: int, length: int) -> int:
        """Where the chunk behind this content starts: it is padded to two, not at all, or to four.

        What is found there decides; where a chunk lies at an odd place, pads count from either.
        """
        end, last = start + length, (self.size, self.size + 1)
        pads = (length % 2, 0, (end - self.base) % 2, -length % 4, -(end - self.base) % 4)
        ranks = [1 if end + pad in last else self._rank(end + pad) for pad in pads]
        pad = pads[ranks.index(max(ranks))] if any(ranks) else pads[0]
        return min(end + pad, self.size)

    def _sound_length(self, start: int, announced: int) -> int:
        """How many bytes the sound has; Flaw where some are missing."""
        length, there, header = announced, self.size - start, start - self.base
        if self._sound_64:
            length = self._sound_64
        elif is_open_ended(length):
            return there
        if not length:
            return 0 if not there or self._rank(start) == 2 else there
        if length > there:
            # The file is as long as it says, the sound's size counts the header, too.
            if self.announced_end == self.size and length - there <= header:
                return length - header if self._rank(start + length - header) == 2 else there
            missing = length - there
            raise Flaw(
                f"is cut off: {missing} bytes of sound that its header announces are missing"
            )
        following = (start + length, start + length + 1)
        if length > header and not any(map(self._rank, following)) and length < there - 1:
            if self._rank(start + length - header) == 2:
                return length - header
        return length


def is_open_ended(size: int) -> bool:
    """Whether a number of bytes stands for "to the end of the file"."""
    return any(-_LONGEST_FRAME <= size - mark < 0x1000 for mark in _OPEN_ENDED)


def missing_sound(n_bytes: int) -> Flaw:
    """The flaw of a file whose header announces more bytes of sound than there are."""
    return Flaw(f"is cut off: {n_bytes} bytes of sound that its header announces are missing")


def pack(chunks: Chunks, order: str) -> bytes:
    """Chunks as they stand in a file, each padded to an even length."""
    parts = []
    for name, content in chunks:
        parts += [name, struct.pack(order + "I", len(content)), content, b"\0" * (len(content) % 2)]
    return b"".join(parts)
