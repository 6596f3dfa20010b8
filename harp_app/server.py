"""``serve``: the endpoint on a port, safe by default, its weights loaded before the port opens."""

from __future__ import annotations

import dataclasses
import errno
import importlib
import logging
import os
import secrets
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import torch

from harp_app.jobs.model_cache import DEFAULT, Models, load_pipeline
from harp_app.jobs.queue import Jobs
from harp_app.jobs.storage import Storage
from harp_app.options import LOOPBACK, Options
from harp_app.process import ENDPOINT_LIMITS, MEBI, Processor
from harp_app.protocol.origins import is_loopback
from harp_app.protocol.routes import Gate
from vampnet.checkpoints.folders import resolve
from vampnet.model import Sampling
from vampnet.presets import Preset, presets
from vampnet.prompt import Prompt
from vampnet.system.device import choose_device
from vampnet.system.errors import UserError

if TYPE_CHECKING:
    from harp_app.protocol.routes import ASGIApp
    from vampnet.pipeline import Pipeline

log = logging.getLogger(__name__)

MORE_THAN_A_FILE = 1.25  # an upload may be this much larger before the transport refuses it
SHUTDOWN_S = 5
WARM_UP_S = 1.0
RECORDED_STEPS = 3  # of a warm-up: so many that an accelerator's passes are recorded


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

    def close(self) -> None:
        """Stop its jobs and delete its files."""
        self.jobs.close()
        self.storage.close()


def serve(
    *,
    say: Callable[[str], None] | None = None,
    load: Callable[[str, str], Pipeline] = load_pipeline,
    **options: Any,
) -> None:
    """Serve the endpoint until interrupted; fields of :class:`Options` are the options.

    say: is given the lines for the user; standard output by default. load: makes the pipeline of a
    model's name or folder on a device. Raises UserError for options out of range and for a port
    that is taken.
    """
    say = say or _to_stdout
    chosen = Options(**options)
    chosen = replace(chosen, device=choose_device(chosen.device))
    _check_tls(chosen)
    if chosen.model != DEFAULT:
        resolve(chosen.model)
    found = presets(chosen.presets)
    listener = bind(chosen.host, chosen.port)
    try:
        start = time.monotonic()
        models = Models(chosen.models, chosen.model, chosen.device, load)
        disable_telemetry()
        importing = threading.Thread(
            target=importlib.import_module, args=("harp_app.protocol.middleware",)
        )
        importing.start()  # gradio's import takes about as long as the weights
        warm_up(models)
        importing.join()
        endpoint = build(chosen, models, found)
        try:
            if torch.device(chosen.device).type != "cpu":  # their libraries set up every thread
                endpoint.jobs.in_every_thread(lambda: warm_up(models, RECORDED_STEPS))
            lines = announcement(chosen, listener.getsockname()[1])
            lines.append(f"Model on {chosen.device}.")
            lines.append(f"Ready after {time.monotonic() - start:.1f} s. Stop with Ctrl+C.")
            run(endpoint, chosen, listener, lambda: [say(line) for line in lines])
        finally:
            endpoint.close()
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
    except (OSError, UnicodeError) as error:
        listener.close()
        port_alone = getattr(error, "errno", None) in (errno.EADDRINUSE, errno.EACCES)
        choose = "another port" if port_alone else "an address of this machine, or 0.0.0.0 for all"
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"cannot listen on {host} port {port} ({reason}); choose {choose}"
        ) from error
    return listener


def _check_tls(options: Options) -> None:
    """Raise ValueError, with the file's name, where certificate and key cannot be used."""
    if options.tls_cert is None or options.tls_key is None:
        return
    try:
        for file in (options.tls_cert, options.tls_key):
            open(file, "rb").close()  # the error of the next line names no file
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(options.tls_cert, options.tls_key)
    except ssl.SSLError as error:
        why = error.reason or "swapped, or no PEM files"
        files = f"'{options.tls_cert}' and '{options.tls_key}'"
        raise UserError(f"TLS: {files} are no certificate and its key ({why})") from None
    except OSError as error:
        raise UserError(f"TLS: '{error.filename}' cannot be read ({error.strerror})") from None


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
    storage = Storage(options.keep_s, max_bytes=int(options.max_total_mb * MEBI))
    try:
        disable_telemetry()
        known = found or presets(options.presets)
        jobs = Jobs(options.at_once, options.waiting)
        limits = dataclasses.replace(ENDPOINT_LIMITS, max_duration_s=options.max_seconds)
        processor = Processor(
            models, known, storage.new_folder, limits, options.max_mb, options.takes
        )
        return _assemble(options, jobs, processor, storage)
    except BaseException:
        storage.close()
        raise


