"""wav files: RIFF, RIFX, RF64 and BW64, read by their own header and written with all it held.

Sources: Multimedia Programming Interface 1.0 (RIFF), EBU Tech 3285 and 3306, ITU-R BS.2088.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

from vampnet.audio.chunks import Chunk, Walk, Walker, pack
from vampnet.audio.content import Chunks, Content, Flaw, Limits, Part
from vampnet.audio.spliced import Spliced

KINDS = {b"RIFF": "WAV", b"RIFX": "WAV", b"RF64": "RF64", b"BW64": "BW64"}
CONTAINERS = ("WAV", "WAVEX", "RF64", "BW64")
_PCM, _FLOAT, _ALAW, _ULAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_SUBTYPES = {  # by format tag and bytes of a sample; their samples lie in the file as they are
    (_PCM, 1): "PCM_U8",
    (_PCM, 2): "PCM_16",
    (_PCM, 3): "PCM_24",
    (_PCM, 4): "PCM_32",
    (_FLOAT, 4): "FLOAT",
    (_FLOAT, 8): "DOUBLE",
    (_ALAW, 1): "ALAW",
    (_ULAW, 1): "ULAW",
}
PLAIN = {subtype: kind for kind, subtype in _SUBTYPES.items()}
_MPEG = (0x50, 0x55)
_GUID_END = bytes.fromhex("000000001000800000aa00389b71")  # behind the two bytes of the tag
_SPEAKERS = {1: 0x4, 2: 0x3, 3: 0x7, 4: 0x33, 5: 0x37, 6: 0x3F, 7: 0x13F, 8: 0x63F}
# They describe the samples: made for those that are written, or left out.
_DROPPED = frozenset((b"data", b"ds64", b"PEAK", b"levl", b"MD5 "))
_UNKNOWN = 0xFFFFFFFF


@dataclass(frozen=True)
class _Format:
    """What a `fmt ` chunk says: tag (of the subformat), channels, rate, bytes of a frame."""

    tag: int
    channels: int
    rate_hz: int
    frame_bytes: int
    bits: int
    extensible: bool

    @property
    def subtype(self) -> str | None:
        """In soundfile's words; None for what a codec has to decode."""
        width = self.frame_bytes // self.channels if self.channels else 0
        return _SUBTYPES.get((self.tag, width))


def _parse(content: bytes, order: str) -> _Format:
    """Flaw where the header contradicts itself."""
    if len(content) < 16:
        raise Flaw(f"has a header of {len(content)} bytes; 16 are needed")
    tag, channels, rate, _, frame, bits = struct.unpack(order + "HHIIHH", content[:16])
    extensible = tag == _EXTENSIBLE
    if extensible and len(content) >= 26:
        tag = struct.unpack(order + "H", content[24:26])[0]
    plain = tag in (_PCM, _FLOAT, _ALAW, _ULAW)
    if plain and channels and (frame % channels or frame * 8 < channels * bits or not frame):
        raise Flaw(
            f"has a damaged header: {channels} channels of {bits} bits in {frame} bytes a frame"
        )
    return _Format(tag, channels, rate, frame, bits, extensible)


