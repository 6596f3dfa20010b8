"""Synthetic notes and hits: same seed, same audio; within full scale, never silent."""

from __future__ import annotations

import pytest
import torch

from recipes.default_model.exercises import drum_hits, held_notes


@pytest.mark.parametrize("make", [held_notes, drum_hits])
def test_exercises(make):
    first, again, other = (make(torch.Generator().manual_seed(n), 5.0, 44100) for n in (1, 1, 2))
    assert first.shape == (220500,) and torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.isfinite().all() and 0.01 < first.abs().max() <= 1
