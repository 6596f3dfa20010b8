"""Cancel, as HARP asks a started server for it: which jobs end, how soon, and what goes on."""

from __future__ import annotations

import http.client
import json
import threading
import time

import pytest
from fake_endpoint import wait_for
from harp_client import HarpClient, in_background, shown_error
from sound_files import clip

from harp_app.jobs.queue import CANCELLED


def test_cancel_ends_a_running_job_and_the_next_starts_at_once(slow, site, tmp_path):
    uploaded = slow.upload(clip(tmp_path))
    event = slow.start(uploaded, slow.values(steps=64))
    ended = in_background(shown_error, slow.outcome, event)
    assert site.pipeline.started.wait(5)
    slow.cancel()
    answered = site.pipeline.steps_done
    wait_for(lambda: site.endpoint.jobs.counts() == (0, 0))
    assert site.pipeline.steps_done <= answered + 2  # of 64: within a step, and one for the thread
    assert ended.result(10) == "The job was cancelled."
    site.pipeline.started.clear()
    event = slow.start(uploaded, slow.values(steps=2))
    assert site.pipeline.started.wait(5)
    assert len(slow.outcome(event)[0]) == 1
    assert site.pipeline.steps_done < 40


def test_cancel_ends_a_waiting_job_before_it_runs(slow, site, tmp_path):
    uploaded = slow.upload(clip(tmp_path))
    ends = [
        in_background(shown_error, slow.outcome, slow.start(uploaded, slow.values(steps=64)))
        for _ in range(3)
    ]
    wait_for(lambda: site.endpoint.jobs.counts() == (1, 2))
    assert site.pipeline.started.wait(5)
    calls = len(site.pipeline.calls)
    slow.cancel()
    assert {end.result(2) for end in ends} == {"The job was cancelled."}
    wait_for(lambda: site.endpoint.jobs.counts() == (0, 0))
    assert len(site.pipeline.calls) == calls


def test_cancel_then_process_at_once_gives_the_new_jobs_file(slow, site, tmp_path):
    old, new = clip(tmp_path, "old.wav"), clip(tmp_path, "new.wav", seconds=0.4)
    event = slow.start(slow.upload(old), slow.values(steps=64))
    ended = in_background(shown_error, slow.outcome, event)
    assert site.pipeline.started.wait(5)
    slow.cancel()
    [(name, _)], _ = slow.process(new, steps=1)
    assert name.startswith("new") and ended.result(2) == "The job was cancelled."


def test_cancel_with_nothing_to_cancel_is_answered(client):
    assert json.loads(client.cancel()) == []


def test_another_address_keeps_its_job(slow, site, tmp_path):
    event = slow.start(slow.upload(clip(tmp_path)), slow.values(steps=10))
    assert site.pipeline.started.wait(5)
    assert site.endpoint.jobs.cancel("10.1.2.3", site.endpoint.jobs.next_number()) == 0
    assert len(slow.outcome(event)[0]) == 1


def test_a_client_that_goes_away_frees_the_machine(slow, site, tmp_path):
    event = slow.start(slow.upload(clip(tmp_path)), slow.values(steps=64))
    connection, response = slow.request("GET", f"/gradio_api/call/process/{event}")
    assert site.pipeline.started.wait(5)
    done = site.pipeline.steps_done
    response.close()
    connection.close()
    wait_for(lambda: site.endpoint.jobs.counts() == (0, 0), 2)
    assert site.pipeline.steps_done < done + 30


def test_the_model_stays_loaded_through_cancels(slow, site, tmp_path):
    for _ in range(2):
        site.pipeline.started.clear()
        slow.start(slow.upload(clip(tmp_path)), slow.values())
        assert site.pipeline.started.wait(5)
        slow.cancel()
    assert len(site.loads) == 1


