"""Pictures of sounds and masks of any shape."""

from __future__ import annotations

import re

import pytest
import torch

from harp_app.page import pictures


def figures_of(drawn: str) -> str:
    """The HTML of one picture without the image's own letters, among which "nan" may come."""
    assert drawn.count("<img") == 1
    return re.sub(r"base64,[^\"']*", "", drawn)


@pytest.mark.parametrize("shape", [(1, 1), (2, 100), (1, 44100), (8, 300)])
def test_pictures_of_any_length(shape):
    for samples in (torch.zeros(shape), torch.ones(shape), torch.randn(shape)):
        assert "nan" not in figures_of(pictures.sound(samples, 44100))
    holes = torch.ones(shape[0], shape[1], dtype=torch.bool)
    assert "nan" not in figures_of(pictures.mask(holes, 57.4, shape[1] / 57.4, None))
