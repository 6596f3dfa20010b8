"""Pure functions on logits: what may be drawn, and a drawn token brought nearer to the mean."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vampnet.model.products import linear


def top_p_filter(logits: Tensor, top_p: float) -> Tensor:
    """-inf outside the smallest set of tokens whose probability exceeds ``top_p`` (1904.09751).

    logits: float (..., V). The first token over the threshold stays, so one always does.
    """
    ordered, order = logits.softmax(-1).sort(dim=-1, descending=True)
    before = ordered.cumsum(-1) - ordered
    drop = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, order, before > top_p)
    return logits.masked_fill(drop, -math.inf)


def typical_filter(logits: Tensor, mass: float, min_tokens: int) -> Tensor:
    """-inf outside the locally typical set (Meister et al., arXiv 2202.00666).

    Tokens are taken in the order of |surprise - entropy| until ``mass`` is reached, at least
    ``min_tokens`` of them. logits: float (..., V).
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
    # of broken logits (NaN, +inf) none is left out, or the broken one might be
    return logits.masked_fill(drop & ~log_p.isnan(), -math.inf)


def pull_to_mean(token: Tensor, logits: Tensor, vectors: Tensor, pull: float) -> Tensor:
    """The codes nearest to the tokens' vectors pulled by that share towards the expected vector.

    token: int64 (..., M); logits: float (..., M, V); vectors: float (..., V, latent_dim), the
    codebook's. Returns int64 (..., M): the tokens themselves with 0; with 1 the guess of least
    expected squared error among the codes (minimum Bayes risk). Between near codes of nearly equal
    odds, draws and likeliest tokens jump from frame to frame, which is heard as attacks that no one
    played; this does not.
    """
    mean = _times(logits.softmax(-1), vectors.mT)
    chosen = vectors.take_along_dim(token[..., None], -2)
    wanted = torch.lerp(chosen, mean, pull)
    return (_times(wanted, vectors) - vectors.square().sum(-1)[..., None, :] / 2).argmax(-1)


def _times(rows: Tensor, weight: Tensor) -> Tensor:
    """``rows @ weight.mT``; of one codebook by the product whose rows are independent."""
    return linear(rows, weight.contiguous()) if weight.dim() == 2 else rows @ weight.mT
