"""Baselines without a model: held tokens and random tokens."""

from __future__ import annotations

import pytest
import torch

from vampnet.evaluation import experiments as table
from vampnet.evaluation.baselines import hold_last, random_tokens


def test_random_tokens_replace_the_masked_share():
    codes = torch.zeros(1, 14, 1000, dtype=torch.long)
    for ratio in (0.1, 0.5, 1.0):
        mask = table.ratio_mask(codes, ratio, torch.Generator().manual_seed(1))
        made = random_tokens(codes, mask, 1024, torch.Generator().manual_seed(2))
        assert float((made != 0).float().mean()) == pytest.approx(ratio, abs=0.02)


def test_hold_last_fills_from_the_previous_kept_token_or_the_first() -> None:
    codes = torch.tensor([[[5, 6, 7, 8, 9]]])
    mask = torch.tensor([[[True, False, True, True, False]]])
    assert hold_last(codes, mask).tolist() == [[[6, 6, 6, 6, 9]]]
    assert hold_last(codes, torch.ones_like(mask)).tolist() == [[[0, 0, 0, 0, 0]]]


def test_random_tokens_keep_unmasked_tokens() -> None:
    codes = torch.full((2, 3, 50), 7)
    mask = torch.rand(codes.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    found = random_tokens(codes, mask, 16, torch.Generator().manual_seed(1))
    assert (found[~mask] == 7).all()
    assert (found[mask] != 7).any()
