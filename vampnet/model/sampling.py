"""Iterative parallel decoding: from tokens with holes to tokens without, in a few passes.

Source: MaskGIT (arXiv 2202.04200, section 3.2) as VampNet uses it (arXiv 2307.04686, section 3.3).
Each pass samples every hole, keeps what the model is surest of and opens the rest again; the
number left open follows a quarter cosine. Confidence is log p plus Gumbel noise that is annealed
to nothing at the last pass, so early choices wander and late ones are strict.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from vampnet.model.logit_filters import pull_to_mean, top_p_filter, typical_filter
from vampnet.model.products import items_of
from vampnet.model.settings import MAX_STEPS, Sampling, check_setting
from vampnet.system.token_checks import check_codes

NOT_FINITE = (
    "the model gave values that are not finite numbers; its weights are damaged or its "
    "number format is too narrow (try float32)"
)


class MaskedModel(Protocol):
    """What :func:`generate` needs of a model: see ``vampnet.model.VampNet``."""

    @property
    def mask_token(self) -> int:
        """The id of an unknown token."""
        ...

    @property
    def n_conditioning_codebooks(self) -> int:
        """How many codebooks, from the first, are only heard."""
        ...

    @property
    def codebooks(self) -> Tensor:
        """The codec's codebook vectors, float (N, V, latent_dim)."""
        ...

    def hidden(self, codes: Tensor) -> Tensor:
        """int64 (B, N, T) to what :meth:`classify` reads, float (B, T, D)."""
        ...

    def classify(self, hidden: Tensor, codebook: int | None = None) -> Tensor:
        """Rows of it, float (..., D), to logits of a predicted codebook, float (..., V), or of all,
        float (..., P, V)."""
        ...


def schedule(progress: float) -> float:
    """Share of the holes still open at ``progress`` (0..1): the quarter cosine of MaskGIT."""
    return min(1.0, max(1e-10, math.cos(progress * math.pi / 2)))


def n_open_wanted(steps: int, n_start: Tensor) -> Tensor:
    """How many holes the schedule leaves open after each pass, int64 (steps, B).

    n_start: int64 (B,), holes of each item at the start.
    """
    shares = [schedule((step + 1) / steps) for step in range(steps)]
    # float64 keeps floor() on the side where the exact product lies; not every device has it
    wanted = torch.tensor(shares, dtype=torch.float64)[:, None] * n_start.cpu().double()
    return wanted.floor().long().to(n_start.device)


def n_open_after(wanted: Tensor, n_now: Tensor, last: bool) -> Tensor:
    """Holes each item keeps open after a pass: ``wanted``, but every pass closes at least one.

    wanted, n_now: int64 (B,), what the schedule says and holes before the pass. Every pass but the
    ``last`` leaves at least one open; that one leaves none. Each item counts its own.
    """
    if last:
        return torch.zeros_like(n_now)
    return torch.minimum(wanted, n_now - 1).clamp(min=1).minimum(n_now)


