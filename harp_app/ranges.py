"""The text of "Regenerate only": seconds or bars, written as a musician writes them."""

from __future__ import annotations

import re

BEATS_PER_BAR = 4
MAX_RANGES = 64

_RANGE = re.compile(
    r"(?P<bars>bars?)?\s*(?P<start>\d{1,6}(\.\d{0,6})?)\s*(?P<s>s|sec)?"
    r"(\s*[-\u2013\u2014]\s*(?P<end>\d{1,6}(\.\d{0,6})?)\s*(?P<end_s>s|sec)?)?",
    re.ASCII | re.IGNORECASE,
)


def parse_ranges(text: str, bpm: float | None = None) -> tuple[tuple[float, float], ...]:
    """Return (start, end) in seconds of ``2-3.5, 6-7.25`` or, with a tempo, of ``bar 3-4``.

    Bars count from 1, have four beats and include the last one named. Behind a ``bar`` numbers
    count bars too, as in ``bar 3-4, 7-8``, until one says ``s``. Raises ValueError for what cannot
    be read, for an end before its start, and for bars without a tempo.
    """
    items = [item.strip() for item in re.split(r"[,;\n]", text) if item.strip()]
    if len(items) > MAX_RANGES:
        raise ValueError(f"Regenerate only has {len(items)} ranges; {MAX_RANGES} are allowed")
    ranges_s, in_bars = [], False
    for item in items:
        found = _RANGE.fullmatch(item)
        in_seconds = bool(found and (found["s"] or found["end_s"]))
        in_bars = bool(found and found["bars"]) or (in_bars and not in_seconds)
        if not found or (in_bars and in_seconds) or not (in_bars or found["end"]):
            raise ValueError(
                f"Regenerate only: '{item[:40]}' cannot be read; write seconds like 2-3.5, 6-7.25 "
                "or, with a tempo set, bar 3-4"
            )
        ranges_s.append(_range(item, found, in_bars, bpm))
    return tuple(ranges_s)


def _range(
    item: str, found: re.Match[str], in_bars: bool, bpm: float | None
) -> tuple[float, float]:
    start, end = float(found["start"]), float(found["end"] or found["start"])
    if in_bars:
        if bpm is None:
            raise ValueError(f"Regenerate only: '{item}' counts bars; set the tempo for that")
        if start < 1 or start % 1 or end % 1:
            raise ValueError(f"Regenerate only: '{item}'; bars are whole numbers from 1")
        bar_s = BEATS_PER_BAR * 60.0 / bpm
        start, end = (start - 1) * bar_s, end * bar_s
    if end <= start:
        raise ValueError(f"Regenerate only: '{item}' ends before it starts")
    return start, end
