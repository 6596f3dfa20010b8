"""The report: what there is to hear stands by its clip."""

from __future__ import annotations

from vampnet.evaluation.listening import Example
from vampnet.evaluation.report import _listening


def test_sounds_to_hear_are_grouped_by_clip_and_not_by_title() -> None:
    sounds = [Example(n, "song, 0:00", name, "") for n in (0, 1) for name in ("input", "made")]
    shown = _listening(sounds)
    assert shown.count("<h3>") == 2 and shown.count("<figure>") == 4
