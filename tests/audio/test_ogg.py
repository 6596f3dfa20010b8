"""Ogg files: one that is cut off is told, and equal sounds are equal files."""

from __future__ import annotations

import struct

import pytest
import soundfile
from conftest import noise

from vampnet import audio
from vampnet.audio import Audio, AudioError, AudioFormat, ogg

SUBTYPES = ["VORBIS", "OPUS"]


def pages_of(raw: bytes, folder) -> list[bytes]:
    (folder / "pages").write_bytes(raw)
    with open(folder / "pages", "rb") as file:
        return [bytes(page) for _, page in ogg._pages(file)]


def written(path, subtype: str, seconds: float = 1.0, seed: int = 0) -> bytes:
    """As an encoder writes it, with a serial number of its own."""
    sound = noise(seconds, 48000, 2, seed=seed).T.numpy()
    soundfile.write(path, sound, 48000, format="OGG", subtype=subtype)
    return path.read_bytes()


@pytest.mark.parametrize("subtype", SUBTYPES)
def test_an_ogg_file_that_is_cut_off_is_told(tmp_path, subtype):
    whole = written(tmp_path / "x", subtype, 3.0)
    assert audio.read(tmp_path / "x").samples.shape == (2, 3 * 48000)
    for part in (0.3, 0.5, 0.9, 0.99, 0.9999):
        (tmp_path / "x").write_bytes(whole[: int(part * len(whole))])
        with pytest.raises(AudioError, match="is cut off: the page that ends its sound"):
            audio.read(tmp_path / "x")
    last = pages_of(whole, tmp_path)[-1]
    for rest in (1, len(last) - 1, len(last), len(last) + 1):
        (tmp_path / "x").write_bytes(whole[:-rest])
        with pytest.raises(AudioError, match="cut off"):
            audio.read(tmp_path / "x")


def test_what_encoders_put_in_a_file_is_no_cut(tmp_path):
    one, two = written(tmp_path / "1", "VORBIS"), written(tmp_path / "2", "OPUS", 2.0)
    first, second = pages_of(one, tmp_path), pages_of(two, tmp_path)
    interleaved = [*first[:1], *second[:1], *first[1:], *second[1:]]
    kinds = {
        "chained": one + two,
        "interleaved": b"".join(interleaved),
        "tagged": one + b"TAG" * 42,
    }
    for name, raw in kinds.items():
        (tmp_path / name).write_bytes(raw)
        assert audio.read(tmp_path / name).samples.shape == (2, 48000), name
        (tmp_path / name).write_bytes(raw[:-200])
        with pytest.raises(AudioError, match="cut off"):
            audio.read(tmp_path / name)


@pytest.mark.parametrize("subtype", SUBTYPES)
def test_the_checksum_is_the_one_of_encoders(tmp_path, subtype):
    pages = pages_of(written(tmp_path / "x", subtype), tmp_path)
    assert len(pages) > 2
    for page in pages:
        without = page[:22] + bytes(4) + page[26:]
        assert struct.pack("<I", ogg.checksum(without)) == page[22:26]


@pytest.mark.parametrize("subtype", SUBTYPES)
def test_equal_sounds_are_equal_files(tmp_path, subtype):
    sound = Audio(noise(1, 48000, 2), 48000, AudioFormat("OGG", subtype))
    for name in "xy":
        audio.write(tmp_path / name, sound)
    raw = (tmp_path / "x").read_bytes()
    assert raw == (tmp_path / "y").read_bytes()
    assert {page[14:18] for page in pages_of(raw, tmp_path)} == {struct.pack("<I", 0x766D706E)}
    assert audio.read(tmp_path / "x").samples.shape == (2, 48000)
