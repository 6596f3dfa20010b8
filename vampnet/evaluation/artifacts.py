"""Artefacts: clicks where windows or ranges meet, and changes outside the requested ranges."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

AT_MS = 2.0  # on either side of an edge, where a click would be
NEAR_MS = 100.0  # on either side, the reference that would mask a click
SILENT = 1e-7  # second differences are clamped to it


def click_db(sound: Tensor, places: Sequence[int], rate_hz: int) -> float:
    """Sharpness of the waveform at given positions relative to their surroundings.

    The largest second difference within 2 ms of a position, over the median of that of pieces of
    equal length within 100 ms. Music alone gives a few dB, a click 20 dB or more.

    Args:
        sound: mono audio, float (S,).
        places: positions in samples; those closer than 4 ms to an end are ignored.
        rate_hz: sample rate in Hz.

    Returns:
        Mean over the positions in dB, nan where none is left.
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
    """Largest absolute difference of two signals outside the edited spans, which must be 0.

    Args:
        before: float (..., S).
        after: float (..., S).
        spans: (start, end) in samples.
    """
    difference = (after - before).abs()
    for start, end in spans:
        difference[..., start:end] = 0
    return float(difference.max()) if difference.numel() else 0.0


def mask_transitions(mask: Tensor, shortest: int) -> list[int]:
    """Find the edges of prefixes, suffixes and ranges in a mask.

    Args:
        mask: bool (N, T), True = generated; a frame counts as generated if all its codebooks are.
        shortest: both sides of an edge last at least so many frames, so that single kept frames do
            not count.

    Returns:
        First frame after each edge.
    """
    row = mask.all(0).int()
    edges = [0, *(row.diff().nonzero().flatten() + 1).tolist(), len(row)]
    lengths = [b - a for a, b in zip(edges[:-1], edges[1:], strict=True)]
    return [
        edges[i]
        for i in range(1, len(edges) - 1)
        if lengths[i - 1] >= shortest and lengths[i] >= shortest
    ]
