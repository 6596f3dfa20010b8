"""Codecs: the original's and descript-audio-codec's own outputs, and the laws of windows."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY_SIZES
from hypothesis import given, settings
from hypothesis import strategies as st
from places import GOLDEN
from torch import Tensor

from vampnet import checkpoints
from vampnet.codec import DAC, FAMILIES, LAC, Codec

# 3.7 MB that are not in the repository: with the other fixtures, or in a folder next to it.
DAC_PLACES = [
    Path(os.environ.get("VAMPNET_GOLDEN", GOLDEN)) / "dac",
    GOLDEN.parents[2] / "shared" / "golden" / "dac",
]
AUDIO = 1e-5  # absolute
SMALL = TINY_SIZES | {"encoder_dim": 4, "decoder_dim": 16, "n_codebooks": 3}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Tiny convolutions on several threads mostly wait for one another on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def small(family: type[Codec], **changes) -> Codec:
    """A codec of random weights that is fast and whose hop is 8 samples."""
    torch.manual_seed(3)
    return family(**{**SMALL, **changes}).eval()


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def lac_golden() -> tuple[Codec, Path]:
    return checkpoints.load_codec(GOLDEN / "codec.pth"), GOLDEN / "codec.npz"


def dac_golden() -> tuple[Codec, Path]:
    folder = next((place for place in DAC_PLACES if (place / "dac.pth").is_file()), None)
    if folder is None:
        pytest.skip("no fixture of descript-audio-codec (VAMPNET_GOLDEN names its parent folder)")
    return checkpoints.load_codec(folder / "dac.pth"), folder / "dac.npz"


@pytest.mark.slow
@pytest.mark.golden
@pytest.mark.parametrize("family, case", [("lac", lac_golden), ("dac", dac_golden)])
@torch.no_grad()
def test_codes_and_audio_are_the_originals(family, case):
    codec, file = case()
    want = {key: torch.from_numpy(value) for key, value in np.load(file).items()}
    assert codec.family == family
    codes = codec.encode(want["audio"])
    assert torch.equal(codes, want["codes"].long())
    hop, n_frames = codec.hop_length, codes.shape[-1]
    padding = n_frames * hop - want["audio"].shape[-1]
    encoded = codec.encoder(torch.nn.functional.pad(want["audio"], (0, padding)))
    latents = codec.quantizer.encode(encoded)[1]
    torch.testing.assert_close(latents, want["latents"], atol=AUDIO, rtol=0)
    z = codec.quantizer.decode(codes)
    torch.testing.assert_close(z, want["z_q"], atol=AUDIO, rtol=0)
    audio = codec.decode(codes, n_frames * hop)
    torch.testing.assert_close(audio, want["decoded"], atol=AUDIO, rtol=0)
    # The same through windows: no seam.
    codec.max_window = 2 * codec.decode_context + 24
    torch.testing.assert_close(
        codec.decode(codes, n_frames * hop), want["decoded"], atol=AUDIO, rtol=0
    )
    assert torch.equal(codec.encode(want["audio"]), codes)


@pytest.mark.parametrize("family", [DAC, LAC])
def test_windows_leave_no_seam(family):
    codec = small(family)
    assert codec.decode_context > 1 and codec.encode_context > 1
    audio = noise(2, 1, 8 * 140 + 5)
    codes = codec.encode(audio)
    whole = codec.decode(codes, audio.shape[-1])
    assert codes.shape == (2, 3, 141)
    for multiple, extra in ((1, 13), (4, 40)):
        codec.window_multiple = multiple
        codec.max_window = 2 * max(codec.encode_context, codec.decode_context) + extra
        assert torch.equal(codec.encode(audio), codes)
        found = codec.decode(codes, audio.shape[-1])
        torch.testing.assert_close(found, whole, atol=AUDIO, rtol=0)


@pytest.mark.parametrize("family", [DAC, LAC])
@torch.no_grad()
def test_stated_context_covers_the_receptive_field(family):
    codec, frame = small(family), 120
    codes = torch.zeros(1, 3, 240, dtype=torch.int64)
    other = codes.clone()
    other[..., frame] = 5
    hop = codec.hop_length
    # the plain layers: in the fast ones a tile's steps share their rounding
    plain, changed = (codec.decoder(codec.quantizer.decode(c)) for c in (codes, other))
    moved = (plain != changed)[0, 0].nonzero()
    reach = codec.decode_context
    assert moved.min() >= (frame - reach) * hop and moved.max() < (frame + reach + 1) * hop
    audio, nudged = noise(1, 1, 240 * hop), noise(1, 1, 240 * hop)
    nudged[..., frame * hop : (frame + 1) * hop] += 0.3
    moved = (codec.encoder(audio) != codec.encoder(nudged))[0].any(0).nonzero()
    assert abs(moved - frame).max() <= codec.encode_context


def test_window_stays_below_its_limit_however_long_the_audio(monkeypatch):
    codec, sizes = small(LAC, decoder_dim=8), []
    codec.max_window = 100
    whole = type(codec)._decode_window

    def watched(self: Codec, codes: Tensor) -> Tensor:
        sizes.append(codes.shape[0] * codes.shape[2])
        return whole(self, codes)

    monkeypatch.setattr(type(codec), "_decode_window", watched)
    codec.decode(torch.zeros(3, 3, 400, dtype=torch.int64), 3200)
    assert max(sizes) <= 100 and len(sizes) > 6
    sizes.clear()
    codec.decode(torch.zeros(9, 3, 30, dtype=torch.int64), 240)
    assert sizes == [90, 90, 90]


@settings(max_examples=15, deadline=None)
@given(
    n_items=st.integers(1, 3),
    n_samples=st.integers(1, 500),
    n_used=st.integers(1, 3),
    family=st.sampled_from([DAC, LAC]),
)
def test_lengths_come_out_as_promised(n_items, n_samples, n_used, family):
    codec = small(family)
    codec.max_window = 50
    codes = codec.encode(noise(n_items, 1, n_samples))
    n_frames = -(-n_samples // codec.hop_length)
    assert codes.shape == (n_items, 3, n_frames) and codes.dtype == torch.int64
    assert 0 <= codes.min() and codes.max() < codec.vocab_size
    audio = codec.decode(codes[:, :n_used], n_samples)
    assert audio.shape == (n_items, 1, n_samples)
    assert audio.isfinite().all() and audio.abs().max() <= 1


def test_items_do_not_affect_each_other():
    codec, audio = small(DAC), noise(3, 1, 900)
    codes = codec.encode(audio)
    alone = codec.encode(audio[1:2])
    assert torch.equal(alone, codes[1:2])
    together = codec.decode(codes, 900)[1:2]
    torch.testing.assert_close(codec.decode(alone, 900), together, atol=AUDIO, rtol=0)


def test_first_codebooks_alone_are_their_sum():
    codec = small(DAC)
    codes = codec.encode(noise(1, 1, 400))
    parts = [stage.lookup(codes[:, n]) for n, stage in enumerate(codec.quantizer.stages())]
    for n in (1, 2, 3):
        torch.testing.assert_close(codec.quantizer.decode(codes[:, :n]), sum(parts[:n]))


def test_odd_strides_keep_their_place():
    """Strides of 5 (descript-audio-codec's 16 and 24 kHz models) lose one sample per block."""
    codec = small(DAC, encoder_rates=[2, 5], decoder_rates=[5, 2])
    codes = codec.encode(noise(1, 1, 1000))
    assert codes.shape[-1] == 100
    whole = codec.decode(codes, 1000)
    codec.max_window = 2 * codec.decode_context + 5
    torch.testing.assert_close(codec.decode(codes, 1000), whole, atol=AUDIO, rtol=0)


def test_codebooks_are_the_raw_rows():
    for name, family in FAMILIES.items():
        if name not in ("dac", "lac"):
            continue
        codec = small(family)
        assert codec.codebooks.shape == (3, 16, 4)
        assert torch.equal(codec.codebooks[1], codec.quantizer.stages()[1].codebook.weight)


@pytest.mark.parametrize(
    "codes, n_samples, words",
    [
        (torch.zeros(1, 3, dtype=torch.int64), 8, r"shape \(1, 3\)"),
        (torch.zeros(1, 4, 5, dtype=torch.int64), 8, "N' <= 3"),
        (torch.zeros(1, 3, 5, dtype=torch.int64), 41, "n_samples is 41, must be 1..40"),
        (torch.zeros(1, 3, 5, dtype=torch.int64), 0, "n_samples is 0"),
        (torch.zeros(1, 3, 5, dtype=torch.int64), 5.0, "n_samples is 5.0"),
        (torch.full((1, 3, 5), 16), 8, "16 to 16.*0..15.*mask token"),
        (torch.full((1, 3, 5), -1), 8, "-1 to -1"),
    ],
)
def test_codes_that_cannot_be_decoded(codes, n_samples, words):
    with pytest.raises(ValueError, match=words):
        small(DAC).decode(codes, n_samples)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool, torch.complex64])
