"""Reference implementation of the model, written for clarity: optimized code must equal it.

Every formula of a layer is spelled out (norm, attention, gate), every projection is separate, the
position bias is recomputed in each layer, logits are computed for every frame and codebook, one
item at a time. Used by benchmarks/full_size.py and the tests.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vampnet.model import VampNet
from vampnet.model.transformer import FeedForward, RMSNorm, TransformerLayer


def reference_norm(norm: RMSNorm, x: Tensor) -> Tensor:
    """RMSNorm, x / rms(x) scaled (arXiv 1910.07467, eq. 4), of x float (1, T, D)."""
    return norm.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + norm.eps)


def reference_feed_forward(feed_forward: FeedForward, x: Tensor) -> Tensor:
    """GEGLU (arXiv 2002.05202) with tanh GELU (arXiv 1606.08415), of x float (1, T, D)."""
    signal, gate = feed_forward.up(x).chunk(2, dim=-1)
    inner = math.sqrt(2 / math.pi) * (gate + 0.044715 * gate.pow(3))
    return feed_forward.down(signal * 0.5 * gate * (1 + inner.tanh()))


def reference_attention(layer: TransformerLayer, x: Tensor, bias: Tensor) -> Tensor:
    """Multi-head attention of x float (1, T, D) with position bias float (1, heads, T, T)."""
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
    """Compute all logits, float (B, P, T, V), of tokens int64 (B, N, T)."""
    made = []
    for item in codes.split(1):
        x = model.embedding(model.latents(item)).transpose(1, 2)
        for layer in model.layers:
            assert isinstance(layer, TransformerLayer)
            bias = model.position_bias(codes.shape[-1])
            x = x + reference_attention(layer, reference_norm(layer.norm_1, x), bias)
            x = x + reference_feed_forward(layer.feed_forward, reference_norm(layer.norm_2, x))
        made.append(model.classify(reference_norm(model.norm, x)).transpose(1, 2))
    return torch.cat(made)


class Reference:
    """The reference implementation with the interface that ``generate`` uses."""

    def __init__(self, model: VampNet):
        self.model, self.mask_token, self.config = model, model.mask_token, model.config
        self.n_conditioning_codebooks = model.n_conditioning_codebooks
        self.codebooks = model.codebooks

    def hidden(self, codes: Tensor) -> Tensor:
        """Return all logits, float (B, T, P, V), in place of hidden states."""
        return reference_logits(self.model, codes).transpose(1, 2)

    def classify(self, hidden: Tensor, codebook: int | None = None) -> Tensor:
        """Select the logits of a codebook: float (..., P, V) to (..., V); None returns all."""
        return hidden if codebook is None else hidden[..., codebook, :]
