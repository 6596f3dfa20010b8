"""The endpoint as HARP meets it: a really started server and a client that does what HARP does."""

from __future__ import annotations

import http.client
import importlib.util
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fake_endpoint import FakePipeline, running
from harp_client import HarpClient, HarpError

from harp_app import protocol, server
from harp_app.models import Models
from vampnet.audio import read
from vampnet.checkpoints import resolve
from vampnet.loudness import loudness_lufs

SLOW_STEP_S = 0.05


def real_pyharp() -> bool:
    return protocol.find_harp().source == "the installed pyharp"


@pytest.fixture(
    scope="module",
    params=[
        "built-in",
        pytest.param(
            "pyharp",
            marks=pytest.mark.skipif(
                importlib.util.find_spec("pyharp") is None,
                reason="the real pyharp is not installed (see README)",
            ),
        ),
    ],
)
def harp(request):
    """Which protocol is spoken: our own, or the real pyharp's where it is installed."""
    patch = pytest.MonkeyPatch()
    if request.param == "built-in":
        patch.setitem(sys.modules, "pyharp", None)
    elif not real_pyharp():
        pytest.skip(f"pyharp cannot be used: {protocol.find_harp().source}")
    yield request.param
    patch.undo()


@pytest.fixture(scope="module")
def site(harp):
    with running(FakePipeline(), waiting=3) as made:
        yield made


@pytest.fixture
def client(site):
    site.pipeline.step_s, site.pipeline.steps_done = 0.0, 0
    site.pipeline.started.clear()
    made = HarpClient(site.address)
    made.load()
    yield made
    made.cancel()
    wait_for(lambda: site.endpoint.jobs.counts() == (0, 0))


@pytest.fixture
def slow(site, client):
    """The client, with a pipeline that takes 24 x 50 ms."""
    site.pipeline.step_s = SLOW_STEP_S
    return client


def clip(folder, name="loop.wav", rate=44100, channels=2, seconds=0.6, **how) -> Path:
    path = folder / name
    sound = 0.1 * np.random.default_rng(0).standard_normal((round(seconds * rate), channels))
    soundfile.write(path, sound, rate, **how)
    return path


def wait_for(condition, timeout_s=5.0):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def in_background(call, *args):
    return ThreadPoolExecutor(1).submit(call, *args)


def shown_error(call, *args) -> str:
    with pytest.raises(HarpError) as error:
        call(*args)
    return error.value.text


# -- load and process


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


FORMATS = [
    ("a.wav", 44100, 2, {"subtype": "PCM_16"}),
    ("a.wav", 48000, 1, {"subtype": "PCM_24"}),
    ("a.wav", 96000, 2, {"subtype": "FLOAT"}),
    ("a.aiff", 48000, 2, {"subtype": "PCM_24"}),
    ("a.aif", 44100, 1, {"subtype": "PCM_16", "format": "AIFF"}),
    ("a.flac", 96000, 1, {"subtype": "PCM_24"}),
    ("a.flac", 44100, 2, {"subtype": "PCM_16"}),
]


@pytest.mark.parametrize(("name", "rate", "channels", "how"), FORMATS)
def test_what_comes_back_is_of_the_clips_format_length_and_loudness(
    client, tmp_path, name, rate, channels, how
):
    path = clip(tmp_path, name, rate, channels, **how)
    [(result, content)], labels = client.process(path, seed="3")
    assert Path(result).suffix == path.suffix and result.isascii() and " " not in result
    (tmp_path / "back").mkdir()
    back = tmp_path / "back" / result
    back.write_bytes(content)
    for field in ("frames", "samplerate", "channels", "format", "subtype", "endian"):
        assert getattr(soundfile.info(back), field) == getattr(soundfile.info(path), field)
    before, after = read(path), read(back)
    assert not np.array_equal(before.samples, after.samples)
    loud = [loudness_lufs(sound.samples, rate) for sound in (before, after)]
    assert abs(loud[0] - loud[1]) < 0.5
    assert labels[0]["label"] == "seed 3" and labels[0]["label_type"] == "AudioLabel"


