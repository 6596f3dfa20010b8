"""The progress bar of the command, on standard error."""

from __future__ import annotations

import sys

BAR_WIDTH = 30  # characters


class Progress:
    """A bar on standard error: redrawn on a terminal, else a line at each quarter."""

    def __init__(self) -> None:
        self.shown = -1
        self.begun = False  # the cursor stands behind a bar

    def __call__(self, done: int, total: int) -> None:
        """Show ``done`` of ``total`` steps."""
        percent = 100 * done // max(1, total)
        if sys.stderr.isatty():
            filled = BAR_WIDTH * percent // 100
            bar = "#" * filled + "-" * (BAR_WIDTH - filled)
            self.begun = done < total
            end = "" if self.begun else "\n"
            print(f"\r[{bar}] {percent:3d} %", end=end, file=sys.stderr, flush=True)
        elif percent // 25 > self.shown:
            self.shown = percent // 25
            print(f"{percent} %", file=sys.stderr, flush=True)

    def __enter__(self) -> Progress:
        """Begin; a bar that is not finished by the end of the block leaves its line."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the line of a bar that will not be finished."""
        if self.begun:
            print(file=sys.stderr)
