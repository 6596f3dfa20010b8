"""``vampnet prepare`` and ``pack``: the embedded model's training set, and one file to carry it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from vampnet.cli.outputs import say


def add(command: Callable[..., argparse.ArgumentParser]) -> None:
    """The commands of this file; ``command(name, run, text)`` makes the parser of one."""
    text = "build the embedded model's training set from Debian packages; see docs/training.md"
    parser = command("prepare", _prepare, text)
    parser.add_argument("packages", metavar="PACKAGES", help="*.deb files, or what is in them")
    parser.add_argument("target", metavar="OUT", help="the folder to write, for `vampnet train`")
    number, minutes = parser.add_argument, "minutes of made-up music to render (90)"
    number("--minutes", type=float, default=90.0, metavar="N", help=minutes)
    freedoom = "minutes of Freedoom's music to render (60)"
    number("--freedoom-minutes", type=float, default=60.0, metavar="N", help=freedoom)
    number("--seed", type=int, default=20261121, metavar="N", help="of the made-up music")
    number("--soundfont", type=Path, metavar="FILE", help="other than the package's")
    text = "put a prepared set into one small file, to train on another machine"
    packed = command("pack", _pack, text)
    packed.add_argument("music", metavar="SET", help="a folder that `vampnet prepare` wrote")
    packed.add_argument("file", metavar="FILE", help="the data pack to write, for `vampnet train`")
    packed.add_argument("--model", default="default", metavar="MODEL", help="whose codec (default)")
    packed.add_argument("--max-mib", type=float, default=60.0, metavar="MIB", help="size (60)")
    packed.add_argument("--force", action="store_true", help="overwrite a file that is there")


def _prepare(args: argparse.Namespace) -> None:
    from vampnet.training.prepare import Rendering, prepare

    plan = Rendering(args.minutes, args.freedoom_minutes, args.seed, args.soundfont)
    made = prepare(args.packages, args.target, plan, log=say)
    print(f"wrote {made}; train on it with: vampnet train {made} WORK --base none")


def _pack(args: argparse.Namespace) -> None:
    if Path(args.file).is_dir():
        raise ValueError(f"'{args.file}' is a folder; FILE is one file, the data pack to write")
    if Path(args.file).exists() and not args.force:
        raise ValueError(f"'{args.file}' is there already; --force overwrites it")
    from vampnet.training.recipe import pack_up

    made = pack_up(args.music, args.file, base=args.model, max_mib=args.max_mib, log=say)
    print(f"wrote {made}; train on it with: vampnet train {made} WORK --device cuda --minutes 25")
