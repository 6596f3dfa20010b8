"""Beats and onsets against audio whose beats are known, made here."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import noise, tone
from hypothesis import given, settings
from hypothesis import strategies as st

from vampnet.prompt import beats
from vampnet.prompt.beats import NO_BEATS, TRACKERS, Beats, beat_grid, onsets, track

RATE_HZ = 44100
HERE = ["grids", "envelope"]
# Eighths of a bar on which each sound is played.
GROOVES = {
    "click": {"click": (0, 2, 4, 6)},
    "rock": {"kick": (0, 5), "snare": (2, 6), "hat": range(8)},
    "bass": {"kick": (0, 3), "snare": (2, 6), "hat": (0, 2, 4, 6), "bass": (0, 3, 5)},
}


def sound(name: str, rng: np.random.Generator) -> np.ndarray:
    time = np.arange(int(0.15 * RATE_HZ)) / RATE_HZ
    if name == "kick":
        return np.sin(2 * np.pi * (50 * time + 6 * (1 - np.exp(-30 * time)))) * np.exp(-time / 0.05)
    if name == "bass":
        return 0.4 * np.sin(2 * np.pi * 82 * time) * np.exp(-time / 0.1)
    if name == "click":
        return np.sin(2 * np.pi * 1000 * time) * np.exp(-time / 0.01)
    hiss = rng.standard_normal(len(time) + 1)
    if name == "snare":
        return 0.5 * hiss[1:] * np.exp(-time / 0.03)
    return 0.2 * np.diff(hiss) * np.exp(-time / 0.008)


def groove(
    name: str, bpm: float, duration_s: float, offset_s: float = 0.0
) -> tuple[torch.Tensor, list[float], list[float]]:
    """Audio (S,) with its beats and downbeats in seconds; a bar starts at the offset."""
    rng = np.random.default_rng(0)
    audio = np.zeros(round(duration_s * RATE_HZ))
    true_beats, downbeats = [], []
    for eighth in range(-int(offset_s * bpm / 30), int((duration_s - offset_s) * bpm / 30) + 1):
        time = offset_s + eighth * 30 / bpm
        start = round(time * RATE_HZ)
        if not 0 <= start < len(audio):
            continue
        true_beats += [time] if eighth % 2 == 0 else []
        downbeats += [time] if eighth % 8 == 0 else []
        for kind, eighths in GROOVES[name].items():
            if eighth % 8 in eighths:
                hit = sound(kind, rng)[: len(audio) - start]
                audio[start : start + len(hit)] += hit
    return torch.from_numpy(0.5 * audio / abs(audio).max()).float(), true_beats, downbeats


def f_measure(detected, true, tolerance_s: float = 0.02) -> float:
    """Hits over the mean of detected and true; each true beat is hit at most once."""
    free, hits = list(detected), 0
    for time in true:
        near = min(free, key=lambda other: abs(other - time), default=None)
        if near is not None and abs(near - time) <= tolerance_s:
            free.remove(near)
            hits += 1
    return 2 * hits / max(1, len(detected) + len(true))


# --- the grid of a known tempo ------------------------------------------------------------------


def test_a_grid_starts_bars_at_the_offset_wherever_that_lies():
    grid = beat_grid(120, 4.0, offset_s=1.0)
    assert grid.times_s == (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5)
    assert grid.downbeats_s == (1.0, 3.0) and grid.bpm == 120
    assert beat_grid(120, 4.0, offset_s=-1.0) == grid
    assert beat_grid(90, 4.0, beats_per_bar=3).downbeats_s == (0.0, 2.0)
    assert beat_grid(120, 0.0) == Beats((), (), 120.0)


@settings(max_examples=60, deadline=None)
@given(st.floats(20, 400), st.floats(0, 60), st.floats(-30, 30), st.integers(1, 7))
def test_a_grid_is_even_complete_and_inside(bpm, duration_s, offset_s, per_bar):
    grid = beat_grid(bpm, duration_s, offset_s, per_bar)
    period = 60 / bpm
    assert all(0 <= time < duration_s for time in grid.times_s)
    assert np.allclose(np.diff(grid.times_s), period, atol=1e-6)
    assert abs(len(grid.times_s) - duration_s / period) <= 1
    assert set(grid.downbeats_s) <= set(grid.times_s)
    if grid.times_s:
        number = (grid.times_s[0] - offset_s) / period
        assert abs(number - round(number)) < 1e-5


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"bpm": 0}, "bpm must be from 20 to 400, not 0"),
        ({"bpm": float("nan")}, "bpm"),
        ({"duration_s": -1}, "duration_s"),
        ({"offset_s": float("inf")}, "offset_s"),
        ({"beats_per_bar": 0}, "beats_per_bar must be a whole number from 1 up, not 0"),
        ({"beats_per_bar": 2.5}, "beats_per_bar"),
    ],
)
def test_a_wrong_grid_is_named(values, words):
    with pytest.raises(ValueError, match=words):
        beat_grid(**{"bpm": 120, "duration_s": 4.0, **values})


# --- trackers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("bpm", [90, 97, 120, 140])
@pytest.mark.parametrize("name", GROOVES)
def test_a_loop_of_four_bars_is_heard_on_the_beat(name, bpm):
    audio, true_beats, _ = groove(name, bpm, 16 * 60 / bpm)
    detected = track(audio, RATE_HZ)
    assert f_measure(detected.times_s, true_beats) >= 0.95
    assert detected.bpm == pytest.approx(bpm, rel=0.002)
    assert set(detected.downbeats_s) <= set(detected.times_s)


@pytest.mark.parametrize(("name", "bpm"), [("click", 97), ("bass", 120)])
def test_the_tracker_without_weights_hears_the_beat_too(name, bpm):
    audio, true_beats, _ = groove(name, bpm, 16 * 60 / bpm)
    detected = track(audio, RATE_HZ, tracker="envelope")
    assert f_measure(detected.times_s, true_beats) >= 0.95
    assert detected.bpm == pytest.approx(bpm, rel=0.005)


@pytest.mark.parametrize(
    ("bpm", "offset_s"), [(65, 0.0), (65, 0.37), (82, 0.0), (120, 0.37), (174, 0.0)]
)
@pytest.mark.parametrize("name", ["rock", "bass"])
def test_slow_and_fast_grooves_keep_their_tempo_and_bars(name, bpm, offset_s):
    audio, true_beats, downbeats = groove(name, bpm, 16 * 60 / bpm, offset_s)
    detected = track(audio, RATE_HZ)
    assert detected.bpm == pytest.approx(bpm, rel=0.005)
    assert f_measure(detected.times_s, true_beats) >= 0.95
    assert f_measure(detected.downbeats_s, downbeats) >= 0.85


def test_a_long_piece_keeps_its_tempo_to_the_end():
    audio, true_beats, downbeats = groove("rock", 97, 150.0, 0.2)
    detected = track(audio, RATE_HZ, tracker="grids")
    assert detected.bpm == pytest.approx(97, abs=0.02)
    assert f_measure(detected.times_s, true_beats) >= 0.99
    assert f_measure(detected.downbeats_s, downbeats) >= 0.95


def test_rate_level_and_channels_do_not_move_the_beat():
    audio, true_beats, _ = groove("rock", 120, 4.0)
    stereo = torch.stack([audio, audio]) * 0.01
    assert f_measure(track(stereo, RATE_HZ).times_s, true_beats) >= 0.95
    detected = track(audio[::2].contiguous(), RATE_HZ // 2, tracker="envelope")
    assert f_measure(detected.times_s, true_beats) >= 0.95


def test_an_inverted_channel_hides_no_beat():
    audio, true_beats, _ = groove("rock", 120, 4.0)
    for other in (-1.0, -0.97, 0.0):
        detected = track(torch.stack([audio, other * audio]), RATE_HZ, tracker="envelope")
        assert f_measure(detected.times_s, true_beats) >= 0.95
        assert onsets(torch.stack([audio, other * audio]), RATE_HZ) == onsets(audio, RATE_HZ)


def test_beats_of_a_slowing_piece_stay_at_the_attacks():
    times = np.cumsum(0.5 + 0.02 * np.arange(16))
    audio = torch.zeros(round((times[-1] + 0.5) * RATE_HZ))
    hit = torch.from_numpy(sound("snare", np.random.default_rng(0))).float()
    for time in times:
        audio[round(time * RATE_HZ) :][: len(hit)] += hit
    envelope = beats.onset_envelope(beats._mono(audio, RATE_HZ))
    rough = np.stack([times + 0.015 * (-1) ** np.arange(16), np.arange(16) % 4 + 1], axis=1)
    detected = beats._settle(rough, envelope, len(audio) / RATE_HZ)
    assert np.abs(np.array(detected.times_s) - times).max() < 0.006
    assert len(detected.downbeats_s) == 4


def test_a_long_steady_piece_has_its_exact_tempo():
    # Detected in steps of 20 ms, with one beat missed: the tempo is still that of the whole piece.
    times = np.round(np.arange(500) * 60 / 97 / 0.02) * 0.02
    places = np.stack([times, np.arange(500) % 4 + 1], axis=1)
    detected = beats._settle(np.delete(places, 77, axis=0), np.zeros(70_000), 310.0)
    assert detected.bpm == pytest.approx(97, abs=0.01)
    assert f_measure(detected.times_s, np.arange(500) * 60 / 97) >= 0.99


@pytest.mark.parametrize("tracker", HERE)
@pytest.mark.parametrize(
    "audio",
    [
        torch.zeros(2, RATE_HZ),
        torch.zeros(1, 0),
        torch.ones(1),
        torch.ones(1, 3 * RATE_HZ) * 1e-6,
        tone(0.1, channels=2),
        noise(0.1),
    ],
    ids=["silence", "nothing", "one sample", "almost silence", "short tone", "short noise"],
)
def test_where_there_is_no_beat_none_is_heard(audio, tracker):
    assert track(audio, RATE_HZ, tracker=tracker) == NO_BEATS


@pytest.mark.parametrize("tracker", HERE)
@pytest.mark.parametrize("audio", [torch.ones(RATE_HZ), tone(1.0), noise(0.6), tone(5.0)])
def test_sound_without_a_beat_does_no_harm(audio, tracker):
    detected = track(audio, RATE_HZ, tracker=tracker)
    duration_s = audio.shape[-1] / RATE_HZ
    assert all(0 <= time <= duration_s for time in detected.times_s)
    assert list(detected.times_s) == sorted(set(detected.times_s))
    assert detected.bpm is None or 20 < detected.bpm < 400
    assert all(0 <= time <= duration_s for time in onsets(audio, RATE_HZ))


def test_an_unknown_tracker_is_named():
    with pytest.raises(ValueError, match="tracker must be one of auto, .*, not 'ears'"):
        track(tone(), RATE_HZ, tracker="ears")
    assert TRACKERS[0] == "auto"


# --- onsets -------------------------------------------------------------------------------------


def test_onsets_are_where_sounds_start():
    audio, _, _ = groove("rock", 120, 4.0)
    true = [i * 0.25 for i in range(16)]
    assert f_measure(onsets(audio, RATE_HZ), true) >= 0.95
    melody = torch.cat([tone(0.4, frequency_hz=220.0 * 2 ** (i / 5)) for i in range(5)], dim=1)
    assert f_measure(onsets(melody, RATE_HZ), [0.4 * i for i in range(5)], 0.03) >= 0.9


def test_silence_and_almost_nothing_have_no_onsets():
    assert onsets(torch.zeros(2, RATE_HZ), RATE_HZ) == ()
    assert onsets(torch.zeros(1, 0), RATE_HZ) == ()
    assert len(onsets(torch.ones(1, 1), RATE_HZ)) <= 1


def test_blocks_of_the_envelope_leave_no_seam(monkeypatch):
    mono = noise(3.0, 22050)[0].numpy()
    whole = beats.onset_envelope(mono)
    monkeypatch.setattr(beats, "_ENVELOPE_BLOCK", 37)
    np.testing.assert_allclose(beats.onset_envelope(mono), whole, atol=1e-7)
    assert len(whole) == len(mono) // 110 + 1
