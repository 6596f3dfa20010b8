"""The one base class of errors that are written for users."""

from __future__ import annotations

import os

DEBUG = "VAMPNET_DEBUG"


class UserError(ValueError):
    """Something the user asked for cannot be done; the text is one sentence that a musician reads.

    It has the value seen and the values allowed. Every other exception is a bug: its traceback goes
    to the log, and the user reads one neutral sentence.
    """


def debug() -> bool:
    """Return True where the environment asks for tracebacks (``VAMPNET_DEBUG=1``)."""
    return os.environ.get(DEBUG, "") not in ("", "0")
