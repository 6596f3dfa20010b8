"""A small valid sound file of every kind that is read, with tags and chunks around the sound."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import soundfile

RATE = 44100
ID3 = b"ID3\4\0\0\0\0\0\x1eTIT2\0\0\0\x05\0\0\0Loop" + bytes(15)
ID3V1 = b"TAG" + b"Loop".ljust(125, b"\0")
APE = b"APETAGEX" + struct.pack("<IIII", 2000, 32 + 17, 1, 0x80000000) + bytes(8)
APE = APE[:8] + struct.pack("<IIII", 2000, 49, 1, 0xA0000000) + bytes(8) + (
    struct.pack("<II", 4, 0) + b"Title\0abc"[:9] + b"APETAGEX"
    + struct.pack("<IIII", 2000, 49, 1, 0x80000000) + bytes(8)
)  # fmt: skip


def sound(frames: int = 3000, channels: int = 2, seed: int = 0) -> np.ndarray:
    """Noise (frames, channels) of about -20 dBFS, none of it 0."""
    return 0.1 * np.random.default_rng(seed).standard_normal((frames, channels)) + 0.01


def coded(folder: Path, container: str, subtype: str, frames=3000, channels=2, **how) -> bytes:
    """A file as libsndfile writes it."""
    path = folder / "coded"
    rate = how.pop("rate", RATE)
    with open(path, "wb") as file:
        soundfile.write(
            file, sound(frames, channels), rate, format=container, subtype=subtype, **how
        )
    return path.read_bytes()


def chunk(name: bytes, content: bytes, order: str = "<", pad: bool = True) -> bytes:
    """A chunk of a wav or aiff file."""
    padding = b"\0" * (len(content) % 2) if pad else b""
    return name + struct.pack(order + "I", len(content)) + content + padding


def form(
    tag: int, channels: int, bits: int, width: int, rate: int = RATE, order: str = "<"
) -> bytes:
    """The content of a `fmt ` chunk of 16 bytes."""
    frame = channels * width
    return struct.pack(order + "HHIIHH", tag, channels, rate, rate * frame, frame, bits)


def wav(*chunks: bytes, kind: bytes = b"RIFF", size: int | None = None, order: str = "<") -> bytes:
    """A wav file of these chunks."""
    body = b"WAVE" + b"".join(chunks)
    return kind + struct.pack(order + "I", len(body) if size is None else size) + body


def aiff(*chunks: bytes, kind: bytes = b"AIFF") -> bytes:
    """An aiff file of these chunks."""
    body = kind + b"".join(chunks)
    return b"FORM" + struct.pack(">I", len(body)) + body


def common(channels: int, frames: int, bits: int, kind: bytes = b"", rate: int = RATE) -> bytes:
    """The content of a COMM chunk."""
    shift = rate.bit_length() - 1
    extended = struct.pack(">HQ", 16383 + shift, rate << 63 - shift)
    more = kind + b"\0\0" if kind else b""
    return struct.pack(">HIH", channels, frames, bits) + extended + more


def raw(width: int, order: str, frames: int = 3000, channels: int = 2) -> bytes:
    """Noise as integers of `width` bytes."""
    words = np.round(sound(frames, channels) * 2**31).clip(-(2**31), 2**31 - 1)
    data = words.astype(f"{order}i4").view(np.uint8).reshape(-1, 4)
    return (data[:, 4 - width :] if order == "<" else data[:, :width]).tobytes()


def ssnd(data: bytes) -> bytes:
    """The chunk of an aiff file's sound."""
    return chunk(b"SSND", bytes(8) + data, ">")


LIST = chunk(b"LIST", b"adtllabl\x09\0\0\0\1\0\0\0Verse\0\0")
ACID, CUE = chunk(b"acid", bytes(range(24))), chunk(b"cue ", b"\1" + bytes(27))
IXML, BEXT = chunk(b"iXML", b"<BWFXML/>"), chunk(b"bext", b"\3" * 602)
MARK = chunk(b"MARK", b"\0\1\0\1\0\0\0\5\3one", ">")


def waves() -> dict[str, tuple[bytes, int]]:
    """wav files made here; the bytes of their sound."""
    data16, data24 = raw(2, "<"), raw(3, "<")
    fmt16, fmt24 = chunk(b"fmt ", form(1, 2, 16, 2)), chunk(b"fmt ", form(1, 2, 24, 3))
    big = chunk(b"fmt ", form(1, 2, 16, 2, order=">"), ">")
    size = len(data24) + 36 + 24 + 8 + 4
    ds64 = chunk(b"ds64", struct.pack("<QQQI", size, len(data24), 3000, 0))
    floats = sound().astype("<f4").tobytes()
    fact = chunk(b"fact", struct.pack("<I", 3000))
    rest = b"data" + struct.pack("<I", 0xFFFFFFFF) + data24
    return {
        "wav-16": (wav(fmt16, chunk(b"data", data16)), len(data16)),
        "wav-24-chunks": (
            wav(BEXT, fmt24, IXML, chunk(b"data", data24), CUE, LIST, ACID),
            len(data24),
        ),
        "wav-junk-first": (
            wav(chunk(b"JUNK", bytes(28)), fmt16, chunk(b"data", data16), LIST),
            len(data16),
        ),
        "wav-float": (
            wav(chunk(b"fmt ", form(3, 2, 32, 4)), fact, chunk(b"data", floats)),
            len(floats),
        ),
        "wav-tagged": (
            ID3 + wav(fmt16, chunk(b"data", data16), chunk(b"id3 ", ID3)) + ID3V1,
            len(data16),
        ),
        "rifx": (wav(big, chunk(b"data", raw(2, ">"), ">"), kind=b"RIFX", order=">"), len(data16)),
        "rf64": (wav(ds64, fmt24, rest, kind=b"RF64", size=0xFFFFFFFF), len(data24)),
        "bw64": (wav(ds64, fmt24, rest, kind=b"BW64", size=0xFFFFFFFF), len(data24)),
    }


