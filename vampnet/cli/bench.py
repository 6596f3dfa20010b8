"""``vampnet bench``: time the stages of a request on this machine."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from vampnet.cli.models import checked_model
from vampnet.cli.vamp import MAX_TAKES
from vampnet.presets import DEFAULT_PRESET
from vampnet.system.errors import UserError

if TYPE_CHECKING:
    from vampnet.presets import Preset

MAX_SECONDS, MAX_CHANNELS, MAX_REPEATS = 3600.0, 64, 1000


def add(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command ``bench``; ``command(name, run, text)`` creates its parser."""
    parser = command("bench", _bench, "time each stage of a request on this machine")
    add = parser.add_argument
    model = "default, a folder, or full-size: the published sizes with random weights"
    add("--model", default="default", metavar="MODEL", help=model)
    precision = "of the linear layers: auto, float32, int8, bfloat16 (auto)"
    add("--precision", default="auto", metavar="NAME", help=precision)
    add("--seconds", type=float, default=10.0, metavar="SECONDS", help="length of the region (10)")
    add("--channels", type=int, default=1, metavar="N", help="channels of the region (1)")
    add("--takes", type=int, default=1, metavar="N", help="variations per request (1)")
    add("--preset", default=DEFAULT_PRESET, metavar="NAME", help=f"({DEFAULT_PRESET})")
    add("--steps", type=int, metavar="N", help="sampling steps of the coarse model (the preset's)")
    add("--device", default="auto", metavar="DEVICE", help="cpu, cuda, cuda:1, mps (auto)")
    add("--repeats", type=int, default=5, metavar="N", help="timed requests, after a warm-up (5)")
    add("--write", metavar="FILE.md", help="also write the result to this file")


def _bench(args: argparse.Namespace) -> None:
    for name, most in (("seconds", MAX_SECONDS), ("channels", MAX_CHANNELS)):
        _check(name, getattr(args, name), most)
    for name, most in (("takes", MAX_TAKES), ("repeats", MAX_REPEATS)):
        _check(name, getattr(args, name), most)
    preset = _preset(args.preset, args.steps)
    from vampnet.audio import check_writable
    from vampnet.evaluation.timing import BenchRequest, report

    if args.write:
        check_writable(args.write)
    request = BenchRequest(args.seconds, args.channels, args.takes, preset, args.repeats)
    text = report(checked_model(args.model), request, args.device, args.precision)
    print(text)
    if args.write:
        from vampnet.cli.outputs import atomic_outputs

        with atomic_outputs([Path(args.write)]) as places:
            places[0].write_text(text + "\n", encoding="utf-8")


def _check(name: str, value: float, most: float) -> None:
    if not 0 < value <= most:
        raise UserError(f"{name} is {value:g}; allowed is above 0, to {most:g}")


def _preset(name: str, steps: int | None) -> Preset:
    from vampnet.presets import preset

    found = preset(name)
    if steps is None:
        return found
    return dataclasses.replace(found, sampling={**found.sampling, "steps": steps})