def test_no_error_before_the_cancel_was_answered_and_read(slow, site, tmp_path):
    """Five times, as HARP 3.0.1 does it: else it opens an error window each time."""
    for _ in range(5):
        site.pipeline.started.clear()
        event = slow.start(slow.upload(clip(tmp_path)), slow.values())
        ended = in_background(timed, slow, event)
        assert site.pipeline.started.wait(5)
        asked_s = time.monotonic()
        answer = slow.post("cancel", [])
        wait_for(lambda: site.endpoint.jobs.counts() == (0, 0))  # the machine is free at once
        assert time.monotonic() - asked_s < 1
        assert not ended.done()
        assert json.loads(slow.stream("cancel", answer)) == []
        read_s = time.monotonic()
        text, ended_s = ended.result(3)
        assert text == CANCELLED and ended_s - read_s > 0.2


def timed(client, event) -> tuple[str, float]:
    text = shown_error(client.outcome, event)
    return text, time.monotonic()


def test_a_cancel_whose_answer_nobody_reads_holds_nothing_for_ever(slow, site, tmp_path):
    event = slow.start(slow.upload(clip(tmp_path)), slow.values())
    ended = in_background(shown_error, slow.outcome, event)
    assert site.pipeline.started.wait(5)
    slow.post("cancel", [])
    assert ended.result(8) == CANCELLED


def slow_upload(client, path, go_on: threading.Event, begun: threading.Event) -> str:
    """An upload that stops after half of its bytes until `go_on`."""
    boundary = "abcdef"
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{path.name}"'
        "\r\nContent-Type: audio/midi\r\n\r\n"
    )
    body = head.encode() + path.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    connection = http.client.HTTPConnection(client.host, client.port, timeout=20)
    connection.putrequest("POST", client.base + "/gradio_api/upload")
    connection.putheader("Content-Type", f"multipart/form-data; boundary={boundary}")
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders()
    connection.send(body[: len(body) // 2])
    begun.set()
    assert go_on.wait(20)
    connection.send(body[len(body) // 2 :])
    return json.loads(connection.getresponse().read())[0]


@pytest.mark.parametrize("tab", [None, "tab-1"])
def test_cancel_during_a_slow_upload_stops_the_job_that_follows(slow, site, tmp_path, tab):
    client = HarpClient(site.address, tab)
    client.load()
    path = clip(tmp_path, seconds=2.0)
    go_on, begun = threading.Event(), threading.Event()
    uploading = in_background(slow_upload, client, path, go_on, begun)
    assert begun.wait(5)
    time.sleep(0.1)
    client.cancel()
    again = client.upload(path)  # of the next Process, pressed at once: the same content
    go_on.set()
    uploaded = uploading.result(10)
    calls = len(site.pipeline.calls)
    # The uploads lie at one path; the first one that ended belongs to the first job posted.
    next_one = client.start(again, client.values(steps=1))
    assert len(client.outcome(next_one)[0]) == 1
    assert shown_error(client.outcome, client.start(uploaded, client.values())) == CANCELLED
    assert len(site.pipeline.calls) == calls + 1
    assert len(client.process(path, steps=1)[0]) == 1


def test_a_cancel_stops_no_later_job_of_an_upload_made_before_it(slow, site, tmp_path):
    uploaded = slow.upload(clip(tmp_path))
    assert len(slow.outcome(slow.start(uploaded, slow.values(steps=1)))[0]) == 1
    slow.cancel()
    assert len(slow.outcome(slow.start(uploaded, slow.values(steps=1)))[0]) == 1


def test_tabs_of_newer_harps_behind_one_address_keep_their_jobs(slow, site, tmp_path):
    mine, other = HarpClient(site.address, "tab-1"), HarpClient(site.address, "tab-2")
    for client in (mine, other):
        client.load()
    site.pipeline.started.clear()
    event = mine.start(mine.upload(clip(tmp_path)), mine.values(steps=20))
    ended = in_background(mine.outcome, event)
    assert site.pipeline.started.wait(5)
    other.cancel()
    slow.cancel()  # of an older HARP at this address, which sends no header
    assert len(ended.result(10)[0]) == 1
    site.pipeline.started.clear()
    event = mine.start(mine.upload(clip(tmp_path)), mine.values(steps=64))
    ended = in_background(shown_error, mine.outcome, event)
    assert site.pipeline.started.wait(5)
    mine.cancel()
    assert ended.result(5) == CANCELLED
