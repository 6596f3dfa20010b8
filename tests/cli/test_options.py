"""Command-line options: values round-trip through the command line, help states true defaults."""

from __future__ import annotations

import argparse
import dataclasses
import re

import pytest

from harp_app.server import Options
from vampnet import cli, presets
from vampnet.cli import option_table
from vampnet.model import Sampling
from vampnet.prompt import Prompt

TABLES = [
    pytest.param(option_table.PROMPT, Prompt, id="prompt"),
    pytest.param(option_table.SAMPLING, Sampling, id="sampling"),
    pytest.param(option_table.SERVE, Options, id="serve"),
]


@pytest.mark.parametrize(("table", "settings"), TABLES)
def test_every_default_round_trips_through_its_option(table, settings):
    parser, defaults = argparse.ArgumentParser(), settings()
    option_table.add(parser, table)
    for option in table:
        value, name = getattr(defaults, option.name), option.name.replace("_", "-")
        if value is None or value == "":
            continue  # an absent option
        text = [f"--{name}", str(value)]
        if isinstance(value, bool):
            text = [f"--{name}" if value else f"--no-{name}"]
        assert option_table.given(parser.parse_args(text), table) == {option.name: value}


@pytest.mark.parametrize(("table", "settings"), TABLES)
def test_every_setting_has_an_option_with_help_and_unit(table, settings):
    named = {field.name for field in dataclasses.fields(settings)} - {"ranges_s"}  # --ranges
    assert {option.name for option in table} == named
    for option in table:
        assert option.help and bool(option.unit) == (option.kind is not bool)


def test_defaults_stated_in_help_are_those_of_the_server():
    assert cli.vamp.DEFAULT_PRESET == presets.DEFAULT_PRESET
    for option in option_table.SERVE:
        stated = re.search(r"\(([\w.]+)\)$", option.help)
        if stated:
            default = getattr(Options(), option.name)
            assert str(default).removesuffix(".0") == stated[1]


def test_an_option_that_is_not_given_is_absent():
    parser = argparse.ArgumentParser()
    option_table.add(parser, option_table.PROMPT)
    assert option_table.given(parser.parse_args([]), option_table.PROMPT) == {}
    line = parser.parse_args(["--no-loop", "--codebooks-kept", "all", "--period", "4"])
    found = {"loop": False, "codebooks_kept": None, "period": 4}
    assert option_table.given(line, option_table.PROMPT) == found
