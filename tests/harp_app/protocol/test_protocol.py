"""HARP's protocol: card and controls as HARP reads them, files unconverted, whichever pyharp."""

from __future__ import annotations

import importlib.util
import sys
import time
import types

import pytest
from conftest import real_pyharp
from fake_endpoint import FakePipeline, running, wait_for
from harp_client import HarpClient, shown_error
from sound_files import clip

from harp_app.protocol import endpoint as protocol


def test_card_and_controls_are_of_the_shapes_that_harp_reads(client):
    answer = client.load()
    assert set(answer) == {"card", "inputs", "outputs"}
    assert set(answer["card"]) == {"name", "description", "author", "tags"}
    fields = {
        "audio_track": {"required"},
        "slider": {"minimum", "maximum", "step", "value"},
        "toggle": {"value"},
        "dropdown": {"choices", "value"},
        "text_box": {"value"},
        "json": set(),
    }
    for control in answer["inputs"] + answer["outputs"]:
        assert set(control) == {"type", "label", "info"} | fields[control["type"]]
        assert isinstance(control["info"], str)
    assert [out["type"] for out in answer["outputs"]] == ["audio_track", "json"]
    for control in answer["inputs"]:
        if control["type"] == "dropdown":
            assert all(label == value for label, value in control["choices"])


def test_files_go_back_as_written_even_where_ffmpeg_is_installed(client, tmp_path, monkeypatch):
    from gradio import processing_utils

    monkeypatch.setattr(processing_utils, "ffmpeg_installed", lambda: True)
    monkeypatch.setattr(processing_utils, "audio_is_playable", lambda path: False)
    [(result, content)], _ = client.process(clip(tmp_path, "a.aiff"))
    assert result.endswith(".aiff") and content[:4] == b"FORM"


def test_takes_are_output_tracks(harp, tmp_path):
    with running(FakePipeline(), takes=3) as site:
        client = HarpClient(site.address)
        outputs = client.load()["outputs"]
        assert [out["type"] for out in outputs] == ["audio_track"] * 3 + ["json"]
        files, labels = client.process(clip(tmp_path))
        assert len(files) == 3 and len({content for _, content in files}) == 3
        assert len({name for name, _ in files}) == 3 and labels


def test_controls_answer_at_once_while_jobs_run_and_the_queue_is_full(slow, site, tmp_path):
    uploaded = slow.upload(clip(tmp_path))
    for _ in range(4):
        slow.start(uploaded, slow.values(steps=64))
    wait_for(lambda: site.endpoint.jobs.counts() == (1, 3))
    text = shown_error(slow.outcome, slow.start(uploaded, slow.values()))
    assert text == "Try again in a moment: 3 jobs wait already and 3 may."
    for _ in range(5):
        start = time.monotonic()
        slow.load()
        assert time.monotonic() - start < 1.0


class Broken:
    """An import that fails as CPU-only torchaudio does."""

    def __init__(self, error):
        self.error = error

    def find_spec(self, name, path=None, target=None):
        if name == "pyharp":
            raise self.error


@pytest.mark.parametrize("error", [OSError("libc10_cuda.so"), RuntimeError("x"), ImportError("y")])
def test_a_pyharp_that_fails_at_import_is_survived(monkeypatch, error):
    monkeypatch.delitem(sys.modules, "pyharp", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(error), *sys.meta_path])
    assert "pyharp fails at import" in protocol.find_harp().source


def test_a_package_that_is_only_called_pyharp_is_not_taken(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyharp", types.ModuleType("pyharp"))
    assert "it is another package" in protocol.find_harp().source


@pytest.mark.skipif(
    importlib.util.find_spec("pyharp") is None,
    reason="the real pyharp is not installed (see README)",
)
def test_controls_are_equal_with_the_real_pyharp(monkeypatch):
    if not real_pyharp():
        pytest.skip(f"pyharp cannot be used: {protocol.find_harp().source}")
    answers = []
    for _ in range(2):
        with running(FakePipeline()) as site:
            answers.append(HarpClient(site.address).load())
        monkeypatch.setitem(sys.modules, "pyharp", None)
    assert answers[0] == answers[1]
