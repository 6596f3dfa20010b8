"""Output of commands: atomically written files, and status lines on standard error."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from vampnet.system.errors import UserError

STAGING_PREFIX = ".vampnet-"  # of the names of temporary folders
RESUMABLE = "stopped; run the same command again to resume"


def print_status(line: object) -> None:
    """Print a line to standard error, so that piped output stays clean."""
    print(line, file=sys.stderr, flush=True)


def staging_folder(target: Path) -> tempfile.TemporaryDirectory[str]:
    """Create a temporary hidden folder on the file system of a target.

    Raises:
        UserError: the folder of the target cannot be written.
    """
    try:
        return tempfile.TemporaryDirectory(prefix=STAGING_PREFIX, dir=target.resolve().parent)
    except OSError as error:
        raise UserError(f"cannot write '{target}': {error.strerror or error}") from None


@contextmanager
def atomic_outputs(targets: Sequence[Path], overwrite: bool = True) -> Iterator[list[Path]]:
    """Write several files atomically: all of them appear at the end of the block, or none.

    Links are followed, and a replaced file keeps its mode.

    Args:
        targets: files to write.
        overwrite: whether existing files are replaced.

    Yields:
        Temporary paths to write to, each with the name of its target.

    Raises:
        UserError: a target appeared in the meantime and ``overwrite`` is false; nothing is moved.
    """
    with ExitStack() as stack:
        places = []
        for target in targets:
            folder = staging_folder(target)
            places.append(Path(stack.enter_context(folder), target.name))
        yield places
        for target in targets:
            if target.exists() and not overwrite:
                raise UserError(f"'{target}' exists by now; --force overwrites it")
        for place, target in zip(places, targets, strict=True):
            if target.exists():
                shutil.copymode(target, place)
            os.replace(place, target.resolve())


@contextmanager
def signals_as_interrupt() -> Iterator[None]:
    """Raise KeyboardInterrupt on SIGTERM and SIGHUP, so that temporary files are deleted.

    Signals that are ignored, as by `nohup`, stay ignored.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():  # only it may set handlers
        for name in ("SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) == signal.SIG_DFL:
                before[number] = signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
