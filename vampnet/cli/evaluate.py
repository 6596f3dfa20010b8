"""``vampnet evaluate``: run the paper's experiments on a folder of music and write a report."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vampnet.cli.models import checked_model
from vampnet.cli.outputs import RESUMABLE, print_status
from vampnet.cli.progress import Progress
from vampnet.system.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

CLIPS, QUICK_CLIPS = 60, 12
# Options that the report shows where they differ from these.
DEFAULTS = {"model": "default", "experiments": "", "seeds": 1, "clips": None, "seconds": 10.0}


def add(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command ``evaluate``; ``command(name, run, text)`` creates its parser."""
    text = "measure a model on held-out music; a stopped evaluation resumes"
    parser = command("evaluate", _evaluate, text)
    add = parser.add_argument
    add("music", metavar="MUSIC", help="a folder of audio files, 10 minutes or more")
    add("out", metavar="OUT", help="the folder to write: report.html, report.md, figures, cache")
    add("--model", metavar="MODEL", help="a name (see: models) or a folder")
    add("--device", default="auto", metavar="DEVICE", help="cpu, cuda, cuda:1, mps (auto)")
    names = "comma-separated: anchors, prompts, baselines, steps, bitrates (these), presets"
    add("--experiments", metavar="NAMES", help=names)
    add("--quick", action="store_true", help="fewer settings and clips: some minutes")
    add("--seeds", type=int, metavar="N", help="takes per clip (1)")
    add("--clips", type=int, metavar="N", help=f"clips, at most ({CLIPS}; quick: {QUICK_CLIPS})")
    add("--seconds", type=float, metavar="SECONDS", help="length of a clip (10)")
    text = "further embedding: clap=FOLDER or NAME on the hub, vggish=FILE; may be repeated"
    add("--embedding", action="append", default=[], metavar="KIND=WEIGHTS", help=text)
    add(
        "--jobs",
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="clips processed at once (all cores)",
    )
    parser.set_defaults(**DEFAULTS)


def _evaluate(args: argparse.Namespace) -> None:
    if args.jobs < 1:
        raise UserError(f"--jobs is {args.jobs}; allowed is 1 and up")
    checked_model(args.model)  # before the imports, which take seconds
    import torch

    from vampnet.evaluation.embeddings import parse_embedding
    from vampnet.evaluation.suite import EvaluationPlan, evaluate

    plan = EvaluationPlan(
        names=tuple(filter(None, args.experiments.replace(" ", "").split(","))),
        quick=args.quick,
        seeds=args.seeds,
        clips=(QUICK_CLIPS if args.quick else CLIPS) if args.clips is None else args.clips,
        seconds=args.seconds,
        workers=args.jobs,
    )
    embeddings = [parse_embedding(text) for text in args.embedding]
    threads = torch.get_num_threads()
    torch.set_num_threads(
        max(1, threads // args.jobs)
    )  # one trial per core is faster than all cores per trial
    try:
        with Progress(time_left=True) as bar:
            report = evaluate(
                args.music,
                args.out,
                args.model,
                plan,
                device=args.device,
                embeddings=embeddings,
                command=_command(args),
                in_place=in_place,
                on_trial=bar,
                on_stage=print_status,
            )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(RESUMABLE) from None
    finally:
        torch.set_num_threads(threads)
    for relation in report.relations:
        print_status(f"{relation.verdict:5}  {relation.claim}: {relation.figures}")
    for name in ("report.html", "report.md"):
        print(f"wrote {Path(args.out) / name}")


def in_place(
    sound: Tensor, rate_hz: int, made: Tensor, ranges_s: Sequence[tuple[float, float]]
) -> tuple[Tensor, Tensor]:
    """Write a variation into ranges of a clip, as the endpoint does.

    Args:
        sound: mono clip, float (S,).
        rate_hz: its sample rate in Hz.
        made: mono variation, float (S,).
        ranges_s: (start, end) in seconds.

    Returns:
        The region before and after, float (S,) each.
    """
    from vampnet.audio import AudioFormat, float_to_native
    from vampnet.audio.region import Region

    native = float_to_native(sound[None], "PCM_16")
    region = Region(native, rate_hz, AudioFormat("WAV", "PCM_16"))
    return region.samples[0], region.like(made[None], rate_hz, ranges_s).samples[0]


def _command(args: argparse.Namespace) -> str:
    """Rebuild the command line, with folders by their names alone."""
    words = ["vampnet", "evaluate", Path(args.music).name, Path(args.out).name]
    for name, default in DEFAULTS.items():
        value = getattr(args, name)
        if value != default:
            words += [f"--{name}", Path(value).name if name == "model" else str(value)]
    for text in args.embedding:
        kind, _, weights = text.partition("=")
        known = Path(weights).expanduser().exists()
        words += ["--embedding", f"{kind}={Path(weights).name if known else weights}"]
    return shlex.join(words + ["--quick"] * args.quick)
