"""Which routes are open: HARP's three, upload and download, and what the page needs; no others.

gradio opens some sixty routes (direct calls around the queue, proxies, monitoring, editing). Here
a request that is on no line of the list below is answered 404 before gradio sees it.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

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
_FILE = "/gradio_api/file="


class Gate:
    """ASGI middleware that lets the listed routes through, without their prefix.

    prefix: the path under which everything lies ("" or "/word"); outside it is nothing.
    files: the private folder; only files in it are sent. max_body: bytes of a POST that is no
    upload.
    """

    def __init__(self, app: ASGIApp, prefix: str, files: Path, max_body: int = 1 << 20) -> None:
        self._app = app
        self._prefix = prefix
        self._files = files.resolve()
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 404 (413 for too long a body)."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        path = self._local_path(scope)
        if path is None or scope["type"] != "http" or not self._open(scope["method"], path):
            await answer(send, 404, "Not found.")
        elif self._too_long(scope):
            await answer(send, 413, "The request is too long.")
        else:
            await self._app(
                {**scope, "path": path, "raw_path": quote(path).encode()}, receive, send
            )

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
        if scope["method"] != "POST" or "/gradio_api/upload" in scope["path"]:
            return False
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"")
        # A body of unknown length could be endless; no client of ours sends one.
        return not length.isdigit() or int(length) > self._max_body


async def answer(send: Send, status: int, text: str, kind: str = "text/plain") -> None:
    """Send a whole short response."""
    body = text.encode()
    headers = [
        (b"content-type", f"{kind}; charset=utf-8".encode()),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
