"""Who may come in: the routes that are open, the secret word, the address behind a proxy."""

from __future__ import annotations

import http.client
import json
import os

from fake_endpoint import FakePipeline, running
from harp_client import HarpClient, shown_error, status
from sound_files import clip

from harp_app.jobs.storage import GONE


def test_only_named_routes_are_open(site, client):
    for path in ("/", "/config", "/health", "/theme.css"):
        assert status(site.address, path=path) == 200
    closed = [
        "/docs", "/openapi.json", "/monitoring", "/monitoring/summary", "/gradio_api/openapi.json",
        "/gradio_api/app_id", "/gradio_api/vibe-code", "/gradio_api/proxy=http://127.0.0.1/",
        "/gradio_api/file=/etc/passwd", "/gradio_api/file=http://127.0.0.1:1/", "/../etc/passwd",
        "/gradio_api/file=" + str(site.endpoint.storage.root) + "/../../etc/passwd",
        "/gradio_api/file/etc/passwd", "/static/../../../etc/passwd", "/gradio_api/runs",
    ]  # fmt: skip
    for path in closed:
        assert status(site.address, path=path) in (400, 404), path
    for name in ("run/process", "call/lambda", "call/v2/process", "component_server", "vibe-edit"):
        assert status(site.address, "POST", f"/gradio_api/{name}", b"{}") == 404, name


def test_a_file_of_an_earlier_server_is_told_so_that_the_page_can_show_it(site, client):
    asked = {"data": [{"path": "/tmp/vampnet-harp-old/ab/loop.wav"}], "fn_index": 0}
    join = "/gradio_api/queue/join"
    connection, response = client.request("POST", join, json.dumps(asked).encode())
    assert response.status == 400 and json.loads(response.read()) == {"detail": GONE}
    assert (response.getheader("content-type") or "").startswith("application/json")
    connection.close()
    connection, response = client.request("POST", join, b"{")
    assert response.status == 400 and response.read() == b"The request is not JSON."
    connection.close()


def test_a_secret_word_is_the_only_door(harp, tmp_path):
    with running(FakePipeline(), secret="s3cret-word") as site:
        client = HarpClient(site.address)
        assert site.address.endswith("/s3cret-word")
        client.load()
        [(name, content)], _ = client.process(clip(tmp_path))
        assert content and status(site.address, path="/health") == 200
        outside = site.address.removesuffix("/s3cret-word")
        for path in ("/", "/health", "/config", "/gradio_api/info", "/s3cret-wordy", "/s3cret"):
            assert status(outside, path=path) == 404
        assert status(outside, "POST", "/gradio_api/call/controls", b'{"data":[]}') == 404


def test_behind_a_proxy_results_have_its_address(harp, tmp_path):
    with running(FakePipeline(), root_path="https://example.org/vamp", secret="word") as site:
        client = HarpClient(site.address)
        client.load()
        files, _ = client.outcome(client.start(client.upload(clip(tmp_path)), client.values()))
        assert files[0]["url"].startswith("https://example.org/vamp/word/gradio_api/file=")


def test_a_page_in_a_sub_path_finds_its_manifest_beside_itself(harp):
    with running(FakePipeline(), secret="s3cret-word") as site:
        client = HarpClient(site.address)
        connection, response = client.request("GET", "/")
        page = response.read().decode()
        connection.close()
        assert 'rel="manifest"' in page and 'href="/' not in page
        assert status(site.address, path="/manifest.json") == 200


def test_an_upload_that_would_fill_the_disk_is_refused(harp, tmp_path):
    with running(FakePipeline(), max_total_mb=0.2) as site:
        client = HarpClient(site.address)
        client.load()
        first = clip(tmp_path, "first.wav", seconds=0.6)  # about 0.1 MiB
        client.upload(first)
        second = clip(tmp_path, "second.wav", seconds=0.7)
        assert "Failed to upload" in shown_error(client.upload, second)
        os.utime(next(site.endpoint.storage.root.rglob("first.wav")), (0, 0))
        site.endpoint.storage.sweep()
        assert client.upload(second)


def test_an_upload_of_unknown_or_too_great_length_is_refused_at_once(site, client):
    for length in (None, str(10**12)):
        connection = http.client.HTTPConnection(client.host, client.port, timeout=5)
        connection.putrequest("POST", "/gradio_api/upload")
        connection.putheader("Content-Type", "multipart/form-data; boundary=x")
        if length is None:
            connection.putheader("Transfer-Encoding", "chunked")
        else:
            connection.putheader("Content-Length", length)
        connection.endheaders()
        assert connection.getresponse().status == 413
        connection.close()
