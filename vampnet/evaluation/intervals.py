"""Confidence intervals by the jackknife over clips.

Clips are left out in turn, with everything generated from them, and the statistic is recomputed;
its spread gives the standard error of any statistic (Efron, "The Jackknife, the Bootstrap and Other
Resampling Plans", 1982). Takes of a clip are left out together, which accounts for their seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scipy.stats import t as student

GROUPS = 12  # number of jackknife groups at most
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """An estimate with its confidence interval.

    Attributes:
        value: the estimate.
        half: half the width of its 95 % interval, nan for too few clips.
    """

    value: float
    half: float

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return self.value - self.half

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return self.value + self.half


def jackknife(clips: Sequence[int], figure: Callable[[Sequence[int]], float]) -> Estimate:
    """Estimate a statistic over clips with its 95 % interval.

    Args:
        clips: numbers of the clips.
        figure: the statistic of any subset of them.

    Returns:
        The estimate. The interval is nan for fewer than 3 clips, or where the statistic of a
        subset is nan.
    """
    centre = figure(clips)
    n = min(GROUPS, len(clips))
    if n < 3:
        return Estimate(centre, math.nan)
    without = [figure([c for i, c in enumerate(clips) if i % n != k]) for k in range(n)]
    mean = sum(without) / n
    error = math.sqrt((n - 1) / n * sum((v - mean) ** 2 for v in without))
    return Estimate(centre, float(student.ppf((1 + CONFIDENCE) / 2, n - 1)) * error)
