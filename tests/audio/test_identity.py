"""A model that changes nothing gives the region back, at every rate, level match on or off."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from conftest import noise
from places import ROOT
from regions import CEILING, MODEL_HZ, region_of
from scipy.signal import butter, sosfilt

from vampnet import audio
from vampnet.audio.region import Region

RATES = [8000, 22050, 44100, 48000, 88200, 96000, 192000]


def banded(rate: int, channels: int, seconds: float) -> np.ndarray:
    """Noise below what every rate here can carry."""
    rng, top = np.random.default_rng(0), min(16000.0, 0.45 * rate)
    sections = butter(6, [0.2 * top, 0.85 * top], "band", fs=rate, output="sos")
    return sosfilt(sections, rng.standard_normal((channels, round(seconds * rate))))


def hats(rate: int, channels: int, peak: float) -> torch.Tensor:
    """Short hits far apart: their peaks keep them from the level that models get."""
    sound = banded(rate, channels, 2.0)
    sound *= np.exp(-80 * (np.arange(sound.shape[1]) / rate % 0.5))
    return torch.from_numpy(peak * sound / np.abs(sound).max()).float()


def dense(rate: int, channels: int, peak: float) -> torch.Tensor:
    """A clipped master of about -6 LUFS at a peak of 1, two channels."""
    sound = banded(rate, channels, 1.0)
    return torch.from_numpy(peak * np.clip(0.7 * sound / sound.std(), -1, 1)).float()


def identity(region: Region, match_loudness: bool, mono: bool = False) -> Region:
    made, gain = region.to_model(MODEL_HZ, mono)
    assert torch.isfinite(made).all() and made.abs().max() <= 1
    return region.like(made[:, 0], MODEL_HZ, match_loudness=match_loudness, gain=gain)


def error_db(back: torch.Tensor, own: torch.Tensor) -> float:
    return 20 * math.log10(float((back - own).norm() / own.norm()))


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("match_loudness", [True, False])
@pytest.mark.parametrize(
    ("sound", "peak"), [(hats, 0.9), (hats, 0.02), (dense, 0.9), (dense, 1e-3)]
)
def test_a_region_comes_back(rate, match_loudness, sound, peak):
    region = region_of(sound(rate, 1, peak), rate, "FLOAT")
    out = identity(region, match_loudness)
    assert out.loudness_lufs == pytest.approx(region.loudness_lufs, abs=0.1)
    carried = audio.resample(region.samples, rate, MODEL_HZ)
    carried = audio.resample(carried, MODEL_HZ, rate, region.n_samples)
    assert error_db(out.samples, carried) < -30


@pytest.mark.parametrize("channels", range(1, 9))
@pytest.mark.parametrize("match_loudness", [True, False])
def test_all_channels_come_back(channels, match_loudness):
    sound = hats(48000, channels, 0.7) * torch.linspace(1, 0.1, channels)[:, None]
    region = region_of(sound, 48000)
    out = identity(region, match_loudness)
    for back, own in zip(out.samples, region.samples, strict=True):
        assert error_db(back, own) < -25


@pytest.mark.parametrize("rate", [44100, 48000, 96000])
@pytest.mark.parametrize("match_loudness", [True, False])
@pytest.mark.parametrize("drive", [0.3, 0.45, 0.55])
def test_a_loud_master_comes_back_as_loud(rate, match_loudness, drive):
    sound = banded(rate, 2, 1.5)
    clipped = torch.from_numpy(np.clip(drive * sound / sound.std(), -1, 1)).float()
    region = region_of(clipped, rate)
    assert region.loudness_lufs > -10
    out = identity(region, match_loudness)
    assert out.loudness_lufs == pytest.approx(region.loudness_lufs, abs=0.25)
    assert out.samples.abs().max() <= CEILING


@pytest.mark.parametrize("drive", [20, 30, 60])
def test_a_master_of_more_than_6_lufs_below_full_scale_is_reached(drive):
    time_s = torch.arange(3 * 44100) / 44100
    knocks = torch.exp(-12 * (time_s % 0.25)) * torch.sin(2 * math.pi * 90 * time_s)
    made = 0.1 * (knocks + noise(3, amplitude=0.1))
    region = region_of(0.98 * torch.tanh(drive * made))  # up to -3.3 LUFS
    out = region.like(made, MODEL_HZ)
    assert out.loudness_lufs == pytest.approx(region.loudness_lufs, abs=0.15)
    assert out.samples.abs().max() <= CEILING


@pytest.mark.parametrize("height", [1.5, 20.0, 17_600.0, 900_000.0])
@pytest.mark.parametrize("match_loudness", [True, False])
@pytest.mark.parametrize("mono", [True, False])
def test_a_spike_changes_the_level_of_nothing_else(height, match_loudness, mono):
    sound = hats(44100, 2, 0.5) + 0.05 * noise(2, 44100, 2)
    plain = identity(region_of(sound, 44100, "FLOAT"), match_loudness, mono).samples
    sound[1, 30_000] = height
    spiked = identity(region_of(sound, 44100, "FLOAT"), match_loudness, mono).samples
    elsewhere = torch.ones(sound.shape[1], dtype=torch.bool)
    elsewhere[29_000:31_000] = False  # the limiter's reach
    ratio = spiked[:, elsewhere].norm() / plain[:, elsewhere].norm()
    assert 20 * math.log10(ratio) == pytest.approx(0, abs=0.5)


def test_the_spike_that_a_user_brought():
    region = Region.read(ROOT / "tests" / "cases" / "98-spike-85dBFS.wav")
    at = int(np.abs(region.native[:, 0]).argmax())
    elsewhere = np.r_[0 : at - 1000, at + 1000 : region.n_samples]
    for match_loudness in (True, False):
        out = identity(region, match_loudness)
        assert error_db(out.samples[:, elsewhere], region.samples[:, elsewhere]) < -25


@pytest.mark.parametrize("peak", [5e-40, 1e-38, 1e-30, 1e-12])
@pytest.mark.parametrize("match_loudness", [True, False])
def test_denormals_are_sound_like_any_other(peak, match_loudness):
    own = region_of(hats(44100, 2, 1.0) * peak, 44100, "FLOAT")
    out = identity(own, match_loudness)
    assert torch.isfinite(out.samples).all() and out.samples.abs().max() <= 2 * peak
    made = own.like(noise(2, channels=2), MODEL_HZ)
    assert torch.isfinite(made.samples).all() and made.samples.abs().max() < 1e-10


def test_hot_float_music_is_not_cut():
    region = region_of(3 * dense(44100, 2, 1.0), 44100, "FLOAT")
    made, gain = region.to_model(MODEL_HZ)
    assert torch.allclose(made[:, 0] / gain, region.samples, atol=1e-4)
