"""Distances between two unpaired sets of embeddings: Frechet distance and kernel distance.

Frechet audio distance: Kilgour et al., arXiv 1812.08466; its bias falls as 1 / n and is taken out
by extrapolation to infinitely many clips (Chong and Forsyth, arXiv 1911.07023; for audio Gui et
al., arXiv 2311.01616). Kernel audio distance: Chung et al., arXiv 2502.15602, unbiased by itself.
A clip is never compared with audio generated from it: only other clips show whether the result
belongs to the same kind of music.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

AXES = 16  # principal axes of the real music in which the Frechet distance is computed
SHARES = (0.6, 0.7, 0.85, 1.0)  # of the clips, for the extrapolation
RESAMPLES = 24  # random splits of the clips that the extrapolation is averaged over
MIN_REAL_CLIPS = 4  # with fewer, a half has no covariance
KERNEL_SCALE = 100.0  # the kernel distance is reported in hundredths, as by its authors


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """Frechet distance of the Gaussians fitted to two sets of embeddings.

    |mean difference|^2 + tr(A + B - 2 (A B)^(1/2)), with the covariances A and B.

    Args:
        first: float (n, D).
        second: float (m, D).

    Returns:
        The squared distance, at least 0.

    Raises:
        ValueError: a set has fewer than 2 points.
    """
    if len(first) < 2 or len(second) < 2:
        raise ValueError(f"sets of {len(first)} and {len(second)} points; at least 2 are needed")
    a, b = first.double(), second.double()
    shift = (a.mean(0) - b.mean(0)).square().sum()
    cov_a, cov_b = (torch.atleast_2d(torch.cov(points.T)) for points in (a, b))
    values, vectors = torch.linalg.eigh(cov_a)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum()
    return max(0.0, float(shift + cov_a.trace() + cov_b.trace() - 2 * cross))


@dataclass(frozen=True, eq=False)
class PrincipalAxes:
    """Principal axes of the real music's embeddings.

    A few clips do not determine a covariance in many dimensions, so distances are computed along
    the principal axes and along one more coordinate, the distance from their subspace. Without it,
    audio unlike any music could not be distinguished from music.

    Attributes:
        centre: mean, float (D,).
        directions: principal axes, float (D, n).
    """

    centre: Tensor
    directions: Tensor

    @classmethod
    def of(cls, points: Tensor, n_axes: int = AXES) -> PrincipalAxes:
        """Fit the axes to the embeddings of real music.

        Args:
            points: float (m, D).
            n_axes: number of axes at most; there is at most one per 8 points.
        """
        n = max(1, min(n_axes, len(points) // 8, points.shape[1]))
        centre = points.double().mean(0)
        centred = points.double() - centre
        return cls(centre, torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -n:].flip(1))

    def __call__(self, points: Tensor) -> Tensor:
        """Project embeddings.

        Args:
            points: float (m, D).

        Returns:
            Coordinates along the axes, then the distance from their subspace: float (m, n + 1).
        """
        centred = points.double() - self.centre
        along = centred @ self.directions
        off = (centred - along @ self.directions.T).norm(dim=1, keepdim=True)
        return torch.cat([along, off], 1)


def frechet_at_infinity(
    made: Sequence[Tensor],
    clips: Sequence[int],
    real: Sequence[Tensor],
    n_resamples: int = RESAMPLES,
    seed: int = 0,
    without: Collection[int] = (),
) -> float:
    """Frechet distance extrapolated to infinitely many clips; may be slightly negative by chance.

    Each resample compares generated audio with other real clips, at several set sizes; a line
    through the distances over 1 / size is extrapolated to 0. The resamples do not depend on what
    was generated or left out, so differences between two distances come from the audio alone.

    Args:
        made: embeddings of each generated sound, float (patches, D).
        clips: index of the real clip that each of them was generated from.
        real: embeddings of every real clip, float (patches, D).
        n_resamples: number of random splits to average over.
        seed: of the splits.
        without: indices of clips to leave out.

    Returns:
        The squared distance.

    Raises:
        ValueError: fewer than 4 real clips are left.
    """
    left = set(range(len(real))) - set(without)
    if len(left) < MIN_REAL_CLIPS:
        raise ValueError(f"{len(left)} real clips; at least {MIN_REAL_CLIPS} are needed")
    rng = torch.Generator().manual_seed(seed)
    takes: dict[int, list[Tensor]] = {}
    for clip, points in zip(clips, made, strict=True):
        takes.setdefault(clip, []).append(points)
    limits = []
    for _ in range(n_resamples):
        order = [c for c in torch.randperm(len(real), generator=rng).tolist() if c in left]
        turns = torch.rand(len(real), generator=rng).tolist()  # selects one take of each clip
        mine = [c for c in order if c in takes][: max(2, len(left) // 2)]
        others = [real[c] for c in order if c not in mine]
        ours = [takes[c][int(turns[c] * len(takes[c]))] for c in mine]
        distances = [frechet_distance(_share(ours, s), _share(others, s)) for s in SHARES]
        limits.append(_limit([1 / s for s in SHARES], distances))
    return sum(limits) / len(limits)


def _share(points: Sequence[Tensor], share: float) -> Tensor:
    return torch.cat(list(points[: max(2, round(share * len(points)))]))


def _limit(x: list[float], y: list[float]) -> float:
    """Intercept of the least-squares line through the points."""
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return mean_y - slope / sum((a - mean_x) ** 2 for a in x) * mean_x


def bandwidth(points: Tensor) -> float:
    """Bandwidth of the kernel: the median distance between real embeddings, float (m, D)."""
    return float(torch.nn.functional.pdist(points.double()).median().clamp(min=1e-9))


def kernel_distance(
    made: Tensor, made_clips: Tensor, real: Tensor, real_clips: Tensor, width: float
) -> float:
    """Squared maximum mean discrepancy with a Gaussian kernel, in hundredths, unbiased.

    Pairs from the same clip are left out, so real music compared with itself scores 0 on average.

    Args:
        made: embeddings of generated audio, float (n, D).
        made_clips: clip of each of them, int64 (n,).
        real: embeddings of real music, float (m, D).
        real_clips: clip of each of them, int64 (m,).
        width: bandwidth of the kernel, see :func:`bandwidth`.

    Returns:
        The distance, which may be slightly negative by chance.

    Raises:
        ValueError: a set has fewer than 2 clips.
    """
    if len(real_clips.unique()) < 2 or len(made_clips.unique()) < 2:
        raise ValueError("kernel distance of fewer than 2 clips; at least 2 are needed")
    total = 0.0
    for first, a, second, b, sign in (
        (made, made_clips, made, made_clips, 1.0),
        (real, real_clips, real, real_clips, 1.0),
        (made, made_clips, real, real_clips, -2.0),
    ):
        near = torch.exp(-torch.cdist(first.double(), second.double()).square() / (2 * width**2))
        total += sign * float(near[a[:, None] != b[None, :]].mean())
    return KERNEL_SCALE * total
