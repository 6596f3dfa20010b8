"""``vampnet serve``: serve the HARP endpoint and its web page."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from vampnet.cli.option_table import SERVE, given
from vampnet.cli.option_table import add as add_options


def add(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command ``serve``; ``command(name, run, text)`` creates its parser."""
    text = "serve the HARP endpoint and its web page"
    add_options(command("serve", _serve, text), SERVE)


def _serve(args: argparse.Namespace) -> None:
    import logging

    from harp_app import check_installed

    check_installed()
    from harp_app.server import serve

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    try:
        serve(**given(args, SERVE))
    except KeyboardInterrupt:  # the usual way to end it
        return
