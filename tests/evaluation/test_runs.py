"""Runs: results that are kept, read back, and made anew only where they are another's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import pytest
import torch

from vampnet.evaluation import experiments as table
from vampnet.evaluation import runs
from vampnet.evaluation.embeddings import LevelEmbedding
from vampnet.evaluation.runs import Bench, Job, Result, jobs_of, run_all
from vampnet.model import Sampling
from vampnet.presets import presets
from vampnet.prompt import Prompt

RATE = 44100
SAMPLING = Sampling(steps=2, fine_steps=1)


def test_a_stopped_run_goes_on(tiny_pipeline, small, tmp_path, monkeypatch):
    clips, few = small
    bench = Bench(tiny_pipeline, "model", tmp_path)
    jobs = jobs_of(few, clips, seeds=1)
    assert len(jobs) == 4 + 4 + 3
    done = []

    def stop(so_far: int, total: int) -> None:
        done.append(so_far)
        if so_far >= 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_all(bench, jobs, 1, stop)
    kept = len(list(tmp_path.glob("*.safetensors")))
    assert 5 <= kept < len(jobs) and not list(tmp_path.glob("*.part"))

    made = []
    measure = Bench.measure
    monkeypatch.setattr(
        Bench, "measure", lambda self, job: (made.append(job), measure(self, job))[1]
    )
    first = run_all(bench, jobs, 2)
    assert len(made) == len(jobs) - kept and set(first) == set(jobs)
    again = run_all(Bench(tiny_pipeline, "model", tmp_path), jobs, 2)
    assert len(made) == len(jobs) - kept  # all of it was read back
    for job in jobs:
        assert again[job].figures == pytest.approx(first[job].figures, nan_ok=True)
        assert torch.equal(again[job].points["musicnn"], first[job].points["musicnn"])


def test_what_a_result_depends_on_is_in_its_name(tiny_pipeline, small, tmp_path):
    clips, few = small
    job = Job(few[1].settings[0], clips[0], 0)
    bench = Bench(tiny_pipeline, "model", tmp_path)
    place = bench.place(job)
    other = replace(job.setting, sampling=replace(SAMPLING, temperature=0.5))
    assert place != bench.place(replace(job, seed=1))
    assert place != bench.place(replace(job, clip=clips[1]))
    assert place != bench.place(replace(job, setting=other))
    assert place != Bench(tiny_pipeline, "another", tmp_path).place(job)
    assert place == bench.place(replace(job, setting=replace(job.setting, name="renamed")))
    real = Job(few[0].settings[0], clips[0], 0)
    assert bench.place(real) == Bench(tiny_pipeline, "another", tmp_path).place(real)


def test_settings_that_are_alike_are_made_once(tiny_pipeline, small, tmp_path, monkeypatch):
    clips, few = small
    one = few[1].settings[0]
    jobs = [Job(s, clip, 0) for clip in clips[:2] for s in (one, replace(one, name="another"))]
    made, calls = [], []
    result = Result({"mel": 1.0}, {"musicnn": torch.zeros(1, 3), "levels": torch.zeros(1, 3)})
    monkeypatch.setattr(Bench, "measure", lambda self, job: (made.append(job), result)[1])
    found = run_all(Bench(tiny_pipeline, "m", tmp_path), jobs, 4, lambda *n: calls.append(n))
    assert len(made) == 2 and list(found) == jobs and calls[-1] == (4, 4)


def test_results_kept_at_the_same_time_do_not_meet(tmp_path, monkeypatch):
    together = Barrier(2, timeout=10)
    save = runs.save_file
    monkeypatch.setattr(runs, "save_file", lambda *a, **names: (save(*a, **names), together.wait()))
    result = Result({"mel": 1.0}, {"musicnn": torch.zeros(1, 3)})
    with ThreadPoolExecutor(2) as pool:
        for kept in [pool.submit(runs.write, tmp_path / "x.safetensors", result) for _ in "ab"]:
            kept.result()
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


class Loudest:
    """A way to hear that counts how often it does."""

    rate_hz, dims = 16000, 2

    def __init__(self, name: str):
        self.name, self.heard = name, 0

    def __call__(self, audio: torch.Tensor) -> torch.Tensor:
        self.heard += 1
        return torch.stack([audio.abs().max(), audio.std()])[None]


def test_another_embedding_hears_what_was_made_and_nothing_is_made_again(
    tiny_pipeline, small, tmp_path, monkeypatch
):
    clips, few = small
    jobs = jobs_of(few, clips, seeds=1)
    first, other = Loudest("loudest-1"), Loudest("loudest-2")
    levels = LevelEmbedding(RATE)
    fresh = run_all(Bench(tiny_pipeline, "model", tmp_path / "fresh", [levels, first]), jobs, 1)
    run_all(Bench(tiny_pipeline, "model", tmp_path / "kept", [levels]), jobs, 1)
    n_files, first.heard = len(list((tmp_path / "kept").iterdir())), 0

    def never(*_: object) -> None:
        raise AssertionError("made or heard again")

    monkeypatch.setattr(Bench, "measure", never)
    monkeypatch.setattr(LevelEmbedding, "__call__", never)
    added = run_all(Bench(tiny_pipeline, "model", tmp_path / "kept", [levels, first]), jobs, 2)
    assert first.heard == len(jobs)
    for job in jobs:
        assert list(added[job].points) == ["levels", "loudest-1"]
        for name, points in added[job].points.items():
            torch.testing.assert_close(points, fresh[job].points[name])
    both = run_all(Bench(tiny_pipeline, "model", tmp_path / "kept", [other, first]), jobs, 1)
    assert (first.heard, other.heard) == (len(jobs), len(jobs))
    assert all(list(result.points) == ["loudest-2", "loudest-1"] for result in both.values())
    alone = run_all(Bench(tiny_pipeline, "model", tmp_path / "kept", [levels]), jobs, 1)
    assert all(list(result.points) == ["levels"] for result in alone.values())
    assert len(list((tmp_path / "kept").iterdir())) == n_files


def test_presets_run_only_when_asked_for_and_their_masks_are_the_models(
    tiny_pipeline, small, tmp_path
):
    clips, _ = small
    known = presets()
    every = table.experiments(4, 14, SAMPLING, known)
    assert [e.name for e in table.chosen(every, ["presets"])] == ["anchors", "presets"]
    assert len(every["presets"].settings) == 3 * (1 + len(known))
    bench = Bench(tiny_pipeline, "model", tmp_path)
    prompt = Prompt(period=7, period_phase=None, dropout=0.3)
    job = Job(table.Setting("drawn", "vamp", prompt, SAMPLING), clips[0], 5)
    codes, heard = bench.heard(clips[0])
    vamp = tiny_pipeline.vamp(clips[0].sound[None, None], prompt, SAMPLING, 5)
    assert torch.equal(bench.mask(job, codes, heard), vamp.mask)


def test_a_damaged_result_is_made_anew(tiny_pipeline, small, tmp_path):
    clips, few = small
    bench = Bench(tiny_pipeline, "model", tmp_path)
    job = Job(few[0].settings[1], clips[0], 0)
    first = bench.run(job)
    bench.place(job).write_bytes(b"broken")
    assert bench.run(job).figures == pytest.approx(first.figures, nan_ok=True)
    assert runs.read(bench.place(job)) is not None
