"""Build the training set of the embedded default, and pack it into one file.

python -m recipes.default_model prepare PACKAGES OUT
python -m recipes.default_model pack SET FILE
python -m recipes.default_model envelope SET WORK
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from vampnet.cli.outputs import print_status
from vampnet.system.errors import UserError


def parser() -> argparse.ArgumentParser:
    """Return the parser of both commands."""
    made = argparse.ArgumentParser(prog="python -m recipes.default_model", description=__doc__)
    commands = made.add_subparsers(metavar="COMMAND", required=True)
    text = "build the training set from Debian packages; see docs/training.md"
    prepare = commands.add_parser("prepare", help=text, description=text)
    prepare.set_defaults(run=_prepare)
    add = prepare.add_argument
    add("packages", metavar="PACKAGES", help="*.deb files, or folders with their contents")
    add("target", metavar="OUT", help="the folder to write, for `vampnet train`")
    add("--minutes", type=float, default=90.0, metavar="N", help="minutes of composed music (90)")
    freedoom = "minutes of Freedoom's music to render (60)"
    add("--freedoom-minutes", type=float, default=60.0, metavar="N", help=freedoom)
    add("--seed", type=int, default=20261121, metavar="N", help="seed of the composed music")
    add("--soundfont", type=Path, metavar="FILE", help="in place of the package's soundfont")
    text = "also use further packages with other kinds of music; see docs/training.md"
    add("--more", action="store_true", help=text)
    text = "pack a prepared set into one small file, to train on another machine"
    packed = commands.add_parser("pack", help=text, description=text)
    packed.set_defaults(run=_pack)
    add = packed.add_argument
    add("music", metavar="SET", help="a folder written by `prepare`")
    add("file", metavar="FILE", help="the data pack to write, for `vampnet train`")
    add("--model", default="default", metavar="MODEL", help="model whose codec is used (default)")
    add("--max-mib", type=float, default=60.0, metavar="MIB", help="size (60)")
    add("--force", action="store_true", help="overwrite an existing file")
    text = "train an envelope for a model's codec: sharper attacks, the same tokens"
    envelope = commands.add_parser("envelope", help=text, description=text)
    envelope.set_defaults(run=_envelope)
    add = envelope.add_argument
    add("music", metavar="SET", help="a folder written by `prepare`")
    add("work", metavar="WORK", help="the folder to write; WORK/model is the model")
    add("--model", default="default", metavar="MODEL", help="the model to start from (default)")
    add("--minutes", type=float, default=10.0, metavar="N", help="minutes of training (10)")
    add("--seconds", type=float, default=8.0, metavar="S", help="seconds used of each piece (8)")
    return made


def _prepare(args: argparse.Namespace) -> None:
    from recipes.default_model.prepare import Rendering, prepare

    plan = Rendering(args.minutes, args.freedoom_minutes, args.seed, args.soundfont, args.more)
    made = prepare(args.packages, args.target, plan, log=print_status)
    print(f"wrote {made}; train on it with: vampnet train {made} WORK --base none")


def _pack(args: argparse.Namespace) -> None:
    if Path(args.file).is_dir():
        raise UserError(f"'{args.file}' is a folder; FILE is one file, the data pack to write")
    if Path(args.file).exists() and not args.force:
        raise UserError(f"'{args.file}' is there already; --force overwrites it")
    from vampnet.training.end_to_end import write_datapack

    made = write_datapack(
        args.music, args.file, base=args.model, max_mib=args.max_mib, log=print_status
    )
    print(f"wrote {made}; train on it with: vampnet train {made} WORK --device cuda --minutes 25")


def _envelope(args: argparse.Namespace) -> None:
    from recipes.default_model.attacks import add_envelope

    for name in ("minutes", "seconds"):
        if not 0 < getattr(args, name) < math.inf:
            raise UserError(f"--{name} is {getattr(args, name)}; it must be above 0 and finite")
    made = add_envelope(
        args.music,
        args.work,
        model=args.model,
        minutes=args.minutes,
        seconds=args.seconds,
        log=print_status,
    )
    print(f"wrote {made}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one of the commands; return the exit code."""
    args = parser().parse_args(argv)
    try:
        args.run(args)
    except (ValueError, OSError) as error:
        print_status(f"recipes.default_model: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
