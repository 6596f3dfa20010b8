"""Loudness: that of the standard, one gain to a target, and the original's preprocessing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import noise, tone

from vampnet import audio


@pytest.mark.parametrize("rate", [8000, 11025, 44100, 96000])
@pytest.mark.parametrize("seconds", [0.4, 0.77, 7.3])
def test_loudness_is_that_of_the_standard(rate, seconds):
    pyloudnorm = pytest.importorskip("pyloudnorm")
    sound = noise(seconds, rate, 2) * torch.linspace(0, 1, round(seconds * rate)) ** 2
    expected = pyloudnorm.Meter(rate).integrated_loudness(sound.T.double().numpy())
    assert audio.loudness_lufs(sound, rate) == pytest.approx(expected, abs=1e-3)


def test_loudness_of_the_reference_tone_and_of_little():
    assert audio.loudness_lufs(tone(2, 48000, 1, 997, 1.0), 48000) == pytest.approx(-3.01, abs=0.05)
    assert audio.loudness_lufs(tone(0.1, 48000, 1, 997, 1.0), 48000) == pytest.approx(-3.7, abs=0.1)
    assert audio.loudness_lufs(torch.zeros(2, 48000), 48000) == -np.inf
    assert audio.loudness_lufs(torch.zeros(2, 0), 48000) == -np.inf
    assert -110 < audio.loudness_lufs(noise(1, 48000, 1, 1e-5), 48000) < -90


@pytest.mark.parametrize("gain", [1e-4, 0.01, 1.0, 20.0])
def test_normalize_reaches_the_target_with_one_gain(gain):
    sound = gain * torch.cat([noise(1, 44100, 1), 0.3 * noise(1, 44100, 1, seed=2)])
    out, used = audio.normalize(sound, 44100)
    assert audio.loudness_lufs(out, 44100) == pytest.approx(-24, abs=0.05)
    assert torch.allclose(out, sound * used) and out.abs().max() <= 1


def test_normalize_keeps_peaks_and_silence():
    click = torch.zeros(1, 44100)
    click[0, 100] = 0.5
    assert audio.normalize(click, 44100)[0].abs().max() == pytest.approx(1.0)
    silence = torch.zeros(2, 44100)
    assert audio.normalize(silence, 44100)[1] == 1.0
    assert torch.equal(audio.normalize(silence, 44100)[0], silence)


def test_golden_preprocessing_is_at_the_target(golden):
    out = torch.from_numpy(np.load(golden / "preprocess.npz")["out"][0])
    assert audio.loudness_lufs(out[:, :26460], 44100) == pytest.approx(-24.0, abs=1e-3)


def test_golden_preprocessing_is_ours_below_the_resamplers_edge(golden):
    data = np.load(golden / "preprocess.npz")
    raw = torch.from_numpy(data["audio_int16"].astype(np.float32) / 32768)
    mono = audio.resample(raw, int(data["sample_rate"]), 44100).mean(0, keepdim=True)
    ours = audio.normalize(mono, 44100)[0][0]
    theirs = torch.from_numpy(data["out"][0, 0, : len(ours)])
    # the original's resampler rolls off from 18 kHz on; ours keeps the octave's top
    window = torch.hann_window(len(ours))
    below = slice(0, int(18_000 * len(ours) / 44100))
    error = torch.fft.rfft((ours - theirs) * window)[below].norm()
    assert float(error / torch.fft.rfft(theirs * window)[below].norm()) < 1.5e-3
