"""Vector quantisers: residual ones with factorised, cosine-matched codebooks (Kumar et al. 2023),
and product quantisers (Jegou et al., TPAMI 2011)."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, normalize


class VectorQuantizer(nn.Module):
    """One codebook: project down, take the row of largest cosine similarity, project up."""

    def __init__(self, width: int, vocab_size: int, latent_dim: int) -> None:
        super().__init__()
        self.in_proj = nn.Conv1d(width, latent_dim, 1)
        self.out_proj = nn.Conv1d(latent_dim, width, 1)
        rows = torch.empty(vocab_size, latent_dim)
        if not rows.is_meta:  # on "meta" torch would load its compiler for the random values
            rows.normal_()
        self.codebook = nn.Embedding.from_pretrained(rows, freeze=False)

    def nearest(self, latents: Tensor) -> Tensor:
        """Quantise projected values, float (B, latent_dim, T), to codes, int64 (B, T).

        Ties give the lowest code.
        """
        rows = normalize(self.codebook.weight)
        similarity = torch.einsum("bdt,vd->btv", normalize(latents, dim=1), rows)
        return similarity.argmax(-1)

    def lookup(self, codes: Tensor) -> Tensor:
        """Return the contribution of codes, int64 (B, T), to the latent, float (B, width, T)."""
        return self.out_proj(embedding(codes, self.codebook.weight).transpose(1, 2))


class ResidualQuantizer(nn.ModuleList):
    """A sequence of codebooks, each of which quantises the residual of the previous ones."""

    def __init__(self, n_codebooks: int, width: int, vocab_size: int, latent_dim: int) -> None:
        stages = [VectorQuantizer(width, vocab_size, latent_dim) for _ in range(n_codebooks)]
        super().__init__(stages)

    def stages(self) -> list[VectorQuantizer]:
        """Return the codebooks in order."""
        return [stage for stage in self if isinstance(stage, VectorQuantizer)]

    @property
    def codebooks(self) -> Tensor:
        """The raw rows, float (N, V, latent_dim)."""
        return torch.stack([stage.codebook.weight for stage in self.stages()])

    def encode(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Quantise latents.

        Args:
            z: float (B, width, T).

        Returns:
            Codes, int64 (B, N, T), and the projected values before quantisation, float
            (B, N * latent_dim, T), codebook-major.
        """
        codes, latents = [], []
        for stage in self.stages():
            latents.append(stage.in_proj(z))
            codes.append(stage.nearest(latents[-1]))
            z = z - stage.lookup(codes[-1])
        return torch.stack(codes, dim=1), torch.cat(latents, dim=1)

    def decode(self, codes: Tensor) -> Tensor:
        """Sum the vectors of the first N' codebooks: int64 (B, N', T) to float (B, width, T)."""
        first, *others = zip(self.stages(), codes.unbind(1), strict=False)  # N' may be < N
        total = first[0].lookup(first[1])
        for stage, row in others:
            total = total + stage.lookup(row)
        return total


def nearest(x: Tensor, rows: Tensor) -> Tensor:
    """Return the nearest row, int64 (...), of rows (V, D) to each vector of float (..., D)."""
    return (x @ rows.T - rows.square().sum(-1) / 2).argmax(-1)


class ProductQuantizer(nn.Module):
    """Principal axes in groups, with one codebook per group.

    ``basis`` (F, sum of sizes) holds orthonormal axes; group g quantises its own coordinates.
    """

    basis: Tensor

    def __init__(self, width: int, sizes: list[int], vocab_size: int):
        super().__init__()
        self.sizes = sizes
        self.register_buffer("basis", torch.zeros(width, sum(sizes)))
        for g, size in enumerate(sizes):
            self.register_buffer(f"rows_{g}", torch.zeros(vocab_size, size))

    def rows(self, group: int) -> Tensor:
        """Return the codebook of a group, float (V, size)."""
        return cast(Tensor, getattr(self, f"rows_{group}"))

    def encode(self, x: Tensor) -> Tensor:
        """Quantise float (..., F) to int64 (..., groups), the nearest row of each group."""
        parts = (x @ self.basis).split(self.sizes, dim=-1)
        found = [nearest(part, self.rows(g)) for g, part in enumerate(parts)]
        return torch.stack(found, dim=-1)

    def decode(self, codes: Tensor) -> Tensor:
        """Decode codes of the first g groups, int64 (..., g), to float (..., F)."""
        n = codes.shape[-1]
        parts = [embedding(codes[..., g], self.rows(g)) for g in range(n)]
        axes = self.basis[:, : sum(self.sizes[:n])]
        return torch.cat(parts, dim=-1) @ axes.T
