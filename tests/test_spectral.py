"""The embedded codec: aligned tokens, no seams, fitted codebooks."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import chord

from vampnet.codec.spectral import SpectralCodec, griffin_lim
from vampnet.training.decoder import target_magnitude
from vampnet.training.quantizer import k_means, principal_axes

HOP = 768


def test_windowed_is_one_shot(tiny_codec: SpectralCodec) -> None:
    audio = chord(12.0)[None]
    codes = tiny_codec.encode(audio)
    whole = tiny_codec.decode(codes, audio.shape[-1])
    usual = tiny_codec.max_window
    try:
        tiny_codec.max_window = 160
        assert torch.equal(tiny_codec.encode(audio), codes)
        pieces = tiny_codec.decode(codes, audio.shape[-1])
    finally:
        tiny_codec.max_window = usual
    assert float((pieces - whole).abs().max()) < 1e-3 * float(whole.abs().max())


def test_codes_move_with_the_sound(tiny_codec: SpectralCodec) -> None:
    audio = chord(3.0)[None]
    later = torch.nn.functional.pad(audio, (10 * HOP, 0))
    codes, moved = tiny_codec.encode(audio), tiny_codec.encode(later)
    context = tiny_codec.encode_context
    assert torch.equal(moved[:, :, 10 + context : -1], codes[:, :, context:-1])


def test_more_codebooks_are_closer(tiny_codec: SpectralCodec) -> None:
    levels = tiny_codec.levels(chord(4.0, seed=99)[None, :, : 200 * HOP])
    codes = tiny_codec.quantize(levels)
    errors = [
        float((tiny_codec.dequantize(codes[:, :n]) - levels).square().mean()) for n in (1, 4, 14)
    ]
    assert errors[0] > errors[1] > errors[2]


def test_griffin_lim_gives_the_sound_of_its_magnitudes(tiny_codec: SpectralCodec) -> None:
    audio = chord(2.0)[None, :, : 100 * HOP]
    wanted = target_magnitude(tiny_codec, audio)
    scale = float(tiny_codec.window.sum()) / 2
    errors = []
    for iterations in (0, 4, 16):
        made = griffin_lim(wanted * scale, tiny_codec.window, HOP // 2, iterations, 0.99)
        found = target_magnitude(tiny_codec, made[:, None])
        errors.append(float((found - wanted).abs().mean() / wanted.mean()))
    assert errors[2] < errors[1] < errors[0]
    assert errors[2] < 0.2


def test_a_click_comes_back_where_it_was(tiny_codec: SpectralCodec) -> None:
    audio = torch.zeros(1, 1, 100 * HOP)
    audio[..., 50 * HOP + 300] = 0.9
    wanted = target_magnitude(tiny_codec, audio)
    scale = float(tiny_codec.window.sum()) / 2
    made = griffin_lim(wanted * scale, tiny_codec.window, HOP // 2, 32, 0.99)
    assert abs(int(made.abs().argmax()) - (50 * HOP + 300)) < HOP


def test_level_is_the_amplitude_of_a_sine(tiny_codec: SpectralCodec) -> None:
    time_s = torch.arange(40 * HOP) / 44100
    for amplitude in (0.5, 0.005):
        levels = tiny_codec.analysis(amplitude * torch.sin(6.283185307 * 215.332 * time_s)[None])
        assert float(levels[0, 20].max()) == pytest.approx(math.log10(amplitude), abs=0.05)


def test_k_means_finds_the_clusters() -> None:
    rng = torch.Generator().manual_seed(0)
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    x = centres.repeat(100, 1) + 0.1 * torch.randn(300, 2, generator=rng)
    rows = k_means(x, 3, 20, torch.Generator().manual_seed(3))
    assert float(torch.cdist(centres, rows).min(1).values.max()) < 0.2
    with pytest.raises(ValueError, match="2 vectors cannot make 3"):
        k_means(x[:2], 3, 5, rng)


def test_principal_axes_are_orthonormal_and_ordered() -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(500, 4, generator=rng) * torch.tensor([1.0, 5.0, 0.1, 2.0])
    axes = principal_axes(x, 3)
    torch.testing.assert_close(axes.T @ axes, torch.eye(3), atol=1e-5, rtol=0)
    assert axes[:, 0].abs().argmax() == 1 and axes[:, 1].abs().argmax() == 3
