"""The plain path: what the fast one must equal, written for clarity and slow on purpose.

Every formula of a layer spelled out (norm, attention, gate), every projection by itself, position
bias made anew in each layer's pass, logits of every frame and codebook, one item at a time. Used
by benchmarks/full_size.py and by the tests.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vampnet.model import VampNet
from vampnet.model.transformer import FeedForward, Layer, RMSNorm


def reference_norm(norm: RMSNorm, x: Tensor) -> Tensor:
    """x / rms(x), scaled (arXiv 1910.07467, eq. 4). x: float (1, T, D). Returns the same shape."""
    return norm.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + norm.eps)


def reference_feed_forward(feed_forward: FeedForward, x: Tensor) -> Tensor:
    """GEGLU (arXiv 2002.05202) with GELU by tanh (arXiv 1606.08415). x: float (1, T, D)."""
    signal, gate = feed_forward.up(x).chunk(2, dim=-1)
    inner = math.sqrt(2 / math.pi) * (gate + 0.044715 * gate.pow(3))
    return feed_forward.down(signal * 0.5 * gate * (1 + inner.tanh()))


def reference_attention(layer: Layer, x: Tensor, bias: Tensor) -> Tensor:
    """x: float (1, T, D), bias: (1, heads, T, T). Returns float (1, T, D)."""
    attention = layer.attention
    _, frames, dim = x.shape
    heads, width = attention.n_heads, dim // attention.n_heads
    q, k, v = (
        linear(x).view(1, frames, heads, width).transpose(1, 2)
        for linear in (attention.query, attention.key, attention.value)
    )
    scores = q @ k.transpose(-1, -2) / math.sqrt(width) + bias
    return attention.output((scores.softmax(-1) @ v).transpose(1, 2).reshape(1, frames, dim))


def reference_logits(model: VampNet, codes: Tensor) -> Tensor:
    """codes: int64 (B, N, T). Returns float (B, P, T, V), all of them."""
    made = []
    for item in codes.split(1):
        x = model.embedding(model.latents(item)).transpose(1, 2)
        for layer in model.layers:
            assert isinstance(layer, Layer)
            bias = model.position_bias(codes.shape[-1])
            x = x + reference_attention(layer, reference_norm(layer.norm_1, x), bias)
            x = x + reference_feed_forward(layer.feed_forward, reference_norm(layer.norm_2, x))
        made.append(model.classify(reference_norm(model.norm, x)).transpose(1, 2))
    return torch.cat(made)


class Reference:
    """A model's plain path behind the interface that ``vampnet.model.sampling.generate`` uses."""

    def __init__(self, model: VampNet):
        self.model, self.mask_token, self.config = model, model.mask_token, model.config
        self.n_conditioning_codebooks = model.n_conditioning_codebooks
        self.codebooks = model.codebooks

    def hidden(self, codes: Tensor) -> Tensor:
        """All logits, in the place of what they are made from: float (B, T, P, V)."""
        return reference_logits(self.model, codes).transpose(1, 2)

    def classify(self, hidden: Tensor, codebook: int | None = None) -> Tensor:
        """float (..., P, V) to (..., V) of one codebook; itself where none is named."""
        return hidden if codebook is None else hidden[..., codebook, :]
