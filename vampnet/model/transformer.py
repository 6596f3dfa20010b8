"""The layers of the masked transformer: norm, attention with a position bias, gated feed-forward.

Source: Garcia et al., arXiv 2307.04686, section 3; RMSNorm (arXiv 1910.07467); GEGLU (arXiv
2002.05202).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vampnet.model.matmul import Linear

AttentionFn = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]  # query, key, value, bias
GELU_SLOPE, GELU_CUBE = math.sqrt(2 / math.pi), 0.044715  # tanh approximation (arXiv 1606.08415)


class RMSNorm(nn.Module):
    """Root-mean-square norm over the last dimension, computed in float32 (arXiv 1910.07467)."""

    def __init__(self, dim: int, eps: float = 1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise float (..., D); same shape and dtype."""
        shape = self.weight.shape
        if x.dtype != torch.float32:
            return F.rms_norm(x, shape, self.weight, self.eps)  # one kernel, sums in float32
        return self.weight * F.rms_norm(x, shape, eps=self.eps)


class Attention(nn.Module):
    """Bidirectional multi-head attention with an additive position bias, no linear biases."""

    def __init__(self, dim: int, n_heads: int, dropout: float):
        super().__init__()
        self.n_heads, self.dropout = n_heads, dropout
        self.query = Linear(dim, dim, bias=False)
        self.key = Linear(dim, dim, bias=False)
        self.value = Linear(dim, dim, bias=False)
        self.output = Linear(dim, dim, bias=False)
        self.fused: nn.Module | None = None
        self.attention_fn: AttentionFn | None = None  # replaces torch's, for inference

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Attend over all positions.

        Args:
            x: float (B, T, D).
            bias: float (1, heads, T, T), added to the scaled scores.

        Returns:
            float (B, T, D).
        """
        batch, frames, dim = x.shape
        q, k, v = (
            part.view(batch, frames, self.n_heads, -1).transpose(1, 2) for part in self._project(x)
        )
        dropout = self.dropout if self.training else 0.0
        if self.attention_fn is not None:
            y = self.attention_fn(q, k, v, bias)
        else:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout)
        return self.output(y.transpose(1, 2).reshape(batch, frames, dim))

    def _project(self, x: Tensor) -> tuple[Tensor, ...]:
        if self.fused is not None:
            return self.fused(x).chunk(3, dim=-1)
        return self.query(x), self.key(x), self.value(x)

    def fuse(self) -> None:
        """Fuse query, key and value into one layer, in place: faster, for inference only."""
        parts = (self.query, self.key, self.value)
        weights = [part.get_parameter("weight").detach() for part in parts]
        dim = weights[0].shape[1]
        fused = Linear(dim, 3 * dim, bias=False, device="meta")
        fused.weight = nn.Parameter(torch.cat(weights), requires_grad=False)
        self.fused = fused
        self.query = self.key = self.value = nn.Identity()


class FeedForward(nn.Module):
    """GEGLU: one half of the widened signal gates the other (tanh-approximated GELU)."""

    def __init__(self, dim: int, dropout: float):
        super().__init__()
        self.up = Linear(dim, 4 * dim, bias=False)
        self.down = Linear(2 * dim, dim, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map float (..., D) to the same shape."""
        signal, gate = self.up(x).chunk(2, dim=-1)
        return self.down(self.dropout(_gated(signal, gate)))


def _gated(signal: Tensor, gate: Tensor) -> Tensor:
    """signal * GELU(gate), tanh-approximated: 0.5 x (1 + tanh z) is x / (1 + exp(-2 z)).

    On a CPU, torch's gelu and sigmoid round the last values of each thread's share differently from
    the rest, so that an item would depend on its batch and on the threads; exp does not.
    """
    if torch.is_grad_enabled() or gate.device.type != "cpu":
        return signal * F.gelu(gate, approximate="tanh")
    x = gate.float()
    y = x.square().mul_(-2 * GELU_SLOPE * GELU_CUBE).sub_(2 * GELU_SLOPE).mul_(x).exp_().add_(1)
    return torch.div(x, y, out=y).mul_(signal).to(signal.dtype)


class TransformerLayer(nn.Module):
    """One transformer layer: attention, then feed-forward, each on a normed residual branch."""

    def __init__(self, dim: int, n_heads: int, dropout: float):
        super().__init__()
        self.norm_1 = RMSNorm(dim)
        self.attention = Attention(dim, n_heads, dropout)
        self.norm_2 = RMSNorm(dim)
        self.feed_forward = FeedForward(dim, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Map float (B, T, D) to the same shape; bias: float (1, heads, T, T), as in attention."""
        x = x + self.dropout(self.attention(self.norm_1(x), bias))
        return x + self.dropout(self.feed_forward(self.norm_2(x)))
