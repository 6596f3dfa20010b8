"""Errors as one plain sentence: what a musician reads in HARP, the details in the log.

HARP shows the line behind ``event: error`` as it stands and turns any text with "503" in it into
"paused by the developer". gradio puts JSON there; the middleware puts the sentence there.
"""

from __future__ import annotations

import json
import logging
import re

log = logging.getLogger(__name__)

LONGEST = 300  # characters of a sentence
_PATH = re.compile(r"(?<!\w)(?:[A-Za-z]:)?(?:[\\/][\w.@~+%\-]+){2,}[\\/]?|\b[A-Za-z]:\\\S+|~/\S+")
_URL = re.compile(r"\b\w+://\S+")


def plain(text: str) -> str:
    """Return ``text`` as one line without paths, addresses, markup or "503", of bounded length."""
    text = re.sub(r"</?[a-zA-Z][^>]{0,200}>", " ", text)
    text = _URL.sub("(address)", text)
    text = _PATH.sub("(file)", text)
    text = "".join(c if c.isprintable() else " " for c in text)
    text = re.sub(r"[{}]", "", " ".join(text.split()))
    if len(text) > LONGEST:
        text = text[: LONGEST - 1].rstrip() + "\u2026"
    return text.replace("503", "5\u00a003") or "Something went wrong in the server."


def told(error: Exception, job_id: str, what: str) -> str:
    """Log the error that ended ``what`` ("job") and return what the user reads of it.

    A user's own mistakes are logged as that sentence alone: their texts hold what the user wrote,
    which could hold lines and escapes that forge a log.
    """
    text = sentence(error, job_id)
    if _is_mistake(error):
        log.info("%s %s failed: %s", what, job_id, text)
    else:
        log.error("%s %s failed", what, job_id, exc_info=error)
    return text


def _is_mistake(error: BaseException) -> bool:
    return isinstance(error, ValueError) and not isinstance(error, UnicodeError)


def sentence(error: BaseException, job_id: str) -> str:
    """Return what the user reads of ``error``.

    A ValueError (and its kin) is written for users; anything else is named by the id under which
    the log has it.
    """
    if isinstance(error, MemoryError):
        return plain("The clip is too long for this machine's memory; choose a shorter one.")
    if _is_mistake(error):
        return plain(str(error))
    if "out of memory" in str(error):
        return plain("The machine's graphics memory is full; choose a shorter clip.")
    return plain(f"Something went wrong in the server; its log has the details under {job_id}.")


def of_payload(payload: str, job_id: str) -> str:
    """Return the sentence for what gradio put behind ``event: error`` (JSON of several shapes)."""
    try:
        found = json.loads(payload)
    except ValueError:
        found = payload
    if isinstance(found, dict):
        found = found.get("error")
    if isinstance(found, str) and found and "Traceback" not in found:
        return plain(found)
    return plain(f"The server could not read this request; its log has it under {job_id}.")


class ErrorLines:
    """Rewrites a server-sent stream piece by piece: error payloads become sentences."""

    def __init__(self, job_id: str) -> None:
        self._job_id = job_id
        self._rest = b""
        self.told_end = False  # the stream has said how the job ended

    def feed(self, piece: bytes, last: bool) -> bytes:
        """Return what may be sent on now; a message is held back until it is whole."""
        *whole, self._rest = (self._rest + piece).split(b"\n\n")
        out = b"".join(self._message(message) + b"\n\n" for message in whole)
        if last and self._rest:
            out, self._rest = out + self._message(self._rest), b""
        return out

    def _message(self, message: bytes) -> bytes:
        if message.startswith(b"event: complete"):
            self.told_end = True
        if not message.startswith(b"event: error"):
            return message
        self.told_end = True
        payload = message.partition(b"data: ")[2].decode("utf-8", "replace")
        text = of_payload(payload, self._job_id)
        log.info("job %s ended with: %s", self._job_id, text)
        return error_message(text)


def error_message(text: str) -> bytes:
    """Return the two lines of a server-sent error that HARP shows."""
    return f"event: error\ndata: {text}".encode()
