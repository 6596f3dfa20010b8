"""The endpoint as HARP meets it: a really started server and a client that does what HARP does."""

from __future__ import annotations

import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fake_endpoint import FakePipeline, running, wait_for
from harp_client import HarpClient, in_background, shown_error, status
from places import ROOT
from sound_files import clip

from harp_app import server
from harp_app.jobs.model_cache import Models
from vampnet.audio import read
from vampnet.audio.loudness import loudness_lufs
from vampnet.checkpoints.folders import resolve

# -- load and process

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
    client.process(clip(tmp_path), temp=1.35)
    assert site.pipeline.calls[-1]["sampling"].temperature == 1.35


def test_two_clients_at_once_get_each_their_own(slow, site, tmp_path):
    site.pipeline.step_s = 0.005
    paths = [clip(tmp_path, f"clip{k}.wav", seconds=0.3 + k / 10) for k in range(3)]
    other = HarpClient(site.address)
    other.load()
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(HarpClient.process, (slow, other, slow), paths))
    for path, ([(name, content)], _) in zip(paths, answers, strict=True):
        assert name.startswith(path.stem)
        assert soundfile.info(io.BytesIO(content)).frames == soundfile.info(path).frames


def test_a_restart_between_load_and_process(harp, tmp_path):
    with running(FakePipeline()) as first:
        client = HarpClient(first.address)
        client.load()
        port, run = client.port, health(client)["run"]
    with running(FakePipeline(), port=port) as second:
        assert second.address == first.address and health(client)["run"] != run
        assert len(client.process(clip(tmp_path))[0]) == 1
        text = shown_error(client.stream, "process", "0" * 32)
        assert "this job is not known here" in text


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


# -- errors


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"seed": "twelve"}, "Seed is 'twelve'; allowed is a whole number from 0 to"),
        ({"range": "5-6"}, "Range 5-6 s lies outside the clip"),
        ({"range": "bar 1"}, "counts bars; set the tempo for that"),
        ({"bpm": 12}, "Tempo is 12 BPM; allowed is 30 to 300, or 0 to detect it"),
        ({"range": "f\u00fcr \u00d6"}, "'f\u00fcr \u00d6' cannot be read"),
        ({"range": "503-503"}, "has no length"),
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
    assert shown.startswith("Press Process again; something went wrong in the server")
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


# -- health


def health(client):
    connection, response = client.request("GET", "/health")
    content = json.loads(response.read())
    connection.close()
    return content


def test_health_tells_the_queue(client):
    shown = health(client)
    run = shown.pop("run")
    assert shown == {"status": "ok", "running": 0, "waiting": 0}
    assert run and health(client)["run"] == run
    _, response = client.request("HEAD", "/health")  # what many monitors ask
    assert response.status == 200 and not response.read()


def test_health_is_answered_to_a_bare_http_client(site):
    connection = http.client.HTTPConnection("127.0.0.1", int(site.address.rsplit(":", 1)[1]))
    for method, path in (("HEAD", "/"), ("HEAD", "/health"), ("GET", "/health")):
        connection.request(method, path)
        answer = connection.getresponse()
        assert answer.status == 200, (method, path)
        said = answer.read()
    assert json.loads(said)["status"] == "ok"
    connection.close()


@pytest.mark.slow
def test_gradio_is_told_to_tell_nobody_anything():
    code = (
        "import os\n"
        "from harp_app import server\n"
        "from harp_app.jobs.model_cache import Models\n"
        "endpoint = server.build(server.Options(port=0), Models(load=lambda *place: None))\n"
        "import gradio.analytics\n"
        "print(gradio.analytics.analytics_enabled(), os.environ['GRADIO_ANALYTICS_ENABLED'])\n"
        "endpoint.close()\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GRADIO_")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.stdout.split() == ["False", "False"], done.stderr[-2000:]


# -- what is left on the disk, and the end


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
    shown = shown_error(slow.outcome, slow.start(uploaded, slow.values()))
    assert shown == "Choose the clip again: it is no longer on the server."


def test_a_warm_up_that_fails_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(server, "warm_up", lambda models, steps=1: None)
    monkeypatch.setattr(server, "choose_device", lambda device: device)
    built = server.build

    def build(*args):
        endpoint = built(*args)

        def fail(call):
            assert list(tmp_path.glob("vampnet-harp-*"))
            raise RuntimeError("no kernel image for this device")

        endpoint.jobs.in_every_thread = fail
        return endpoint

    monkeypatch.setattr(server, "build", build)
    with pytest.raises(RuntimeError, match="no kernel image"):
        server.serve(port=0, device="cuda", load=lambda place, device: FakePipeline())
    assert not list(tmp_path.glob("vampnet-harp-*"))


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
    wait_for(lambda: bool(lines) and lines[-1].startswith("Ready after "), 20)
    assert pipeline.calls  # warmed up
    assert lines[0] == f"Paste this address into HARP: http://127.0.0.1:{port}"
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


@pytest.mark.parametrize(("port", "shown"), [(7860, "NAME:7860"), (443, "NAME")])
def test_with_tls_the_address_has_the_form_that_every_harp_takes(port, shown):
    chosen = server.Options(host="0.0.0.0", secret="word", tls_cert="c.pem", tls_key="k.pem")
    address, name, *_ = server.announcement(chosen, port)
    assert address == f"Paste this address into HARP: https://{shown}/word/#.gradio.live"
    assert "at most two dots" in name


def test_the_part_that_only_harp_reads_leads_to_the_same_endpoint(harp):
    with running(FakePipeline(), secret="word") as site:
        client = HarpClient(site.address + "/#.gradio.live")
        assert client.load()["card"]["name"] == "VampNet"


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
    with pytest.raises(ValueError, match=r"TLS: '.*cert\.pem' and .* its key \(swapped"):
        server.serve(port=0, tls_cert=cert, tls_key=cert)
    with pytest.raises(ValueError, match=r"no model '/no/such': give a folder or one of"):
        server.serve(port=0, model="/no/such")


@pytest.mark.e2e
@pytest.mark.usefixtures("default_signals")
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
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path / "temp")},
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().split()[-1]
        assert any(line.startswith("Ready after") for line in iter(process.stdout.readline, ""))
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
