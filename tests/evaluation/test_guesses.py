"""Masked models beside predictors that know next to nothing."""

from __future__ import annotations

import math

import pytest
import torch

from vampnet.evaluation.guesses import guesses, hidden_tokens, neighbour_guesses, usage
from vampnet.model import VampNet, VampNetConfig


def test_usage_by_hand() -> None:
    codes = torch.tensor([[[0, 0, 1, 1], [2, 2, 2, 2]]])
    even, dead = usage(codes, 4)
    assert even.entropy == pytest.approx(math.log(2)) and even.perplexity == pytest.approx(2)
    assert even.unused == 2
    assert dead.entropy == 0 and dead.unused == 3


def test_hidden_tokens_leave_the_conditioning_alone() -> None:
    codes = torch.zeros(2, 6, 500, dtype=torch.int64)
    mask = hidden_tokens(codes, 0.75, 2, torch.Generator().manual_seed(1))
    assert not mask[:, :2].any()
    assert float(mask[:, 2:].float().mean()) == pytest.approx(0.75, abs=0.03)


def test_a_model_that_knows_nothing_scores_the_vocabulary() -> None:
    config = VampNetConfig(
        n_codebooks=3, n_conditioning_codebooks=1, n_layers=1, n_heads=2, embedding_dim=16,
        vocab_size=50, latent_dim=4,
    )  # fmt: skip
    model = VampNet(config).eval()
    torch.nn.init.zeros_(model.classifier.weight)
    torch.nn.init.zeros_(model.classifier.bias)
    rng = torch.Generator().manual_seed(0)
    codes = torch.randint(50, (2, 3, 400), generator=rng)
    found = guesses(model, codes, hidden_tokens(codes, 0.5, 1, rng))
    assert len(found) == 2
    for guess in found:
        assert guess.loss == pytest.approx(math.log(50), abs=1e-4)


def test_the_neighbours_know_a_line_and_nothing_of_noise() -> None:
    rng = torch.Generator().manual_seed(0)
    rows = torch.linspace(0, 1, 64)[None, :, None]
    line = (torch.arange(640) // 10).expand(4, 1, -1)
    mask = hidden_tokens(line, 0.5, 0, rng)
    (known,) = neighbour_guesses(line, mask, rows)
    assert known.loss < 1.0 and known.top > 0.99
    noise = torch.randint(64, line.shape, generator=rng)
    (unknown,) = neighbour_guesses(noise, mask, rows)
    assert unknown.loss > 0.95 * math.log(64)
