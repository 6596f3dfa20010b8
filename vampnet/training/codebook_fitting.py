"""Fitting the embedded codec's product quantisers: principal axes, then k-means a group."""

from __future__ import annotations

import torch
from torch import Tensor

from vampnet.codec.quantizer import ProductQuantizer, nearest
from vampnet.codec.spectral import SpectralCodec, three_frame_mean
from vampnet.system.errors import UserError

CHUNK = 65536  # vectors compared with the codebook at once
VECTORS_A_ROW = 4  # wanted where the music has as many frames: fewer make rows of single sounds


def fitting_step(n_frames: int, n_rows: int, step: int) -> int:
    """Every how many frames to fit rows to: ``step``, or less where that leaves few vectors a row.

    n_frames: of the music in all.
    """
    return max(1, min(step, n_frames // (VECTORS_A_ROW * n_rows)))


def k_means(x: Tensor, n_rows: int, iterations: int, rng: torch.Generator) -> Tensor:
    """Lloyd's algorithm from random vectors; a row that nobody chose restarts at a random vector.

    x: float (M, D), M >= n_rows. Returns (n_rows, D). Raises ValueError for too few vectors.
    """
    if len(x) < n_rows:
        raise UserError(f"{len(x)} vectors cannot make {n_rows} codebook rows; use more audio")
    rows = x[torch.randperm(len(x), generator=rng)[:n_rows]].clone()
    for _ in range(iterations):
        chosen = torch.cat([nearest(part, rows) for part in x.split(CHUNK)])
        count = torch.bincount(chosen, minlength=n_rows)
        mean = torch.zeros_like(rows).index_add_(0, chosen, x) / count.clamp(min=1)[:, None]
        restart = x[torch.randint(len(x), (n_rows,), generator=rng)]
        rows = torch.where(count[:, None] > 0, mean, restart)
    return rows


def principal_axes(x: Tensor, n_axes: int) -> Tensor:
    """Directions of largest variance, (D, n_axes), largest first; signs fixed for repeatability."""
    centred = (x - x.mean(0)).double()
    axes = torch.linalg.eigh(centred.T @ centred).eigenvectors.flip(-1)[:, :n_axes]
    peak = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    return (axes * peak.sign()).to(x.dtype)


def _fit_groups(
    quantizer: ProductQuantizer, spaces: list[Tensor], iterations: int, rng: torch.Generator
) -> None:
    """Set the rows of each group from its own set of vectors (M, F), the basis being set."""
    basis = quantizer.basis
    first = 0
    for g, size in enumerate(quantizer.sizes):
        part = spaces[g] @ basis[:, first : first + size]
        quantizer.rows(g).copy_(k_means(part, len(quantizer.rows(g)), iterations, rng))
        first += size


def _latent_rows(codec: SpectralCodec) -> Tensor:
    """Each codebook on its main axes, scaled to unit mean norm, padded with zeros."""
    latents = torch.zeros_like(codec.codebooks)
    groups = [codec.coarse.rows(g) for g in range(len(codec.coarse.sizes))]
    groups += [codec.fine.rows(g) for g in range(len(codec.fine.sizes))]
    for n, rows in enumerate(groups):
        width = min(rows.shape[1], latents.shape[-1])
        axes = principal_axes(rows, width)
        short = rows @ axes
        latents[n, :, :width] = short / short.norm(dim=-1).mean()
    return latents


@torch.no_grad()
def fit_quantizers(
    codec: SpectralCodec, pieces: list[Tensor], step: int, iterations: int, rng: torch.Generator
) -> None:
    """Set mean, axes and codebooks of ``codec`` from music.

    pieces: log levels of whole pieces, float (T, F), not centred (``codec.analysis``); every
    ``step``-th frame is used.
    """
    mean = torch.cat([p[::step] for p in pieces]).mean(0)
    sharp = torch.cat([p[::step] for p in pieces]) - mean
    smooth = torch.cat([three_frame_mean(p[None])[0, ::step] for p in pieces]) - mean
    codec.mean.copy_(mean)
    codec.deviation.copy_(sharp.std(0).clamp(min=1e-3))
    codec.coarse.basis.copy_(principal_axes(sharp, sum(codec.coarse.sizes)))
    n_sharp = codec.smooth_from
    spaces = [sharp if g < n_sharp else smooth for g in range(len(codec.coarse.sizes))]
    _fit_groups(codec.coarse, spaces, iterations, rng)
    codes = codec.coarse_codes(sharp, smooth)
    rest = sharp - codec.coarse.decode(codes)
    codec.fine.basis.copy_(principal_axes(rest, sum(codec.fine.sizes)))
    _fit_groups(codec.fine, [rest] * len(codec.fine.sizes), iterations, rng)
    codec.latent_rows.copy_(_latent_rows(codec))
