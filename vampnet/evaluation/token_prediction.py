"""Masked-token prediction: cross-entropy and top-k accuracy of a model and of simple baselines.

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
SHARPNESS = (
    2.0,
    5.0,
    10.0,
    20.0,
    50.0,
    100.0,
    200.0,
    500.0,
)  # grid searched by the neighbour baseline


@dataclass(frozen=True)
class PredictionScore:
    """How well tokens were predicted.

    Attributes:
        cross_entropy: mean, in nats.
        top_k_accuracy: share (0 to 1) of tokens among the 25 most probable.
    """

    cross_entropy: float
    top_k_accuracy: float


@dataclass(frozen=True)
class CodebookUsage:
    """How a codebook is used.

    Attributes:
        entropy: of its tokens, in nats.
        perplexity: exponential of the entropy.
        unused: number of tokens that do not occur.
    """

    entropy: float
    perplexity: float
    unused: int


def codebook_usage(codes: Tensor, vocab_size: int) -> list[CodebookUsage]:
    """Measure how each codebook is used.

    Args:
        codes: tokens, int64 (B, N, T).
        vocab_size: tokens per codebook.

    Returns:
        One entry per codebook.
    """
    found = []
    for tokens in codes.transpose(0, 1).flatten(1):
        count = torch.bincount(tokens, minlength=vocab_size).double()
        share = count[count > 0] / count.sum()
        entropy = -(share * share.log()).sum()
        found.append(CodebookUsage(float(entropy), float(entropy.exp()), int((count == 0).sum())))
    return found


def random_token_mask(codes: Tensor, ratio: float, first: int, rng: torch.Generator) -> Tensor:
    """Mask each token with a given probability, sparing the conditioning codebooks.

    Args:
        codes: tokens, int64 (B, N, T).
        ratio: probability of a masked token, 0 to 1.
        first: number of conditioning codebooks, which are never masked.
        rng: source of randomness.

    Returns:
        Mask, bool (B, N, T), True = masked.
    """
    mask = torch.rand(codes.shape, generator=rng) < ratio
    mask[:, :first] = False
    return mask


@torch.inference_mode()
def score_predictions(model: VampNet, codes: Tensor, mask: Tensor) -> list[PredictionScore]:
    """Score a model's predictions of masked tokens.

    Args:
        model: the model.
        codes: tokens, int64 (B, N, T).
        mask: bool (B, N, T), True = masked.

    Returns:
        One score per predicted codebook.
    """
    first = model.config.n_conditioning_codebooks
    hidden = torch.cat(
        [model.hidden(c) for c in codes.masked_fill(mask, model.mask_token).split(1)]
    )
    found = []
    for p in range(model.config.n_predicted_codebooks):
        here = mask[:, first + p]
        found.append(_score(model.classify(hidden[here], p).float(), codes[:, first + p][here]))
    return found


@torch.inference_mode()
def score_neighbour_baseline(
    codes: Tensor, mask: Tensor, codebooks: Tensor
) -> list[PredictionScore]:
    """Score a predictor without a network, based on the neighbouring kept tokens.

    It interpolates linearly between the codebook vectors of the nearest kept tokens before and
    after; a token's probability falls with the squared distance from that point, times the token's
    frequency. The scale of the distance and the frequencies are fitted to the first half of the
    items, the scores come from the second.

    Args:
        codes: tokens, int64 (B, N, T).
        mask: bool (B, N, T), True = masked.
        codebooks: codebook vectors, float (at least N, V, D).

    Returns:
        One score per codebook.
    """
    half = len(codes) // 2
    found = []
    for n, rows in enumerate(codebooks[: codes.shape[1]]):
        mean = _interpolate(rows[codes[:, n]], mask[:, n])
        counts = torch.bincount(codes[:half, n].flatten(), minlength=len(rows)).float() + 0.5
        prior = (counts / counts.sum()).log()
        parts = []
        for items in (slice(half), slice(half, None)):
            here = mask[items, n]
            distance = torch.cdist(mean[items][here], rows).square()
            parts.append((distance, codes[items, n][here]))
        (near, known), (far, asked) = parts
        scale = near.median()
        best = min(SHARPNESS, key=lambda s: _score(prior - near * (s / scale), known).cross_entropy)
        found.append(_score(prior - far * (best / scale), asked))
    return found


def _score(logits: Tensor, target: Tensor) -> PredictionScore:
    loss = F.cross_entropy(logits, target)
    best = logits.topk(min(TOP_K, logits.shape[-1]), dim=-1).indices
    return PredictionScore(float(loss), float((best == target[:, None]).any(-1).float().mean()))


def _interpolate(vectors: Tensor, mask: Tensor) -> Tensor:
    """Interpolate masked vectors from the nearest kept ones: float (B, T, D), bool (B, T)."""
    n_frames = mask.shape[1]
    here = torch.arange(n_frames).expand_as(mask)
    before, after = kept_around(mask)
    gap_before = torch.where(before < 0, torch.inf, here - before).clamp(min=0.5)
    gap_after = torch.where(after >= n_frames, torch.inf, after - here).clamp(min=0.5)
    weights = torch.stack([1 / gap_before, 1 / gap_after])[..., None]
    index = torch.stack([before.clamp(min=0), after.clamp(max=n_frames - 1)])
    index = index[..., None].expand(-1, -1, -1, vectors.shape[-1])
    both = torch.stack([vectors.gather(1, i) for i in index])
    return (both * weights).sum(0) / weights.sum(0).clamp(min=1e-9)
