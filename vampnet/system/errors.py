"""The one base class of errors that are written for users."""

from __future__ import annotations

import os

DEBUG = "VAMPNET_DEBUG"


class UserError(ValueError):
    """A mistake of the user; its text is one sentence that the user reads.

    The text has the value seen and the values allowed. Every other exception is a bug: its
    traceback is logged and the user gets one neutral sentence.
    """


def debug() -> bool:
    """Return True where the environment enables tracebacks (``VAMPNET_DEBUG=1``)."""
    return os.environ.get(DEBUG, "") not in ("", "0")
