"""The official weights: download on the user's request, and the folder they are stored in.

The only file of the library that opens a connection, and only in :func:`pull` and, for models that
other packages read, :func:`fetch_repository`. The hub's listing has each file's size and SHA-256; a
file gets its final name once both match, coarse.pth last, so that a folder with it is complete.
A folder has the layout of the original's.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

from vampnet.system.errors import UserError
from vampnet.system.hashes import sha256
from vampnet.system.optional import require

HUB = "https://huggingface.co"  # HF_ENDPOINT names another, such as a mirror
ORIGINAL = "original"
SOURCES = {ORIGINAL: "hugggof/vampnet"}  # model name -> repository on the hub
LICENCE = "CC BY-NC-SA 4.0 (not for commercial use)"
FILES = ("codec.pth", "c2f.pth", "coarse.pth")
LAST = FILES[-1]
LORA = re.compile(rf"loras/(\w[\w .-]*)/{re.escape(LAST)}")
BLOCK = 1 << 18  # bytes read at a time
MAX_LISTING = 1 << 24  # bytes
TIMEOUT_S = 30.0  # without a single byte
RESUME_HINT = "received data is kept; run the same command again to resume"


class DownloadError(UserError):
    """Weights could not be downloaded; the text has the reason."""


@dataclass(frozen=True)
class HubFile:
    """A file as listed by the hub.

    Attributes:
        path: in the repository.
        url: address.
        size: bytes.
        sha256: hexadecimal.
    """

    path: str
    url: str
    size: int
    sha256: str


# Installed models --------------------------------------------------------------------------------


def models_folder() -> Path:
    """Return the folder of the user's models: VAMPNET_MODELS, else one in the system's cache."""
    if os.environ.get("VAMPNET_MODELS"):
        return Path(os.path.expanduser(os.environ["VAMPNET_MODELS"]))
    if sys.platform == "win32":
        cache = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        cache = "~/Library/Caches"
    else:
        cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.path.expanduser(cache)) / "vampnet" / "models"


def installed_models() -> dict[str, Path]:
    """Return the models in :func:`models_folder` by name; fine-tuned ones are NAME-LORA."""
    root = models_folder()
    complete = sorted([*root.glob(f"*/{LAST}"), *root.glob("*/config.json")])
    models = {file.parent.name: file.parent for file in complete}
    for file in sorted(root.glob(f"*/loras/*/{LAST}")):
        models.setdefault(f"{file.parents[2].name}-{file.parent.name}", file.parent)
    return models


# The hub -----------------------------------------------------------------------------------------


def pull(
    name: str = ORIGINAL,
    lora: str | None = None,
    *,
    on_bytes: Callable[[int, int], None] = lambda done, total: None,
    say: Callable[[str], None] = lambda line: None,
) -> str:
    """Download codec, coarse and c2f model, and the fine-tuned `lora`; return the local name.

    Valid files that exist are kept, and partial files are resumed.

    Args:
        name: a key of SOURCES.
        lora: name of a fine-tuned model of that repository, to download too.
        on_bytes: called as ``on_bytes(done, total)`` with the bytes received.
        say: called with lines of text: licence, sizes, files.

    Raises:
        DownloadError: with the reason.
    """
    if name not in SOURCES:
        raise DownloadError(f"no official weights '{name}'; there are: {', '.join(SOURCES)}")
    revision, listed = _listing(SOURCES[name])
    wanted, folder = _wanted(listed, lora), models_folder() / name
    missing = [file for file in wanted if not _is_good(folder / file.path, file)]
    say(f"{SOURCES[name]}, licence: {LICENCE}")
    total = sum(file.size for file in missing)
    say(f"{len(wanted) - len(missing)} of {len(wanted)} files are in {folder}")
    if missing:
        say(f"downloading {', '.join(file.path for file in missing)}: {total / 1e6:.1f} MB")
    before = 0
    try:
        for file in missing:
            _fetch(file, folder / file.path, lambda n, before=before: on_bytes(before + n, total))
            before += file.size
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped; {RESUME_HINT}") from None
    source = f"{SOURCES[name]}, revision {revision}\nLicence: {LICENCE}\n"
    (folder / "SOURCE.txt").write_text(source, encoding="utf-8")
    return f"{name}-{lora}" if lora else name


def _listing(repository: str) -> tuple[str, dict[str, HubFile]]:
    """The latest revision of a repository and its large files by path."""
    hub = (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
    if urlsplit(hub).scheme not in ("http", "https"):
        raise DownloadError(f"HF_ENDPOINT is '{hub}'; it must begin with https:// or http://")
    url = f"{hub}/api/models/{repository}?blobs=true"
    with _open(url) as response:
        answer = b"".join(_blocks(response, url, MAX_LISTING))
    try:
        content = json.loads(answer)
        revision = _hex(content["sha"], 40)
        place = f"{hub}/{repository}/resolve/{revision}"
        siblings = content["siblings"]
        large = [(entry["rfilename"], entry["lfs"]) for entry in siblings if entry.get("lfs")]
        files = {
            path: HubFile(path, f"{place}/{quote(path)}", int(lfs["size"]), _hex(lfs["sha256"], 64))
            for path, lfs in large
        }
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise DownloadError(f"{_host(url)} did not answer with a list of files") from error
    return revision, files


def _hex(text: str, digits: int) -> str:
    if not re.fullmatch(rf"[0-9a-f]{{{digits}}}", text):
        raise UserError(f"'{text}' is not {digits} hexadecimal digits")
    return text


def _wanted(listed: Mapping[str, HubFile], lora: str | None) -> list[HubFile]:
    """The files to download, those of the fine-tuned model after the main ones."""
    absent = [path for path in FILES if path not in listed]
    if absent:
        raise DownloadError(f"the hub has no {', '.join(absent)}")
    paths = list(FILES)
    if lora is not None:
        known = sorted(match[1] for path in listed if (match := LORA.fullmatch(path)))
        if lora not in known:
            raise DownloadError(f"no lora '{lora}'; there are: {', '.join(known) or 'none'}")
        own = [f"loras/{lora}/{file}" for file in FILES]
        paths += [path for path in own if path in listed]
    return [listed[path] for path in paths]


def fetch_repository(name: str, files: Sequence[str]) -> Path:
    """Download files of any repository, for models that another package reads.

    They are downloaded and cached by huggingface_hub, a dependency of such packages.

    Args:
        name: OWNER/NAME or OWNER/NAME@REVISION.
        files: patterns such as "*.json".

    Returns:
        The folder of the files.

    Raises:
        DownloadError: with the reason.
    """
    repository, _, revision = name.partition("@")
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", repository):
        raise DownloadError(f"'{name}' is neither a folder nor OWNER/NAME on the hub")
    require("huggingface_hub", extra="clap", purpose="fetching a repository")
    from huggingface_hub import snapshot_download

    hub = os.environ.get("HF_ENDPOINT") or HUB
    try:
        return Path(
            snapshot_download(
                repository,
                revision=revision or None,
                allow_patterns=list(files),
                endpoint=hub.rstrip("/"),
            )
        )
    except (OSError, ValueError) as error:  # unknown name, no connection, disk full
        reason = str(error).strip().partition("\n")[0]
        raise DownloadError(
            f"'{name}' is not a folder, and cannot be downloaded from {urlsplit(hub).netloc}: "
            f"{reason}"
        ) from error


# One file ----------------------------------------------------------------------------------------


def _fetch(file: HubFile, target: Path, tick: Callable[[int], None]) -> None:
    """Download one file, resuming an earlier call; ``tick`` gets the bytes so far."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.{file.sha256[:12]}.part")
    have = part.stat().st_size if part.exists() else 0
    if have == file.size:
        tick(have)
    else:
        _receive(file, part, have if have < file.size else 0, tick)
    digest = sha256(part)
    if digest != file.sha256:
        part.unlink()
        raise DownloadError(
            f"{file.path} is damaged and was removed: its SHA-256 is {digest}, "
            f"the hub lists {file.sha256}; pull again"
        )
    os.replace(part, target)
    for stale in target.parent.glob(f"{target.name}.*.part"):  # of an earlier version
        stale.unlink()


