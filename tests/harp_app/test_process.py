from __future__ import annotations

import os
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from fake_endpoint import FAKE_PRESETS, FakePipeline
from hypothesis import given
from hypothesis import strategies as st

from harp_app import controls
from harp_app.jobs.model_cache import Models
from harp_app.jobs.queue import Cancelled, Job
from harp_app.jobs.storage import Storage
from harp_app.process import Processor, ascii_stem, within
from harp_app.settings import read
from vampnet.audio import Limits
from vampnet.system.errors import UserError


@pytest.fixture
def clip(tmp_path):
    """Two seconds of stereo noise in 24 bits at 48 kHz."""
    path = tmp_path / "My Lo\u00f6p #1.wav"
    sound = 0.1 * np.random.default_rng(0).standard_normal((96000, 2))
    soundfile.write(path, sound, 48000, subtype="PCM_24")
    return path


@pytest.fixture
def make(tmp_path):
    """A processor around a fake pipeline; its folders lie in tmp_path."""

    def made(pipeline=None, **options):
        def folder():
            place = tmp_path / f"answer{len(list(tmp_path.iterdir()))}"
            place.mkdir()
            return place

        models = Models(load=lambda place, device: pipeline or FakePipeline())
        return Processor(models, FAKE_PRESETS, folder, **options)

    return made


def ask(processor, path, job=None, **changed):
    table = processor.all_controls
    values = [changed.pop(c.field.replace(".", "_"), c.default) for c in table]
    assert not changed
    file = None if path is None else str(path)
    return processor(file, values, job or Job("a", 1), table=table)


def test_the_answer_is_a_file_like_the_clip_with_a_plain_name(make, clip):
    answer = ask(make(), clip, seed="42")
    (file,) = answer.files
    assert file.name == "My-Loop-1-vamp-42.wav"
    ours, theirs = soundfile.info(file), soundfile.info(clip)
    for name in ("frames", "samplerate", "channels", "format", "subtype"):
        assert getattr(ours, name) == getattr(theirs, name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.wav", ".wav"), ("a.WAV", ".wav"), ("a", ".wav"), ("a.bwf", ".bwf"), ("a.tmp", ".wav")],
)
def test_the_extension_is_one_that_harp_reads(make, clip, tmp_path, name, expected):
    path = tmp_path / name
    path.write_bytes(clip.read_bytes())
    (file,) = ask(make(), path).files
    assert file.suffix == expected and soundfile.info(file).subtype == "PCM_24"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("", "clip"), ("\u4e2d\u6587.wav", "clip"), ("a b#c.wav", "a-b-c"), ("x" * 90, "x" * 40)],
)
def test_stems_are_ascii_without_blanks(name, expected):
    assert ascii_stem(name) == expected


def test_takes_are_as_many_files_from_one_pass(make, clip):
    pipeline = FakePipeline()
    answer = ask(make(pipeline, takes=3), clip, seed="5")
    names = [f"My-Loop-1-take{k}of3-vamp-5.wav" for k in (1, 2, 3)]
    assert [file.name for file in answer.files] == names
    assert "3 takes" in answer.marks[0].description and "take1of3" in answer.marks[0].description
    assert len({file.read_bytes() for file in answer.files}) == 3
    assert len(pipeline.calls) == 1


def test_the_first_label_lets_the_take_be_had_again(make, clip):
    first = ask(make(), clip, prompt_period=13, ranges="0.5-1")
    seed = first.settings.seed
    mark = first.marks[0]
    assert mark.label == f"seed {seed}" and f"seed {seed}" in mark.description
    assert "period 13" in mark.description and "range 0.5-1" in mark.description
    again = ask(make(), clip, prompt_period=13, ranges="0.5-1", seed=str(seed))
    assert again.files[0].read_bytes() == first.files[0].read_bytes()
    other = ask(make(), clip, prompt_period=13, ranges="0.5-1", seed=str(seed + 1))
    assert other.files[0].read_bytes() != first.files[0].read_bytes()


