"""Attacks scaled to a level envelope: sharp at an attack, unchanged elsewhere."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vampnet.codec.envelope import attacks, block_levels, shape_attacks
from vampnet.codec.spectral import SpectralCodec
from vampnet.codec.synthesis import band_wave, three_bands

RATE, HOP, SIZE = 44100, 768, 96
START = 100 * SIZE


def burst(start: int = START) -> Tensor:
    """Noise that begins at a sample, (1, S)."""
    sound = torch.randn(1, 400 * SIZE, generator=torch.Generator().manual_seed(3))
    sound[:, :start] = 0
    return 0.1 * sound


def test_a_smeared_attack_becomes_sharp_again():
    sharp = burst()
    ramp = torch.ones_like(sharp)
    soft = burst(START - 1000)
    ramp[:, START - 1000 : START + 400] = torch.linspace(0, 1, 1400)
    soft = soft * ramp
    before = soft[:, START - 2205 : START - SIZE]
    shaped = shape_attacks(soft, block_levels(sharp, SIZE), RATE)
    assert shaped.shape == soft.shape
    assert shaped[:, START - 2205 : START - SIZE].square().sum() < 1e-3 * before.square().sum()
    later = slice(START + SIZE, START + 800)
    level = [float(s[:, later].square().mean().sqrt()) for s in (shaped, sharp)]
    assert level[0] == pytest.approx(level[1], rel=0.15)


def test_a_sustained_note_is_unchanged_by_a_steady_envelope():
    note = 0.1 * torch.sin(torch.arange(400 * SIZE) * 0.03)[None]
    levels = block_levels(2 * note, SIZE * 8).repeat_interleave(8, -1)
    assert torch.equal(shape_attacks(note, levels, RATE), note)
    assert not attacks(levels, SIZE, RATE).any()


def test_block_levels_of_a_sine():
    note = 0.5 * torch.sin(torch.arange(441 * 96) * (2 * torch.pi / 441))[None]
    assert torch.allclose(block_levels(note, 441), torch.tensor(0.5 / 2**0.5).log10(), atol=1e-4)


def test_the_bands_waves_add_up_to_the_sound():
    sound = burst()[:, : 40 * HOP]
    waves = torch.stack([band_wave(sound, band, HOP) for band in three_bands(RATE)]).sum(0)
    inner = slice(6 * HOP, -6 * HOP)
    assert (waves - sound)[:, inner].square().mean() < 0.02 * sound[:, inner].square().mean()


def test_envelopes_start_at_the_spectra_levels():
    codec = SpectralCodec(envelope_blocks=(4, 8, 8)).eval()
    torch.nn.init.zeros_(codec.decoder.output.weight)
    torch.nn.init.zeros_(codec.decoder.output.bias)
    sound = burst(0)[:, : 40 * HOP]
    spectra, envelopes = codec.spectra(codec.levels(sound[:, None]))
    assert [e.shape[1] for e in envelopes] == [160, 320, 320]
    assert spectra[0].shape[1] == 40
    top = block_levels(band_wave(sound, codec.bands[2], HOP), SIZE)
    assert (envelopes[2] - top)[:, 40:-40].mean().abs() < 0.1


def test_windowed_is_one_shot_with_an_envelope(tiny_codec: SpectralCodec) -> None:
    codec = SpectralCodec(**{**tiny_codec.kwargs, "envelope_blocks": (4, 8, 8)}).eval()
    codec.load_state_dict(tiny_codec.state_dict(), strict=False)
    assert codec.envelope is not None
    torch.manual_seed(1)
    torch.nn.init.normal_(codec.envelope.output.weight, std=0.2)
    codes = torch.randint(0, codec.vocab_size, (1, 14, 700))
    whole = codec.decode(codes, 700 * HOP)
    codec.max_window = 448
    error = (codec.decode(codes, 700 * HOP) - whole).abs().max()
    assert float(error) < 5e-3 * float(whole.abs().max())


@pytest.mark.parametrize("blocks", [(4, 8), (4, 8, 6), (4, 8, 5), (0, 8, 8), 8])
def test_blocks_that_do_not_divide_the_frame_raise(blocks):
    with pytest.raises(ValueError, match="envelope_blocks"):
        SpectralCodec(envelope_blocks=blocks)
