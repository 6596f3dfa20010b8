"""Do the presets do what their names say, each something else, and each seed something new?

Clip by clip: every preset's output beside the input, beside its own second take and beside every
other preset's; over the clips: means, and claims such as "small is nearer than medium".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vampnet.audio.loudness import loudness_lufs
from vampnet.evaluation.intervals import jackknife
from vampnet.evaluation.mel_distance import SCALES, Levels, levels
from vampnet.evaluation.musical import Heard, compare, hear
from vampnet.evaluation.relations import Relation, above
from vampnet.evaluation.seams import click_db

AUDIBLE = 0.15  # mel error from which two sounds count as different
ON_BEAT_S = 0.05  # after a beat: what the beat presets keep
FAR_FROM_BEAT_S = 0.15  # from every beat: what they do not
ENDS_S = 0.9  # of the second that is kept at an end; the rest of it is crossfade and window

Spans = Sequence[tuple[float, float]]  # (start, end) in seconds


def distance(first: Levels, second: Levels, rate_hz: int, spans_s: Spans | None = None) -> float:
    """The mel error of two sounds, in all or only in the frames whose middle lies in the spans.

    nan where no frame does.
    """
    total = 0.0
    for a, b, (n_fft, _) in zip(first, second, SCALES, strict=True):
        by_frame = (a - b).abs().mean(0)
        if spans_s is not None:
            middle_s = torch.arange(by_frame.shape[-1]) * (n_fft // 4) / rate_hz
            wanted = torch.zeros(by_frame.shape[-1], dtype=torch.bool)
            for start_s, end_s in spans_s:
                wanted |= (middle_s >= start_s) & (middle_s < end_s)
            by_frame = by_frame[wanted]
        total += float(by_frame.mean()) if by_frame.numel() else math.nan
    return total


def between(times_s: Sequence[float], seconds: float, away_s: float) -> list[tuple[float, float]]:
    """The stretches of 0..seconds that lie ``away_s`` and more from every one of the times."""
    starts = [0.0, *(t + away_s for t in sorted(times_s))]
    ends = [*(t - away_s for t in sorted(times_s)), seconds]
    return [(a, b) for a, b in zip(starts, ends, strict=True) if b > a]


@dataclass(frozen=True)
class ClipFigures:
    """One clip under every preset.

    figures: by preset, then by measure. takes: mel error between two seeds' outputs. pairs: mel
    error between the outputs of two presets with one seed, each pair once in the presets' order.
    """

    figures: Mapping[str, Mapping[str, float]]
    takes: Mapping[str, float]
    pairs: Mapping[tuple[str, str], float]


def measure_clip(
    before: Heard,
    made: Mapping[str, Sequence[Tensor]],
    beside: Mapping[str, Tensor],
    kept_beats_s: Sequence[float] = (),
) -> ClipFigures:
    """Every figure of a clip. before: the input, beats heard; made: two takes float (S,) a preset.

    Seeds are alike over the presets, so that pairs differ by the preset alone. beside: what is
    no preset but has figures too, as the codec alone. kept_beats_s: beats that the presets kept,
    which another tracker may have heard than the one that measures.
    """
    rate_hz, heard = before.rate_hz, levels(before.sound, before.rate_hz)
    seen = {name: levels(sounds[0], rate_hz) for name, sounds in made.items()}
    names = list(made)
    figures = {n: _figures(before, heard, made[n], seen[n], kept_beats_s) for n in names}
    for name, sound in beside.items():
        figures[name] = _figures(before, heard, [sound], levels(sound, rate_hz), kept_beats_s)
    return ClipFigures(
        figures,
        {n: distance(seen[n], levels(made[n][1], rate_hz), rate_hz) for n in names},
        {
            (a, b): distance(seen[a], seen[b], rate_hz)
            for i, a in enumerate(names)
            for b in names[i + 1 :]
        },
    )


def _figures(
    before: Heard, heard: Levels, takes: Sequence[Tensor], seen: Levels, beats_s: Sequence[float]
) -> dict[str, float]:
    rate_hz, sound = before.rate_hz, takes[0]
    seconds = len(sound) / rate_hz
    found = compare(before, hear(sound, rate_hz, before.beats is not None))
    places: dict[str, Spans] = {
        "on_beats": [(t, t + ON_BEAT_S) for t in beats_s],
        "off_beats": between(beats_s, seconds, FAR_FROM_BEAT_S) if beats_s else [],
        "first": [(0.0, ENDS_S)],
        "middle": [(1.2, seconds - 1.2)],
        "last": [(seconds - ENDS_S, seconds)],
    }
    for name, spans_s in places.items():
        found[name] = distance(heard, seen, rate_hz, spans_s)
    half = len(sound) // 2
    found["loop_db"] = click_db(sound.roll(half), [half], rate_hz)
    found["lowest_lufs"] = min(loudness_lufs(take[None], rate_hz) for take in takes)
    top = max(float(take.abs().max()) for take in takes)
    found["peak_dbfs"] = 20 * math.log10(max(top, 1e-6))
    return found


@dataclass(frozen=True)
class Claim:
    """What the presets' names promise: one (preset, measure) lies below another."""

    text: str
    less: tuple[str, str]
    more: tuple[str, str]


