"""File objects for decoders and encoders: a file made of pieces, and a file with a gap."""

from __future__ import annotations

import io
import os
from bisect import bisect_right
from itertools import accumulate
from typing import BinaryIO

Piece = bytes | tuple[BinaryIO, int, int]  # bytes, or (file, first byte, length)


class Spliced(io.RawIOBase):
    """A read-only file of pieces one after the other: byte strings and parts of open files.

    A decoder counts from the start of what it gets. So it gets the sound behind a header that says
    what is known about it, whatever else lies in the file around it.
    """

    def __init__(self, *pieces: Piece) -> None:
        super().__init__()
        self._pieces = [piece for piece in pieces if _length(piece)]
        self._starts = [0, *accumulate(_length(piece) for piece in self._pieces)]
        self._place = 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    @property
    def size(self) -> int:
        """Bytes in all."""
        return self._starts[-1]

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to a byte; returns where the file then stands."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self.size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def tell(self) -> int:
        """The byte at which the file stands."""
        return self._place

    def readinto(self, buffer, /) -> int:  # noqa: ANN001 - any writable buffer
        """Fill the buffer as far as there are bytes; returns how many."""
        view, done = memoryview(buffer).cast("B"), 0
        while done < len(view) and self._place < self.size:
            number = bisect_right(self._starts, self._place) - 1
            got = self._read_piece(number, view[done:])
            if not got:
                break
            done, self._place = done + got, self._place + got
        return done

    def _read_piece(self, number: int, view: memoryview) -> int:
        piece, skipped = self._pieces[number], self._place - self._starts[number]
        view = view[: self._starts[number + 1] - self._place]
        if isinstance(piece, bytes):
            view[:] = piece[skipped : skipped + len(view)]
            return len(view)
        file, first, _ = piece
        file.seek(first + skipped)
        found = file.read(len(view))
        view[: len(found)] = found
        return len(found)


def _length(piece: Piece) -> int:
    return len(piece) if isinstance(piece, bytes) else max(0, piece[2])


class Gapped:
    """An open file as an encoder sees it that must leave `size` bytes free at byte `place`.

    What is put in the gap afterwards stands in the middle of what the encoder wrote.
    """

    def __init__(self, file, place: int, size: int) -> None:  # noqa: ANN001 - any binary file
        self._file, self._at, self._size = file, place, size

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to a byte of those outside the gap; returns where the file then stands."""
        if whence == os.SEEK_CUR:
            offset += self.tell()
        elif whence == os.SEEK_END:
            end = self._file.seek(0, os.SEEK_END)
            offset += end - self._size if end > self._at else end
        self._file.seek(offset + (self._size if offset >= self._at else 0))
        return offset

    def tell(self) -> int:
        """The byte at which the file stands, the gap not counted."""
        place = self._file.tell()
        return place - self._size if place > self._at else place

    def write(self, data, /) -> int:  # noqa: ANN001 - any buffer
        """Write all bytes around the gap; returns how many."""
        view, start = memoryview(data).cast("B"), self.seek(self.tell())
        ahead = max(0, self._at - start)
        self._file.write(view[:ahead])
        if len(view) > ahead:
            self.seek(start + ahead)
            self._file.write(view[ahead:])
        return len(view)

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes around the gap, all by default."""
        start = self.seek(self.tell())
        ahead = max(0, self._at - start)
        wanted = ahead if size < 0 else min(ahead, size)
        found = self._file.read(wanted)
        if size < 0 or size > ahead:
            self.seek(start + ahead)
            found += self._file.read(size - ahead if size >= 0 else -1)
        return found

    def flush(self) -> None:
        """Nothing is held back."""
