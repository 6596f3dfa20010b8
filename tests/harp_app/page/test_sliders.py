"""The page's sliders: where a preset moves them, they mean that preset."""

from __future__ import annotations

import pytest

from harp_app import controls, settings
from harp_app.page import sliders
from vampnet import checkpoints
from vampnet.presets import presets

PRESETS = presets()
TABLE = controls.table(PRESETS, ["default"])
RECOMMENDED = checkpoints.recommended_of("default")


@pytest.mark.parametrize("name", PRESETS)
def test_sliders_that_a_preset_moved_mean_that_preset(name):
    moved = [
        sliders.of_preset(c, PRESETS[name], RECOMMENDED) if c.kind == "slider" else c.default
        for c in TABLE
    ]
    harps = [c.default for c in TABLE]
    moved[0] = harps[0] = name
    for control, value in zip(TABLE, moved, strict=True):
        if control.kind == "slider":
            assert sliders.lowest(control) <= value <= control.maximum
    pages, harps = (
        settings.read(values, TABLE, PRESETS, draw_seed=lambda: 1)
        for values in (sliders.sent(moved, TABLE, PRESETS, RECOMMENDED), harps)
    )
    assert pages == harps and not pages.changes


def test_a_slider_that_was_moved_is_over_the_preset():
    values = [c.default for c in TABLE]
    values[0] = "loop-variation"
    place = [c.field for c in TABLE].index("prompt.period")
    values[place] = 0.0
    found = settings.read(sliders.sent(values, TABLE, PRESETS, RECOMMENDED), TABLE, PRESETS)
    assert found.prompt.period == 0 and found.changes == ("period 0",)