def test_outside_the_ranges_every_sample_stays(make, clip):
    answer = ask(make(), clip, ranges="0.5-1")
    before, _ = soundfile.read(clip, dtype="int32")
    after, _ = soundfile.read(answer.files[0], dtype="int32")
    changed = np.flatnonzero((before != after).any(1)) / 48000
    assert len(changed) and changed.min() >= 0.5 and changed.max() <= 1.0
    (mark,) = answer.places
    assert (mark.t, mark.duration, mark.label) == (0.5, 0.5, "new")


def test_a_label_says_that_a_preset_keeps_all_of_a_short_clip(make, clip):
    class Unchanged(FakePipeline):
        def vamp(self, *args, **options):
            return replace(super().vamp(*args, **options), mask=torch.zeros(1))

    found = [m for m in ask(make(Unchanged()), clip).marks if m.label == "nothing new"]
    assert len(found) == 1 and "nothing was regenerated" in found[0].description
    assert not [m for m in ask(make(), clip).marks if m.label == "nothing new"]


def test_ranges_of_bars_may_end_a_hair_behind_the_clip(make, clip):
    assert ask(make(), clip, ranges="bar 1", bpm=119).settings.ranges_s == ((0.0, 2.0),)
    with pytest.raises(ValueError, match="2.01-3 s lies outside the clip, which is 2.000 s long"):
        ask(make(), clip, ranges="2.01-3")
    with pytest.raises(ValueError, match="lies outside"):
        ask(make(), clip, ranges="bar 1-2", bpm=120)


@given(st.floats(40, 250), st.integers(1, 400), st.sampled_from([1, 2]))
def test_bars_of_a_tempo_that_was_rounded_end_with_the_clip(bpm, bars, decimals):
    table, written = controls.table(FAKE_PRESETS, ["default"]), round(bpm, decimals)
    changed = {"bpm": written, "ranges": f"bar {bars}"}
    values = [changed.get(control.field, control.default) for control in table]
    settings = read(values, table, FAKE_PRESETS)
    duration_s = bars * 4 * 60 / bpm
    ((start_s, end_s),) = within(settings, duration_s).ranges_s
    off_s = duration_s * 0.051 / bpm + 0.001
    assert duration_s - off_s <= end_s <= duration_s
    assert abs(start_s - (duration_s - 4 * 60 / bpm)) <= off_s


def test_mono_and_loudness_reach_the_pipeline(make, clip):
    stereo, mono = ask(make(), clip, seed="1"), ask(make(), clip, seed="1", out="mono")
    assert stereo.files[0].read_bytes() != mono.files[0].read_bytes()
    assert soundfile.info(mono.files[0]).channels == 2


def test_limits_are_told_with_numbers(make, clip, tmp_path):
    with pytest.raises(ValueError, match=r"0\.5 MB; at most 0.1 MB"):
        ask(make(max_file_mb=0.1), clip)
    with pytest.raises(ValueError, match=r"2\.0 s long; 1 s are allowed"):
        ask(make(limits=Limits(max_duration_s=1.0)), clip)
    with pytest.raises(ValueError, match="choose one first"):
        ask(make(), None)
    empty = tmp_path / "empty.wav"
    empty.write_bytes(b"")
    with pytest.raises(ValueError, match="0 bytes"):
        ask(make(), empty)
    with pytest.raises(ValueError, match="takes is 5; allowed is 1 to 4"):
        make(takes=5)


def stop_once_started(pipeline, job):
    """Stop a job some steps after its pipeline has started."""

    def stop():
        pipeline.started.wait(60)
        time.sleep(0.05)
        job.stop("The job was cancelled.")

    threading.Thread(target=stop, daemon=True).start()


def test_a_stopped_job_leaves_the_pipeline_between_steps(make, clip):
    pipeline, job = FakePipeline(step_s=0.01), Job("a", 1)
    stop_once_started(pipeline, job)
    with pytest.raises(Cancelled):
        ask(make(pipeline), clip, job, sampling_steps=64)
    assert 0 < pipeline.steps_done < 40


