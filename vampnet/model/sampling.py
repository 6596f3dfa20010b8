"""Iterative parallel decoding: fill the masked positions of a token grid in a few passes.

Source: MaskGIT (arXiv 2202.04200, section 3.2) as VampNet uses it (arXiv 2307.04686, section 3.3).
Each pass samples every masked position, keeps the most confident tokens and re-masks the rest; the
number that stays masked follows a quarter cosine (``mask_schedule``). Confidence is log p plus
Gumbel noise that is annealed to zero by the last pass, so the order is random at first and by
probability at the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from vampnet.model.logit_filters import pull_to_mean, top_p_filter, typical_filter
from vampnet.model.mask_schedule import (
    n_codebooks_due,
    next_mask_counts,
    order_by_codebook,
    remask,
    scheduled_mask_counts,
)
from vampnet.model.matmul import batch_slices
from vampnet.model.settings import MAX_STEPS, Sampling, check_setting
from vampnet.system.token_checks import check_codes

NOT_FINITE = (
    "the model gave values that are not finite numbers; its weights are damaged or its "
    "number format has too small a range (try float32)"
)


class MaskedModel(Protocol):
    """The interface of a model that :func:`generate` uses: see ``vampnet.model.VampNet``."""

    @property
    def mask_token(self) -> int:
        """Id of the mask token."""
        ...

    @property
    def n_conditioning_codebooks(self) -> int:
        """How many codebooks, from the first, are input only (conditioning)."""
        ...

    @property
    def codebooks(self) -> Tensor:
        """The codec's codebook vectors, float (N, V, latent_dim)."""
        ...

    def hidden(self, codes: Tensor) -> Tensor:
        """Hidden states, float (B, T, D), of codes, int64 (B, N, T)."""
        ...

    def classify(self, hidden: Tensor, codebook: int | None = None) -> Tensor:
        """Logits of hidden states, float (..., D): float (..., V) for one predicted codebook,
        float (..., P, V) for all of them."""
        ...


