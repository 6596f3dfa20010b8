"""Prompts: what the model may hear of a recording; the rest is masked and generated.

A prompt names kept places in music's own terms (every 7th frame, 75 ms after each beat, the first
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
from typing import TypeGuard

import torch
from torch import Tensor

from vampnet.system.errors import UserError

# Times that come from frame numbers divided by the frame rate land a hair beside whole frames.
_FRAME_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Prompt:
    """What the model may hear; every frame that no prompt keeps is generated.

    Prompts add up: a frame is kept when any of period, prefix, suffix, beat or onset keeps it.
    Then dropout gives kept frames up, `codebooks_kept` thins what is left, `compression` keeps
    its codebooks in every frame, and `ranges_s` keeps everything outside the ranges.

    Fields:
        period: keep every period-th frame; 0 = none kept by period.
        period_width: frames kept at each period.
        period_phase: frames by which the pattern is rolled to the right (circularly); None = drawn.
        codebooks_kept: in kept frames only the first n codebooks stay; None = all.
        compression: the first n codebooks stay in every frame (wins over `codebooks_kept`).
        prefix_s, suffix_s: seconds kept at the start and at the end.
        beat_ms, beat_before_ms: milliseconds kept after and before each beat; 0 = none.
        beat_every: only each n-th beat (or downbeat) counts, from the first one on.
        downbeats_only: only the first beat of each bar counts.
        onset_ms: milliseconds kept on either side of each onset; 0 = none.
        dropout: share (0 to 1) of the kept frames that are given up at random.
        ranges_s: (start, end) pairs in seconds; if any, only these are regenerated. The end may
            be `inf`: to the end of the audio.
        loop: the end of the region hears its beginning; read by the pipeline, not by `mask`.

    Raises ValueError, naming the value seen and those allowed, for a value out of range.
    """

    period: int = 0
    period_width: int = 1
    period_phase: int | None = 0
    codebooks_kept: int | None = None
    compression: int = 0
    prefix_s: float = 0.0
    suffix_s: float = 0.0
    beat_ms: float = 0.0
    beat_before_ms: float = 0.0
    beat_every: int = 1
    downbeats_only: bool = False
    onset_ms: float = 0.0
    dropout: float = 0.0
    ranges_s: tuple[tuple[float, float], ...] = ()
    loop: bool = False

    def __post_init__(self) -> None:
        for name, smallest in _WHOLE_NUMBERS.items():
            _check_whole(name, getattr(self, name), smallest, optional=name in _OPTIONAL)
        for name, largest in _AMOUNTS.items():
            _check_amount(name, getattr(self, name), largest)
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
        """The mask of this prompt over codec frames, the same for each item of the batch.

        Args:
            n_frames, n_codebooks: T and N of the codes.
            frame_rate_hz: codec frames a second.
            beats_s, downbeats_s, onsets_s: times in seconds, needed if the prompt follows them.
            rng: draws the dropped frames and, where `period_phase` is None, the phase.
            batch: B.

        Returns bool (B, N, T) on the CPU, True = generate.
        Raises ValueError for sizes below 1, times or a generator that are needed and not given,
        and a time range that does not lie within the audio.
        """
        _check_whole("n_frames", n_frames, 1)
        _check_whole("n_codebooks", n_codebooks, 1)
        _check_whole("batch", batch, 1)
        _check_amount("frame_rate_hz", frame_rate_hz, math.inf)
        if frame_rate_hz == 0:
            raise UserError(f"frame_rate_hz must be above 0, not {frame_rate_hz}")
        kept = self._kept_by_period(n_frames, rng)
        kept |= self._kept_at_ends(n_frames, frame_rate_hz)
        if self.needs_beats:
            kept |= self._kept_at_beats(n_frames, frame_rate_hz, beats_s, downbeats_s)
        if self.needs_onsets:
            kept |= self._kept_at_onsets(n_frames, frame_rate_hz, onsets_s)
        kept = self._drop(kept, rng)
        mask = (~kept).repeat(n_codebooks, 1)
        if self.codebooks_kept is not None:
            mask[self.codebooks_kept :] = True
        mask[: self.compression] = False
        if self.ranges_s:
            mask &= self._inside_ranges(n_frames, frame_rate_hz)
        return mask.repeat(batch, 1, 1)

    def _kept_by_period(self, n_frames: int, rng: torch.Generator | None) -> Tensor:
        """Bool (T): runs of exactly `period_width` frames; an even run leans to the right."""
        kept = torch.zeros(n_frames, dtype=torch.bool)
        if self.period == 0:
            return kept
        for centre in range(0, n_frames, self.period):
            start = centre - (self.period_width - 1) // 2
            kept[max(0, start) : start + self.period_width] = True
        phase = self.period_phase
        if phase is None:
            phase = _draw(self.period, rng, "period_phase = None")
        return kept.roll(phase % self.period)

    def _kept_at_ends(self, n_frames: int, frame_rate_hz: float) -> Tensor:
        """Bool (T): at least `prefix_s` and `suffix_s` seconds, in whole frames."""
        kept = torch.zeros(n_frames, dtype=torch.bool)
        first, last = (
            _frames_up(min(seconds * frame_rate_hz, n_frames))
            for seconds in (self.prefix_s, self.suffix_s)
        )
        kept[:first] = True
        kept[n_frames - last :] = True
        return kept

    def _kept_at_beats(
        self,
        n_frames: int,
        frame_rate_hz: float,
        beats_s: Sequence[float] | None,
        downbeats_s: Sequence[float] | None,
    ) -> Tensor:
        """Bool (T): each span is the nearest whole number of frames, and at least one."""
        times = downbeats_s if self.downbeats_only else beats_s
        if times is None:
            wanted = "downbeats_s" if self.downbeats_only else "beats_s"
            raise UserError(f"this prompt follows the beat and needs {wanted}, which is None")
        before = _span(self.beat_before_ms, frame_rate_hz)
        after = _span(self.beat_ms, frame_rate_hz)
        kept = torch.zeros(n_frames, dtype=torch.bool)
        for time_s in _checked_times("beats", times)[:: self.beat_every]:
            beat = _frames_up(time_s * frame_rate_hz)
            kept[max(0, beat - before) : max(0, beat + after)] = True
        return kept

    def _kept_at_onsets(
        self, n_frames: int, frame_rate_hz: float, onsets_s: Sequence[float] | None
    ) -> Tensor:
        """Bool (T): the nearest whole number of frames, at least one, on either side."""
        if onsets_s is None:
            raise UserError("this prompt follows the onsets and needs onsets_s, which is None")
        side = _span(self.onset_ms, frame_rate_hz)
        kept = torch.zeros(n_frames, dtype=torch.bool)
        for time_s in _checked_times("onsets", onsets_s):
            onset = math.floor(time_s * frame_rate_hz + 0.5)
            kept[max(0, onset - side) : max(0, onset + side)] = True
        return kept

    def _drop(self, kept: Tensor, rng: torch.Generator | None) -> Tensor:
        """Give up the nearest whole number of frames to `dropout`'s share, each at most once."""
        if self.dropout == 0:
            return kept
        if rng is None:
            raise UserError(f"dropout = {self.dropout} draws at random and needs rng, not None")
        places = kept.nonzero().flatten()
        n_dropped = math.floor(self.dropout * len(places) + 0.5)
        order = torch.randperm(len(places), generator=rng, device=rng.device).cpu()
        kept = kept.clone()
        kept[places[order[:n_dropped]]] = False
        return kept

    def _inside_ranges(self, n_frames: int, frame_rate_hz: float) -> Tensor:
        """Bool (T): every frame that a range touches, so that all of the range is new."""
        inside = torch.zeros(n_frames, dtype=torch.bool)
        duration_s = n_frames / frame_rate_hz
        for start_s, end_s in self.ranges_s:
            if start_s >= duration_s or (math.isfinite(end_s) and end_s > duration_s + 1e-3):
                raise UserError(
                    f"range {start_s:g}-{end_s:g} s must lie within the audio, 0-{duration_s:.3f} s"
                )
            first = min(math.floor(start_s * frame_rate_hz + _FRAME_TOLERANCE), n_frames - 1)
            end = n_frames if math.isinf(end_s) else _frames_up(end_s * frame_rate_hz)
            inside[first : max(end, first + 1)] = True
        return inside


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


