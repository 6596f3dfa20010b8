"""What the page shows before the model runs: a clip that was checked, the mask to be used."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import soundfile
import torch
from fake_endpoint import FakePipeline
from sound_files import knocks as clip

from harp_app import controls
from harp_app.jobs.model_cache import Models
from harp_app.page.preview import ClipFeatures, meant, open_clip, preview_mask, show_mask
from harp_app.process import Processor
from harp_app.settings import read
from vampnet.audio import Limits
from vampnet.audio.region import Region
from vampnet.model import Sampling
from vampnet.pipeline import Pipeline
from vampnet.presets import presets

PRESETS = presets()
TABLE = controls.table(PRESETS, ["default"])


def processor(tmp_path: Path, pipeline, **options) -> Processor:
    def new_folder() -> Path:
        folder = tmp_path / str(time.monotonic_ns())
        folder.mkdir()
        return folder

    known = Models(load=lambda place, device: pipeline)
    return Processor(known, PRESETS, new_folder, **options)


def pipeline_without_models(monkeypatch) -> Pipeline:
    """It encodes to zeros and generates nothing; beats and mask are the real ones."""
    codec = SimpleNamespace(
        sample_rate=44100,
        hop_length=768,
        n_codebooks=14,
        encode_context=0,
        window_multiple=1,
        codebooks=torch.zeros(1),
        encode=lambda audio: torch.zeros(len(audio), 14, -(-audio.shape[-1] // 768)).long(),
        decode=lambda codes, n_samples: torch.zeros(len(codes), 1, n_samples),
    )
    monkeypatch.setattr(Pipeline, "_fill", lambda self, codes, *others: codes)
    return Pipeline(codec, None)  # type: ignore[arg-type]


def test_the_mask_that_is_shown_is_the_mask_that_is_used(tmp_path, monkeypatch):
    pipeline = pipeline_without_models(monkeypatch)
    path = clip(tmp_path, "odd.wav", 3.21, rate=48000)
    work = processor(tmp_path, pipeline)
    seen, _ = open_clip(str(path), work)
    features = ClipFeatures()
    for changed in (
        {"seed": "7", "prompt.dropout": 30.0},
        {"preset": "beat-variation"},
        {"preset": "beat-variation", "bpm": 90.0},
        {"preset": "beat-variation", "bpm": 90.0, "more": "beat_offset_s 0.2, beat_every 2"},
        {"ranges": "1-2.5"},
    ):
        values = [changed.get(c.field, c.default) for c in TABLE]
        settings = read(values, TABLE, PRESETS)
        features, _ = show_mask(seen, features, settings, pipeline, work.limits)
        mask, beats, _ = preview_mask(seen, features, settings, pipeline)
        audio = Region.read(path).to_model(44100)[0]
        tempo = {"bpm": settings.bpm, "beat_offset_s": settings.beat_offset_s}
        vamp = pipeline.vamp(audio, settings.prompt, Sampling(), settings.seed, **tempo)
        assert torch.equal(mask, vamp.mask)
        assert vamp.beats is None or beats == vamp.beats


def test_a_clip_that_is_looked_at_stays(tmp_path, monkeypatch):
    path, pipeline = clip(tmp_path), pipeline_without_models(monkeypatch)
    work = processor(tmp_path, pipeline)
    seen, _ = open_clip(str(path), work)
    settings = read([c.default for c in TABLE], TABLE, PRESETS)
    os.utime(path, (0, 0))
    show_mask(seen, ClipFeatures(), settings, pipeline, work.limits)
    assert path.stat().st_mtime > time.time() - 60
    path.unlink()
    for look in (
        lambda: open_clip(str(path), work),
        lambda: show_mask(seen, ClipFeatures(), settings, pipeline, work.limits),
    ):
        with pytest.raises(ValueError, match="it is no longer on the server"):
            look()


MUTE = [  # as they are, in Chromium
    ("a.aiff", {"subtype": "PCM_24"}),
    ("a.wav", {"subtype": "DOUBLE"}),
    ("a.wav", {"subtype": "IMA_ADPCM"}),
    ("a.wav", {"subtype": "PCM_16", "endian": "BIG"}),
    ("24 of 32.wav", {"subtype": "PCM_32", "format": "WAVEX"}),
]
SOUNDING = [
    ("a.wav", {"subtype": "PCM_24"}),
    ("a.wav", {"subtype": "FLOAT", "format": "WAVEX"}),
    ("a.flac", {"subtype": "PCM_16"}),
    ("a.ogg", {"subtype": "VORBIS"}),
]


@pytest.mark.parametrize(("name", "how"), MUTE + SOUNDING)
def test_a_clip_that_browsers_do_not_play_is_played_from_a_wav_beside_it(tmp_path, name, how):
    path = clip(tmp_path, name, **how)
    content = path.read_bytes()
    if name == "24 of 32.wav":  # the valid bits, behind the bits a sample takes
        start = content.index(b"fmt ") + 8 + 18
        content = content[:start] + b"\x18\0" + content[start + 2 :]
        path.write_bytes(content)
    seen, _ = open_clip(str(path), processor(tmp_path, FakePipeline()))
    assert seen.path == str(path) and path.read_bytes() == content
    assert (seen.played == seen.path) is ((name, how) in SOUNDING)
    played, original = soundfile.info(seen.played), soundfile.info(path)
    assert (played.frames, played.samplerate) == (original.frames, original.samplerate)
    if seen.played != seen.path:
        assert (played.format, played.subtype) == ("WAV", "PCM_24")
    # What is varied is the clip itself.
    assert meant(seen.played, seen) == meant(seen.path, seen) == seen.path
    assert meant("another", seen) == "another" and meant(None, seen) is None


def test_a_clip_is_checked_before_it_is_drawn(tmp_path):
    path = clip(tmp_path)
    with pytest.raises(ValueError, match="0.1 MB are allowed"):
        open_clip(str(path), processor(tmp_path, FakePipeline(), max_file_mb=0.1))
    short = Limits(max_duration_s=1.0)
    with pytest.raises(ValueError, match="2.*s"):
        open_clip(str(path), processor(tmp_path, FakePipeline(), limits=short))
