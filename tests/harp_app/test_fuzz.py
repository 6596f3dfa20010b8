"""Requests that no client of ours sends: answered in words, no traceback, no foreign file."""

from __future__ import annotations

import http.client
import json
import random
import string
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fake_endpoint import FakePipeline, running
from harp_client import HarpClient, HarpError

ROUNDS = 250
CANARY = "canary-7f3a"


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a file that must stay untold and untouched."""
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "secret.txt").write_text(CANARY)
    sound = 0.1 * np.random.default_rng(0).standard_normal((8000, 1))
    soundfile.write(folder / "outside.wav", sound, 44100)
    return folder


@pytest.fixture(scope="module")
def site():
    with running(FakePipeline()) as made:
        yield made


@pytest.fixture
def client(site):
    made = HarpClient(site.address)
    made.load()
    return made


def odd_text(rng: random.Random) -> str:
    alphabet = string.printable + "\u00fc\u4e2d\U0001f3b5\u202e\x00\x1b\ufeff\u2028"
    return "".join(rng.choice(alphabet) for _ in range(rng.choice([0, 1, 5, 40, 600])))


def odd_value(rng: random.Random, depth: int = 0):
    simple = [
        None, True, False, 0, -1, 1e308, -1e308, 2**63, 2**200, 0.34999999, "", "default", "1-2",
        "loop-variation", "../../etc/passwd", "/etc/passwd", "http://127.0.0.1:1/x", "NaN", [], {},
        float("nan"), float("inf"), odd_text(rng), {"__type__": "update", "value": 3},
    ]  # fmt: skip
    if depth < 2 and rng.random() < 0.2:
        return [odd_value(rng, depth + 1) for _ in range(rng.randrange(3))]
    return rng.choice(simple)


def odd_file(rng: random.Random, place: Path, uploaded: str):
    path = rng.choice([
        *[uploaded] * 8, str(place / "outside.wav"), str(place / "secret.txt"), "/etc/passwd", "",
        "\x00", "../" * 9 + "etc/passwd", uploaded + "/../../x", "http://127.0.0.1:9/a.wav",
        odd_text(rng), "file:///etc/passwd", "https://example.org/a.wav", str(place), 7, None,
        ["x"], "/dev/zero",
    ])  # fmt: skip
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    extra = {
        "url": "http://127.0.0.1:9/",
        "orig_name": "../../x.wav",
        "size": -1,
        "is_stream": True,
    }
    for key, value in extra.items():
        if rng.random() < 0.3:
            file[key] = value
    if rng.random() < 0.1:
        file.pop("meta")
    return rng.choice([file, file, file, None, path, odd_value(rng)])


def send(client: HarpClient, method: str, path: str, body: bytes = b"", kind="application/json"):
    connection = http.client.HTTPConnection(client.host, client.port or 80, timeout=10)
    connection.request(method, path, body, {"Content-Type": kind})
    response = connection.getresponse()
    content = response.read().decode("utf-8", "replace")
    connection.close()
    return response.status, content


def assert_harmless(text: str, place: Path, root: Path) -> None:
    for mark in ("Traceback", CANARY, "root:", 'File "', str(place), str(root), "site-packages"):
        assert mark not in text, text[:500]


def test_odd_process_requests_are_answered_in_words(client, site, place, tmp_path):
    rng = random.Random(1)
    root = site.endpoint.storage.root
    before = {path: path.read_bytes() for path in place.iterdir()}
    uploaded = client.upload(place / "outside.wav")
    outcomes = {"sound": 0, "words": 0, "refused": 0}
    for _ in range(ROUNDS):
        values = client.values()
        for _ in range(rng.choice([0, 1, 1, 2, len(values)])):
            values[rng.randrange(len(values))] = odd_value(rng)
        if rng.random() < 0.1:
            values = values[: rng.randrange(len(values))]
        data = [odd_file(rng, place, uploaded), *values]
        body = rng.choice([{"data": data}, {"data": data, "session_hash": odd_text(rng)}])
        status, text = send(client, "POST", "/gradio_api/call/process", json.dumps(body).encode())
        assert status < 500, text
        # FastAPI's refusal repeats the request, its paths too; look at what is ours.
        if status != 200:
            assert_harmless(text.replace(str(place), ""), place, root)
            outcomes["refused"] += 1
            continue
        try:
            answer = client.stream("process", json.loads(text)["event_id"], timeout=10)
            name = json.loads(answer)[0]["path"]
            assert Path(name).is_relative_to(root)
            outcomes["sound"] += 1
        except HarpError as error:
            assert_harmless(error.text, place, root)
            assert "{" not in error.text and "\n" not in error.text and "/" not in error.text
            outcomes["words"] += 1
    assert {path: path.read_bytes() for path in place.iterdir()} == before
    assert all(outcomes.values()), outcomes
    client.process(place / "outside.wav")


def test_odd_bodies_and_routes(client, site, place):
    rng = random.Random(2)
    root = site.endpoint.storage.root
    routes = [
        "/", "/config", "/health", "/gradio_api/call/process", "/gradio_api/call/controls",
        "/gradio_api/call/cancel", "/gradio_api/upload", "/gradio_api/queue/join",
        "/gradio_api/queue/data", "/gradio_api/call/process/abc", "/gradio_api/call/controls/abc",
        "/gradio_api/cancel", "/gradio_api/reset", "/gradio_api/file=x", "/gradio_api/heartbeat/a",
        "/gradio_api/upload_progress?upload_id=x", "/gradio_api/queue/data?session_hash=%00",
        "/gradio_api/file=" + str(place / "secret.txt"), "/assets/../../secret.txt",
        "/gradio_api/file=" + str(root) + "/%2e%2e/%2e%2e/etc/passwd", "/static/%2e%2e/x",
    ]  # fmt: skip
    bodies = [
        b"", b"{", b"[]", b"null", b'{"data": 3}', b'{"data": {}}', b'{"data": [[[[[]]]]]}',
        b'{"fn_index": 1, "data": [], "session_hash": "x"}', b'{"fn_index": 99999, "data": []}',
        b"\xff\xfe\x00", b'{"event_id": null}', b"9" * 2000, b'{"data": [' + b"[" * 5000,
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="../e"\r\n\r\nx\r\n--x--',
        b'--x\r\nContent-Disposition: form-data; name="files"\r\n\r\n', b"--x--",
    ]  # fmt: skip
    kinds = ["application/json", "multipart/form-data; boundary=x", "text/plain", ""]
    for route in routes:
        if "heartbeat" not in route:  # that one never ends
            status, text = send(client, "GET", route)
            assert status < 500, (route, text)
            assert_harmless(text, place, root) if "config" not in route and route != "/" else None
    for _ in range(ROUNDS):
        route, body, kind = rng.choice(routes), rng.choice(bodies), rng.choice(kinds)
        method = rng.choice(["POST", "POST", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
        status, text = send(client, method, route, body, kind)
        assert_harmless(text.replace(str(root), "") if "upload" in route else text, place, root)
        assert status < 500 or "Something went wrong" in text, (method, route, body, status, text)
    assert client.load()


def test_uploads_stay_in_the_private_folder(client, site, place):
    root = site.endpoint.storage.root
    for name in (
        "../../evil.wav",
        "/etc/evil.wav",
        "a/b.wav",
        "..",
        "x" * 300 + ".wav",
        "\\..\\e.wav",
    ):
        try:
            path = client.upload(place / "outside.wav", name)
        except HarpError:
            continue
        assert Path(path).resolve().is_relative_to(root)
    assert not (root.parent / "evil.wav").exists()


def test_too_much_is_refused_at_the_door(place):
    with running(FakePipeline(), max_mb=0.01) as site:
        client = HarpClient(site.address)
        client.load()
        big = place / "outside.wav"
        assert big.stat().st_size > 0.0125 * 2**20
        with pytest.raises(HarpError, match="Failed to upload"):
            client.upload(big)
        status, text = send(client, "POST", "/gradio_api/call/process", b" " * (2 << 20))
        assert (status, text) == (413, "The request is too long.")
