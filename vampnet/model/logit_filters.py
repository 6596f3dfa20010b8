"""Pure functions on logits: nucleus and typical filtering, and a token moved towards the mean."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vampnet.model.matmul import linear


def top_p_filter(logits: Tensor, top_p: float) -> Tensor:
    """Keep the smallest set of tokens whose probability exceeds ``top_p`` (arXiv 1904.09751).

    Args:
        logits: float (..., V).
        top_p: probability mass, 0..1.

    Returns:
        float (..., V), -inf outside the set. The first token over the threshold is kept, so at
        least one token always is.
    """
    ordered, order = logits.softmax(-1).sort(dim=-1, descending=True)
    before = ordered.cumsum(-1) - ordered
    drop = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, order, before > top_p)
    return logits.masked_fill(drop, -math.inf)


def typical_filter(logits: Tensor, mass: float, min_tokens: int) -> Tensor:
    """Keep the locally typical set (Meister et al., arXiv 2202.00666).

    Tokens are taken in the order of |surprise - entropy| until ``mass`` is reached.

    Args:
        logits: float (..., V).
        mass: probability mass, 0..1.
        min_tokens: tokens that are kept at least.

    Returns:
        float (..., V), -inf outside the set.
    """
    log_p = logits.log_softmax(-1)
    p = log_p.exp()
    entropy = -(p * log_p).nansum(-1, keepdim=True)
    order = (-log_p - entropy).abs().argsort(dim=-1, stable=True)
    total = p.gather(-1, order).cumsum(-1)
    kept = (total < mass).sum(-1, keepdim=True) + 1
    rank = torch.arange(logits.shape[-1], device=logits.device)
    drop_ordered = (rank >= kept.clamp(min=min_tokens)).expand_as(order)
    drop = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, order, drop_ordered)
    # invalid logits (NaN, +inf) are not filtered, or the invalid one might be removed unnoticed
    return logits.masked_fill(drop & ~log_p.isnan(), -math.inf)


def pull_to_mean(token: Tensor, logits: Tensor, vectors: Tensor, pull: float) -> Tensor:
    """Move each token's codebook vector towards the expected vector and quantise it again.

    Between near codes of nearly equal probability, both sampling and argmax jump from frame to
    frame, which is audible as attacks that the music does not have; this does not.

    Args:
        token: int64 (..., M).
        logits: float (..., M, V).
        vectors: float (..., V, latent_dim), the codebook's vectors.
        pull: 0..1. With 0 the tokens do not change; with 1 the result is the code of least
            expected squared error (minimum Bayes risk).

    Returns:
        int64 (..., M).
    """
    mean = _matmul_transposed(logits.softmax(-1), vectors.mT)
    chosen = vectors.take_along_dim(token[..., None], -2)
    target = torch.lerp(chosen, mean, pull)
    half_norms = vectors.square().sum(-1)[..., None, :] / 2
    return (_matmul_transposed(target, vectors) - half_norms).argmax(-1)


def _matmul_transposed(rows: Tensor, weight: Tensor) -> Tensor:
    """``rows @ weight.mT``; for one codebook by the product whose rows are independent."""
    return linear(rows, weight.contiguous()) if weight.dim() == 2 else rows @ weight.mT
