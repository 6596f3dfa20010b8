"""The fast form of the convolutional codecs equals the plain layers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vampnet.codec import DAC, LAC, fast
from vampnet.codec.short_convolution import (
    NarrowConvolution,
    WideConvolution,
    fourier,
    toom_cook,
)

SMALL = {"encoder_dim": 8, "decoder_dim": 256, "n_codebooks": 2, "codebook_size": 16}


def small(family: type[DAC]) -> DAC:
    torch.manual_seed(0)
    codec = family(**SMALL, encoder_rates=[2, 4], decoder_rates=[4, 2]).eval()
    for name, parameter in codec.named_parameters():
        if name.endswith("alpha"):
            parameter.data.uniform_(0.3, 3.0)
    return codec


FORMS = [
    fourier(8, 3),
    fourier(20, 7),
    fourier(24, 11),
    fourier(32, 13),
    toom_cook(3),
    toom_cook(5),
]


@pytest.mark.parametrize("form", FORMS)
def test_the_transformed_forms_are_the_correlation(form):
    tile, taps = form.spread.shape[1], form.weigh.shape[1]
    x, w = torch.randn(tile).double(), torch.randn(taps).double()
    found = form.gather @ ((form.spread @ x) * (form.weigh @ w))
    want = torch.conv1d(x[None, None], w[None, None])[0, 0]
    torch.testing.assert_close(found, want)


@pytest.mark.parametrize("form", [WideConvolution, NarrowConvolution])
@pytest.mark.parametrize("taps, dilation", [(3, 1), (7, 9), (11, 5), (5, 2)])
@pytest.mark.parametrize("n_steps", [1, 37])
@torch.no_grad()
def test_convolutions_are_the_plain_ones(form, taps, dilation, n_steps):
    plain = nn.Conv1d(6, 4, taps, dilation=dilation, padding=(taps - 1) * dilation // 2)
    assert plain.bias is not None
    x = torch.randn(2, 6, n_steps)
    found = form(plain.weight, plain.bias, dilation)(x.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(found, plain(x), atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", [DAC, LAC])
@pytest.mark.parametrize("window", [fast.WINDOW, 1])
@torch.no_grad()
def test_networks_are_the_plain_ones_in_one_piece_and_in_windows(family, window, monkeypatch):
    monkeypatch.setattr(fast, "WINDOW", window)
    codec = small(family)
    z = torch.randn(2, 32, 300)
    torch.testing.assert_close(
        codec.fast_network(codec.decoder, z), codec.decoder(z), atol=1e-5, rtol=0
    )
    audio = 0.3 * torch.randn(2, 1, 8 * 300)
    torch.testing.assert_close(
        codec.fast_network(codec.encoder, audio), codec.encoder(audio), atol=1e-5, rtol=0
    )


@torch.no_grad()
def test_weights_loaded_later_count():
    codec, other = small(DAC), small(DAC)
    for parameter in other.decoder.parameters():
        parameter.mul_(1.1)
    z = torch.randn(1, 32, 20)
    before = codec.fast_network(codec.decoder, z)
    codec.load_state_dict(other.state_dict())
    after = codec.fast_network(codec.decoder, z)
    assert not torch.allclose(before, after)
    torch.testing.assert_close(after, other.decoder(z), atol=1e-5, rtol=0)


def test_gradients_take_the_plain_layers():
    codec = small(DAC)
    codec.fast_network(codec.decoder, torch.randn(1, 32, 4)).sum().backward()
    assert next(codec.decoder.parameters()).grad is not None
