"""The labels over a result: what was kept or regenerated where, and how the take can be repeated.

HARP draws a label at least a tenth of the track wide, centred on its span, and a later one covers
an earlier one. So its strip above the waveform has few labels, none over another, and the settings
are at the bottom of the waveform, where nothing else is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from harp_app.more import written
from harp_app.settings import Settings
from vampnet.model import Sampling
from vampnet.prompt import Prompt
from vampnet.prompt.beats import Beats

# ARGB as a signed 32-bit integer. What lies over the waveform is nearly opaque.
COLOR_SETTINGS = 0xE0202A30 - 2**32
COLOR_RANGE, COLOR_BEAT, COLOR_KEPT = 0x60E07030, 0x603080E0, 0x6040B060
BOTTOM, ROW = -1.0, 0.5  # amplitudes of a label at the bottom of the waveform, and of a row of them
IN_ROW = 5
MAX_IN_STRIP = 8
MAX_TEXT = 130  # characters of a description: two lines of HARP's text under the pointer
TRACK_PX = 740  # of the waveform in HARP's window as it opens
LABEL_PX, LONG_LABEL_PX, LETTER_PX = 74, 148, 9


@dataclass(frozen=True)
class Mark:
    """A label over the result: ``t`` and ``duration`` in seconds, ``color`` ARGB.

    amplitude: height over the waveform (0 = middle); None = in the strip above it.
    """

    t: float
    label: str
    duration: float = 0.0
    description: str = ""
    color: int = 0
    amplitude: float | None = None


def labels(
    settings: Settings,
    beats: Beats | None,
    duration_s: float,
    takes: int,
    sampling: Sampling | None = None,
) -> tuple[Mark, ...]:
    """Return the labels that HARP shows of an answer: settings first, then places in the strip.

    takes: how many tracks the answer has; each of them shows all labels. sampling: what the preset,
    the model and the request came to.
    """
    strip = _fitting(_edges(settings, duration_s), duration_s)
    strip = _fitting(_bars(settings, beats, duration_s), duration_s, strip)
    return (*_settings_marks(settings, duration_s, takes, sampling), *strip)


def kept_whole(marks: Sequence[Mark], text: str, duration_s: float) -> tuple[Mark, ...]:
    """Return the labels of an answer in which nothing is new: the strip says that, nothing else."""
    settings = [mark for mark in marks if mark.amplitude is not None]
    return (*settings, Mark(0.0, "nothing new", duration_s, text, COLOR_KEPT))


def places(settings: Settings, beats: Beats | None, duration_s: float) -> tuple[Mark, ...]:
    """Return every place that was regenerated alone or kept, for the page's picture."""
    return (*_edges(settings, duration_s), *_kept_beats(settings.prompt, beats, duration_s))


def _settings_marks(
    settings: Settings, duration_s: float, takes: int, sampling: Sampling | None
) -> list[Mark]:
    """Labels side by side at the bottom: the preset and the settings, in one or more of them."""
    texts = _packed([*_takes(takes), *settings.parts()])
    found = [(f"seed {settings.seed}", texts[0]), *(("settings", text) for text in texts[1:])]
    preset = settings.preset
    found.insert(1, (preset.name, f"{preset.name}: {preset.description}"))
    if sampling is not None:
        found.append(("sampling", _sampling_text(sampling)))
    marks = []
    for first in range(0, len(found), IN_ROW):
        row = found[first : first + IN_ROW]
        height = BOTTOM + ROW * first / IN_ROW
        for place, (label, text) in enumerate(row):
            centre_s = (place + 0.5) * duration_s / len(row)
            marks.append(Mark(centre_s, label, 0.0, text, COLOR_SETTINGS, height))
    return marks


def _sampling_text(sampling: Sampling) -> str:
    """The settings in use that are not off, with the names and units of *More*."""
    used = {k: v for k, v in asdict(sampling).items() if v}
    if not sampling.typical_mass:
        del used["typical_min_tokens"]
    return ", ".join(written(name, value) for name, value in used.items())


def _takes(takes: int) -> list[str]:
    if takes == 1:
        return []
    return [f"{takes} takes, track by track: take1of{takes} to take{takes}of{takes} in file names"]


