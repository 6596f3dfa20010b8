"""How well a masked model guesses hidden tokens, beside predictors that know next to nothing.

Source: arXiv 2307.04686, section 3.2 (the loss: cross-entropy of the masked tokens alone).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vampnet.evaluation.baselines import kept_around
from vampnet.model import VampNet

TOP_K = 25
SHARPNESS = (2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)  # tried by the neighbours' predictor


@dataclass(frozen=True)
class Guess:
    """Cross-entropy in nats, and the share (0..1) of tokens among the 25 likeliest."""

    loss: float
    top: float


@dataclass(frozen=True)
class Usage:
    """How a codebook is used: entropy in nats, its exponential, and rows that nothing chose."""

    entropy: float
    perplexity: float
    unused: int


def usage(codes: Tensor, vocab_size: int) -> list[Usage]:
    """Of each codebook; codes: int64 (B, N, T)."""
    found = []
    for tokens in codes.transpose(0, 1).flatten(1):
        count = torch.bincount(tokens, minlength=vocab_size).double()
        share = count[count > 0] / count.sum()
        entropy = -(share * share.log()).sum()
        found.append(Usage(float(entropy), float(entropy.exp()), int((count == 0).sum())))
    return found


def hidden_tokens(codes: Tensor, ratio: float, first: int, rng: torch.Generator) -> Tensor:
    """A mask that hides each token with probability ``ratio`` from codebook ``first`` on.

    codes: int64 (B, N, T). Returns bool, same shape, True = hidden.
    """
    mask = torch.rand(codes.shape, generator=rng) < ratio
    mask[:, :first] = False
    return mask


@torch.inference_mode()
def guesses(model: VampNet, codes: Tensor, mask: Tensor) -> list[Guess]:
    """The model's, a codebook it predicts each. codes: int64, mask: bool, both (B, N, T)."""
    first = model.config.n_conditioning_codebooks
    hidden = torch.cat(
        [model.hidden(c) for c in codes.masked_fill(mask, model.mask_token).split(1)]
    )
    found = []
    for p in range(model.config.n_predicted_codebooks):
        here = mask[:, first + p]
        found.append(_guess(model.classify(hidden[here], p).float(), codes[:, first + p][here]))
    return found


@torch.inference_mode()
def neighbour_guesses(codes: Tensor, mask: Tensor, codebooks: Tensor) -> list[Guess]:
    """A predictor without a network: the nearer a code lies to the neighbours' mean, the likelier.

    The mean is that of the nearest visible tokens before and after in the same codebook, each
    weighted by the other's distance; odds fall with squared distance from it, times how common a
    code is. codes: int64, mask: bool, both (B, N, T); codebooks: float (at least N, V, D). How
    sharply odds fall, and how common codes are, comes from the first half of the items, the figures
    of each codebook from the second.
    """
    half = len(codes) // 2
    found = []
    for n, rows in enumerate(codebooks[: codes.shape[1]]):
        mean = _between(rows[codes[:, n]], mask[:, n])
        common = torch.bincount(codes[:half, n].flatten(), minlength=len(rows)).float() + 0.5
        prior = (common / common.sum()).log()
        parts = []
        for items in (slice(half), slice(half, None)):
            here = mask[items, n]
            distance = torch.cdist(mean[items][here], rows).square()
            parts.append((distance, codes[items, n][here]))
        (near, known), (far, asked) = parts
        scale = near.median()
        best = min(SHARPNESS, key=lambda s: _guess(prior - near * (s / scale), known).loss)
        found.append(_guess(prior - far * (best / scale), asked))
    return found


def _guess(logits: Tensor, target: Tensor) -> Guess:
    loss = F.cross_entropy(logits, target)
    best = logits.topk(min(TOP_K, logits.shape[-1]), dim=-1).indices
    return Guess(float(loss), float((best == target[:, None]).any(-1).float().mean()))


def _between(vectors: Tensor, hidden: Tensor) -> Tensor:
    """Hidden vectors from the nearest visible ones: float (B, T, D), bool (B, T) to (B, T, D)."""
    n_frames = hidden.shape[1]
    here = torch.arange(n_frames).expand_as(hidden)
    before, after = kept_around(hidden)
    gap_before = torch.where(before < 0, torch.inf, here - before).clamp(min=0.5)
    gap_after = torch.where(after >= n_frames, torch.inf, after - here).clamp(min=0.5)
    weights = torch.stack([1 / gap_before, 1 / gap_after])[..., None]
    index = torch.stack([before.clamp(min=0), after.clamp(max=n_frames - 1)])
    index = index[..., None].expand(-1, -1, -1, vectors.shape[-1])
    both = torch.stack([vectors.gather(1, i) for i in index])
    return (both * weights).sum(0) / weights.sum(0).clamp(min=1e-9)
