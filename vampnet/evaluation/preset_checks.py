"""Checks of presets: do they do what their names promise, and do presets and seeds differ?

Per clip, every preset's output is compared with the input, with its own second take and with every
other preset's output; over the clips come means, and claims such as "small is nearer than medium".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vampnet.audio.loudness import loudness_lufs
from vampnet.evaluation.artifacts import click_db
from vampnet.evaluation.intervals import jackknife
from vampnet.evaluation.mel_distance import SCALES, Levels, levels
from vampnet.evaluation.musical import AudioFeatures, compare, extract_features
from vampnet.evaluation.relations import Relation, above

AUDIBLE = 0.15  # mel error from which two signals count as audibly different
ON_BEAT_S = 0.05  # after a beat, kept by the beat presets
FAR_FROM_BEAT_S = 0.15  # distance from every beat, not kept by the beat presets
ENDS_S = 0.9  # of the second kept at an end; the rest is crossfade and analysis window

Spans = Sequence[tuple[float, float]]  # (start, end) in seconds


def distance(first: Levels, second: Levels, rate_hz: int, spans_s: Spans | None = None) -> float:
    """Mel error of two signals, overall or within time spans.

    Args:
        first: log-mel levels of :func:`levels`.
        second: of the same shapes.
        rate_hz: sample rate in Hz.
        spans_s: (start, end) in seconds; only frames centred in one of them count. None = all.

    Returns:
        The error, nan where no frame counts.
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
    """The parts of 0..seconds that are at least ``away_s`` seconds from each of the times."""
    starts = [0.0, *(t + away_s for t in sorted(times_s))]
    ends = [*(t - away_s for t in sorted(times_s)), seconds]
    return [(a, b) for a, b in zip(starts, ends, strict=True) if b > a]


@dataclass(frozen=True)
class ClipMeasures:
    """Measures of one clip under every preset.

    Attributes:
        figures: by preset, then by measure.
        takes: by preset, mel error between the outputs of two seeds.
        pairs: mel error between the outputs of two presets with the same seed, each pair once in
            the presets' order.
    """

    figures: Mapping[str, Mapping[str, float]]
    takes: Mapping[str, float]
    pairs: Mapping[tuple[str, str], float]


def measure_presets(
    before: AudioFeatures,
    made: Mapping[str, Sequence[Tensor]],
    others: Mapping[str, Tensor],
    kept_beats_s: Sequence[float] = (),
) -> ClipMeasures:
    """Compute every measure of a clip.

    Args:
        before: features of the input.
        made: two takes, float (S,) each, per preset; seeds are the same for all presets, so that
            pairs differ by the preset alone.
        others: further signals to measure, float (S,) by name, such as the codec alone.
        kept_beats_s: beat times in seconds that the beat presets kept; their tracker may differ
            from the one used for measuring.
    """
    rate_hz, reference = before.rate_hz, levels(before.sound, before.rate_hz)
    made_levels = {name: levels(sounds[0], rate_hz) for name, sounds in made.items()}
    names = list(made)
    figures = {n: _figures(before, reference, made[n], made_levels[n], kept_beats_s) for n in names}
    for name, sound in others.items():
        figures[name] = _figures(before, reference, [sound], levels(sound, rate_hz), kept_beats_s)
    return ClipMeasures(
        figures,
        {n: distance(made_levels[n], levels(made[n][1], rate_hz), rate_hz) for n in names},
        {
            (a, b): distance(made_levels[a], made_levels[b], rate_hz)
            for i, a in enumerate(names)
            for b in names[i + 1 :]
        },
    )


def _figures(
    before: AudioFeatures,
    reference: Levels,
    takes: Sequence[Tensor],
    made: Levels,
    beats_s: Sequence[float],
) -> dict[str, float]:
    rate_hz, sound = before.rate_hz, takes[0]
    seconds = len(sound) / rate_hz
    found = compare(before, extract_features(sound, rate_hz, before.beats is not None))
    places: dict[str, Spans] = {
        "on_beats": [(t, t + ON_BEAT_S) for t in beats_s],
        "off_beats": between(beats_s, seconds, FAR_FROM_BEAT_S) if beats_s else [],
        "first": [(0.0, ENDS_S)],
        "middle": [(1.2, seconds - 1.2)],
        "last": [(seconds - ENDS_S, seconds)],
    }
    for name, spans_s in places.items():
        found[name] = distance(reference, made, rate_hz, spans_s)
    half = len(sound) // 2
    found["loop_db"] = click_db(sound.roll(half), [half], rate_hz)
    found["lowest_lufs"] = min(loudness_lufs(take[None], rate_hz) for take in takes)
    top = max(float(take.abs().max()) for take in takes)
    found["peak_dbfs"] = 20 * math.log10(max(top, 1e-6))
    return found


@dataclass(frozen=True)
class Claim:
    """A promise of a preset's name: one (preset, measure) is lower than another.

    Attributes:
        text: the claim in words.
        less: (preset, measure) of the lower value.
        more: (preset, measure) of the higher value.
    """

    text: str
    less: tuple[str, str]
    more: tuple[str, str]


def claims(names: Sequence[str]) -> list[Claim]:
    """The claims about those of the shipped presets that are in ``names``.

    "More" of a measure that should be high (chroma, onset F) means that the others have less.
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


def judge(claim: Claim, clips: Sequence[ClipMeasures]) -> Relation:
    """Judge a claim by the 95 % interval of the clips' differences.

    Args:
        claim: the claim.
        clips: measures of every clip; clips where either measure is nan do not count.
    """
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


def mean_of(clips: Sequence[ClipMeasures], figure: Callable[[ClipMeasures], float]) -> float:
    """Mean over the clips whose measure is not nan; nan where there are none."""
    found = [value for value in map(figure, clips) if not math.isnan(value)]
    return sum(found) / len(found) if found else math.nan
