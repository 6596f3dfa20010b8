"""What happens at the door of every request: jobs get a number, streams plain words, ends an ear.

An ASGI middleware around gradio. It notes when each POST arrived (so that a cancel stops what
came before it), finds out that a client has left, and puts sentences where gradio sends JSON.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException

from harp_app.jobs.queue import Job, Jobs
from harp_app.protocol.endpoint import SCOPE_ARRIVED, SCOPE_JOB
from harp_app.protocol.errors import ErrorLines, error_message
from harp_app.protocol.routes import ASGIApp, Receive, Scope, Send, answer

log = logging.getLogger(__name__)

UNKNOWN_JOB = "This job is not known here; the server may have been restarted. Press Process again."
NO_MORE = {"type": "http.response.body", "body": b"", "more_body": False}


class Arrivals:
    """The middleware; ``app`` is gradio's, mounted at the root.

    on_end: called with the id of every stream that has ended.
    """

    def __init__(self, app: ASGIApp, jobs: Jobs, on_end: Callable[[str], None]) -> None:
        self._app = app
        self._jobs = jobs
        self._on_end = on_end
        self._listening: set[asyncio.Task[Any]] = set()  # streams of open pages
        self._closed = False

    def close(self) -> None:
        """End the streams of open pages, which have no end of their own."""
        self._closed = True
        for task in self._listening:
            task.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; whatever escapes below is logged and answered without details."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = ended = False

        async def note(message: MutableMapping[str, Any]) -> None:
            nonlocal started, ended
            started = True
            ended = message["type"] == "http.response.body" and not message.get("more_body")
            await send(message)

        try:
            await self._route(scope, receive, note)
        except Exception as error:
            job_id = Job("", 0).id
            unknown = isinstance(error, HTTPException)  # a stream of no job, say
            log.error("request %s: %s failed", job_id, scope["method"], exc_info=not unknown)
            if not started:
                await answer(send, 500, f"Something went wrong; the log has it under {job_id}.")
            elif not ended:
                await send(NO_MORE)
        except asyncio.CancelledError:
            if not self._closed:
                raise
            if started and not ended:
                await send(NO_MORE)

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].rstrip("/")
        method = scope["method"]
        if method == "POST" and path == "/gradio_api/call/process":
            await self._job(scope, receive, send)
            return
        if method == "POST" and path == "/gradio_api/call/cancel":
            scope[SCOPE_ARRIVED] = self._jobs.next_number()
        if method == "GET" and path.startswith("/gradio_api/call/"):
            stream = path.rsplit("/", 1)[-1]
            await self._stream(path.split("/")[3] == "process", stream, scope, receive, send)
        elif method == "GET" and path == "/gradio_api/queue/data":
            await self._until_closed(self._page_stream(scope, receive, send))
        elif method == "GET" and path.startswith("/gradio_api/heartbeat/"):
            await self._until_closed(self._app(scope, receive, send))
        else:
            await self._app(scope, receive, send)

    async def _until_closed(self, stream: Awaitable[None]) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._listening.add(task)
        try:
            await stream
        finally:
            self._listening.discard(task)

    async def _job(self, scope: Scope, receive: Receive, send: Send) -> None:
        """POST process: a job from now on; its stream's id stands in the response."""
        job = self._jobs.arrive(scope["client"][0] if scope.get("client") else "?")
        scope[SCOPE_JOB] = job
        taken = False

        async def watch(message: MutableMapping[str, Any]) -> None:
            nonlocal taken
            if message["type"] == "http.response.body" and not taken:
                stream = _event_id(message.get("body", b""))
                if stream is not None:
                    taken = True
                    self._jobs.name_stream(stream, job)
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            if not taken:
                self._jobs.forget(job)

    async def _stream(
        self, is_job: bool, stream: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """GET of a stream: sentences instead of JSON, and a client that leaves ends its job."""
        job = self._jobs.of_stream(stream)
        if is_job and job is None:
            message = error_message(UNKNOWN_JOB).decode() + "\n\n"
            await answer(send, 200, message, "text/event-stream")
            return
        if job is not None:
            job.fetched = True
        lines = ErrorLines(job.id if job else stream)

        def left() -> None:
            if job is not None and not lines.told_end and job.stop("The client left."):
                log.info("job %s stopped: its client left", job.id)

        async def hear() -> MutableMapping[str, Any]:
            message = await receive()
            if message["type"] == "http.disconnect":
                left()
            return message

        async def rewrite(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.body":
                last = not message.get("more_body", False)
                message = {**message, "body": lines.feed(message.get("body", b""), last)}
            await send(message)

        try:
            await self._app(_uncompressed(scope), hear, rewrite)
        finally:
            left()
            if job is not None:
                self._jobs.forget(job, stream)
            self._on_end(stream)

    async def _page_stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The page's stream: when the browser leaves before it is at its end, so does its job."""
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        session = (query.get("session_hash") or [""])[0]
        ended = False

        async def watch(message: MutableMapping[str, Any]) -> None:
            nonlocal ended
            body = message.get("body", b"") if message["type"] == "http.response.body" else b""
            ended = ended or b'"close_stream"' in body
            await send(message)

        try:
            await self._app(_uncompressed(scope), receive, watch)
        finally:
            job = self._jobs.of_stream(session)
            if job is not None and not ended and job.stop("The page was closed."):
                log.info("job %s stopped: its page was closed", job.id)


def _event_id(body: bytes) -> str | None:
    try:
        found = json.loads(body)
    except ValueError:
        return None
    stream = found.get("event_id") if isinstance(found, Mapping) else None
    return stream if isinstance(stream, str) else None


def _uncompressed(scope: Scope) -> Scope:
    """The request without the offer to take a compressed stream."""
    headers = [(k, v) for k, v in scope["headers"] if k.lower() != b"accept-encoding"]
    return {**scope, "headers": headers}
