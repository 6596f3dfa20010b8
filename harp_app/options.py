"""The options of ``serve``: how the endpoint is served, checked before anything starts."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from harp_app.jobs.model_cache import DEFAULT
from harp_app.jobs.storage import KEEP_S, MAX_TOTAL_BYTES
from harp_app.process import ENDPOINT_LIMITS, MAX_FILE_MB, MEBI, check_takes
from vampnet.system.errors import UserError

LOOPBACK = "127.0.0.1"
MAX_WAITING = 30  # gradio carries at most 40 requests at once


@dataclass(frozen=True)
class Options:
    """How the endpoint is served.

    host, port: where it listens (port 0: any free one). models: a folder of model folders.
    model: name or folder of the default model. presets: the user's folder of presets.
    takes: output tracks, 1 to 4. secret: a word; everything then lies under ``/word``.
    root_path: path or address under which a reverse proxy shows it. tls_cert, tls_key: files.
    at_once, waiting: jobs that run and that may wait. keep_s: seconds until files are deleted.
    max_seconds, max_mb: of a clip, in seconds and MiB. max_total_mb: of all uploads and results
    together, in MiB.
    """

    host: str = LOOPBACK
    port: int = 7860
    models: str | Path | None = None
    model: str = DEFAULT
    device: str = "auto"
    presets: str | Path | None = None
    takes: int = 1
    secret: str | None = None
    root_path: str | None = None
    tls_cert: str | Path | None = None
    tls_key: str | Path | None = None
    at_once: int = 1
    waiting: int = 8
    keep_s: float = KEEP_S
    max_seconds: float = ENDPOINT_LIMITS.max_duration_s
    max_mb: float = MAX_FILE_MB
    max_total_mb: float = MAX_TOTAL_BYTES / MEBI

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise UserError(f"port is {self.port}; allowed is 0 to 65535")
        if self.secret is not None and not re.fullmatch(r"[A-Za-z0-9_-]{4,64}", self.secret):
            raise UserError(
                f"the secret word is '{self.secret}'; allowed are 4 to 64 letters, digits, - and _"
            )
        if not 0 <= self.waiting <= MAX_WAITING or not 1 <= self.at_once <= 8:
            raise UserError(
                f"{self.at_once} jobs at once and {self.waiting} waiting; "
                f"allowed are 1 to 8 and 0 to {MAX_WAITING}"
            )
        check_takes(self.takes)
        for name in ("max_seconds", "max_mb", "max_total_mb", "keep_s"):
            if not 0 < getattr(self, name) < math.inf:
                raise UserError(f"{name} is {getattr(self, name):g}; allowed is above 0, finite")
        if not re.fullmatch(r"(https?://[^\s/?#]+)?(/[^\s?#]*)?", self.root_path or ""):
            raise UserError(
                f"the root path is '{self.root_path}'; allowed is a path like /vampnet "
                "or an address like https://example.org/vampnet"
            )
        if (self.tls_cert is None) != (self.tls_key is None):
            raise UserError("TLS needs both files, the certificate and the key")

    @property
    def prefix(self) -> str:
        """The path under which everything lies: "" or "/word"."""
        return f"/{self.secret}" if self.secret else ""
