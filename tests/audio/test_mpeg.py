"""MP3 files: their length is that of their frames, mode and bit rate come back."""

from __future__ import annotations

import struct

import made_files
import numpy as np
import pytest
import soundfile
import torch
from conftest import noise, tone

from vampnet import audio
from vampnet.audio import Audio, AudioError, AudioFormat, Limits
from vampnet.audio.mpeg_frames import header

FRAME = 1152
RATES = [8000, 22050, 44100]
MODES = ["CONSTANT", "VARIABLE"]
RISING = torch.cat([1e-3 * noise(2, 44100, 2), 0.5 * noise(2, 44100, 2)], 1)


def frames_of(raw: bytes) -> list[bytes]:
    found, place = [], 0
    while (head := header(raw[place : place + 4])) is not None:
        found.append(raw[place : place + head.size])
        place += head.size
    return found


def mp3_bytes(path, rate: int, mode: str, sound=RISING, level: float = 0.5) -> tuple[bytes, bytes]:
    """The first frame of an MP3 file, which holds its length, and the others."""
    subtype = "MPEG_LAYER_III"
    soundfile.write(path, sound.T.numpy(), rate, subtype, None, "MP3", True, level, mode)
    first, *others = frames_of(path.read_bytes())
    return first, b"".join(others)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("mode", MODES)
def test_an_mp3_that_is_cut_off_is_refused(tmp_path, rate, mode, capfd):
    head, rest = mp3_bytes(tmp_path / "x", rate, mode)
    last = len(frames_of(rest)[-1])
    for lost in (len(rest) // 20, len(rest) // 2, last + 1, last, last - 1, 10, 1):
        (tmp_path / "x").write_bytes(head + rest[:-lost])
        with pytest.raises(AudioError, match="cut off"):
            audio.read(tmp_path / "x")
    assert not capfd.readouterr().err  # what the decoder would write there


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("tag", [b"", made_files.ID3, made_files.ID3 + bytes(300)])
@pytest.mark.parametrize("mode", MODES)
def test_an_mp3_without_its_length_is_read_whole(tmp_path, rate, tag, mode):
    head, frames = mp3_bytes(tmp_path / "x", rate, mode)
    whole = audio.read(tmp_path / "x").samples
    for number_of_frames in (None, 0, 7):
        own = bytearray(head)
        if number_of_frames is not None:
            place = head.find(b"Xing" if mode == "VARIABLE" else b"Info")
            own[place + 8 : place + 12] = struct.pack(">I", number_of_frames)
        (tmp_path / "x").write_bytes(tag + (frames if number_of_frames is None else own + frames))
        back = audio.read(tmp_path / "x").samples
        if number_of_frames is None:  # the encoder's delay is not known then
            assert back.shape[1] >= RISING.shape[1]
        else:
            assert torch.equal(back, whole)


def test_the_bytes_and_flags_of_a_length_header_may_be_wrong(tmp_path):
    head, frames = mp3_bytes(tmp_path / "x", 44100, "VARIABLE")
    place, n_frames = head.find(b"Xing") + 4, len(frames_of(frames))
    for flags in range(16):
        own = bytearray(head)
        own[place : place + 12] = struct.pack(">III", flags, 0 if flags & 4 else n_frames, 5)
        (tmp_path / "x").write_bytes(own + frames)
        assert audio.read(tmp_path / "x").samples.shape[1] >= RISING.shape[1], flags
    vbri = bytearray(len(head))
    vbri[:4], vbri[36:40] = head[:4], b"VBRI"
    (tmp_path / "x").write_bytes(vbri + frames)
    assert 0 <= audio.read(tmp_path / "x").samples.shape[1] - RISING.shape[1] < 3 * FRAME


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "between", [b"", made_files.ID3V1 + made_files.ID3, made_files.APE, bytes(500)]
)
def test_joined_mp3s_are_read_one_after_the_other(tmp_path, mode, between):
    sounds = [0.2 * noise(1, 44100, 2), tone(0.5, 44100, 2), noise(0.3, 44100, 2)]
    files = [b"".join(mp3_bytes(tmp_path / str(n), 44100, mode, s)) for n, s in enumerate(sounds)]
    (tmp_path / "x").write_bytes(made_files.ID3 + between.join(files) + made_files.ID3V1)
    back = audio.read(tmp_path / "x")
    assert torch.equal(
        back.samples, torch.cat([audio.read(tmp_path / n).samples for n in "012"], 1)
    )
    assert back.samples.shape[1] == round(1.8 * 44100)
    audio.write(tmp_path / "y", back)
    again = audio.read(tmp_path / "y")
    assert again.samples.shape == back.samples.shape
    assert (again.format.leading, again.format.trailing) == (made_files.ID3, made_files.ID3V1)


