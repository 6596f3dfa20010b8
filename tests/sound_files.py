"""Sound files that several tests read or send."""

from __future__ import annotations

import struct


def wav_bytes(channels=1, rate=44100, samples=64, bits=16, data_size=None) -> bytes:
    """A wav file by hand, so that its header can lie."""
    data = b"\1\0" * samples * max(channels, 1)
    size = len(data) if data_size is None else data_size
    width = channels * bits // 8
    header = struct.pack("<HHIIHH", 1, channels, rate, rate * width, width, bits)
    body = b"WAVEfmt " + struct.pack("<I", 16) + header + b"data" + struct.pack("<I", size) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body
