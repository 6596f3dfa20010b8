"""Fitting the embedded codec's product quantisers: principal axes, then k-means per group."""

from __future__ import annotations

import torch
from torch import Tensor

from vampnet.codec.band_analysis import three_frame_mean
from vampnet.codec.quantizer import ProductQuantizer, nearest
from vampnet.codec.spectral import SpectralCodec
from vampnet.system.errors import UserError

CHUNK = 65536  # vectors compared with the codebook at once
VECTORS_PER_ROW = 4  # if the music has as many frames: with fewer, rows are single frames


def fitting_step(n_frames: int, n_rows: int, step: int) -> int:
    """Return the stride over frames for fitting; smaller where few vectors per row are left.

    Args:
        n_frames: frames of all music.
        n_rows: rows of a codebook.
        step: the largest stride.
    """
    return max(1, min(step, n_frames // (VECTORS_PER_ROW * n_rows)))


def k_means(x: Tensor, n_rows: int, iterations: int, rng: torch.Generator) -> Tensor:
    """Lloyd's algorithm from random vectors; an empty cluster restarts at a random vector.

    Args:
        x: float (M, D), M >= n_rows.
        n_rows: clusters.
        iterations: of the algorithm.
        rng: a CPU generator.

    Returns:
        float (n_rows, D).

    Raises:
        UserError: for fewer vectors than rows.
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
    """Return the directions of largest variance of float (M, D), in descending order.

    Returns:
        float (D, n_axes); signs are fixed for reproducibility.
    """
    centred = (x - x.mean(0)).double()
    axes = torch.linalg.eigh(centred.T @ centred).eigenvectors.flip(-1)[:, :n_axes]
    peak = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    return (axes * peak.sign()).to(x.dtype)


def _fit_groups(
    quantizer: ProductQuantizer, spaces: list[Tensor], iterations: int, rng: torch.Generator
) -> None:
    """Fit the rows of each group to its own vectors (M, F); the basis must be set."""
    basis = quantizer.basis
    first = 0
    for g, size in enumerate(quantizer.sizes):
        part = spaces[g] @ basis[:, first : first + size]
        quantizer.rows(g).copy_(k_means(part, len(quantizer.rows(g)), iterations, rng))
        first += size


def _latent_rows(codec: SpectralCodec) -> Tensor:
    """Each codebook on its principal axes, scaled to unit mean norm, zero-padded."""
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
    """Fit mean, axes and codebooks of ``codec``, in place.

    Args:
        codec: the codec.
        pieces: log levels of whole pieces, float (T, F), not centred (``codec.analysis``).
        step: every ``step``-th frame is used.
        iterations: of k-means.
        rng: a CPU generator.
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
