"""The plot of a variation: spectrogram and downsampled mask."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vampnet import plot

RATE = 44100


def test_a_tone_appears_in_the_row_of_its_frequency():
    time_s = torch.arange(RATE) / RATE
    level = plot.spectrogram_db(torch.sin(2 * torch.pi * 1000 * time_s)[None], RATE)
    assert level.shape[0] == plot.N_ROWS and level.max() == 0
    assert level.min() >= -plot.RANGE_DB - 1e-3
    row = int(level[:, level.shape[1] // 2].argmax())
    octaves = np.log2(RATE / 2 / plot.LOWEST_HZ)
    assert row / plot.N_ROWS * octaves == pytest.approx(np.log2(1000 / 40), abs=0.1)
    assert (plot.spectrogram_db(torch.zeros(2, 10), RATE) == -plot.RANGE_DB).all()


def test_a_long_mask_is_downsampled_to_shares():
    mask = torch.ones(4, 70_000, dtype=torch.bool)
    mask[:, ::7] = False
    assert torch.equal(plot.generated_share(mask[:, :900]), mask[:, :900].float())
    share = plot.generated_share(mask)
    assert share.shape == (4, plot.MAX_COLUMNS)
    assert torch.allclose(share, torch.tensor(6 / 7), atol=0.03)
