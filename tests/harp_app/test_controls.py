from __future__ import annotations

import math
import struct
from dataclasses import replace

import pytest
from fake_endpoint import FAKE_PRESETS
from harp_client import float32
from hypothesis import given
from hypothesis import strategies as st

from harp_app import controls
from vampnet.prompt.time_ranges import clipped, parse_ranges

TABLE = controls.table(FAKE_PRESETS, ("default", "drums"))


def read(draw_seed=lambda: 7, **changed):
    values = [changed.pop(control.field.replace(".", "_"), control.default) for control in TABLE]
    assert not changed
    return controls.read(values, TABLE, FAKE_PRESETS, draw_seed)


def test_untouched_controls_give_the_preset_as_it_is():
    settings = read()
    preset = FAKE_PRESETS["loop-variation"]
    assert settings.preset == preset and settings.prompt == preset.prompt
    assert settings.bpm is None and settings.seed == 7 and settings.model == "default"
    assert settings.stereo and settings.match_loudness and settings.ranges_s == ()
    assert settings.changes == ()


def test_the_table_is_one_that_harp_can_draw():
    kinds = [control.kind for control in TABLE]
    assert kinds[0] == "dropdown" and kinds.count("slider") <= 8
    assert len({control.label for control in TABLE}) == len(TABLE)
    for control in TABLE:
        assert control.info and control.info.isprintable()
        if control.kind == "slider":
            for bound in (control.minimum, control.maximum, control.default):
                assert struct.unpack("f", struct.pack("f", bound))[0] == bound
            assert control.minimum <= control.default <= control.maximum
        if control.kind == "dropdown":
            assert control.default in control.choices
            assert all(isinstance(choice, str) for choice in control.choices)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("prompt_period", 13, {"prompt": {"period": 13}}),
        ("prompt_period", 0, {"prompt": {"period": 0}}),
        ("prompt_codebooks_kept", 2, {"prompt": {"codebooks_kept": 2}}),
        ("prompt_beat_ms", 75, {"prompt": {"beat_ms": 75.0}}),
        ("prompt_dropout", 35, {"prompt": {"dropout": 0.35}}),
        ("sampling_temperature", float32(1.35), {"sampling": {"temperature": 1.35}}),
        ("sampling_steps", 12, {"sampling": {"steps": 12}}),
        ("bpm", 97.5, {"bpm": 97.5}),
        ("bpm", float32(93.33), {"bpm": 93.33}),
        ("seed", " 123 ", {"seed": 123}),
        ("model", "drums", {"model": "drums"}),
        ("stereo", False, {"stereo": False}),
        ("match_loudness", False, {"match_loudness": False}),
        ("ranges", "2-3.5, 6-7.25", {"prompt": {"ranges_s": ((2.0, 3.5), (6.0, 7.25))}}),
    ],
)
def test_every_control_changes_its_field_and_nothing_else(field, value, expected):
    before, after = read(), read(**{field: value})
    assert after.prompt == replace(before.prompt, **expected.get("prompt", {}))
    assert after.preset.sampling == {**before.preset.sampling, **expected.get("sampling", {})}
    for name in ("bpm", "seed", "model", "stereo", "match_loudness"):
        assert getattr(after, name) == expected.get(name, getattr(before, name))
    assert after.describe() != before.describe()


def test_codebooks_count_for_a_preset_that_keeps_them_everywhere():
    assert read(preset="compress", prompt_codebooks_kept=1).prompt.compression == 1
    assert read(prompt_codebooks_kept=1).prompt.compression == 0


@given(st.sampled_from([c for c in TABLE if c.kind == "slider"]), st.data())
def test_float32_sliders_land_on_the_step(control, data):
    steps = int((control.maximum - control.minimum) / control.step)
    at = data.draw(st.integers(0, steps))
    value = round(control.minimum + at * control.step, 6)
    assert controls._number(control, float32(value)) == value


