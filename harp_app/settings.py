"""What one request asks for, read from the values of its controls and checked."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from harp_app import more
from harp_app.controls import MAX_BPM, MIN_BPM, OUT, Control
from harp_app.jobs.model_cache import DEFAULT
from vampnet.model.recommended import check_fields as check_sampling
from vampnet.pipeline.arguments import MAX_SEED, RANDOM_SEED_LIMIT
from vampnet.presets import Preset, current_name
from vampnet.prompt import Prompt
from vampnet.prompt.time_ranges import parse_ranges
from vampnet.system.errors import UserError

MAX_TEXT = 500  # characters of a text box


@dataclass(frozen=True)
class Settings:
    """A checked request.

    preset: with the controls applied to its prompt (``ranges_s`` included) and its sampling.
    changes: what the controls changed of it, with the names and units of *More* and the command.
    seed: 0 to 2^63 - 1. bpm: beats per minute, None = detect. beat_offset_s: time of the first
    downbeat, with a tempo. stereo: each channel by itself (False: one mix for all).
    match_loudness: the result as loud as the clip. model: a name of the dropdown. ranges: the text
    of ``prompt.ranges_s``.
    """

    preset: Preset
    seed: int
    bpm: float | None = None
    beat_offset_s: float = 0.0
    stereo: bool = True
    match_loudness: bool = True
    model: str = DEFAULT
    changes: tuple[str, ...] = ()
    ranges: str = ""

    @property
    def prompt(self) -> Prompt:
        """What is kept."""
        return self.preset.prompt

    @property
    def ranges_s(self) -> tuple[tuple[float, float], ...]:
        """Start and end, in seconds, of what alone is regenerated; empty = everywhere."""
        return self.prompt.ranges_s

    def parts(self) -> list[str]:
        """Return all settings, one by one, by which the take can be repeated."""
        out = next(
            name for name, is_it in OUT.items() if is_it == (self.stereo, self.match_loudness)
        )
        tempo = [] if self.bpm is None else [f"{self.bpm:g} BPM"]
        ranges = [item.strip() for item in re.split(r"[,;\n]", self.ranges) if item.strip()]
        ranges[:1] = [f"range {item}" for item in ranges[:1]]
        return [
            f"preset {self.preset.name}", *self.changes, *tempo, *ranges,
            out, f"model {self.model}", f"seed {self.seed}",
        ]  # fmt: skip

    def describe(self) -> str:
        """Return one line by which the take can be repeated."""
        return ", ".join(self.parts())


def read(
    values: Sequence[Any],
    controls: Sequence[Control],
    presets: Mapping[str, Preset],
    draw_seed: Callable[[], int] = lambda: secrets.randbelow(RANDOM_SEED_LIMIT),
) -> Settings:
    """Return what the values (one per control, in this order) ask for.

    controls: all of the table or HARP's; what is not among them is as the preset says.
    draw_seed: called when the seed's box is empty. Raises UserError with the control, the value
    seen and the values allowed.
    """
    if len(values) != len(controls):
        raise UserError(older_controls(len(values), len(controls)))
    seen = {c.field: _value(c, value) for c, value in zip(controls, values, strict=True)}
    preset = presets[seen["preset"]]
    changed = _moved(preset, seen, controls) | more.read(seen.get("more", ""), preset)
    bpm, offset_s = _bpm(seen["bpm"]), changed.pop("beat_offset_s", None)
    if offset_s is not None and bpm is None:
        raise UserError("More: beat_offset_s needs a tempo; set BPM too")
    ranges_s = parse_ranges(seen["ranges"], bpm, offset_s or 0.0)
    changes = [more.written(name, value) for name, value in changed.items()]
    if offset_s is not None:
        changes.append(more.written("beat_offset_s", offset_s))
    stereo, match_loudness = OUT[seen["out"]]
    return Settings(
        preset=_over(preset, changed | ({"ranges_s": ranges_s} if ranges_s else {})),
        seed=_seed(seen["seed"], draw_seed),
        bpm=bpm,
        beat_offset_s=offset_s or 0.0,
        stereo=stereo,
        match_loudness=match_loudness,
        model=seen.get("model", DEFAULT),
        changes=tuple(changes),
        ranges=seen["ranges"],
    )


def older_controls(n_seen: int, n_now: int) -> str:
    """Return what is said of a session that was saved with other controls."""
    return (
        f"This HARP session was made with older controls ({n_seen} values, {n_now} now); "
        "load the address again."
    )


def _moved(preset: Preset, seen: Mapping[str, Any], controls: Sequence[Control]) -> dict[str, Any]:
    """The fields of prompt and sampling whose sliders are not leftmost."""
    changed: dict[str, Any] = {}
    for control in controls:
        part, _, name = control.field.partition(".")
        value = seen[control.field]
        if part not in ("prompt", "sampling") or value == control.minimum:
            continue
        if name == "dropout":
            value = value / 100.0
        elif name not in ("beat_ms", "temperature"):
            value = int(value)
        changed[name] = value
        # A preset that keeps its codebooks in every frame has them counted by the same slider.
        if name == "codebooks_kept" and preset.prompt.compression:
            changed["compression"] = value
    return changed


def _over(preset: Preset, changed: Mapping[str, Any]) -> Preset:
    """The preset with fields of its prompt and its sampling changed."""
    kept = {f.name for f in fields(Prompt)}
    prompt = {name: value for name, value in changed.items() if name in kept}
    sampling = {name: value for name, value in changed.items() if name not in kept}
    return replace(
        preset,
        prompt=replace(preset.prompt, **prompt),
        sampling=check_sampling({**preset.sampling, **sampling}),
    )


def _value(control: Control, value: Any) -> Any:
    """Check one raw value against its control; a slider's is rounded to the step."""
    if control.kind == "slider":
        return _number(control, value)
    if not isinstance(value, str):
        raise UserError(f"{control.label} is {value!r:.40}; a text is needed")
    if control.kind == "text":
        if len(value) > MAX_TEXT:
            raise UserError(f"{control.label} has {len(value)} characters; {MAX_TEXT} are allowed")
        return value.strip()
    if control.field == "preset":
        value = current_name(value, control.choices)
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
