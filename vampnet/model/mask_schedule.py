"""Which positions stay masked after each decoding pass: MaskGIT's schedule and re-masking.

Source: MaskGIT (arXiv 2202.04200, section 3.2); codebook order as in SoundStorm (arXiv 2305.09636,
section 3.3).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def schedule(progress: float) -> float:
    """Return the share of positions still masked at ``progress`` (0..1): a quarter cosine."""
    return min(1.0, max(1e-10, math.cos(progress * math.pi / 2)))


def scheduled_mask_counts(steps: int, n_start: Tensor) -> Tensor:
    """Return how many positions the schedule leaves masked after each pass.

    Args:
        steps: number of passes.
        n_start: int64 (B,), masked positions of each item before the first pass.

    Returns:
        int64 (steps, B).
    """
    shares = [schedule((step + 1) / steps) for step in range(steps)]
    # float64 keeps floor() on the side of the exact product; not every device has it
    wanted = torch.tensor(shares, dtype=torch.float64)[:, None] * n_start.cpu().double()
    return wanted.floor().long().to(n_start.device)


def next_mask_counts(wanted: Tensor, n_now: Tensor, last: bool) -> Tensor:
    """Return how many positions of each item stay masked after a pass.

    The count is ``wanted``, but every pass unmasks at least one position and every pass except the
    last leaves at least one masked. Each item counts its own positions.

    Args:
        wanted: int64 (B,), counts given by the schedule.
        n_now: int64 (B,), masked positions before the pass.
        last: True for the last pass, which leaves none.

    Returns:
        int64 (B,).
    """
    if last:
        return torch.zeros_like(n_now)
    return torch.minimum(wanted, n_now - 1).clamp(min=1).minimum(n_now)


def remask(confidence: Tensor, n_masked: Tensor) -> Tensor:
    """Select the ``n_masked`` least confident positions of each item.

    Args:
        confidence: float (B, M), +inf where a token is fixed.
        n_masked: int64 (B,).

    Returns:
        bool (B, M), True = masked in the next pass.
    """
    ordered = confidence.sort(dim=-1).values
    last = n_masked.clamp(max=confidence.shape[-1] - 1)[:, None]
    return confidence < ordered.gather(-1, last)


def order_by_codebook(confidence: Tensor) -> Tensor:
    """Shift confidence, float (B, P, T), so that each codebook ranks below the previous one.

    The order within a codebook does not change.
    """
    low = confidence.amin((1, 2), keepdim=True)
    span = (confidence.amax((1, 2), keepdim=True) - low).clamp(min=torch.finfo(torch.float32).tiny)
    books = torch.arange(confidence.shape[1], device=confidence.device)[:, None]
    return (confidence - low) / span - 2 * books


def n_codebooks_due(masked: Tensor, n_masked: Tensor) -> int:
    """Return how many codebooks, from the first, a pass in codebook order unmasks positions of.

    Args:
        masked: bool (B, P, T), the masked positions before the pass.
        n_masked: int64 (B,), how many stay masked after it.
    """
    count = masked.sum(-1)
    before = count.cumsum(-1) - count
    return int((before < (count.sum(-1) - n_masked)[:, None]).any(0).sum())
