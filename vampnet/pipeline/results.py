"""What the pipeline returns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
        audio: the takes, with the type, shape and sample rate of the input; more than one take
            adds a first axis of takes.
        regions: the takes as regions in the input's file format.
        codes: int64 (takes * C, N, T).
        mask: bool (N, T), True = generated.
        beats: the beats that were used, if any.
        seed: the seed that was used.
        preset: name of the preset.
        prompt, sampling: the settings that were used.
        files: the files that `vary_file` wrote.
    """

    audio: Any
    regions: tuple[Region, ...]
    codes: Any
    mask: Any
    beats: Any
    seed: int
    preset: str
    prompt: Prompt
    sampling: Sampling
    files: tuple[Path, ...] = ()

    def __repr__(self) -> str:
        """Preset, shape and seed, not values."""
        shape = tuple(self.audio.shape)
        return f"Variation(preset={self.preset!r}, audio={shape}, seed={self.seed})"
