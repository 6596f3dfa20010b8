"""Experiments: the paper's settings, and bitrates counted from their masks."""

from __future__ import annotations

import pytest
import torch

from vampnet.evaluation import experiments as table
from vampnet.model import Sampling
from vampnet.presets import presets
from vampnet.prompt import Prompt

SAMPLING = Sampling(steps=2, fine_steps=1)


def test_bitrates_are_counted_from_the_mask():
    frames = 1600
    for period, kept, expected in ((16, 4, 57.42 / 16 * 40), (1, 1, 574.2), (4, 2, 57.42 / 4 * 20)):
        mask = Prompt(period=period, codebooks_kept=kept).mask(frames, 14, 44100 / 768)[0]
        assert table.bits_per_second(mask, 44100 / 768, 1024) == pytest.approx(expected, rel=1e-3)
    assert table.bits_per_second(torch.ones(14, 10, dtype=torch.bool), 57.4, 1024) == 0


def test_the_experiments_contain_the_settings_of_the_paper():
    every = table.experiments(4, 14, SAMPLING, presets())
    assert list(every) == ["anchors", "prompts", "baselines", "steps", "bitrates", "presets"]
    assert [s.sampling.steps for s in every["steps"].settings] == [1, 4, 8, 12, 24, 36, 64, 72]
    assert {s.prompt.period for s in every["steps"].settings} == {16}
    names = [s.name for e in every.values() for s in e.settings]
    assert len(set(names)) == len(names)
    for prompt in table.prompts(4):
        assert f"{prompt}: hold" in names and f"{prompt}: random" in names
    assert [e.name for e in table.select(every, ["steps"])] == ["anchors", "steps"]
    assert len(table.select(every, [])) == 5
    with pytest.raises(ValueError, match="no experiment 'stpes'; there are anchors"):
        table.select(every, ["stpes"])
    for experiment in every.values():
        few = table.quick(experiment)
        assert 0 < len(few.settings) <= len(experiment.settings) and few.name == experiment.name
