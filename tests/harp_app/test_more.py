"""The text box *More*: every option of the command by name, every mistake named."""

from __future__ import annotations

import argparse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harp_app import more
from vampnet.cli import option_table
from vampnet.model.sampling import Sampling
from vampnet.presets import preset, presets
from vampnet.prompt import Prompt

LOOP = preset("loop-variation")
VALUES = {  # one that is allowed and differs from the default, as the command takes it
    "period_phase": ("random", "3"),
    "codebooks_kept": ("all", "4"),
}
OPTIONS = [(option, table) for table in (option_table.PROMPT, option_table.SAMPLING)
           for option in table]  # fmt: skip


def by_command(words: list[str], table) -> dict:
    parser = argparse.ArgumentParser()
    option_table.add(parser, table)
    return option_table.given(parser.parse_args(words), table)


@pytest.mark.parametrize(("option", "table"), OPTIONS, ids=[o.name for o, _ in OPTIONS])
def test_every_option_of_the_command_reads_as_the_command_reads_it(option, table):
    flag = "--" + option.name.replace("_", "-")
    if option.kind is bool:
        for text, words in ((" on", flag), (" off", "--no-" + flag[2:]), ("", flag)):
            assert more.read(option.name + text, LOOP) == by_command([words], table)
        assert more.read("no_" + option.name, LOOP) == {option.name: False}
        return
    for value in VALUES.get(option.name, ("1", "0.75" if option.kind is float else "3")):
        expected = by_command([flag, value], table)
        for text in (f"{option.name} {value}", f"{flag}={value}", f"{option.name}: {value}"):
            assert more.read(text, LOOP) == expected


def test_several_settings_with_short_names_and_per_cent():
    found = more.read("steps 24, dropout 10, codebooks 4; every 7\ntop_p .9", LOOP)
    assert found == {
        "steps": 24, "dropout": 0.1, "codebooks_kept": 4, "period": 7, "top_p": 0.9,
    }  # fmt: skip
    for text in ("dropout 35", "dropout 35 %", "Dropout 35%", "dropout .35", "dropout = 0.35"):
        assert more.read(text, LOOP) == {"dropout": 0.35}
    assert more.read("dropout 1", LOOP) == {"dropout": 1.0}
    assert more.read("dropout 1 %", LOOP) == {"dropout": 0.01}
    assert more.read("beat ms 75 ms, prefix-s 1.5 s", LOOP) == {"beat_ms": 75.0, "prefix_s": 1.5}
    assert more.read(" , ", LOOP) == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("stepz 24", "More: 'stepz' is not the name of a setting; did you mean steps?"),
        ("xyzzy", "More: 'xyzzy' is not the name of a setting; write a name and a value, as steps"),
        ("24", "More: '24' is not the name of a setting"),
        ("steps", "More: steps has no value; a whole number is needed"),
        ("steps many", "More: steps is 'many'; a whole number is needed"),
        ("steps 1.5", "More: steps is '1.5'; a whole number is needed"),
        ("steps 2000", "More: steps is 2000; allowed is 1 to 1000"),
        ("steps 24 s", "More: steps is '24 s'; write a plain number"),
        ("beat_ms 1 s", "More: beat_ms is '1 s'; write ms"),
        ("period -1", "More: period must be a whole number from 0 up, not -1"),
        ("period all", "More: period is 'all'; a whole number is needed"),
        ("codebooks none", "a whole number or 'all' is needed"),
        ("period_phase x", "a whole number or 'random' is needed"),
        ("temperature nan", "More: temperature is 'nan'; a number is needed"),
        ("temperature 1e3", "More: temperature is '1e3'"),
        ("top_p 101", "More: top_p is '101'; allowed is 0 to 1, or 0 to 100 %"),
        ("loop maybe", "More: loop is 'maybe'; allowed is on or off"),
        ("top_p 0,9", "More: 'top_p 0,9': a comma ends a setting; decimals take a point"),
        ("steps 24, every 3, period 4", "More: period is given twice"),
        ("bpm 120", "More: bpm has a control of its own, BPM"),
        ("ranges_s 1-2", "More: ranges_s has a control of its own, Range"),
        ("mono", "More: mono has a control of its own, Out"),
        ("beat_offset_s 1e9", "More: beat_offset_s is '1e9'"),
        ("beat_offset_s 999999", "allowed is -86400 to 86400 s"),
    ],
)
def test_a_mistake_is_named_with_what_is_allowed(text, words):
    with pytest.raises(ValueError) as error:
        more.read(text, LOOP)
    assert words in str(error.value) and len(str(error.value)) <= 200


@pytest.mark.parametrize("name", presets())
def test_a_question_mark_explains_the_preset(name):
    chosen = preset(name)
    for text in ("?", "steps 24, ?", "help"):
        with pytest.raises(ValueError) as error:
            more.read(text, chosen)
        assert str(error.value).startswith(f"{name}: {chosen.description}")
        assert len(str(error.value)) <= 180


@pytest.mark.parametrize("option", [option for option, _ in OPTIONS], ids=lambda o: o.name)
def test_a_question_mark_and_a_name_explain_the_setting(option):
    with pytest.raises(ValueError) as error:
        more.read(f"? {option.name}", LOOP)
    assert option.help in str(error.value) and len(str(error.value)) <= 180
    with pytest.raises(ValueError, match="did you mean"):
        more.read(f"? {option.name}x", LOOP)


@given(st.sampled_from([option for option, _ in OPTIONS]), st.data())
def test_what_is_written_of_a_value_reads_as_that_value(option, data):
    kinds = {
        bool: st.booleans(),
        int: st.integers(1, 1000),
        float: st.integers(0, 10**9).map(lambda n: n / 10**9) | st.just(0.1 + 0.2),
    }
    value = data.draw(kinds.get(option.kind, st.none() | st.integers(1, 9)))
    table = Prompt if option in option_table.PROMPT else Sampling
    value = getattr(table(**{option.name: value}), option.name)
    assert more.read(more.written(option.name, value), LOOP) == {option.name: value}


@pytest.mark.slow
@given(st.text(max_size=60) | st.text("steps,= .%-_loop0123456789", max_size=30))
def test_any_text_is_read_or_refused_in_words(text):
    try:
        more.read(text, LOOP)
    except ValueError as error:
        about = str(error).split()[0].rstrip(":")
        names = {option.name for option, _ in OPTIONS}
        assert about in names | {"More", LOOP.name, "beat_offset_s"}
