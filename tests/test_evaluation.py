"""The measures: hand-computed cases, closed forms, more damage is more error; clips, verdicts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import pytest
import soundfile
import torch
from conftest import chord, noise, tone

from vampnet.evaluation.baselines import hold_last, random_tokens
from vampnet.evaluation.clips import cut
from vampnet.evaluation.intervals import Estimate
from vampnet.evaluation.listening import Example
from vampnet.evaluation.mel import mel_error
from vampnet.evaluation.musical import (
    chroma,
    chroma_correlation,
    f_measure,
    onset_correlation,
    onset_envelope,
)
from vampnet.evaluation.relations import Relation, relations
from vampnet.evaluation.report import _listening
from vampnet.evaluation.scores import Scores
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


# Clips -------------------------------------------------------------------------------------------


def test_a_damaged_file_costs_only_its_own_clips(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for seed, name in enumerate(("a", "b", "c")):
        sound = chord(12.5, seed=seed)[0]
        if name == "b":
            sound[8 * RATE] = math.nan  # in its second clip; its header says nothing of it
        soundfile.write(tmp_path / f"{name}.wav", sound.numpy(), RATE, "FLOAT")
    found = cut(tmp_path, RATE, 7, 3.0)
    assert [clip.title[0] for clip in found] == ["a", "c", "a", "c", "a", "c", "a"]
    assert [clip.number for clip in found] == list(range(7))
    assert caplog.text.count("passed over: 'b.wav' holds NaN") == 1


def test_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for seed, name in enumerate(("one/song.wav", "two/song.wav", "two/song.flac", "other.wav")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / name, chord(4.0, seed=seed)[0].numpy(), RATE)
    titles = [clip.title.rpartition(",")[0] for clip in cut(tmp_path, RATE, 4, 3.0)]
    assert set(titles) == {"one/song", "other", "two/song.flac", "two/song.wav"}


def test_sounds_to_hear_are_grouped_by_clip_and_not_by_title() -> None:
    sounds = [Example(n, "song, 0:00", name, "") for n in (0, 1) for name in ("input", "made")]
    shown = _listening(sounds)
    assert shown.count("<h3>") == 2 and shown.count("<figure>") == 4


# Verdicts ----------------------------------------------------------------------------------------


class Told:
    """Scores of settings with these figures; a difference is as unsure as ``half`` says."""

    networks = ("musicnn",)

    def __init__(
        self, figures: Mapping[str, float], half: float | Mapping[tuple[str, str], float]
    ) -> None:
        self.made, self.half = figures, half

    def n_clips(self, name: str) -> int:
        return int(name in self.made)

    def estimate(self, name: str, _: str) -> Estimate:
        return Estimate(self.made[name], 0.0)

    def difference(self, first: str, second: str, _: str) -> Estimate:
        half = self.half[first, second] if isinstance(self.half, Mapping) else self.half
        return Estimate(self.made[first] - self.made[second], half)


def asked(told: Told, words: str) -> Relation:
    return next(r for r in relations(cast(Scores, told)) if words in r.claim)


@pytest.mark.parametrize(
    ("one", "twelve", "gain_half", "rest", "rest_half", "verdict"),
    [
        (20.0, 10.0, 2.0, 0.5, 0.5, "holds"),  # near is 1.5
        (20.0, 10.0, 2.0, 0.0, 1.6, "open"),  # not even a difference of 0 holds by itself
        (20.0, 10.0, 2.0, 1.4, 0.2, "open"),
        (20.0, 10.0, 2.0, 1.9, 0.2, "fails"),
        (20.0, 10.0, 2.0, -1.9, 0.2, "fails"),
        (20.0, 10.0, 11.0, 0.0, 0.1, "open"),  # whether twelve gain anything is not clear
        (10.0, 20.0, 2.0, 0.0, 0.1, "open"),  # they lose: there is no near
        (20.0, 10.0, 2.0, 0.0, float("nan"), "open"),
    ],
)
def test_twelve_steps_are_close_where_the_whole_interval_is(
    one: float, twelve: float, gain_half: float, rest: float, rest_half: float, verdict: str
) -> None:
    half = {("1 steps", "12 steps"): gain_half, ("12 steps", "36 steps"): rest_half}
    told = Told({"1 steps": one, "12 steps": twelve, "36 steps": twelve - rest}, half)
    assert asked(told, "12 steps close to 36").verdict == verdict


PROMPTS = ("compression 1", "periodic 8", "periodic 16", "periodic 32", "inpaint 1 s")


@pytest.mark.parametrize(
    ("beat", "half", "verdict", "text"),
    [
        (2.5, 0.4, "holds", "place 3 of 6; clearly below 3, above 2 of the others"),
        (2.5, 0.6, "open", "place 3 of 6; clearly below 2, above 1 of the others"),
        (3.5, 0.6, "open", "place 4 of 6; clearly below 1, above 2 of the others"),
        (3.5, 0.4, "fails", "place 4 of 6; clearly below 2, above 3 of the others"),
        (2.5, float("nan"), "open", "place 3 of 6; clearly below 0, above 0 of the others"),
    ],
)
def test_among_the_lowest_is_told_by_intervals(
    beat: float, half: float, verdict: str, text: str
) -> None:
    others = dict(zip(PROMPTS, (1.0, 2.0, 3.0, 4.0, 5.0), strict=True))
    found = asked(Told({**others, "beat-driven 75 ms": beat}, half), "among the lowest 3")
    assert (found.verdict, found.figures) == (verdict, text)


def test_beats_are_kept_best_only_where_every_other_prompt_is_behind() -> None:
    names = ("compression 1", "inpaint 1 s", "beat-driven 75 ms")
    best = {(names[2], names[0]): 0.05, (names[2], names[1]): 0.05}
    figures: dict[str, float] = dict(zip(names, (0.7, 0.6, 0.8), strict=True))
    assert asked(Told(figures, best), "keeps beats best").verdict == "holds"
    unsure = {**best, (names[2], names[1]): 0.3}
    assert asked(Told(figures, unsure), "keeps beats best").verdict == "open"