def claims(names: Sequence[str]) -> list[Claim]:
    """What the names of the shipped presets promise, of those that are there.

    "More" of a good thing (chroma, onset F) is told as the others having less.
    """
    found = [*_sizes(), *_on_beats(), *_ends(), *_kept()]
    found += [
        Claim(f"dream is farther from the input than {n}", (n, "mel"), ("dream", "mel"))
        for n in names
        if n != "dream"
    ]
    return [claim for claim in found if {claim.less[0], claim.more[0]} <= set(names)]


def _sizes() -> list[Claim]:
    return [
        Claim(f"{a} is nearer to the input than {b}", (a, "mel"), (b, "mel"))
        for form in ("{}-variation", "beat-{}")
        for a, b in ((form.format("small"), form.format("medium")),
                     (form.format("medium"), form.format("large")))
    ]  # fmt: skip


def _on_beats() -> list[Claim]:
    sizes = ("small", "medium", "large")
    own = [*(f"beat-{size}" for size in sizes), "beat-variation"]
    return [
        *(Claim(f"{n} is nearer on the beats than between them", (n, "on_beats"), (n, "off_beats"))
          for n in own),
        *(Claim(f"beat-{n} is nearer on the beats than {n}-variation", (f"beat-{n}", "on_beats"),
                (f"{n}-variation", "on_beats")) for n in sizes),
        Claim("beat-variation keeps more beats (beat F) than large-variation",
              ("large-variation", "beat_f"), ("beat-variation", "beat_f")),
    ]  # fmt: skip


def _ends() -> list[Claim]:
    kept = (("continue", "first"), ("fill-middle", "first"), ("fill-middle", "last"),
            ("lead-in", "last"))  # fmt: skip
    return [
        Claim(f"{n} keeps the {end} second and not the middle", (n, end), (n, "middle"))
        for n, end in kept
    ] + [
        Claim("continue leaves the last second, which lead-in keeps", ("lead-in", "last"),
              ("continue", "last")),
        Claim("lead-in leaves the first second, which continue keeps", ("continue", "first"),
              ("lead-in", "first")),
    ]  # fmt: skip


def _kept() -> list[Claim]:
    large, medium, small = (f"{size}-variation" for size in ("large", "medium", "small"))
    return [
        Claim(f"{n} keeps more of the {what} ({label}) than {large}", (large, measure),
              (n, measure))
        for n in ("compress", "timbre-transfer")
        for what, label, measure in (("harmony", "chroma", "chroma"),
                                     ("attacks", "onset F", "onset_f"))
    ] + [
        Claim(f"timbre-transfer changes the sound more than {small}", (small, "mel"),
              ("timbre-transfer", "mel")),
        Claim(f"loop-variation joins its end to its start more smoothly than {medium}",
              ("loop-variation", "loop_db"), (medium, "loop_db")),
    ]  # fmt: skip


def judge(claim: Claim, clips: Sequence[ClipFigures]) -> Relation:
    """Whether a claim holds: the 95 % interval of the clips' differences against 0."""
    pairs = [
        (c.figures[claim.less[0]][claim.less[1]], c.figures[claim.more[0]][claim.more[1]])
        for c in clips
    ]
    pairs = [p for p in pairs if not math.isnan(p[0] + p[1])]
    if not pairs:
        return Relation(claim.text, "open", "not measured")

    def gap(some: Sequence[int]) -> float:
        return sum(pairs[i][1] - pairs[i][0] for i in some) / len(some)

    difference = jackknife(range(len(pairs)), gap)
    less, more = (sum(p[i] for p in pairs) / len(pairs) for i in (0, 1))
    text = f"{less:.3f} < {more:.3f}, difference {difference.value:.3f} (±{difference.half:.3f})"
    return Relation(claim.text, above(difference), text)


def mean_of(clips: Sequence[ClipFigures], figure: Callable[[ClipFigures], float]) -> float:
    """Mean over the clips that have the figure; nan where none has."""
    found = [value for value in map(figure, clips) if not math.isnan(value)]
    return sum(found) / len(found) if found else math.nan