def test_a_stopped_job_leaves_even_where_the_pipeline_never_asks(make, clip):
    class Deaf(FakePipeline):
        done = 0

        def vamp(self, audio, *args, **kwargs):
            self.started.set()
            for _ in range(400):
                time.sleep(0.005)
                self.done += 1
                audio = audio + 1
            return super().vamp(audio, *args, **kwargs)

    pipeline, job = Deaf(), Job("a", 1)
    stop_once_started(pipeline, job)
    with pytest.raises(Cancelled):
        ask(make(pipeline), clip, job)
    assert 0 < pipeline.done < 200


def test_a_job_asks_all_the_time_while_its_file_is_made(make, tmp_path):
    path = tmp_path / "long.wav"
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal((300000, 2)), 44100)

    class Asked(Job):
        """Ends when it is asked once too often after its last step."""

        asked, allowed = 0, 10**6

        def on_step(self, done, total):
            self.asked = 0

        def check(self):
            self.asked += 1
            if self.asked > self.allowed:
                raise Cancelled

    whole = Asked("a", 1)
    (file,) = ask(make(), path, whole).files
    blocks = 300000 // 2**16 + 1
    assert whole.asked > 20 + blocks
    for ahead_of_its_end in (0, blocks - 1, blocks, whole.asked // 2):
        job = Asked("a", 1)
        job.allowed = whole.asked - 1 - ahead_of_its_end
        with pytest.raises(Cancelled):
            ask(make(), path, job)
    left = [place for place in tmp_path.rglob("*") if place.is_file()]
    assert sorted(left) == sorted([path, file])


def test_models_load_once_when_asked_for_and_only_known_ones(tmp_path):
    for name in ("drums", "bass", ".hidden", "notes", "default"):
        (tmp_path / name).mkdir()
    for file in ("drums/config.json", "bass/codec.pth", ".hidden/config.json", "notes/a.wav"):
        (tmp_path / file).touch()
    loaded = []

    def load(place, device):
        time.sleep(0.05)
        loaded.append(place)
        return object()

    models = Models(tmp_path, load=load)
    assert models.names == ("default", "bass", "drums") and not loaded
    found = []
    threads = [threading.Thread(target=lambda: found.append(models.get("drums"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loaded == [str(tmp_path / "drums")] and len(set(map(id, found))) == 1
    with pytest.raises(ValueError, match="choose default, bass, drums"):
        models.get("../..")
    with pytest.raises(ValueError, match="does not exist"):
        Models(tmp_path / "nowhere")


def test_a_broken_model_is_named_without_its_path(tmp_path, caplog):
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "config.json").touch()

    def load(place, device):
        raise UserError(f"{place}/coarse.pth: missing keys")

    with pytest.raises(ValueError) as error:
        Models(tmp_path, load=load).get("odd")
    assert "'odd'" in str(error.value) and str(tmp_path) not in str(error.value)
    (record,) = caplog.records
    assert "missing keys" in record.getMessage() and not record.exc_info
    with pytest.raises(ValueError, match="The model '/my/own' cannot be loaded"):
        Models(default="/my/own", load=load).get("default")


def test_storage_is_private_swept_and_removed(tmp_path):
    deleted = []
    storage = Storage(keep_s=3600, parent=tmp_path)
    storage.on_delete = deleted.append
    folder = storage.new_folder()
    old, new = folder / "old.wav", folder / "new.wav"
    for file in (old, new):
        file.write_bytes(b"x")
    long_ago = time.time() - 4000
    os.utime(old, (long_ago, long_ago))
    assert storage.sweep() == 1
    assert not old.exists() and new.exists() and deleted == [str(old)]
    if os.name != "nt":
        assert storage.root.stat().st_mode & 0o077 == 0
    storage.close()
    assert not storage.root.exists()


def test_the_age_of_a_clip_counts_from_its_last_use(make, clip):
    os.utime(clip, (0, 0))
    ask(make(), clip)
    assert clip.stat().st_mtime > time.time() - 60
    clip.unlink()
    with pytest.raises(ValueError, match=r"^Choose the clip again: it is no longer on the server"):
        ask(make(), clip)
