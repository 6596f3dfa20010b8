"""Audio files: what is read is what was written, and what cannot be read says why in one line."""

from __future__ import annotations

import os

import numpy as np
import pytest
import soundfile
import torch
from conftest import noise, tone
from hypothesis import given, settings
from hypothesis import strategies as st
from sound_files import wav_bytes

from vampnet import audio
from vampnet.audio import Audio, AudioError, AudioFormat, Limits


@pytest.mark.parametrize("rate", [44100, 48000])
@pytest.mark.parametrize(("container", "subtype"), [("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS")])
@pytest.mark.parametrize("n_samples", [1, 4410, 100_001])
def test_lossy_files_keep_length_and_alignment(tmp_path, container, subtype, rate, n_samples):
    sound = audio.fit(noise(3, rate, 2) + tone(3, rate, 2), n_samples)
    audio.write(tmp_path / "x", Audio(sound, rate, AudioFormat(container, subtype)))
    back = audio.read(tmp_path / "x")
    assert back.samples.shape == sound.shape and back.sample_rate == rate
    if n_samples > 10_000:
        spectrum = np.fft.rfft(back.samples[0].numpy()) * np.conj(np.fft.rfft(sound[0].numpy()))
        assert int(np.argmax(np.fft.irfft(spectrum))) == 0


