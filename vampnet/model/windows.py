"""Windows over the frames of a region: what a model sees at once, and what of its answer is kept.

Each frame is kept once. A window hears context on both sides, and every second one is filled in a
second pass, when both of its neighbours are music already.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

CONTEXT_SHARE = 1 / 6  # of a window, heard on each side of the part that is kept
LOOP_SEAM = 20  # frames (0.35 s) each side of a loop's seam that are filled last
SEAM_CONTEXT = 64  # frames (1.1 s) heard beyond them
BATCH_FRAMES = 4096  # frames, all items together, that a model sees at once


@dataclass(frozen=True)
class Stretch:
    """Frames a model sees at once, and the part of its answer that is kept.

    ``start`` counts in the region and may be negative or run over its end where the region loops.
    """

    start: int
    length: int
    keep_from: int
    keep_to: int

    def frames(self, n_frames: int) -> Tensor:
        """Indices of the frames it sees, int64 (length,)."""
        return torch.arange(self.start, self.start + self.length) % n_frames

    def kept(self, n_frames: int) -> Tensor:
        """Indices of the frames whose result is kept, int64."""
        return torch.arange(self.keep_from, self.keep_to) % n_frames


def stretches(
    n_frames: int, window: int, loop: bool = False
) -> tuple[list[Stretch], list[Stretch]]:
    """The windows of the first and of the second pass over ``n_frames``.

    Together they keep each frame exactly once; each window is at most ``window`` frames long and
    hears context on both sides (none at the ends of a region, unless it loops).
    """
    context = max(1, int(window * CONTEXT_SHARE))
    if n_frames <= window:
        if not loop or n_frames < 8:
            return [Stretch(0, n_frames, 0, n_frames)], []
        seam = min(LOOP_SEAM, n_frames // 4)
        beyond = min(context, SEAM_CONTEXT, n_frames // 2 - seam)
        around = Stretch(-seam - beyond, 2 * (seam + beyond), -seam, seam)
        return [Stretch(0, n_frames, seam, n_frames - seam)], [around]
    count = math.ceil(n_frames / (window - 2 * context))
    count += count % 2 if loop else 0  # round a loop, first and second passes must alternate
    edges = [round(i * n_frames / count) for i in range(count + 1)]
    found = []
    for first, last in zip(edges[:-1], edges[1:], strict=True):
        start = first - (window - (last - first)) // 2
        if not loop:
            start = min(max(0, start), n_frames - window)
        found.append(Stretch(start, window, first, last))
    return found[0::2], found[1::2]


def needed(windows: list[Stretch], hole: Tensor) -> list[Stretch]:
    """The windows that keep at least one masked frame."""
    n_frames = hole.shape[-1]
    return [w for w in windows if bool(hole[:, w.kept(n_frames)].any())]


def batches(windows: list[Stretch], n_items: int) -> list[list[Stretch]]:
    """Windows of one length in groups of at most BATCH_FRAMES frames, all items counted."""
    if not windows:
        return []
    size = max(1, BATCH_FRAMES // (windows[0].length * n_items))
    return [windows[i : i + size] for i in range(0, len(windows), size)]