def test_files_go_back_as_written_even_where_ffmpeg_is_installed(client, tmp_path, monkeypatch):
    from gradio import processing_utils

    monkeypatch.setattr(processing_utils, "ffmpeg_installed", lambda: True)
    monkeypatch.setattr(processing_utils, "audio_is_playable", lambda path: False)
    [(result, content)], _ = client.process(clip(tmp_path, "a.aiff"))
    assert result.endswith(".aiff") and content[:4] == b"FORM"


@pytest.mark.parametrize(
    "name",
    ["My Loop #1 (50%).wav", "\u00dcbung & \u00c4pfel.WAV", "no_extension", "\u4e2d\u6587.wav"],
)
def test_names_of_all_kinds(client, tmp_path, name):
    [(result, content)], _ = client.process(clip(tmp_path), name)
    assert result.isascii() and " " not in result and result.endswith(".wav")
    assert soundfile.info(io.BytesIO(content)).channels == 2


def test_a_seed_brings_a_take_back(client, tmp_path):
    path = clip(tmp_path)
    first, labels = client.process(path)
    seed = labels[0]["label"].removeprefix("seed ")
    assert client.process(path, seed=seed)[0] == first
    assert client.process(path, seed=str(int(seed) + 1))[0][0][1] != first[0][1]


def test_sliders_arrive_as_float32_and_mean_what_they_show(client, site, tmp_path):
    client.process(clip(tmp_path), temperature=1.35)
    assert site.pipeline.calls[-1]["sampling"].temperature == 1.35


def test_takes_are_output_tracks(harp, tmp_path):
    with running(FakePipeline(), takes=3) as site:
        client = HarpClient(site.address)
        outputs = client.load()["outputs"]
        assert [out["type"] for out in outputs] == ["audio_track"] * 3 + ["json"]
        files, labels = client.process(clip(tmp_path))
        assert len(files) == 3 and len({content for _, content in files}) == 3
        assert len({name for name, _ in files}) == 3 and labels


def test_two_clients_at_once_get_each_their_own(slow, site, tmp_path):
    site.pipeline.step_s = 0.005
    paths = [clip(tmp_path, f"clip{k}.wav", seconds=0.3 + k / 10) for k in range(3)]
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(slow.process, paths))
    for path, ([(name, content)], _) in zip(paths, answers, strict=True):
        assert name.startswith(path.stem)
        assert soundfile.info(io.BytesIO(content)).frames == soundfile.info(path).frames


def test_a_restart_between_load_and_process(harp, tmp_path):
    with running(FakePipeline()) as first:
        client = HarpClient(first.address)
        client.load()
        port = client.port
    with running(FakePipeline(), port=port) as second:
        assert second.address == first.address
        assert len(client.process(clip(tmp_path))[0]) == 1
        text = shown_error(client.stream, "process", "0" * 32)
        assert text.startswith("This job is not known here")


