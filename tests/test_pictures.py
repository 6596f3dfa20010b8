"""Pictures of sounds and masks of any shape."""

from __future__ import annotations

import pytest
import torch

from harp_app import pictures


@pytest.mark.parametrize("shape", [(1, 1), (2, 100), (1, 44100), (8, 300)])
def test_pictures_of_any_length(shape):
    for samples in (torch.zeros(shape), torch.ones(shape), torch.randn(shape)):
        drawn = pictures.sound(samples, 44100)
        assert drawn.count("<img") == 1 and "nan" not in drawn
    holes = torch.ones(shape[0], shape[1], dtype=torch.bool)
    drawn = pictures.mask(holes, 57.4, shape[1] / 57.4, None)
    assert drawn.count("<img") == 1 and "nan" not in drawn
