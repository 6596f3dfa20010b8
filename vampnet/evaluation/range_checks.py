"""Whether a region is left alone where nothing was asked for, and joins where something was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from vampnet.evaluation.clips import Clip
from vampnet.evaluation.seams import click_db, outside_error
from vampnet.model import Sampling
from vampnet.pipeline import Pipeline
from vampnet.prompt import Prompt

RANGES = ((0.2, 0.4), (0.6, 0.75))  # of the clip's length
CLIPS = 4

# Clip sound (S,), rate, what was made (S,), ranges in s -> the region before and after, (S,) each.
InPlace = Callable[[Tensor, int, Tensor, Sequence[tuple[float, float]]], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class RangeCheck:
    """Largest change outside the ranges (full scale 1), and clicks at their edges."""

    outside: float
    click_db: float
    n_clips: int


def check_ranges(
    pipeline: Pipeline, clips: Sequence[Clip], sampling: Sampling, in_place: InPlace
) -> RangeCheck:
    """Regenerate two ranges of a few clips and measure what comes back.

    ``in_place`` puts a variation where the clip was, as the endpoint does.
    """
    outside, clicks = [], []
    for clip in clips[:CLIPS]:
        duration_s = len(clip.sound) / clip.rate_hz
        ranges_s = tuple((a * duration_s, b * duration_s) for a, b in RANGES)
        vamp = pipeline.vamp(clip.sound[None, None], Prompt(ranges_s=ranges_s), sampling, seed=0)
        before, after = in_place(clip.sound, clip.rate_hz, vamp.audio[0, 0], ranges_s)
        spans = [(round(a * clip.rate_hz), round(b * clip.rate_hz)) for a, b in ranges_s]
        outside.append(outside_error(before, after, spans))
        edges = [place for span in spans for place in span]
        clicks.append(click_db(after, edges, clip.rate_hz) - click_db(before, edges, clip.rate_hz))
    return RangeCheck(max(outside), sum(clicks) / len(clicks), len(clicks))
