"""Checks of range edits: the region is unchanged outside the ranges, without clicks at edges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from vampnet.evaluation.artifacts import click_db, outside_error
from vampnet.evaluation.clips import MusicClip
from vampnet.model import Sampling
from vampnet.pipeline import Pipeline
from vampnet.prompt import Prompt

RANGES = ((0.2, 0.4), (0.6, 0.75))  # start and end, as shares of the clip's length
CLIPS = 4

# (clip (S,), rate in Hz, variation (S,), ranges in s) -> the region before and after, (S,) each.
InPlace = Callable[[Tensor, int, Tensor, Sequence[tuple[float, float]]], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class RangeCheck:
    """Result of a range check.

    Attributes:
        outside: largest absolute change outside the ranges, full scale = 1.
        click_db: mean increase in sharpness at the edges, see :func:`click_db`.
        n_clips: number of clips checked.
    """

    outside: float
    click_db: float
    n_clips: int


def check_ranges(
    pipeline: Pipeline, clips: Sequence[MusicClip], sampling: Sampling, in_place: InPlace
) -> RangeCheck:
    """Regenerate two ranges of a few clips and compare with the input.

    Args:
        pipeline: the model.
        clips: of which the first four are used.
        sampling: of the model.
        in_place: writes a variation into a region as the endpoint does.
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
