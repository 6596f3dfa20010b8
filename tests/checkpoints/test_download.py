"""Downloading weights from a local hub on 127.0.0.1: complete, interrupted, damaged, missing."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from places import GOLDEN

from harp_app.jobs.model_cache import Models
from vampnet import checkpoints, cli
from vampnet.checkpoints import download
from vampnet.checkpoints.download import DownloadError, pull

REVISION = "0123456789abcdef0123456789abcdef01234567"
PLACE = f"/hugggof/vampnet/resolve/{REVISION}/"
MAIN = ["codec.pth", "c2f.pth", "coarse.pth"]
TINY = "loras/tiny/coarse.pth"


@dataclass
class Hub:
    """A hub in memory: its files, what it was asked for, and what goes wrong."""

    files: dict[str, bytes]
    asked: list[tuple[str, str | None]] = field(default_factory=list)  # path, Range
    break_after: dict[str, int] = field(default_factory=dict)  # path -> bytes sent, once
    corrupt: set[str] = field(default_factory=set)  # sent with a byte changed
    gone: set[str] = field(default_factory=set)  # listed, yet 404
    ranges: bool = True
    listing: bytes | None = None

    def fetched(self) -> list[str]:
        """Paths of the weight files asked for, in order, forgotten afterwards."""
        paths = [path for path, _ in self.asked if not path.startswith("/api/")]
        self.asked.clear()
        return paths

    def answer(self) -> bytes:
        """The answer of the hub's API."""
        siblings: list[dict] = [{"rfilename": "README.md", "size": 9}]
        for path, content in self.files.items():
            lfs = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
            siblings.append({"rfilename": path, "size": len(content), "lfs": lfs})
        return json.dumps({"sha": REVISION, "siblings": siblings}).encode()


class Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_GET(self) -> None:
        hub, path = self.hub, self.path.removeprefix("/cdn/")
        if self.path == "/api/models/hugggof/vampnet?blobs=true":
            hub.asked.append((self.path, None))
            return self.send(200, hub.listing if hub.listing is not None else hub.answer())
        if self.path.startswith(PLACE):  # weights lie elsewhere, as on the real hub
            self.send_response(302)
            self.send_header("Location", "/cdn/" + self.path.removeprefix(PLACE))
            self.send_header("Content-Length", "0")
            return self.end_headers()
        hub.asked.append((path, self.headers.get("Range")))
        if path not in hub.files or path in hub.gone:
            return self.send(404, b"not here")
        content, start = hub.files[path], 0
        if path in hub.corrupt:
            content = content[:100] + bytes([content[100] ^ 1]) + content[101:]
        if hub.ranges and (span := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))):
            start = int(span[1])
        self.send(206 if start else 200, content, start, hub.break_after.pop(path, None))

    def send(self, status: int, content: bytes, start: int = 0, cut: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content) - start))
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        self.wfile.write(content[start:] if cut is None else content[start : start + cut])
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Iterator[Hub]:
    """A hub with the small golden weights, and an empty folder for the user's models."""
    files = {path: (GOLDEN / path).read_bytes() for path in (*MAIN, TINY)}
    hub = Hub(files)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("VAMPNET_MODELS", str(tmp_path / "models"))
    yield hub
    server.shutdown()
    server.server_close()
    thread.join()