def test_a_hundred_megabytes(harp, tmp_path):
    path = tmp_path / "big.wav"
    soundfile.write(path, np.zeros((100 * 2**20 // 4, 2), np.int16), 44100)
    with running(FakePipeline(), max_seconds=100.0) as site:
        client = HarpClient(site.address)
        client.load()
        start = time.monotonic()
        text = shown_error(client.process, path)  # refused by its header, not decoded
        assert "594.4 s long; 100 s are allowed" in text
        assert time.monotonic() - start < 10


# -- cancel


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
    before = site.endpoint.processor.models.get("default")
    slow.start(slow.upload(clip(tmp_path)), slow.values())
    assert site.pipeline.started.wait(5)
    slow.cancel()
    assert site.endpoint.processor.models.get("default") is before


# -- load


def test_controls_answer_at_once_while_jobs_run_and_the_queue_is_full(slow, site, tmp_path):
    uploaded = slow.upload(clip(tmp_path))
    for _ in range(4):
        slow.start(uploaded, slow.values(steps=64))
    wait_for(lambda: site.endpoint.jobs.counts() == (1, 3))
    text = shown_error(slow.outcome, slow.start(uploaded, slow.values()))
    assert text == "3 jobs wait already and 3 may; try again in a moment."
    for _ in range(5):
        start = time.monotonic()
        slow.load()
        assert time.monotonic() - start < 1.0


# -- errors


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"seed": "twelve"}, "Seed is 'twelve'; allowed is a whole number from 0 to"),
        ({"regenerate_only": "5-6"}, "Regenerate only: 5-6 s lies outside the clip"),
        ({"regenerate_only": "bar 1"}, "counts bars; set the tempo for that"),
        ({"tempo_(bpm)": 12}, "Tempo is 12 BPM; allowed is 30 to 300, or 0 to detect it"),
        ({"regenerate_only": "f\u00fcr \u00d6"}, "'f\u00fcr \u00d6' cannot be read"),
        ({"regenerate_only": "503-503"}, "ends before it starts"),
    ],
)
def test_errors_are_one_plain_sentence(client, tmp_path, changed, text):
    shown = shown_error(lambda: client.process(clip(tmp_path), **changed))
    assert text in shown
    assert not any(mark in shown for mark in ("{", "\\u", "Traceback", "/tmp", "503", "paused"))


def test_what_breaks_inside_is_named_by_an_id_that_the_log_has(client, site, tmp_path, caplog):
    site.pipeline.codec, codec = None, site.pipeline.codec
    try:
        shown = shown_error(client.process, clip(tmp_path))
    finally:
        site.pipeline.codec = codec
    assert shown.startswith("Something went wrong in the server; its log has the details under")
    job_id = shown.rstrip(".").rsplit(" ", 1)[1]
    (record,) = [r for r in caplog.records if r.exc_info and job_id in r.getMessage()]
    assert "AttributeError" in repr(record.exc_info[1])


@pytest.mark.parametrize("content", [b"", b"RIFF", b"hello, this is a text", b"\0" * 1000])
def test_files_that_are_no_audio(client, tmp_path, content):
    path = tmp_path / "text.wav"
    path.write_bytes(content)
    shown = shown_error(client.process, path)
    assert "text.wav" in shown or "0 bytes" in shown
    assert "/" not in shown and "{" not in shown


# -- who may come in


def status(address: str, method="GET", path="/", body=None) -> int:
    client = HarpClient(address)
    connection, response = client.request(method, path, body)
    response.read()
    connection.close()
    return response.status


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


def health(client):
    connection, response = client.request("GET", "/health")
    content = json.loads(response.read())
    connection.close()
    return content


def test_health_tells_the_queue(client):
    assert health(client) == {"status": "ok", "running": 0, "waiting": 0}
    _, response = client.request("HEAD", "/health")  # what many monitors ask
    assert response.status == 200 and not response.read()


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


def test_a_clip_that_waits_is_not_swept_and_one_that_was_swept_is_told(slow, site, tmp_path):
    uploaded = slow.upload(clip(tmp_path))
    running_job = slow.start(slow.upload(clip(tmp_path, "first.wav")), slow.values(steps=8))
    wait_for(lambda: site.endpoint.jobs.counts() == (1, 0))
    os.utime(uploaded, (0, 0))
    waiting = slow.start(uploaded, slow.values(steps=1))
    wait_for(lambda: site.endpoint.jobs.counts() == (1, 1))
    site.endpoint.storage.sweep()
    for event in (running_job, waiting):
        assert len(slow.outcome(event)[0]) == 1
    os.utime(uploaded, (0, 0))
    site.endpoint.storage.sweep()
    told = shown_error(slow.outcome, slow.start(uploaded, slow.values()))
    assert told == "The clip is no longer on the server; choose it again."


