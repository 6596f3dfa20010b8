"""Which web pages may talk to the endpoint: its own only, and by a name that is this machine's.

Any page in the browser of somebody who runs the endpoint could post a file to 127.0.0.1 (Origin),
or reach it through a name of its own that suddenly leads there (DNS rebinding: Host). HARP and
other programs send no Origin.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

FOREIGN_PAGE = "Open the page under its own address: requests of other web pages are refused."
FOREIGN_HOST = (
    "Open it as http://127.0.0.1 or http://localhost. Where a proxy shows it under another name, "
    "start it with --root-path https://NAME."
)


def refusal(headers: Iterable[tuple[bytes, bytes]], hosts: frozenset[str] | None) -> str | None:
    """Return why a request is refused, by its headers; None when it may pass.

    hosts: names under which it may be asked besides this machine's own; None = any name.
    """
    found = {name.lower(): value.decode("latin-1") for name, value in headers}
    host = found.get(b"host", "")
    if hosts is not None and not (is_loopback(_name(host)) or _name(host) in hosts):
        return FOREIGN_HOST
    origin = found.get(b"origin")
    if origin is None:
        return None
    return None if _is_own(origin, found, hosts) else FOREIGN_PAGE


def _is_own(origin: str, headers: Mapping[bytes, str], hosts: frozenset[str] | None) -> bool:
    parts = urlsplit(origin)
    if parts.scheme not in ("http", "https") or not parts.netloc:  # "null" is anybody
        return False
    if hosts and parts.hostname in hosts:
        return True
    # A page cannot set X-Forwarded-Host on a request to another site without asking first.
    shown = (headers.get(b"host", ""), headers.get(b"x-forwarded-host", ""))
    return _address(parts.netloc, parts.scheme) in [_address(s, parts.scheme) for s in shown if s]


def _address(netloc: str, scheme: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{netloc}")
        return parts.hostname or "", parts.port or (443 if scheme == "https" else 80)
    except ValueError:
        return "", 0


def _name(netloc: str) -> str:
    return _address(netloc, "http")[0]


def is_loopback(host: str) -> bool:
    """Return True for a name or address by which only this machine reaches itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
