"""``serve``: the endpoint on a port, safe by default, its weights loaded before the port opens."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import ipaddress
import logging
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from harp_app.gate import Gate
from harp_app.jobs import Jobs
from harp_app.models import DEFAULT, Models
from harp_app.process import ENDPOINT_LIMITS, MEBI, Processor
from harp_app.storage import Storage
from vampnet.machine import check_device
from vampnet.presets import Preset, presets
from vampnet.prompts import Prompt
from vampnet.sampling import Sampling

if TYPE_CHECKING:
    from harp_app.gate import ASGIApp

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
MORE_THAN_A_FILE = 1.25  # an upload may be this much larger before the transport refuses it
MAX_WAITING = 30  # gradio carries at most 40 requests at once
SHUTDOWN_S = 5
WARM_UP_S = 1.0
RECORDED_STEPS = 3  # of a warm-up: so many that an accelerator's passes are recorded


@dataclass(frozen=True)
class Options:
    """How the endpoint is served.

    host, port: where it listens (port 0: any free one). models: a folder of model folders.
    model: name or folder of the default model. presets: the user's folder of presets.
    takes: output tracks, 1 to 4. secret: a word; everything then lies under ``/word``.
    root_path: path or address under which a reverse proxy shows it. tls_cert, tls_key: files.
    at_once, waiting: jobs that run and that may wait. keep_s: seconds until files are deleted.
    max_seconds, max_mb: of a clip, in seconds and MiB.
    """

    host: str = LOOPBACK
    port: int = 7860
    models: str | Path | None = None
    model: str = DEFAULT
    device: str = "cpu"
    presets: str | Path | None = None
    takes: int = 1
    secret: str | None = None
    root_path: str | None = None
    tls_cert: str | Path | None = None
    tls_key: str | Path | None = None
    at_once: int = 1
    waiting: int = 8
    keep_s: float = 3600.0
    max_seconds: float = ENDPOINT_LIMITS.max_duration_s
    max_mb: float = 256.0

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port is {self.port}; allowed is 0 to 65535")
        if self.secret is not None and not re.fullmatch(r"[A-Za-z0-9_-]{4,64}", self.secret):
            raise ValueError(
                f"the secret word is '{self.secret}'; allowed are 4 to 64 letters, digits, - and _"
            )
        if not 0 <= self.waiting <= MAX_WAITING or not 1 <= self.at_once <= 8:
            raise ValueError(
                f"{self.at_once} jobs at once and {self.waiting} waiting; "
                f"allowed are 1 to 8 and 0 to {MAX_WAITING}"
            )
        if not (self.max_seconds > 0 and self.max_mb > 0 and self.keep_s > 0):
            raise ValueError("max_seconds, max_mb and keep_s must be above 0")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("TLS needs both files, the certificate and the key")

    @property
    def prefix(self) -> str:
        """The path under which everything lies: "" or "/word"."""
        return f"/{self.secret}" if self.secret else ""


@dataclass
class Endpoint:
    """A built endpoint: the ASGI app and what it works with; close it at the end.

    end_streams: ends what open pages listen to, in the thread that serves them.
    """

    app: ASGIApp
    end_streams: Callable[[], None]
    jobs: Jobs
    storage: Storage
    processor: Processor
    harp_source: str

    def close(self) -> None:
        """Stop its jobs and delete its files."""
        self.jobs.close()
        self.storage.close()


def serve(
    host: str = LOOPBACK,
    port: int = 7860,
    *,
    say: Callable[[str], None] | None = None,
    **options: Any,
) -> None:
    """Serve the endpoint until interrupted; fields of :class:`Options` are the options.

    say: is given the lines for the user; standard output by default. Raises ValueError for
    options out of range and for a port that is taken.
    """
    say = say or _to_stdout
    chosen = Options(host=host, port=port, **options)
    check_device(chosen.device)
    listener = bind(chosen.host, chosen.port)
    try:
        start = time.monotonic()
        models = Models(chosen.models, chosen.model, chosen.device)
        _keep_to_itself()
        importing = threading.Thread(target=importlib.import_module, args=("harp_app.arrivals",))
        importing.start()  # gradio's import takes about as long as the weights
        warm_up(models)
        importing.join()
        endpoint = build(chosen, models)
        if torch.device(chosen.device).type != "cpu":  # their libraries set up each thread anew
            endpoint.jobs.in_every_thread(lambda: warm_up(models, RECORDED_STEPS))
        lines = announcement(chosen, listener.getsockname()[1])
        lines.append(f"Ready after {time.monotonic() - start:.1f} s. Stop with Ctrl+C.")
        run(endpoint, chosen, listener, lambda: [say(line) for line in lines])
    finally:
        listener.close()


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that holds the port; nobody can connect to it yet.

    Raises ValueError when the address or port cannot be had.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    if os.name != "nt":  # there it would let two servers share a port
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ValueError(
            f"cannot listen on {host} port {port} ({error.strerror or error}); choose another port"
        ) from error
    return listener


def warm_up(models: Models, steps: int = 1) -> None:
    """Load the default model and run it, so that the first job is as fast as the next."""
    pipeline = models.get(DEFAULT)
    rate_hz = pipeline.codec.sample_rate
    hum = torch.sin(torch.arange(round(WARM_UP_S * rate_hz)) * (2 * torch.pi * 220 / rate_hz))
    few = Sampling(steps=steps, fine_steps=steps)
    pipeline.vamp(0.1 * hum.view(1, 1, -1), Prompt(period=8), few, 0)


def build(options: Options, models: Models, found: Mapping[str, Preset] | None = None) -> Endpoint:
    """Return the endpoint, its private folder made; nothing listens yet.

    found: presets by name; by default the shipped ones and the user's folder's over them.
    """
    storage = Storage(options.keep_s)
    try:
        _keep_to_itself()
        known = presets(Path(options.presets) if options.presets else None) if not found else found
        jobs = Jobs(options.at_once, options.waiting)
        limits = dataclasses.replace(ENDPOINT_LIMITS, max_duration_s=options.max_seconds)
        processor = Processor(
            models, known, storage.new_folder, limits, options.max_mb, options.takes
        )
        return _assemble(options, jobs, processor, storage)
    except BaseException:
        storage.close()
        raise


def _keep_to_itself() -> None:
    """Have gradio tell nobody anything, nor keep a log of requests for its monitor."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_ANALYTICS_MAX_EVENTS"] = "1"
    os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"] = str(10**9)


