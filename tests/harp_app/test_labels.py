"""The labels over a result, as HARP draws them: few, none over another, the settings reachable."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from harp_window import SQUASHED, label_boxes, lines_of_hover, text_width
from hypothesis import given
from hypothesis import strategies as st

from harp_app import controls
from harp_app.labels import labels, places
from harp_app.settings import read
from vampnet.model import Sampling
from vampnet.presets import Preset, presets
from vampnet.prompt import Prompt
from vampnet.prompt.beats import beat_grid

PRESETS = presets()


def found(duration_s=8.0, bpm=120.0, takes=1, known=PRESETS, beats_bpm=None, **changed):
    """The labels and the places of a clip with such controls."""
    table = controls.table(known, ["default"])
    values = [changed.pop(c.field.replace(".", "_"), c.default) for c in table]
    assert not changed
    settings = read(values, table, known, lambda: 2**31 - 1)
    beats = beat_grid(bpm, duration_s) if settings.prompt.needs_beats else None
    return labels(settings, beats, duration_s, takes), places(settings, beats, duration_s)


def check_drawing(marks, duration_s):
    """Every label whole, none over another, at most eight in the strip."""
    boxes = label_boxes([asdict(mark) for mark in marks], duration_s)
    for mark, (left, right, _) in zip(marks, boxes, strict=True):
        assert SQUASHED * text_width(mark.label, 16) < right - left - 10, mark.label
        assert lines_of_hover(mark.description) <= 2, mark.description
        assert 0 <= mark.t <= mark.t + mark.duration <= duration_s + 1e-9
        assert -(2**31) <= mark.color < 2**31
    for place, (left, right, at) in enumerate(boxes):
        for other_left, other_right, other_at in boxes[:place]:
            assert at != other_at or right <= other_left + 1 or other_right <= left + 1
    assert sum(mark.amplitude is None for mark in marks) <= 8


@pytest.mark.parametrize("bpm", [60.0, 97.0, 120.0, 174.0])
@pytest.mark.parametrize("duration_s", [0.2, 2.0, 8.0, 60.0, 600.0])
@pytest.mark.parametrize("name", PRESETS)
def test_labels_can_be_read_over_clips_of_all_lengths(name, duration_s, bpm):
    marks, all_places = found(duration_s, bpm, preset=name)
    check_drawing(marks, duration_s)
    strip = [mark for mark in marks if mark.amplitude is None]
    assert bool(strip) == bool(all_places)


def test_the_settings_are_at_the_bottom_and_the_preset_explains_itself():
    marks, _ = found(preset="beat-small")
    bottom = [mark for mark in marks if mark.amplitude == -1]
    assert [mark.label for mark in bottom] == ["seed 2147483647", "beat-small"]
    assert bottom == list(marks[:2])
    for part in ("preset beat-small", "stereo", "model default", "seed 2147483647"):
        assert part in bottom[0].description
    assert PRESETS["beat-small"].description in bottom[1].description


def test_bars_of_8_seconds_and_every_eighth_bar_of_60():
    strips = []
    for duration_s in (8.0, 60.0):
        marks, all_places = found(duration_s, preset="beat-small")
        strip = [mark for mark in marks if mark.amplitude is None]
        assert all(f"{len(all_places)} kept in all, 120.0 BPM" in m.description for m in strip)
        strips.append([(mark.label, round(mark.t + 0.025, 3)) for mark in strip])
    assert [label for label, _ in strips[0]] == ["bar 1", "bar 2", "bar 3", "bar 4"]
    assert [t for _, t in strips[0][1:]] == [2.0, 4.0, 6.0]
    assert [label for label, _ in strips[1]] == ["bar 1", "bar 9", "bar 17", "bar 25"]


def test_few_beats_are_all_labelled():
    marks, _ = found(2.0, preset="beat-small")
    assert [m.label for m in marks if m.amplitude is None] == ["bar 1", "beat", "beat", "beat"]


def test_every_place_is_there_for_the_page():
    _, all_places = found(60.0, preset="beat-small", ranges="10-20, 30-40")
    assert [mark.label for mark in all_places[:2]] == ["new", "new"]
    for mark in all_places[2:]:  # outside the ranges everything is kept
        assert any(start < mark.t + mark.duration and mark.t < start + 10 for start in (10, 30))
    assert len(all_places) == 2 + 2 * 21


def test_labels_do_not_call_kept_what_dropout_gave_up():
    prompt = Prompt(prefix_s=0.5, suffix_s=0.5, beat_ms=75)
    known = {"ends": Preset("ends", "both ends", prompt)}

    def kept(percent):
        return found(2.0, known=known, prompt_dropout=percent)[1]

    assert len(kept(0)) == 6 and not any("%" in mark.description for mark in kept(0))
    assert [mark.label for mark in kept(35)][:3] == ["kept, 65 % of it"] * 2 + ["bar 1"]
    assert all("65 % of it" in mark.description for mark in kept(35))
    assert kept(100) == ()


def test_long_settings_take_more_labels_and_none_is_cut():
    ranges = ", ".join(f"{n}-{n}.5" for n in range(50))
    marks, _ = found(
        60.0, takes=4, ranges=ranges, more="steps 12, top_p .95, typical_mass .2, onset_ms 20,"
        "mask_temperature 3, sample_cutoff .5, by_codebook, mean_pull .25, beat_every 2",
    )  # fmt: skip
    check_drawing(marks, 60.0)
    said = ", ".join(mark.description for mark in marks if mark.amplitude is not None)
    for part in ("take1of4 to take4of4", "top_p 0.95", "49-49.5", "beat_every 2"):
        assert part in said


@given(
    st.lists(st.floats(0, 55).map(lambda t: round(t, 2)), max_size=12),
    st.sampled_from(["beat-small", "fill-middle", "dream"]),
)
def test_ranges_anywhere_never_cover_one_another(starts, name):
    ranges = ", ".join(f"{start}-{start + 0.5:.2f}" for start in starts)
    marks, all_places = found(60.0, preset=name, ranges=ranges)
    check_drawing(marks, 60.0)
    assert len([mark for mark in all_places if mark.label == "new"]) == len(starts)


def test_the_sampling_in_use_is_a_label():
    table = controls.table(PRESETS, ["default"])
    settings = read([control.default for control in table], table, PRESETS, lambda: 1)
    used = Sampling(steps=8, temperature=0.8, by_codebook=True)
    (mark,) = [m for m in labels(settings, None, 4.0, 1, used) if m.label == "sampling"]
    assert "steps 8" in mark.description and "temperature 0.8" in mark.description
    assert "by_codebook on" in mark.description and "top_p" not in mark.description
