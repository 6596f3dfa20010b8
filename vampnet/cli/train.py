"""``vampnet train``: train a model on a folder of the user's own music."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from vampnet.cli.option_table import TRAIN, given
from vampnet.cli.option_table import add as add_options
from vampnet.cli.outputs import RESUMABLE, print_status


def add(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command ``train``; ``command(name, run, text)`` creates its parser."""
    text = "train on a folder of your own music; a stopped training resumes"
    train = command("train", _train, text)
    train.add_argument("music", metavar="MUSIC", help="a folder of audio files, or a data pack")
    train.add_argument("work", metavar="WORK", help="work folder; receives the model")
    add_options(train, TRAIN)


def _train(args: argparse.Namespace) -> None:
    from vampnet.system.device import choose_device
    from vampnet.training.end_to_end import DEFAULT_BASE, train
    from vampnet.training.settings import make_recipe

    options = given(args, TRAIN)
    words = tuple(filter(None, map(str.strip, options.pop("held_out", "").split(","))))
    base = options.pop("base", DEFAULT_BASE)
    licence, device = options.pop("licence", ""), choose_device(options.pop("device", "auto"))
    try:
        made = train(
            args.music,
            args.work,
            make_recipe(**options, device=device),
            base=None if base == "none" else base,
            held_out=words,
            licence=licence,
            device=device,
            log=print_status,
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(RESUMABLE) from None
    print(f"wrote {made}; use it with --model {made}")