@given(
    n_samples=st.integers(1, 3000),
    channels=st.integers(1, 8),
    rate=st.integers(8000, 192000),
    to=st.sampled_from([8000, 44100, 48000, 192000]),
)
@settings(max_examples=40, deadline=None)
def test_resample_gives_the_length_asked_for(n_samples, channels, rate, to):
    sound = noise(1, 3000, 1)[:, :n_samples].repeat(channels, 1)
    out = audio.resample(sound, rate, to)
    assert out.shape == (channels, -(-n_samples * to // rate)) and torch.isfinite(out).all()
    assert all(torch.equal(row, out[0]) for row in out)
    assert audio.resample(out, to, rate, n_samples).shape == sound.shape


@pytest.mark.parametrize("rate", [8000, 22050, 48000, 96000, 192000])
def test_resample_is_aligned_and_clean(rate):
    sound = tone(0.5, rate, 2)
    back = audio.resample(audio.resample(sound, rate, 44100), 44100, rate, sound.shape[1])
    inner = slice(rate // 50, -rate // 50)
    assert (back - sound)[:, inner].abs().max() < 1e-4
    straight = tone(0.5, 44100, 2)
    moved = audio.resample(sound, rate, 44100, straight.shape[1])
    assert (moved - straight)[:, 882:-882].abs().max() < 1e-4


def make_bad_files(folder) -> dict[str, tuple[bytes | None, str]]:
    sound = np.zeros((100, 1), np.float32)
    soundfile.write(folder / "none.wav", sound[:0], 44100)
    soundfile.write(folder / "fast.wav", sound, 384000)
    soundfile.write(folder / "slow.wav", sound, 4000)
    soundfile.write(folder / "nine.wav", np.zeros((10, 9)), 44100)
    soundfile.write(folder / "long.flac", np.zeros((60 * 8000, 1)), 8000)
    for name, value in (("nan.wav", np.nan), ("inf.wav", np.inf)):
        sound[5] = value
        soundfile.write(folder / name, sound, 44100, subtype="FLOAT")
    soundfile.write(folder / "whole.flac", noise(1).T.numpy(), 44100)
    whole = (folder / "whole.flac").read_bytes()
    return {
        "empty.wav": (b"", "empty"),
        "text.wav": (b"these are words\n" * 50, "not audio"),
        "text.mp3": (b"these are words\n" * 50, "not audio"),
        "text.raw": (b"these are words\n" * 50, "not audio"),
        "pdf": (b"%PDF-1.7\n" + bytes(range(256)) * 10, "not audio"),
        "cut.wav": (wav_bytes(samples=500)[:600], "cut off"),
        "header.wav": (wav_bytes()[:36], "cut off"),
        "cut.flac": (whole[: len(whole) // 2], "cut off|damaged"),
        "channels.wav": (wav_bytes(channels=0), "0 channels"),
        "none.wav": (None, "0 samples"),
        "fast.wav": (None, "384000 Hz.*192000 Hz"),
        "slow.wav": (None, "4000 Hz.*8000"),
        "nine.wav": (None, "9 channels.*8"),
        "long.flac": (None, r"60\.0 s long; 30 s"),
        "nan.wav": (None, "NaN"),
        "inf.wav": (None, "NaN or infinite"),
        "missing.wav": (None, "does not exist"),
        "a\0b.wav": (None, "cannot be opened"),
        "n" * 300: (None, "cannot be opened"),
        "folder.wav": (None, "folder"),
    }


def test_bad_files_are_refused_in_one_clear_sentence(tmp_path):
    (tmp_path / "folder.wav").mkdir()
    for name, (content, reason) in make_bad_files(tmp_path).items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(AudioError, match=reason) as caught:
            audio.read(tmp_path / name, Limits(max_duration_s=30))
        text = str(caught.value)
        assert "\n" not in text and str(tmp_path) not in text and len(text) < 250, text
        assert name[:3] in text.replace("?", "\0")


def test_limits_are_checked_before_decoding(tmp_path):
    path = tmp_path / "bomb.flac"
    soundfile.write(path, np.zeros((8 * 44100, 8), np.int16), 44100)
    with pytest.raises(AudioError, match=r"10\.8 MiB; 4 MiB"):
        audio.probe(path, Limits(max_decoded_mib=4))


@pytest.mark.parametrize("frames", [1, 4095, 4096, 4097, 50_000])
def test_a_flac_that_does_not_say_its_length_is_read_to_its_end(tmp_path, frames):
    path = tmp_path / "pipe.flac"
    soundfile.write(path, noise(2).T.numpy()[:frames], 44100)
    whole = path.read_bytes()
    lie = bytearray(whole)
    lie[21:26] = bytes([lie[21] & 0xF0, 0, 0, 0, 0])  # "length unknown"
    path.write_bytes(lie)
    assert audio.read(path).samples.shape[1] == frames
    path.write_bytes(lie[:-1])
    with pytest.raises(AudioError, match="does not say how long"):
        audio.read(path)


@pytest.mark.parametrize(
    "name", ["loop", "LOOP.WAV", "mein Löop #3.wav", "loop.mp3", "loop.raw", "-x"]
)
def test_content_counts_not_the_name(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(wav_bytes(samples=50))
    assert audio.probe(path).format.container == "WAV"
    assert audio.read(os.fspath(path)).samples.shape == (1, 50)


def test_a_part_of_a_file(tmp_path):
    path = tmp_path / "x.flac"
    audio.write(path, Audio(noise(0.1, 44100, 2), 44100))
    whole = audio.read(path).samples
    assert torch.equal(audio.read(path, start=1000, frames=500).samples, whole[:, 1000:1500])
    assert torch.equal(audio.read(path, start=4000, frames=10**9).samples, whole[:, 4000:])
    with pytest.raises(AudioError, match="no frame"):
        audio.read(path, start=4410)


def test_what_cannot_be_written_leaves_nothing(tmp_path):
    sound = Audio(tone(0.1, 96000, 3), 96000)
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "old.mp3").write_bytes(b"old")
    (tmp_path / "file").write_bytes(b"")
    for name, reason in {
        "folder.wav": "is a folder",
        "nowhere/x.wav": "does not exist",
        "file/x.wav": "does not exist",
        "old.mp3": "MP3 cannot hold 3 channels at 96000 Hz",
        "n" * 300: "cannot write",
        "a\0b": "cannot write",
    }.items():
        with pytest.raises(AudioError, match=reason):
            audio.write(tmp_path / name, sound)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.wav", "old.mp3"]
    assert (tmp_path / "old.mp3").read_bytes() == b"old"


def test_writing_replaces_a_file_and_follows_a_link(tmp_path):
    (tmp_path / "real.wav").write_bytes(b"old")
    try:
        (tmp_path / "link.wav").symlink_to(tmp_path / "real.wav")
    except OSError:
        pytest.skip("no symbolic links here")
    audio.write(tmp_path / "link.wav", Audio(tone(0.1), 44100))
    assert (tmp_path / "link.wav").is_symlink()
    assert audio.probe(tmp_path / "real.wav").frames == 4410


@pytest.mark.parametrize(
    ("container", "subtype"),
    [("WAV", "IMA_ADPCM"), ("WAV", "MS_ADPCM"), ("AIFF", "IMA_ADPCM"), ("WAV", "GSM610")],
)
def test_a_codec_of_whole_blocks_does_not_change_the_length(tmp_path, container, subtype):
    sound = noise(0.1, 44100, 1)[:, :1003]
    audio.write(tmp_path / "x", Audio(sound, 44100, AudioFormat(container, subtype)))
    back = audio.read(tmp_path / "x")
    assert back.samples.shape == sound.shape and (back.samples - sound).abs().max() < 2**-15
    assert back.format == AudioFormat(container, "PCM_16")


def test_whole_blocks_stay_as_they_were_coded(tmp_path):
    sound = audio.fit(noise(1, 44100, 1), 100 * 320)
    audio.write(tmp_path / "x", Audio(sound, 44100, AudioFormat("WAV", "GSM610")))
    found = audio.probe(tmp_path / "x")
    assert (found.frames, found.format.subtype) == (100 * 320, "GSM610")


@pytest.mark.skipif(os.name != "posix", reason="names are text here")
def test_folders_whose_names_are_not_utf8(tmp_path):
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/lat\xefn")
    try:
        os.mkdir(folder)
    except OSError:
        pytest.skip("no such names here")
    for suffix in ("wav", "flac", "mp3"):
        audio.write(f"{folder}/x.{suffix}", Audio(tone(0.1), 44100))
        assert audio.probe(f"{folder}/x.{suffix}").frames == 4410
