"""gradio's own Python client, end to end: it joins the queue instead of calling HARP's routes."""

from __future__ import annotations

import time

import pytest
from fake_endpoint import wait_for
from harp_client import HarpClient
from sound_files import clip


@pytest.fixture
def connected(site, client):
    """A client of gradio's, and the values that HARP would send."""
    gradio_client = pytest.importorskip("gradio_client")
    made = gradio_client.Client(site.address, verbose=False, analytics_enabled=False)
    yield made
    made.close()


def job_of(connected, client: HarpClient, path, **changed):
    from gradio_client import handle_file

    values = client.values(**changed)
    return connected.submit(handle_file(str(path)), *values, api_name="/process")


def test_a_job_of_gradios_client_comes_back_though_nobody_calls_harps_routes(
    connected, client, site, tmp_path, monkeypatch
):
    monkeypatch.setattr(site.endpoint.jobs, "stream_grace_s", 0.5)
    site.pipeline.step_s = 0.05
    file, labels = job_of(connected, client, clip(tmp_path), steps=40).result(timeout=30)
    assert file.endswith(".wav") and labels["labels"]


@pytest.mark.slow
def test_a_job_longer_than_forty_seconds(connected, client, site, tmp_path):
    site.pipeline.step_s = 0.7
    start = time.monotonic()
    file, _ = job_of(connected, client, clip(tmp_path), steps=60).result(timeout=90)
    assert time.monotonic() - start > 40 and file.endswith(".wav")


def test_its_cancel_frees_the_machine(connected, client, site, tmp_path):
    site.pipeline.step_s = 0.05
    job = job_of(connected, client, clip(tmp_path), steps=64)
    assert site.pipeline.started.wait(5)
    wait_for(lambda: job.communicator.event_id is not None)  # without it nothing is sent
    job.cancel()
    wait_for(lambda: site.endpoint.jobs.counts() == (0, 0), 5)
    assert site.pipeline.steps_done < 60


def test_a_client_that_leaves_frees_the_machine(client, site, tmp_path):
    import http.client
    import json

    site.pipeline.step_s = 0.05
    config = client.request("GET", "/config")[1]
    functions = json.loads(config.read())["dependencies"]
    index = next(f["id"] for f in functions if f["api_name"] == "process")
    uploaded = client.upload(clip(tmp_path))
    file = {"path": uploaded, "meta": {"_type": "gradio.FileData"}}
    body = {"data": [file, *client.values(steps=64)], "fn_index": index, "session_hash": "s1"}
    kind = {"Content-Type": "application/json"}
    _, joined = client.request("POST", "/gradio_api/queue/join", json.dumps(body).encode(), kind)
    assert joined.status == 200
    reader = http.client.HTTPConnection(client.host, client.port, timeout=10)
    reader.request("GET", "/gradio_api/queue/data?session_hash=s1")
    response = reader.getresponse()
    assert site.pipeline.started.wait(5)
    response.close()
    reader.close()
    wait_for(lambda: site.endpoint.jobs.counts() == (0, 0), 15)
    assert site.pipeline.steps_done < 64
