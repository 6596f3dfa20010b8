"""Time ranges in seconds and in bars: what is read, what is refused, and in which words."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vampnet.prompt.time_ranges import clipped, parse_ranges


@pytest.mark.parametrize(
    ("text", "bpm", "expected"),
    [
        ("", None, ()),
        (" ; , ", None, ()),
        ("2-3.5", None, ((2.0, 3.5),)),
        ("2 - 3.5 s; 6s\u20137.25s", None, ((2.0, 3.5), (6.0, 7.25))),
        ("1:02-1:04.5, 0:30 - 45", None, ((62.0, 64.5), (30.0, 45.0))),
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


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1-1", "Range '1-1' has no length"),
        ("2-1", "Range '2-1' ends before it starts"),
        ("bar 4-3", "Range 'bar 4-3' ends before it starts"),
        ("bar 0-1", "Range 'bar 0-1': bars are whole numbers from 1"),
        ("bar 1, 3.5-4", "Range '3.5-4': bars are whole numbers from 1"),
        ("1:2-1:04", "Range '1:2-1:04': minutes and seconds are written as 1:02"),
        ("1:75-2:00", "minutes and seconds are written as 1:02"),
        ("2", "Range '2' cannot be read; write seconds, as 2-3.5 or 1:02-1:04"),
        ("bar", "cannot be read"),
        ("bar 3-4 s", "cannot be read"),
        ("-1-2", "cannot be read"),
        ("1-2-3", "cannot be read"),
        ("1e9-2e9", "cannot be read"),
        ("1-2," * 65, "Range: 65 ranges; at most 64 are allowed"),
    ],
)
def test_what_cannot_be_read_is_named(text, words):
    with pytest.raises(ValueError) as error:
        parse_ranges(text, 120.0)
    assert words in str(error.value) and len(str(error.value)) <= 200


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2,5-3,5", "2.5-3.5"),
        ("2-3,5", "2-3.5"),
        ("1,5-2", "1.5-2"),
        ("2,5 - 3,5 s", "2.5 - 3.5 s"),
    ],
)
def test_a_decimal_comma_is_explained_with_what_to_write(text, meant):
    with pytest.raises(ValueError) as error:
        parse_ranges(text)
    assert str(error.value) == f"Range '{text}': a comma separates ranges; write {meant}"
    assert len(parse_ranges(meant)) == 1


def test_bars_need_a_tempo_and_a_clip_that_has_them():
    with pytest.raises(ValueError, match="'bar 3-4' counts bars; set the tempo for that"):
        parse_ranges("bar 3-4")
    with pytest.raises(ValueError, match="'bar 1' ends before the clip starts; bar 1 is at -2 s"):
        parse_ranges("bar 1", 120.0, -2.0)


def test_a_range_ends_with_the_clip_where_it_ends_slightly_after_it():
    assert clipped(((7.0, 8.0),), 7.99) == ((7.0, 7.99),)
    assert clipped(((1.0, math.inf),), 8.0) == ((1.0, 8.0),)
    assert clipped(((6.0, 8.08),), 8.0, bpm=5.0) == ((6.0, 8.0),)
    for ranges_s in (((7.0, 8.08),), ((8.0, 8.01),)):
        with pytest.raises(ValueError, match="lies outside the clip, which is 8.000 s long"):
            clipped(ranges_s, 8.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bar 9-10", "Range bar 9-10 lies outside the clip, which has 8 bars at 120 BPM"),
        ("bar 1, 9-10", "Range bar 9-10 lies outside the clip, which has 8 bars at 120 BPM"),
        ("bar 1, 16-20 s", "Range 16-20 s lies outside the clip, which is 16.000 s long"),
        ("16-20", "Range 16-20 s lies outside the clip, which is 16.000 s long"),
    ],
)
def test_a_range_outside_is_named_in_the_unit_it_was_asked_in(text, words):
    with pytest.raises(ValueError) as error:
        clipped(parse_ranges(text, 120.0), 16.0, 120.0, text)
    assert str(error.value) == words


@given(st.text(max_size=40) | st.text("0123456789:.,-bar s", max_size=20))
def test_any_text_of_ranges_is_read_or_refused_in_words(text):
    try:
        for start, end in parse_ranges(text, 100.0):
            assert 0 <= start < end
    except ValueError as error:
        assert str(error).startswith("Range")
