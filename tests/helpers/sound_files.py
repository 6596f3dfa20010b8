"""Audio files for tests."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import soundfile


def wav_bytes(channels=1, rate=44100, samples=64, bits=16, data_size=None) -> bytes:
    """Build a wav file manually, so that its header can be wrong."""
    data = b"\1\0" * samples * max(channels, 1)
    size = len(data) if data_size is None else data_size
    width = channels * bits // 8
    header = struct.pack("<HHIIHH", 1, channels, rate, rate * width, width, bits)
    body = b"WAVEfmt " + struct.pack("<I", 16) + header + b"data" + struct.pack("<I", size) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def clip(
    folder: Path,
    name: str = "loop.wav",
    rate: int = 44100,
    channels: int = 2,
    seconds: float = 0.6,
    **how: Any,
) -> Path:
    """Write noise of about -20 dBFS."""
    path = folder / name
    sound = 0.1 * np.random.default_rng(0).standard_normal((round(seconds * rate), channels))
    soundfile.write(path, sound, rate, **how)
    return path


def knocks(
    folder: Path, name: str = "beat.wav", seconds: float = 2.0, rate: int = 44100, **how: Any
) -> Path:
    """Write a stereo clip with an attack every half second."""
    time_s = np.arange(round(seconds * rate)) / rate
    knock = 0.5 * np.sin(2 * np.pi * 180 * time_s) * np.exp(-30 * (time_s % 0.5))
    hiss = 0.02 * np.random.default_rng(0).standard_normal((len(time_s), 2))
    path = folder / name
    soundfile.write(path, knock[:, None] + hiss, rate, **({"subtype": "PCM_24"} | how))
    return path
