"""What the pipeline returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vampnet.audio import Region
from vampnet.model import Sampling
from vampnet.prompt import Prompt
from vampnet.prompt.beats import Beats


@dataclass(frozen=True, eq=False, repr=False)
class Vamp:
    """A variation at the codec's rate.

    Attributes:
        audio: float (takes, C, S).
        codes: int64 (takes * C, N, T), N the codebooks that are decoded; without a coarse-to-fine
            model they are the coarse ones.
        mask: bool (N, T), True = generated.
        beats: the beats that were used, if any.
        seed: the seed.
    """

    audio: Tensor
    codes: Tensor
    mask: Tensor
    beats: Beats | None
    seed: int

    def __repr__(self) -> str:
        """Shapes and seed, not values."""
        return f"Vamp(audio={tuple(self.audio.shape)}, codes={tuple(self.codes.shape)}, " + (
            f"seed={self.seed})"
        )


@dataclass(frozen=True, eq=False, repr=False)
class Variation:
    """What `vary`, `vary_file` and `vary_region` return.

    For a batch, codes, mask and beats have one entry per item.

    Attributes:
        regions: the takes as regions in the input's file format.
        codes: int64 (takes * C, N, T).
        mask: bool (N, T), True = generated.
        beats: the beats that were used, if any.
        seed: the seed that was used.
        preset: name of the preset.
        prompt, sampling: the settings that were used.
        files: the files that `vary_file` wrote.
        to_audio: converts float (regions, C, S) to `audio`; None = tensors as they are.
    """

    regions: tuple[Region, ...]
    codes: Any
    mask: Any
    beats: Any
    seed: int
    preset: str
    prompt: Prompt
    sampling: Sampling
    files: tuple[Path, ...] = ()
    to_audio: Callable[[Tensor], Any] | None = None

    @cached_property
    def audio(self) -> Any:
        """The takes, with the type, shape and sample rate of the input.

        More than one take adds a first axis of takes. Computed at the first use, since files need
        the regions only.
        """
        stacked = torch.stack([region.samples for region in self.regions])
        if self.to_audio is not None:
            return self.to_audio(stacked)
        return stacked if len(stacked) > 1 else stacked[0]

    def __repr__(self) -> str:
        """Preset, number of regions and seed, not values."""
        return f"Variation(preset={self.preset!r}, regions={len(self.regions)}, seed={self.seed})"
