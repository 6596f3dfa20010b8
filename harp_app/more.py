"""The text box *More*: any setting of the command by its name, ``steps 24, top_p 0.9, no_loop``.

Names, kinds and units are those of the command's table of settings.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import fields
from decimal import Decimal
from typing import Any

from vampnet.model.settings import Sampling
from vampnet.presets import Preset
from vampnet.prompt import Prompt
from vampnet.prompt.time_ranges import MAX_OFFSET_S
from vampnet.system.errors import UserError
from vampnet.system.settings_table import Option, options_of

PROMPT, SAMPLING = options_of(Prompt), options_of(Sampling)
SHORT_NAMES = {
    "every": "period",
    "codebooks": "codebooks_kept",
    "beats": "beat_ms",
    "temp": "temperature",
}
# Values of a request that have a control of their own.
_ELSEWHERE = {"preset": "Preset", "model": "Model", "seed": "Seed"}
_ELSEWHERE |= dict.fromkeys(("bpm", "tempo"), "BPM")
_ELSEWHERE |= dict.fromkeys(("range", "ranges", "ranges_s", "bar", "bars"), "Range")
_ELSEWHERE |= dict.fromkeys(("stereo", "mono", "raw", "out", "match_loudness"), "Out")
_OFFSET = Option("beat_offset_s", float, "SECONDS", "time of the first downbeat, with a tempo")
_OPTIONS = {option.name: option for option in (*PROMPT, *SAMPLING, _OFFSET)}
_KINDS = {o.name: kind for kind, rows in ((Prompt, PROMPT), (Sampling, SAMPLING)) for o in rows}
_SWITCH = {"": True, "on": True, "yes": True, "true": True}
_SWITCH |= {"off": False, "no": False, "false": False}
_UNITS = {"MS": ("ms",), "SECONDS": ("s", "sec"), "SHARE": ("%",), "FRAMES": ("frames",)}
_NUMBER = re.compile(
    r"(?P<number>[-+]?(\d{1,12}(\.\d{0,20})?|\.\d{1,20}))\s*(?P<unit>%|[a-z]*)", re.ASCII
)


def read(text: str, preset: Preset) -> dict[str, Any]:
    """Return the settings of a text: values, as the command would read them, by name.

    Names may be written with ``-``, ``_`` or blanks, values after a blank, ``=`` or ``:``; a comma,
    a semicolon or a new line ends a setting. A share of more than 1 counts as per cent. Raises
    UserError for each mistake, with the value seen and those allowed, and for a question: ``?``
    explains ``preset``, ``? steps`` a setting.
    """
    found: dict[str, Any] = {}
    items = [item for item in (part.strip() for part in re.split(r"[,;\n]", text)) if item]
    for place, item in enumerate(items):
        question = re.fullmatch(r"(?:\?|help\b)(.*)", item, re.IGNORECASE)
        if question:
            raise UserError(_explained(question[1].strip(), preset))
        if place and re.fullmatch(r"\d+\s*%?", item) and items[place - 1][-1].isdigit():
            wrong = f"{items[place - 1]},{item}"
            raise UserError(f"More: '{wrong:.40}': a comma ends a setting; decimals take a point")
        name, value = _setting(item)
        if name in found:
            raise UserError(f"More: {name} is given twice")
        found[name] = value
    return found


def written(name: str, value: Any) -> str:
    """Return a setting as :func:`read` takes it."""
    if value is None:
        return f"{name} {'random' if name == 'period_phase' else 'all'}"
    if isinstance(value, bool):
        return f"{name} {'on' if value else 'off'}"
    plain = format(Decimal(repr(value)), "f")  # without an exponent
    return f"{name} {plain.removesuffix('.0')}"


def _setting(item: str) -> tuple[str, Any]:
    """The name and the value of one setting."""
    words = [word for word in re.split(r"\s*[=:]\s*|\s+", item.lower().lstrip("-")) if word]
    for count in range(len(words), 0, -1):
        name = _name("_".join(words[:count]))
        text = " ".join(words[count:])
        if name in _OPTIONS:
            return name, _value(_OPTIONS[name], text)
        switch = _OPTIONS.get(name.removeprefix("no_"))
        if switch and switch.kind is bool and not text:
            return switch.name, False
    raise UserError(_unknown(words[0] if words else item))


def _name(text: str) -> str:
    plain = text.replace("-", "_")
    return SHORT_NAMES.get(plain, plain)


def _unknown(text: str) -> str:
    if text in _ELSEWHERE:
        return f"More: {text} has a control of its own, {_ELSEWHERE[text]}"
    near = difflib.get_close_matches(_name(text), [*_OPTIONS, *SHORT_NAMES], 1)
    advice = f"did you mean {near[0]}?" if near else "write a name and a value, as steps 24"
    return f"More: '{text[:40]}' is not the name of a setting; {advice}"


def _value(option: Option, text: str) -> Any:
    """The value of a setting, checked; UserError with what is allowed."""
    seen = f"More: {option.name} is '{text[:40]}'" if text else f"More: {option.name} has no value"
    if option.kind is bool:
        if text not in _SWITCH:
            raise UserError(f"{seen}; allowed is on or off")
        return _SWITCH[text]
    found = _NUMBER.fullmatch(text)
    if found and found["unit"] not in ("", *_UNITS.get(option.unit, ())):
        allowed = " or ".join(_UNITS.get(option.unit, ("a plain number",)))
        raise UserError(f"{seen}; write {allowed}")
    number = found["number"] if found else text if text in ("all", "random") else "-"
    try:
        value = option.kind(number)
    except ValueError:
        kind = getattr(option.kind, "__name__", "value")
        kind = {"int": "whole number", "float": "number"}.get(kind, kind)
        raise UserError(f"{seen}; a {kind} is needed") from None
    if option.unit == "SHARE" and found and (found["unit"] or value > 1):
        value /= 100.0
        if value > 1:
            raise UserError(f"{seen}; allowed is 0 to 1, or 0 to 100 %")
    return _in_range(option.name, value)


def _in_range(name: str, value: Any) -> Any:
    if name not in _KINDS:
        if abs(value) > MAX_OFFSET_S:
            allowed = f"allowed is {-MAX_OFFSET_S:g} to {MAX_OFFSET_S:g} s"
            raise UserError(f"More: {name} is {value:g}; {allowed}")
        return value
    try:
        return getattr(_KINDS[name](**{name: value}), name)
    except ValueError as error:
        raise UserError(f"More: {error}") from None


def _explained(name: str, preset: Preset) -> str:
    """What a setting does, or the preset where none is named."""
    if not name:
        kept = [
            written(field.name, getattr(preset.prompt, field.name))
            for field in fields(Prompt)
            if field.name != "ranges_s" and getattr(preset.prompt, field.name) != field.default
        ]
        return f"{preset.name}: {preset.description} ({', '.join(kept) or 'nothing is kept'})"
    option = _OPTIONS.get(_name(name.lower().replace(" ", "_").lstrip("-")))
    if option is None:
        raise UserError(_unknown(name))
    unit = f" {option.unit}" if option.unit else ""
    now = ""
    if option in PROMPT:
        now = written(option.name, getattr(preset.prompt, option.name))
    elif option.name in preset.sampling:
        now = written(option.name, preset.sampling[option.name])
    return f"{option.name}{unit}: {option.help}" + (f" ({preset.name}: {now})" if now else "")
