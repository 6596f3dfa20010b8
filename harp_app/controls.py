"""The one table of controls: the page shows all of them, HARP's window those that fit into it.

A slider's leftmost position means "as the preset says". Bounds are exact in binary, because HARP
sends float32 (0.35 arrives as 0.34999999) and the server checks bounds; values are rounded to the
slider's step in :mod:`harp_app.settings`. Choices are plain strings, the only kind that HARP's
dropdown takes.

HARP opens 800 pixels wide and gives each kind of control an equal share of that, whatever their
number: without toggles five sliders with labels of five letters, two dropdowns and three text boxes
are readable. Its text under the pointer shows about 190 characters and does not name the control.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from vampnet.presets import DEFAULT_PRESET, Preset
from vampnet.system.errors import UserError

MIN_BPM, MAX_BPM = 30.0, 300.0
# Each choice of "Out": channels by themselves or one mix; as loud as the clip or as generated.
OUT = {
    "stereo": (True, True),
    "mono": (False, True),
    "raw": (True, False),
    "raw mono": (False, False),
}

Kind = Literal["dropdown", "slider", "text"]


@dataclass(frozen=True)
class Control:
    """One control: what is drawn, and the field that it sets.

    label, info: as the page shows them. short, hover: the same for HARP's window; no ``short`` =
    HARP does not show it. unit: of the number, as shown. minimum, maximum, step: of a slider, exact
    in binary where they are bounds. field: ``prompt.x`` or ``sampling.x`` (a slider over the
    preset), or the name of another value of a request.
    """

    label: str
    kind: Kind
    field: str
    info: str
    default: str | float
    short: str = ""
    hover: str = ""
    unit: str = ""
    minimum: float = 0.0
    maximum: float = 0.0
    step: float = 1.0
    choices: tuple[str, ...] = ()


_SLIDERS = (
    Control(
        "Keep every n-th frame",
        "slider",
        "prompt.period",
        "Leftmost: as the preset says. 0: keep nothing this way. 1 keeps all, 16 keeps little: "
        "the larger, the freer the variation. A frame lasts about 1/57 s.",
        default=-1,
        short="Every",
        hover="Every: keeps each n-th frame of the clip (1/57 s). The larger, the freer the "
        "variation. 1 keeps all, 0 nothing this way; leftmost -1: as the preset says.",
        unit="frames",
        minimum=-1,
        maximum=64,
    ),
    Control(
        "Codebooks kept",
        "slider",
        "prompt.codebooks_kept",
        "Leftmost: as the preset says. In the kept frames only the first n layers of detail stay: "
        "1 keeps pitch and rhythm roughly, more keeps the timbre too.",
        default=0,
        unit="codebooks",
        minimum=0,
        maximum=14,
    ),
    Control(
        "Keep around beats (ms)",
        "slider",
        "prompt.beat_ms",
        "Leftmost: as the preset says. 0: no. Keeps this much sound after each beat, so the groove "
        "stays. Set the tempo, or leave it at 0 to have the beats detected.",
        default=-5,
        short="Beats",
        hover="Beats: milliseconds kept after each beat, so that the groove stays. 0: none; "
        "leftmost -5: as the preset says. Set BPM too, or beats are detected.",
        unit="ms",
        minimum=-5,
        maximum=500,
        step=5,
    ),
    Control(
        "Random dropout (%)",
        "slider",
        "prompt.dropout",
        "Leftmost: as the preset says. Gives up this share of the kept frames at random: more "
        "surprise, less of the original.",
        default=-1,
        unit="%",
        minimum=-1,
        maximum=100,
    ),
    Control(
        "Temperature",
        "slider",
        "sampling.temperature",
        "Leftmost: as the preset says. Below 1 the result is tamer, above 1 it is wilder.",
        default=0,
        short="Temp",
        hover="Temp: temperature of the sampling. Below 1 the result is tamer, above 1 it is "
        "wilder. Leftmost 0: as the preset says.",
        minimum=0,
        maximum=4,
        step=0.05,
    ),
    Control(
        "Steps",
        "slider",
        "sampling.steps",
        "Leftmost: as the preset says. More passes of the model: slower and often cleaner.",
        default=0,
        unit="passes",
        minimum=0,
        maximum=64,
    ),
    Control(
        "Tempo (BPM)",
        "slider",
        "bpm",
        "0: detect. The project's tempo, when you know it, beats every detector; the clip has to "
        "start on a bar. It counts where beats are kept and for ranges in bars.",
        default=0,
        short="BPM",
        hover="BPM: tempo of the clip, which has to start on a bar; used where beats are kept and "
        "for ranges in bars. Leftmost 0: detected. Type it into the box.",
        unit="BPM",
        minimum=0,
        maximum=MAX_BPM,
        step=0.01,
    ),
)
_TEXTS = (
    Control(
        "Regenerate only",
        "text",
        "ranges",
        "Empty: everywhere. Seconds, like 2-3.5, 1:02-1:04, or with a tempo set bars, like "
        "bar 3-4, 7-8: only these are regenerated, the rest stays as it is.",
        default="",
        short="Range",
        hover="Range: only this is regenerated, the rest stays as it is. Seconds as 2-3.5, "
        "1:02-1:04 or, with BPM set, bars as bar 3-4, 7-8. Empty: everywhere.",
    ),
    Control(
        "Seed",
        "text",
        "seed",
        "Empty: a new one each time. A number gives the same take again with the same "
        "settings; the one that was used is shown with the result.",
        default="",
        short="Seed",
        hover="Seed: empty = a new one each time. A number gives the same take again with the "
        "same settings. The label at the bottom of the result shows the one that was used.",
    ),
    Control(
        "More settings",
        "text",
        "more",
        "Any setting of the command by its name, over the preset and the sliders: steps 24, "
        "top_p 0.9, onset_ms 20. ? steps explains one, ? alone the preset.",
        default="",
        short="More",
        hover="More: every other setting by its name, such as steps 24, dropout 10 %, "
        "codebooks 4, top_p 0.9. ? explains the chosen preset, ? steps a setting.",
    ),
)
_OUT = Control(
    "Output",
    "dropdown",
    "out",
    "stereo varies each channel, mono one mix of them in half the time, both as loud as the clip. "
    "raw and raw mono are the same two as loud as they were generated.",
    default="stereo",
    short="Out",
    hover="Out: stereo varies each channel, mono one mix of them in half the time, both as loud "
    "as the clip. raw and raw mono: the same two as loud as they were generated.",
    choices=tuple(OUT),
)


def table(presets: Mapping[str, Preset], models: Sequence[str]) -> tuple[Control, ...]:
    """Return all controls in order: ``presets`` by name, ``models`` with the default first.

    Raises UserError when there is no preset or no model to choose.
    """
    if not presets or not models:
        raise UserError(f"{len(presets)} presets and {len(models)} models; at least 1 of each")
    names = tuple(presets)
    return (
        Control(
            "Preset",
            "dropdown",
            "preset",
            "What is kept of the clip and how freely the rest is regenerated.",
            default=DEFAULT_PRESET if DEFAULT_PRESET in presets else names[0],
            short="Preset",
            hover="Preset: what is kept of the clip and how freely the rest is regenerated. To "
            "read what the chosen one does type ? into More and press Process.",
            choices=names,
        ),
        *_SLIDERS,
        *_TEXTS,
        Control(
            "Model",
            "dropdown",
            "model",
            "Which trained model makes the sound.",
            default=models[0],
            short="Model",
            hover="Model: the trained model that makes the sound; default is the one that the "
            "server was started with.",
            choices=tuple(models),
        ),
        _OUT,
    )


def in_harp(every: Sequence[Control]) -> tuple[Control, ...]:
    """Return the controls of HARP's window, labelled for it.

    A dropdown of one choice is left out, which makes the others wide enough for whole names.
    """
    shown = (c for c in every if c.short and not (c.kind == "dropdown" and len(c.choices) == 1))
    return tuple(replace(control, label=control.short, info=control.hover) for control in shown)
