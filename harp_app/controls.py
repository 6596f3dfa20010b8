"""The one table of controls that HARP draws, and the reading of their values.

A slider's leftmost position means "as the preset says". Bounds are exact in binary, because HARP
sends float32 (0.35 arrives as 0.34999999) and the server checks bounds; values are rounded to the
slider's step here. Choices are plain strings, the only kind that HARP's dropdown takes.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from vampnet.model.recommended import check_fields as check_sampling
from vampnet.pipeline.arguments import DRAWN_SEEDS, MAX_SEED
from vampnet.presets import DEFAULT_PRESET, Preset
from vampnet.prompt import Prompt
from vampnet.prompt.time_ranges import parse_ranges
from vampnet.system.errors import UserError

MIN_BPM, MAX_BPM = 30.0, 300.0
MAX_TEXT = 500  # characters of a text box

Kind = Literal["dropdown", "slider", "text", "toggle"]


@dataclass(frozen=True)
class Control:
    """One control: what HARP draws, and the field that it sets.

    unit: of the number, as shown. minimum, maximum, step: of a slider, exact in binary where they
    are bounds. field: ``prompt.x`` or ``sampling.x`` (a slider over the preset), or the name of a
    field of :class:`Settings`. info: shown when the pointer rests on the control.
    """

    label: str
    kind: Kind
    field: str
    info: str
    default: str | float | bool
    unit: str = ""
    minimum: float = 0.0
    maximum: float = 0.0
    step: float = 1.0
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Settings:
    """What one request asks for, checked.

    preset: with the controls applied to its prompt (``ranges_s`` included) and its sampling.
    seed: 0 to 2^63 - 1. bpm: beats a minute, None = detect. stereo: each channel by itself (False:
    one mix for all). match_loudness: the result as loud as the region. model: a name of the
    dropdown. changes: what the controls changed of the preset, in words.
    """

    preset: Preset
    seed: int
    bpm: float | None
    stereo: bool
    match_loudness: bool
    model: str
    changes: tuple[str, ...] = ()

    @property
    def prompt(self) -> Prompt:
        """What is kept."""
        return self.preset.prompt

    @property
    def ranges_s(self) -> tuple[tuple[float, float], ...]:
        """Start and end, in seconds, of what alone is regenerated; empty = everywhere."""
        return self.prompt.ranges_s

    def describe(self) -> str:
        """Return one line with which the take can be had again."""
        parts = [f"preset {self.preset.name}", *self.changes]
        if self.bpm is not None:
            parts.append(f"tempo {self.bpm:g} BPM")
        parts += [
            "stereo" if self.stereo else "mono",
            f"loudness {'matched' if self.match_loudness else 'as generated'}",
            f"model {self.model}",
            f"seed {self.seed}",
        ]
        return ", ".join(parts)


_SLIDERS = (
    Control(
        "Keep every n-th frame",
        "slider",
        "prompt.period",
        "Leftmost: as the preset says. 0: keep nothing this way. 1 keeps all, 16 keeps little: "
        "the larger, the freer the variation. A frame lasts about 1/57 s.",
        default=-1,
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
        unit="BPM",
        minimum=0,
        maximum=MAX_BPM,
        step=0.01,
    ),
)


def table(presets: Mapping[str, Preset], models: Sequence[str]) -> tuple[Control, ...]:
    """Return all controls in HARP's order: ``presets`` by name, ``models`` with the default first.

    Raises ValueError when there is no preset or no model to choose.
    """
    if not presets or not models:
        raise UserError(f"{len(presets)} presets and {len(models)} models; at least 1 of each")
    names = tuple(presets)
    described = " ".join(f"{name}: {presets[name].description}" for name in names)
    return (
        Control(
            "Preset",
            "dropdown",
            "preset",
            f"What is kept of the clip and how freely the rest is made anew. {described}",
            default=DEFAULT_PRESET if DEFAULT_PRESET in presets else names[0],
            choices=names,
        ),
        *_SLIDERS,
        Control(
            "Regenerate only",
            "text",
            "ranges",
            "Empty: everywhere. Seconds, like 2-3.5, 6-7.25, or with a tempo set bars, like "
            "bar 3-4, 7-8: only there the clip is made anew, outside it stays as it is.",
            default="",
        ),
        Control(
            "Seed",
            "text",
            "seed",
            "Empty: a new one each time. A number gives the same take again with the same "
            "settings; the number that was used stands in the first label over the result.",
            default="",
        ),
        Control(
            "Model",
            "dropdown",
            "model",
            "Which trained model makes the sound.",
            default=models[0],
            choices=tuple(models),
        ),
        Control(
            "Stereo",
            "toggle",
            "stereo",
            "On: each channel is made anew. Off: one mono mix for all channels, in half the time.",
            default=True,
        ),
        Control(
            "Match loudness",
            "toggle",
            "match_loudness",
            "On: the result is as loud as the clip. Off: as loud as it came out.",
            default=True,
        ),
    )


def read(
    values: Sequence[Any],
    controls: Sequence[Control],
    presets: Mapping[str, Preset],
    draw_seed: Callable[[], int] = lambda: secrets.randbelow(DRAWN_SEEDS),
) -> Settings:
    """Return what the values (one a control, in the table's order) ask for.

    draw_seed: called when the seed's box is empty. Raises ValueError with the control, the value
    seen and the values allowed.
    """
    if len(values) != len(controls):
        raise UserError(f"{len(values)} control values arrived; {len(controls)} are needed")
    seen = {c.field: _value(c, value) for c, value in zip(controls, values, strict=True)}
    labels = {control.field: control for control in controls}
    preset, changes = _over(presets[seen["preset"]], seen, labels)
    bpm = _bpm(seen["bpm"])
    ranges_s = parse_ranges(seen["ranges"], bpm)
    if ranges_s:
        preset = replace(preset, prompt=replace(preset.prompt, ranges_s=ranges_s))
        changes.append("regenerate only " + ", ".join(f"{a:g}-{b:g} s" for a, b in ranges_s))
    return Settings(
        preset=preset,
        bpm=bpm,
        seed=_seed(seen["seed"], draw_seed),
        stereo=seen["stereo"],
        match_loudness=seen["match_loudness"],
        model=seen["model"],
        changes=tuple(changes),
    )


def _over(
    preset: Preset, seen: Mapping[str, Any], labels: Mapping[str, Control]
) -> tuple[Preset, list[str]]:
    """The preset with the sliders that are not leftmost applied, and what they changed."""
    changed: dict[str, dict[str, Any]] = {"prompt": {}, "sampling": {}}
    changes = []
    for field, control in labels.items():
        part, _, name = field.partition(".")
        if part not in changed or seen[field] == control.minimum:
            continue
        value = seen[field]
        changes.append(f"{control.label} {value:g}")
        if name == "dropout":
            value = value / 100.0
        elif name not in ("beat_ms", "temperature"):
            value = int(value)
        changed[part][name] = value
        # A preset that keeps its codebooks in every frame has them counted by the same slider.
        if name == "codebooks_kept" and preset.prompt.compression:
            changed[part]["compression"] = value
    sampling = check_sampling({**preset.sampling, **changed["sampling"]})
    prompt = replace(preset.prompt, **changed["prompt"])
    return replace(preset, prompt=prompt, sampling=sampling), changes


def _value(control: Control, value: Any) -> Any:
    """Check one raw value against its control; a slider's is rounded to the step."""
    if control.kind == "slider":
        return _number(control, value)
    if control.kind == "toggle":
        if not isinstance(value, bool):
            raise UserError(f"{control.label} is {value!r:.40}; allowed is on or off")
        return value
    if not isinstance(value, str):
        raise UserError(f"{control.label} is {value!r:.40}; a text is needed")
    if control.kind == "text":
        if len(value) > MAX_TEXT:
            raise UserError(f"{control.label} has {len(value)} characters; {MAX_TEXT} are allowed")
        return value.strip()
    if value not in control.choices:
        raise UserError(f"{control.label} is {value!r:.40}; choose {', '.join(control.choices)}")
    return value


def _number(control: Control, value: Any) -> float:
    allowed = f"allowed is {control.minimum:g} to {control.maximum:g} {control.unit}".rstrip()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UserError(f"{control.label} is {value!r:.40}; {allowed}")
    # Compared and not computed with: a whole number may be larger than any float.
    if not control.minimum - control.step < value < control.maximum + control.step:
        shown = f"{value:g}" if isinstance(value, float) else f"{value!r:.40}"
        raise UserError(f"{control.label} is {shown}; {allowed}")
    rounded = control.minimum + round((value - control.minimum) / control.step) * control.step
    if not control.minimum <= rounded <= control.maximum:
        raise UserError(f"{control.label} is {value:g}; {allowed}")
    return round(rounded, 6)  # 0.35, not 0.35000000000000003


def _bpm(value: float) -> float | None:
    if value == 0:
        return None
    if value < MIN_BPM:
        raise UserError(
            f"Tempo is {value:g} BPM; allowed is {MIN_BPM:g} to {MAX_BPM:g}, or 0 to detect it"
        )
    return value


def _seed(text: str, draw_seed: Callable[[], int]) -> int:
    if not text:
        return draw_seed()
    if not re.fullmatch(r"[0-9]{1,19}", text) or int(text) > MAX_SEED:
        raise UserError(f"Seed is '{text[:40]}'; allowed is a whole number from 0 to {MAX_SEED}")
    return int(text)
