"""Audio files: what is read is what was written, and what cannot be read says why in one line."""

from __future__ import annotations

import errno
import os
import struct
import time
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from conftest import noise, tone
from hypothesis import given, settings
from hypothesis import strategies as st

from vampnet import audio, chunks, mpeg
from vampnet.audio import Audio, AudioError, AudioFormat, Limits

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


def wav_bytes(channels=1, rate=44100, samples=64, bits=16, data_size=None) -> bytes:
    """A wav file by hand, so that its header can lie."""
    data = b"\1\0" * samples * max(channels, 1)
    size = len(data) if data_size is None else data_size
    width = channels * bits // 8
    header = struct.pack("<HHIIHH", 1, channels, rate, rate * width, width, bits)
    body = b"WAVEfmt " + struct.pack("<I", 16) + header + b"data" + struct.pack("<I", size) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


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
    assert (rate, replace(found, extensible=b"")) == (48000, form) and form.lossless
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


@pytest.mark.parametrize("rate", [8000, 11025, 44100, 96000])
@pytest.mark.parametrize("seconds", [0.4, 0.77, 7.3])
def test_loudness_is_that_of_the_standard(rate, seconds):
    pyloudnorm = pytest.importorskip("pyloudnorm")
    sound = noise(seconds, rate, 2) * torch.linspace(0, 1, round(seconds * rate)) ** 2
    expected = pyloudnorm.Meter(rate).integrated_loudness(sound.T.double().numpy())
    assert audio.loudness_lufs(sound, rate) == pytest.approx(expected, abs=1e-3)


def test_loudness_of_the_reference_tone_and_of_little():
    assert audio.loudness_lufs(tone(2, 48000, 1, 997, 1.0), 48000) == pytest.approx(-3.01, abs=0.05)
    assert audio.loudness_lufs(tone(0.1, 48000, 1, 997, 1.0), 48000) == pytest.approx(-3.7, abs=0.1)
    assert audio.loudness_lufs(torch.zeros(2, 48000), 48000) == -np.inf
    assert audio.loudness_lufs(torch.zeros(2, 0), 48000) == -np.inf
    assert -110 < audio.loudness_lufs(noise(1, 48000, 1, 1e-5), 48000) < -90


@pytest.mark.parametrize("gain", [1e-4, 0.01, 1.0, 20.0])
def test_normalize_reaches_the_target_with_one_gain(gain):
    sound = gain * torch.cat([noise(1, 44100, 1), 0.3 * noise(1, 44100, 1, seed=2)])
    out, used = audio.normalize(sound, 44100)
    assert audio.loudness_lufs(out, 44100) == pytest.approx(-24, abs=0.05)
    assert torch.allclose(out, sound * used) and out.abs().max() <= 1


def test_normalize_keeps_peaks_and_silence():
    click = torch.zeros(1, 44100)
    click[0, 100] = 0.5
    assert audio.normalize(click, 44100)[0].abs().max() == pytest.approx(1.0)
    silence = torch.zeros(2, 44100)
    assert audio.normalize(silence, 44100)[1] == 1.0
    assert torch.equal(audio.normalize(silence, 44100)[0], silence)


def test_golden_preprocessing_is_at_the_target(golden):
    out = torch.from_numpy(np.load(golden / "preprocess.npz")["out"][0])
    assert audio.loudness_lufs(out[:, :26460], 44100) == pytest.approx(-24.0, abs=1e-3)


def test_golden_preprocessing_is_ours_below_the_resamplers_edge(golden):
    data = np.load(golden / "preprocess.npz")
    raw = torch.from_numpy(data["audio_int16"].astype(np.float32) / 32768)
    mono = audio.resample(raw, int(data["sample_rate"]), 44100).mean(0, keepdim=True)
    ours = audio.normalize(mono, 44100)[0][0]
    theirs = torch.from_numpy(data["out"][0, 0, : len(ours)])
    # the original's resampler rolls off from 18 kHz on; ours keeps the octave's top
    window = torch.hann_window(len(ours))
    below = slice(0, int(18_000 * len(ours) / 44100))
    error = torch.fft.rfft((ours - theirs) * window)[below].norm()
    assert float(error / torch.fft.rfft(theirs * window)[below].norm()) < 1.5e-3


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
    assert back.format and replace(back.format, extensible=b"") == sound.format
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
        with open(path, "rb") as file:
            chunks.walk(file, len(bad))
        try:
            audio.read(path)
        except AudioError as error:
            assert "\n" not in str(error)


