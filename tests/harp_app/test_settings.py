"""The values of a request, from HARP's window or the page: what they mean, what is refused."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from fake_endpoint import FAKE_PRESETS
from harp_client import float32
from hypothesis import given
from hypothesis import strategies as st

from harp_app import controls, settings
from vampnet.presets import presets

EVERY = controls.table(FAKE_PRESETS, ("default", "drums"))
HARP = controls.in_harp(EVERY)
SLIDERS = [control for control in EVERY if control.kind == "slider"]


def read(table=EVERY, known=FAKE_PRESETS, draw_seed=lambda: 7, **changed):
    values = [changed.pop(control.field.replace(".", "_"), control.default) for control in table]
    assert not changed
    return settings.read(values, table, known, draw_seed)


@pytest.mark.parametrize("table", [EVERY, HARP], ids=["page", "harp"])
def test_untouched_controls_give_the_preset_as_it_is(table):
    found = read(table)
    assert found.preset == FAKE_PRESETS["loop-variation"]
    assert found.bpm is None and found.seed == 7 and found.model == "default"
    assert found.stereo and found.match_loudness and found.ranges_s == ()
    assert found.changes == ()


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
        ("out", "mono", {"stereo": False}),
        ("out", "raw", {"match_loudness": False}),
        ("out", "raw mono", {"stereo": False, "match_loudness": False}),
        ("ranges", "2-3.5, 6-7.25", {"prompt": {"ranges_s": ((2.0, 3.5), (6.0, 7.25))}}),
        ("more", "top_p .9", {"sampling": {"top_p": 0.9}}),
        ("more", "onset_ms 20, loop off", {"prompt": {"onset_ms": 20.0, "loop": False}}),
    ],
)
def test_every_control_changes_its_field_and_nothing_else(field, value, expected):
    tables = [EVERY, *([HARP] if field.replace("_", ".", 1) in {c.field for c in HARP} else [])]
    for table in tables:
        before, after = read(table), read(table, **{field: value})
        assert after.prompt == replace(before.prompt, **expected.get("prompt", {}))
        assert after.preset.sampling == {**before.preset.sampling, **expected.get("sampling", {})}
        for name in ("bpm", "seed", "model", "stereo", "match_loudness"):
            assert getattr(after, name) == expected.get(name, getattr(before, name))
        assert after.describe() != before.describe()


def test_a_range_in_bars_counts_from_the_first_downbeat():
    found = read(bpm=120, ranges="bar 2", more="beat_offset_s 0.25")
    assert found.beat_offset_s == 0.25 and found.ranges_s == ((2.25, 4.25),)
    with pytest.raises(ValueError, match="beat_offset_s needs a tempo"):
        read(more="beat_offset_s 0.25")


def test_what_is_typed_into_more_wins_over_a_slider():
    found = read(HARP, sampling_temperature=2, more="temperature 0.5, steps 9")
    assert found.preset.sampling == {"temperature": 0.5, "steps": 9}


def test_codebooks_count_for_a_preset_that_keeps_them_everywhere():
    assert read(preset="compress", prompt_codebooks_kept=1).prompt.compression == 1
    assert read(prompt_codebooks_kept=1).prompt.compression == 0


@given(st.data())
def test_what_is_described_can_be_typed_into_more(data):
    moved = {}
    for control in data.draw(st.sets(st.sampled_from(SLIDERS[:-1]))):
        steps = round((control.maximum - control.minimum) / control.step)
        at = data.draw(st.integers(1, steps))
        moved[control.field.replace(".", "_")] = round(control.minimum + at * control.step, 6)
    name = data.draw(st.sampled_from(sorted(FAKE_PRESETS)))
    first = read(preset=name, **moved)
    again = read(HARP, preset=name, more=", ".join(first.changes))
    assert again.preset == first.preset


@given(st.sampled_from(SLIDERS), st.data())
def test_float32_sliders_land_on_the_step(control, data):
    steps = int((control.maximum - control.minimum) / control.step)
    at = data.draw(st.integers(0, steps))
    value = round(control.minimum + at * control.step, 6)
    assert settings._number(control, float32(value)) == value


def test_bounds_are_taken_as_float32():
    for control in SLIDERS:
        for bound in (control.minimum, control.maximum):
            assert settings._number(control, float32(bound)) == bound


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("prompt_period", 65, "Every is 65; allowed is -1 to 64 frames"),
        ("prompt_period", math.nan, "allowed is -1 to 64"),
        ("prompt_period", math.inf, "allowed is -1 to 64"),
        ("prompt_period", 1e300, "is 1e+300; allowed is -1 to 64"),
        ("sampling_temperature", 1e308, "Temp is 1e+308; allowed is 0 to 4"),
        ("sampling_temperature", -1e308, "Temp is -1e+308; allowed is 0 to 4"),
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
        ("out", "yes", "Out is 'yes'; choose stereo, mono, raw, raw mono"),
        ("ranges", "two", "'two' cannot be read; write seconds, as 2-3.5"),
        ("ranges", "bar 3-4", "set the tempo"),
        ("more", "stepz 3", "More: 'stepz' is not the name of a setting; did you mean steps?"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(field, value, text):
    with pytest.raises(ValueError) as error:
        read(HARP, **{field: value})
    assert text in str(error.value)


def test_a_session_with_other_controls_is_told_what_to_do():
    former = ["loop-variation", -1, 0, -5, -1, 0, 0, 0, "", "", "default", True, True]
    with pytest.raises(ValueError) as error:
        settings.read(former, HARP, FAKE_PRESETS)
    assert str(error.value) == (
        "This HARP session was made with older controls (13 values, 10 now); "
        "load the address again."
    )


def test_former_names_of_presets_are_taken():
    known = presets()
    table = controls.in_harp(controls.table(known, ["default"]))
    for size in ("small", "medium", "large"):
        assert read(table, known, preset=f"{size}-variation-beat").preset.name == f"beat-{size}"


def test_a_drawn_seed_can_be_typed_again():
    drawn = settings.read([c.default for c in HARP], HARP, FAKE_PRESETS).seed
    assert read(seed=str(drawn)).seed == drawn
