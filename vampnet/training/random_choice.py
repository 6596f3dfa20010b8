"""Random choices from a torch.Generator, the only source of randomness."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch

T = TypeVar("T")


class RandomChoice:
    """Samples of common distributions from a torch.Generator."""

    def __init__(self, rng: torch.Generator):
        self.rng = rng

    def uniform(self, low: float, high: float) -> float:
        """Return a number in [low, high)."""
        return low + (high - low) * float(torch.rand((), generator=self.rng))

    def integer(self, low: int, high: int) -> int:
        """Return an integer in low..high, both included."""
        return int(torch.randint(low, high + 1, (), generator=self.rng))

    def bernoulli(self, share: float) -> bool:
        """Return True with probability ``share`` (0..1)."""
        return self.uniform(0.0, 1.0) < share

    def choice(self, choices: Sequence[T]) -> T:
        """Return one of the choices, with equal probability."""
        return choices[self.integer(0, len(choices) - 1)]

    def weighted_choice(self, choices: dict[T, int]) -> T:
        """Return one of the keys, with probability proportional to its value."""
        weights = torch.tensor([float(w) for w in choices.values()])
        return list(choices)[int(torch.multinomial(weights, 1, generator=self.rng))]
