"""Masks to train on: the paper's variable masking, and the shapes that prompts make.

Source: arXiv 2307.04686, section 3.2 (uniform masking with a cosine-distributed ratio) and 3.4
(prompts). While a prompt's holes are being filled, the model sees the prompt's frames plus a random
part of the rest; two thirds of the training masks are drawn like that, half of those periodic, for
that is what most presets ask of the model.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vampnet.training.random_choices import Dice

PROMPTED = 0.67  # share of the masks that are prompts being filled in
NARROWED = 0.3  # share of those that keep only the first codebooks of their frames


def hidden_ratio(n_items: int, rng: torch.Generator) -> Tensor:
    """Share of tokens to hide, float (B,): cos(r * pi / 2) with r uniform (paper, section 3.2)."""
    return torch.cos(torch.rand(n_items, generator=rng) * (math.pi / 2))


def prompt_frames(n_frames: int, rng: torch.Generator) -> Tensor:
    """Frames a random prompt keeps, bool (T,): periodic, spans, or short bursts like beats."""
    dice, kept = Dice(rng), torch.zeros(n_frames, dtype=torch.bool)
    kind = dice.whole(0, 5)
    if kind in (0, 4, 5):  # periodic
        kept[dice.whole(0, 31) % n_frames :: dice.whole(2, 16)] = True
    elif kind == 1:  # beats: a burst of frames every so often
        step, burst = dice.whole(16, 60), dice.whole(1, 6)
        position = torch.arange(n_frames) + dice.whole(0, step - 1)
        kept |= position % step < burst
    elif kind == 2:  # beginning and end
        kept[: dice.whole(0, n_frames // 3)] = True
        kept[n_frames - dice.whole(0, n_frames // 3) :] = True
    return kept  # kind 3: no prompt


def training_mask(
    n_items: int, n_codebooks: int, n_conditioning: int, n_frames: int, rng: torch.Generator
) -> Tensor:
    """What to hide: bool (B, N, T), True = hidden, never in the conditioning codebooks.

    An item is masked uniformly, or is a prompt in the midst of being filled in. Every item hides at
    least one token.
    """
    dice, ratio = Dice(rng), hidden_ratio(n_items, rng)
    mask = torch.rand((n_items, n_codebooks, n_frames), generator=rng) < ratio[:, None, None]
    for i in range(n_items):
        if dice.chance(PROMPTED):
            kept = prompt_frames(n_frames, rng)[None].repeat(n_codebooks, 1)
            if dice.chance(NARROWED):
                kept[n_conditioning + dice.whole(1, n_codebooks - n_conditioning) :] = False
            mask[i] &= ~kept
    mask[:, :n_conditioning] = False
    empty = ~mask.flatten(1).any(-1)
    mask[empty, -1, n_frames // 2] = True
    return mask
