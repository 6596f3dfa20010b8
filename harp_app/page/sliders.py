"""The page's controls: a preset moves the sliders to its values; only a changed one is over it.

HARP's page is static, so there a slider's leftmost position stands for "as the preset says". On our
page that position does not exist.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from harp_app.controls import Control
from vampnet.model.recommended import RecommendedSampling
from vampnet.presets import Preset

LEFTMOST = "Leftmost: as the preset says. "


def info(control: Control) -> str:
    """Return what is said of a control, without the position that does not exist here."""
    return control.info.removeprefix(LEFTMOST)


def lowest(control: Control) -> float:
    """Return a slider's lowest value where nothing stands for "as the preset says"."""
    return control.minimum + control.step if "." in control.field else control.minimum


def of_preset(control: Control, preset: Preset, recommended: RecommendedSampling) -> float:
    """Return where a slider stands when it says what the preset says on a model."""
    part, _, name = control.field.partition(".")
    if not name:
        return float(control.default)
    sampling = recommended.resolve(preset.profile, preset.sampling)
    value = getattr(preset.prompt if part == "prompt" else sampling, name)
    if name == "codebooks_kept":
        value = preset.prompt.compression or (control.maximum if value is None else value)
    if name == "dropout":
        value = round(100 * value, 3)
    return min(max(value, lowest(control)), control.maximum)


def component(control: Control, preset: Preset, recommended: RecommendedSampling) -> Any:
    """Return the page's own gradio component, inside an open ``gr.Blocks``.

    A slider starts where ``preset`` is.
    """
    shared: dict[str, Any] = {
        "label": control.label,
        "info": info(control),
        "elem_id": control.field.replace(".", "-"),
    }
    if control.kind == "slider":
        bounds = (lowest(control), control.maximum)
        value = of_preset(control, preset, recommended)
        return gr.Slider(*bounds, step=control.step, value=value, buttons=[], **shared)
    if control.kind == "dropdown":
        choices = list(control.choices)
        return gr.Dropdown(choices, value=str(control.default), visible=len(choices) > 1, **shared)
    return gr.Textbox(value=str(control.default), max_lines=1, **shared)


def sent(
    values: Sequence[Any],
    table: Sequence[Control],
    presets: Mapping[str, Preset],
    recommended: RecommendedSampling,
    moved_by: str | None = None,
) -> list[Any]:
    """Return the page's values as HARP would send them.

    That is leftmost where a slider stands where the preset says. The first value is the
    preset's name. moved_by: the preset that last moved the sliders; where it is another one, they
    are on their way still and all count as leftmost.
    """
    preset = presets.get(values[0]) if isinstance(values[0], str) else None
    on_their_way = moved_by is not None and moved_by != values[0]
    meant = list(values)
    for place, control in enumerate(table):
        value = meant[place]
        over_preset = control.kind == "slider" and "." in control.field
        if preset and over_preset and isinstance(value, (int, float)):
            if (
                on_their_way
                or abs(value - of_preset(control, preset, recommended)) < control.step / 2
            ):
                meant[place] = control.minimum
    return meant
