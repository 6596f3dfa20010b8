"""How many samples an MP3 file holds, counted by the headers of its frames.

A decoder takes the length from a header in the first frame (Xing, Info or VBRI). Where there is
none it supposes all frames to be as large as the first, and loses sound if the bit rate varies.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

FRAME = 1152  # the most samples of a frame
# kbit/s and Hz by the numbers in a header; those that stand for nothing known are left out.
_KBITS_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBITS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_LAYER_3 = 1
_MOST_TAGS = 16
_LENGTH_HEADERS = (b"Xing", b"Info", b"VBRI")


def more_than(file: BinaryIO, n_samples: int) -> bool:
    """Whether the frames of an open MP3 file hold more samples of each channel than `n_samples`.

    False where the first frame says how many there are, and for frames of free bit rates. The file
    stands afterwards where it stood.
    """
    before = file.tell()
    count = 0
    for head, samples in _frames(file):
        if not count and any(name in head for name in _LENGTH_HEADERS):
            break
        count += samples
        if count > n_samples:
            break
    file.seek(before)
    return count > n_samples


def lost(file: BinaryIO) -> int:
    """How many samples of each channel an open MP3 file lacks of those that its header announces.

    Counted only where the header (Xing or Info) announces more bytes than the file has; a few
    samples are none. Decoders notice the same, but tell it on the standard error of the process.
    """
    there = file.seek(0, 2) - _behind_tags(file)
    frames = _frames(file)
    head, samples = next(frames, (b"", 0))
    place = max(head.find(name) for name in _LENGTH_HEADERS[:2])
    words = head[place + 4 : place + 16]  # flags, frames, bytes; flags of 1 and 2 for the others
    if place < 0 or len(words) < 12 or words[3] & 3 != 3:
        return 0
    announced, size = int.from_bytes(words[4:8], "big"), int.from_bytes(words[8:], "big")
    if size <= there:
        return 0
    missing = (announced - sum(1 for _ in frames)) * samples
    return missing if missing > 2 * FRAME else 0


def _frames(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """The first bytes and the samples of each frame, up to the first place where none starts."""
    place = _behind_tags(file)
    while True:
        file.seek(place)
        head = file.read(64)
        size, samples = _frame(head)
        if not size:
            return
        yield head, samples
        place += size


def _behind_tags(file: BinaryIO) -> int:
    """Where the first frame should start: behind the ID3 tags."""
    place = 0
    for _ in range(_MOST_TAGS):
        file.seek(place)
        head = file.read(10)
        if head[:3] != b"ID3" or len(head) < 10:
            break
        footer = 10 if head[5] & 0x10 else 0
        place += 10 + footer + sum((byte & 0x7F) << 7 * (3 - n) for n, byte in enumerate(head[6:]))
    return place


def _frame(head: bytes) -> tuple[int, int]:
    """Bytes and samples of the frame that starts with these bytes; (0, 0) if none does."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return 0, 0
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    bits, rate, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version not in _RATES or layer != _LAYER_3 or bits in (0, 15) or rate == 3:
        return 0, 0
    kbits, samples = (_KBITS_1, FRAME) if version == 3 else (_KBITS_2, FRAME // 2)
    return samples // 8 * 1000 * kbits[bits] // _RATES[version][rate] + padding, samples
