"""The sweep over sampling settings: parsing of overrides, and the table of differences."""

from __future__ import annotations

import pytest
import torch
from sampling_sweep import PLAIN, settings, table, way  # noqa: E402

from vampnet.evaluation.clips import MusicClip
from vampnet.evaluation.experiments import Setting
from vampnet.evaluation.runs import Result, Trial
from vampnet.evaluation.scores import Scores
from vampnet.model import Sampling


def test_an_override_changes_only_the_named_fields() -> None:
    plain = Sampling(temperature=0.8)
    assert way("steps=6,top_p=0.5", plain) == Sampling(steps=6, temperature=0.8, top_p=0.5)
    with pytest.raises(ValueError, match="'order' is not a field of Sampling; allowed: steps"):
        way("order=1", plain)
    with pytest.raises(ValueError, match="top_p is 2.0"):
        way("top_p=2", plain)


@pytest.mark.slow
def test_settings_are_compared_with_the_recommended_ones_at_equal_steps() -> None:
    ways = {PLAIN: Sampling(), "temperature=0.5": Sampling(temperature=0.5)}
    asked = settings(ways, [6, 12], 16, 4)
    rng = torch.Generator().manual_seed(1)
    clips = [MusicClip(i, str(i), torch.zeros(4), 44100) for i in range(6)]
    results = {}
    for clip in clips:
        points = {name: torch.randn(2, 3, generator=rng) for name in ("musicnn", "levels")}
        results[Trial(Setting("real music", "real"), clip, 0)] = Result({}, points)
        for setting, mel in zip(asked, (3.0, 2.0, 2.5, 2.75), strict=True):
            figures = {"mel": mel + 0.1 * clip.number, "chroma": 0.5, "onsets": 0.5}
            results[Trial(setting, clip, 0)] = Result(figures, points)
    found = [line.split(" | ")[:3] for line in table(Scores(results), list(ways), [6, 12], 16, 12)]
    assert found[2:] == [
        ["| 6", PLAIN, "3.250 (+0.500 ± 0.000*)"],
        ["| 6", "`temperature=0.5`", "2.250 (-1.000 ± 0.000*)"],
        ["| 12", PLAIN, "2.750"],
        ["| 12", "`temperature=0.5`", "3.000 (+0.250 ± 0.000*)"],
    ]