def aiffs() -> dict[str, tuple[bytes, int]]:
    """aiff and aifc files made here; the bytes of their sound."""
    data16, data24, low24 = raw(2, ">"), raw(3, ">"), raw(3, "<")
    version = chunk(b"FVER", bytes.fromhex("a2805140"), ">")
    wave = chunk(b"wave", b"\0\0\0\x0cfrmain24\0\0\0\nenda\0\1\0\0\0\x08\0\0\0\0", ">")
    comm16, comm24 = (
        chunk(b"COMM", common(2, 3000, 16), ">"),
        chunk(b"COMM", common(2, 3000, 24), ">"),
    )

    def typed(bits: int, kind: bytes) -> bytes:
        return version + chunk(b"COMM", common(2, 3000, bits, kind), ">")

    floats = sound().astype(">f4").tobytes()
    return {
        "aiff-16": (aiff(comm16, ssnd(data16)), len(data16)),
        "aiff-24-chunks": (
            aiff(MARK, comm24, ssnd(data24), chunk(b"basc", bytes(84), ">")),
            len(data24),
        ),
        "aiff-tagged": (ID3 + aiff(comm16, ssnd(data16), chunk(b"ID3 ", ID3, ">")), len(data16)),
        "aifc-sowt": (aiff(typed(16, b"sowt"), ssnd(raw(2, "<")), kind=b"AIFC"), len(data16)),
        "aifc-in24-low": (aiff(typed(24, b"in24"), wave, ssnd(low24), kind=b"AIFC"), len(low24)),
        "aifc-fl32": (aiff(typed(32, b"fl32"), ssnd(floats), kind=b"AIFC"), len(floats)),
    }


def all_kinds(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every kind by its name: the file, and what its sound has at least.

    That is bytes of samples where they lie in the file as they are, frames for what is coded.
    """
    found = waves() | aiffs()
    for container, subtype, unit in (
        ("WAVEX", "PCM_24", 6), ("WAV", "PCM_U8", 2), ("WAV", "DOUBLE", 16), ("WAV", "ULAW", 2),
        ("AIFF", "PCM_S8", 2), ("AIFF", "ULAW", 2), ("W64", "PCM_16", 4), ("AU", "PCM_16", 4),
        ("CAF", "PCM_24", 6), ("CAF", "FLOAT", 8), ("FLAC", "PCM_16", 4), ("FLAC", "PCM_24", 6),
    ):  # fmt: skip
        name = f"{container}-{subtype}".lower()
        found[name] = coded(folder, container, subtype), 3000 * unit
    for container, subtype in (("WAV", "IMA_ADPCM"), ("WAV", "MS_ADPCM"), ("AIFF", "IMA_ADPCM")):
        found[f"{container}-{subtype}".lower()] = coded(folder, container, subtype), 3000
    vorbis, opus = (
        coded(folder, "OGG", "VORBIS", 9000),
        coded(folder, "OGG", "OPUS", 9000, rate=48000),
    )
    fixed = coded(
        folder, "MP3", "MPEG_LAYER_III", 9000, bitrate_mode="CONSTANT", compression_level=0.6
    )
    free = coded(
        folder, "MP3", "MPEG_LAYER_III", 9000, bitrate_mode="VARIABLE", compression_level=0.5
    )
    flac = found["flac-pcm_16"][0]
    return found | {
        "vorbis": (vorbis, 9000),
        "opus": (opus, 9000),
        "vorbis-chained": (vorbis + vorbis, 18000),
        "mp3-fixed": (fixed, 9000),
        "mp3-variable": (free, 9000),
        "mp3-joined": (fixed + fixed, 18000),
        "mp3-tagged": (ID3 + free + APE + ID3V1, 9000),
        "mp3-joined-tagged": (ID3 + free + ID3V1 + ID3 + free + ID3V1, 18000),
        "flac-tagged": (ID3 + flac + ID3V1, 12000),
    }


def raw_of(native: np.ndarray, width: int) -> bytes:
    """Native int32 samples as little-endian integers of `width` bytes."""
    return native.astype("<i4").view(np.uint8).reshape(-1, 4)[:, 4 - width :].tobytes()