def test_files_are_gone_after_the_server(harp, tmp_path):
    with running(FakePipeline()) as site:
        client = HarpClient(site.address)
        client.load()
        client.process(clip(tmp_path))
        root = site.endpoint.storage.root
        assert any(root.rglob("*.wav"))
    assert not root.exists()


def test_every_server_keeps_gradios_files_in_its_own_folder(tmp_path, monkeypatch):
    (tmp_path / "gradio").touch()  # as good as a folder of another user: nothing can be put there
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("GRADIO_TEMP_DIR", raising=False)
    for module in ("routes", "route_utils"):
        monkeypatch.setattr(f"gradio.{module}.DEFAULT_TEMP_DIR", str(tmp_path / "gradio"))
    for _ in range(2):
        with running(FakePipeline()) as site:
            [folder] = tmp_path.glob("vampnet-harp-*")
            assert folder == site.endpoint.storage.root
    assert [left.name for left in tmp_path.iterdir()] == ["gradio"]


def test_whoever_listens_does_not_hold_up_the_end(harp, capfd):
    with running(FakePipeline()) as site:
        client = HarpClient(site.address)
        _, heartbeat = client.request("GET", "/gradio_api/heartbeat/abc")
        assert heartbeat.read(5) == b"data:"
        start = time.monotonic()
    assert time.monotonic() - start < 2
    assert heartbeat.read().strip().endswith(b"ALIVE")  # a whole answer, not a broken one
    assert "Traceback" not in capfd.readouterr().err


# -- serve and its options


def test_serve_loads_the_weights_before_the_port_opens(harp, monkeypatch, tmp_path):
    pipeline, lines, servers = FakePipeline(), [], []

    def load(self, name):
        with socket.socket() as probe:
            probe.settimeout(1)
            assert probe.connect_ex(("127.0.0.1", port)) != 0
        return pipeline

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(Models, "get", load)
    run = server.run
    monkeypatch.setattr(server, "run", lambda *a: run(*a, on_server=servers.append))
    monkeypatch.setattr(server, "presets", lambda folder: __import__("fake_endpoint").FAKE_PRESETS)
    thread = threading.Thread(target=server.serve, kwargs={"port": port, "say": lines.append})
    thread.start()
    wait_for(lambda: len(lines) == 2, 20)
    assert pipeline.calls  # warmed up
    assert lines[0] == f"Paste this address into HARP: http://127.0.0.1:{port}"
    assert lines[1].startswith("Ready after ")
    assert status(f"http://127.0.0.1:{port}", path="/health") == 200
    servers[0].should_exit = True
    thread.join(15)
    assert not thread.is_alive()


def test_the_whole_network_gets_a_warning_and_a_numeric_address():
    lines = server.announcement(server.Options(host="0.0.0.0", secret="word"), 7860)
    assert lines[0] == f"Paste this address into HARP: http://{server.lan_address()}:7860/word"
    assert "Warning: everybody who knows the secret word" in lines[1]
    assert "--secret" in server.announcement(server.Options(host="0.0.0.0"), 7860)[2]
    assert len(server.announcement(server.Options(), 7860)) == 1
    assert "after 60 s" in server.announcement(server.Options(host="0.0.0.0", keep_s=60), 7860)[1]
    [address, hint] = server.announcement(server.Options(host="::1"), 7860)
    assert address.endswith(" http://[::1]:7860") and "HARP takes no IPv6" in hint


def test_a_device_that_is_not_there_is_told_before_anything_starts():
    with pytest.raises(ValueError, match="device 'toaster' cannot be used on this machine"):
        server.serve(port=0, device="toaster")


def test_a_taken_port_is_told():
    with server.bind("127.0.0.1", 0) as first:
        first.listen()
        with pytest.raises(ValueError, match="cannot listen on 127.0.0.1 port .* another port"):
            server.bind("127.0.0.1", first.getsockname()[1])


