"""Where commands write: files that appear whole or not at all, and lines beside the result."""

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

HIDDEN = ".vampnet-"  # start of the names of folders that are gone at the end
GOES_ON = "stopped; the same command goes on from here"


def say(line: object) -> None:
    """A line on standard error, where it disturbs no pipe."""
    print(line, file=sys.stderr, flush=True)


def hidden_folder(target: Path) -> tempfile.TemporaryDirectory[str]:
    """A hidden folder beside the target, gone at the end; ValueError that names the target."""
    try:
        return tempfile.TemporaryDirectory(prefix=HIDDEN, dir=target.resolve().parent)
    except OSError as error:
        raise UserError(f"cannot write '{target}': {error.strerror or error}") from None


@contextmanager
def appearing(targets: Sequence[Path], overwrite: bool = True) -> Iterator[list[Path]]:
    """Places to write to; what lies there moves to the targets at the end, or is deleted.

    A target that is a link leads to its file; each place has the name that was given. A file that
    is replaced keeps its mode. ValueError, and nothing moves, where one is there in the meantime
    and `overwrite` is false.
    """
    with ExitStack() as stack:
        places = []
        for target in targets:
            folder = hidden_folder(target)
            places.append(Path(stack.enter_context(folder), target.name))
        yield places
        for target in targets:
            if target.exists() and not overwrite:
                raise UserError(f"'{target}' is there by now; --force overwrites it")
        for place, target in zip(places, targets, strict=True):
            if target.exists():
                shutil.copymode(target, place)
            os.replace(place, target.resolve())


@contextmanager
def ended_in_order() -> Iterator[None]:
    """The signals that end a process raise KeyboardInterrupt, so that what is hidden is deleted.

    Those that are ignored, as `nohup` does, stay so.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():  # others may not
        for name in ("SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) == signal.SIG_DFL:
                before[number] = signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
