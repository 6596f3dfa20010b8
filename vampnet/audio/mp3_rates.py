"""MP3 at a given mode and bit rate, of the exact length: what LAME has to be asked for.

libsndfile hands LAME a level from 0 (best) to 1: of a constant or average bit rate its place
between the highest and the lowest of the version, of a variable one the quality. What the last two
come to depends on the sound, so the level is sought.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vampnet.audio.mpeg_frames import header
from vampnet.audio.spliced import Gapped
from vampnet.audio.xing import Xing, lame_part, read_xing, xing_frame

_DEFAULT = {"compression_level": 0.1}  # variable, near the best
_LAST_LEVEL = 0.999
_KBITS = ((32000, 320, 32), (16000, 160, 8), (0, 64, 8))  # from a rate on: highest, lowest
# kbit/s of two channels at 44.1 kHz by tenths of a level, of music; a start for the search.
_VARIABLE = (245, 225, 190, 175, 165, 130, 115, 100, 85, 65)
_ROUNDS, _NEAR = 4, 0.05  # at most so many encodings, done within so much of the rate
_DELAY = 576  # samples that LAME puts in front of the sound


def encode_mp3(
    file: Gapped,
    encode: Callable[..., None],
    bit_rate: tuple[str, float] | None,
    sample_rate: int,
    n_samples: int,
) -> None:
    """Call `encode(**how)`, which writes `file` from its start, until the bit rate is reached.

    bit_rate: mode in soundfile's words and mean kbit/s; None = the default quality.
    """
    highest, lowest = next((high, low) for hz, high, low in _KBITS if sample_rate >= hz)
    if bit_rate is None:
        encode(**_DEFAULT)
    elif bit_rate[0] == "CONSTANT":
        level = (highest - bit_rate[1]) / (highest - lowest)
        encode(compression_level=min(max(level, 0.0), _LAST_LEVEL), bitrate_mode="CONSTANT")
    else:
        linear = tuple(np.linspace(highest, lowest, 11)[:10])
        curve = _VARIABLE if bit_rate[0] == "VARIABLE" else linear
        _seek(file, encode, *bit_rate, np.array(curve))
    _say_length(file, n_samples)


def _seek(
    file: Gapped, encode: Callable[..., None], mode: str, kbits: float, rates: np.ndarray
) -> None:
    """Encode with the level whose mean bit rate is next to `kbits`.

    rates: what the levels 0, 0.1 to 0.9 come to with usual music.
    """
    levels = np.arange(len(rates)) / 10
    tried: list[tuple[float, float]] = []
    level = float(np.interp(-kbits, -rates, levels))
    for left in reversed(range(_ROUNDS)):
        encode(compression_level=level, bitrate_mode=mode)
        found = _mean_kbits(file)
        tried.append((found, level))
        if abs(found / kbits - 1) < _NEAR or not left:
            break
        points = sorted(tried)
        if points[0][0] < kbits < points[-1][0]:
            level = float(np.interp(kbits, [p[0] for p in points], [p[1] for p in points]))
        else:  # along the usual curve, moved through what was found
            moved = rates * found / float(np.interp(level, levels, rates))
            level = float(np.interp(-kbits, -moved, levels))
        if any(abs(level - place) < 1e-3 for _, place in tried):
            break


def _frames(file: Gapped) -> tuple[int, int, bytes]:
    """Frames and bytes of sound in a file as LAME writes it, and its first frame."""
    file.seek(0)
    data = file.read()
    place = count = 0
    first = b""
    while (found := header(data[place : place + 4])) is not None:
        first = first or data[: found.size]
        place, count = place + found.size, count + 1
    head = header(first)
    if head is not None and read_xing(first, head.side_bytes) is not None:
        return count - 1, place - len(first), first
    return count, place, first


def _mean_kbits(file: Gapped) -> float:
    count, n_bytes, first = _frames(file)
    head = header(first)
    if head is None or not count:
        return 0.0
    return n_bytes * 8 / 1000 * head.rate_hz / (count * head.samples)


def _say_length(file: Gapped, n_samples: int) -> None:
    """Give a file whose frames are too small for LAME's own length header one of ours."""
    count, n_bytes, first = _frames(file)
    head = header(first)
    if head is None or read_xing(first, head.side_bytes) is not None:
        return
    padding = count * head.samples - _DELAY - n_samples
    own = Xing(b"Info", None, None, lame=lame_part(_DELAY, max(0, padding)))
    file.seek(0)
    data = file.read()
    file.seek(0)
    file.write(xing_frame(first[:4], count, n_bytes, own) + data)
