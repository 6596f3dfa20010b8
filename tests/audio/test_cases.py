"""Files that users brought: each is read whole and given back with all it held, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from places import ROOT
from regions import MODEL_HZ

from vampnet import audio
from vampnet.audio import AudioError
from vampnet.audio.region import Region

CASES = ROOT / "tests" / "cases"
WHOLE = {  # frames, channels, rate
    "02b-inst7-unpadded.wav": (44100, 1, 44100),
    "10-sizes-zero.wav": (44100, 1, 44100),
    "13-bw64.wav": (48000, 1, 48000),
    "15-id3-loop.wav": (44100, 1, 44100),
    "28-list-adtl-pad4.wav": (44100, 1, 44100),
    "30-ambisonic.amb": (16320, 4, 48000),
    "31-size-44-too-many.wav": (44100, 1, 44100),
    "34-in24-little.aifc": (44100, 1, 44100),
    "36-logic.aif": (44100, 1, 44100),
    "38-flac-bpm-art.flac": (44100, 1, 44100),
    "41-chained.ogg": (52920, 1, 44100),
    "42-looptags.ogg": (44100, 1, 44100),
    "45-xing-0-frames.mp3": (88200, 2, 44100),
    "53-mp3-joined.mp3": (110250, 2, 44100),
    "57-mp3-320.mp3": (66150, 2, 44100),
    "62c-denormal.wav": (22050, 1, 44100),
    "90c-id3-before-form.aif": (44100, 1, 44100),
    "90d-id3-60k-before-riff.wav": (44100, 1, 44100),
    "98-spike-85dBFS.wav": (44100, 1, 44100),
}
# Where nothing has to be put right the file comes back byte for byte.
UNCHANGED = ["13", "15", "28", "30", "34", "36", "90c", "90d"]
REFUSED = {
    "49-mp3-in-wav.wav": "MP3 sound inside a wav file; export it",
    "90b-id3-before-riff-cut.wav": "cut off: 28284 bytes",
}


def path_of(number: str) -> Path:
    return next(CASES.glob(f"{number}-*"))


@pytest.mark.parametrize("name", WHOLE)
def test_it_is_read_whole_and_comes_back_as_it_was(tmp_path, name):
    region = Region.read(CASES / name)
    assert (*region.native.shape, region.sample_rate) == WHOLE[name]
    out = tmp_path / name
    region.write(out)
    back = Region.read(out)
    assert back.native.shape == region.native.shape
    if region.format.lossless:
        assert back.format == region.format and np.array_equal(back.native, region.native)
    audio_in, gain = region.to_model(MODEL_HZ)
    assert torch.isfinite(audio_in).all()
    varied = region.like(audio_in[:, 0], MODEL_HZ, [(0.1, 0.2)], gain=gain)
    varied.write(out)
    assert Region.read(out).native.shape == region.native.shape


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_before_the_work(name):
    with pytest.raises(AudioError, match=REFUSED[name]) as caught:
        Region.read(CASES / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", UNCHANGED)
def test_it_comes_back_byte_for_byte(tmp_path, number):
    source = path_of(number)
    Region.read(source).write(tmp_path / source.name)
    assert (tmp_path / source.name).read_bytes() == source.read_bytes()


def test_tags_and_pictures_stay():
    for number, marks in {
        "38": (b"BPM=120", b"LOOPSTART=10", b"INITIALKEY=Am", b"image/png"),
        "42": (b"TITLE=Loop", b"COMMENT=LOOPSTART=100", b"ARTIST=somebody"),
    }.items():
        form = audio.probe(path_of(number)).format
        source = path_of(number).read_bytes()
        kept = b"".join(content for _, content in form.chunks)
        assert all(mark in kept and mark in source for mark in marks), number


def test_little_endian_samples_are_no_noise():
    sound = audio.read(path_of("34")).samples
    assert sound.abs().max() == pytest.approx(0.5, abs=1e-3)
    assert sound.diff().abs().mean() < 0.02


def test_the_mode_and_rate_of_an_mp3_stay(tmp_path):
    for number, (mode, kbits) in {"57": ("CONSTANT", 320), "45": ("VARIABLE", 70)}.items():
        region = Region.read(path_of(number))
        assert region.format.bit_rate == (mode, pytest.approx(kbits, rel=0.02))
        region.write(tmp_path / "x.mp3")
        size = path_of(number).stat().st_size
        assert (tmp_path / "x.mp3").stat().st_size == pytest.approx(size, rel=0.05)
        assert audio.probe(tmp_path / "x.mp3").format.bit_rate[0] == mode
