"""The table of controls: what HARP's window makes of it at the size in which it opens."""

from __future__ import annotations

import struct

import pytest
from fake_endpoint import FAKE_PRESETS, FakePipeline, running
from harp_client import HarpClient
from harp_window import control_widths, cut, label_boxes, shown, text_width

from harp_app import controls
from vampnet.presets import presets

EVERY = controls.table(presets(), ("default",))
HARP = controls.in_harp(EVERY)


@pytest.fixture(scope="module")
def card():
    """Card and controls of an endpoint with the shipped presets, as they come over the wire."""
    with running(FakePipeline(), presets=presets()) as site:
        return HarpClient(site.address).load()


def test_everything_can_be_read_in_harps_window(card):
    assert cut(card["card"], card["inputs"], longest=13) == []


def test_more_models_are_one_more_menu_that_can_be_read(card, tmp_path):
    menus = [c for c in card["inputs"] if c["type"] == "dropdown"]
    model = menus[0] | {"label": "Model", "choices": [["default"] * 2], "value": "default"}
    model |= {"info": "Model: the trained model."}
    every = controls.table(presets(), ("default", "original", "mine"))
    assert [c.label for c in controls.in_harp(every) if c.kind == "dropdown"] == [
        "Preset",
        "Model",
        "Out",
    ]
    found = cut(card["card"], [*card["inputs"], model], longest=3)
    assert len(found) == 1 and found[0].startswith("Preset: some look alike")  # beat-... of four


def test_a_fifth_slider_still_fits(card):
    (every,) = [c for c in card["inputs"] if c["label"] == "Every"]
    fifth = every | {"label": "Far", "info": "Far: one more."}
    assert cut(card["card"], [*card["inputs"], fifth], longest=13) == []


def test_the_former_set_is_found_unreadable(card):
    """The check itself: thirteen controls of four kinds, as they once were."""
    (slider,) = [c for c in card["inputs"] if c["label"] == "Every"]
    labels = ("Keep every n-th frame", "Codebooks kept", "Keep around beats (ms)", "Steps",
              "Random dropout (%)", "Temperature", "Tempo (BPM)")  # fmt: skip
    former = [slider | {"label": label} for label in labels]
    former += [c for c in card["inputs"] if c["type"] in ("dropdown", "text_box")]
    former += [{"type": "toggle", "label": label, "info": label + ": "} for label in ("a", "b")]
    found = cut(card["card"], former)
    for label in labels:
        assert f"{label}: no knob in 19 px" in found or f"{label}: ..." in found


def test_widths_and_cut_texts_are_those_of_the_real_window():
    """Seen in HARP 3.0.1 at 800 pixels, with its font on Linux."""
    kinds = ["slider"] * 7 + ["toggle"] * 2 + ["dropdown"] * 2 + ["text_box"] * 2
    inputs = [{"type": kind, "label": str(place)} for place, kind in enumerate(kinds)]
    widths = control_widths(inputs)
    assert widths["0"] == 20 and widths["9"] == 88 and widths["11"] == 88
    assert shown("loop-variation", widths["9"] - 40, 16, 1.0) == "loop-va..."
    assert shown("default", widths["9"] - 40, 16, 1.0) == "default"
    assert shown("Every", 10, 15, 1.0) == "..."


def test_sliders_and_menus_are_such_as_harp_can_send():
    for table in (EVERY, HARP):
        assert len({control.label for control in table}) == len(table)
        for control in table:
            assert control.info and control.info.isprintable()
            if control.kind == "slider":
                for bound in (control.minimum, control.maximum, control.default):
                    assert struct.unpack("f", struct.pack("f", bound))[0] == bound
                assert control.minimum <= control.default <= control.maximum
            if control.kind == "dropdown":
                assert control.default in control.choices


def test_harp_shows_a_subset_and_the_page_all():
    assert {c.field for c in HARP} < {c.field for c in EVERY}
    sliders = {c.label for c in HARP if c.kind == "slider"}
    assert len(sliders) <= 5 and all(len(label) <= 5 for label in sliders)
    for one in HARP:
        (same,) = [c for c in EVERY if c.field == one.field]
        assert (one.kind, one.minimum, one.maximum, one.step, one.default, one.choices) == (
            same.kind, same.minimum, same.maximum, same.step, same.default, same.choices,
        )  # fmt: skip


def test_a_table_needs_a_preset_and_a_model():
    for known, models in (({}, ["default"]), (FAKE_PRESETS, [])):
        with pytest.raises(ValueError, match="at least 1 of each"):
            controls.table(known, models)


def test_the_label_check_is_right_about_one_label():
    label = {"t": 3.0, "duration": 2.0, "label": "bar 12", "amplitude": None}
    ((left, right, at),) = label_boxes([label], 8.0)
    assert (left + right) / 2 == 370 and right - left == 74 and at == 2.0
    assert text_width("bar 12", 16) < 74
