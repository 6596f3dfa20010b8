"""The report: audio examples per clip, and the notes on the measures."""

from __future__ import annotations

import torch
from synthetic_results import results_of

from vampnet.evaluation.audio_examples import AudioExample
from vampnet.evaluation.report import Report, RunMetadata, _audio_section, _axes
from vampnet.evaluation.scores import Scores


def test_audio_examples_are_grouped_by_clip_not_by_title() -> None:
    sounds = [AudioExample(n, "song, 0:00", name, "") for n in (0, 1) for name in ("input", "made")]
    shown = _audio_section(sounds)
    assert shown.count("<h3>") == 2 and shown.count("<figure>") == 4


def test_the_reported_numbers_of_axes_are_those_used(small) -> None:
    few = Report(
        RunMetadata(()), [], Scores(results_of({"x": [1.0, 2.0, 3.0, 4.0]}, small)), [], None, {}
    )
    notes = " ".join(few.notes().split())
    assert "distance in the 1 main axis of the real music" in notes  # of 8 points
    results = results_of({}, small)
    for result in results.values():
        result.points["musicnn"] = torch.randn(8, 30)
        result.points["levels"] = torch.randn(4, 30)
    mixed = Report(RunMetadata(()), [], Scores(results), [], None, {})
    assert "in the 4 (musicnn), 2 (full band) main axes of" in " ".join(mixed.notes().split())
    assert _axes({"musicnn": 16, "levels": 16}) == "16 main axes"
