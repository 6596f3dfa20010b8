"""The server-sent stream of one job: progress as log events, errors as sentences, ends held back.

HARP 3.0.1 looks for the words "complete" and "error" in every line, so no log event has them.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import MutableMapping
from typing import Any

from harp_app.jobs.queue import Job, Jobs
from harp_app.protocol.errors import ErrorLines
from harp_app.protocol.routes import Send

LOG_EVERY_S = 1.0
REPEAT_S = 10.0  # an unchanged status is sent again, so that no one takes the connection for dead


class JobStream:
    """Sends on what gradio says of ``job``: :meth:`send` is the ASGI ``send`` to give to it."""

    def __init__(self, jobs: Jobs, job: Job, send: Send) -> None:
        self.lines = ErrorLines(job.id)
        self._jobs = jobs
        self._job = job
        self._send = send
        self._one_at_a_time = asyncio.Lock()
        self._log: asyncio.Task[None] | None = None

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Pass one ASGI message on, its error rewritten; a cancelled job's end waits its time."""
        if message["type"] == "http.response.body":
            last = not message.get("more_body", False)
            message = {**message, "body": self.lines.feed(message.get("body", b""), last)}
            if self.lines.told_end or last:
                self._stop_log()
            if self.lines.failed and self._job.cancel is not None:
                await self._job.cancel.answered.wait()
        async with self._one_at_a_time:
            await self._send(message)
        if message["type"] == "http.response.start":
            self._log = asyncio.create_task(self._log_events())

    def close(self) -> None:
        """End the log events."""
        self._stop_log()

    def _stop_log(self) -> None:
        if self._log is not None:
            self._log.cancel()

    async def _log_events(self) -> None:
        before, sent_s = "", time.monotonic()
        while not self._job.stopped:
            await asyncio.sleep(LOG_EVERY_S)
            text, now_s = status(self._jobs, self._job), time.monotonic()
            if self._job.stopped or (text == before and now_s - sent_s < REPEAT_S):
                continue
            before, sent_s = text, now_s
            body = log_event(text)
            async with self._one_at_a_time:
                await self._send({"type": "http.response.body", "body": body, "more_body": True})


def log_event(text: str) -> bytes:
    """Return a whole server-sent log event, as newer HARPs show it: "[info] text"."""
    return b"event: log\ndata: " + json.dumps({"log": text, "level": "info"}).encode() + b"\n\n"


def status(jobs: Jobs, job: Job) -> str:
    """Return how far a job is, in a few words."""
    place = jobs.place(job)
    if place is not None:
        return "place {} of {} in the queue".format(*place)
    done, total = job.progress
    if not total:
        return "reading the clip" if job.started_s is not None else "waiting for the machine"
    if done >= total:
        return "writing the sound"
    left_s = job.time_left_s()
    return f"step {done} of {total}" + (f", {left_s:.0f} s left" if left_s is not None else "")