def tree(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_a_complete_download_is_found_everywhere(hub, tmp_path, capsys):
    assert download.installed_models() == {}
    assert cli.main(["models", "pull"]) == cli.OK
    shown = capsys.readouterr()
    assert "CC BY-NC-SA 4.0" in shown.err and "100 %" in shown.err
    assert shown.out == "use it with --model original\n"
    folder = tmp_path / "models" / "original"
    assert tree(folder) == {*MAIN, "SOURCE.txt"}
    assert all((folder / path).read_bytes() == hub.files[path] for path in MAIN)
    assert REVISION in (folder / "SOURCE.txt").read_text()
    assert checkpoints.resolve("original") == folder
    assert checkpoints.load_folder(folder).c2f is not None
    assert list(checkpoints.models()).index("default") == 0
    assert cli.main(["models"]) == cli.OK
    assert re.search(r"^original +[1-9][\d.]* MB", capsys.readouterr().out, re.MULTILINE)
    assert Models().names == ("default", "original")
    given = tmp_path / "given" / "original"
    given.mkdir(parents=True)
    (given / "codec.pth").touch()
    asked = []
    models = Models(given.parent, load=lambda place, device: asked.append(place))  # type: ignore
    models.get("original")
    assert asked == [str(given)]  # a folder that the user names goes before


def test_valid_files_are_kept_and_damaged_ones_downloaded_again(hub, tmp_path):
    assert pull() == "original" and hub.fetched() == MAIN
    assert pull() == "original" and hub.fetched() == []
    coarse = tmp_path / "models" / "original" / "coarse.pth"
    content = bytearray(coarse.read_bytes())
    content[50] ^= 1
    coarse.write_bytes(content)
    pull()
    assert hub.fetched() == ["coarse.pth"] and coarse.read_bytes() == hub.files["coarse.pth"]


def test_a_lora_comes_with_its_base(hub, tmp_path, capsys):
    assert cli.main(["models", "pull", "original", "--lora", "tiny"]) == cli.OK
    assert "--model original-tiny" in capsys.readouterr().out
    assert hub.fetched() == [*MAIN, TINY]
    folder = checkpoints.resolve("original-tiny")
    assert folder == tmp_path / "models" / "original" / "loras" / "tiny"
    assert checkpoints.load_folder(folder).coarse.config.embedding_dim == 16
    assert Models().names == ("default", "original", "original-tiny")
    for name in ("opera", "../tiny", ".."):
        with pytest.raises(DownloadError, match="there are: tiny"):
            pull(lora=name)
    with pytest.raises(DownloadError, match="no official weights 'other'; there are: original"):
        pull("other")


@pytest.mark.parametrize("ranges", [True, False])
def test_an_interrupted_download_is_resumed(hub, tmp_path, capsys, ranges):
    hub.ranges = ranges
    hub.break_after["c2f.pth"] = 1000
    assert cli.main(["models", "pull"]) == cli.FAILED
    error = capsys.readouterr().err.splitlines()[-1]
    assert "broke" in error and "again to resume" in error
    folder = tmp_path / "models" / "original"
    (part,) = folder.glob("*.part")
    assert part.read_bytes() == hub.files["c2f.pth"][:1000]
    assert "original" not in checkpoints.models()  # half a model is none
    seen = []
    hub.asked.clear()
    pull(on_bytes=lambda done, total: seen.append((done, total)))
    assert ("c2f.pth", "bytes=1000-") in hub.asked and hub.fetched() == MAIN[1:]
    assert seen[-1][0] == seen[-1][1] == sum(len(hub.files[path]) for path in MAIN[1:])
    assert tree(folder) == {*MAIN, "SOURCE.txt"}
    assert all((folder / path).read_bytes() == hub.files[path] for path in MAIN)


def test_ctrl_c_keeps_the_received_bytes(hub, tmp_path, monkeypatch, capsys):
    def stop(self, done, total):
        raise KeyboardInterrupt

    monkeypatch.setattr("vampnet.cli.progress.Progress.__call__", stop)
    assert cli.main(["models", "pull"]) == cli.INTERRUPTED
    assert "again to resume" in capsys.readouterr().err.splitlines()[-1]
    assert list((tmp_path / "models" / "original").glob("codec.pth.*.part"))


def test_a_complete_part_needs_no_more_bytes(hub, tmp_path):
    content, folder = hub.files["codec.pth"], tmp_path / "models" / "original"
    folder.mkdir(parents=True)
    (folder / f"codec.pth.{hashlib.sha256(content).hexdigest()[:12]}.part").write_bytes(content)
    pull()
    assert hub.fetched() == MAIN[1:] and tree(folder) == {*MAIN, "SOURCE.txt"}


def test_a_part_of_another_version_is_not_continued(hub, tmp_path):
    hub.break_after["coarse.pth"] = 1000
    with pytest.raises(DownloadError):
        pull()
    hub.files["coarse.pth"] = hub.files[TINY]
    hub.asked.clear()
    pull()
    assert ("coarse.pth", None) in hub.asked
    assert tree(tmp_path / "models" / "original") == {*MAIN, "SOURCE.txt"}


@pytest.mark.parametrize("broken", [False, True])
def test_a_wrong_hash_removes_the_file(hub, tmp_path, capsys, broken):
    hub.corrupt.add("codec.pth")
    if broken:  # the damage is in the first part
        hub.break_after["codec.pth"] = 1000
        with pytest.raises(DownloadError, match="broke"):
            pull()
        hub.corrupt.clear()
        capsys.readouterr()
    assert cli.main(["models", "pull"]) == cli.FAILED
    error = capsys.readouterr().err.splitlines()[-1]
    assert "codec.pth is damaged and was removed" in error
    assert hashlib.sha256(hub.files["codec.pth"]).hexdigest() in error
    assert tree(tmp_path / "models") == set()
    hub.corrupt.clear()
    assert pull() == "original"


def test_what_the_hub_does_not_have(hub, tmp_path, capsys):
    hub.gone.add("c2f.pth")
    assert cli.main(["models", "pull"]) == cli.FAILED
    error = capsys.readouterr().err.splitlines()[-1]
    assert "answered 404" in error and "c2f.pth" in error
    hub.gone.clear()
    del hub.files["c2f.pth"]
    with pytest.raises(DownloadError, match=r"the hub has no c2f\.pth"):
        pull()


@pytest.mark.parametrize(
    "listing",
    [
        b"",
        b"<html>Sign in to the hotel's network</html>",
        b"[]",
        b'{"sha": "main", "siblings": []}',
        json.dumps(
            {"sha": REVISION, "siblings": [{"rfilename": "a", "lfs": {"size": 1}}]}
        ).encode(),
        json.dumps(
            {"sha": REVISION, "siblings": [{"rfilename": "a", "lfs": {"size": 1, "sha256": "/.."}}]}
        ).encode(),
    ],
)
def test_an_answer_that_is_not_a_listing(hub, tmp_path, listing):
    hub.listing = listing
    with pytest.raises(DownloadError, match="did not answer with a list of files"):
        pull()
    assert not (tmp_path / "models").exists()


def test_a_missing_network_is_a_one_line_error(monkeypatch, tmp_path, capsys):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # nobody listens: refused
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{held.getsockname()[1]}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("VAMPNET_MODELS", str(tmp_path / "models"))
        assert cli.main(["models", "pull"]) == cli.FAILED
    (error,) = capsys.readouterr().err.splitlines()
    assert "cannot be reached" in error and "refused" in error.lower()
    assert not (tmp_path / "models").exists()
    monkeypatch.setenv("HF_ENDPOINT", "file:///etc")
    with pytest.raises(DownloadError, match="must begin with https"):
        pull()


def test_nothing_else_opens_a_connection(hub, tmp_path):
    pull()
    hub.asked.clear()
    checkpoints.models()
    checkpoints.load_folder(checkpoints.resolve("original"))
    Models()
    with pytest.raises(ValueError, match="models pull` fetches it"):
        shutil.rmtree(tmp_path / "models")
        checkpoints.resolve("original")
    assert hub.asked == []


def test_the_folder_of_the_users_models(monkeypatch, tmp_path):
    assert download.models_folder().name == "no-models"
    for name in ("VAMPNET_MODELS", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    caches = {"linux": ".cache", "darwin": "Library/Caches", "win32": "AppData/Local"}
    for platform, cache in caches.items():
        monkeypatch.setattr(sys, "platform", platform)
        assert download.models_folder() == tmp_path / cache / "vampnet" / "models"
