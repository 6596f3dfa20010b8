"""HARP's card, controls and labels on gradio, for when the real pyharp is not installed.

Names and signatures are pyharp's (TEAMuP-dev/pyharp 0.3), so that ``endpoint.py`` can use either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import gradio as gr

from vampnet.system.errors import UserError


@dataclass
class ModelCard:
    """What HARP shows of an endpoint."""

    name: str
    description: str
    author: str
    tags: list[str]


@dataclass
class AudioLabel:
    """A label over audio: times in seconds, color as ARGB in one int (0 = none).

    amplitude: height over the waveform; None = in the strip above it.
    """

    t: float
    label: str
    duration: float = 0.0
    description: str | None = None
    color: int = 0
    link: str | None = None
    amplitude: float | None = None
    label_type: str = field(default_factory=lambda: "AudioLabel", init=False)


@dataclass
class LabelList:
    """The labels of an answer; every output track shows all of them."""

    labels: list[AudioLabel] = field(default_factory=list)
    meta: dict[str, str] = field(default_factory=lambda: {"_type": "pyharp.LabelList"}, init=False)


def described(component: Any) -> dict[str, Any]:
    """Return the JSON object by which HARP draws a gradio component.

    Raises ValueError for a component that HARP cannot draw.
    """
    common = {"label": component.label, "info": component.info}
    if isinstance(component, gr.Audio):
        required = getattr(component, "is_harp_required", True)
        return {**common, "type": "audio_track", "required": required}
    if isinstance(component, gr.JSON):
        return {**common, "type": "json"}
    common["value"] = component.value
    if isinstance(component, gr.Slider):
        bounds = {name: getattr(component, name) for name in ("minimum", "maximum", "step")}
        return {**common, "type": "slider", **bounds}
    if isinstance(component, gr.Dropdown):
        return {**common, "type": "dropdown", "choices": component.choices}
    if isinstance(component, gr.Checkbox):
        return {**common, "type": "toggle"}
    if isinstance(component, gr.Textbox):
        return {**common, "type": "text_box"}
    raise UserError(
        f"HARP cannot draw a {type(component).__name__}; "
        "it draws Audio, JSON, Slider, Dropdown, Checkbox and Textbox"
    )


def build_endpoint(
    model_card: ModelCard,
    input_components: Sequence[Any],
    output_components: Sequence[Any],
    process_fn: Callable[..., Any],
) -> dict[str, Any]:
    """Add the API names ``controls``, ``process`` and ``cancel`` to the open ``gr.Blocks``.

    process_fn: takes the inputs in order, returns the outputs in order. Returns the components
    made: ``controls_data``, ``controls_button``, ``process_button``, ``cancel_button``.
    """
    answer = {
        "card": asdict(model_card),
        "inputs": [described(component) for component in input_components],
        "outputs": [described(component) for component in output_components],
    }
    made = {
        "controls_data": gr.JSON(label="Controls Data"),
        "controls_button": gr.Button("View Controls"),
        "process_button": gr.Button("Process"),
        "cancel_button": gr.Button("Cancel"),
    }
    made["controls_button"].click(
        lambda: answer, inputs=[], outputs=made["controls_data"], api_name="controls"
    )
    made["process_button"].click(
        process_fn, inputs=input_components, outputs=output_components, api_name="process"
    )
    made["cancel_button"].click(lambda: None, inputs=[], outputs=[], api_name="cancel")
    return made
