"""Choices by a torch.Generator: the one source of chance, told in musical decisions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch

T = TypeVar("T")


class Dice:
    """Draws from a torch.Generator."""

    def __init__(self, rng: torch.Generator):
        self.rng = rng

    def between(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        return low + (high - low) * float(torch.rand((), generator=self.rng))

    def whole(self, low: int, high: int) -> int:
        """A whole number in low..high, both included."""
        return int(torch.randint(low, high + 1, (), generator=self.rng))

    def chance(self, share: float) -> bool:
        """True in this share (0..1) of the draws."""
        return self.between(0.0, 1.0) < share

    def pick(self, choices: Sequence[T]) -> T:
        """One of them, all alike."""
        return choices[self.whole(0, len(choices) - 1)]

    def weighted(self, choices: dict[T, int]) -> T:
        """One of the keys, as often as its value says."""
        weights = torch.tensor([float(w) for w in choices.values()])
        return list(choices)[int(torch.multinomial(weights, 1, generator=self.rng))]
