"""The command ``vampnet``: vary a file, list presets and models, convert weights, train, serve.

One file per group of commands; each has ``add``, which describes its options, and the functions
that run. Exit codes: 0 done; 1 it cannot be done, said in one line; 2 a wrong command line; 130
stopped by Ctrl-C or a signal. Whatever goes wrong, no file is left half-written. Nothing heavy is
imported before it is needed, so that help comes at once.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from vampnet import __version__
from vampnet.cli import bench, evaluate, models, serve, train, vamp
from vampnet.cli.outputs import ended_in_order
from vampnet.system.allocator import keep_freed_memory
from vampnet.system.errors import DEBUG, UserError, debug

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
    if args.debug:
        os.environ[DEBUG] = "1"
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
    except Exception as error:
        if debug():
            traceback.print_exc()
        _complain(_sentence(error))
        return MISTAKE


def _sentence(error: Exception) -> str:
    """One line for the terminal: written for users, or neutral for what nobody foresaw."""
    kind = type(error).__name__
    if isinstance(error, (UserError, OSError)):  # an OSError has the file and the reason
        return " ".join(str(error).split()) or kind
    if isinstance(error, MemoryError):
        return "take a shorter region: this one does not fit into the machine's memory"
    if "out of memory" in str(error):
        return "take a shorter region or --device cpu: the graphics memory is full"
    return f"something unexpected went wrong ({kind}); with {DEBUG}=1 the traceback is shown"


def _complain(text: str) -> None:
    print(f"vampnet: {text}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vampnet",
        description="An audio region in, its variation out.",
        epilog="`vampnet COMMAND --help` lists the options of a command.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"vampnet {__version__}")
    parser.add_argument(
        "--debug", action="store_true", help=f"show tracebacks (as the environment's {DEBUG}=1)"
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, run: Callable[[Any], None], text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        made.add_argument(  # accepted behind the command's name too
            "--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS
        )
        made.set_defaults(run=run)
        return made

    for group in GROUPS:
        group.add(command)
    return parser
