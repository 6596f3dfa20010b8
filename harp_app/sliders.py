"""The page's sliders: a preset moves them to its values, and only a changed one is over it.

HARP's page is static, so there a slider's leftmost position stands for "as the preset says". On our
page that position does not exist.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harp_app.controls import Control
from vampnet.presets import Preset

LEFTMOST = "Leftmost: as the preset says. "


def info(control: Control) -> str:
    """Return what is said of a control, without the position that does not exist here."""
    return control.info.removeprefix(LEFTMOST)


def lowest(control: Control) -> float:
    """Return a slider's lowest value where nothing stands for "as the preset says"."""
    return control.minimum + control.step if "." in control.field else control.minimum


def of_preset(control: Control, preset: Preset) -> float:
    """Return where a slider stands when it says what the preset says."""
    part, _, name = control.field.partition(".")
    if not name:
        return float(control.default)
    value = getattr(getattr(preset, part), name)
    if name == "codebooks_kept":
        value = preset.prompt.compression or (control.maximum if value is None else value)
    if name == "dropout":
        value = round(100 * value, 3)
    return min(max(value, lowest(control)), control.maximum)


def sent(
    values: Sequence[Any], table: Sequence[Control], presets: Mapping[str, Preset]
) -> list[Any]:
    """Return the page's values as HARP would send them.

    That is leftmost where a slider stands where the preset says. The first value is the
    preset's name.
    """
    preset = presets.get(values[0]) if isinstance(values[0], str) else None
    meant = list(values)
    for place, control in enumerate(table):
        value = meant[place]
        over_preset = control.kind == "slider" and "." in control.field
        if preset and over_preset and isinstance(value, (int, float)):
            if abs(value - of_preset(control, preset)) < control.step / 2:
                meant[place] = control.minimum
    return meant
