"""Encoding and decoding of loops, with wrap-around context."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vampnet.codec.codec import Codec

LOOP_CONTEXT = 16  # frames (0.28 s) of wrap-around context at each end in decoding


def encode_circular(codec: Codec, audio: Tensor) -> Tensor:
    """Encode audio as a loop that repeats without a gap.

    Args:
        codec: the codec.
        audio: float (B, 1, S) at the codec's rate.

    Returns:
        Codes, int64 (B, N, ceil(S / hop)).
    """
    hop, around = codec.hop_length, codec.encode_context
    n_frames = -(-audio.shape[-1] // hop)
    after = (n_frames + around) * hop - audio.shape[-1]
    codes = codec.encode(_pad_circular(audio, around * hop, after))
    return codes[..., around : around + n_frames]


def decode_circular(codec: Codec, codes: Tensor, n_samples: int) -> Tensor:
    """Decode codes to a loop whose end continues into its start.

    The first hop is crossfaded from the samples decoded after the end of the loop.

    Args:
        codec: the codec.
        codes: int64 (B, N, T).
        n_samples: length of the loop, 1..T * hop.

    Returns:
        float (B, 1, n_samples).
    """
    hop, unit, n_frames = codec.hop_length, codec.window_multiple, codes.shape[-1]
    before = -(-LOOP_CONTEXT // unit) * unit
    codes = _pad_circular(codes, before, 1 + LOOP_CONTEXT)
    decoded = codec.decode(codes, (before + n_frames + 1) * hop)[..., before * hop :]
    fade = min(hop, n_samples)
    audio, after = decoded[..., :n_samples], decoded[..., n_samples : n_samples + fade]
    rise = torch.linspace(0, math.pi / 2, fade, device=decoded.device).sin().square()
    audio[..., :fade] = after + (audio[..., :fade] - after) * rise
    return audio


def _pad_circular(x: Tensor, before: int, after: int) -> Tensor:
    """Wrap-pad a loop (..., n) by ``before`` and ``after`` items."""
    n = x.shape[-1]
    if max(before, after) > n:
        return x[..., torch.arange(-before, n + after, device=x.device) % n]
    return torch.cat([x[..., n - before :], x, x[..., :after]], -1)
