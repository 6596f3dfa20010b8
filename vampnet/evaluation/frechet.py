"""Distances between two sets of sounds that need not pair: Frechet, and by kernel.

Frechet audio distance: Kilgour et al., arXiv 1812.08466; its bias falls as 1 / n and is taken out
by extrapolation to infinitely many clips (Chong and Forsyth, arXiv 1911.07023; for audio Gui et
al., arXiv 2311.01616). Kernel audio distance: Chung et al., arXiv 2502.15602, unbiased by itself.
A clip is never held against what was made of it: only other clips tell whether it sounds like
music of this kind.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

AXES = 16  # principal axes of the real music in which the Frechet distance is taken
SHARES = (0.6, 0.7, 0.85, 1.0)  # of the clips, for the extrapolation
DRAWS = 24  # random halves of the clips that the extrapolation is averaged over
LEAST_REAL = 4  # real clips; of fewer, no half says how they vary
KERNEL_SCALE = 100.0  # the kernel distance is told in hundredths, as its authors do


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """Frechet distance of the Gaussians fitted to two sets of points, float (n, D) and (m, D).

    |mean difference|^2 + tr(A + B - 2 (A B)^(1/2)). Raises ValueError below 2 points.
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


@dataclass(frozen=True)
class Axes:
    """Where the real music varies: its mean, float (D,), and its main directions, float (D, n).

    A set of few clips tells little of a covariance in many dimensions, so distances are taken in
    these directions, and in one more: how far a point lies off all of them. Without it, a sound
    unlike any music could not be told from music.
    """

    centre: Tensor
    directions: Tensor

    @classmethod
    def of(cls, points: Tensor, n_axes: int = AXES) -> Axes:
        """The axes of real points float (m, D): at most one for every 8 of them."""
        n = max(1, min(n_axes, len(points) // 8, points.shape[1]))
        centre = points.double().mean(0)
        centred = points.double() - centre
        return cls(centre, torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -n:].flip(1))

    def __call__(self, points: Tensor) -> Tensor:
        """Points float (m, D) in the axes and off them: float (m, n + 1)."""
        centred = points.double() - self.centre
        along = centred @ self.directions
        off = (centred - along @ self.directions.T).norm(dim=1, keepdim=True)
        return torch.cat([along, off], 1)


def frechet_at_infinity(
    made: Sequence[Tensor],
    clips: Sequence[int],
    real: Sequence[Tensor],
    draws: int = DRAWS,
    seed: int = 0,
    without: Collection[int] = (),
) -> float:
    """Frechet distance as it would be with infinitely many clips; may fall below 0 by chance.

    made: points float (patches, D) of each sound, ``clips`` the number of the real clip it was made
    of; real: points of every real clip. Each draw holds made sounds against real clips of other
    numbers, at several sizes; a line through the distances over 1 / size tells the limit.
    without: numbers to leave out of every draw. The draws do not depend on what was made or left
    out, so distances that are held against each other differ by the sounds alone.
    Raises ValueError below 4 real clips.
    """
    left = set(range(len(real))) - set(without)
    if len(left) < LEAST_REAL:
        raise ValueError(f"{len(left)} real clips; at least {LEAST_REAL} are needed")
    rng = torch.Generator().manual_seed(seed)
    takes: dict[int, list[Tensor]] = {}
    for clip, points in zip(clips, made, strict=True):
        takes.setdefault(clip, []).append(points)
    limits = []
    for _ in range(draws):
        order = [c for c in torch.randperm(len(real), generator=rng).tolist() if c in left]
        turns = torch.rand(len(real), generator=rng).tolist()  # which take of each clip
        mine = [c for c in order if c in takes][: max(2, len(left) // 2)]
        others = [real[c] for c in order if c not in mine]
        ours = [takes[c][int(turns[c] * len(takes[c]))] for c in mine]
        distances = [frechet_distance(_share(ours, s), _share(others, s)) for s in SHARES]
        limits.append(_limit([1 / s for s in SHARES], distances))
    return sum(limits) / len(limits)


def _share(points: Sequence[Tensor], share: float) -> Tensor:
    return torch.cat(list(points[: max(2, round(share * len(points)))]))


def _limit(x: list[float], y: list[float]) -> float:
    """Where the line of least squares through the points meets x = 0."""
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return mean_y - slope / sum((a - mean_x) ** 2 for a in x) * mean_x


def bandwidth(points: Tensor) -> float:
    """The kernel's width: the median distance between real points float (m, D)."""
    return float(torch.nn.functional.pdist(points.double()).median().clamp(min=1e-9))


def kernel_distance(
    made: Tensor, made_clips: Tensor, real: Tensor, real_clips: Tensor, width: float
) -> float:
    """Squared maximum mean discrepancy with a Gaussian kernel, in hundredths, unbiased.

    made float (n, D), real float (m, D); the clip of each point int64 (n,), (m,). Pairs of one
    clip are left out everywhere, so real music against itself is 0 and may fall below by chance.
    width: of the kernel, see :func:`bandwidth`. Raises ValueError below 2 clips.
    """
    if len(real_clips.unique()) < 2 or len(made_clips.unique()) < 2:
        raise ValueError("one clip cannot be held against another; at least 2 are needed")
    total = 0.0
    for first, a, second, b, sign in (
        (made, made_clips, made, made_clips, 1.0),
        (real, real_clips, real, real_clips, 1.0),
        (made, made_clips, real, real_clips, -2.0),
    ):
        near = torch.exp(-torch.cdist(first.double(), second.double()).square() / (2 * width**2))
        total += sign * float(near[a[:, None] != b[None, :]].mean())
    return KERNEL_SCALE * total
