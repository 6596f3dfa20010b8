"""The chunks of a file: what a DAW needs back survives, and no header, however wrong, does harm."""

from __future__ import annotations

import struct
import time

import numpy as np
import pytest
import soundfile
import torch
from conftest import noise, tone
from sound_files import wav_bytes

from vampnet import audio
from vampnet.audio import Audio, AudioError, AudioFormat, chunks


@pytest.mark.parametrize("container", ["WAV", "WAVEX", "RF64"])
@pytest.mark.parametrize("subtype", ["PCM_24", "FLOAT"])
def test_loop_and_tempo_chunks_survive_verbatim(tmp_path, container, subtype):
    kept = (
        (b"acid", bytes(range(24))),
        (b"smpl", b"\1" * 60),
        (b"cue ", b"\2" * 27),  # an odd length, to be padded
        (b"LIST", b"adtlnote"),
        (b"bext", b"\3" * 602),
        (b"inst", b"\4" * 7),
        (b"strc", b"\5" * 28),
        (b"iXML", b"<BWFXML/>"),
    )
    path = tmp_path / "x.wav"
    sound = Audio(
        noise(0.01, 44100, 1)[:, :333], 44100, AudioFormat(container, subtype, "FILE", kept)
    )
    audio.write(path, sound)
    back = audio.read(path)
    assert back.format == sound.format
    assert torch.allclose(back.samples, sound.samples, atol=1e-6)
    raw = path.read_bytes()
    if container != "RF64":
        assert struct.unpack("<I", raw[4:8])[0] == len(raw) - 8
    else:
        assert struct.unpack("<Q", raw[20:28])[0] == len(raw) - 8


def test_markers_of_an_aiff_file_survive(tmp_path):
    marks = ((b"MARK", b"\0\1\0\1\0\0\0\5\3one"), (b"basc", b"\1" * 84))
    notes = ((b"COMT", b"\0\1\0\0\0\0\0\0\0\2hi"), (b"APPL", b"stoc\7"), (b"APPL", b"abcd"))
    form = AudioFormat("AIFF", "PCM_24", "FILE", marks + notes)
    audio.write(tmp_path / "x.aif", Audio(noise(0.01, 44100, 2), 44100, form))
    assert audio.read(tmp_path / "x.aif").format == form


def test_the_walk_survives_any_header(tmp_path):
    rng = np.random.default_rng(0)
    whole = wav_bytes()
    for _ in range(300):
        bad = bytearray(whole[: rng.integers(1, len(whole))])
        for place in rng.integers(0, len(bad), 3):
            bad[place] = rng.integers(256)
        path = tmp_path / "bad.wav"
        path.write_bytes(bad)
        try:
            audio.read(path)
        except AudioError as error:
            assert "\n" not in str(error)


def test_the_walk_survives_any_size_of_64_bits(tmp_path):
    path = tmp_path / "x.wav"
    for size in (129, 2**40, 2**62 + 1, 2**63 - 1, 2**64 - 1):
        sizes = b"ds64" + struct.pack("<IQQQI", 28, size, size, 0, 0)
        path.write_bytes(b"RF64" + b"\xff" * 4 + b"WAVE" + sizes + wav_bytes()[12:])
        with pytest.raises(AudioError, match=f"cut off: {size - 128} bytes"):
            audio.read(path)


def test_sizes_left_open_by_a_recorder_are_read_to_the_end(tmp_path):
    path = tmp_path / "pipe.wav"
    path.write_bytes(wav_bytes(samples=200, data_size=0xFFFFFFFF))
    assert audio.read(path).samples.shape[1] == 200


@pytest.mark.parametrize(
    ("container", "endian"), [("W64", "FILE"), ("AU", "BIG"), ("AU", "LITTLE")]
)
def test_a_w64_or_au_file_that_is_cut_off_is_told(tmp_path, container, endian):
    path = tmp_path / "x"
    audio.write(path, Audio(noise(0.01), 44100, AudioFormat(container, "PCM_16", endian)))
    assert audio.read(path).samples.shape == (1, 441)
    whole = path.read_bytes()
    for lost in (1, 2, 441, len(whole) - 60):
        path.write_bytes(whole[:-lost])
        with pytest.raises(AudioError, match="cut off"):
            audio.read(path)
    open_ended = bytearray(whole)  # as a recorder leaves it that writes to a pipe
    place = 8 if container == "AU" else whole.index(b"data") + 16
    width = 4 if container == "AU" else 8
    open_ended[place : place + width] = b"\xff" * width
    path.write_bytes(open_ended)
    assert audio.read(path).samples.shape == (1, 441)


