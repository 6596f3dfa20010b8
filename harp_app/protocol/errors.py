"""Errors as one plain sentence: what a musician reads in HARP, the details in the log.

HARP 3.0.1 shows the line after ``event: error`` as it stands, newer ones the first line of its
``data``, and both take certain words for something else. gradio puts JSON there; the middleware
puts the sentence there, in a form that both read.
"""

from __future__ import annotations

import json
import logging
import re

from vampnet.system.errors import UserError

log = logging.getLogger(__name__)

LONGEST = 200  # characters of a sentence; newer HARPs cut there
NBSP = "\u00a0"
# Words that HARP takes for a paused Space or a used-up GPU allowance, wherever they stand.
_TRAPS = re.compile(r"503|quota|space is in error|check its status on hf", re.IGNORECASE)
_FIELD = re.compile(r"(?=(?:data|event|id|retry):|:)", re.IGNORECASE)  # of server-sent events
_PATH = re.compile(r"(?<!\w)(?:[A-Za-z]:)?(?:[\\/][\w.@~+%\-]+){2,}[\\/]?|\b[A-Za-z]:\\\S+|~/\S+")
_URL = re.compile(r"\b\w+://\S+")


def plain(text: str) -> str:
    """Return ``text`` as one line of at most 200 characters, without paths, addresses or markup.

    Words that HARP misreads get a blank that does not break, the start of a stream's field a quote.
    """
    text = re.sub(r"</?[a-zA-Z][^>]{0,200}>", " ", text)
    text = _URL.sub("(address)", text)
    text = _PATH.sub("(file)", text)
    text = "".join(c if c.isprintable() else " " for c in text)
    text = re.sub(r"[{}]", "", " ".join(text.split()))
    text = _TRAPS.sub(lambda found: _broken(found.group()), text)
    text = ("'" if _FIELD.match(text) else "") + text
    return _cut(text) or "Press Process again; something went wrong in the server."


def _broken(trap: str) -> str:
    words = trap.replace(" ", NBSP)
    return words if NBSP in words else words[:1] + NBSP + words[1:]


def _cut(text: str) -> str:
    """At most ``LONGEST`` characters, cut between words where one ends in the last fifth."""
    if len(text) <= LONGEST:
        return text
    head = text[: LONGEST - 1]
    words = head[: head.rfind(" ")] if head.rfind(" ") > LONGEST * 4 // 5 else head
    return words.rstrip(" ,;:") + "\u2026"


def message_of(error: Exception, job_id: str, what: str) -> str:
    """Log the error that ended ``what`` ("job") and return what the user reads of it.

    A user's own mistakes are logged as that sentence alone: their texts hold what the user wrote,
    which could hold lines and escapes that forge a log.
    """
    text = sentence(error, job_id)
    if isinstance(error, UserError):
        log.info("%s %s failed: %s", what, job_id, text)
    else:
        log.error("%s %s failed", what, job_id, exc_info=error)
    return text


def sentence(error: BaseException, job_id: str) -> str:
    """Return what the user reads of ``error``.

    A UserError is written for users; anything else is named by the id under which the log has it.
    """
    if isinstance(error, UserError):
        return plain(str(error))
    if isinstance(error, MemoryError):
        return "Choose a shorter clip: this one does not fit into the server's memory."
    if "out of memory" in str(error):
        return "Choose a shorter clip: the server's graphics memory is full."
    return f"Press Process again; something went wrong in the server, whose log has it as {job_id}."


def of_payload(payload: str, job_id: str) -> str:
    """Return the sentence for what gradio put after ``event: error`` (JSON of several shapes)."""
    try:
        found = json.loads(payload)
    except ValueError:
        found = payload
    if isinstance(found, dict):
        found = found.get("error")
    if isinstance(found, str) and found and "Traceback" not in found:
        return plain(found)
    return f"Press Process again; the server could not read this request (in its log: {job_id})."


class ErrorLines:
    """Rewrites a server-sent stream piece by piece: error payloads become sentences."""

    def __init__(self, job_id: str) -> None:
        self._job_id = job_id
        self._rest = b""
        self.told_end = False  # the stream has said how the job ended
        self.failed = False  # and that was an error

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
        self.told_end = self.failed = True
        payload = message.partition(b"data: ")[2].decode("utf-8", "replace")
        text = of_payload(payload, self._job_id)
        log.info("job %s ended with: %s", self._job_id, text)
        return error_message(text)


def error_message(text: str) -> bytes:
    """Return the lines of a server-sent error, without the blank line at its end.

    HARP 3.0.1 shows the line after ``event: error``, readers of server-sent events skip that line
    (a field without a value) and take ``data``.
    """
    return f"event: error\n{text}\ndata: {text}".encode()