@pytest.mark.parametrize("host", ["192.0.2.1", "1::2::3"])
def test_a_host_that_is_not_this_machine_is_told(host):
    with pytest.raises(ValueError, match="choose an address of this machine"):
        server.bind(host, 0)


def test_what_cannot_be_served_is_named_before_the_model_is_loaded(monkeypatch, tmp_path):
    monkeypatch.setattr(Models, "get", lambda self, name: pytest.fail("the model was loaded"))
    cert, none = tmp_path / "cert.pem", tmp_path / "none.pem"
    cert.write_text("no certificate")
    with pytest.raises(ValueError, match=r"TLS: '.*none\.pem' cannot be read \(No such file"):
        server.serve(port=0, tls_cert=cert, tls_key=none)
    with pytest.raises(ValueError, match=r"TLS: '.*cert\.pem' and '.*cert\.pem' are no cert"):
        server.serve(port=0, tls_cert=cert, tls_key=cert)
    with pytest.raises(ValueError, match=r"no model '/no/such': give a folder or one of"):
        server.serve(port=0, model="/no/such")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"port": 70000}, "port is 70000; allowed is 0 to 65535"),
        ({"secret": "a b"}, "the secret word is 'a b'; allowed are"),
        ({"secret": "../x"}, "letters, digits"),
        ({"waiting": 99}, "allowed are 1 to 8 and 0 to 30"),
        ({"tls_cert": "x.pem"}, "TLS needs both files"),
        ({"max_seconds": 0}, "max_seconds is 0; allowed is above 0"),
        ({"max_mb": float("inf")}, "max_mb is inf; allowed is above 0, finite"),
        ({"keep_s": float("nan")}, "keep_s is nan; allowed is above 0"),
        ({"root_path": "vampnet"}, "the root path is 'vampnet'; allowed is a path like /vampnet"),
        ({"root_path": "example.org/vampnet"}, "or an address like https://"),
        ({"root_path": "ftp://example.org"}, "or an address like https://"),
    ],
)
def test_options_out_of_range_are_told(options, text):
    with pytest.raises(ValueError, match=text):
        server.Options(**options)


@pytest.mark.skipif(os.name == "nt", reason="ends the server by a signal")
def test_the_command_with_the_embedded_model(tmp_path):
    """From `serve` to a variation, a cancel and the end, in a process of its own."""
    try:
        resolve("default")
    except ValueError as error:
        pytest.skip(f"no embedded model: {error}")
    (tmp_path / "temp").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "harp_app", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(__file__).parent.parent,
        env={**os.environ, "TMPDIR": str(tmp_path / "temp")},
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().split()[-1]
        assert process.stdout.readline().startswith("Ready after")
        client = HarpClient(address)
        card = client.load()
        presets = dict(card["inputs"][1]["choices"])
        assert "loop-variation" in presets
        path = clip(tmp_path, seconds=2.0)
        [(_, content)], labels = client.process(path, steps=4, seed="1")
        assert soundfile.info(io.BytesIO(content)).frames == soundfile.info(path).frames
        event = client.start(
            client.upload(clip(tmp_path, "long.wav", seconds=15.0)), client.values(steps=64)
        )
        ended = in_background(shown_error, client.outcome, event)
        time.sleep(1.0)
        start = time.monotonic()
        client.cancel()
        assert ended.result(5) == "The job was cancelled."
        wait_for(lambda: health(client)["running"] == 0)
        assert time.monotonic() - start < 3  # about 0.2 s on a machine with nothing else to do
        assert client.process(path, steps=4, seed="1")[0][0][1] == content
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
    assert not list((tmp_path / "temp").glob("vampnet-harp-*"))


# -- which pyharp


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


def test_health_is_answered_to_a_bare_http_client(site):
    connection = http.client.HTTPConnection("127.0.0.1", int(site.address.rsplit(":", 1)[1]))
    connection.request("HEAD", "/")
    assert connection.getresponse().status == 200
    connection.close()