def _check_whole(name: str, value: object, smallest: int, optional: bool = False) -> None:
    if optional and value is None:
        return
    if isinstance(value, bool) or not isinstance(value, Integral) or value < smallest:
        raise UserError(f"{name} must be a whole number from {smallest} up, not {value!r}")


def _check_amount(name: str, value: object, largest: float) -> None:
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
        _check_amount("a range's start", pair[0], math.inf)
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


def _checked_times(what: str, times: Sequence[float]) -> list[float]:
    try:
        found = [float(time_s) for time_s in times]
        if all(map(math.isfinite, found)):
            return found
    except (TypeError, ValueError, OverflowError):
        pass
    raise UserError(f"times of {what} must be finite numbers of seconds, not {times!r}")


def _frames_up(frames: float) -> int:
    """The whole number of frames that covers a number of frames from 0 up."""
    return math.ceil(frames - _FRAME_TOLERANCE)


def _span(milliseconds: float, frame_rate_hz: float) -> int:
    """Frames nearest to a span of time; any span above 0 is at least one frame."""
    if milliseconds == 0:
        return 0
    return max(1, math.floor(milliseconds / 1000 * frame_rate_hz + 0.5))


def _draw(n: int, rng: torch.Generator | None, what: str) -> int:
    """A whole number from 0 to n - 1."""
    if rng is None:
        raise UserError(f"{what} draws at random and needs rng, not None")
    return int(torch.randint(n, (1,), generator=rng, device=rng.device))
