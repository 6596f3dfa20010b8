"""Results of an evaluation by hand, to see what is told of them."""

from __future__ import annotations

import torch

from vampnet.evaluation import experiments as table
from vampnet.evaluation.runs import Job, Result
from vampnet.prompt import Prompt


def results_of(figures: dict[str, list[float]], small) -> dict[Job, Result]:
    """Made-up results: a setting's mel errors over clips."""
    clips, _ = small
    some = {"musicnn": torch.zeros(2, 3)}
    found = {Job(table.Setting("real music", "real"), clip, 0): Result({}, some) for clip in clips}
    for number, (name, values) in enumerate(figures.items()):
        for clip, value in zip(clips, values, strict=True):
            setting = table.Setting(name, "vamp", Prompt())
            found[Job(setting, clip, 0)] = Result({"mel": value, "bits_per_s": number}, some)
    return found
