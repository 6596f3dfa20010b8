"""The progress bar of the command, on standard error."""

from __future__ import annotations

import sys
import time

BAR_WIDTH = 30  # characters


class Progress:
    """A bar on standard error: redrawn on a terminal, else a line at each quarter.

    time_left: also tell how long it will still take, and without a terminal at each twentieth.
    """

    def __init__(self, time_left: bool = False) -> None:
        self.shown = -1
        self.begun = False  # the cursor stands behind a bar
        self.start = time.monotonic() if time_left else None
        self.every = 5 if time_left else 25  # percent, without a terminal

    def __call__(self, done: int, total: int) -> None:
        """Show ``done`` of ``total`` steps."""
        percent = 100 * done // max(1, total)
        if sys.stderr.isatty():
            filled = BAR_WIDTH * percent // 100
            bar = "#" * filled + "-" * (BAR_WIDTH - filled)
            self.begun = done < total
            end = "" if self.begun else "\n"
            left = self._left(done, total)
            print(f"\r[{bar}] {percent:3d} %{left}", end=end, file=sys.stderr, flush=True)
        elif percent // self.every > self.shown:
            self.shown = percent // self.every
            print(f"{percent} %{self._left(done, total)}", file=sys.stderr, flush=True)

    def _left(self, done: int, total: int) -> str:
        """The time left at the pace so far, blanks behind it to cover what stood there."""
        if self.start is None or not done:
            return ""
        seconds = (time.monotonic() - self.start) * (total - done) / done
        return f", {seconds / 60:.0f} min left  " if seconds >= 90 else f", {seconds:.0f} s left  "

    def __enter__(self) -> Progress:
        """Begin; a bar that is not finished by the end of the block leaves its line."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the line of a bar that will not be finished."""
        if self.begun:
            print(file=sys.stderr)
