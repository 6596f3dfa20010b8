"""Good files as odd writers leave them: sizes, pads, orders and tags of every kind."""

from __future__ import annotations

import struct

import made_files as made
import numpy as np
import pytest
import soundfile
from made_files import chunk, form, wav

from vampnet import audio
from vampnet.audio import AudioError
from vampnet.audio.region import Region

FRAMES = 3000
DATA = made.raw(2, "<")
FMT = chunk(b"fmt ", form(1, 2, 16, 2))
SOUND = chunk(b"data", DATA)
ODD = chunk(b"fmt ", form(1, 1, 24, 3)), made.raw(3, "<", 333, 1)


def sized(size: int, data: bytes = DATA) -> bytes:
    return b"data" + struct.pack("<I", size) + data


def id3(version: int, flags: int = 0, size: int = 30) -> bytes:
    """A tag of 2.2, 2.3 or 2.4; a flag of 0x10 stands for a footer, 0x80 for unsynchronisation."""
    length = bytes(size >> 7 * n & 0x7F for n in (3, 2, 1, 0))
    footer = b"3DI" + bytes([version, 0, flags]) + length if flags & 0x10 else b""
    return b"ID3" + bytes([version, 0, flags]) + length + bytes(size) + footer


UNPADDED = chunk(b"abcd", b"x" * 5, pad=False), chunk(b"inst", bytes(7), pad=False)
INFO = chunk(b"LIST", b"INFOINAM\x05\0\0\0Loop\0\0")
JUNK, FILLER = chunk(b"JUNK", bytes(28)), chunk(b"FLLR", bytes(4048))
UMID, CART = chunk(b"umid", b"1" * 64), chunk(b"cart", b"c" * 2048)
AXML = chunk(b"axml", b"<a/>" * 9)
WAVES = {
    "size of the file 0": wav(FMT, SOUND, size=0),
    "size of the file unknown": wav(FMT, SOUND, size=0xFFFFFFFF),
    "size of the file short": wav(FMT, SOUND, size=100),
    "both sizes 0": wav(FMT, sized(0), size=0),
    "size of the sound 0": wav(FMT, sized(0)),
    "size of the sound unknown": wav(FMT, sized(0xFFFFFFFF), size=0xFFFFFFFF),
    "size of the sound 2 GiB": wav(FMT, sized(0x7FFFFFFF), size=0x7FFFFFFF),
    "size of the sound by sox": wav(FMT, sized(0x7FFFF000), size=0x7FFFF024),
    "header counted as sound": wav(FMT, sized(len(DATA) + 44)),
    "header counted, a chunk behind": wav(FMT, sized(len(DATA) + 44), made.LIST),
    "long header counted": wav(made.BEXT, FMT, sized(len(DATA) + 654)),
    "odd chunk not padded": wav(FMT, UNPADDED[1], SOUND, made.CUE),
    "two odd chunks not padded": wav(UNPADDED[0], FMT, UNPADDED[1], SOUND),
    "chunk padded to four": wav(FMT, chunk(b"LIST", b"INFO" + bytes(6)) + bytes(2), SOUND),
    "zeros behind": wav(FMT, SOUND) + bytes(700),
    "zeros in the file": wav(FMT, SOUND, bytes(512)),
    "fact and PEAK": wav(FMT, chunk(b"fact", bytes(4)), chunk(b"PEAK", bytes(24)), SOUND),
    "fmt of 18": wav(chunk(b"fmt ", form(1, 2, 16, 2) + b"\0\0"), SOUND),
    "junk everywhere": wav(JUNK, FMT, FILLER, SOUND, chunk(b"PAD ", bytes(99))),
    "information": wav(FMT, SOUND, INFO),
    "umid, cart, axml": wav(UMID, FMT, CART, SOUND, AXML),
    "id3 in both cases": wav(FMT, chunk(b"id3 ", made.ID3), SOUND, chunk(b"ID3 ", made.ID3)),
}  # fmt: skip
TAGS = {
    "2.2": id3(2), "2.3": id3(3), "2.4": id3(4), "2.4 with a footer": id3(4, 0x10),
    "2.3 unsynchronised": id3(3, 0x80), "large": id3(3, 0, 200_000), "two": id3(3) + id3(4),
    "APE": made.APE,
}  # fmt: skip


