"""What gradio gets to see: the routes of HARP and of the page, and files that were uploaded.

gradio opens some sixty routes (direct calls around the queue, proxies, monitoring, editing) and
fetches addresses that a request names in a file's place. Here a route that is on no line of the
list below is answered 404, and a request that names any file but an uploaded one 400, in the JSON
of which the page shows the sentence: its clip was uploaded to a server before this one, say.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from harp_app.jobs.storage import GONE, Storage, StorageFull
from harp_app.protocol.origins import refusal

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_ID = r"[A-Za-z0-9_\-]{1,64}"
_OPEN = {
    "GET": (
        r"/gradio_api/call/(?:controls|process|cancel)/" + _ID,
        r"/health",
        r"/gradio_api/queue/data",
        r"/gradio_api/upload_progress",
        r"/gradio_api/heartbeat/" + _ID,
        r"/gradio_api/(?:info|startup-events|theme\.css)",
        r"/(?:config|theme\.css|favicon\.ico|manifest\.json|robots\.txt)?",
        r"/(?:assets|static|svelte)/[\w\-./@+]{1,300}",
        r"/pwa_icon(?:/\d{1,4})?",
    ),
    "POST": (
        r"/gradio_api/call/(?:controls|process|cancel)/?",
        r"/gradio_api/upload/?",
        r"/gradio_api/queue/join",
        r"/gradio_api/(?:cancel|reset)/?",
    ),
}
_PATTERNS = {method: re.compile("|".join(lines)) for method, lines in _OPEN.items()}
_READ = ("GET", "HEAD")
_FILE = "/gradio_api/file="
_UPLOAD = "/gradio_api/upload"
_CALL = "/gradio_api/call/"
AROUND_A_FILE = 1 << 16  # bytes of an upload besides its file


class Gate:
    """ASGI middleware that lets the listed routes through, without their prefix.

    prefix: the path under which everything lies ("" or "/word"); outside it is nothing.
    storage: of the private folder; only files in it are sent. max_upload: bytes of one file.
    hosts: names under which it may be asked besides this machine's own (``origins.refusal``).
    max_body: bytes of a POST that is not an upload.
    """

    def __init__(
        self,
        app: ASGIApp,
        prefix: str,
        storage: Storage,
        max_upload: int,
        hosts: frozenset[str] | None = None,
        max_body: int = 1 << 20,
    ) -> None:
        self._app = app
        self._prefix = prefix
        self._storage = storage
        self._files = storage.root.resolve()
        self._gone = json.dumps({"detail": GONE})
        self._max_upload = max_upload + AROUND_A_FILE
        self._hosts = hosts
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 404; 413 for too long a body, 400 for a foreign file."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        path = self._local_path(scope)
        refused = refusal(scope["headers"], self._hosts)
        if self._prefix and scope["path"] == self._prefix and scope.get("method") in _READ:
            # The page finds its parts beside itself, so it has to be a folder's.
            await answer(send, 307, "", location=self._prefix.rpartition("/")[2] + "/")
        elif path is None or scope["type"] != "http" or not self._open(scope["method"], path):
            await answer(send, 404, "Not found.")
        elif refused is not None:
            log.info("a request was refused: %s", refused)
            await answer(send, 403, refused)
        elif self._too_long(scope):
            await answer(send, 413, "The request is too long.")
        else:
            await self._pass(scope, path, receive, send)

    async def _pass(self, scope: Scope, path: str, receive: Receive, send: Send) -> None:
        """Pass an open request on, its body looked through unless it is an upload."""
        scope = {**scope, "path": path, "raw_path": quote(path).encode()}
        if scope["method"] == "POST" and not path.startswith(_UPLOAD):
            try:
                body = self._cleaned(path, await _read(receive, self._max_body))
            except (ValueError, RecursionError):
                await answer(send, 400, "The request is not JSON.")
                return
            if body is None:
                await answer(send, 400, self._gone, "application/json")
                return
            scope["headers"] = _with_length(scope["headers"], len(body))
            receive = _again(body, receive)
        if scope["method"] == "POST" and path.startswith(_UPLOAD):
            await self._take_upload(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _take_upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        size = int(dict(scope["headers"])[b"content-length"])
        try:
            with self._storage.room_for(size):
                await self._app(scope, receive, send)
        except StorageFull as full:
            log.warning("an upload was refused: %s", full)
            await answer(send, 507, str(full))

    def _local_path(self, scope: Scope) -> str | None:
        """The path behind the prefix, None when the request lies outside it."""
        path: str = scope["path"]
        if self._prefix and path != self._prefix and not path.startswith(self._prefix + "/"):
            return None
        return path[len(self._prefix) :] or "/"

    def _open(self, method: str, path: str) -> bool:
        method = "GET" if method == "HEAD" else method
        if method == "GET" and path.startswith(_FILE):
            return self._own_file(path[len(_FILE) :])
        pattern = _PATTERNS.get(method)
        return bool(pattern and pattern.fullmatch(path)) and ".." not in path

    def _own_file(self, name: str) -> bool:
        try:
            return all(
                Path(spelling).resolve().is_relative_to(self._files)
                for spelling in {name, unquote(name)}
            )
        except (ValueError, OSError):  # a NUL in it, or too long
            return False

    def _too_long(self, scope: Scope) -> bool:
        if scope["method"] != "POST":
            return False
        is_upload = scope["path"].startswith(self._prefix + _UPLOAD)
        length = dict(scope["headers"]).get(b"content-length", b"")
        # A body of unknown length could be endless; no client of ours sends one.
        at_most = self._max_upload if is_upload else self._max_body
        return not length.isdigit() or int(length) > at_most

    def _cleaned(self, path: str, body: bytes) -> bytes | None:
        """The body to pass on; None when a file in it is not one of ours.

        Raises ValueError or RecursionError when it is not JSON.
        """
        found = json.loads(body) if body else None
        if not all(map(self._own_file, _paths(found))):
            return None
        if path.startswith(_CALL) and isinstance(found, dict) and "data" in found:
            # Without a session hash a stream is its job's alone. HARP never sends one.
            return json.dumps({"data": found["data"]}).encode()
        return body


def _paths(value: Any) -> Iterator[str]:
    """Every path of a file in a request's JSON."""
    if isinstance(value, dict):
        if "path" in value:
            yield str(value["path"])
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _paths(item)


def _with_length(headers: list[tuple[bytes, bytes]], length: int) -> list[tuple[bytes, bytes]]:
    others = [(name, value) for name, value in headers if name.lower() != b"content-length"]
    return [*others, (b"content-length", str(length).encode())]


async def _read(receive: Receive, at_most: int) -> bytes:
    body, more = b"", True
    while more and len(body) <= at_most:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


def _again(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that gives the body read before, then what comes after it."""
    given = False

    async def give() -> MutableMapping[str, Any]:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return give


async def answer(
    send: Send, status: int, text: str, kind: str = "text/plain", location: str = ""
) -> None:
    """Send a whole short response. location: where else to look, for a 307."""
    body = text.encode()
    headers = [
        (b"content-type", f"{kind}; charset=utf-8".encode()),
        (b"content-length", str(len(body)).encode()),
        *([(b"location", location.encode())] if location else []),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
