"""The fast form of the convolutional codecs equals the plain layers."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from vampnet.codec import DAC, LAC, fast_network
from vampnet.codec.layers import Residual, Snake, same_conv, upsample_conv
from vampnet.codec.short_convolution import WideConvolution, fourier, toom_cook

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
    tile, taps = form.input_transform.shape[1], form.filter_transform.shape[1]
    x, w = torch.randn(tile).double(), torch.randn(taps).double()
    found = form.output_transform @ ((form.input_transform @ x) * (form.filter_transform @ w))
    want = torch.conv1d(x[None, None], w[None, None])[0, 0]
    torch.testing.assert_close(found, want)


@pytest.mark.parametrize("taps, dilation", [(3, 1), (7, 9), (11, 5), (5, 2)])
@pytest.mark.parametrize("n_steps", [1, 37])
@torch.no_grad()
def test_wide_convolutions_are_the_plain_ones(taps, dilation, n_steps):
    plain = nn.Conv1d(6, 4, taps, dilation=dilation, padding=(taps - 1) * dilation // 2)
    assert plain.bias is not None
    x = torch.randn(2, 6, n_steps)
    found = WideConvolution(plain.weight, plain.bias, dilation)(x.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(found, plain(x), atol=1e-5, rtol=0)


STRIDED = [
    nn.Conv1d(fast_network.WIDE_STRIDED, 300, 8, stride=4, padding=2),
    nn.Conv1d(5, 7, 6, stride=3, padding=2),
    nn.Conv1d(1, 3, 7, padding=3),
    nn.Conv1d(9, 1, 7, padding=9, dilation=3),
    nn.ConvTranspose1d(8, 4, 6, stride=3, padding=2),
    nn.ConvTranspose1d(300, 300, 4, stride=2, padding=1),
]


@pytest.mark.parametrize("plain", STRIDED, ids=str)
@torch.no_grad()
def test_layers_of_all_kinds_are_the_plain_ones(plain):
    x = torch.randn(2, plain.in_channels, 64)
    found = fast_network.fast_convolution(plain)(x.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(found, plain(x), atol=1e-5, rtol=0)


@pytest.mark.parametrize("factor", [0.0, 1e-12, 1e-6, 0.5, 30.0, -2.0])
@torch.no_grad()
def test_a_snake_of_any_factor_is_the_plain_one(factor):
    """Before, between and after convolutions, and in a residual layer, whose input is unchanged."""
    torch.manual_seed(3)
    unit = Residual(Snake(6), same_conv(6, 6, 3), Snake(6), same_conv(6, 6, 1))
    network = nn.Sequential(
        *(same_conv(6, 6, 3), unit, Snake(6), upsample_conv(6, 6, 2, 1), Snake(6)),
        *(same_conv(6, 6, 7), Snake(6), nn.Tanh()),
    )
    for layer in network.modules():
        if isinstance(layer, Snake):
            layer.alpha[:, ::2] = factor
    x = torch.randn(2, 6, 40)
    kept = x.clone()
    found = fast_network.FastNetwork(network)(x)
    torch.testing.assert_close(found, network(x), atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(x, kept, atol=0, rtol=0)


@pytest.mark.parametrize("family", [DAC, LAC])
@pytest.mark.parametrize("window", [fast_network.WINDOW, 1])
@torch.no_grad()
def test_networks_are_the_plain_ones_in_one_piece_and_in_windows(family, window, monkeypatch):
    monkeypatch.setattr(fast_network, "WINDOW", window)
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
@pytest.mark.parametrize("kind", ["weight", "bias", "alpha"])
def test_weights_loaded_later_count(kind):
    codec, other = small(DAC), small(DAC)
    for name, parameter in other.decoder.named_parameters():
        parameter.mul_(1.1 if name.endswith(kind) else 1.0)
    z = torch.randn(1, 32, 20)
    before = codec.fast_network(codec.decoder, z)
    codec.load_state_dict(other.state_dict())
    after = codec.fast_network(codec.decoder, z)
    assert not torch.allclose(before, after)
    torch.testing.assert_close(after, other.decoder(z), atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_copy_of_a_codec_in_use_is_one():
    codec = small(DAC)
    z = torch.randn(1, 32, 20)
    want = codec.fast_network(codec.decoder, z)
    for other in (copy.deepcopy(codec), pickle.loads(pickle.dumps(codec))):
        torch.testing.assert_close(other.fast_network(other.decoder, z), want, atol=0, rtol=0)
        for parameter in other.decoder.parameters():
            parameter.mul_(1.1)
        torch.testing.assert_close(
            other.fast_network(other.decoder, z), other.decoder(z), atol=1e-5, rtol=0
        )
    torch.testing.assert_close(codec.fast_network(codec.decoder, z), want, atol=0, rtol=0)


def test_gradients_take_the_plain_layers():
    codec = small(DAC)
    codec.fast_network(codec.decoder, torch.randn(1, 32, 4)).sum().backward()
    assert next(codec.decoder.parameters()).grad is not None
