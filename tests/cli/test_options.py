"""The command's tables of options: each stands for a field, of its kind and with its default."""

from __future__ import annotations

import argparse
import dataclasses
import re

from harp_app.server import Options
from vampnet import cli, presets
from vampnet.cli import option_table
from vampnet.model import Sampling
from vampnet.prompt import Prompt


def kind_of(field: dataclasses.Field) -> str:
    return str(field.type).replace(" | None", "").replace("str | Path", "str")


def test_every_field_is_an_option_of_its_kind():
    tables = (
        (option_table.PROMPT, Prompt),
        (option_table.SAMPLING, Sampling),
        (option_table.SERVE, Options),
    )
    for table, made in tables:
        fields = {f.name: kind_of(f) for f in dataclasses.fields(made) if f.name != "ranges_s"}
        kinds = {o.name: getattr(o.kind, "__name__", "") for o in table}
        kinds = {k: "int" if v.startswith("whole number") else v for k, v in kinds.items()}
        assert kinds == fields
        for option in table:
            assert option.help and bool(option.unit) == (option.kind is not bool)


def test_the_defaults_told_in_help_are_true():
    assert cli.vamp.DEFAULT_PRESET == presets.DEFAULT_PRESET
    for option in option_table.SERVE:
        default = getattr(Options(), option.name)
        told = re.search(r"\(([\w.]+)\)$", option.help)
        if told:
            assert str(default).removesuffix(".0") == told[1]


def test_an_option_that_is_not_given_is_absent():
    parser = argparse.ArgumentParser()
    option_table.add(parser, option_table.PROMPT)
    assert option_table.given(parser.parse_args([]), option_table.PROMPT) == {}
    line = parser.parse_args(["--no-loop", "--codebooks-kept", "all", "--period", "4"])
    found = {"loop": False, "codebooks_kept": None, "period": 4}
    assert option_table.given(line, option_table.PROMPT) == found
