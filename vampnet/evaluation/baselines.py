"""What every figure of a model stands beside: chance, and doing nothing clever.

A table without these two once called noise a success.
"""

from __future__ import annotations

import torch
from torch import Tensor


def random_tokens(codes: Tensor, mask: Tensor, vocab_size: int, rng: torch.Generator) -> Tensor:
    """Uniform random tokens in the masked places. codes int64, mask bool, both (B, N, T)."""
    noise = torch.randint(vocab_size, codes.shape, generator=rng)
    return torch.where(mask, noise, codes)


def kept_around(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Of each place the last kept frame up to it (-1: none) and the first from it on (T: none).

    mask: bool (..., T), True = not kept. Both int64, same shape.
    """
    n_frames = mask.shape[-1]
    here = torch.arange(n_frames).expand_as(mask)
    last = torch.where(mask, -1, here).cummax(dim=-1).values
    ahead = torch.where(mask, n_frames, here)
    return last, ahead.flip(-1).cummin(dim=-1).values.flip(-1)


def hold_last(codes: Tensor, mask: Tensor) -> Tensor:
    """Each masked token takes the last kept one of its codebook, before the first the first.

    codes int64, mask bool, both (B, N, T). A codebook with nothing kept gets token 0.
    """
    n_frames = codes.shape[-1]
    last, first = kept_around(mask)
    source = torch.where(last >= 0, last, first)
    held = codes.gather(-1, source.clamp(max=n_frames - 1))
    return torch.where(source < n_frames, held, 0)
