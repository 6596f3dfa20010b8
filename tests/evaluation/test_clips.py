"""Evaluation clips: start times, titles, skipped files and duplicates."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import soundfile
import torch
from conftest import chord

from vampnet.evaluation.clips import cut_clips, excerpt_starts

RATE = 44100


def test_clips_do_not_overlap_and_cover_every_file_first():
    found = excerpt_starts([25.0, 4.0, 61.0], 6, 10.0)
    assert [file for file, _ in found] == [0, 2, 0, 2, 2, 2]
    for file, duration in ((0, 25.0), (2, 61.0)):
        starts = sorted(start for f, start in found if f == file)
        assert starts[0] >= 0 and starts[-1] + 10 <= duration
        assert all(b - a >= 10 for a, b in zip(starts[:-1], starts[1:], strict=True))
    assert excerpt_starts([25.0], 100, 10.0) == excerpt_starts([25.0], 2, 10.0)


def test_clips_are_cut_from_audio_files_alone(music, tmp_path):
    found = cut_clips(music, 22050, 10, 3.0)
    assert len(found) == 6 and [clip.number for clip in found] == list(range(6))
    assert all(len(clip.sound) == 3 * 22050 for clip in found)
    assert len({clip.content for clip in found}) == 6
    soundfile.write(tmp_path / "silence.wav", torch.zeros(RATE * 40).numpy(), RATE)
    with pytest.raises(ValueError, match="gives 0 clips of 3 s; at least 4"):
        cut_clips(tmp_path, 22050, 10, 3.0)


def test_a_damaged_file_is_replaced_by_clips_of_other_files(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for seed, name in enumerate(("a", "b", "c")):
        sound = chord(12.5, seed=seed)[0]
        if name == "b":
            sound[8 * RATE] = math.nan  # in its second clip, not visible from the header
        soundfile.write(tmp_path / f"{name}.wav", sound.numpy(), RATE, "FLOAT")
    found = cut_clips(tmp_path, RATE, 7, 3.0)
    assert [clip.title[0] for clip in found] == ["a", "c", "a", "c", "a", "c", "a"]
    assert [clip.number for clip in found] == list(range(7))
    assert caplog.text.count("skipped: 'b.wav' holds NaN") == 1


def test_files_of_equal_name_get_distinct_titles(tmp_path: Path) -> None:
    for seed, name in enumerate(("one/song.wav", "two/song.wav", "two/song.flac", "other.wav")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / name, chord(4.0, seed=seed)[0].numpy(), RATE)
    titles = [clip.title.rpartition(",")[0] for clip in cut_clips(tmp_path, RATE, 4, 3.0)]
    assert set(titles) == {"one/song", "other", "two/song.flac", "two/song.wav"}


def test_a_path_that_is_not_a_folder_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="gone' does not exist; give a folder of audio files"):
        cut_clips(tmp_path / "gone", RATE, 4, 3.0)
    (tmp_path / "song.wav").touch()
    with pytest.raises(ValueError, match="song.wav' is not a folder; give a folder of audio files"):
        cut_clips(tmp_path / "song.wav", RATE, 4, 3.0)


def test_files_too_short_for_a_clip_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for seed, seconds in enumerate((1.0, 2.0, 2.5, 7.0)):
        sound = chord(seconds, 8000, seed)[0].numpy()
        soundfile.write(tmp_path / f"{seed}.wav", sound, 8000)
    with pytest.raises(ValueError, match=r"2 clips of 3 s; at least 4 .3 of 4 audio files are sho"):
        cut_clips(tmp_path, 8000, 10, 3.0)
    assert not caplog.records
    assert len(cut_clips(tmp_path, 8000, 10, 1.6)) == 6
    assert caplog.messages == ["skipped: 1 of 4 audio files are shorter than 1.6 s"]


def test_duplicate_music_counts_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for seed, name in enumerate(("a.wav", "b.wav")):
        soundfile.write(tmp_path / name, chord(7.0, 8000, seed)[0].numpy(), 8000)
    alone = cut_clips(tmp_path, 8000, 10, 3.0)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.wav").write_bytes((tmp_path / "b.wav").read_bytes())
    sound, rate_hz = soundfile.read(tmp_path / "a.wav", dtype="int16")
    soundfile.write(tmp_path / "z.flac", sound, rate_hz)  # the same samples in another format
    both = cut_clips(tmp_path, 8000, 10, 3.0)
    assert [clip.content for clip in both] == [clip.content for clip in alone]
    assert [clip.title for clip in both] == [clip.title for clip in alone]
    assert caplog.messages[0] == "skipped: sub/b.wav is the same as b.wav"
    assert caplog.messages[1].startswith("skipped: z, 0:00 is the same as a, 0:00")
    assert [clip.number for clip in both] == list(range(4))