def _keep_files_in(root: Path) -> None:
    """Have gradio put its files into ``root``; it asks the environment but once, at its import."""
    os.environ["GRADIO_TEMP_DIR"] = str(root)
    for name, module in list(sys.modules.items()):
        if name.startswith("gradio.") and "DEFAULT_TEMP_DIR" in vars(module):
            vars(module)["DEFAULT_TEMP_DIR"] = str(root)


def _assemble(options: Options, jobs: Jobs, processor: Processor, storage: Storage) -> Endpoint:
    import fastapi
    import gradio as gr

    from harp_app import protocol
    from harp_app.arrivals import Arrivals

    _keep_files_in(storage.root)
    harp = protocol.find_harp()
    log.info("HARP is spoken by %s", harp.source)
    blocks, dress = _page(harp, jobs, processor)

    def forget(path: str) -> None:
        for files in blocks.temp_file_sets:
            files.discard(path)

    storage.on_delete = forget
    parent = fastapi.FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    @parent.api_route("/health", methods=["GET", "HEAD"])
    async def health() -> dict[str, Any]:
        running, waiting = jobs.counts()
        return {"status": "ok", "running": running, "waiting": waiting}

    root_path = (options.root_path or "").rstrip("/") + options.prefix
    gr.mount_gradio_app(
        parent,
        blocks.queue(api_open=False, max_size=None),
        path="/",
        root_path=root_path or None,
        show_error=False,
        enable_monitoring=False,
        run_history=False,
        footer_links=[],
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        max_file_size=int(options.max_mb * MORE_THAN_A_FILE * MEBI),
        **dress,
    )
    arrivals = Arrivals(parent, jobs, lambda stream: protocol.forget_session(blocks, stream))
    app = Gate(arrivals, options.prefix, storage.root)
    return Endpoint(app, arrivals.close, jobs, storage, processor, harp.source)


def _page(harp: Any, jobs: Jobs, processor: Processor) -> tuple[Any, dict[str, Any]]:
    """The page for people and how it is dressed (theme, css, head), or the smallest page."""
    from harp_app import protocol

    if importlib.util.find_spec("harp_app.page") is None:
        return protocol.plain_page(harp, jobs, processor), {}
    page = importlib.import_module("harp_app.page")
    return page.build(harp, jobs, processor), getattr(page, "dress", dict)()


def run(
    endpoint: Endpoint,
    options: Options,
    listener: socket.socket,
    on_ready: Callable[[], Any] = lambda: None,
    on_server: Callable[[Any], Any] = lambda server: None,
) -> None:
    """Serve ``endpoint`` on ``listener`` until stopped; close it then.

    on_ready: called once connections are taken. on_server: is given the uvicorn server, whose
    ``should_exit`` stops it.
    """
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                on_ready()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            endpoint.jobs.close()  # else their streams would hold the connections open
            endpoint.end_streams()
            await super().shutdown(sockets)
            endpoint.close()

    config = uvicorn.Config(
        endpoint.app,
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=SHUTDOWN_S,
        ssl_certfile=options.tls_cert,
        ssl_keyfile=options.tls_key,
    )
    server = Server(config)
    on_server(server)
    try:
        server.run(sockets=[listener])
    finally:
        endpoint.close()


def announcement(options: Options, port: int) -> list[str]:
    """Return the lines that tell what to paste into HARP, and who else may come in."""
    scheme = "https" if options.tls_cert else "http"
    host = options.host
    everywhere = host in ("0.0.0.0", "::", "")
    shown = lan_address() if everywhere else host
    lines = [f"Paste this address into HARP: {scheme}://{shown}:{port}{options.prefix}"]
    if everywhere or not _is_loopback(host):
        guard = "who knows the secret word " if options.secret else ""
        lines.append(
            f"Warning: everybody {guard}on the network can reach this endpoint, use this machine "
            "and send it files. Uploads and results are deleted after an hour."
        )
        if not options.secret:
            lines.append("A secret word keeps others out: --secret WORD")
    if ":" in shown:
        lines.append("Warning: HARP takes no IPv6 address; listen on an IPv4 one.")
    return lines


def lan_address() -> str:
    """Return this machine's own IPv4 address in the local network; no packet is sent for it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address of no machine (RFC 5737)
            return probe.getsockname()[0]
        except OSError:
            return LOOPBACK


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _to_stdout(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
