"""The text of "Regenerate only": seconds or bars, written as a musician writes them, in a clip."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from vampnet.system.errors import UserError

BEATS_PER_BAR = 4
MAX_RANGES = 64
SLACK_S = 0.05  # a range may end this far behind the clip
SLACK_BPM = 0.05  # and as much further as its bars do at a tempo that is so much too slow

_RANGE = re.compile(
    r"(?P<bars>bars?)?\s*(?P<start>\d{1,6}(\.\d{0,6})?)\s*(?P<s>s|sec)?"
    r"(\s*[-\u2013\u2014]\s*(?P<end>\d{1,6}(\.\d{0,6})?)\s*(?P<end_s>s|sec)?)?",
    re.ASCII | re.IGNORECASE,
)


def parse_ranges(
    text: str, bpm: float | None = None, first_bar_s: float = 0.0
) -> tuple[tuple[float, float], ...]:
    """Return (start, end) in seconds of ``2-3.5, 6-7.25`` or, with a tempo, of ``bar 3-4``.

    Bars count from 1, which starts at ``first_bar_s``, have four beats and include the last one
    named; of one that began before the clip the rest counts. Behind a ``bar`` numbers count bars
    too, as in ``bar 3-4, 7-8``, until one says ``s``. Raises ValueError for what cannot be read, a
    range of no length, bars without a tempo, and those that end before the clip starts.
    """
    items = [item.strip() for item in re.split(r"[,;\n]", text) if item.strip()]
    if len(items) > MAX_RANGES:
        raise UserError(f"Regenerate only has {len(items)} ranges; {MAX_RANGES} are allowed")
    ranges_s, in_bars = [], False
    for item in items:
        found = _RANGE.fullmatch(item)
        in_seconds = bool(found and (found["s"] or found["end_s"]))
        in_bars = bool(found and found["bars"]) or (in_bars and not in_seconds)
        if not found or (in_bars and in_seconds) or not (in_bars or found["end"]):
            raise UserError(
                f"Regenerate only: '{item[:40]}' cannot be read; write seconds like 2-3.5, 6-7.25 "
                "or, with a tempo set, bar 3-4"
            )
        ranges_s.append(_range(item, found, in_bars, bpm, first_bar_s))
    return tuple(ranges_s)


def _range(
    item: str, found: re.Match[str], in_bars: bool, bpm: float | None, first_bar_s: float
) -> tuple[float, float]:
    start, end = float(found["start"]), float(found["end"] or found["start"])
    if in_bars:
        if bpm is None:
            raise UserError(f"Regenerate only: '{item}' counts bars; set the tempo for that")
        if start < 1 or start % 1 or end % 1:
            raise UserError(f"Regenerate only: '{item}'; bars are whole numbers from 1")
        bar_s = BEATS_PER_BAR * 60.0 / bpm
        start, end = first_bar_s + (start - 1) * bar_s, first_bar_s + end * bar_s
        if start < end <= 0:
            raise UserError(
                f"Regenerate only: '{item}' ends before the clip starts; bar 1 is at"
                f" {first_bar_s:g} s"
            )
        start = max(start, 0.0)
    if end <= start:
        wrong = "has no length" if end == start else "ends before it starts"
        raise UserError(f"Regenerate only: '{item}' {wrong}")
    return start, end


def clipped(
    ranges_s: Sequence[tuple[float, float]], duration_s: float, bpm: float | None = None
) -> tuple[tuple[float, float], ...]:
    """Return the ranges ending at the end of a clip of ``duration_s``; ValueError for one outside.

    A tempo that was rounded puts the end of a bar the further off, the more bars are before it.
    """
    for start_s, end_s in ranges_s:
        slack_s = SLACK_S + (end_s * SLACK_BPM / bpm if bpm else 0.0)
        if start_s >= duration_s or duration_s + slack_s < end_s < math.inf:
            raise UserError(
                f"Regenerate only: {start_s:g}-{end_s:g} s lies outside the clip, "
                f"which is {duration_s:.3f} s long."
            )
    return tuple((start_s, min(end_s, duration_s)) for start_s, end_s in ranges_s)
