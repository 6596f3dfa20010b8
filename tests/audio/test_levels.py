"""The level of a region in place: as loud as what it replaces, and never beyond the ceiling."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import noise, tone
from regions import CEILING, MODEL_HZ, region_of


def test_the_level_is_even_over_the_edges_of_a_range():
    region = region_of(noise(4, 44100, 1, 0.05))
    out = region.like(noise(4, MODEL_HZ, 1, 0.3, 9), MODEL_HZ, [(1.0, 3.0)]).samples[0]
    inside, outside = out[60000:120000].std(), out[:40000].std()
    assert 20 * math.log10(inside / outside) == pytest.approx(0, abs=0.3)


def level_db(samples: torch.Tensor, start_s: float, end_s: float) -> float:
    return 20 * math.log10(samples[:, round(start_s * 44100) : round(end_s * 44100)].std())


@pytest.mark.parametrize("ranges", [((1.0, 2.0),), ((0.5, 0.7), (1.0, 1.2), (2.0, 2.2))])
@pytest.mark.parametrize("softer", [0.8, 1.4])
def test_a_range_has_the_level_of_what_it_replaces(ranges, softer):
    region = region_of(noise(3, amplitude=0.05, channels=2))
    made = noise(3, channels=2, seed=8)
    for start_s, end_s in ranges:  # softer or louder than the places that are kept
        made[:, round(start_s * 44100) : round(end_s * 44100)] *= softer
    out = region.like(made, MODEL_HZ, ranges).samples
    for place in ranges:
        assert level_db(out, *place) == pytest.approx(level_db(region.samples, *place), abs=0.3)


def test_the_level_of_a_range_stays_near_the_gain_of_the_whole():
    region = region_of(noise(3, amplitude=0.05))
    made, place = noise(3, seed=8), (1.0, 2.0)
    made[:, 44100:88200] *= 0.25
    own = level_db(region.samples, *place)
    alone = level_db(region.like(made, MODEL_HZ).samples, *place) - own
    change = level_db(region.like(made, MODEL_HZ, [place]).samples, *place) - own - alone
    assert alone < -9 and change == pytest.approx(3, abs=0.2)
    unmatched = region.like(made, MODEL_HZ, [place], match_loudness=False).samples
    everywhere = region.like(made, MODEL_HZ, match_loudness=False).samples
    assert level_db(unmatched, 1.1, 1.9) == pytest.approx(level_db(everywhere, 1.1, 1.9))
    gap = region.samples
    gap[:, 44100:88200] = 0  # silence has no level to keep
    filled = region_of(gap)
    out = filled.like(noise(3, seed=8), MODEL_HZ, [place]).samples
    assert torch.equal(
        out[:, 50000:80000], filled.like(noise(3, seed=8), MODEL_HZ).samples[:, 50000:80000]
    )


def test_without_matching_only_the_gain_is_undone():
    region = region_of(0.3 * noise(1, channels=2))
    audio, gain = region.to_model(MODEL_HZ)
    inputs = audio[:, 0]
    same = region.like(inputs, MODEL_HZ, match_loudness=False, gain=gain)
    assert same.loudness_lufs == pytest.approx(region.loudness_lufs, abs=0.05)
    half = region.like(inputs / 2, MODEL_HZ, match_loudness=False, gain=gain)
    assert half.loudness_lufs == pytest.approx(region.loudness_lufs - 6.02, abs=0.1)
    assert region.like(inputs / 2, MODEL_HZ).loudness_lufs == pytest.approx(
        region.loudness_lufs, abs=0.1
    )


def test_a_limiter_keeps_peaks_and_loudness():
    region = region_of(0.35 * tone(3, 44100, 1, 220, 1.0).sign())  # dense: loud, low peaks
    spiky = noise(3, MODEL_HZ, 1, 0.02)
    spiky[:, ::11025] = 0.9
    out = region.like(spiky, MODEL_HZ)
    assert out.samples.abs().max() <= CEILING + 1e-6
    assert out.loudness_lufs == pytest.approx(region.loudness_lufs, abs=0.5)


@pytest.mark.parametrize(("hiss", "drive"), [(0.01, 25), (0.03, 25), (0.1, 20)])
def test_a_loud_master_is_reached_through_the_limiter(hiss, drive):
    time_s = torch.arange(3 * 44100) / 44100
    knocks = torch.exp(-12 * (time_s % 0.25)) * torch.sin(2 * math.pi * 90 * time_s)
    made = 0.1 * (knocks + noise(3, amplitude=hiss))
    region = region_of(0.98 * torch.tanh(drive * made))  # -8 LUFS and more
    out = region.like(made, MODEL_HZ)
    assert out.samples.abs().max() <= CEILING
    assert out.loudness_lufs == pytest.approx(region.loudness_lufs, abs=0.1)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_S8"])
def test_eight_bits_stay_under_the_ceiling(subtype):
    region = region_of((4 * noise(1)).clamp(-1, 1), subtype=subtype)
    for ranges in ((), ((0.2, 0.6),)):
        out = region.like(noise(1, seed=3), MODEL_HZ, ranges).samples
        start, end = region.spans(ranges)[0]
        assert 0.95 < out[:, start:end].abs().max() <= CEILING


@pytest.mark.parametrize("match", [True, False])
def test_hot_and_clipped_regions_stay_under_the_ceiling(match):
    clipped = region_of((4 * tone(1, 44100, 2)).clamp(-1, 1), subtype="PCM_16")
    over = region_of(3 * tone(1, 44100, 2), subtype="FLOAT")
    for region in (clipped, over):
        out = region.like(noise(1, channels=2), MODEL_HZ, match_loudness=match)
        assert out.samples.abs().max() <= CEILING + 1e-4
