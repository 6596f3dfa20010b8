"""Files appear whole or not at all: a full disk is an error, and an existing file is unchanged."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager

import pytest
from conftest import noise, tone

from vampnet import audio
from vampnet.audio import Audio, AudioError, AudioFormat


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
def test_a_full_disk_is_an_error_and_leaves_the_old_file(tmp_path, container, subtype):
    path, form = tmp_path / "x", AudioFormat(container, subtype)
    audio.write(path, Audio(noise(0.5, 48000, 2), 48000, form))
    size = path.stat().st_size
    path.write_bytes(b"old")
    for limit in (1, 50, size // 2, size - 500, size - 1):
        with full_disk(limit), pytest.raises(AudioError, match=os.strerror(errno.EFBIG)):
            audio.write(path, Audio(noise(0.5, 48000, 2), 48000, form))
        assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["x"]


@pytest.mark.skipif(os.name != "posix", reason="files have no modes here")
def test_a_file_that_is_replaced_keeps_its_mode(tmp_path):
    (tmp_path / "x.wav").write_bytes(b"old")
    (tmp_path / "x.wav").chmod(0o640)
    audio.write(tmp_path / "x.wav", Audio(tone(0.1), 44100))
    assert (tmp_path / "x.wav").stat().st_mode & 0o777 == 0o640
