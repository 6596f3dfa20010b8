"""A job's stream, byte for byte: log events that no HARP misreads, errors that all of them read."""

from __future__ import annotations

import json
import time

import pytest
from fake_endpoint import wait_for
from harp_client import events, in_background, shown_error
from sound_files import clip

from harp_app.protocol import job_streams
from harp_app.protocol.job_streams import log_event


def test_an_error_is_the_same_sentence_for_old_and_new_harps(client, tmp_path):
    event = client.start(client.upload(clip(tmp_path)), client.values(seed="twelve"))
    stream = client.whole_stream("process", event)
    [(name, text)] = events(stream)
    assert name == "error" and text.startswith("Seed is 'twelve'") and len(text) <= 200
    assert stream == f"event: error\n{text}\ndata: {text}\n\n".encode()
    again = client.start(client.upload(clip(tmp_path)), client.values(seed="twelve"))
    assert shown_error(client.outcome, again) == text  # 3.0.1: the line after `event: error`


@pytest.mark.parametrize(
    "seed", ["data: 1", "quota 503", "x" * 400, "\u00fc \u4e2d\n\nevent: complete"]
)
def test_what_a_user_typed_breaks_no_stream(client, tmp_path, seed):
    event = client.start(client.upload(clip(tmp_path)), client.values(seed=seed))
    stream = client.whole_stream("process", event)
    [(name, text)] = events(stream)
    first, second, third = stream.decode().split("\n")[:3]
    assert (first, third) == ("event: error", f"data: {second}") and second == text
    assert name == "error" and len(text) <= 200
    assert not any(word in text for word in ("503", "quota")) and not text.startswith("data:")


def test_progress_comes_as_log_events_at_most_one_a_second(slow, site, tmp_path):
    uploaded = slow.upload(clip(tmp_path))
    running = slow.start(uploaded, slow.values(steps=60))  # 3 s
    wait_for(lambda: site.endpoint.jobs.counts() == (1, 0))
    waiting = slow.start(uploaded, slow.values(steps=1))
    wait_for(lambda: site.endpoint.jobs.counts() == (1, 1))
    second = in_background(slow.whole_stream, "process", waiting)
    start = time.monotonic()
    stream = slow.whole_stream("process", running)
    took_s = time.monotonic() - start
    for content in (stream, second.result(10)):
        *logs, (end, _) = events(content)
        assert end == "complete" and logs and {name for name, _ in logs} == {"log"}
        assert len(logs) <= took_s + 1
        for line in content.decode().split("\n\n")[:-2]:  # what 3.0.1 looks for in every line
            assert "complete" not in line and "error" not in line
        for _, data in logs:
            assert json.loads(data)["level"] == "info"
    texts = [json.loads(data)["log"] for _, data in events(stream)[:-1]]
    assert any(text.startswith("step ") and text.endswith(" s left") for text in texts)
    first = json.loads(events(second.result(1))[0][1])["log"]
    assert first == "place 1 of 1 in the queue"


def test_an_unchanged_status_is_repeated_so_that_the_connection_lives(slow, tmp_path, monkeypatch):
    monkeypatch.setattr(job_streams, "LOG_EVERY_S", 0.1)
    monkeypatch.setattr(job_streams, "REPEAT_S", 0.3)
    monkeypatch.setattr(job_streams, "status", lambda jobs, job: "reading the clip")
    event = slow.start(slow.upload(clip(tmp_path)), slow.values(steps=24))  # 1.2 s
    logs = [data for name, data in events(slow.whole_stream("process", event)) if name == "log"]
    assert 2 <= len(logs) <= 5


def test_a_log_event_is_whole_and_ends_with_a_blank_line():
    expected = b'event: log\ndata: {"log": "step 5 of 10, 3 s left", "level": "info"}\n\n'
    assert log_event("step 5 of 10, 3 s left") == expected
