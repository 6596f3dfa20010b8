"""Training of the envelope: the loss falls, the decoder is unchanged."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recipes.default_model.exercises import drum_hits
from vampnet.codec.spectral import SpectralCodec
from vampnet.training.data import Pack
from vampnet.training.envelope import EnvelopeTraining, Examples, train_envelope


def _codec(tiny_codec: SpectralCodec) -> SpectralCodec:
    codec = SpectralCodec(**{**tiny_codec.kwargs, "envelope_blocks": (4, 8, 8)}).eval()
    codec.load_state_dict(tiny_codec.state_dict(), strict=False)
    return codec


def _pack() -> Pack:
    sounds = [drum_hits(torch.Generator().manual_seed(n), 4.0, 44100) for n in range(2)]
    pieces = [(f"{n}", (s * 32767).numpy().astype(np.int16)) for n, s in enumerate(sounds)]
    return Pack(pieces, 44100)


def test_the_envelope_learns_and_the_decoder_is_unchanged(tiny_codec, tmp_path) -> None:
    codec = _codec(tiny_codec)
    before = {name: value.clone() for name, value in codec.decoder.state_dict().items()}
    examples = [Examples(codec, _pack(), n) for n in (14, 4)]
    losses: list[dict] = []
    plan = EnvelopeTraining(steps=60, batch=4, frames=24, warmup=5, report_every=20)
    train_envelope(codec, examples, plan, tmp_path, losses.append)
    assert losses[-1]["loss"] < 0.8 * losses[0]["loss"]
    after = codec.decoder.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_windows_lie_within_a_segment(tiny_codec) -> None:
    some = Examples(_codec(tiny_codec), _pack(), 14)
    assert len(some.features) == some.starts[-1] and len(some.starts) == 3
    shapes = [tuple(x.shape) for x in some.windows(5, 30, torch.Generator().manual_seed(0))]
    assert shapes == [(5, 30, 16), (5, 30, 20), (5, 30, 20), (5, 30, 20)]


def test_a_codec_without_an_envelope_raises(tiny_codec, tmp_path) -> None:
    with pytest.raises(ValueError, match="no envelope"):
        train_envelope(tiny_codec, [], EnvelopeTraining(), tmp_path)
