"""Cached results: read back where nothing changed, computed again where something did."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import pytest
import torch

from vampnet.evaluation import experiments as table
from vampnet.evaluation import runs
from vampnet.evaluation.embeddings import LevelEmbedding
from vampnet.evaluation.runs import EvaluationRunner, Result, Trial, run_all, trials_of
from vampnet.model import Sampling
from vampnet.presets import presets
from vampnet.prompt import Prompt

RATE = 44100
SAMPLING = Sampling(steps=2, fine_steps=1)


@pytest.mark.slow
def test_a_stopped_run_resumes_from_the_cache(tiny_pipeline, small, tmp_path, monkeypatch):
    clips, few = small
    runner = EvaluationRunner(tiny_pipeline, "model", tmp_path)
    trials = trials_of(few, clips, seeds=1)
    assert len(trials) == 4 + 4 + 3
    done = []

    def stop(so_far: int, total: int) -> None:
        done.append(so_far)
        if so_far >= 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_all(runner, trials, 1, stop)
    kept = len(list(tmp_path.glob("*.safetensors")))
    assert 5 <= kept < len(trials) and not list(tmp_path.glob("*.part"))

    made = []
    measure = EvaluationRunner.measure
    monkeypatch.setattr(
        EvaluationRunner,
        "measure",
        lambda self, trial: (made.append(trial), measure(self, trial))[1],
    )
    first = run_all(runner, trials, 2)
    assert len(made) == len(trials) - kept and set(first) == set(trials)
    again = run_all(EvaluationRunner(tiny_pipeline, "model", tmp_path), trials, 2)
    assert len(made) == len(trials) - kept  # all results come from the cache
    for trial in trials:
        assert again[trial].figures == pytest.approx(first[trial].figures, nan_ok=True)
        assert torch.equal(again[trial].points["musicnn"], first[trial].points["musicnn"])


def test_the_cache_key_covers_everything_a_result_depends_on(tiny_pipeline, small, tmp_path):
    clips, few = small
    trial = Trial(few[1].settings[0], clips[0], 0)
    runner = EvaluationRunner(tiny_pipeline, "model", tmp_path)
    place = runner.cache_path(trial)
    other = replace(trial.setting, sampling=replace(SAMPLING, temperature=0.5))
    assert place != runner.cache_path(replace(trial, seed=1))
    assert place != runner.cache_path(replace(trial, clip=clips[1]))
    assert place != runner.cache_path(replace(trial, setting=other))
    assert place != EvaluationRunner(tiny_pipeline, "another", tmp_path).cache_path(trial)
    assert place == runner.cache_path(
        replace(trial, setting=replace(trial.setting, name="renamed"))
    )
    real = Trial(few[0].settings[0], clips[0], 0)
    assert runner.cache_path(real) == EvaluationRunner(
        tiny_pipeline, "another", tmp_path
    ).cache_path(real)


def test_equal_settings_run_once(tiny_pipeline, small, tmp_path, monkeypatch):
    clips, few = small
    one = few[1].settings[0]
    trials = [Trial(s, clip, 0) for clip in clips[:2] for s in (one, replace(one, name="another"))]
    made, calls = [], []
    result = Result({"mel": 1.0}, {"musicnn": torch.zeros(1, 3), "levels": torch.zeros(1, 3)})
    monkeypatch.setattr(
        EvaluationRunner, "measure", lambda self, trial: (made.append(trial), result)[1]
    )
    found = run_all(
        EvaluationRunner(tiny_pipeline, "m", tmp_path), trials, 4, lambda *n: calls.append(n)
    )
    assert len(made) == 2 and list(found) == trials and calls[-1] == (4, 4)


def test_concurrent_writes_of_a_result_do_not_conflict(tmp_path, monkeypatch):
    together = Barrier(2, timeout=10)
    save = runs.save_file
    monkeypatch.setattr(runs, "save_file", lambda *a, **names: (save(*a, **names), together.wait()))
    result = Result({"mel": 1.0}, {"musicnn": torch.zeros(1, 3)})
    with ThreadPoolExecutor(2) as pool:
        for kept in [
            pool.submit(runs.write_result, tmp_path / "x.safetensors", result) for _ in "ab"
        ]:
            kept.result()
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


class CountingEmbedding:
    """A small embedding that counts its calls."""

    rate_hz, dims = 16000, 2

    def __init__(self, name: str):
        self.name, self.calls = name, 0

    def __call__(self, audio: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return torch.stack([audio.abs().max(), audio.std()])[None]


@pytest.mark.slow
def test_a_further_embedding_is_computed_from_cached_audio(
    tiny_pipeline, small, tmp_path, monkeypatch
):
    clips, few = small
    trials = trials_of(few, clips, seeds=1)
    first, other = CountingEmbedding("loudest-1"), CountingEmbedding("loudest-2")
    levels = LevelEmbedding(RATE)
    fresh = run_all(
        EvaluationRunner(tiny_pipeline, "model", tmp_path / "fresh", [levels, first]), trials, 1
    )
    run_all(EvaluationRunner(tiny_pipeline, "model", tmp_path / "kept", [levels]), trials, 1)
    n_files, first.calls = len(list((tmp_path / "kept").iterdir())), 0

    def never(*_: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(EvaluationRunner, "measure", never)
    monkeypatch.setattr(LevelEmbedding, "__call__", never)
    added = run_all(
        EvaluationRunner(tiny_pipeline, "model", tmp_path / "kept", [levels, first]), trials, 2
    )
    assert first.calls == len(trials)
    for trial in trials:
        assert list(added[trial].points) == ["levels", "loudest-1"]
        for name, points in added[trial].points.items():
            torch.testing.assert_close(points, fresh[trial].points[name])
    both = run_all(
        EvaluationRunner(tiny_pipeline, "model", tmp_path / "kept", [other, first]), trials, 1
    )
    assert (first.calls, other.calls) == (len(trials), len(trials))
    assert all(list(result.points) == ["loudest-2", "loudest-1"] for result in both.values())
    alone = run_all(
        EvaluationRunner(tiny_pipeline, "model", tmp_path / "kept", [levels]), trials, 1
    )
    assert all(list(result.points) == ["levels"] for result in alone.values())
    assert len(list((tmp_path / "kept").iterdir())) == n_files


def test_presets_run_only_on_request_with_the_masks_of_the_pipeline(tiny_pipeline, small, tmp_path):
    clips, _ = small
    known = presets()
    every = table.experiments(4, 14, SAMPLING, known)
    assert [e.name for e in table.select(every, ["presets"])] == ["anchors", "presets"]
    assert len(every["presets"].settings) == 3 * (1 + len(known))
    runner = EvaluationRunner(tiny_pipeline, "model", tmp_path)
    prompt = Prompt(period=7, period_phase=None, dropout=0.3)
    trial = Trial(table.Setting("random", "vamp", prompt, SAMPLING), clips[0], 5)
    codes, features = runner.encoded_features(clips[0])
    vamp = tiny_pipeline.vamp(clips[0].sound[None, None], prompt, SAMPLING, 5)
    assert torch.equal(runner.mask(trial, codes, features), vamp.mask)


def test_a_damaged_cached_result_is_computed_again(tiny_pipeline, small, tmp_path):
    clips, few = small
    runner = EvaluationRunner(tiny_pipeline, "model", tmp_path)
    trial = Trial(few[0].settings[1], clips[0], 0)
    first = runner.run(trial)
    runner.cache_path(trial).write_bytes(b"broken")
    assert runner.run(trial).figures == pytest.approx(first.figures, nan_ok=True)
    assert runs.read_result(runner.cache_path(trial)) is not None
