"""The page without its server, and the server without its page, in headless Chromium."""

from __future__ import annotations

import time
from urllib.parse import urlsplit

import pytest
from browser_visit import Visit
from fake_endpoint import FakePipeline, running
from sound_files import knocks as clip

from vampnet.presets import presets

PRESETS = presets()
SLOW_STEP_S = 0.1


@pytest.mark.browser
def test_a_closed_page_frees_the_machine(browser, tmp_path):
    with running(FakePipeline(), PRESETS) as site:
        site.pipeline.step_s = SLOW_STEP_S
        gone = Visit(browser, site.address)
        gone.open(clip(tmp_path))
        gone.set_slider("sampling-steps", 64)
        gone.page.click("#vary")
        gone.page.wait_for_selector("#status .progress:not(.unsure)")
        gone.context.close()
        end = time.monotonic() + 5
        while site.endpoint.jobs.counts() != (0, 0):
            assert time.monotonic() < end, "the job went on"
            time.sleep(0.05)


@pytest.mark.browser
def test_an_open_page_does_not_hold_up_the_end_of_the_server(browser, tmp_path, capfd):
    with running(FakePipeline(), PRESETS) as site:
        visit = Visit(browser, site.address)
        visit.open(clip(tmp_path))
        start = time.monotonic()
    assert time.monotonic() - start < 3
    assert "Traceback" not in capfd.readouterr().err
    visit.context.close()


@pytest.mark.browser
def test_a_page_of_an_earlier_server_says_so_and_is_reloaded(browser, tmp_path):
    with running(FakePipeline(), PRESETS, secret="word") as site:
        visit = Visit(browser, site.address)
        visit.open(clip(tmp_path))
        assert not visit.page.is_visible("#lost")
    visit.wait(lambda: visit.text("#lost").strip() == "The server does not answer.", "a word on it")
    port = urlsplit(site.address).port
    with running(FakePipeline(), PRESETS, secret="word", port=port):
        visit.wait(lambda: "was lost. Reload the page" in visit.text("#lost"), "what to do")
        visit.page.click("#vary")
        visit.wait(lambda: "Choose the clip again" in visit.text("body"), "a word on the clip")
        visit.page.click("#reload")
        visit.wait(lambda: visit.page.is_hidden("#lost"), "a new page")
        visit.open(clip(tmp_path))
        visit.take()
        assert visit.page.is_hidden("#lost")
        visit.context.close()


@pytest.mark.browser
def test_a_page_whose_answers_ended_has_to_be_reloaded(browser):
    with running(FakePipeline(), PRESETS) as site:  # the same server, as after a sleep
        visit = Visit(browser, site.address)
        assert not visit.page.is_visible("#lost")
        site.endpoint.end_streams()
        visit.wait(lambda: "was lost. Reload the page" in visit.text("#lost"), "what to do")
        visit.context.close()