@pytest.mark.parametrize("width", [1, 2, 3, 4, 6, 12, 24])
@pytest.mark.parametrize("mark", [0x7FFFF000, 0xFFFFFFFF])
def test_an_open_size_may_be_rounded_to_whole_frames(tmp_path, width, mark):
    channels, bits = (width, 8) if width < 3 else (width // 3, 24) if width % 3 == 0 else (2, 16)
    path = tmp_path / "pipe.wav"
    size = mark // width * width
    path.write_bytes(wav_bytes(channels, bits=bits, samples=96, data_size=size))
    frames = 96 * channels * 2 // width
    assert audio.read(path).samples.shape == (channels, frames)


def with_chunks(behind: bytes, before: bytes = b"") -> bytes:
    """A wav file with these bytes before and behind its sound."""
    whole = wav_bytes()
    body = whole[8:36] + before + whole[36:] + behind
    return b"RIFF" + struct.pack("<I", len(body)) + body


def test_what_floods_a_file_with_chunks_costs_nothing(tmp_path):
    empty, big = b"LIST\0\0\0\0", b"LIST" + struct.pack("<I", 3 << 20) + bytes(3 << 20)
    for behind in (empty * 500_000, big * 20):
        (tmp_path / "x.wav").write_bytes(with_chunks(behind))
        start = time.monotonic()
        sound = audio.read(tmp_path / "x.wav")
        audio.write(tmp_path / "y.wav", sound)
        assert time.monotonic() - start < 2  # without the limits: 3 s to read, 6 to write
        kept = sound.format.chunks if sound.format else ()
        assert 0 < len(kept) <= chunks.MAX_CHUNKS
        assert sum(len(content) for _, content in kept) <= chunks.MAX_KEPT_BYTES
    (tmp_path / "x.wav").write_bytes(with_chunks(b"", empty * 5000))
    assert audio.read(tmp_path / "x.wav").samples.shape == (1, 64)


def test_chunks_behind_a_forgotten_pad_byte_are_kept(tmp_path):
    sound = b"data" + struct.pack("<I", 5) + bytes(5)
    header = struct.pack("<HHIIHH", 1, 1, 44100, 44100, 1, 8)
    loops = (b"smpl", bytes(range(60))), (b"acid", bytes(range(24)))
    body = b"WAVEfmt " + struct.pack("<I", 16) + header + sound
    for name, content in loops:
        body += name + struct.pack("<I", len(content)) + content
    (tmp_path / "x.wav").write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    assert audio.probe(tmp_path / "x.wav").format.chunks == loops


@pytest.mark.parametrize("subtype", ["PCM_S8", "PCM_U8", "ULAW", "ALAW"])
@pytest.mark.parametrize("n_samples", [1, 2, 1001])
@pytest.mark.parametrize("channels", [1, 3])
def test_aiff_of_one_byte_keeps_its_length(tmp_path, subtype, n_samples, channels):
    form = AudioFormat("AIFF", subtype, "FILE", ((b"basc", b"\1" * 84),))
    audio.write(tmp_path / "x", Audio(noise(1, 8000, channels)[:, :n_samples], 8000, form))
    back = audio.read(tmp_path / "x")
    assert back.samples.shape == (channels, n_samples) and back.format == form
    raw = (tmp_path / "x").read_bytes()
    size, at = struct.unpack(">I", raw[4:8])[0], raw.index(b"SSND")
    assert size == len(raw) - 8 and len(raw) % 2 == 0
    assert struct.unpack(">I", raw[at + 4 : at + 8])[0] == 8 + n_samples * channels


@pytest.mark.parametrize("container", ["WAVEX", "RF64"])
@pytest.mark.parametrize(
    ("channels", "mask", "valid_bits"),
    [(8, 0x63F, 24), (6, 0x60F, 24), (4, 0x107, 20), (2, 3, 20), (1, 4, 24), (3, 0, 24)],
)
def test_speakers_and_valid_bits_stay(tmp_path, container, channels, mask, valid_bits):
    sound = noise(0.01, 44100, channels)
    audio.write(tmp_path / "x", Audio(sound, 44100, AudioFormat(container, "PCM_24")))
    raw = bytearray((tmp_path / "x").read_bytes())
    at = raw.index(b"fmt ") + 8
    own = struct.pack("<HI", valid_bits, mask)
    raw[at + 18 : at + 24] = own
    (tmp_path / "x").write_bytes(raw)
    back = audio.read(tmp_path / "x")
    audio.write(tmp_path / "y", back)
    assert (tmp_path / "y").read_bytes() == raw
    fewer = Audio(sound.repeat(2, 1), 44100, back.format)  # the mask says nothing about these
    audio.write(tmp_path / "z", fewer)
    assert (tmp_path / "z").read_bytes()[at + 18 : at + 24] != own


@pytest.mark.parametrize("container", ["WAV", "AIFF"])
def test_no_file_tells_when_it_was_made(tmp_path, container):
    sound = Audio(tone(0.1), 44100, AudioFormat(container, "FLOAT"))
    audio.write(tmp_path / "x", sound)
    audio.write(tmp_path / "y", sound)
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()
    assert b"PEAK" not in (tmp_path / "x").read_bytes()  # libsndfile's, with the time


@pytest.mark.parametrize("container", ["WAV", "WAVEX", "RF64", "AIFF"])
@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_S8", "PCM_16", "PCM_24", "PCM_32", "FLOAT"])
@pytest.mark.parametrize(("channels", "n_samples"), [(1, 1), (1, 333), (2, 100), (8, 17)])
def test_others_read_what_is_written(tmp_path, container, subtype, channels, n_samples):
    if not soundfile.check_format(container, subtype):
        return
    sound = audio.fit(noise(0.01, 44100, channels), n_samples)
    audio.write(tmp_path / "x", Audio(sound, 44100, AudioFormat(container, subtype)))
    with open(tmp_path / "x", "rb") as file:
        found, rate = soundfile.read(file, dtype="float32", always_2d=True)
    assert rate == 44100 and found.shape == (n_samples, channels)
    assert np.array_equal(found.T, audio.read(tmp_path / "x").samples.numpy())
