"""MP3 files whose length is not what their header says, or that have no such header."""

from __future__ import annotations

import pytest
import soundfile
import torch
from conftest import noise

from vampnet import audio
from vampnet.audio import AudioError, mpeg


def mp3_bytes(path, rate: int, mode: str, sound: torch.Tensor) -> tuple[bytes, bytes]:
    """The first frame of an MP3 file, which holds its length, and the others."""
    subtype = "MPEG_LAYER_III"
    soundfile.write(path, sound.T.numpy(), rate, subtype, None, "MP3", True, 0.5, mode)
    raw = path.read_bytes()
    size, _ = mpeg._frame(raw[:4])
    return raw[:size], raw[size:]


RISING = torch.cat([1e-3 * noise(2, 44100, 2), 0.5 * noise(2, 44100, 2)], 1)


@pytest.mark.parametrize("rate", [8000, 22050, 44100])
@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_an_mp3_that_is_cut_off_is_told(tmp_path, rate, mode, capfd):
    head, rest = mp3_bytes(tmp_path / "x", rate, mode, RISING)
    for part in (0.95, 0.5, 0.1):
        (tmp_path / "x").write_bytes(head + rest[: int(part * len(rest))])
        with pytest.raises(AudioError, match="cut off"):
            audio.read(tmp_path / "x")
    assert not capfd.readouterr().err  # what the decoder would tell
    (tmp_path / "x").write_bytes(head + rest[:-10])  # a part of the last frame is no loss
    assert audio.read(tmp_path / "x").samples.shape[1] > RISING.shape[1] - 2 * mpeg.FRAME


@pytest.mark.parametrize("rate", [8000, 22050, 44100])
@pytest.mark.parametrize("tag", [b"", b"ID3\4\0\0\0\0\1\x7f" + bytes(255)])
@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_an_mp3_without_its_length_loses_no_sound(tmp_path, rate, tag, mode):
    _, frames = mp3_bytes(tmp_path / "x", rate, mode, RISING)
    (tmp_path / "x").write_bytes(tag + frames)
    if mode == "CONSTANT":
        assert audio.read(tmp_path / "x").samples.shape[1] >= RISING.shape[1]
    else:
        with pytest.raises(AudioError, match="save it anew"):
            audio.read(tmp_path / "x")
