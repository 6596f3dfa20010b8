"""The embedded codec: aligned tokens, no seams, fitted codebooks."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from conftest import chord

from vampnet.codec.spectral import SpectralCodec
from vampnet.codec.synthesis import (
    Band,
    magnitudes,
    nearest_peak,
    peak_phase,
    synthesize_band,
    three_bands,
)
from vampnet.training.codebook_fitting import k_means, principal_axes

HOP = 768


@pytest.mark.slow
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
    assert float((pieces - whole).abs().max()) < 5e-3 * float(whole.abs().max())


def test_phases_come_again_however_far_they_are() -> None:
    repeat, n_fft, hop = 128, 256, 48
    magnitude = torch.rand(1, repeat, n_fft // 2, generator=torch.Generator().manual_seed(1))
    phases = peak_phase(magnitude.repeat(1, 200, 1), n_fft, hop, repeat).unflatten(1, (200, -1))
    torch.testing.assert_close(phases[:, -1], phases[:, 0], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("hop_length", value) for value in (768.0, 767, 1, True, -768, 0, 100_000, "768")),
        *(("sample_rate", value) for value in (8000, 44100.0, 10**9, None)),
        *(("smooth_from", value) for value in (None, "x", 1.5, -1, 5)),
        *(("momentum", value) for value in ("x", None, True, 1.0, -0.1, math.nan)),
        *(("iterations", value) for value in (-5, 2.0, None)),
        *(("kernel", 6), ("blocks", -1), ("dim", 0), ("vocab_size", 32.0)),
        *(("coarse_sizes", value) for value in ([], 3, [1, 0, 2, 3], "abc")),
    ],
)
def test_values_that_it_cannot_work_with_are_refused(name: str, value: object) -> None:
    few = {"vocab_size": 4, "coarse_sizes": (1, 1, 1, 1), "fine_sizes": (1,), "dim": 4}
    with pytest.raises(ValueError, match=f"^{name} is "):
        SpectralCodec(**{**few, name: value})


@pytest.mark.parametrize("changes", [
    {"hop_length": 16}, {"hop_length": 4096}, {"sample_rate": 9600}, {"sample_rate": 96_000},
    {"smooth_from": 0}, {"smooth_from": 2}, {"momentum": 0}, {"iterations": 0},
])  # fmt: skip
def test_values_at_the_edge_work(changes: dict) -> None:
    codec = SpectralCodec(**{
        "vocab_size": 4, "coarse_sizes": (1, 1), "fine_sizes": (1,), "dim": 4, "blocks": 0,
        "iterations": 2, **changes,
    }).eval()  # fmt: skip
    n_samples = 3 * codec.hop_length + 1
    codes = codec.encode(0.1 * torch.randn(1, 1, n_samples))
    assert codes.shape == (1, 3, 4)
    assert torch.isfinite(codec.decode(codes, n_samples)).all()


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


def bands_of(audio: torch.Tensor) -> list[torch.Tensor]:
    return [magnitudes(audio, band, HOP) for band in three_bands(44100)]


def render(audio: torch.Tensor, iterations: int) -> torch.Tensor:
    parts = zip(bands_of(audio), three_bands(44100), strict=True)
    bands = [synthesize_band(m, band, HOP, iterations, 0.99) for m, band in parts]
    return torch.stack(bands).sum(0)


def test_more_rounds_come_closer_to_the_magnitudes() -> None:
    audio = chord(2.0)[:, : 100 * HOP]
    wanted = bands_of(audio)
    errors = []
    for iterations in (0, 4, 16):
        found = bands_of(render(audio, iterations))
        gaps = [float((f - w).abs().sum()) for f, w in zip(found, wanted, strict=True)]
        errors.append(sum(gaps) / sum(float(w.sum()) for w in wanted))
    assert errors[2] < errors[1] < errors[0]
    assert errors[2] < 0.2


@pytest.mark.parametrize("band", three_bands(44100))
def test_a_band_gives_back_a_steady_sine(band: Band) -> None:
    hz = (band.first + band.last) / 2 * 44100 / band.n_fft
    audio = 0.5 * torch.sin(2 * math.pi * hz * torch.arange(60 * HOP) / 44100)[None]
    made = synthesize_band(magnitudes(audio, band, HOP), band, HOP, 32, 0.99)
    inner = made[0, 10 * HOP : 50 * HOP]
    assert float(inner.square().mean().sqrt()) == pytest.approx(0.5 / 2**0.5, rel=0.1)
    spectrum = torch.fft.rfft(inner).abs()
    assert int(spectrum.argmax()) * 44100 / len(inner) == pytest.approx(hz, abs=2.0)


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_every_bin_leads_uphill_and_peaks_to_themselves(levels: int) -> None:
    rng = torch.Generator().manual_seed(levels)
    magnitude = torch.randint(levels, (2, 30, 65), generator=rng).float()
    bins = torch.arange(65)
    once, far = nearest_peak(magnitude, rounds=0), nearest_peak(magnitude)
    assert int((once - bins).abs().max()) == 1
    assert int((far - bins).abs().max()) <= 4
    around = torch.nn.functional.pad(magnitude, (1, 1), value=-1.0).unfold(-1, 3, 1)
    assert torch.equal(magnitude.gather(-1, once), around.amax(-1))
    assert bool((magnitude.gather(-1, far) >= magnitude).all())
    peak = (around[..., 1] > around[..., 0]) & (around[..., 1] >= around[..., 2])
    assert torch.equal(far[peak], bins.expand_as(far)[peak])


def test_bands_meet_without_a_gap() -> None:
    bands = three_bands(44100)
    ends = [(b.first * 44100 / b.n_fft, b.last * 44100 / b.n_fft) for b in bands]
    assert ends[0][0] == 0
    assert ends[-1][1] > 22050
    for (_, end), (start, _) in pairwise(ends):
        assert abs(start - end) < 44100 / 2048


def test_a_click_comes_back_where_it_was() -> None:
    audio = torch.zeros(1, 100 * HOP)
    audio[..., 50 * HOP + 300] = 0.9
    made = render(audio, 32)
    assert abs(int(made.abs().argmax()) - (50 * HOP + 300)) < HOP


def test_an_untrained_decoder_already_keeps_pitch(tiny_codec: SpectralCodec) -> None:
    audio = 0.3 * torch.sin(2 * math.pi * 440.0 * torch.arange(80 * HOP) / 44100)[None, None]
    levels = tiny_codec.levels(audio)
    spread = tiny_codec.spread(levels + tiny_codec.mean)
    low = spread[0, 40, : tiny_codec.bands[0].n_bins]
    assert int(low.argmax()) * 44100 / 4096 == pytest.approx(440.0, abs=11)
    assert float(low.max()) == pytest.approx(math.log10(0.3), abs=0.1)


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
