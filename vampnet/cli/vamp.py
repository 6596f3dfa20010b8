"""``vampnet vamp``: write a variation of an audio file in the format of the input."""

from __future__ import annotations

import argparse
import dataclasses
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from vampnet.cli.models import checked_model
from vampnet.cli.option_table import PROMPT, SAMPLING, given
from vampnet.cli.option_table import add as add_options
from vampnet.cli.outputs import atomic_outputs, print_status, staging_folder
from vampnet.cli.progress import Progress
from vampnet.presets import DEFAULT_PRESET
from vampnet.prompt.time_ranges import MAX_OFFSET_S
from vampnet.system.errors import UserError

if TYPE_CHECKING:
    from vampnet.audio.region import Region
    from vampnet.presets import Preset

MAX_TAKES = 32


def add(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command ``vamp``; ``command(name, run, text)`` creates its parser."""
    parser = command("vamp", _vamp, "write a variation of an audio file")
    add = parser.add_argument
    add("input", metavar="IN", help="wav, aiff, flac, ogg or mp3")
    add("output", metavar="OUT", help="in the format of IN, unless its suffix names another")
    preset = f"what is kept and how the rest is generated ({DEFAULT_PRESET}); see: presets"
    add("--preset", metavar="NAME", default=DEFAULT_PRESET, help=preset)
    add("--presets-dir", metavar="FOLDER", help="your own presets, *.toml")
    add("--ranges", metavar="TEXT", help="regenerate only here: '2-3.5,6-7.25' s or 'bar 3-4'")
    add("--bpm", type=float, metavar="BPM", help="tempo, 20 to 400; without it beats are detected")
    offset = "time of the first downbeat, with --bpm (0)"
    add("--beat-offset-s", type=float, metavar="SECONDS", help=offset)
    add("--seed", type=int, metavar="N", help="same seed, same result (random)")
    takes = f"number of variations, 1 to {MAX_TAKES}: OUT-1, OUT-2, ..."
    add("--takes", type=int, default=1, metavar="N", help=takes)
    add("--model", default="default", metavar="MODEL", help="a name (see: models) or a folder")
    add("--device", default="auto", metavar="DEVICE", help="cpu, cuda, cuda:1, mps (auto)")
    add("--mono", action="store_true", help="mix to mono, in half the time")
    loudness = "keep the generated level instead of matching the loudness of IN"
    add("--no-match-loudness", action="store_true", help=loudness)
    picture = "also draw input, mask and output (of the first take)"
    add("--picture", metavar="FILE.png", help=picture)
    add("--force", action="store_true", help="overwrite existing files")
    add_options(parser.add_argument_group("prompt: what is kept, overriding the preset"), PROMPT)
    add_options(
        parser.add_argument_group("sampling: how the rest is generated, overriding the preset"),
        SAMPLING,
    )


def _vamp(args: argparse.Namespace) -> None:
    preset, files = _preset(args), _outputs(args)
    targets = files + ([Path(args.picture)] if args.picture else [])
    from vampnet.audio import Region
    from vampnet.pipeline import Pipeline, checked_seed
    from vampnet.prompt.nothing_new import nothing_new
    from vampnet.prompt.time_ranges import clipped

    seed, region = checked_seed(args.seed), Region.read(args.input)
    # Before the model is loaded, and in bars where they were asked for.
    start_s = args.beat_offset_s or 0.0
    clipped(preset.prompt.ranges_s, region.duration_s, args.bpm, args.ranges or "", start_s)
    _check_outputs(args, files, targets, region)
    pipeline = Pipeline.from_pretrained(
        checked_model(args.model), device=args.device, keep_weights=False
    )
    start = time.monotonic()
    made = pipeline.vary_region(
        region,
        preset,
        seed=seed,
        takes=args.takes,
        bpm=args.bpm,
        beat_offset_s=args.beat_offset_s or 0.0,
        mono=args.mono,
        match_loudness=not args.no_match_loudness,
        on_step=Progress(),
    )
    with atomic_outputs(targets, args.force) as places:
        for varied, place in zip(made.regions, places, strict=False):
            varied.write(place)
        if args.picture:
            from vampnet import plot

            plot.save(
                places[-1], region.samples, made.regions[0].samples, region.sample_rate, made.mask,
                pipeline.frame_rate_hz, made.beats, f"preset {preset.name}, seed {seed}",
            )  # fmt: skip
    took_s = time.monotonic() - start
    for target in targets:
        print(f"wrote {target}")
    if not made.mask.any():
        print_status(nothing_new(made.prompt, region.duration_s))
    print(
        f"{preset.name}, {region.duration_s:.2f} s of audio in {took_s:.1f} s on "
        f"{pipeline.device}, seed {seed}"
    )


def _preset(args: argparse.Namespace) -> Preset:
    """Load the preset and override it with the options."""
    from vampnet.model.recommended import check_fields
    from vampnet.presets import preset as named
    from vampnet.prompt.beats import beat_grid
    from vampnet.prompt.time_ranges import parse_ranges

    preset = named(args.preset, Path(args.presets_dir) if args.presets_dir else None)
    offset_s = args.beat_offset_s or 0.0
    if not abs(offset_s) <= MAX_OFFSET_S:
        allowed = f"{-MAX_OFFSET_S:g} to {MAX_OFFSET_S:g}"
        raise UserError(f"--beat-offset-s is {offset_s:g}; allowed is {allowed}")
    if args.bpm is not None:
        beat_grid(args.bpm, 0.0, offset_s)
    elif args.beat_offset_s is not None:
        raise UserError("--beat-offset-s needs a tempo; give --bpm too")
    prompt = given(args, PROMPT)
    if args.ranges:
        prompt["ranges_s"] = parse_ranges(args.ranges, args.bpm, offset_s)
    return dataclasses.replace(
        preset,
        prompt=dataclasses.replace(preset.prompt, **prompt),
        sampling=check_fields({**preset.sampling, **given(args, SAMPLING)}),
    )


def _outputs(args: argparse.Namespace) -> list[Path]:
    """The file of each take: OUT, or OUT-1, OUT-2, ... before the suffix."""
    if not 1 <= args.takes <= MAX_TAKES:
        raise UserError(f"takes is {args.takes}; allowed is 1 to {MAX_TAKES}")
    from vampnet.pipeline import take_files

    return take_files(args.output, args.takes)


def _check_outputs(
    args: argparse.Namespace, files: list[Path], targets: list[Path], region: Region
) -> None:
    """Raise UserError, before any work is done, where a target cannot or must not be written."""
    from vampnet.audio import check_writable

    for typed in (args.output, args.picture or ""):
        if typed.endswith(tuple(filter(None, (os.sep, os.altsep)))):
            raise UserError(f"cannot write '{typed}': it is a folder's name; a file name is needed")
    if args.picture:
        from vampnet.plot import check_name

        check_name(args.picture)
    if len({target.resolve() for target in targets}) < len(targets):
        raise UserError(f"the picture and the sound cannot both be '{args.picture}'")
    _check_suffix(args.output, args.input)
    for target in targets:
        check_writable(target)
        if target.exists() and not target.is_file():
            raise UserError(f"'{target}' exists and is not a regular file")
        if target.exists() and not args.force:
            raise UserError(f"'{target}' exists; --force overwrites it")
        with staging_folder(target) as folder:
            if target is files[0]:  # can the container hold this rate and these channels?
                part = dataclasses.replace(region, native=region.native[:1])
                part.write(Path(folder, target.name))


def _check_suffix(output: str, source: str) -> None:
    """Raise UserError for a suffix that is neither a known format nor that of IN."""
    from vampnet.audio import SUFFIXES

    suffix, own = Path(output).suffix.lower(), Path(source).suffix.lower()
    if suffix not in ("", own, *SUFFIXES):
        allowed = ", ".join(SUFFIXES if own in ("", *SUFFIXES) else (*SUFFIXES, own))
        raise UserError(
            f"cannot write '{output}': '{suffix}' is an unknown format; known: {allowed}"
        )