def _packed(parts: Sequence[str]) -> list[str]:
    """The parts in as few lines of ``MAX_TEXT`` characters as they fit into."""
    lines = [parts[0]]
    for part in parts[1:]:
        if len(lines[-1]) + 2 + len(part) <= MAX_TEXT:
            lines[-1] += f", {part}"
        else:
            lines.append(part)
    return lines


def _edges(settings: Settings, duration_s: float) -> list[Mark]:
    """Ranges that were regenerated, and a beginning and an end that were kept."""
    prompt = settings.prompt
    left = _left(prompt)
    found = []
    for start_s, end_s in settings.ranges_s:
        text = f"regenerated: {start_s:.6g} to {end_s:.6g} s; the rest stays as it was"
        found.append(Mark(start_s, "new", min(end_s, duration_s) - start_s, text, COLOR_RANGE))
    for where, seconds in (("beginning", prompt.prefix_s), ("end", prompt.suffix_s)):
        if seconds and left is not None:
            kept_s = min(seconds, duration_s)
            start_s = 0.0 if where == "beginning" else duration_s - kept_s
            text = f"the {where} is kept{left}"
            found.append(Mark(start_s, "kept" + left, kept_s, text, COLOR_KEPT))
    return found


def _left(prompt: Prompt) -> str | None:
    """What dropout leaves of the kept places, as words after "kept"; None for nothing."""
    if prompt.dropout == 1 or prompt.codebooks_kept == 0:
        return None
    return f", {100 * (1 - prompt.dropout):.3g} % of it" if prompt.dropout else ""


def _kept_beats(prompt: Prompt, beats: Beats | None, duration_s: float) -> list[Mark]:
    """Every place kept around a beat; bars have their number, from the first downbeat.

    With ranges only beats inside them count: outside everything is kept.
    """
    left = _left(prompt)
    if beats is None or left is None or not prompt.needs_beats:
        return []
    downbeats = sorted(beats.downbeats_s)
    bars = {time_s: number for number, time_s in enumerate(downbeats, start=1)}
    found = []
    for beat_s in (downbeats if prompt.downbeats_only else beats.times_s)[:: prompt.beat_every]:
        start_s = max(0.0, beat_s - prompt.beat_before_ms / 1000)
        end_s = min(duration_s, beat_s + prompt.beat_ms / 1000)
        inside = not prompt.ranges_s or any(a < end_s and start_s < b for a, b in prompt.ranges_s)
        if end_s > start_s and inside:
            label = f"bar {bars[beat_s]}" if beat_s in bars else "beat"
            text = f"kept around the {'downbeat' if beat_s in bars else 'beat'}{left}"
            found.append(Mark(start_s, label, end_s - start_s, text, COLOR_BEAT))
    return found


def _bars(settings: Settings, beats: Beats | None, duration_s: float) -> list[Mark]:
    """Few enough of the kept beats: all, or bars, or every n-th of these; each with the number."""
    kept = _kept_beats(settings.prompt, beats, duration_s)
    few = kept
    if len(_fitting(kept, duration_s)) < len(kept):
        few = [mark for mark in kept if mark.label != "beat"] or kept
    every = 1
    while every < len(few) and len(_fitting(few[::every], duration_s)) < len(few[::every]):
        every *= 2  # 8 bars are a phrase, 5 are not
    tempo = f", {beats.bpm:.1f} BPM" if beats and beats.bpm else ""
    said = f"; {len(kept)} kept in all{tempo}"
    return [replace(mark, description=mark.description + said) for mark in few[::every]]


def _fitting(marks: Sequence[Mark], duration_s: float, taken: Sequence[Mark] = ()) -> list[Mark]:
    """The marks of ``taken``, and of ``marks`` those that the strip has room for besides."""
    found = list(taken)
    for mark in marks:
        left, right = _box(mark, duration_s)
        clear = all(right <= a or b <= left for a, b in (_box(m, duration_s) for m in found))
        if clear and len(found) < MAX_IN_STRIP:
            found.append(mark)
    return found


def _box(mark: Mark, duration_s: float) -> tuple[float, float]:
    """Left and right of a label in pixels of HARP's window as it opens."""
    width = max(LABEL_PX, min(LONG_LABEL_PX, LETTER_PX * len(mark.label) + 4))
    left = (mark.t + mark.duration / 2) / duration_s * TRACK_PX - width / 2
    left = min(max(0.0, left), TRACK_PX - width)
    return left, left + width
