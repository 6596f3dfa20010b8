"""Samples as files store them: bit for bit in their own format, and in the one a name asks for."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch
from conftest import noise, tone

from vampnet import audio
from vampnet.audio import Audio, AudioError, AudioFormat

LOSSLESS = [
    ("WAV", "PCM_16"),
    ("WAV", "PCM_24"),
    ("WAV", "PCM_32"),
    ("WAV", "PCM_U8"),
    ("WAV", "FLOAT"),
    ("WAV", "DOUBLE"),
    ("WAVEX", "PCM_24"),
    ("RF64", "PCM_24"),
    ("AIFF", "PCM_16"),
    ("AIFF", "PCM_24"),
    ("AIFF", "FLOAT"),
    ("FLAC", "PCM_16"),
    ("FLAC", "PCM_24"),
]


@pytest.mark.parametrize(("container", "subtype"), LOSSLESS)
def test_native_samples_survive_bit_for_bit(tmp_path, container, subtype):
    rng = np.random.default_rng(1)
    if subtype == "FLOAT":
        native = rng.standard_normal((501, 2)).astype(np.float32)
    elif subtype == "DOUBLE":
        native = rng.standard_normal((501, 2))
    else:
        native = audio.float_to_native(torch.from_numpy(rng.uniform(-1, 1, (2, 501))), subtype)
    form = AudioFormat(container, subtype)
    audio.write_native(tmp_path / "x", native, 48000, form)
    back, rate, found = audio.read_native(tmp_path / "x")
    assert (rate, found) == (48000, form) and form.lossless
    assert back.dtype == native.dtype and np.array_equal(back, native)
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize(("container", "subtype"), LOSSLESS)
def test_float_round_trip_is_exact_after_the_first(tmp_path, container, subtype):
    form = AudioFormat(container, subtype)
    audio.write(tmp_path / "a", Audio(noise(0.05, 44100, 2), 44100, form))
    first = audio.read(tmp_path / "a")
    audio.write(tmp_path / "b", first)
    assert torch.equal(first.samples, audio.read(tmp_path / "b").samples)


def test_integers_reach_full_scale_and_no_further():
    native = audio.float_to_native(torch.tensor([[1.5, 1.0, -1.0, -2.0, 0.0]]), "PCM_16")
    assert (native[:, 0] >> 16).tolist() == [32767, 32767, -32768, -32768, 0]


@pytest.mark.parametrize(("subtype", "value"), [("FLOAT", 3e38), ("DOUBLE", -1e39), ("FLOAT", 2e6)])
def test_what_is_louder_than_any_sound_is_refused(tmp_path, subtype, value):
    sound = np.zeros((100, 2))
    sound[50, 1] = value
    soundfile.write(tmp_path / "x.wav", sound, 8000, subtype=subtype)
    with pytest.raises(AudioError, match=r"times full scale \(1 of 100, first at 0\.006 s\)"):
        audio.read(tmp_path / "x.wav")
    sound[50, 1] = 1000.0
    soundfile.write(tmp_path / "x.wav", sound, 8000, subtype=subtype)
    assert audio.read(tmp_path / "x.wav").samples.max() == 1000


def test_a_little_endian_aiff_of_24_bits_gets_a_type_that_all_know(tmp_path):
    for subtype, kind in (("PCM_24", b"AIFF"), ("PCM_32", b"AIFF"), ("PCM_16", b"AIFC")):
        form = AudioFormat("AIFF", subtype, "LITTLE")
        audio.write(tmp_path / "x", Audio(tone(0.1), 44100, form))
        raw = (tmp_path / "x").read_bytes()
        assert raw[8:12] == kind and (b"sowt" in raw) == (subtype == "PCM_16")


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("x.wav", AudioFormat("FLAC", "PCM_24"), ("WAV", "PCM_24")),
        ("x.WAV", AudioFormat("WAVEX", "FLOAT"), ("WAVEX", "FLOAT")),
        ("x.flac", AudioFormat("WAV", "FLOAT"), ("FLAC", "PCM_24")),
        ("x.aiff", AudioFormat("WAV", "FLOAT"), ("AIFF", "FLOAT")),
        ("x.ogg", AudioFormat("WAV", "PCM_16"), ("OGG", "VORBIS")),
        ("x.mp3", AudioFormat("WAV", "PCM_16"), ("MP3", "MPEG_LAYER_III")),
        ("x.wav", AudioFormat("MP3", "MPEG_LAYER_III"), ("WAV", "PCM_24")),
        ("x", AudioFormat("AIFF", "PCM_16"), ("AIFF", "PCM_16")),
        ("x.wav", None, ("WAV", "PCM_24")),
        ("x.flac", None, ("FLAC", "PCM_24")),
        ("x", None, ("WAV", "PCM_24")),
    ],
)
def test_the_name_may_ask_for_another_container(tmp_path, name, before, after):
    audio.write(tmp_path / name, Audio(tone(0.1), 44100, before))
    found = audio.probe(tmp_path / name)
    assert (found.format.container, found.format.subtype, found.frames) == (*after, 4410)
