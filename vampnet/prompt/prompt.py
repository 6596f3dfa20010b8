"""Prompts: which tokens of the input are kept; the rest is masked and generated.

A prompt names what is kept in musical terms (every 7th frame, 75 ms after each beat, the first
second) and `Prompt.mask` turns it into a boolean mask over codec frames, True = generate. The
prompts are those of Flores Garcia et al., "VampNet: Music Generation via Masked Acoustic Token
Modeling" (ISMIR 2023), section 3, plus time ranges.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, TypeGuard

from vampnet.system.errors import UserError
from vampnet.system.settings_table import setting, whole_or

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Prompt:
    """What is kept of the input; every frame that no prompt keeps is generated.

    Prompts add up: a frame is kept when any of period, prefix, suffix, beat or onset keeps it.
    Then dropout masks kept frames again, `codebooks_kept` thins what is left, `compression` keeps
    its codebooks in every frame, and `ranges_s` keeps everything outside the ranges.

    Fields:
        period: keep every period-th frame; 0 = none kept by period.
        period_width: frames kept at each period.
        period_phase: frames by which the pattern is rolled to the right; None = random.
        codebooks_kept: in kept frames only the first n codebooks stay; None = all.
        compression: the first n codebooks stay in every frame (wins over `codebooks_kept`).
        prefix_s, suffix_s: seconds kept at the start and at the end.
        beat_ms, beat_before_ms: milliseconds kept after and before each beat; 0 = none.
        beat_every: only each n-th beat (or downbeat) counts, from the first one on.
        downbeats_only: only the first beat of each bar counts.
        onset_ms: milliseconds kept on either side of each onset; 0 = none.
        dropout: share (0 to 1) of the kept frames that are masked again at random.
        ranges_s: (start, end) pairs in seconds; if any, only these are regenerated. The end may
            be `inf`: to the end of the audio.
        loop: the end is generated in the context of the beginning; read by the pipeline, not by
            `mask`.

    Raises ValueError, naming the value seen and those allowed, for a value out of range.
    """

    period: int = setting(0, "FRAMES", "keep every n-th frame (1/57 s each); 0 = none")
    period_width: int = setting(1, "FRAMES", "frames kept at each period")
    period_phase: int | None = setting(
        0, "FRAMES", "shift of the pattern, or 'random'", whole_or("random")
    )
    codebooks_kept: int | None = setting(
        None, "N", "only the first n codebooks of kept frames stay, or 'all'", whole_or("all")
    )
    compression: int = setting(0, "N", "the first n codebooks stay in every frame")
    prefix_s: float = setting(0.0, "SECONDS", "kept at the start")
    suffix_s: float = setting(0.0, "SECONDS", "kept at the end")
    beat_ms: float = setting(0.0, "MS", "milliseconds kept after each beat; 0 = none")
    beat_before_ms: float = setting(0.0, "MS", "milliseconds kept before each beat; 0 = none")
    beat_every: int = setting(1, "N", "only each n-th beat counts")
    downbeats_only: bool = setting(False, "", "only the first beat of each bar counts")
    onset_ms: float = setting(0.0, "MS", "milliseconds kept on either side of each onset; 0 = none")
    dropout: float = setting(0.0, "SHARE", "0 to 1: share of kept frames given up at random")
    ranges_s: tuple[tuple[float, float], ...] = ()
    loop: bool = setting(False, "", "the end is generated in the context of the start: a loop")

    def __post_init__(self) -> None:
        for name, smallest in _WHOLE_NUMBERS.items():
            check_whole(name, getattr(self, name), smallest, optional=name in _OPTIONAL)
        for name, largest in _AMOUNTS.items():
            check_amount(name, getattr(self, name), largest)
        for name in ("downbeats_only", "loop"):
            if not isinstance(getattr(self, name), bool):
                raise UserError(f"{name} must be true or false, not {getattr(self, name)!r}")
        object.__setattr__(self, "ranges_s", _checked_ranges(self.ranges_s))

    @property
    def needs_beats(self) -> bool:
        """Whether `mask` must be given beat times (downbeat times with `downbeats_only`)."""
        return self.beat_ms > 0 or self.beat_before_ms > 0

    @property
    def needs_onsets(self) -> bool:
        """Whether `mask` must be given onset times."""
        return self.onset_ms > 0

    def mask(
        self,
        n_frames: int,
        n_codebooks: int,
        frame_rate_hz: float,
        *,
        beats_s: Sequence[float] | None = None,
        downbeats_s: Sequence[float] | None = None,
        onsets_s: Sequence[float] | None = None,
        rng: torch.Generator | None = None,
        batch: int = 1,
    ) -> Tensor:
        """Return the mask of this prompt over codec frames, the same for each item of the batch.

        Args:
            n_frames, n_codebooks: T and N of the codes.
            frame_rate_hz: codec frames per second.
            beats_s, downbeats_s, onsets_s: times in seconds, needed if the prompt follows them.
            rng: source of the dropped frames and, where `period_phase` is None, of the phase.
            batch: B.

        Returns:
            bool (B, N, T) on the CPU, True = generate.

        Raises:
            UserError: for sizes below 1, times or a generator that are needed and not given, and a
                time range that is not within the audio.
        """
        from vampnet.prompt.mask import Times, build_mask

        times = Times(beats_s, downbeats_s, onsets_s)
        mask = build_mask(self, n_frames, n_codebooks, frame_rate_hz, times, rng)
        check_whole("batch", batch, 1)
        return mask.repeat(batch, 1, 1)


# Fields that are whole numbers, each with the smallest allowed, and those that may be None.
_WHOLE_NUMBERS = {
    "period": 0,
    "period_width": 1,
    "period_phase": 0,
    "codebooks_kept": 0,
    "compression": 0,
    "beat_every": 1,
}
_OPTIONAL = ("period_phase", "codebooks_kept")
# Fields that are amounts from 0 up, each with the largest allowed.
_AMOUNTS = {
    "prefix_s": math.inf,
    "suffix_s": math.inf,
    "beat_ms": math.inf,
    "beat_before_ms": math.inf,
    "onset_ms": math.inf,
    "dropout": 1.0,
}


def check_whole(name: str, value: object, smallest: int, optional: bool = False) -> None:
    """UserError for anything but a whole number from ``smallest`` up (or None if optional)."""
    if optional and value is None:
        return
    if isinstance(value, bool) or not isinstance(value, Integral) or value < smallest:
        raise UserError(f"{name} must be a whole number from {smallest} up, not {value!r}")


def check_amount(name: str, value: object, largest: float) -> None:
    """UserError for anything but a number from 0 to ``largest``."""
    allowed = f"from 0 to {largest:g}" if math.isfinite(largest) else "from 0 up"
    most = min(largest, sys.float_info.max)  # a whole number may be larger than any float
    if not _is_number(value) or not 0 <= _plain(value) <= most:
        raise UserError(f"{name} must be a number {allowed}, not {value!r}")


def _checked_ranges(ranges: object) -> tuple[tuple[float, float], ...]:
    if not isinstance(ranges, (tuple, list)):
        raise UserError(f"ranges_s must be pairs of start and end in seconds, not {ranges!r}")
    for pair in ranges:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise UserError(f"ranges_s must be pairs of start and end in seconds, not {pair!r}")
        check_amount("a range's start", pair[0], math.inf)
        end = _plain(pair[1]) if _is_number(pair[1]) else None
        if end is None or not (pair[0] < end <= sys.float_info.max or end == math.inf):
            raise UserError(
                f"a range's end must be a number of seconds above its start {pair[0]!r}, "
                f"not {pair[1]!r}"
            )
    return tuple((float(start), float(end)) for start, end in ranges)


def _plain(value: float) -> float:
    """Any kind of number as Python's, whole ones as they are: they may pass any float."""
    return value if isinstance(value, int) else float(value)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, Real) and not isinstance(value, bool)
