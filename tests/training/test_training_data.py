"""Pieces for training from a folder of music: what is held out, omitted and logged."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import soundfile
from conftest import chord
from places import ROOT

from vampnet import cli
from vampnet.training.data import MANIFEST, Pack, pack, store


@pytest.fixture
def many(tmp_path):
    """Twelve pieces, of which one occurs twice, among files that cannot be read."""
    for number in range(12):
        sound = chord(0.5, 8000, seed=number)[0].numpy()
        soundfile.write(tmp_path / f"{number:02d}.wav", sound, 8000)
        (tmp_path / f"{number:02d} broken.wav").write_text(f"no music {number}")
    shutil.copy(tmp_path / "03.wav", tmp_path / "99 copy of 03.wav")
    return tmp_path


def test_every_tenth_piece_is_held_out_whatever_cannot_be_read(many, tmp_path) -> None:
    logged: list[str] = []
    pack(many, tmp_path / "out", 8000, log=logged.append)
    entries = json.loads((tmp_path / "out" / MANIFEST).read_text())["pieces"]
    assert [e["name"] for e in entries] == [f"{number:02d}.wav" for number in range(12)]
    assert [e["name"] for e in entries if e["split"] == "heldout"] == ["09.wav"]
    assert "left out: 99 copy of 03.wav is the same as 03.wav" in logged and len(logged) == 13
    for file in many.glob("0[0-4].wav"):
        file.unlink()
    pack(many, tmp_path / "less", 8000, log=logged.append)
    assert "none of 8 pieces is held out" in logged[-1]


def test_words_hold_out_what_they_name_in_every_copy(many, tmp_path, capsys) -> None:
    pack(many, tmp_path / "out", 8000, ("copy", "05."))
    heldout = [name for name, _ in Pack.load(tmp_path / "out", "heldout").pieces]
    assert heldout == ["03.wav", "05.wav"]
    with pytest.raises(ValueError, match="no audio file of .* has the held-out word 'Copy'"):
        pack(many, tmp_path / "b", 8000, ("05", "Copy"))
    with pytest.raises(ValueError, match=r"all 12 readable audio files of .* held out \(0, 1\)"):
        pack(many, tmp_path / "c", 8000, ("0", "1"))
    line = ["train", str(many), str(tmp_path / "work"), "--held-out", "05., no such"]
    assert cli.main(line) == 1 and "'no such' in its path" in capsys.readouterr().err


def test_audio_of_kinds_that_are_not_read_is_named(many, tmp_path) -> None:
    said: list[str] = []
    for name in ("song.m4a", "old/song.AAC", "song.wma"):
        (many / name).parent.mkdir(exist_ok=True)
        (many / name).write_bytes(b"\0\0\0\x20ftypM4A ")
    pack(many, tmp_path / "out", 8000, log=said.append)
    for name in ("song.m4a is a .m4a file", "old/song.AAC is a .aac file", "song.wma is a .wma"):
        assert any(line.startswith(f"left out: {name}") for line in said), name


def test_joined_mp3s_are_trained_on_to_the_end(tmp_path) -> None:
    music = tmp_path / "music"
    music.mkdir()
    for name in ("53-mp3-joined.mp3", "41-chained.ogg"):
        shutil.copy(ROOT / "tests" / "cases" / name, music)
    pack(music, tmp_path / "out", 44100)
    seconds = [
        e["seconds"] for e in json.loads((tmp_path / "out" / MANIFEST).read_text())["pieces"]
    ]
    assert seconds == [1.2, 2.5]


def test_a_folder_without_music_is_named(tmp_path) -> None:
    with pytest.raises(ValueError, match="0 readable audio files"):
        pack(tmp_path, tmp_path / "out", 44100)


def test_silence_is_omitted_and_all_silence_is_an_error(tmp_path) -> None:
    music, logged = tmp_path / "music", []
    music.mkdir()
    for name, peak in (("a silent.wav", 0.0), ("b hiss.wav", 9e-5), ("c.w64", 2e-4)):
        sound = peak * np.sign(np.sin(np.arange(8000)))
        soundfile.write(
            music / name, sound, 8000, "FLOAT", format=name[2:] == "w64" and "W64" or None
        )
    pack(music, tmp_path / "out", 8000, log=logged.append)
    assert [name for name, _ in Pack.load(tmp_path / "out", "train").pieces] == ["c.w64"]
    assert [line.partition(" is silent")[0] for line in logged[:2]] == [
        "left out: a silent.wav",
        "left out: b hiss.wav",
    ]
    (music / "c.w64").unlink()
    with pytest.raises(ValueError, match="0 readable audio files that are not silent; need 1"):
        pack(music, tmp_path / "none", 8000)


@pytest.mark.parametrize("damage", [b"", b"hello", None])
def test_a_damaged_pack_is_named_with_what_to_do(many, tmp_path, damage) -> None:
    pack(many, tmp_path, 8000)
    for name, advice in (("00001.npy", "delete .* that wrote it"), (MANIFEST, "delete it and run")):
        before = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(before[:100] if damage is None else damage)
        with pytest.raises(ValueError, match=f"{name} is damaged.*{advice}"):
            Pack.load(tmp_path, "train")
    (tmp_path / MANIFEST).write_text('{"pieces": [{"name": "a"}]}')
    with pytest.raises(ValueError, match="manifest.json is damaged"):
        Pack.load(tmp_path, "train")


def test_a_full_disk_leaves_no_half_piece(tmp_path, monkeypatch) -> None:
    def full(stream, samples) -> None:
        stream.write(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match="a.npy cannot be written: no space left"):
        store(chord(0.1)[0], tmp_path / "a.npy")
    assert not list(tmp_path.iterdir())
