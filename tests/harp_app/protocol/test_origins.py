"""Web pages of others, and names that only seem to be this machine's, are kept out."""

from __future__ import annotations

import json

import pytest
from fake_endpoint import FakePipeline, running
from harp_client import HarpClient

from harp_app.protocol.origins import refusal


def answered(client: HarpClient, method: str, path: str, **headers: str) -> int:
    body = json.dumps({"data": []}).encode() if method == "POST" else None
    sent = {"Content-Type": "application/json"} if body else {}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection, response = client.request(method, path, body, sent)
    response.read()
    connection.close()
    return response.status


def test_a_web_page_of_another_site_can_post_and_upload_nothing(site, client):
    controls = "/gradio_api/call/controls"
    own = f"http://127.0.0.1:{client.port}"
    assert answered(client, "POST", controls) == 200  # HARP sends no Origin
    assert answered(client, "POST", controls, Origin=own) == 200
    for origin in ("https://evil.example", "null", f"http://127.0.0.1:{client.port + 1}", "x"):
        for path in (controls, "/gradio_api/upload", "/gradio_api/queue/join"):
            assert answered(client, "POST", path, Origin=origin) == 403, (origin, path)
        assert answered(client, "GET", "/config", Origin=origin) == 403


def test_on_loopback_another_name_of_this_machine_is_refused(site, client):
    for host in ("evil.example", f"evil.example:{client.port}", "127.0.0.1.evil.example", ""):
        assert answered(client, "GET", "/config", Host=host) == 403, host
    for host in ("localhost", f"localhost:{client.port}", "127.0.0.1:1", "[::1]:7860"):
        assert answered(client, "GET", "/config", Host=host) == 200, host


@pytest.mark.parametrize("root_path", ["https://vamp.example.org", "https://vamp.example.org/x"])
def test_behind_a_proxy_its_name_is_this_machines_too(root_path):
    with running(FakePipeline(), root_path=root_path) as site:
        client = HarpClient(site.address)
        name = {"Host": "vamp.example.org", "Origin": "https://vamp.example.org"}
        assert answered(client, "POST", "/gradio_api/call/controls", **name) == 200
        assert answered(client, "GET", "/config", Host="evil.example") == 403


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({"host": "a.example", "origin": "https://a.example"}, True),
        ({"host": "a.example:443", "origin": "https://a.example"}, True),
        ({"host": "A.example", "origin": "https://a.example:443"}, True),
        ({"host": "a.example", "origin": "http://a.example:8080"}, False),
        ({"host": "10.0.0.5:7860", "x-forwarded-host": "a.example", "origin": "https://a.example"},
         True),
        ({"host": "a.example", "origin": "https://b.example"}, False),
        ({"host": "a.example:x", "origin": "https://a.example"}, False),
        ({"origin": "https://a.example"}, False),
    ],
)  # fmt: skip
def test_on_the_network_a_page_may_talk_to_where_it_came_from(headers, passes):
    sent = [(name.encode(), value.encode()) for name, value in headers.items()]
    assert (refusal(sent, None) is None) is passes