def sample_tokens(
    logits: Tensor,
    uniform: Tensor,
    sampling: Sampling,
    greedy: bool,
    vectors: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Sample one token per row, with its log probability.

    Args:
        logits: float (..., M, V).
        uniform: float (..., M) in [0, 1), the only randomness (inverse transform sampling).
        sampling: temperature, filters and ``mean_pull``.
        greedy: take the argmax.
        vectors: float (..., V, latent_dim), the codebook's vectors, for ``mean_pull``.

    Returns:
        Tokens, int64 (..., M), and their log probabilities, float (..., M).
    """
    plain = logits
    if sampling.top_p:
        logits = top_p_filter(logits, sampling.top_p)
    if sampling.typical_mass:
        logits = typical_filter(logits, sampling.typical_mass, sampling.typical_min_tokens)
    scaled = logits
    if sampling.temperature not in (0.0, 1.0):
        scaled = logits / sampling.temperature
    log_p = scaled.log_softmax(-1)
    token, token_log_p = _inverse_transform(log_p, uniform, sampling, greedy)
    if sampling.mean_pull and vectors is not None:
        token = pull_to_mean(token, plain, vectors.to(plain.dtype), sampling.mean_pull)
        log_p = log_p if scaled is plain else plain.log_softmax(-1)
        token_log_p = log_p.gather(-1, token[..., None])[..., 0]
    return token, token_log_p


def _inverse_transform(
    log_p: Tensor, uniform: Tensor, sampling: Sampling, greedy: bool
) -> tuple[Tensor, Tensor]:
    if greedy or not sampling.temperature:
        best = log_p.max(-1)
        return best.indices, best.values
    total = log_p.exp().cumsum(-1)
    target = uniform[..., None].to(total.dtype) * total[..., -1:]
    token = torch.searchsorted(total, target, right=True).clamp(max=log_p.shape[-1] - 1)
    token_log_p = log_p.gather(-1, token)
    if sampling.top_p or sampling.typical_mass:
        # rounding in the running sum may select a filtered token: take the argmax then
        best = log_p.max(-1, keepdim=True)
        filtered = token_log_p == -math.inf
        token = torch.where(filtered, best.indices, token)
        token_log_p = torch.where(filtered, best.values, token_log_p)
    return token[..., 0], token_log_p[..., 0]


def _uniform_noise(rng: Sequence[torch.Generator], steps: int, shape: Sequence[int]) -> Tensor:
    """Uniform noise (steps, 2, B, ...): one sample per generator and pass, shared by a group."""
    share = shape[0] // len(rng)
    noise = [torch.rand((steps, 2, *shape[1:]), generator=g, device=g.device) for g in rng]
    return torch.stack(noise, dim=2).repeat_interleave(share, dim=2)


@torch.inference_mode()
def generate(
    model: MaskedModel,
    codes: Tensor,
    mask: Tensor,
    sampling: Sampling,
    rng: Sequence[torch.Generator],
    on_step: Callable[[int, int], None] | None = None,
    steps: int | None = None,
) -> Tensor:
    """Fill the masked positions of ``codes`` (paper, section 3.3).

    Args:
        model: predicts the tokens; its conditioning codebooks are never changed.
        codes: int64 (B, N, T).
        mask: bool (B, N, T), True = generate.
        sampling: the settings.
        rng: the batch is divided into ``len(rng)`` equal consecutive groups; the items of a group
            (the channels of a take) share their noise.
        on_step: called as ``on_step(done, total)`` before the first pass and after each; an
            exception that it raises ends the call.
        steps: overrides ``sampling.steps``.

    Returns:
        int64 (B, N, T), equal to ``codes`` wherever ``mask`` is False.

    Raises:
        ValueError: for shapes or types that do not match and, on a CPU, for a code outside the
            model's vocabulary at an unmasked position.
        RuntimeError: when the logits are not finite.
    """
    steps = sampling.steps if steps is None else steps
    check_setting("steps", steps, 1, MAX_STEPS)
    _check_arguments(codes, mask, rng)
    masked = mask.clone()
    masked[:, : model.n_conditioning_codebooks] = False
    on_cpu = codes.device.type == "cpu"  # on an accelerator reading a value is a synchronisation
    check_codes(codes.masked_fill(masked, 0) if on_cpu else codes, model.mask_token, on_cpu)
    codes = codes.to(torch.int64, copy=True)
    _decode(model, codes, mask, masked, sampling, rng, on_step or (lambda done, total: None), steps)
    return codes


def _decode(
    model: MaskedModel,
    codes: Tensor,
    mask: Tensor,
    masked: Tensor,
    sampling: Sampling,
    rng: Sequence[torch.Generator],
    on_step: Callable[[int, int], None],
    steps: int,
) -> None:
    """Run the passes, in place: ``codes`` gets the tokens, ``masked`` ends without a True."""
    on_step(0, steps)
    on_cpu, first = codes.device.type == "cpu", model.n_conditioning_codebooks
    predicted, open_ = codes[:, first:], masked[:, first:]  # views: both tensors change with them
    wanted = scheduled_mask_counts(steps, masked.flatten(1).sum(-1))
    not_finite = torch.zeros((), dtype=torch.bool, device=codes.device)
    sample = _sample_masked if on_cpu else _sample_all_positions
    # a transfer to an accelerator synchronises too: there the noise of all passes is sent at once
    noises = None if on_cpu else _uniform_noise(rng, steps, open_.shape).to(codes.device)
    for step in range(steps):
        if step and on_cpu and not masked.any():
            on_step(step + 1, steps)
            continue
        # conditioning tokens in the caller's mask are masked in the first pass only
        hidden = model.hidden(codes.masked_fill(mask if step == 0 else masked, model.mask_token))
        noise = _uniform_noise(rng, 1, open_.shape)[0] if noises is None else noises[step]
        greedy = step / steps >= sampling.sample_cutoff
        n_masked = next_mask_counts(wanted[step], masked.flatten(1).sum(-1), step + 1 == steps)
        due = _due_positions(open_, n_masked) if on_cpu and sampling.by_codebook else open_
        token, log_p = sample(model, hidden, due, noise[0], sampling, greedy)
        not_finite |= ~torch.isfinite(log_p).all()
        if on_cpu and step == 0 and not_finite:
            raise RuntimeError(NOT_FINITE)
        predicted.copy_(torch.where(open_, token, predicted))
        confidence = _confidence(log_p, noise[1], open_, sampling, 1 - (step + 1) / steps)
        open_.copy_(remask(confidence.flatten(1), n_masked).view_as(open_))
        on_step(step + 1, steps)
    if not_finite:
        raise RuntimeError(NOT_FINITE)


def _check_arguments(codes: Tensor, mask: Tensor, rng: Sequence[torch.Generator]) -> None:
    if mask.dtype != torch.bool:
        raise ValueError(f"mask is {mask.dtype}; it must be torch.bool, True = generate")
    listed = isinstance(rng, Sequence) and len(rng) > 0
    if not listed or not all(isinstance(g, torch.Generator) for g in rng):
        raise ValueError(f"rng is {rng!r}; it must be a list of one torch.Generator or more")
    if codes.shape != mask.shape or codes.shape[0] % len(rng):
        raise ValueError(
            f"codes {tuple(codes.shape)}, mask {tuple(mask.shape)} and {len(rng)} generators "
            "do not fit: codes and mask need one shape, the batch a multiple of the generators"
        )


def _confidence(
    log_p: Tensor, uniform: Tensor, masked: Tensor, sampling: Sampling, noise_share: float
) -> Tensor:
    """Confidence of each token, float (B, P, T): log p plus ``noise_share`` (1..0) of the noise;
    +inf where the position was not masked."""
    confidence = log_p + sampling.mask_temperature * noise_share * _gumbel(uniform)
    if sampling.by_codebook:
        confidence = order_by_codebook(confidence)
    return confidence.masked_fill(~masked, math.inf)


def _due_positions(masked: Tensor, n_masked: Tensor) -> Tensor:
    """Masked positions of the codebooks that this pass fills, bool (B, P, T)."""
    due = masked.clone()
    due[:, n_codebooks_due(masked, n_masked) :] = False
    return due


def _sample_masked(
    model: MaskedModel,
    hidden: Tensor,
    masked: Tensor,
    uniform: Tensor,
    sampling: Sampling,
    greedy: bool,
) -> tuple[Tensor, Tensor]:
    """Token and log probability of every masked position; logits are computed for these alone.

    hidden: float (B, T, D); masked: bool (B, P, T); uniform: float (B, P, T). Returns int64 and
    float (B, P, T), 0 at other positions. One codebook at a time, so that its logits stay in the
    processor's cache.
    """
    token = torch.zeros(masked.shape, dtype=torch.int64, device=masked.device)
    log_p = torch.zeros(masked.shape, device=masked.device)
    vectors = model.codebooks[model.n_conditioning_codebooks :]
    for p in range(masked.shape[1]):
        for items in batch_slices(hidden, hidden.dtype):
            here = masked[items, p]
            if not here.any():
                continue
            logits = model.classify(hidden[items][here], p).float()
            token[items, p][here], log_p[items, p][here] = sample_tokens(
                logits, uniform[items, p][here], sampling, greedy, vectors[p]
            )
    return token, log_p


def _sample_all_positions(
    model: MaskedModel,
    hidden: Tensor,
    masked: Tensor,
    uniform: Tensor,
    sampling: Sampling,
    greedy: bool,
) -> tuple[Tensor, Tensor]:
    """The result of :func:`_sample_masked` with a fixed amount of work, without synchronisation.

    For accelerators, where selecting the masked positions costs a synchronisation, their number
    another kernel, and a loop over codebooks more launches.
    """
    vectors = model.codebooks[model.n_conditioning_codebooks :]
    logits = model.classify(hidden).float().permute(2, 0, 1, 3).flatten(1, 2)  # (P, B * T, V)
    by_book = uniform.transpose(0, 1).flatten(1)
    found = sample_tokens(logits, by_book, sampling, greedy, vectors)
    token, log_p = (x.view(masked.transpose(0, 1).shape).transpose(0, 1) for x in found)
    return token.masked_fill(~masked, 0), log_p.masked_fill(~masked, 0.0)


def _gumbel(uniform: Tensor) -> Tensor:
    """Standard Gumbel noise from uniform noise in [0, 1), same shape."""
    tiny = torch.finfo(torch.float32).tiny
    exponential = -torch.log(uniform.clamp(min=tiny))
    return -torch.log(exponential.clamp(min=tiny))
