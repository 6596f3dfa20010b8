"""Mutated files of every container: whole or refused in one line, none shortened, no crash."""

from __future__ import annotations

import made_files
import mutated_files
import numpy as np
import pytest
from conftest import noise

from vampnet import audio
from vampnet.audio import AudioError
from vampnet.audio.region import Region


def test_every_kind_is_read_whole_and_written_again(tmp_path):
    for name, (raw, least) in made_files.all_kinds(tmp_path).items():
        path = tmp_path / name
        path.write_bytes(raw)
        assert mutated_files.answer(path, least) == "whole", name
        region = Region.read(path)
        region.write(tmp_path / "again")
        back = Region.read(tmp_path / "again")
        assert back.native.shape == region.native.shape, name
        if region.format.lossless:
            assert back.format == region.format, name
            assert np.array_equal(back.native, region.native), name
        beside = ("leading", "before", "chunks", "trailing")
        for part in beside:
            assert getattr(back.format, part) == getattr(region.format, part), (name, part)
        plain = name.startswith(("wav-", "rifx", "rf64", "bw64", "aif")) and "adpcm" not in name
        if plain and "pcm_" not in name and name not in ("wav-double", "wav-ulaw", "aiff-ulaw"):
            assert (tmp_path / "again").read_bytes() == raw, name  # libsndfile adds a PEAK to these


@pytest.mark.parametrize("seed", range(4))
def test_mutated_files_are_whole_or_refused(tmp_path, seed):
    outcomes = mutated_files.run(150, seed, tmp_path)  # 5,000 of them: see the helper
    assert not [o for o in outcomes if o.text not in ("whole", "refused")]
    assert {o.text for o in outcomes} == {"whole", "refused"}


@pytest.mark.parametrize("name", ["wav-16", "aiff-16", "flac-pcm_16", "vorbis", "mp3-variable"])
def test_a_file_that_is_cut_anywhere_is_refused(tmp_path, name):
    raw, _ = made_files.all_kinds(tmp_path)[name]
    for place in (*range(1, 200, 7), *range(200, len(raw), len(raw) // 23), len(raw) - 1):
        (tmp_path / "x").write_bytes(raw[:place])
        with pytest.raises(AudioError) as caught:
            audio.read(tmp_path / "x")
        assert "\n" not in str(caught.value)


def test_flac_of_other_depths_and_other_formats_are_named(tmp_path):
    soundfile_flac = bytearray(made_files.coded(tmp_path, "FLAC", "PCM_24"))
    for bits in (12, 20, 32):
        soundfile_flac[20] = soundfile_flac[20] & 0xFE | bits - 1 >> 4
        soundfile_flac[21] = soundfile_flac[21] & 0x0F | (bits - 1 & 0xF) << 4
        (tmp_path / "x").write_bytes(soundfile_flac)
        with pytest.raises(AudioError, match=f"FLAC of {bits} bits; 8, 16 and 24 are read"):
            audio.read(tmp_path / "x")
    for raw, kind in ((b"\0\0\0\x20ftypM4A \0", "m4a"), (b"MThd" + bytes(50), "MIDI")):
        (tmp_path / "x").write_bytes(raw + bytes(100))
        with pytest.raises(AudioError, match=kind):
            audio.read(tmp_path / "x")


def test_joined_flacs_are_read_one_after_the_other(tmp_path):
    one, two = (made_files.coded(tmp_path, "FLAC", "PCM_16", n) for n in (5000, 7001))
    (tmp_path / "x").write_bytes(one + two)
    back = audio.read_native(tmp_path / "x")[0]
    for raw, piece in ((one, back[:5000]), (two, back[5000:])):
        (tmp_path / "y").write_bytes(raw)
        assert np.array_equal(audio.read_native(tmp_path / "y")[0], piece)


@pytest.mark.parametrize("bits", [12, 20])
def test_odd_depths_keep_their_bits(tmp_path, bits):
    width = (bits + 7) // 8
    native = audio.float_to_native(noise(0.5, 44100, 2), f"PCM_{8 * width}", bits)
    data = native.astype("<i4").view(np.uint8).reshape(-1, 4)[:, 4 - width :].tobytes()
    fmt = made_files.chunk(b"fmt ", made_files.form(1, 2, bits, width))
    (tmp_path / "x.wav").write_bytes(made_files.wav(fmt, made_files.chunk(b"data", data)))
    region = Region.read(tmp_path / "x.wav")
    assert np.array_equal(region.native, native) and region.format.valid_bits == bits
    out = region.like(noise(0.5, 44100, 2, seed=5), 44100)
    assert not (out.native & (1 << 32 - bits) - 1).any()
    out.write(tmp_path / "y.wav")
    assert Region.read(tmp_path / "y.wav").format == region.format