def test_joined_mp3s_of_different_kinds_are_refused(tmp_path):
    one = b"".join(mp3_bytes(tmp_path / "1", 44100, "CONSTANT"))
    for number, other in enumerate((noise(1, 48000, 2), noise(1, 44100, 1))):
        rate = 48000 if not number else 44100
        two = b"".join(mp3_bytes(tmp_path / "2", rate, "CONSTANT", other))
        (tmp_path / "x").write_bytes(one + two)
        with pytest.raises(AudioError, match="different kinds; export it as one"):
            audio.read(tmp_path / "x")


def test_limits_are_checked_while_frames_are_counted(tmp_path):
    _, frames = mp3_bytes(tmp_path / "x", 8000, "CONSTANT", noise(1, 8000), level=0.9)
    with open(tmp_path / "x", "wb") as file:
        for _ in range(40):
            file.write(frames * (2**20 // len(frames)))
    with pytest.raises(AudioError, match=r"is 6\d\d\.\d s long; 600 s"):  # of hours
        audio.probe(tmp_path / "x", Limits(max_duration_s=600))


KBITS = [(44100, kbits) for kbits in (32, 48, 64, 96, 128, 192, 256, 320)]
KBITS += [(22050, kbits) for kbits in (8, 24, 64, 128, 160)] + [(8000, 8), (8000, 40), (8000, 64)]


@pytest.mark.parametrize(("rate", "kbits"), KBITS)
@pytest.mark.parametrize("channels", [1, 2])
def test_a_constant_bit_rate_comes_back(tmp_path, rate, kbits, channels):
    sound = tone(0.7, rate, channels) + noise(0.7, rate, channels, 0.05)
    form = AudioFormat("MP3", "MPEG_LAYER_III", bit_rate=("CONSTANT", float(kbits)))
    audio.write(tmp_path / "x", Audio(sound, rate, form))
    back = audio.read(tmp_path / "x")
    assert back.samples.shape == sound.shape and back.format == form
    _, *others = frames_of((tmp_path / "x").read_bytes())
    assert {header(frame[:4]).kbits for frame in others} == {kbits}
    if kbits >= 32 * channels:
        spectrum = np.fft.rfft(back.samples[0].numpy()) * np.conj(np.fft.rfft(sound[0].numpy()))
        assert int(np.argmax(np.fft.irfft(spectrum))) == 0


@pytest.mark.parametrize("mode", ["VARIABLE", "AVERAGE"])
@pytest.mark.parametrize("kbits", [90, 130, 180, 230])
def test_a_variable_bit_rate_comes_back(tmp_path, mode, kbits):
    sound = 0.3 * tone(3, 44100, 2) + torch.cat([1e-3 * noise(1), 0.2 * noise(2)], 1)
    form = AudioFormat("MP3", "MPEG_LAYER_III", bit_rate=(mode, float(kbits)))
    audio.write(tmp_path / "x", Audio(sound, 44100, form))
    back = audio.read(tmp_path / "x")
    assert back.samples.shape == sound.shape
    assert back.format.bit_rate[0] == mode
    assert back.format.bit_rate[1] == pytest.approx(kbits, rel=0.1)