def choose(
    logits: Tensor,
    uniform: Tensor,
    sampling: Sampling,
    greedy: bool,
    vectors: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """One token a row, and its log probability.

    logits: float (..., M, V); uniform: float (..., M) in [0, 1), the only randomness (inverse
    transform); vectors: float (..., V, latent_dim), the codebook's, for ``mean_pull``. Returns
    int64 and float (..., M).
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
    token, picked = _drawn(log_p, uniform, sampling, greedy)
    if sampling.mean_pull and vectors is not None:
        token = pull_to_mean(token, plain, vectors.to(plain.dtype), sampling.mean_pull)
        log_p = log_p if scaled is plain else plain.log_softmax(-1)
        picked = log_p.gather(-1, token[..., None])[..., 0]
    return token, picked


def _drawn(
    log_p: Tensor, uniform: Tensor, sampling: Sampling, greedy: bool
) -> tuple[Tensor, Tensor]:
    if greedy or not sampling.temperature:
        best = log_p.max(-1)
        return best.indices, best.values
    total = log_p.exp().cumsum(-1)
    target = uniform[..., None].to(total.dtype) * total[..., -1:]
    token = torch.searchsorted(total, target, right=True).clamp(max=log_p.shape[-1] - 1)
    picked = log_p.gather(-1, token)
    if sampling.top_p or sampling.typical_mass:
        # rounding in the running sum may land on a token that was taken out: take the best then
        best = log_p.max(-1, keepdim=True)
        lost = picked == -math.inf
        token, picked = (
            torch.where(lost, best.indices, token),
            torch.where(lost, best.values, picked),
        )
    return token[..., 0], picked[..., 0]


def reopen(confidence: Tensor, n_open: Tensor) -> Tensor:
    """The ``n_open`` least sure positions of each item.

    confidence: float (B, M), +inf where a token is fixed; n_open: int64 (B,). Returns bool (B, M).
    """
    ordered = confidence.sort(dim=-1).values
    last = n_open.clamp(max=confidence.shape[-1] - 1)[:, None]
    return confidence < ordered.gather(-1, last)


def in_codebook_order(confidence: Tensor) -> Tensor:
    """Confidence float (B, P, T), each codebook below the one before, in itself as it was."""
    low = confidence.amin((1, 2), keepdim=True)
    span = (confidence.amax((1, 2), keepdim=True) - low).clamp(min=torch.finfo(torch.float32).tiny)
    books = torch.arange(confidence.shape[1], device=confidence.device)[:, None]
    return (confidence - low) / span - 2 * books


def codebooks_due(holes: Tensor, n_open: Tensor) -> int:
    """How many codebooks, from the first, a pass in codebook order closes a hole of.

    holes: bool (B, P, T), before the pass; n_open: int64 (B,), how many stay open after it.
    """
    count = holes.sum(-1)
    before = count.cumsum(-1) - count
    return int((before < (count.sum(-1) - n_open)[:, None]).any(0).sum())


def _noise(rng: Sequence[torch.Generator], steps: int, shape: Sequence[int]) -> Tensor:
    """Uniform noise (steps, 2, B, ...): a draw a generator and pass, shared by a group's items."""
    share = shape[0] // len(rng)
    draws = [torch.rand((steps, 2, *shape[1:]), generator=g, device=g.device) for g in rng]
    return torch.stack(draws, dim=2).repeat_interleave(share, dim=2)


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
    """Fill the holes of ``codes`` (paper, section 3.3).

    codes: int64 (B, N, T); mask: bool (B, N, T), True = generate. Codebooks that the model is only
    conditioned on are never touched. ``rng``: the batch's items fall into ``len(rng)`` equal
    consecutive groups and items of a group share their noise (the channels of a take).
    ``on_step(done, total)`` is called before the first pass and after each; what it raises ends
    the call. ``steps`` overrides ``sampling.steps``. Returns int64 (B, N, T), equal to ``codes``
    wherever ``mask`` is False. Raises ValueError for what does not fit together and, on a CPU, for
    a code that is heard and none of the model's; RuntimeError when its logits are not finite.
    """
    steps = sampling.steps if steps is None else steps
    check_setting("steps", steps, 1, MAX_STEPS)
    _check_fit(codes, mask, rng)
    first = model.n_conditioning_codebooks
    hole = mask.clone()
    hole[:, :first] = False
    look = codes.device.type == "cpu"  # elsewhere to look at a value is to wait for the device
    check_codes(codes.masked_fill(hole, 0) if look else codes, model.mask_token, look)
    codes = codes.to(torch.int64, copy=True)
    done = on_step or (lambda done, total: None)
    done(0, steps)
    predicted, open_ = codes[:, first:], hole[:, first:]  # views: what changes there changes all
    wanted = n_open_wanted(steps, hole.flatten(1).sum(-1))
    broken = torch.zeros((), dtype=torch.bool, device=codes.device)
    draw = _draw if look else _draw_everywhere
    # to send something is to wait for the device, too: there all passes' noise goes at once
    noises = None if look else _noise(rng, steps, open_.shape).to(codes.device)
    for step in range(steps):
        if step and look and not hole.any():
            done(step + 1, steps)
            continue
        # conditioning tokens that the caller leaves open are hidden in the first pass only
        seen = codes.masked_fill(mask if step == 0 else hole, model.mask_token)
        hidden = model.hidden(seen)
        noise = _noise(rng, 1, open_.shape)[0] if noises is None else noises[step]
        greedy = step / steps >= sampling.sample_cutoff
        n_open = n_open_after(wanted[step], hole.flatten(1).sum(-1), step + 1 == steps)
        turn = _in_turn(open_, n_open) if look and sampling.by_codebook else open_
        token, log_p = draw(model, hidden, turn, noise[0], sampling, greedy)
        broken |= ~torch.isfinite(log_p).all()
        if look and step == 0 and broken:
            raise RuntimeError(NOT_FINITE)
        predicted.copy_(torch.where(open_, token, predicted))
        sure = _confidence(log_p, noise[1], open_, sampling, 1 - (step + 1) / steps)
        open_.copy_(reopen(sure.flatten(1), n_open).view_as(open_))
        done(step + 1, steps)
    if broken:
        raise RuntimeError(NOT_FINITE)
    return codes


def _check_fit(codes: Tensor, mask: Tensor, rng: Sequence[torch.Generator]) -> None:
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
    log_p: Tensor, uniform: Tensor, open_: Tensor, sampling: Sampling, left: float
) -> Tensor:
    """How sure each token is, float (B, P, T): log p plus ``left`` (1..0) of the noise; +inf where
    none was open."""
    sure = log_p + sampling.mask_temperature * left * _gumbel(uniform)
    if sampling.by_codebook:
        sure = in_codebook_order(sure)
    return sure.masked_fill(~open_, math.inf)


