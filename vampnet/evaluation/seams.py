"""What must not be heard: clicks where windows or ranges meet, and change where none was asked."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

AT_MS = 2.0  # either side of an edge, where its click would lie
NEAR_MS = 100.0  # either side, the sound that would hide it
SILENT = 1e-7  # bend of a waveform below which nothing is heard


def click_db(sound: Tensor, places: Sequence[int], rate_hz: int) -> float:
    """How much sharper the waveform bends at the places than near them: mean over places, dB.

    sound: float (S,); places in samples, at least 5 ms away from both ends (others are left out).
    The largest second difference within 2 ms of a place, over the median of as long pieces within
    100 ms. Music alone gives some dB, a click 20 and more. nan where no place is left.
    """
    bend = torch.nn.functional.pad(sound.double(), (1, 1)).diff().diff().abs()
    at, near = round(AT_MS * rate_hz / 1000), round(NEAR_MS * rate_hz / 1000)
    found = []
    for place in places:
        if not 2 * at < place < len(sound) - 2 * at:
            continue
        here = float(bend[place - at : place + at].max())
        around = bend[max(1, place - near) : min(len(bend) - 1, place + near)]
        usual = float(around.unfold(0, 2 * at, 2 * at).amax(1).median())
        found.append(20 * math.log10(max(here, SILENT) / max(usual, SILENT)))
    return sum(found) / len(found) if found else math.nan


def outside_error(before: Tensor, after: Tensor, spans: Sequence[tuple[int, int]]) -> float:
    """Largest |difference| of two sounds float (..., S) outside (start, end) in samples.

    It must be 0: what was not asked for must come back as it was.
    """
    difference = (after - before).abs()
    for start, end in spans:
        difference[..., start:end] = 0
    return float(difference.max()) if difference.numel() else 0.0


def turns(mask: Tensor, shortest: int) -> list[int]:
    """Frames where a mask bool (N, T) turns between kept and generated for a while.

    Only where both sides last at least ``shortest`` frames: the edges of prefixes and ranges, not
    of every kept frame. A frame counts as generated if all its codebooks are.
    """
    row = mask.all(0).int()
    edges = [0, *(row.diff().nonzero().flatten() + 1).tolist(), len(row)]
    lengths = [b - a for a, b in zip(edges[:-1], edges[1:], strict=True)]
    return [
        edges[i]
        for i in range(1, len(edges) - 1)
        if lengths[i - 1] >= shortest and lengths[i] >= shortest
    ]
