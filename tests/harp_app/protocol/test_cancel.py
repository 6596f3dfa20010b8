"""Cancel, as HARP asks a started server for it: which jobs end, how soon, and what goes on."""

from __future__ import annotations

import json
import time

from fake_endpoint import wait_for
from harp_client import in_background, shown_error
from sound_files import clip


def test_cancel_ends_a_running_job_and_the_next_starts_at_once(slow, site, tmp_path):
    uploaded = slow.upload(clip(tmp_path))
    event = slow.start(uploaded, slow.values(steps=64))
    ended = in_background(shown_error, slow.outcome, event)
    assert site.pipeline.started.wait(5)
    start = time.monotonic()
    slow.cancel()
    assert ended.result(2) == "The job was cancelled."
    assert time.monotonic() - start < 0.5
    site.pipeline.started.clear()
    event = slow.start(uploaded, slow.values(steps=2))
    assert site.pipeline.started.wait(0.5)
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