def _receive(file: HubFile, part: Path, start: int, tick: Callable[[int], None]) -> None:
    """Append the file's bytes from `start` on to `part`."""
    with _open(file.url, start) as response:
        span = response.headers.get("Content-Range", "")
        if response.status != 206 or not span.startswith(f"bytes {start}-"):
            start = 0  # the response is the whole file
        with part.open("ab" if start else "wb") as out:
            for block in _blocks(response, file.url, file.size - start):
                start += out.write(block)
                tick(start)
    if start < file.size:
        raise DownloadError(
            f"the connection broke after {start} of {file.size} bytes of {file.path}; {RESUME_HINT}"
        )


def _open(url: str, start: int = 0) -> HTTPResponse:
    """The response to a request for the bytes from `start` on."""
    headers = {"User-Agent": "vampnet-harp"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        return urlopen(Request(url, headers=headers), timeout=TIMEOUT_S)
    except HTTPError as error:
        error.close()
        what = f"{error.code} {error.reason}".strip()
        raise DownloadError(f"{_host(url)} answered {what} for {urlsplit(url).path}") from error
    except (OSError, HTTPException, ValueError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        raise DownloadError(f"{_host(url)} cannot be reached: {reason}") from error


def _blocks(response: HTTPResponse, url: str, limit: int) -> Iterator[bytes]:
    """At most `limit` bytes of a response, in blocks."""
    while limit > 0:
        try:
            block = response.read(min(BLOCK, limit))
        except (OSError, HTTPException) as error:
            raise DownloadError(f"the connection to {_host(url)} broke; {RESUME_HINT}") from error
        if not block:
            return
        limit -= len(block)
        yield block


def _host(url: str) -> str:
    return urlsplit(url).netloc


def _is_good(path: Path, file: HubFile) -> bool:
    return path.is_file() and path.stat().st_size == file.size and sha256(path) == file.sha256
