"""The command ``vampnet``: vary a file, list presets and models, convert weights, train, serve.

One file a group of commands; each has ``add``, which tells its options, and the functions that run.
Exit codes: 0 done; 1 what the user asked cannot be done, told in one line; 2 a wrong command line;
130 stopped by Ctrl-C or a signal. Whatever goes wrong, no file is left half-written. Nothing heavy
is imported before it is needed, so that help comes at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from vampnet import __version__
from vampnet.cli import bench, evaluate, models, serve, train, vamp
from vampnet.cli.outputs import ended_in_order
from vampnet.system.allocator import keep_freed_memory

OK, MISTAKE, STOPPED = 0, 1, 130  # argparse itself ends with 2
GROUPS = (vamp, models, train, evaluate, bench, serve)  # in the order of the help


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line (by default the process's own) and return its exit code.

    Help and a wrong command line end in SystemExit (0 and 2), as argparse does.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a file name may hold what the terminal cannot show
            stream.reconfigure(errors="backslashreplace")  # pyright: ignore
    args = _parser().parse_args(argv)
    keep_freed_memory()
    try:
        with ended_in_order():
            args.run(args)
        if sys.stdout is not None:  # it is where the shell closed it
            sys.stdout.flush()
        return OK
    except KeyboardInterrupt as stop:
        if sys.stderr.isatty():
            print(file=sys.stderr)  # a bar may stand there
        _complain(str(stop) or "stopped; nothing was written")
        return STOPPED
    except BrokenPipeError:  # the reader of our output left, as `| head` does
        if sys.stdout is not None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except (ValueError, OSError, MemoryError, RuntimeError) as error:
        _complain(" ".join(str(error).split()) or type(error).__name__)
        return MISTAKE


def _complain(text: str) -> None:
    print(f"vampnet: {text}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vampnet",
        description="An audio region in, its variation out.",
        epilog="`vampnet COMMAND --help` tells the options of a command.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"vampnet {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, run: Callable[[Any], None], text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        made.set_defaults(run=run)
        return made

    for group in GROUPS:
        group.add(command)
    return parser
