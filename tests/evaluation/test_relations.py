"""Relations between settings: verdicts from values and intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

import pytest
from synthetic_results import results_of

from vampnet.evaluation.intervals import Estimate
from vampnet.evaluation.relations import Relation, relations
from vampnet.evaluation.scores import Scores


def test_relations_hold_fail_or_are_open(small):
    def verdict(eight, sixteen, thirty_two):
        figures = {"periodic 8": eight, "periodic 16": sixteen, "periodic 32": thirty_two}
        found = relations(Scores(results_of(figures, small)))
        return next(r.verdict for r in found if r.claim.startswith("Mel error: periodic"))

    low, middle, high = [0.5, 0.6, 0.4, 0.5], [0.7, 0.8, 0.6, 0.71], [0.9, 1.0, 0.8, 0.9]
    assert verdict(low, middle, high) == "holds"
    assert verdict(high, middle, low) == "fails"
    assert verdict(low, [0.3, 0.9, 0.6, 0.4], high) == "open"
    assert verdict([math.nan] * 4, middle, high) == "open"


def test_bitrates_are_compared_within_equal_frames_or_equal_codebooks(small):
    def verdict(*means: float) -> str:
        """Of settings with rising bitrate."""
        names = ["every 16. frame, 1 codebook", "every 16. frame, 4 codebooks",
                 "every 1. frame, 1 codebook", "every 1. frame, 4 codebooks"]  # fmt: skip
        spread = (-0.01, 0.0, 0.01, 0.005)
        made = {n: [m + d for d in spread] for n, m in zip(names, means, strict=True)}
        found = relations(Scores(results_of(made, small)))
        return next(r.verdict for r in found if r.claim.startswith("Mel error falls"))

    assert verdict(1.2, 0.7, 0.8, 0.5) == "holds"  # 4 codebooks of few frames beat 1 of all
    assert verdict(1.2, 1.3, 0.8, 0.5) == "fails"
    assert verdict(0.8, 0.7, 1.2, 0.5) == "fails"
    assert verdict(1.2, 0.7, 0.8, 0.8) == "fails"


class FixedScores:
    """Scores of given values; ``half`` is half the interval of a difference."""

    networks = ("musicnn",)

    def __init__(
        self, figures: Mapping[str, float], half: float | Mapping[tuple[str, str], float]
    ) -> None:
        self.made, self.half = figures, half

    def n_clips(self, name: str) -> int:
        return int(name in self.made)

    def estimate(self, name: str, _: str) -> Estimate:
        return Estimate(self.made[name], 0.0)

    def difference(self, first: str, second: str, _: str) -> Estimate:
        half = self.half[first, second] if isinstance(self.half, Mapping) else self.half
        return Estimate(self.made[first] - self.made[second], half)


def relation(scores: FixedScores, words: str) -> Relation:
    return next(r for r in relations(cast(Scores, scores)) if words in r.claim)


@pytest.mark.parametrize(
    ("one", "twelve", "gain_half", "rest", "rest_half", "verdict"),
    [
        (20.0, 10.0, 2.0, 0.5, 0.5, "holds"),  # close means within 1.5
        (20.0, 10.0, 2.0, 0.0, 1.6, "open"),  # the interval exceeds 1.5 although the value is 0
        (20.0, 10.0, 2.0, 1.4, 0.2, "open"),
        (20.0, 10.0, 2.0, 1.9, 0.2, "fails"),
        (20.0, 10.0, 2.0, -1.9, 0.2, "fails"),
        (20.0, 10.0, 11.0, 0.0, 0.1, "open"),  # the gain of 12 steps is not significant
        (10.0, 20.0, 2.0, 0.0, 0.1, "open"),  # 12 steps are worse, so "close" is undefined
        (20.0, 10.0, 2.0, 0.0, float("nan"), "open"),
    ],
)
def test_twelve_steps_are_close_where_the_whole_interval_is_close(
    one: float, twelve: float, gain_half: float, rest: float, rest_half: float, verdict: str
) -> None:
    half = {("1 steps", "12 steps"): gain_half, ("12 steps", "36 steps"): rest_half}
    scores = FixedScores({"1 steps": one, "12 steps": twelve, "36 steps": twelve - rest}, half)
    assert relation(scores, "12 steps close to 36").verdict == verdict


PROMPTS = ("compression 1", "periodic 8", "periodic 16", "periodic 32", "inpaint 1 s")


@pytest.mark.parametrize(
    ("beat", "half", "verdict", "text"),
    [
        (2.5, 0.4, "holds", "place 3 of 6; clearly below 3, above 2 of the others"),
        (2.5, 0.6, "open", "place 3 of 6; clearly below 2, above 1 of the others"),
        (3.5, 0.6, "open", "place 4 of 6; clearly below 1, above 2 of the others"),
        (3.5, 0.4, "fails", "place 4 of 6; clearly below 2, above 3 of the others"),
        (2.5, float("nan"), "open", "place 3 of 6; clearly below 0, above 0 of the others"),
    ],
)
def test_among_the_lowest_is_decided_by_intervals(
    beat: float, half: float, verdict: str, text: str
) -> None:
    others = dict(zip(PROMPTS, (1.0, 2.0, 3.0, 4.0, 5.0), strict=True))
    found = relation(FixedScores({**others, "beat-driven 75 ms": beat}, half), "among the lowest 3")
    assert (found.verdict, found.figures) == (verdict, text)


def test_beats_are_kept_best_only_if_every_other_prompt_is_significantly_worse() -> None:
    names = ("compression 1", "inpaint 1 s", "beat-driven 75 ms")
    best = {(names[2], names[0]): 0.05, (names[2], names[1]): 0.05}
    figures: dict[str, float] = dict(zip(names, (0.7, 0.6, 0.8), strict=True))
    assert relation(FixedScores(figures, best), "keeps beats best").verdict == "holds"
    unsure = {**best, (names[2], names[1]): 0.3}
    assert relation(FixedScores(figures, unsure), "keeps beats best").verdict == "open"
