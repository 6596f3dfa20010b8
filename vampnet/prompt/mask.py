"""The mask of a prompt over codec frames, bool, True = generate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vampnet.prompt.prompt import Prompt, check_amount, check_whole
from vampnet.system.errors import UserError

# Times that are frame numbers divided by the frame rate are a rounding error off whole frames.
_FRAME_TOLERANCE = 1e-6


class Times(NamedTuple):
    """Times in seconds that a prompt may follow; None = not known."""

    beats_s: Sequence[float] | None = None
    downbeats_s: Sequence[float] | None = None
    onsets_s: Sequence[float] | None = None


def build_mask(
    prompt: Prompt,
    n_frames: int,
    n_codebooks: int,
    frame_rate_hz: float,
    times: Times,
    rng: torch.Generator | None,
) -> Tensor:
    """Return the mask of a prompt, bool (N, T); see :meth:`Prompt.mask`."""
    check_whole("n_frames", n_frames, 1)
    check_whole("n_codebooks", n_codebooks, 1)
    check_amount("frame_rate_hz", frame_rate_hz, math.inf)
    if frame_rate_hz == 0:
        raise UserError(f"frame_rate_hz must be above 0, not {frame_rate_hz}")
    kept = _kept_by_period(prompt, n_frames, rng)
    kept |= _kept_at_ends(prompt, n_frames, frame_rate_hz)
    if prompt.needs_beats:
        kept |= _kept_at_beats(prompt, n_frames, frame_rate_hz, times.beats_s, times.downbeats_s)
    if prompt.needs_onsets:
        kept |= _kept_at_onsets(prompt, n_frames, frame_rate_hz, times.onsets_s)
    kept = _drop(prompt, kept, rng)
    mask = (~kept).repeat(n_codebooks, 1)
    if prompt.codebooks_kept is not None:
        mask[prompt.codebooks_kept :] = True
    mask[: prompt.compression] = False
    if prompt.ranges_s:
        mask &= _inside_ranges(prompt, n_frames, frame_rate_hz)
    return mask


def _kept_by_period(prompt: Prompt, n_frames: int, rng: torch.Generator | None) -> Tensor:
    """Bool (T): runs of exactly `period_width` frames; an even run leans to the right."""
    kept = torch.zeros(n_frames, dtype=torch.bool)
    if prompt.period == 0:
        return kept
    for centre in range(0, n_frames, prompt.period):
        start = centre - (prompt.period_width - 1) // 2
        kept[max(0, start) : start + prompt.period_width] = True
    phase = prompt.period_phase
    if phase is None:
        phase = _draw(prompt.period, rng, "period_phase = None")
    return kept.roll(phase % prompt.period)


def _kept_at_ends(prompt: Prompt, n_frames: int, frame_rate_hz: float) -> Tensor:
    """Bool (T): at least `prefix_s` and `suffix_s` seconds, in whole frames."""
    kept = torch.zeros(n_frames, dtype=torch.bool)
    first, last = (
        _frames_up(min(seconds * frame_rate_hz, n_frames))
        for seconds in (prompt.prefix_s, prompt.suffix_s)
    )
    kept[:first] = True
    kept[n_frames - last :] = True
    return kept


def _kept_at_beats(
    prompt: Prompt,
    n_frames: int,
    frame_rate_hz: float,
    beats_s: Sequence[float] | None,
    downbeats_s: Sequence[float] | None,
) -> Tensor:
    """Bool (T): each span is the nearest whole number of frames, and at least one."""
    times = downbeats_s if prompt.downbeats_only else beats_s
    if times is None:
        wanted = "downbeats_s" if prompt.downbeats_only else "beats_s"
        raise UserError(f"this prompt follows the beat and needs {wanted}, which is None")
    before = _span(prompt.beat_before_ms, frame_rate_hz)
    after = _span(prompt.beat_ms, frame_rate_hz)
    kept = torch.zeros(n_frames, dtype=torch.bool)
    for time_s in _checked_times("beats", times)[:: prompt.beat_every]:
        beat = _frames_up(time_s * frame_rate_hz)
        kept[max(0, beat - before) : max(0, beat + after)] = True
    return kept


def _kept_at_onsets(
    prompt: Prompt, n_frames: int, frame_rate_hz: float, onsets_s: Sequence[float] | None
) -> Tensor:
    """Bool (T): the nearest whole number of frames, at least one, on either side."""
    if onsets_s is None:
        raise UserError("this prompt follows the onsets and needs onsets_s, which is None")
    side = _span(prompt.onset_ms, frame_rate_hz)
    kept = torch.zeros(n_frames, dtype=torch.bool)
    for time_s in _checked_times("onsets", onsets_s):
        onset = math.floor(time_s * frame_rate_hz + 0.5)
        kept[max(0, onset - side) : max(0, onset + side)] = True
    return kept


def _drop(prompt: Prompt, kept: Tensor, rng: torch.Generator | None) -> Tensor:
    """Give up the nearest whole number of frames to `dropout`'s share, each at most once."""
    if prompt.dropout == 0:
        return kept
    if rng is None:
        raise UserError(f"dropout = {prompt.dropout} draws at random and needs rng, not None")
    places = kept.nonzero().flatten()
    n_dropped = math.floor(prompt.dropout * len(places) + 0.5)
    order = torch.randperm(len(places), generator=rng, device=rng.device).cpu()
    kept = kept.clone()
    kept[places[order[:n_dropped]]] = False
    return kept


def _inside_ranges(prompt: Prompt, n_frames: int, frame_rate_hz: float) -> Tensor:
    """Bool (T): every frame that a range touches, so that all of the range is new."""
    inside = torch.zeros(n_frames, dtype=torch.bool)
    duration_s = n_frames / frame_rate_hz
    for start_s, end_s in prompt.ranges_s:
        if start_s >= duration_s or (math.isfinite(end_s) and end_s > duration_s + 1e-3):
            raise UserError(
                f"range {start_s:g}-{end_s:g} s must lie within the audio, 0-{duration_s:.3f} s"
            )
        first = min(math.floor(start_s * frame_rate_hz + _FRAME_TOLERANCE), n_frames - 1)
        end = n_frames if math.isinf(end_s) else _frames_up(end_s * frame_rate_hz)
        inside[first : max(end, first + 1)] = True
    return inside


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