def test_codes_of_another_kind(dtype):
    with pytest.raises(ValueError, match=f"codes are {dtype}.*whole numbers"):
        small(DAC).decode(torch.ones(1, 3, 5, dtype=dtype), 8)


@pytest.mark.parametrize("dtype", [torch.float64, torch.int16, torch.float16])
def test_audio_of_another_kind(dtype):
    with pytest.raises(ValueError, match=f"audio is {dtype}, must be torch.float32"):
        small(DAC).encode(torch.ones(1, 1, 50, dtype=dtype))


@pytest.mark.parametrize("bad", [float("nan"), float("-inf")])
def test_audio_that_is_no_numbers(bad):
    audio = noise(2, 1, 50)
    audio[1, 0, 49] = bad
    with pytest.raises(ValueError, match="not finite numbers"):
        small(DAC).encode(audio)


@pytest.mark.parametrize("shape", [(2, 100), (1, 2, 100), (1, 1, 0)])
def test_audio_of_another_shape(shape):
    with pytest.raises(ValueError, match="must be"):
        small(DAC).encode(torch.zeros(shape))


@pytest.mark.parametrize(
    "family, changes, words",
    [
        (DAC, {"decoder_rates": [4, 4]}, "same product"),
        (LAC, {"encoder_rates": [3, 2], "decoder_rates": [2, 3]}, "even"),
        (DAC, {"codebook_dim": [4, 4, 4]}, "codebook_dim is"),
        (DAC, {"sample_rate": "44100"}, "sample_rate is '44100'"),
        (DAC, {"encoder_rates": []}, "encoder_rates is"),
        (DAC, {"encoder_rates": [8, 1], "decoder_rates": [4, 2]}, r"\[8, 1\].*2 or more"),
        (DAC, {"decoder_dim": 3}, "decoder_dim is 3.*4 or more"),
        (LAC, {"decoder_dim": 3}, "decoder_dim is 3.*4 or more"),
    ],
)
def test_sizes_that_do_not_work(family, changes, words):
    with pytest.raises(ValueError, match=words):
        small(family, **changes)
