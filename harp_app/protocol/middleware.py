"""ASGI middleware: numbers jobs and cancels, rewrites SSE errors as text, detects disconnects.

It lies around gradio. It notes when each POST arrived (so that a cancel stops what came before it),
finds out that a client has left, and puts sentences where gradio sends JSON.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException

from harp_app.jobs.cancels import LONGEST_HOLD_S, MARGIN_S, Cancel, Upload
from harp_app.jobs.queue import Job, Jobs
from harp_app.protocol.endpoint import SCOPE_CLIENT, SCOPE_JOB
from harp_app.protocol.errors import ErrorLines, error_message
from harp_app.protocol.job_streams import JobStream
from harp_app.protocol.routes import ASGIApp, Receive, Scope, Send, answer

log = logging.getLogger(__name__)

UNKNOWN_JOB = "Press Process again: this job is not known here, the server may have been restarted."
NO_MORE = {"type": "http.response.body", "body": b"", "more_body": False}
CLIENT_HEADER = b"x-harp-client"  # newer HARPs send one value per model tab
LONGEST_ANSWER = 1 << 16  # bytes of a response that is read here


class Arrivals:
    """The middleware; ``app`` is gradio's, mounted at the root.

    on_end: called with the id of every stream that has ended.
    """

    def __init__(self, app: ASGIApp, jobs: Jobs, on_end: Callable[[str], None]) -> None:
        self._app = app
        self._jobs = jobs
        self._on_end = on_end
        self._listening: set[asyncio.Task[Any]] = set()  # streams of open pages
        self._cancels: dict[str, Cancel] = {}  # by the stream that answers them
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
        posts = {
            "/gradio_api/call/process": self._job,
            "/gradio_api/call/cancel": self._cancel,
            "/gradio_api/upload": self._upload,
        }
        if scope["method"] == "POST":
            await posts.get(path, self._app)(scope, receive, send)
        elif scope["method"] == "GET" and path.startswith("/gradio_api/call/"):
            name, stream = path.split("/")[3], path.rsplit("/", 1)[-1]
            take = self._job_stream if name == "process" else self._other_stream
            await take(stream, scope, receive, send)
        elif scope["method"] == "GET" and path == "/gradio_api/queue/data":
            await self._until_closed(self._page_stream(scope, receive, send))
        elif scope["method"] == "GET" and path.startswith("/gradio_api/heartbeat/"):
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

    # -- what clients post

    async def _job(self, scope: Scope, receive: Receive, send: Send) -> None:
        """POST process: a job from now on; its stream's id stands in the response."""
        scope[SCOPE_CLIENT] = client_of(scope)
        scope[SCOPE_JOB] = job = self._jobs.arrive(scope[SCOPE_CLIENT])
        taken = False

        def take(content: Any) -> None:
            nonlocal taken
            stream = _event_id(content)
            if stream is not None:
                taken = True
                self._jobs.name_stream(stream, job)

        try:
            await self._app(scope, receive, _reading(send, take))
        finally:
            if not taken:
                self._jobs.forget(job)

    async def _cancel(self, scope: Scope, receive: Receive, send: Send) -> None:
        """POST cancel: its jobs stop at once, and end for their clients when it was answered."""
        cancel = Cancel(client_of(scope), self._jobs.next_number())
        cancel.release_after(LONGEST_HOLD_S)
        self._jobs.carry_out(cancel)

        def take(content: Any) -> None:
            stream = _event_id(content)
            if stream is None:
                cancel.release_after(MARGIN_S)
                return
            self._cancels[stream] = cancel
            asyncio.get_running_loop().call_later(LONGEST_HOLD_S, self._cancels.pop, stream, None)

        await self._app(scope, receive, _reading(send, take))

    async def _upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        """POST upload: noted from its first byte on, since a cancel may come before its last."""
        upload = Upload(self._jobs.next_number())

        def take(content: Any) -> None:
            for path in content if isinstance(content, list) else ():
                self._jobs.cancels.uploaded(address_of(scope), str(path), upload)

        await self._app(scope, receive, _reading(send, take))

    # -- what clients read

    async def _job_stream(self, stream: str, scope: Scope, receive: Receive, send: Send) -> None:
        """GET of a job's stream; a client that leaves it before its end stops the job."""
        job = self._jobs.of_stream(stream)
        if job is None:
            message = error_message(UNKNOWN_JOB).decode() + "\n\n"
            await answer(send, 200, message, "text/event-stream")
            return
        job.fetched = True
        rewritten = JobStream(self._jobs, job, send)

        def left() -> None:
            if not rewritten.lines.told_end and job.stop("The client left."):
                log.info("job %s stopped: its client left", job.id)

        async def watch() -> MutableMapping[str, Any]:
            message = await receive()
            if message["type"] == "http.disconnect":
                left()
            return message

        try:
            await self._app(_uncompressed(scope), watch, rewritten.send)
        finally:
            rewritten.close()
            left()
            self._jobs.forget(job, stream)
            self._on_end(stream)

    async def _other_stream(self, stream: str, scope: Scope, receive: Receive, send: Send) -> None:
        """GET of the answer to ``controls`` or ``cancel``."""
        lines = ErrorLines(stream)

        async def rewrite(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.body":
                last = not message.get("more_body", False)
                message = {**message, "body": lines.feed(message.get("body", b""), last)}
            await send(message)

        try:
            await self._app(_uncompressed(scope), receive, rewrite)
        finally:
            self._on_end(stream)
            if (cancel := self._cancels.pop(stream, None)) is not None:
                cancel.release_after(MARGIN_S)

    async def _page_stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A session's stream: when its reader leaves before its end, its jobs have no purpose."""
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        session = (query.get("session_hash") or [""])[0]
        ended = False

        async def watch(message: MutableMapping[str, Any]) -> None:
            nonlocal ended
            body = message.get("body", b"") if message["type"] == "http.response.body" else b""
            ended = ended or b'"close_stream"' in body
            await send(message)

        self._jobs.listen(session)
        try:
            await self._app(_uncompressed(scope), receive, watch)
        finally:
            if self._jobs.unlisten(session) and not ended:
                stopped = self._jobs.stop_stream(session, "The page was closed.")
                log.info("a page was closed, which stopped %d jobs", stopped)


def _reading(send: Send, take: Callable[[Any], None]) -> Send:
    """A ``send`` that gives ``take`` what a short JSON response says, just before its end is sent.

    None if it is not JSON. The client can act on it only afterwards.
    """
    body = b""

    async def read_and_send(message: MutableMapping[str, Any]) -> None:
        nonlocal body
        if message["type"] == "http.response.body":
            if len(body) < LONGEST_ANSWER:
                body += message.get("body", b"")
            if not message.get("more_body"):
                take(_parsed(body))
        await send(message)

    return read_and_send


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _event_id(content: Any) -> str | None:
    """The id of the stream on which a result can be read, from the response to its POST."""
    stream = content.get("event_id") if isinstance(content, Mapping) else None
    return stream if isinstance(stream, str) else None


def address_of(scope: Scope) -> str:
    """Return the network address of the one who asks."""
    return scope["client"][0] if scope.get("client") else "?"


def client_of(scope: Scope) -> str:
    """Return whose jobs a cancel stops: a tab of HARP where it says which, else an address.

    The header's value is hashed, so that logs hold nothing of it.
    """
    for name, value in scope["headers"]:
        if name.lower() == CLIENT_HEADER and value.strip():
            return "tab " + hashlib.sha256(value.strip()).hexdigest()[:16]
    return address_of(scope)


def _uncompressed(scope: Scope) -> Scope:
    """The request without the offer to take a compressed stream."""
    headers = [(k, v) for k, v in scope["headers"] if k.lower() != b"accept-encoding"]
    return {**scope, "headers": headers}
