"""Tones: each figure says what was done to the sound, and nothing else."""

from __future__ import annotations

import pytest
import torch

from vampnet.evaluation.tones import Tone, note_hz, tone_figures, tones

RATE = 44100
A2 = Tone("A2", (110.0,))


def test_an_unchanged_or_quieter_tone_has_no_error():
    for tone in (tones()[0], A2, Tone("pad", (109.6, 110.0, 110.4)), Tone("C6", (1046.5,))):
        sound = tone.sound(RATE)
        same = tone_figures(tone, sound, 0.1 * sound, RATE)
        assert same.cents < 0.1 and same.balance_db < 0.01 and same.waver_db < 0.01


@pytest.mark.parametrize("midi", [28, 45, 84])
@pytest.mark.parametrize("cents", [-40, 8, 100])
def test_cents_measure_a_shift(midi: int, cents: float):
    tone, shifted = (Tone("x", (note_hz(m),)) for m in (midi, midi + cents / 100))
    found = tone_figures(tone, tone.sound(RATE), shifted.sound(RATE), RATE)
    assert found.cents == pytest.approx(abs(cents), abs=0.5)


def test_one_wrong_partial_of_a_chord_is_found():
    chord = Tone("fifth", (110.0, 164.81), n_partials=1)
    wrong = Tone("fifth", (110.0, 164.81 * 2 ** (25 / 1200)), n_partials=1)
    found = tone_figures(chord, chord.sound(RATE), wrong.sound(RATE), RATE)
    assert found.cents == pytest.approx(25, abs=0.5)


def test_a_voice_within_a_detuned_pad_is_in_tune():
    pad, middle = Tone("pad", (439.0, 440.0, 441.0), 1), Tone("one", (440.0,), 1)
    assert tone_figures(pad, pad.sound(RATE), middle.sound(RATE), RATE).cents == 0


def test_balance_measures_a_weaker_partial():
    sound = A2.sound(RATE)
    time_s = torch.arange(len(sound)) / RATE
    # the fundamental alone, as the mean over a whole number of its cycles finds it
    wave = torch.exp(-2j * torch.pi * 110.0 * time_s)
    inner = slice(RATE, 4 * RATE)
    fundamental = 2 * (torch.view_as_real((sound * wave)[inner]).mean(0))
    a, b = fundamental.tolist()
    cosine, sine = (f(2 * torch.pi * 110.0 * time_s) for f in (torch.cos, torch.sin))
    weaker = sound - 0.5 * (a * cosine - b * sine)
    found = tone_figures(A2, sound, weaker, RATE)
    assert found.balance_db == pytest.approx(6.02 * 7 / 8, abs=0.3)


def test_waver_measures_a_fluctuating_level():
    sound = A2.sound(RATE)
    swell = 1 + 0.25 * torch.sin(2 * torch.pi * 3.0 * torch.arange(len(sound)) / RATE)
    found = tone_figures(A2, sound, sound * swell, RATE)
    assert found.waver_db == pytest.approx(1.5, abs=0.2) and found.cents < 1
