"""Masked-token prediction scores of models and of the neighbour baseline."""

from __future__ import annotations

import math

import pytest
import torch

from vampnet.evaluation.token_prediction import (
    codebook_usage,
    random_token_mask,
    score_neighbour_baseline,
    score_predictions,
)
from vampnet.model import VampNet, VampNetConfig


def test_codebook_usage_of_uniform_and_constant_tokens() -> None:
    codes = torch.tensor([[[0, 0, 1, 1], [2, 2, 2, 2]]])
    even, dead = codebook_usage(codes, 4)
    assert even.entropy == pytest.approx(math.log(2)) and even.perplexity == pytest.approx(2)
    assert even.unused == 2
    assert dead.entropy == 0 and dead.unused == 3


def test_random_masks_spare_the_conditioning_codebooks() -> None:
    codes = torch.zeros(2, 6, 500, dtype=torch.int64)
    mask = random_token_mask(codes, 0.75, 2, torch.Generator().manual_seed(1))
    assert not mask[:, :2].any()
    assert float(mask[:, 2:].float().mean()) == pytest.approx(0.75, abs=0.03)


def test_a_constant_model_scores_the_log_of_the_vocabulary_size() -> None:
    config = VampNetConfig(
        n_codebooks=3, n_conditioning_codebooks=1, n_layers=1, n_heads=2, embedding_dim=16,
        vocab_size=50, latent_dim=4,
    )  # fmt: skip
    model = VampNet(config).eval()
    torch.nn.init.zeros_(model.classifier.weight)
    torch.nn.init.zeros_(model.classifier.bias)
    rng = torch.Generator().manual_seed(0)
    codes = torch.randint(50, (2, 3, 400), generator=rng)
    found = score_predictions(model, codes, random_token_mask(codes, 0.5, 1, rng))
    assert len(found) == 2
    for score in found:
        assert score.cross_entropy == pytest.approx(math.log(50), abs=1e-4)


def test_the_neighbour_baseline_predicts_a_ramp_and_not_noise() -> None:
    rng = torch.Generator().manual_seed(0)
    rows = torch.linspace(0, 1, 64)[None, :, None]
    line = (torch.arange(640) // 10).expand(4, 1, -1)
    mask = random_token_mask(line, 0.5, 0, rng)
    (known,) = score_neighbour_baseline(line, mask, rows)
    assert known.cross_entropy < 1.0 and known.top_k_accuracy > 0.99
    noise = torch.randint(64, line.shape, generator=rng)
    (unknown,) = score_neighbour_baseline(noise, mask, rows)
    assert unknown.cross_entropy > 0.95 * math.log(64)