def _in_turn(open_: Tensor, n_open: Tensor) -> Tensor:
    """The holes of the codebooks whose turn it is, bool (B, P, T); see :func:`codebooks_due`."""
    turn = open_.clone()
    turn[:, codebooks_due(open_, n_open) :] = False
    return turn


def _draw(
    model: MaskedModel,
    hidden: Tensor,
    open_: Tensor,
    uniform: Tensor,
    sampling: Sampling,
    greedy: bool,
) -> tuple[Tensor, Tensor]:
    """A token and its log probability for every hole; logits are made of the holes alone.

    hidden: float (B, T, D); open_: bool (B, P, T); uniform: float (B, P, T). Returns int64 and
    float (B, P, T), 0 where there is no hole. One codebook at a time, so that its logits stay in
    the processor's cache.
    """
    token = torch.zeros(open_.shape, dtype=torch.int64, device=open_.device)
    log_p = torch.zeros(open_.shape, device=open_.device)
    vectors = model.codebooks[model.n_conditioning_codebooks :]
    for p in range(open_.shape[1]):
        for items in items_of(hidden, hidden.dtype):
            here = open_[items, p]
            if not here.any():
                continue
            logits = model.classify(hidden[items][here], p).float()
            token[items, p][here], log_p[items, p][here] = choose(
                logits, uniform[items, p][here], sampling, greedy, vectors[p]
            )
    return token, log_p


def _draw_everywhere(
    model: MaskedModel,
    hidden: Tensor,
    open_: Tensor,
    uniform: Tensor,
    sampling: Sampling,
    greedy: bool,
) -> tuple[Tensor, Tensor]:
    """What :func:`_draw` gives, by work of one size whatever the holes: nothing waits for them.

    For accelerators, where picking the holes out costs a pause and their number another kernel,
    and so does each codebook by itself.
    """
    vectors = model.codebooks[model.n_conditioning_codebooks :]
    logits = model.classify(hidden).float().permute(2, 0, 1, 3).flatten(1, 2)  # (P, B * T, V)
    by_book = uniform.transpose(0, 1).flatten(1)
    found = choose(logits, by_book, sampling, greedy, vectors)
    token, log_p = (x.view(open_.transpose(0, 1).shape).transpose(0, 1) for x in found)
    return token.masked_fill(~open_, 0), log_p.masked_fill(~open_, 0.0)


def _gumbel(uniform: Tensor) -> Tensor:
    """Standard Gumbel noise from uniform noise in [0, 1), same shape."""
    tiny = torch.finfo(torch.float32).tiny
    exponential = -torch.log(uniform.clamp(min=tiny))
    return -torch.log(exponential.clamp(min=tiny))
