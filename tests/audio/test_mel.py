"""Mel bands, and the mel error between sounds."""

from __future__ import annotations

import pytest
from conftest import chord, noise

from vampnet.audio.mel import hz_to_mel, mel_bands
from vampnet.evaluation.mel_distance import mel_error

RATE = 44100


def test_mel_error_of_equal_sounds_is_nothing_and_grows_with_noise() -> None:
    sound = chord(2.0)[0]
    hiss = noise(2.0, amplitude=1.0)[0]
    assert mel_error(sound, sound, RATE) == 0.0
    errors = [mel_error(sound, sound + level * hiss, RATE) for level in (1e-4, 1e-3, 1e-2)]
    assert 0 < errors[0] < errors[1] < errors[2]


def test_mel_error_of_a_tenfold_level_is_one_a_scale() -> None:
    sound = noise(1.0, amplitude=0.5)[0]
    assert mel_error(sound, 0.1 * sound, RATE) == pytest.approx(2.0, abs=1e-3)
    with pytest.raises(ValueError, match="one shape"):
        mel_error(sound, sound[:-1], RATE)


def test_mel_scale_has_its_fixed_points() -> None:
    assert hz_to_mel(1000.0) == pytest.approx(15.0)
    assert hz_to_mel(6400.0) == pytest.approx(42.0)
    bands = mel_bands(2048, RATE, 40)
    assert (bands >= 0).all() and (bands.sum(0) > 0).all()
    centres = bands.argmax(0)
    assert (centres.diff() > 0).all()
