"""The measures: hand-computed cases, closed forms, and more damage, more distance."""

from __future__ import annotations

import pytest
import torch
from conftest import chord, noise, tone

from vampnet.evaluation.baselines import hold_last, random_tokens
from vampnet.evaluation.mel import mel_error
from vampnet.evaluation.musical import (
    chroma,
    chroma_correlation,
    f_measure,
    onset_correlation,
    onset_envelope,
)
from vampnet.mel import hz_to_mel, mel_bands

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


def test_chroma_hears_the_pitch_class_in_any_octave() -> None:
    for octave in (220.0, 440.0, 880.0):
        assert int(chroma(tone(1.0, frequency_hz=octave)[0], RATE)[:, 10].argmax()) == 0
    semitone = tone(1.0, frequency_hz=440.0 * 2 ** (1 / 12))[0]
    assert int(chroma(semitone, RATE)[:, 10].argmax()) == 1
    a, b = chord(4.0, seed=1)[0], chord(4.0, seed=2)[0]
    assert chroma_correlation(a, a, RATE) == pytest.approx(1.0)
    assert chroma_correlation(a, b, RATE) < 0.8


def test_onsets_in_the_same_places_correlate() -> None:
    a, b = chord(4.0, seed=1)[0], chord(4.0, seed=2)[0]
    assert onset_correlation(a, b, RATE) > 0.8  # other chords, same attacks
    assert onset_correlation(a, a.roll(11025), RATE) < 0.5


def test_onset_envelope_is_that_of_librosa() -> None:
    librosa = pytest.importorskip("librosa")
    for sound in (chord(3.0, seed=3)[0], noise(1.0, amplitude=0.3)[0]):
        theirs = librosa.onset.onset_strength(y=sound.numpy(), sr=RATE, center=False)
        ours = onset_envelope(sound, RATE)
        torch.testing.assert_close(ours, torch.from_numpy(theirs)[1:], atol=2e-3, rtol=1e-3)


def test_f_measure_by_hand() -> None:
    assert f_measure([1.0, 2.0, 3.0], [1.02, 2.5, 3.0], 0.05) == pytest.approx(2 / 3)
    assert f_measure([1.0], [0.99, 1.01], 0.05) == pytest.approx(2 / 3)  # one beat, matched once
    assert f_measure([], [], 0.05) == 1.0
    assert f_measure([1.0], [], 0.05) == 0.0


def test_hold_last_by_hand() -> None:
    codes = torch.tensor([[[5, 6, 7, 8, 9]]])
    mask = torch.tensor([[[True, False, True, True, False]]])
    assert hold_last(codes, mask).tolist() == [[[6, 6, 6, 6, 9]]]
    assert hold_last(codes, torch.ones_like(mask)).tolist() == [[[0, 0, 0, 0, 0]]]


def test_random_tokens_leave_what_is_kept() -> None:
    codes = torch.full((2, 3, 50), 7)
    mask = torch.rand(codes.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    found = random_tokens(codes, mask, 16, torch.Generator().manual_seed(1))
    assert (found[~mask] == 7).all()
    assert (found[mask] != 7).any()