@pytest.mark.parametrize("name", WAVES)
def test_a_wav_of_an_odd_writer_is_read_whole(tmp_path, name):
    (tmp_path / "x.wav").write_bytes(WAVES[name])
    region = Region.read(tmp_path / "x.wav")
    assert made.raw_of(region.native, 2) == DATA
    region.write(tmp_path / "y.wav")
    back = Region.read(tmp_path / "y.wav")
    assert np.array_equal(back.native, region.native) and back.format == region.format
    if "to four" not in name:  # libsndfile does not read the chunk, which came back as it was
        with open(tmp_path / "y.wav", "rb") as file:
            assert soundfile.info(file).frames == FRAMES


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize(
    "kind",
    ["wav-16", "rf64", "aiff-24-chunks", "aifc-sowt", "flac-pcm_16", "vorbis", "mp3-variable"],
)
def test_a_tag_in_front_is_no_sound_and_stays(tmp_path, tag, kind):
    raw, _ = made.all_kinds(tmp_path)[kind]
    (tmp_path / "plain").write_bytes(raw)
    plain = Region.read(tmp_path / "plain")
    (tmp_path / "x").write_bytes(TAGS[tag] + raw)
    region = Region.read(tmp_path / "x")
    assert np.array_equal(region.native, plain.native)
    assert region.format.leading == TAGS[tag]
    region.write(tmp_path / "y")
    assert (tmp_path / "y").read_bytes().startswith(TAGS[tag])
    assert Region.read(tmp_path / "y").native.shape == plain.native.shape
    for lost in (1, len(raw) // 3):
        (tmp_path / "x").write_bytes((TAGS[tag] + raw)[:-lost])
        with pytest.raises(AudioError, match="cut off|damaged"):
            audio.read(tmp_path / "x")


def test_an_odd_sound_without_its_pad_byte_keeps_what_follows(tmp_path):
    header, data = ODD
    for pad in (True, False):
        raw = wav(header, chunk(b"data", data, pad=pad), made.LIST, made.ACID)
        (tmp_path / "x").write_bytes(raw)
        region = Region.read(tmp_path / "x")
        assert made.raw_of(region.native, 3) == data
        assert [name for name, _ in region.format.chunks] == [b"LIST", b"acid"]


def test_sound_that_its_size_leaves_out_is_no_tag(tmp_path):
    for size in (4, 400, len(DATA) - 44, len(DATA) - 4):
        (tmp_path / "x").write_bytes(wav(FMT, sized(size)))
        with pytest.raises(AudioError, match="damaged: .* neither sound nor tags"):
            audio.read(tmp_path / "x")


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("order", ["<", ">"])
def test_aiff_of_either_order(tmp_path, width, order):
    data = made.raw(width, order)
    swapped = chunk(b"wave", b"\0\0\0\x0aenda\0\1", ">")
    kind = {1: b"NONE", 2: b"sowt", 3: b"in24", 4: b"in32"}[width] if order == "<" else b"twos"
    common = chunk(b"COMM", made.common(2, FRAMES, 8 * width, kind), ">")
    raw = made.aiff(common, *([swapped] if order == "<" else []), made.ssnd(data), kind=b"AIFC")
    (tmp_path / "x").write_bytes(raw)
    region = Region.read(tmp_path / "x")
    assert made.raw_of(region.native, width) == made.raw(width, "<")
    region.write(tmp_path / "y")
    assert (tmp_path / "y").read_bytes() == raw


@pytest.mark.parametrize("kind", [b"fl32", b"FL32", b"fl64", b"ulaw", b"ALAW", b"raw ", b"23ni"])
def test_aifc_of_other_types(tmp_path, kind):
    width = {b"fl32": 4, b"FL32": 4, b"fl64": 8, b"23ni": 4}.get(kind, 1)
    data = made.sound().astype(f">f{width}").tobytes() if kind.lower()[:2] == b"fl" else None
    data = data or made.raw(width, "<")
    common = chunk(b"COMM", made.common(2, FRAMES, 8 * width, kind), ">")
    raw = made.aiff(made.MARK, common, made.ssnd(data), kind=b"AIFC")
    (tmp_path / "x").write_bytes(raw)
    region = Region.read(tmp_path / "x")
    assert region.native.shape == (FRAMES, 2)
    region.write(tmp_path / "y")
    assert (tmp_path / "y").read_bytes() == raw


def test_aiff_headers_that_are_open_or_late(tmp_path):
    data = made.raw(2, ">")
    open_sound = b"SSND" + struct.pack(">III", 0x7F000008, 0, 0) + data
    files = [
        made.aiff(chunk(b"COMM", made.common(2, 0x7F000000 // 4, 16), ">"), open_sound),
        made.aiff(chunk(b"COMM", made.common(2, 0, 16), ">"), made.ssnd(data)),
        made.aiff(made.ssnd(data), made.MARK, chunk(b"COMM", made.common(2, FRAMES, 16), ">")),
    ]
    for number, raw in enumerate(files):
        (tmp_path / "x").write_bytes(raw)
        region = Region.read(tmp_path / "x")
        assert made.raw_of(region.native, 2) == DATA, number
        region.write(tmp_path / "y")
        assert Region.read(tmp_path / "y").native.shape == (FRAMES, 2)


NONE = [
    wav(FMT, chunk(b"data", b"")), wav(FMT, chunk(b"data", b""), made.LIST),
    made.aiff(chunk(b"COMM", made.common(2, 0, 16), ">"), made.ssnd(b"")),
]  # fmt: skip


def test_no_sound_is_named(tmp_path):
    coded = [("FLAC", "PCM_16"), ("CAF", "PCM_16"), ("W64", "PCM_16"), ("OGG", "VORBIS")]
    for raw in NONE + [made.coded(tmp_path, *kind, frames=0) for kind in coded]:
        (tmp_path / "x").write_bytes(raw)
        with pytest.raises(AudioError, match="empty|0 samples|sound is missing|not audio|damaged"):
            audio.read(tmp_path / "x")


@pytest.mark.parametrize(
    ("container", "subtype"),
    [("WAV", "PCM_16"), ("AIFF", "PCM_24"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"),
     ("MP3", "MPEG_LAYER_III"), ("CAF", "FLOAT"), ("W64", "DOUBLE")],
)  # fmt: skip
@pytest.mark.parametrize("channels", [1, 2, 8])
@pytest.mark.parametrize("frames", [1, 2, 1151])
def test_short_and_wide_files_keep_their_shape(tmp_path, container, subtype, channels, frames):
    if container == "MP3" and channels > 2:
        return
    raw = made.coded(tmp_path, container, subtype, frames, channels, rate=48000)
    (tmp_path / "x").write_bytes(raw)
    region = Region.read(tmp_path / "x")
    assert region.native.shape == (frames, channels)
    region.write(tmp_path / "y")
    assert Region.read(tmp_path / "y").native.shape == (frames, channels)


def test_wav_of_a_rate_or_width_that_no_one_has_is_refused(tmp_path):
    for content, reason in (
        (form(1, 2, 16, 2, rate=3_000_000), "sample rate of 3000000 Hz"),
        (form(1, 2, 16, 2, rate=0), "sample rate of 0 Hz"),
        (form(1, 200, 16, 2), "200 channels"),
        (form(1, 2, 64, 8), "not audio|not read"),
        (form(3, 2, 16, 2), "not audio|not read"),
        (form(1, 2, 24, 2), "damaged header"),
    ):
        (tmp_path / "x").write_bytes(wav(chunk(b"fmt ", content), SOUND))
        with pytest.raises(AudioError, match=reason):
            audio.read(tmp_path / "x")
