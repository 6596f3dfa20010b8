"""Time ranges as a musician writes them, seconds or bars, and their limits in a clip."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from vampnet.system.errors import UserError

BEATS_PER_BAR = 4
MAX_RANGES = 64
MAX_OFFSET_S = 86400.0  # of the first downbeat; a day: the timeline of any DAW
SLACK_S = 0.05  # a range may end this long after the clip
SLACK_BPM = 0.05  # and as much later as its bars end at a tempo that is this much too slow

_TIME = r"(\d{1,4}:)?\d{1,6}(\.\d{0,6})?"
_RANGE = re.compile(
    rf"(?P<bars>bars?)?\s*(?P<start>{_TIME})\s*(?P<s>s|sec)?"
    rf"(\s*[-\u2013\u2014]\s*(?P<end>{_TIME})\s*(?P<end_s>s|sec)?)?",
    re.ASCII | re.IGNORECASE,
)
_DECIMAL_COMMA = re.compile(r"(?<=\d),(?=\d)", re.ASCII)


class _Item(NamedTuple):
    """One range of a text: as written, its parts, and whether its numbers count bars."""

    text: str
    found: re.Match[str]
    in_bars: bool


def parse_ranges(
    text: str, bpm: float | None = None, first_bar_s: float = 0.0
) -> tuple[tuple[float, float], ...]:
    """Read a list of ranges in seconds, ``2-3.5, 1:02-1:04``, or in bars, ``bar 3-4``.

    Bars count from 1, which starts at ``first_bar_s``, have four beats and include the last one
    named; of a bar that began before the clip the rest counts. After a ``bar`` numbers count bars
    too, as in ``bar 3-4, 7-8``, until one has the unit ``s``.

    Args:
        text: the ranges, separated by commas, semicolons or lines; empty = none.
        bpm: tempo in beats per minute, needed for bars.
        first_bar_s: time of the first downbeat in seconds.

    Returns:
        A pair (start, end) in seconds for each range, in the order of the text.

    Raises:
        UserError: for text that cannot be read, a range of no length, bars without a tempo, and
            bars that end before the clip starts.
    """
    return tuple(_seconds(item, bpm, first_bar_s) for item in _items(text))


def _items(text: str) -> list[_Item]:
    """The ranges of a text, read but not yet converted; UserError where one cannot be read."""
    written = [item.strip() for item in re.split(r"[,;\n]", text) if item.strip()]
    if len(written) > MAX_RANGES:
        raise UserError(f"Range: {len(written)} ranges; at most {MAX_RANGES} are allowed")
    items, in_bars = [], False
    for item in written:
        found = _RANGE.fullmatch(item)
        in_seconds = bool(found and (found["s"] or found["end_s"]))
        in_bars = bool(found and found["bars"]) or (in_bars and not in_seconds)
        if not found or (in_bars and in_seconds) or not (in_bars or found["end"]):
            raise UserError(_unreadable(item, text))
        items.append(_Item(item, found, in_bars))
    return items


def _unreadable(item: str, text: str) -> str:
    """Why an item of a text cannot be read, with the right way to write it."""
    if _DECIMAL_COMMA.search(text) and re.fullmatch(r"[\d\s.-]+", item, re.ASCII):
        point = _DECIMAL_COMMA.sub(".", text.strip())
        if len(point) <= 40 and all(_RANGE.fullmatch(part.strip()) for part in point.split(",")):
            return f"Range '{text.strip()}': a comma separates ranges; write {point}"
        return f"Range '{item[:40]}': a comma separates ranges; decimals take a point, as 2.5-3.5"
    return (
        f"Range '{item[:40]}' cannot be read; write seconds, as 2-3.5 or 1:02-1:04, "
        "or with a tempo set bars, as bar 3-4"
    )


def _seconds(item: _Item, bpm: float | None, first_bar_s: float) -> tuple[float, float]:
    """Start and end of an item in seconds."""
    text, found, in_bars = item
    start_text, end_text = found["start"], found["end"] or found["start"]
    if in_bars:
        return _bars(item, start_text, end_text, bpm, first_bar_s)
    start, end = _clock(text, start_text), _clock(text, end_text)
    if end <= start:
        wrong = "has no length" if end == start else "ends before it starts"
        raise UserError(f"Range '{text}' {wrong}")
    return start, end


def _bars(
    item: _Item, start_text: str, end_text: str, bpm: float | None, first_bar_s: float
) -> tuple[float, float]:
    """Start of the first and end of the last bar of an item, in seconds."""
    if bpm is None:
        raise UserError(f"Range '{item.text}' counts bars; set the tempo for that")
    if not (start_text.isdigit() and end_text.isdigit() and int(start_text) >= 1):
        raise UserError(f"Range '{item.text}': bars are whole numbers from 1")
    first, last = int(start_text), int(end_text)
    if last < first:
        raise UserError(f"Range '{item.text}' ends before it starts")
    bar_s = BEATS_PER_BAR * 60.0 / bpm
    start, end = first_bar_s + (first - 1) * bar_s, first_bar_s + last * bar_s
    if end <= 0:
        raise UserError(
            f"Range '{item.text}' ends before the clip starts; bar 1 is at {first_bar_s:g} s"
        )
    return max(start, 0.0), end


def _clock(item: str, text: str) -> float:
    """Seconds of ``62.5`` or ``1:02.5``."""
    minutes, colon, seconds = text.rpartition(":")
    if not colon:
        return float(text)
    if not re.match(r"[0-5]\d(\.|$)", seconds):
        raise UserError(f"Range '{item}': minutes and seconds are written as 1:02 or 1:02.5")
    return 60.0 * int(minutes) + float(seconds)


def clipped(
    ranges_s: Sequence[tuple[float, float]],
    duration_s: float,
    bpm: float | None = None,
    text: str = "",
    first_bar_s: float = 0.0,
) -> tuple[tuple[float, float], ...]:
    """Limit ranges to a clip.

    A tempo that was rounded shifts the end of a bar further, the more bars are before it.

    Args:
        ranges_s: (start, end) in seconds.
        duration_s: length of the clip in seconds.
        bpm, first_bar_s: tempo and first downbeat by which bars were counted.
        text: what the ranges were read from, if they were; named in the error.

    Returns:
        The ranges, those that end slightly after the clip ending with it.

    Raises:
        UserError: for a range outside the clip, in bars where it was given in bars.
    """
    for place, (start_s, end_s) in enumerate(ranges_s):
        slack_s = SLACK_S + (end_s * SLACK_BPM / bpm if bpm else 0.0)
        if start_s >= duration_s or duration_s + slack_s < end_s < math.inf:
            items = _items(text) if text else []
            said, length = f"{start_s:g}-{end_s:g} s", f"is {duration_s:.3f} s long"
            if place < len(items) and items[place].in_bars and bpm:
                said = re.sub(r"^(?=\d)", "bar ", items[place].text)
                n_bars = (duration_s - first_bar_s) * bpm / 60.0 / BEATS_PER_BAR
                length = f"has {n_bars:.4g} bar{'s' * (n_bars != 1)} at {bpm:g} BPM"
            raise UserError(f"Range {said} lies outside the clip, which {length}")
    return tuple((start_s, min(end_s, duration_s)) for start_s, end_s in ranges_s)
