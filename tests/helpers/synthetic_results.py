"""Synthetic evaluation results, for tests of scores, relations and the report."""

from __future__ import annotations

import torch

from vampnet.evaluation import experiments as table
from vampnet.evaluation.runs import Result, Trial
from vampnet.prompt import Prompt


def results_of(figures: dict[str, list[float]], small) -> dict[Trial, Result]:
    """Build results from mel errors over clips, by setting; ``small`` is the fixture."""
    clips, _ = small
    some = {"musicnn": torch.zeros(2, 3)}
    real = table.Setting("real music", "real")
    found = {Trial(real, clip, 0): Result({}, some) for clip in clips}
    for number, (name, values) in enumerate(figures.items()):
        for clip, value in zip(clips, values, strict=True):
            setting = table.Setting(name, "vamp", Prompt())
            found[Trial(setting, clip, 0)] = Result({"mel": value, "bits_per_s": number}, some)
    return found
