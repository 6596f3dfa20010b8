"""Musical measures: chroma, onsets, beats, tempo and level, by hand and against librosa."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from conftest import chord, noise, tone

from vampnet.evaluation.musical import (
    chroma,
    chroma_correlation,
    compare,
    extract_features,
    f_measure,
    level_changes,
    level_correlation,
    level_envelope,
    onset_correlation,
    onset_envelope,
    tempo_drift_percent,
)
from vampnet.prompt.beats import beat_grid

RATE = 44100


def test_tempo_drift_ignores_octave_errors():
    assert tempo_drift_percent(120, 120) == 0
    assert tempo_drift_percent(120, 60) == pytest.approx(0)
    assert tempo_drift_percent(120, 126) == pytest.approx(5)
    assert tempo_drift_percent(126, 120) == pytest.approx(5)
    assert math.isnan(tempo_drift_percent(120, None))


def test_halving_a_signal_changes_loudness_and_peak_by_6_db():
    sound = 0.5 * tone(2.0)[0]
    loudness_lu, peak_db = level_changes(sound, sound / 2, RATE)
    assert (loudness_lu, peak_db) == (pytest.approx(6.02, abs=0.01), pytest.approx(6.02, abs=0.01))
    assert all(map(math.isnan, level_changes(sound, torch.zeros(RATE), RATE)))


def test_a_signal_equals_itself_in_every_measure_and_differs_from_noise():
    features = extract_features(chord(4.0)[0], RATE, beats=True)
    same = compare(features, features)
    assert same["mel"] == same["loudness_lu"] == same["peak_db"] == 0
    for name in ("chroma", "onsets", "onset_f", "beat_f"):
        assert same[name] == pytest.approx(1.0), name
    other = compare(features, extract_features(noise(4.0)[0], RATE, beats=True))
    assert other["mel"] > 0.5 and other["chroma"] < 0.5 and other["onset_f"] < 1


def test_beats_half_a_period_apart_do_not_match():
    grid = beat_grid(120, 4.0)
    assert compare(
        replace(extract_features(chord(4.0)[0], RATE, beats=False), beats=grid),
        replace(
            extract_features(chord(4.0)[0], RATE, beats=False), beats=beat_grid(120, 4.0, 0.25)
        ),
    )["beat_f"] == pytest.approx(0.0)


def test_chroma_is_the_same_in_every_octave() -> None:
    for octave in (220.0, 440.0, 880.0):
        assert int(chroma(tone(1.0, frequency_hz=octave)[0], RATE)[:, 10].argmax()) == 0
    semitone = tone(1.0, frequency_hz=440.0 * 2 ** (1 / 12))[0]
    assert int(chroma(semitone, RATE)[:, 10].argmax()) == 1
    a, b = chord(4.0, seed=1)[0], chord(4.0, seed=2)[0]
    assert chroma_correlation(a, a, RATE) == pytest.approx(1.0)
    assert chroma_correlation(a, b, RATE) < 0.8


def test_equal_onset_times_correlate_and_shifted_ones_do_not() -> None:
    a, b = chord(4.0, seed=1)[0], chord(4.0, seed=2)[0]
    assert onset_correlation(a, b, RATE) > 0.8  # other chords, same attacks
    assert onset_correlation(a, a.roll(11025), RATE) < 0.5


def test_onset_envelope_equals_librosa() -> None:
    librosa = pytest.importorskip("librosa")
    for sound in (chord(3.0, seed=3)[0], noise(1.0, amplitude=0.3)[0]):
        theirs = librosa.onset.onset_strength(y=sound.numpy(), sr=RATE, center=False)
        ours = onset_envelope(sound, RATE)
        torch.testing.assert_close(ours, torch.from_numpy(theirs)[1:], atol=2e-3, rtol=1e-3)


def test_f_measure_matches_each_event_at_most_once() -> None:
    assert f_measure([1.0, 2.0, 3.0], [1.02, 2.5, 3.0], 0.05) == pytest.approx(2 / 3)
    assert f_measure([1.0], [0.99, 1.01], 0.05) == pytest.approx(2 / 3)  # one beat, matched once
    assert f_measure([], [], 0.05) == 1.0
    assert f_measure([1.0], [], 0.05) == 0.0


def test_level_envelope_is_librosas():
    librosa = pytest.importorskip("librosa")
    sound = noise(2.0)[0] * torch.linspace(0, 1, len(noise(2.0)[0]))
    theirs = torch.from_numpy(librosa.feature.rms(y=sound.numpy())[0])
    assert torch.allclose(level_envelope(sound), theirs, atol=1e-5)
    assert level_correlation(sound, 0.5 * sound) == pytest.approx(1)
    assert level_correlation(sound, sound.flip(0)) < -0.9
