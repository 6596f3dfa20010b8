"""Headers of MPEG audio frames: how large a frame is and how many samples it holds.

Sources: ISO/IEC 11172-3 and 13818-3.
"""

from __future__ import annotations

from dataclasses import dataclass

FRAME = 1152  # the most samples of a frame
# kbit/s by version (1, or 2 and 2.5), layer and the number in a header; 0 is a free bit rate.
_KBITS = {
    (1, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_MONO = 3


@dataclass(frozen=True)
class FrameHeader:
    """What the four bytes of a frame's header say; sizes in bytes, lengths in samples."""

    size: int
    samples: int
    kbits: int
    rate_hz: int
    kind: tuple[int, int, int, bool]  # version, layer, number of the rate, one channel

    @property
    def channels(self) -> int:
        """1 or 2."""
        return 1 if self.kind[3] else 2

    @property
    def side_bytes(self) -> int:
        """Bytes between a frame's header and its sound, where a length header may stand."""
        return (17 if self.kind[3] else 32) if self.kind[0] == 3 else (9 if self.kind[3] else 17)


def header(head: bytes) -> FrameHeader | None:
    """The header of the frame that starts with these bytes; None where none does."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    bits, rate, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version not in _RATES or layer == 4 or bits in (0, 15) or rate == 3 or head[3] & 3 == 2:
        return None
    kbits, hz = _KBITS[1 if version == 3 else 2, layer][bits], _RATES[version][rate]
    samples = 384 if layer == 1 else FRAME // 2 if layer == 3 and version != 3 else FRAME
    slot = 4 if layer == 1 else 1
    size = (samples // (8 * slot) * 1000 * kbits // hz + padding) * slot
    return FrameHeader(size, samples, kbits, hz, (version, layer, rate, head[3] >> 6 == _MONO))


def is_free(head: bytes) -> bool:
    """Whether these bytes start a layer 3 frame whose size its header does not say."""
    plain = head[:2] in (b"\xff\xfa", b"\xff\xfb", b"\xff\xf2", b"\xff\xf3")
    return (
        plain
        and head[2] >> 4 == 0
        and header(head[:2] + bytes([head[2] | 0x10, head[3]])) is not None
    )
