"""Presets: a prompt under a name, each in a TOML file.

A file holds `name`, `description`, the fields of a ``Prompt`` in the table [prompt] and, in
[sampling], only what the preset's name promises: everything else comes from the model's recommended
sampling. ``profile`` there names the kind of prompt that the model may have other recommendations
for (``vampnet.model.recommended``). A mistake in a file is reported with its line.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Container, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from vampnet.model import Sampling
from vampnet.model.recommended import check_profile
from vampnet.prompt import Prompt
from vampnet.system.errors import UserError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# TOML has no "none": this word asks for a phase drawn anew with each seed.
RANDOM_PHASE = "random"
_LONGEST_NAME = 60
_TABLES = {"prompt": Prompt, "sampling": Sampling}
DEFAULT_PRESET = "loop-variation"
_PROFILE = "profile"
# Shipped presets in the order of menus, from near the original to far from it; others follow.
ORDER = (
    DEFAULT_PRESET,
    "small-variation",
    "medium-variation",
    "large-variation",
    "beat-small",
    "beat-medium",
    "beat-large",
    "beat-variation",
    "compress",
    "timbre-transfer",
    "fill-middle",
    "continue",
    "lead-in",
    "dream",
)
FORMER_NAMES = {
    "small-variation-beat": "beat-small",
    "medium-variation-beat": "beat-medium",
    "large-variation-beat": "beat-large",
}


class PresetError(UserError):
    """A preset file that cannot be used: the file, the line and the reason."""

    def __init__(self, path: Path, line: int, reason: str) -> None:
        super().__init__(f"{path}, line {line}: {reason}")


@dataclass(frozen=True)
class Preset:
    """A prompt under a name.

    description: one line that a musician understands. sampling: the settings that take the place of
    the model's recommended ones. profile: the kind of prompt, one of ``PROFILES`` or "".
    """

    name: str
    description: str
    prompt: Prompt
    sampling: Mapping[str, Any] = field(default_factory=dict, hash=False)
    profile: str = ""


def presets(folder: str | Path | None = None) -> dict[str, Preset]:
    """The shipped presets by name, in menu order, with those of the user's folder over them.

    A preset of the user with a shipped one's name takes its place; other files than *.toml are
    left alone. Raises ValueError for a folder that is not there or must not be read, PresetError
    for a broken file.
    """
    found = _read_folder(shipped_folder())
    if folder is not None:
        folder = Path(folder)
        if not folder.is_dir():
            raise UserError(f"{folder} is not a folder; presets are *.toml in a folder")
        try:
            os.listdir(folder)  # a search for names passes over what it must not read
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"the folder of presets {folder} cannot be read: {reason}") from None
        found.update(_read_folder(folder))
    first = {name: found[name] for name in ORDER if name in found}
    return first | found


def current_name(name: str, known: Container[str]) -> str:
    """The present name of a preset that was renamed; a name that is known stays."""
    return name if name in known else FORMER_NAMES.get(name, name)


def preset(name: str, folder: str | Path | None = None) -> Preset:
    """One of :func:`presets` by its name, or its former one. Raises ValueError for others."""
    known = presets(folder)
    name = current_name(name, known)
    if name not in known:
        raise UserError(f"no preset '{name}'; there are {', '.join(known)}")
    return known[name]


def preset_of(name_or_preset: str | Preset) -> Preset:
    """Return a preset as it is, or the shipped one of a name; ValueError for an unknown name."""
    return name_or_preset if isinstance(name_or_preset, Preset) else preset(name_or_preset)


def shipped_folder() -> Path:
    """Where the shipped presets lie: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    places = (package / "_presets", package.parent / "presets")
    for place in places:
        if place.is_dir():
            return place
    raise UserError(f"the shipped presets are missing; they should lie in {places[0]}")


def load_preset(path: Path) -> Preset:
    """Read one preset file.

    Raises PresetError, with file, line and reason, for what is not TOML, a key that is not known,
    a value of the wrong kind or out of its range; OSError for a file that cannot be read.
    """
    path = Path(path)
    text, content = _parse(path)
    known = {"name", "description", *_TABLES}
    for key in content:
        if key not in known:
            allowed = ", ".join(sorted(known))
            raise PresetError(path, _line(text, None, key), f"unknown {key!r}; allowed: {allowed}")
    name = _words(path, text, content, "name")
    if len(name) > _LONGEST_NAME:
        reason = f"name has {len(name)} characters; allowed are {_LONGEST_NAME}"
        raise PresetError(path, _line(text, None, "name"), reason)
    description = _words(path, text, content, "description")
    prompt, sampling = (_settings(path, text, content, table) for table in _TABLES)
    return Preset(name, description, Prompt(**prompt), sampling, sampling.pop(_PROFILE, ""))


