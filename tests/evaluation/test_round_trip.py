"""Tones and hits through a whole codec, and the tables made of them."""

from __future__ import annotations

import torch
from torch import Tensor

from vampnet.codec import Codec
from vampnet.evaluation.round_trip import measure_round_trip


class Identity(Codec):
    """Keeps the samples in its codes, 16 bits each."""

    sample_rate, hop_length, n_codebooks, vocab_size = 44100, 768, 768, 65536

    @property
    def codebooks(self) -> Tensor:
        return torch.zeros(1, 1, 1)

    def _encode_window(self, audio: Tensor) -> Tensor:
        levels = (audio * 32767).round().long() + 32768
        return levels.reshape(len(audio), -1, self.hop_length).transpose(1, 2)

    def _decode_window(self, codes: Tensor) -> Tensor:
        return ((codes.transpose(1, 2).flatten(1) - 32768) / 32767)[:, None]


def test_a_codec_that_loses_nothing_has_no_error():
    found = measure_round_trip(Identity())
    assert max(t.cents for t in found.tones) < 0.1
    assert max(abs(h.late_ms) for h in found.hits) < 0.1
    rows = found.tone_rows(3)
    assert [row[0] for row in rows[:2]] == ["worst of all", "mean"] and len(rows) == 5
    assert len(found.hit_rows()) == len(found.hits) == 5
