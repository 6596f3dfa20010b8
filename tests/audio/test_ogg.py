"""Ogg files: truncation is detected, and equal sounds are equal files."""

from __future__ import annotations

import struct

import pytest
import soundfile
import torch
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
    for rest in (1, len(last) - 1, len(last) + 1):
        (tmp_path / "x").write_bytes(whole[:-rest])
        with pytest.raises(AudioError, match="cut off"):
            audio.read(tmp_path / "x")


@pytest.mark.parametrize("subtype", SUBTYPES)
def test_an_ogg_without_its_end_flag_is_read(tmp_path, subtype):
    pages = pages_of(written(tmp_path / "x", subtype, 2.0), tmp_path)
    last = bytearray(pages[-1])
    last[5] &= ~4
    last[22:26] = bytes(4)
    last[22:26] = struct.pack("<I", ogg.checksum(last))
    (tmp_path / "x").write_bytes(b"".join(pages[:-1]) + last)
    assert audio.read(tmp_path / "x").samples.shape == (2, 2 * 48000)


@pytest.mark.parametrize("subtype", SUBTYPES)
def test_chained_sounds_are_read_one_after_the_other(tmp_path, subtype):
    files = [written(tmp_path / "1", subtype, 1.0), written(tmp_path / "2", subtype, 0.7, 5)]
    (tmp_path / "x").write_bytes(files[0] + files[1] + b"TAG" * 42)
    back = audio.read(tmp_path / "x")
    singles = [audio.read(tmp_path / name).samples for name in "12"]
    assert torch.equal(back.samples, torch.cat(singles, 1))
    part = audio.read(tmp_path / "x", start=47_000, frames=2000).samples
    assert (part - back.samples[:, 47_000:49_000]).abs().max() < 1e-4
    audio.write(tmp_path / "y", back)
    assert audio.read(tmp_path / "y").samples.shape == back.samples.shape
    (tmp_path / "x").write_bytes(files[0] + files[1][:-200])
    with pytest.raises(AudioError, match="cut off"):
        audio.read(tmp_path / "x")


def test_what_cannot_be_one_sound_is_refused(tmp_path):
    one, two = written(tmp_path / "1", "VORBIS"), written(tmp_path / "2", "OPUS", 2.0)
    other_rate = soundfile.read(tmp_path / "1")[0]
    soundfile.write(tmp_path / "3", other_rate, 44100, format="OGG", subtype="VORBIS")
    first, second = pages_of(one, tmp_path), pages_of(two, tmp_path)
    interleaved = b"".join([*first[:1], *second[:1], *first[1:], *second[1:]])
    for raw, reason in (
        (one + two, "joined sounds of different kinds"),
        (one + (tmp_path / "3").read_bytes(), "joined sounds of different kinds"),
        (interleaved, "several sounds at once"),
        (one.replace(b"\x01vorbis", b"\x80theora", 1), "checksum"),
    ):
        (tmp_path / "x").write_bytes(raw)
        with pytest.raises(AudioError, match=reason):
            audio.read(tmp_path / "x")


def test_a_page_that_is_damaged_or_missing_is_refused(tmp_path):
    pages = pages_of(written(tmp_path / "x", "VORBIS", 3.0), tmp_path)
    bad = bytearray(b"".join(pages))
    bad[len(bad) // 2] ^= 1
    for raw, reason in ((bad, "checksum"), (b"".join(pages[:3] + pages[4:]), "page is missing")):
        (tmp_path / "x").write_bytes(raw)
        with pytest.raises(AudioError, match=reason):
            audio.read(tmp_path / "x")


@pytest.mark.parametrize("subtype", SUBTYPES)
@pytest.mark.parametrize("size", [10, 255 * 3, 70_000, 300_000])
def test_comments_of_any_size_survive(tmp_path, subtype, size):
    start = b"\x03vorbis" if subtype == "VORBIS" else b"OpusTags"
    text = b"METADATA_BLOCK_PICTURE=" + b"A" * size
    packet = start + struct.pack("<I", 2) + b"me" + struct.pack("<II", 1, len(text)) + text
    packet += b"\1" if subtype == "VORBIS" else b""
    form = AudioFormat("OGG", subtype, chunks=((b"comments", packet),))
    audio.write(tmp_path / "x", Audio(noise(1, 48000, 2), 48000, form))
    back = audio.read(tmp_path / "x")
    assert back.format == form and back.samples.shape == (2, 48000)
    with open(tmp_path / "x", "rb") as file:  # others read it, too
        assert soundfile.info(file).frames == 48000


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
