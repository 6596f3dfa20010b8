"""Baselines without a model: random tokens, and holding the last kept token.

Every measure of a model is reported together with these two.
"""

from __future__ import annotations

import torch
from torch import Tensor


def random_tokens(codes: Tensor, mask: Tensor, vocab_size: int, rng: torch.Generator) -> Tensor:
    """Replace masked tokens by uniform random ones.

    Args:
        codes: tokens, int64 (B, N, T).
        mask: bool (B, N, T), True = masked.
        vocab_size: tokens per codebook.
        rng: source of randomness.

    Returns:
        Tokens, int64 (B, N, T).
    """
    noise = torch.randint(vocab_size, codes.shape, generator=rng)
    return torch.where(mask, noise, codes)


def kept_around(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Find the nearest kept frames before and after each position.

    Args:
        mask: bool (..., T), True = masked (not kept).

    Returns:
        The last kept frame at or before each position (-1: none) and the first one at or after it
        (T: none), both int64 (..., T).
    """
    n_frames = mask.shape[-1]
    here = torch.arange(n_frames).expand_as(mask)
    last = torch.where(mask, -1, here).cummax(dim=-1).values
    ahead = torch.where(mask, n_frames, here)
    return last, ahead.flip(-1).cummin(dim=-1).values.flip(-1)


def hold_last(codes: Tensor, mask: Tensor) -> Tensor:
    """Fill masked positions with the last kept token of their codebook.

    Positions before the first kept token take that one; a codebook without kept tokens gets 0.

    Args:
        codes: tokens, int64 (B, N, T).
        mask: bool (B, N, T), True = masked.

    Returns:
        Tokens, int64 (B, N, T).
    """
    n_frames = codes.shape[-1]
    last, first = kept_around(mask)
    source = torch.where(last >= 0, last, first)
    held = codes.gather(-1, source.clamp(max=n_frames - 1))
    return torch.where(source < n_frames, held, 0)
