"""Training masks: the paper's variable masking, and masks as they occur with prompts.

Source: arXiv 2307.04686, section 3.2 (uniform masking with a cosine-distributed ratio) and 3.4
(prompts). During generation from a prompt, the input is the prompt's frames plus a random part of
the rest; two thirds of the training masks are sampled like that, half of those periodic, as most
presets use the model.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vampnet.training.random_choice import RandomChoice

PROMPT_SHARE = 0.67  # share of the masks with a prompt
FEWER_CODEBOOKS_SHARE = 0.3  # share of those that keep only the first codebooks of their frames


def mask_ratio(n_items: int, rng: torch.Generator) -> Tensor:
    """Sample mask ratios, float (B,): cos(r * pi / 2) with r uniform (paper, section 3.2)."""
    return torch.cos(torch.rand(n_items, generator=rng) * (math.pi / 2))


def prompt_frames(n_frames: int, rng: torch.Generator) -> Tensor:
    """Sample the frames that a prompt keeps, bool (T,): periodic, spans, or bursts like beats."""
    rand, kept = RandomChoice(rng), torch.zeros(n_frames, dtype=torch.bool)
    kind = rand.integer(0, 5)
    if kind in (0, 4, 5):  # periodic
        kept[rand.integer(0, 31) % n_frames :: rand.integer(2, 16)] = True
    elif kind == 1:  # beats: a burst of frames at regular distances
        step, burst = rand.integer(16, 60), rand.integer(1, 6)
        position = torch.arange(n_frames) + rand.integer(0, step - 1)
        kept |= position % step < burst
    elif kind == 2:  # beginning and end
        kept[: rand.integer(0, n_frames // 3)] = True
        kept[n_frames - rand.integer(0, n_frames // 3) :] = True
    return kept  # kind 3: no prompt


def training_mask(
    n_items: int, n_codebooks: int, n_conditioning: int, n_frames: int, rng: torch.Generator
) -> Tensor:
    """Sample masks; each item is masked uniformly, or uniformly outside a prompt.

    Args:
        n_items: B.
        n_codebooks: N.
        n_conditioning: codebooks, from the first, that are never masked.
        n_frames: T.
        rng: a CPU generator.

    Returns:
        bool (B, N, T), True = masked, at least one per item.
    """
    rand, ratio = RandomChoice(rng), mask_ratio(n_items, rng)
    mask = torch.rand((n_items, n_codebooks, n_frames), generator=rng) < ratio[:, None, None]
    for i in range(n_items):
        if rand.bernoulli(PROMPT_SHARE):
            kept = prompt_frames(n_frames, rng)[None].repeat(n_codebooks, 1)
            if rand.bernoulli(FEWER_CODEBOOKS_SHARE):
                kept[n_conditioning + rand.integer(1, n_codebooks - n_conditioning) :] = False
            mask[i] &= ~kept
    mask[:, :n_conditioning] = False
    empty = ~mask.flatten(1).any(-1)
    mask[empty, -1, n_frames // 2] = True
    return mask