def _read_folder(folder: Path) -> dict[str, Preset]:
    found: dict[str, Preset] = {}
    for path in sorted(folder.glob("*.toml")):
        preset = load_preset(path)
        if preset.name in found:
            reason = f"the name {preset.name!r} is taken by another file of this folder"
            raise PresetError(path, _line(path.read_text("utf-8"), None, "name"), reason)
        found[preset.name] = preset
    return found


def _parse(path: Path) -> tuple[str, dict[str, Any]]:
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise PresetError(path, line, "not text in UTF-8") from None
    try:
        return text, tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        reason = str(error)
        place = re.search(r"\s*\(at (?:line (\d+), column \d+|end of document)\)", reason)
        at_line = place and place.group(1)
        line = int(at_line) if at_line else text.rstrip("\n").count("\n") + 1
        reason = reason.replace(place.group(0), "") if place else reason
        raise PresetError(path, line, f"not TOML: {reason}") from None


def _words(path: Path, text: str, content: dict[str, Any], key: str) -> str:
    if key not in content:
        raise PresetError(path, 1, f"{key} is missing")
    words = content[key]
    if not isinstance(words, str) or not words.strip() or "\n" in words.strip():
        reason = f"{key} must be one line of text, not {words!r}"
        raise PresetError(path, _line(text, None, key), reason)
    return words.strip()


def _settings(path: Path, text: str, content: dict[str, Any], table: str) -> dict[str, Any]:
    """The fields of a table, each value checked by itself so that its line can be named."""
    kind = _TABLES[table]
    values = content.get(table, {})
    if not isinstance(values, dict):
        reason = f"{table} must be a table, [{table}], not {values!r}"
        raise PresetError(path, _line(text, None, table), reason)
    defaults = {field.name: field.default for field in fields(kind)}
    if kind is Sampling:
        defaults[_PROFILE] = ""
    given = {}
    for key, value in values.items():
        line = _line(text, table, key)
        if key not in defaults:
            allowed = ", ".join(defaults)
            raise PresetError(path, line, f"unknown {key!r} in [{table}]; allowed: {allowed}")
        try:
            given[key] = _checked(kind, key, value, defaults[key])
        except ValueError as error:
            raise PresetError(path, line, str(error)) from None
    return given


def _checked(kind: type, key: str, value: Any, default: Any) -> Any:
    """The value as the field takes it; ValueError if it is of the wrong kind or out of range."""
    if key == _PROFILE:
        return check_profile(value)
    if key == "period_phase" and isinstance(value, str):
        if value != RANDOM_PHASE:
            raise UserError(f"period_phase must be a number or {RANDOM_PHASE!r}, not {value!r}")
        return None
    if isinstance(default, bool) and not isinstance(value, bool):
        raise UserError(f"{key} must be true or false, not {value!r}")
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if isinstance(default, (int, float)) and not isinstance(default, bool) and not is_number:
        raise UserError(f"{key} must be a number, not {value!r}")
    if isinstance(default, int) and not isinstance(default, bool) and isinstance(value, float):
        raise UserError(f"{key} must be a whole number, not {value!r}")
    return getattr(kind(**{key: value}), key)


def _line(text: str, table: str | None, key: str) -> int:
    """The line (from 1) where a key of a table stands; the table's or the first if not found."""
    current: str | None = None
    heading = 1
    for number, line in enumerate(text.split("\n"), start=1):
        header = re.match(r"\s*\[+\s*[\"']?([\w.-]+)[\"']?\s*\]+\s*(#.*)?$", line)
        if header:
            current = header.group(1)
            heading = number if current == (table or key) else heading
        elif current == table and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*[=.]", line):
            return number
        elif current is None and table and re.match(rf"\s*{table}\s*(=|\.\s*{key}\b)", line):
            return number
    return heading
