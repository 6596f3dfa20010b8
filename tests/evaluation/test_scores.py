"""Scores: the noise floor of distances, and seeds of a clip counted as one."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from synthetic_results import results_of

from vampnet.evaluation import experiments as table
from vampnet.evaluation.clips import MusicClip
from vampnet.evaluation.intervals import Estimate
from vampnet.evaluation.runs import Result, Trial
from vampnet.evaluation.scores import Scores

RATE = 44100


def test_the_noise_floor_of_real_music_is_about_zero():
    rng = torch.Generator().manual_seed(1)
    setting, sound = table.Setting("real music", "real"), torch.zeros(3)
    results = {
        Trial(setting, MusicClip(n, "", sound, RATE), 0): Result(
            {}, {"musicnn": torch.randn(3, 4, generator=rng)}
        )
        for n in range(40)
    }
    scores = Scores(results)
    for measure in ("frechet:musicnn", "kernel:musicnn"):
        floor = scores.estimate("real music", measure)
        assert floor.half > 0 and floor.low < 0.3 and abs(floor.value) < 1, measure


def test_seeds_of_a_clip_count_as_one_observation(small):
    clips, _ = small
    results = results_of({"x": [1.0, 2.0, 3.0, 4.0]}, small)
    setting = next(trial.setting for trial in results if trial.setting.name == "x")
    doubled = {**results, **{
        replace(trial, seed=1): result
        for trial, result in results.items() if trial.setting == setting
    }}  # fmt: skip
    one, two = (Scores(r).estimate("x", "mel") for r in (results, doubled))
    assert one == two and one.value == 2.5
    assert math.isnan(Scores(results).estimate("absent", "mel").value)
    assert Estimate(1.0, 0.5).low == 0.5