def test_the_walk_survives_any_size_of_64_bits(tmp_path):
    path = tmp_path / "x.wav"
    for size in (129, 2**40, 2**62 + 1, 2**63 - 1, 2**64 - 1):
        sizes = b"ds64" + struct.pack("<IQQQI", 28, size, size, 0, 0)
        path.write_bytes(b"RF64" + b"\xff" * 4 + b"WAVE" + sizes + wav_bytes()[12:])
        with open(path, "rb") as file:
            missing = chunks.walk(file, path.stat().st_size).missing_bytes
        assert missing == size - 128
        with pytest.raises(AudioError, match="cut off"):
            audio.read(path)


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
    lie = bytearray(path.read_bytes())
    lie[21:26] = bytes([lie[21] & 0xF0, 0, 0, 0, 0])  # "length unknown"
    path.write_bytes(lie)
    with pytest.raises(AudioError, match="does not say how long"):
        audio.read(path)


def test_sizes_left_open_by_a_recorder_are_read_to_the_end(tmp_path):
    path = tmp_path / "pipe.wav"
    path.write_bytes(wav_bytes(samples=200, data_size=0xFFFFFFFF))
    assert audio.read(path).samples.shape[1] == 200


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
def test_an_mp3_that_is_cut_off_is_told(tmp_path, rate, mode):
    head, rest = mp3_bytes(tmp_path / "x", rate, mode, RISING)
    for part in (0.95, 0.5, 0.1):
        (tmp_path / "x").write_bytes(head + rest[: int(part * len(rest))])
        with pytest.raises(AudioError, match="cut off"):
            audio.read(tmp_path / "x")
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


def test_a_little_endian_aiff_of_24_bits_gets_a_type_that_all_know(tmp_path):
    for subtype, kind in (("PCM_24", b"AIFF"), ("PCM_32", b"AIFF"), ("PCM_16", b"AIFC")):
        form = AudioFormat("AIFF", subtype, "LITTLE")
        audio.write(tmp_path / "x", Audio(tone(0.1), 44100, form))
        raw = (tmp_path / "x").read_bytes()
        assert raw[8:12] == kind and (b"sowt" in raw) == (subtype == "PCM_16")


@pytest.mark.parametrize("container", ["WAV", "AIFF"])
def test_no_file_tells_when_it_was_made(tmp_path, container):
    audio.write(tmp_path / "x", Audio(tone(0.1), 44100, AudioFormat(container, "FLOAT")))
    raw = (tmp_path / "x").read_bytes()
    at = raw.index(b"PEAK") + 8
    assert raw[at + 4 : at + 8] == bytes(4)


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


@contextmanager
def full_disk(n_bytes: int):
    """No file may grow beyond so many bytes."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("container", "subtype"),
    [
        ("WAV", "PCM_16"),
        ("RF64", "FLOAT"),
        ("AIFF", "PCM_24"),
        ("FLAC", "PCM_24"),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
        ("MP3", "MPEG_LAYER_III"),
    ],
)
def test_a_full_disk_is_told_and_leaves_the_old_file(tmp_path, container, subtype):
    path, form = tmp_path / "x", AudioFormat(container, subtype)
    audio.write(path, Audio(noise(0.5, 48000, 2), 48000, form))
    size = path.stat().st_size
    path.write_bytes(b"old")
    for room in (1, 50, size // 2, size - 500, size - 1):
        with full_disk(room), pytest.raises(AudioError, match=os.strerror(errno.EFBIG)):
            audio.write(path, Audio(noise(0.5, 48000, 2), 48000, form))
        assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["x"]


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


@pytest.mark.skipif(os.name != "posix", reason="files have no modes here")
def test_a_file_that_is_replaced_keeps_its_mode(tmp_path):
    (tmp_path / "x.wav").write_bytes(b"old")
    (tmp_path / "x.wav").chmod(0o640)
    audio.write(tmp_path / "x.wav", Audio(tone(0.1), 44100))
    assert (tmp_path / "x.wav").stat().st_mode & 0o777 == 0o640
