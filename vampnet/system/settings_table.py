"""Settings described where they are defined: one table of names, types, units and help texts.

A dataclass of settings declares each field with :func:`setting`; the command makes its options of
:func:`options_of` that class, and the endpoint reads settings by name with the same rows. The
dataclasses import no torch, so that the command prints its help at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

_KEY = "option"


class Option(NamedTuple):
    """An option that sets the field of this name: how its text is read, its unit, its help."""

    name: str
    kind: Callable[[str], Any]
    unit: str
    help: str


def setting(default: Any, unit: str, help: str, kind: Callable[[str], Any] | None = None) -> Any:
    """Return a dataclass field with a default, a unit ("" for a switch) and a help text.

    kind: converts a text to the field's type; without it the type of the default.
    """
    return dataclasses.field(default=default, metadata={_KEY: (kind or type(default), unit, help)})


def options_of(settings: type) -> tuple[Option, ...]:
    """Return one option per field of a dataclass that was declared with :func:`setting`."""
    fields = [field for field in dataclasses.fields(settings) if _KEY in field.metadata]
    return tuple(Option(field.name, *field.metadata[_KEY]) for field in fields)


def whole_or(word: str) -> Callable[[str], int | None]:
    """Return the converter of a whole number, or of a word that stands for None."""

    def convert(text: str) -> int | None:
        return None if text == word else int(text)

    convert.__name__ = f"whole number or '{word}'"
    return convert