def test_bounds_are_taken_as_float32():
    for control in TABLE:
        if control.kind == "slider":
            for bound in (control.minimum, control.maximum):
                assert controls._number(control, float32(bound)) == bound


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("prompt_period", 65, "Keep every n-th frame is 65; allowed is -1 to 64 frames"),
        ("prompt_period", math.nan, "allowed is -1 to 64"),
        ("prompt_period", math.inf, "allowed is -1 to 64"),
        ("prompt_period", 1e300, "is 1e+300; allowed is -1 to 64"),
        ("sampling_temperature", 1e308, "Temperature is 1e+308; allowed is 0 to 4"),
        ("sampling_temperature", -1e308, "Temperature is -1e+308; allowed is 0 to 4"),
        ("prompt_beat_ms", 10**400, "allowed is -5 to 500 ms"),
        ("prompt_period", None, "is None; allowed"),
        ("prompt_period", True, "is True; allowed"),
        ("prompt_period", "7", "is '7'; allowed"),
        ("bpm", 12, "Tempo is 12 BPM; allowed is 30 to 300, or 0 to detect it"),
        ("seed", "-1", "Seed is '-1'; allowed is a whole number from 0"),
        ("seed", "1e3", "Seed is '1e3'"),
        ("seed", str(2**63), "Seed is"),
        ("seed", 5, "a text is needed"),
        ("seed", "1" * 600, "600 characters; 500 are allowed"),
        ("preset", "nope", "choose loop-variation, compress, beat-variation"),
        ("preset", [], "a text is needed"),
        ("model", "../../etc", "choose default, drums"),
        ("stereo", "yes", "allowed is on or off"),
        ("ranges", "two", "'two' cannot be read; write seconds like 2-3.5"),
        ("ranges", "3-2", "'3-2' ends before it starts"),
        ("ranges", "bar 3-4", "set the tempo"),
        ("ranges", "2", "cannot be read"),
        ("ranges", "1-2," * 65, "65 ranges; 64 are allowed"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(field, value, text):
    with pytest.raises(ValueError) as error:
        read(**{field: value})
    assert text in str(error.value)


def test_the_number_of_values_must_fit():
    with pytest.raises(ValueError, match="3 control values arrived; 13 are needed"):
        controls.read([1, 2, 3], TABLE, FAKE_PRESETS)


@pytest.mark.parametrize(
    ("text", "bpm", "expected"),
    [
        ("", None, ()),
        (" ; , ", None, ()),
        ("2-3.5", None, ((2.0, 3.5),)),
        ("2 - 3.5 s; 6s\u20137.25s", None, ((2.0, 3.5), (6.0, 7.25))),
        ("bar 3-4", 120.0, ((4.0, 8.0),)),
        ("Bars 1-2, bar 8", 240.0, ((0.0, 2.0), (7.0, 8.0))),
        ("0-1, bar 2", 120.0, ((0.0, 1.0), (2.0, 4.0))),
        ("bar 3-4, 7-8", 120.0, ((4.0, 8.0), (12.0, 16.0))),
        ("bar 1; 3", 120.0, ((0.0, 2.0), (4.0, 6.0))),
        (
            "bars 1-2, 7-8 s, 9-10, bar 9",
            120.0,
            ((0.0, 4.0), (7.0, 8.0), (9.0, 10.0), (16.0, 18.0)),
        ),
    ],
)
def test_ranges_in_seconds_and_bars(text, bpm, expected):
    assert parse_ranges(text, bpm) == expected


@pytest.mark.parametrize(
    ("text", "first_bar_s", "expected"),
    [
        ("bar 1, 3-4", 0.5, ((0.5, 2.5), (4.5, 8.5))),
        ("bar 2", -1.0, ((1.0, 3.0),)),
        ("bar 1", -1.0, ((0.0, 1.0),)),  # what of it lies in the clip
        ("0.25-1, bar 1, 2-3 s", 0.5, ((0.25, 1.0), (0.5, 2.5), (2.0, 3.0))),
    ],
)
def test_bars_count_from_the_first_downbeat(text, first_bar_s, expected):
    assert parse_ranges(text, 120.0, first_bar_s) == expected


def test_a_range_outside_the_clip_is_told_as_what_it_is():
    for text, wrong in (("1-1", "has no length"), ("2-1", "ends before it starts")):
        with pytest.raises(ValueError, match=f"'{text}' {wrong}"):
            parse_ranges(text)
    with pytest.raises(ValueError, match="'bar 1' ends before the clip starts; bar 1 is at -2 s"):
        parse_ranges("bar 1", 120.0, -2.0)


def test_a_range_ends_with_the_clip_where_it_ends_a_hair_behind_it():
    assert clipped(((7.0, 8.0),), 7.99) == ((7.0, 7.99),)
    assert clipped(((1.0, math.inf),), 8.0) == ((1.0, 8.0),)
    assert clipped(((6.0, 8.08),), 8.0, bpm=5.0) == ((6.0, 8.0),)
    for ranges_s in (((7.0, 8.08),), ((8.0, 8.01),)):
        with pytest.raises(ValueError, match="lies outside the clip, which is 8.000 s long"):
            clipped(ranges_s, 8.0)


@pytest.mark.parametrize(
    "text", ["bar 0-1", "bar 1.5-2", "bar", "bar 1, 3.5-4", "bar 3-4 s", "-1-2", "1-2-3", "1e9-2e9"]
)
def test_ranges_that_cannot_be(text):
    with pytest.raises(ValueError, match="Regenerate only"):
        parse_ranges(text, 120.0)


@given(st.text(max_size=40))
def test_any_text_of_ranges_is_read_or_refused_in_words(text):
    try:
        for start, end in parse_ranges(text, 100.0):
            assert 0 <= start < end
    except ValueError as error:
        assert "Regenerate only" in str(error)


def test_a_drawn_seed_can_be_typed_again():
    drawn = controls.read([c.default for c in TABLE], TABLE, FAKE_PRESETS).seed
    assert read(seed=str(drawn)).seed == drawn
