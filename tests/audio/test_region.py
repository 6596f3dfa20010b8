"""The laws of a region in place: same shape, format and loudness; the rest of it untouched."""

from __future__ import annotations

import math
import sys
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from conftest import noise, tone
from hypothesis import given, settings
from hypothesis import strategies as st
from regions import CEILING, MODEL_HZ, generated, region_of

from vampnet import audio
from vampnet.audio import AudioError
from vampnet.audio.region import EDGE_MS, Region

FORMATS = [
    ("WAV", "PCM_16"),
    ("WAV", "PCM_24"),
    ("WAV", "PCM_32"),
    ("WAV", "PCM_U8"),
    ("WAV", "FLOAT"),
    ("WAV", "DOUBLE"),
    ("AIFF", "PCM_24"),
    ("FLAC", "PCM_16"),
]


@given(
    n_samples=st.integers(1, 30_000),
    channels=st.integers(1, 8),
    rate=st.integers(8000, 192_000),
    level=st.floats(1e-4, 1.0),
    subtype=st.sampled_from(["PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"]),
    mono=st.booleans(),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_same_shape_format_and_loudness(n_samples, channels, rate, level, subtype, mono, data):
    original = audio.fit(noise(1, 30_000, channels, level / 4), n_samples)
    region = region_of(original, rate, subtype)
    inputs = region.to_model(MODEL_HZ, mono)[0]
    assert inputs.shape == (1 if mono else channels, 1, -(-n_samples * MODEL_HZ // rate))
    assert inputs.abs().max() <= 1 and torch.isfinite(inputs).all()
    made = noise(1, max(8, inputs.shape[-1]), len(inputs), data.draw(st.floats(1e-3, 2.0)), 5)
    out = region.like(made, MODEL_HZ)
    assert out.native.shape == region.native.shape and out.native.dtype == region.native.dtype
    assert (out.sample_rate, out.format) == (region.sample_rate, region.format)
    assert np.isfinite(out.native.astype(np.float64)).all()
    assert out.samples.abs().max() <= CEILING + 1e-4
    long_enough = n_samples > 0.1 * rate and level > 0.01
    if long_enough and original.abs().max() < 0.9:
        assert out.loudness_lufs == pytest.approx(region.loudness_lufs, abs=0.5)


@pytest.mark.parametrize(("container", "subtype"), FORMATS)
@pytest.mark.parametrize("rate", [44100, 48000])
def test_outside_the_ranges_it_is_the_original_bit_for_bit(tmp_path, container, subtype, rate):
    rng = np.random.default_rng(3)
    path = tmp_path / "in"
    sound = np.cumsum(rng.standard_normal((2 * rate, 2)), 0)
    sound = 0.9 * sound / np.abs(sound).max()
    form = {"format": container, "subtype": subtype}
    if subtype == "PCM_32":
        sound = (sound * 2**31).astype(np.int32)
    with open(path, "wb") as file:
        soundfile.write(file, sound, rate, **form)
    region = Region.read(path)
    ranges = ((0.25, 0.5), (1.0, 1.125))
    region.like(generated(region), MODEL_HZ, ranges).write(tmp_path / "out")
    whole = "int32" if region.native.dtype == np.int32 else "float64"
    before, _ = soundfile.read(path, dtype=whole, always_2d=True)
    after, after_rate = soundfile.read(tmp_path / "out", dtype=whole, always_2d=True)
    assert after_rate == rate and before.shape == after.shape
    info, info_out = soundfile.info(path), soundfile.info(tmp_path / "out")
    assert (info.format, info.subtype) == (info_out.format, info_out.subtype)
    inside = np.zeros(2 * rate, bool)
    for start_s, end_s in ranges:
        inside[round(start_s * rate) : round(end_s * rate)] = True
        span = slice(round(start_s * rate), round(end_s * rate))
        assert (before[span] != after[span]).any(1).mean() > 0.9
    assert np.array_equal(before[~inside], after[~inside])


@pytest.mark.parametrize("name", ["x.aiff", "x.w64", "x.caf", "x.rf64"])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_32", "DOUBLE"])
def test_another_container_holds_the_same_samples(tmp_path, name, subtype):
    rng = np.random.default_rng(5)
    sound = rng.uniform(-1, 1, (4410, 2))
    if subtype == "PCM_32":
        sound = rng.integers(-(2**31), 2**31, (4410, 2)).astype(np.int32)
    soundfile.write(tmp_path / "in.wav", sound, 44100, subtype=subtype)
    region = Region.read(tmp_path / "in.wav")
    region.write(tmp_path / name)
    assert soundfile.info(tmp_path / name).subtype == subtype
    assert np.array_equal(Region.read(tmp_path / name).native, region.native)


@pytest.mark.parametrize("ranges", [(), ((0.3, 0.7),), ((0.0, 0.2), (0.9, 1.0))])
def test_no_edge_clicks(ranges):
    region = region_of(tone(1.0, 44100, 2, 110))
    made = tone(1.0, 44100, 2, 97.0)  # as smooth as the original, at another phase everywhere
    out = region.like(made, MODEL_HZ, ranges).samples
    steepest = region.samples.diff().abs().max()
    assert out.diff().abs().max() < 1.6 * steepest
    assert torch.equal(out[:, 0], region.samples[:, 0])
    assert torch.equal(out[:, -1], region.samples[:, -1])


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000, 96000, 192000])
def test_aligned_to_the_sample(rate):
    clicks = torch.zeros(1, rate)
    clicks[0, [rate // 7, rate // 3, rate // 2]] = 0.4
    region = region_of(clicks + tone(1.0, rate), rate)
    inputs = region.to_model(MODEL_HZ)[0]
    back = region.like(inputs[:, 0], MODEL_HZ).samples[0].double()
    own = region.samples[0].double()
    spectrum = torch.fft.rfft(back) * torch.fft.rfft(own).conj()
    assert int(torch.fft.irfft(spectrum).argmax()) == 0
    smooth = region_of(tone(1.0, rate), rate)
    back = smooth.like(smooth.to_model(MODEL_HZ)[0][:, 0], MODEL_HZ)
    assert (back.samples - smooth.samples).abs().max() < 2e-3


def test_equal_channels_in_equal_channels_out():
    region = region_of(noise(0.5).repeat(2, 1))
    made = generated(region, 1).repeat(2, 1)
    for ranges in ((), ((0.1, 0.2),)):
        for one in (made, made[:1]):
            out = region.like(one, MODEL_HZ, ranges)
            assert np.array_equal(out.native[:, 0], out.native[:, 1])


def test_the_stereo_image_survives():
    quiet_right = noise(1, channels=2) * torch.tensor([[1.0], [0.25]])
    region = region_of(quiet_right)
    inputs = region.to_model(MODEL_HZ)[0]
    assert inputs[0].std() / inputs[1].std() == pytest.approx(4, rel=0.05)
    for made in (inputs[:, 0], noise(1)):
        left, right = region.like(made, MODEL_HZ).samples
        assert left.std() / right.std() == pytest.approx(4, rel=0.05)


def test_mono_hears_the_mean_and_fills_each_channel():
    region = region_of(noise(1, channels=2))
    mean = region_of(region.samples.mean(0, keepdim=True), subtype="DOUBLE")
    assert torch.allclose(
        region.to_model(MODEL_HZ, mono=True)[0], mean.to_model(MODEL_HZ)[0], atol=1e-6
    )
    out = region.like(noise(1, seed=4), MODEL_HZ)
    assert out.loudness_lufs == pytest.approx(region.loudness_lufs, abs=0.1)
    assert torch.corrcoef(out.samples)[0, 1] > 0.98


def test_silence_stays_silent_and_a_silent_channel_too():
    silence = region_of(torch.zeros(2, 44100))
    assert torch.equal(silence.to_model(MODEL_HZ)[0], torch.zeros(2, 1, 44100))
    assert not silence.like(noise(1, channels=2), MODEL_HZ).native.any()
    assert not silence.like(torch.zeros(2, 44100), MODEL_HZ).native.any()
    left_only = region_of(torch.cat([noise(1), torch.zeros(1, 44100)]))
    out = left_only.like(noise(1, channels=2, seed=2), MODEL_HZ)
    assert out.native[:, 0].any() and not out.native[:, 1].any()
    loud = left_only.like(noise(1, channels=2, seed=2), MODEL_HZ, match_loudness=False)
    assert loud.native[:, 1].any()
    assert (
        not left_only.like(torch.zeros(2, 44100), MODEL_HZ, [(0.2, 0.4)]).native[10000:15000].any()
    )


@pytest.mark.parametrize("ranges_s", [(), ((0.2, 0.5), (0.7, 1.0))])
@pytest.mark.parametrize("match_loudness", [True, False])
def test_blocks_do_not_show(ranges_s, match_loudness, monkeypatch):
    region = region_of(noise(1, 44100, 2, 0.3), subtype="PCM_16")
    made = generated(region)
    made[:, ::3500] = 3.0  # the limiter has work in every block
    whole = region.like(made, MODEL_HZ, ranges_s, match_loudness)
    for place in ("limiter", "region"):
        monkeypatch.setattr(f"vampnet.audio.{place}.BLOCK", 1000)
    pieces = region.like(made, MODEL_HZ, ranges_s, match_loudness)
    assert np.array_equal(whole.native, pieces.native)


@pytest.mark.parametrize("seconds", [1 / 44100, 2 / 44100, 17 / 44100, 0.01, 0.1, 0.39, 0.41])
def test_tiny_regions(seconds):
    for region in (
        region_of(noise(seconds)),
        region_of(torch.full((2, round(seconds * 44100)), 0.5)),
    ):
        inputs = region.to_model(MODEL_HZ)[0]
        assert inputs.shape == (region.n_channels, 1, region.n_samples)
        out = region.like(generated(region), MODEL_HZ)
        assert out.native.shape == region.native.shape


def test_direct_current_gives_finite_audio():
    region = region_of(torch.full((1, 44100), 0.7))
    assert torch.isfinite(region.to_model(48000)[0]).all()
    out = region.like(noise(1), MODEL_HZ)
    assert torch.isfinite(out.samples).all() and out.samples.abs().max() <= CEILING


@given(st.lists(st.tuples(st.floats(0, 2), st.floats(0, 2)).map(sorted), min_size=1, max_size=6))
@settings(max_examples=100, deadline=None)
def test_spans_are_sorted_disjoint_and_inside(ranges):
    region = region_of(torch.zeros(1, 16000), 8000)
    if any(start >= end for start, end in ranges):
        with pytest.raises(ValueError, match="range"):
            region.spans(ranges)
        return
    spans = region.spans(ranges)
    assert all(0 <= start < end <= 16000 for start, end in spans)
    assert all(left[1] < right[0] for left, right in zip(spans, spans[1:], strict=False))
    for start, end in ranges:
        assert any(a <= start * 8000 + 1 and end * 8000 - 1 <= b for a, b in spans)


@pytest.mark.parametrize(
    "ranges", [[(1.0, 0.5)], [(0.5, 0.5)], [(-1, 1)], [(0, 9)], [(math.nan, 1)], [(0, math.inf)]]
)
def test_ranges_outside_the_region_are_named(ranges):
    region = region_of(noise(2))
    with pytest.raises(ValueError, match=r"range .* 0-2 s"):
        region.like(noise(2), MODEL_HZ, ranges)


def test_bad_generated_audio_is_never_written():
    region = region_of(noise(0.1, channels=2))
    broken = noise(0.1, channels=2)
    broken[0, 5] = math.nan
    for made in (broken, noise(0.1, channels=3), torch.zeros(2, 0), torch.zeros(2, 1, 10)):
        with pytest.raises(ValueError, match="generated audio"):
            region.like(made, MODEL_HZ)


def test_edges_lie_inside_the_range():
    region = region_of(noise(1, amplitude=0.05))
    out = region.like(noise(1, seed=3), MODEL_HZ, [(0.25, 0.75)])
    changed = np.flatnonzero((out.native != region.native).any(1)) / 44100
    assert 0.25 <= changed.min() <= 0.25 + EDGE_MS / 1000
    assert 0.75 - EDGE_MS / 1000 <= changed.max() <= 0.75


@pytest.mark.parametrize("name", ["loop.wav", "LOOP.WAV", "löop #2", "loop.flac"])
def test_writing_keeps_the_format_unless_the_name_asks_for_another(tmp_path, name):
    kept = ((b"smpl", b"\1" * 60), (b"acid", b"\2" * 24))
    region = region_of(noise(0.1, channels=2), subtype="PCM_16", chunks=kept)
    region.write(tmp_path / name)
    back = Region.read(tmp_path / name)
    assert np.array_equal(back.native, region.native) and back.sample_rate == region.sample_rate
    if name.endswith(".flac"):
        assert (back.format.container, back.format.subtype) == ("FLAC", "PCM_16")
    else:
        assert back.format == region.format


def test_lossy_regions_keep_length_rate_and_channels(tmp_path):
    for name in ("x.mp3", "x.ogg"):
        audio.write(tmp_path / name, audio.Audio(noise(0.5, 48000, 2), 48000))
        region = Region.read(tmp_path / name)
        region.like(generated(region), MODEL_HZ).write(tmp_path / ("out" + name))
        back = Region.read(tmp_path / ("out" + name))
        assert back.native.shape == region.native.shape == (24000, 2)
        assert replace(back.format) == region.format
        assert back.loudness_lufs == pytest.approx(region.loudness_lufs, abs=0.5)


def test_reading_refuses_what_audio_refuses(tmp_path):
    (tmp_path / "text.wav").write_text("no audio")
    with pytest.raises(AudioError, match="not audio"):
        Region.read(tmp_path / "text.wav")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux counts it")
def test_twenty_minutes_in_sane_memory(tmp_path):
    import resource

    rate, path = 11025, tmp_path / "long.flac"
    with soundfile.SoundFile(path, "w", rate, 1, subtype="PCM_16") as file:
        minute = (noise(60, rate)[0] * 32767).short().numpy()
        for _ in range(20):
            file.write(minute)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    region = Region.read(path)
    inputs = region.to_model(MODEL_HZ)[0]
    out = region.like(inputs[:, 0], MODEL_HZ)
    assert out.duration_s == 1200
    assert out.loudness_lufs == pytest.approx(region.loudness_lufs, abs=0.1)
    grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown_mib < 6 * inputs.nbytes / 2**20
