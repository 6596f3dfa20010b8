"""A request of HARP and the command with the same settings give the same file, byte for byte."""

from __future__ import annotations

import pytest
import soundfile
from fake_endpoint import running
from harp_client import HarpClient
from vamp_command import RATE, sound

from vampnet import cli
from vampnet.pipeline import Pipeline
from vampnet.presets import presets

CASES = [
    ({}, ()),
    ({"temp": 1.25, "every": 3}, ("--temperature", "1.25", "--period", "3")),
    (
        {"preset": "beat-small", "beats": 80, "bpm": 93.33, "range": "bar 1", "more": "dropout 10"},
        ("--preset", "beat-small", "--beat-ms", "80", "--bpm", "93.33", "--ranges", "bar 1",
         "--dropout", "0.1"),
    ),
    (
        {"preset": "compress", "more": "codebooks 3, every 7, top_p .9; no-by-codebook"},
        ("--preset", "compress", "--codebooks-kept", "3", "--period", "7", "--top-p", "0.9",
         "--no-by-codebook"),
    ),
    (
        {"preset": "large-variation-beat", "bpm": 120, "more": "beat_offset_s .25, beat_every 2"},
        ("--preset", "beat-large", "--bpm", "120", "--beat-offset-s", "0.25", "--beat-every", "2"),
    ),
    (
        {"preset": "dream", "out": "raw mono"},
        ("--preset", "dream", "--mono", "--no-match-loudness"),
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def client(tiny):
    with running(Pipeline.from_pretrained(tiny, keep_weights=False), presets=presets()) as site:
        made = HarpClient(site.address)
        made.load()
        yield made


@pytest.mark.slow
@pytest.mark.parametrize(("values", "options"), CASES)
def test_the_same_settings_give_the_same_file(client, vamp, tmp_path, values, options):
    path, out = tmp_path / "in.wav", tmp_path / "out.wav"
    soundfile.write(path, sound(3.0), RATE, subtype="PCM_24")
    more = ", ".join(filter(None, [values.get("more"), "steps 2, fine_steps 1"]))
    [(_, content)], labels = client.process(path, **(values | {"seed": "5", "more": more}))
    assert vamp(path, out, "--seed", "5", *options)[0] == cli.OK
    assert content == out.read_bytes() != path.read_bytes()
    assert labels[0]["label"] == "seed 5"
