"""Invalid codes are refused where they enter a model."""

from __future__ import annotations

import pytest
import torch
from pretend_device import NAME, moved, pretend_device

from vampnet.model import VampNet, VampNetConfig
from vampnet.system.token_checks import check_codes


def model() -> VampNet:
    sizes = {"n_layers": 1, "n_heads": 1, "embedding_dim": 8, "vocab_size": 16, "latent_dim": 2}
    return VampNet(VampNetConfig(3, **sizes)).eval()


@pytest.mark.parametrize("bad", [-1, 17, 10**6])
@pytest.mark.parametrize("codebook", range(3))
def test_a_code_beyond_the_mask_token_is_refused(bad: int, codebook: int) -> None:
    codes = torch.full((2, 3, 5), 16)
    model()(codes)
    codes[1, codebook, 2] = bad
    with pytest.raises(ValueError, match=rf"{bad}.*within 0\.\.16"):
        model()(codes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool, torch.complex64])
def test_codes_that_are_not_integers_are_refused(dtype: torch.dtype) -> None:
    for look in (True, False):
        with pytest.raises(ValueError, match=f"codes are {dtype}"):
            check_codes(torch.ones(2, dtype=dtype), 5, look)
    with pytest.raises(ValueError, match=f"codes are {dtype}"):
        model().hidden(torch.ones(1, 3, 5, dtype=dtype))


@pytest.mark.parametrize("shape", [(1, 3, 0), (0, 3, 5), (1, 2, 5), (3, 5)])
def test_codes_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"shape .*must be \(B, 3, T\)"):
        model()(torch.zeros(shape, dtype=torch.int64))


def test_the_check_does_not_synchronise_with_an_accelerator() -> None:
    codes = torch.zeros(1, 3, 5, dtype=torch.int64)
    with pretend_device() as device:
        there, where = moved(model()), codes.to(NAME)
        device.waits.clear()
        there(where)
        assert not device.waits
