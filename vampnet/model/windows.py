"""Windows over the frames of a region: what a model gets at once, and which frames are kept.

Each frame is kept once. A window has context on both sides, and every second window is generated in
a second pass, when both of its neighbours are complete.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

CONTEXT_SHARE = 1 / 6  # of a window: context on each side of the frames that are kept
LOOP_SEAM = 20  # frames (0.35 s) on each side of a loop's seam that are generated last
SEAM_CONTEXT = 64  # frames (1.1 s) of context on each side of them
BATCH_FRAMES = 4096  # frames of one batch, all items together


@dataclass(frozen=True)
class Window:
    """Frames of one window, and the range of them that is kept.

    Attributes:
        start: first frame in the region; negative or beyond its end where the region loops.
        length: frames of the window.
        keep_from: first frame that is kept.
        keep_to: one past the last frame that is kept.
    """

    start: int
    length: int
    keep_from: int
    keep_to: int

    def frames(self, n_frames: int) -> Tensor:
        """Return the indices of all frames, int64 (length,), in a region of ``n_frames``."""
        return torch.arange(self.start, self.start + self.length) % n_frames

    def kept(self, n_frames: int) -> Tensor:
        """Return the indices of the frames that are kept, int64 (keep_to - keep_from,)."""
        return torch.arange(self.keep_from, self.keep_to) % n_frames


def split_windows(
    n_frames: int, window: int, loop: bool = False
) -> tuple[list[Window], list[Window]]:
    """Return the windows of the first and of the second pass over a region.

    Together they keep each frame exactly once. Each has context on both sides, except at the ends
    of a region that does not loop.

    Args:
        n_frames: frames of the region.
        window: frames of a window at most.
        loop: whether windows wrap around the end of the region.
    """
    context = max(1, int(window * CONTEXT_SHARE))
    if n_frames <= window:
        if not loop or n_frames < 8:
            return [Window(0, n_frames, 0, n_frames)], []
        seam = min(LOOP_SEAM, n_frames // 4)
        beyond = min(context, SEAM_CONTEXT, n_frames // 2 - seam)
        around = Window(-seam - beyond, 2 * (seam + beyond), -seam, seam)
        return [Window(0, n_frames, seam, n_frames - seam)], [around]
    count = math.ceil(n_frames / (window - 2 * context))
    count += count % 2 if loop else 0  # around a loop, first and second passes must alternate
    edges = [round(i * n_frames / count) for i in range(count + 1)]
    found = []
    for first, last in zip(edges[:-1], edges[1:], strict=True):
        start = first - (window - (last - first)) // 2
        if not loop:
            start = min(max(0, start), n_frames - window)
        found.append(Window(start, window, first, last))
    return found[0::2], found[1::2]


def windows_to_fill(windows: list[Window], mask: Tensor) -> list[Window]:
    """Return the windows that keep at least one masked frame; mask: bool (N, T)."""
    n_frames = mask.shape[-1]
    return [w for w in windows if bool(mask[:, w.kept(n_frames)].any())]


def batch_windows(windows: list[Window], n_items: int) -> list[list[Window]]:
    """Group windows of one length into batches of at most BATCH_FRAMES frames, items included."""
    if not windows:
        return []
    size = max(1, BATCH_FRAMES // (windows[0].length * n_items))
    return [windows[i : i + size] for i in range(0, len(windows), size)]