def disable_telemetry() -> None:
    """Have gradio send nothing to anybody, nor keep a log of requests for its monitor.

    It reads the environment at its import.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_ANALYTICS_MAX_EVENTS"] = "1"
    os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"] = str(10**9)


def max_upload(options: Options) -> int:
    """Return the bytes of a file at which its upload is cut off, above what a job refuses."""
    return int(options.max_mb * MORE_THAN_A_FILE * MEBI)


def allowed_hosts(options: Options) -> frozenset[str] | None:
    """Return the names besides this machine's own under which it may be asked; None = any.

    Only on loopback can it be known. A proxy shows it under the name in the root path; a root path
    without a name says only that there is one.
    """
    if not is_loopback(options.host):
        return None
    if options.root_path is None:
        return frozenset()
    name = urlsplit(options.root_path).hostname
    return frozenset({name}) if name else None


def _assemble(options: Options, jobs: Jobs, processor: Processor, storage: Storage) -> Endpoint:
    import fastapi
    import gradio as gr

    from harp_app.page import layout as page
    from harp_app.page.theme import theme_options
    from harp_app.protocol import endpoint as protocol
    from harp_app.protocol import gradio_private as private
    from harp_app.protocol.middleware import Arrivals

    private.keep_files_in(storage.root)
    harp = protocol.find_harp()
    log.info("HARP is spoken by %s", harp.source)
    blocks = page.build(harp, jobs, processor)

    storage.on_delete = partial(private.forget_file, blocks)
    parent = fastapi.FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    run = secrets.token_hex(8)  # by which an open page finds out that it is of an earlier one

    @parent.api_route("/health", methods=["GET", "HEAD"])
    async def health() -> dict[str, Any]:
        running, waiting = jobs.counts()
        return {"status": "ok", "running": running, "waiting": waiting, "run": run}

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
        max_file_size=max_upload(options),
        **theme_options(),
    )
    private.calm_queue(blocks)
    private.link_manifest_beside_page()
    arrivals = Arrivals(parent, jobs, partial(private.forget_session, blocks))
    app = Gate(arrivals, options.prefix, storage, max_upload(options), allowed_hosts(options))
    return Endpoint(app, arrivals.close, jobs, storage, processor)


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
    """Return the lines with the address to paste into HARP, and who else may come in."""
    host = options.host
    everywhere = host in ("0.0.0.0", "::", "")
    shown = lan_address() if everywhere else f"[{host}]" if ":" in host else host
    lines = [f"Paste this address into HARP: {harp_address(options, shown, port)}"]
    if options.tls_cert:
        lines.append("NAME is the one in the certificate, with at most two dots in it.")
    if everywhere or not is_loopback(host):
        guard = "who knows the secret word " if options.secret else ""
        lines.append(
            f"Warning: everybody {guard}on the network can reach this endpoint, use this machine "
            f"and send it files. Unused, those are deleted after {options.keep_s:g} s."
        )
        if not options.secret:
            lines.append("A secret word keeps others out: --secret WORD")
    if ":" in shown and not options.tls_cert:
        lines.append("Warning: HARP takes no IPv6 address; listen on an IPv4 one.")
    return lines


def harp_address(options: Options, host: str, port: int) -> str:
    """Return the address in the form that HARP 3.0.1 and newer ones take.

    They read anything with three dots and a port as plain http, and a name only where the text has
    "gradio.live" in it; what stands after "#" is never sent.
    """
    if options.tls_cert is None:
        return f"http://{host}:{port}{options.prefix}"
    at_port = "" if port == 443 else f":{port}"
    return f"https://NAME{at_port}{options.prefix}/#.gradio.live"


def lan_address() -> str:
    """Return this machine's own IPv4 address in the local network; no packet is sent for it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address of no machine (RFC 5737)
            return probe.getsockname()[0]
        except OSError:
            return LOOPBACK


def _to_stdout(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