def find(file: BinaryIO, size: int, base: int, limits: Limits) -> Content:
    """The sound of a wav file whose container starts at `base`, and all beside it."""
    file.seek(base)
    kind = file.read(4)
    order = ">" if kind == b"RIFX" else "<"
    walker = Walker(file, size, base, order, b"data")
    walk = walker.walk()
    sound, header = walk.chunks[walk.sound], walk.before(b"fmt ")
    if header is None:
        raise Flaw("has no header (a 'fmt ' chunk) before its sound")
    own = _parse(walker.content(header), order)
    if own.tag in _MPEG:
        raise Flaw("holds MP3 sound inside a wav file; export it as mp3 or as wav without MP3")
    container = "WAVEX" if own.extensible and KINDS[kind] == "WAV" else KINDS[kind]
    if own.subtype:
        limits.check(sound.length // own.frame_bytes, own.channels, own.rate_hz)
        part = Part(
            Spliced((file, sound.start, sound.length // own.frame_bytes * own.frame_bytes)),
            {
                "format": "RAW",
                "subtype": own.subtype,
                "endian": "BIG" if order == ">" else "LITTLE",
                "channels": own.channels,
                "samplerate": own.rate_hz,
            },
        )
    else:
        limits.check(0, own.channels, own.rate_hz)
        part = Part(_for_decoder(walker, walk, sound, kind))
        container = KINDS[kind]
    header_chunks = frozenset() if own.subtype else frozenset((b"fmt ", b"fact"))
    kept = _without_frames(walker.kept(walk.chunks[: walk.sound], _DROPPED | header_chunks))
    plain = own.subtype and kept == _header(
        container, own.subtype, own.rate_hz, own.channels, order
    )
    return Content(
        container,
        (part,),
        endian="BIG" if order == ">" else "FILE",
        before=() if plain else kept,
        chunks=walker.kept(walk.chunks[walk.sound + 1 :], _DROPPED | {b"fmt ", b"fact"}),
        trailing=walker.trailing(walk),
    )


def _for_decoder(walker: Walker, walk: Walk, sound: Chunk, kind: bytes) -> Spliced:
    """A wav file of nothing but header and sound, for sound that a codec has to decode."""
    order = ">" if kind == b"RIFX" else "<"
    names = (b"fmt ", b"fact")
    chunks = walker.kept(walk.chunks[: walk.sound], frozenset())
    head = b"WAVE" + pack(tuple(chunk for chunk in chunks if chunk[0] in names), order)
    head += b"data" + struct.pack(order + "I", min(sound.length, _UNKNOWN))
    size = struct.pack(order + "I", min(len(head) + sound.length, _UNKNOWN))
    outer = b"RIFX" if order == ">" else b"RIFF"
    return Spliced(outer + size + head, (walker.file, sound.start, sound.length))


def _without_frames(chunks: Chunks) -> Chunks:
    """The chunks with 0 frames in `fact`: how many there are is written with the samples."""
    return tuple(
        (name, bytes(4) + content[4:] if name == b"fact" else content) for name, content in chunks
    )


def _header(container: str, subtype: str, rate_hz: int, channels: int, order: str) -> Chunks:
    """The chunks in front of the sound where a file had none of its own."""
    tag, width = PLAIN[subtype]
    extensible = container != "WAV"
    form = struct.pack(
        order + "HHIIHH",
        _EXTENSIBLE if extensible else tag,
        channels,
        rate_hz,
        min(rate_hz * channels * width, _UNKNOWN),
        channels * width,
        8 * width,
    )
    if extensible:
        form += struct.pack(order + "HHIH", 22, 8 * width, _SPEAKERS.get(channels, 0), tag)
        form += _GUID_END
    found = [(b"fmt ", form)]
    if tag != _PCM:
        found.append((b"fact", bytes(4)))
    return tuple(found)


def valid_bits(before: Chunks) -> int:
    """Bits of a sample that count, by the header among these chunks; 0 where none says it."""
    form = dict(before).get(b"fmt ", b"")
    if len(form) < 16:
        return 0
    order = "<" if form[0] and form[:2] != b"\xff\xfe" else ">"
    extensible = form[:2] in (b"\xfe\xff", b"\xff\xfe") and len(form) >= 40
    place = 18 if extensible else 14
    return struct.unpack(order + "H", form[place : place + 2])[0]


class WavHeader:
    """What stands in front of the samples of a wav file, and what has to be put right behind them.

    Where the file that is written has rate, channels and bytes a sample of the one it came from,
    its header is that one's (valid bits, speakers and GUID), among the chunks that stood there.
    """

    def __init__(
        self, container: str, subtype: str, endian: str, rate_hz: int, channels: int, before: Chunks
    ) -> None:
        self._order = ">" if endian == "BIG" else "<"
        self._frame = PLAIN[subtype][1] * channels
        self._large = container in ("RF64", "BW64")
        self._kind = {"RF64": b"RF64", "BW64": b"BW64"}.get(
            container, b"RIFX" if endian == "BIG" else b"RIFF"
        )
        own = _header(container, subtype, rate_hz, channels, self._order)
        self._chunks = (
            before
            if self._fits(before, subtype, rate_hz, channels)
            else own + tuple(chunk for chunk in before if chunk[0] not in (b"fmt ", b"fact"))
        )

    def _fits(self, before: Chunks, subtype: str, rate_hz: int, channels: int) -> bool:
        form = dict(before).get(b"fmt ")
        if form is None:
            return False
        own = _parse(form, self._order)
        return (own.subtype, own.rate_hz, own.channels) == (subtype, rate_hz, channels)

    def pack(self, n_bytes: int, behind: int) -> bytes:
        """The bytes in front of `n_bytes` of sound, which `behind` bytes of chunks follow.

        OverflowError where a wav file cannot be so large.
        """
        frames = min(n_bytes // self._frame, _UNKNOWN)
        chunks = tuple(
            (
                name,
                struct.pack(self._order + "I", frames) + content[4:]
                if name == b"fact"
                else content,
            )
            for name, content in self._chunks
        )
        head = pack(chunks, self._order)
        size = 4 + (36 if self._large else 0) + len(head) + 8 + n_bytes + n_bytes % 2 + behind
        if not self._large and size > _UNKNOWN:
            raise OverflowError(f"a wav file of {size} bytes")
        sizes = struct.pack("<QQQI", size, n_bytes, n_bytes // self._frame, 0)
        ds64 = pack(((b"ds64", sizes),), "<") if self._large else b""
        outer, inner = (_UNKNOWN, _UNKNOWN) if self._large else (size, n_bytes)
        return b"".join(
            [
                self._kind, struct.pack(self._order + "I", outer), b"WAVE", ds64, head,
                b"data", struct.pack(self._order + "I", inner),
            ]
        )  # fmt: skip
