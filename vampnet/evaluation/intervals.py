"""How sure a figure is: the jackknife over clips.

Clips are left out in turn, with all that was made of them, and the figure is taken again; its
spread tells the standard error whatever the figure is (Efron, "The Jackknife, the Bootstrap and
Other Resampling Plans", 1982). Takes of a clip go together, so seeds are counted in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scipy.stats import t as student

GROUPS = 12  # at most so many times is a part of the clips left out
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A figure and half the width of its 95 % interval (nan where one clip was all)."""

    value: float
    half: float

    @property
    def low(self) -> float:
        """The interval's lower end."""
        return self.value - self.half

    @property
    def high(self) -> float:
        """The interval's upper end."""
        return self.value + self.half


def jackknife(clips: Sequence[int], figure: Callable[[Sequence[int]], float]) -> Estimate:
    """``figure`` of all the clips with its interval.

    clips: their numbers; figure: of any subset of them. Fewer than 3 clips have no interval, nor
    has a figure that is nan where some are left out.
    """
    centre = figure(clips)
    n = min(GROUPS, len(clips))
    if n < 3:
        return Estimate(centre, math.nan)
    without = [figure([c for i, c in enumerate(clips) if i % n != k]) for k in range(n)]
    mean = sum(without) / n
    error = math.sqrt((n - 1) / n * sum((v - mean) ** 2 for v in without))
    return Estimate(centre, float(student.ppf((1 + CONFIDENCE) / 2, n - 1)) * error)
