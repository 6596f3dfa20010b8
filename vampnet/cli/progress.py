"""Progress bar on standard error."""

from __future__ import annotations

import sys
import time

BAR_WIDTH = 30  # characters


class Progress:
    """A progress bar on a terminal; without one, a line every 25 %.

    Args:
        time_left: also show the estimated time left; without a terminal every 5 %.
    """

    def __init__(self, time_left: bool = False) -> None:
        self.shown = -1
        self.begun = False  # whether an unfinished bar is on the line
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
        """Estimated time left, padded with blanks to overwrite a longer text."""
        if self.start is None or not done:
            return ""
        seconds = (time.monotonic() - self.start) * (total - done) / done
        return f", {seconds / 60:.0f} min left  " if seconds >= 90 else f", {seconds:.0f} s left  "

    def __enter__(self) -> Progress:
        """Start; an unfinished bar ends its line at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the line of an unfinished bar."""
        if self.begun:
            print(file=sys.stderr)
