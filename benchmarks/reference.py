"""The plain path: what the fast one must equal, written for clarity and slow on purpose.

Every projection by itself, attention spelled out, position bias made anew in each layer's pass,
logits of every frame and codebook, one item at a time. Used by benchmarks/full_size.py and
by the tests.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vampnet.model import Layer, VampNet


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
            x = x + reference_attention(layer, layer.norm_1(x), bias)
            x = x + layer.feed_forward(layer.norm_2(x))
        made.append(model.classify(model.norm(x)).transpose(1, 2))
    return torch.cat(made)


class Reference:
    """A model's plain path behind the interface that ``vampnet.sampling.generate`` uses."""

    def __init__(self, model: VampNet):
        self.model, self.mask_token, self.config = model, model.mask_token, model.config
        self.n_conditioning_codebooks = model.n_conditioning_codebooks

    def hidden(self, codes: Tensor) -> Tensor:
        """All logits, in the place of what they are made from: float (B, T, P, V)."""
        return reference_logits(self.model, codes).transpose(1, 2)

    def classify(self, hidden: Tensor, codebook: int) -> Tensor:
        """float (M, P, V) to (M, V)."""
        return hidden[:, codebook]
