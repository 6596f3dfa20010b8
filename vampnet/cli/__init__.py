"""The command ``vampnet``: vary a file, list presets and models, convert weights, train, serve.

One file per group of commands; each has ``add``, which defines its options, and the functions that
run. Exit codes: 0 success; 1 failure, with a one-line error message; 2 invalid command line; 130
stopped by Ctrl-C or a signal. On any error, no file is left half-written. Heavy modules are
imported only when needed, so that help appears at once.
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
from vampnet.cli.outputs import signals_as_interrupt
from vampnet.system.allocator import keep_freed_memory
from vampnet.system.errors import DEBUG, UserError, debug

OK, FAILED, INTERRUPTED = 0, 1, 130  # argparse itself exits with 2
GROUPS = (vamp, models, train, evaluate, bench, serve)  # in the order of the help


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        argv: its arguments, by default those of the process.

    Returns:
        The exit code.

    Raises:
        SystemExit: after help (0), or for an invalid command line (2), as argparse does.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # file names may contain what the terminal cannot show
            stream.reconfigure(errors="backslashreplace")  # pyright: ignore
    args = _parser().parse_args(argv)
    if args.debug:
        os.environ[DEBUG] = "1"
    keep_freed_memory()
    try:
        with signals_as_interrupt():
            args.run(args)
        if sys.stdout is not None:  # it is None where the shell closed it
            sys.stdout.flush()
        return OK
    except KeyboardInterrupt as stop:
        if sys.stderr.isatty():
            print(file=sys.stderr)  # a progress bar may be on the line
        _print_error(str(stop) or "stopped; nothing was written")
        return INTERRUPTED
    except BrokenPipeError:  # the reader closed the pipe, as `| head` does
        if sys.stdout is not None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except Exception as error:
        if debug():
            traceback.print_exc()
        _print_error(_error_message(error))
        return FAILED


def _error_message(error: Exception) -> str:
    """Error message in one line: the error's own for users, a neutral one for unexpected errors."""
    kind = type(error).__name__
    if isinstance(error, (UserError, OSError)):  # an OSError has the file and the reason
        return " ".join(str(error).split()) or kind
    if isinstance(error, MemoryError):
        return "out of memory: use a shorter region"
    if "out of memory" in str(error):
        return "out of GPU memory: use a shorter region or --device cpu"
    return f"unexpected error ({kind}); set {DEBUG}=1 to show the traceback"


def _print_error(text: str) -> None:
    print(f"vampnet: {text}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vampnet",
        description="Generate variations of audio with VampNet.",
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
        made.add_argument(  # also accepted after the command
            "--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS
        )
        made.set_defaults(run=run)
        return made

    for group in GROUPS:
        group.add(command)
    return parser
