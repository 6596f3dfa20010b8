"""A client that does, request for request, what HARP 3 does.

Slider values go through float32, uploads say audio/midi, no session hash is ever sent, streams are
read line by line, results are fetched by their url.
"""

from __future__ import annotations

import http.client
import json
import struct
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

TIMEOUT_S = 10.0  # of everything but the process stream


class HarpError(Exception):
    """What HARP would show; `.text` as it stands."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


def float32(value: float) -> float:
    """The number as HARP's sliders hold it."""
    return struct.unpack("f", struct.pack("f", value))[0]


class HarpClient:
    """HARP with one endpoint loaded by its address.

    tab: what a HARP newer than 3.0.1 sends as x-harp-client with process and cancel.
    """

    def __init__(self, address: str, tab: str | None = None) -> None:
        self.address = address.rstrip("/")
        self.tab = tab
        parts = urlsplit(self.address)
        self.host, self.port, self.base = parts.hostname or "", parts.port, parts.path.rstrip("/")
        self.inputs: list[dict[str, Any]] = []

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        timeout: float | None = TIMEOUT_S,
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection = http.client.HTTPConnection(self.host, self.port or 80, timeout=timeout)
        connection.request(method, self.base + path, body, headers or {})
        return connection, connection.getresponse()

    def post(self, name: str, data: list[Any]) -> str:
        body = json.dumps({"data": data}).encode()
        kind = {"Content-Type": "application/json"}
        if self.tab is not None and name in ("process", "cancel"):
            kind["x-harp-client"] = self.tab
        connection, response = self.request("POST", f"/gradio_api/call/{name}", body, kind)
        text = response.read().decode()
        connection.close()
        if response.status != 200:
            raise HarpError(f"HTTP {response.status}: {text}")
        return json.loads(text)["event_id"]

    def stream(self, name: str, event_id: str, timeout: float | None = None) -> str:
        """Read lines until one says complete or error; the next line's data."""
        connection, response = self.request(
            "GET", f"/gradio_api/call/{name}/{event_id}", timeout=timeout
        )
        event = ""
        try:
            while True:
                line = response.readline().decode("utf-8").rstrip("\r\n")
                if not line and response.isclosed():
                    raise HarpError("the stream ended without an answer")
                if not event and ("complete" in line or "error" in line):
                    event = "error" if "error" in line else "complete"
                elif event:
                    data = line if event == "error" else line.removeprefix("data: ")
                    break
        finally:
            connection.close()
        if event == "error":
            if "503" in data:
                data = "The gradio app is currently paused by the developer"
            if data == "data: null":
                data = "Your ZeroGPU quota has been reached"
            raise HarpError(data)
        return data

    def whole_stream(self, name: str, event_id: str) -> bytes:
        """Every byte of a stream, to its end."""
        connection, response = self.request(
            "GET", f"/gradio_api/call/{name}/{event_id}", timeout=None
        )
        content = response.read()
        connection.close()
        return content

    def load(self) -> dict[str, Any]:
        """The card and the controls, as after pressing Load."""
        answer = json.loads(self.stream("controls", self.post("controls", []), TIMEOUT_S))[0]
        self.inputs = answer["inputs"]
        return answer

    def values(self, **changed: Any) -> list[Any]:
        """All control values in order; `changed` by label, with underscores; the rest by More."""
        left = {label.replace("_", " ").lower(): value for label, value in changed.items()}
        labels = {control["label"].lower() for control in self.inputs}
        others = [f"{name} {left.pop(name)}" for name in [*left] if name not in labels]
        if others:
            left["more"] = ", ".join([*others, left["more"]] if "more" in left else others)
        found = []
        for control in self.inputs:
            if control["type"] == "audio_track":
                continue
            value = left.pop(control["label"].lower(), control["value"])
            found.append(float32(value) if control["type"] == "slider" else value)
        assert not left, f"no such control: {left}"
        return found

    def upload(self, path: Path, name: str | None = None, mime: str = "audio/midi") -> str:
        boundary = uuid.uuid4().hex
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="files"; '
            f'filename="{name or path.name}"\r\nContent-Type: {mime}\r\n\r\n'
        )
        body = head.encode() + path.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
        kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        connection, response = self.request("POST", "/gradio_api/upload", body, kind)
        text = response.read().decode()
        connection.close()
        if response.status != 200:
            raise HarpError("Failed to upload the file, check your internet connection")
        return json.loads(text)[0]

    def start(self, uploaded: str | None, values: list[Any]) -> str:
        """Press Process with an uploaded file; the event's id."""
        file = {"path": uploaded, "meta": {"_type": "gradio.FileData"}} if uploaded else None
        return self.post("process", [file, *values])

    def outcome(self, event_id: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Wait for the end: the output files and the labels."""
        files, labels = [], []
        for output in json.loads(self.stream("process", event_id)):
            if not isinstance(output, dict):
                raise HarpError(f"an output is {output!r}")
            if output["meta"]["_type"] == "gradio.FileData":
                files.append(output)
            elif output["meta"]["_type"] == "pyharp.LabelList":
                labels += output["labels"]
        return files, labels

    def download(self, file: dict[str, Any]) -> bytes:
        parts = urlsplit(file["url"])
        connection = http.client.HTTPConnection(
            parts.hostname or "", parts.port or 80, timeout=TIMEOUT_S
        )
        connection.request("GET", quote(parts.path, safe="/=%"))
        response = connection.getresponse()
        content = response.read()
        connection.close()
        if response.status != 200:
            raise HarpError(f"the download failed: HTTP {response.status}")
        return content

    def process(
        self, path: Path, name: str | None = None, **changed: Any
    ) -> tuple[list[tuple[str, bytes]], list[dict[str, Any]]]:
        """Upload, process, download: (file name, content) of each output, and the labels."""
        files, labels = self.outcome(self.start(self.upload(path, name), self.values(**changed)))
        return [(file["orig_name"], self.download(file)) for file in files], labels

    def cancel(self) -> str:
        """Press Cancel: post and read the answer, as HARP does on its window's thread."""
        return self.stream("cancel", self.post("cancel", []), TIMEOUT_S)


def events(stream: bytes) -> list[tuple[str, str]]:
    """Event and data of each message, as readers of server-sent events parse them."""
    found = []
    for message in stream.decode().split("\n\n"):
        fields = [line.partition(":") for line in message.split("\n") if line]
        event = [value.removeprefix(" ") for name, _, value in fields if name == "event"]
        data = [value.removeprefix(" ") for name, _, value in fields if name == "data"]
        if event or data:
            found.append((event[-1] if event else "message", "\n".join(data)))
    return found


def status(address: str, method: str = "GET", path: str = "/", body: bytes | None = None) -> int:
    """Which HTTP status a request is answered with."""
    client = HarpClient(address)
    connection, response = client.request(method, path, body)
    response.read()
    connection.close()
    return response.status


def shown_error(call: Callable[..., Any], *args: Any) -> str:
    """What HARP shows of a call that has to fail."""
    try:
        call(*args)
    except HarpError as error:
        return error.text
    raise AssertionError("no error was shown")


def in_background(call: Callable[..., Any], *args: Any) -> Future[Any]:
    """Call while the test goes on."""
    return ThreadPoolExecutor(1).submit(call, *args)
