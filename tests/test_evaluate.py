"""The whole evaluation, small: clips, settings, results that are kept, figures and the report."""

from __future__ import annotations

import math
import re
from argparse import ArgumentParser
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import pytest
import soundfile
import torch
from conftest import chord, noise, tone, vggish_state
from safetensors.torch import save_file

from vampnet import checkpoints, cli
from vampnet.beats import beat_grid
from vampnet.cli import evaluate as command
from vampnet.evaluation import experiments as table
from vampnet.evaluation import runs
from vampnet.evaluation.baselines import random_tokens
from vampnet.evaluation.clips import Clip, cut, places
from vampnet.evaluation.embeddings import LevelEmbedding
from vampnet.evaluation.intervals import Estimate
from vampnet.evaluation.musical import compare, hear, level_changes, tempo_drift_percent
from vampnet.evaluation.relations import relations
from vampnet.evaluation.runs import Bench, Job, Result, jobs_of, run_all
from vampnet.evaluation.scores import Scores
from vampnet.evaluation.seams import click_db, outside_error, turns
from vampnet.evaluation.whole import Plan, evaluate
from vampnet.presets import presets
from vampnet.prompts import Prompt
from vampnet.sampling import Sampling

RATE = 44100
SAMPLING = Sampling(steps=2, fine_steps=1)


# Measures ----------------------------------------------------------------------------------------


def test_a_click_is_found_where_it_is_and_nowhere_else():
    sound = 0.1 * tone(2.0)[0] + 0.001 * noise(2.0)[0]
    quiet = click_db(sound, [22050, 44100], RATE)
    torn = sound.clone()
    torn[44100:] += 0.2
    assert abs(quiet) < 6 and click_db(torn, [44100], RATE) > 30
    assert abs(click_db(torn, [22050], RATE) - click_db(sound, [22050], RATE)) < 1e-6
    assert math.isnan(click_db(sound, [3], RATE))


def test_change_outside_the_ranges_is_found():
    before = noise(0.1, channels=2)
    after = before.clone()
    after[:, 1000:2000] = 0
    assert outside_error(before, after, [(1000, 2000)]) == 0
    after[1, 999] += 0.25
    assert outside_error(before, after, [(1000, 2000)]) == pytest.approx(0.25)


def test_edges_are_those_of_long_parts():
    mask = torch.ones(2, 200, dtype=torch.bool)
    mask[:, :50] = False  # a prefix
    mask[:, 100:200:7] = False  # single frames
    mask[0, 60] = False  # one codebook of a frame
    assert turns(mask, 5) == [50] or turns(mask, 5)[0] == 50
    assert turns(torch.ones(2, 50, dtype=torch.bool), 5) == []


def test_tempo_drift_forgives_octaves():
    assert tempo_drift_percent(120, 120) == 0
    assert tempo_drift_percent(120, 60) == pytest.approx(0)
    assert tempo_drift_percent(120, 126) == pytest.approx(5)
    assert tempo_drift_percent(126, 120) == pytest.approx(5)
    assert math.isnan(tempo_drift_percent(120, None))


def test_level_changes_by_hand():
    sound = 0.5 * tone(2.0)[0]
    loudness_lu, peak_db = level_changes(sound, sound / 2, RATE)
    assert (loudness_lu, peak_db) == (pytest.approx(6.02, abs=0.01), pytest.approx(6.02, abs=0.01))
    assert all(map(math.isnan, level_changes(sound, torch.zeros(RATE), RATE)))


def test_a_sound_compared_with_itself_is_perfect_and_with_noise_is_not():
    heard = hear(chord(4.0)[0], RATE, beats=True)
    same = compare(heard, heard)
    assert same["mel"] == same["loudness_lu"] == same["peak_db"] == 0
    for name in ("chroma", "onsets", "onset_f", "beat_f"):
        assert same[name] == pytest.approx(1.0), name
    other = compare(heard, hear(noise(4.0)[0], RATE, beats=True))
    assert other["mel"] > 0.5 and other["chroma"] < 0.5 and other["onset_f"] < 1


# Settings ----------------------------------------------------------------------------------------


def test_bitrates_are_counted_from_the_mask():
    frames = 1600
    for period, kept, expected in ((16, 4, 57.42 / 16 * 40), (1, 1, 574.2), (4, 2, 57.42 / 4 * 20)):
        mask = Prompt(period=period, codebooks_kept=kept).mask(frames, 14, 44100 / 768)[0]
        assert table.bits_per_second(mask, 44100 / 768, 1024) == pytest.approx(expected, rel=1e-3)
    assert table.bits_per_second(torch.ones(14, 10, dtype=torch.bool), 57.4, 1024) == 0


def test_the_papers_settings_are_there():
    every = table.experiments(4, 14, SAMPLING, presets())
    assert list(every) == ["anchors", "prompts", "baselines", "steps", "bitrates", "presets"]
    assert [s.sampling.steps for s in every["steps"].settings] == [1, 4, 8, 12, 24, 36, 64, 72]
    assert {s.prompt.period for s in every["steps"].settings} == {16}
    names = [s.name for e in every.values() for s in e.settings]
    assert len(set(names)) == len(names)
    for prompt in table.prompts(4):
        assert f"{prompt}: hold" in names and f"{prompt}: random" in names
    assert [e.name for e in table.chosen(every, ["steps"])] == ["anchors", "steps"]
    assert len(table.chosen(every, [])) == 5
    with pytest.raises(ValueError, match="no experiment 'stpes'; there are anchors"):
        table.chosen(every, ["stpes"])
    for experiment in every.values():
        few = table.quick(experiment)
        assert 0 < len(few.settings) <= len(experiment.settings) and few.name == experiment.name


def test_random_tokens_at_a_ratio_replace_that_share():
    codes = torch.zeros(1, 14, 1000, dtype=torch.long)
    for ratio in (0.1, 0.5, 1.0):
        mask = table.ratio_mask(codes, ratio, torch.Generator().manual_seed(1))
        made = random_tokens(codes, mask, 1024, torch.Generator().manual_seed(2))
        assert float((made != 0).float().mean()) == pytest.approx(ratio, abs=0.02)


# Clips -------------------------------------------------------------------------------------------


def test_clips_never_overlap_and_every_file_comes_first():
    found = places([25.0, 4.0, 61.0], 6, 10.0)
    assert [file for file, _ in found] == [0, 2, 0, 2, 2, 2]
    for file, duration in ((0, 25.0), (2, 61.0)):
        starts = sorted(start for f, start in found if f == file)
        assert starts[0] >= 0 and starts[-1] + 10 <= duration
        assert all(b - a >= 10 for a, b in zip(starts[:-1], starts[1:], strict=True))
    assert places([25.0], 100, 10.0) == places([25.0], 2, 10.0)


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    """A folder of three short pieces, and a file that is no audio."""
    folder = tmp_path_factory.mktemp("music")
    for seed in range(3):
        soundfile.write(folder / f"piece {seed}.wav", chord(7.0, seed=seed)[0].numpy(), RATE)
    (folder / "readme.txt").write_text("no audio")
    return folder


def test_clips_are_cut_from_what_is_audio(music, tmp_path):
    found = cut(music, 22050, 10, 3.0)
    assert len(found) == 6 and [clip.number for clip in found] == list(range(6))
    assert all(len(clip.sound) == 3 * 22050 for clip in found)
    assert len({clip.content for clip in found}) == 6
    soundfile.write(tmp_path / "silence.wav", torch.zeros(RATE * 40).numpy(), RATE)
    with pytest.raises(ValueError, match="gives 0 clips of 3 s; at least 4"):
        cut(tmp_path, 22050, 10, 3.0)


# Runs --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(music):
    """Clips, and experiments of two settings besides the anchors, for the tiny model."""
    every = table.experiments(4, 14, SAMPLING, presets())
    anchors, prompts = every["anchors"], every["prompts"]
    few = [
        replace(anchors, settings=(anchors.settings[0], anchors.settings[-1]), share=1.0),
        replace(prompts, settings=(prompts.settings[2],), share=0.5),
    ]
    return cut(music, RATE, 4, 3.0), few


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


# Figures and report ------------------------------------------------------------------------------


def results_of(figures: dict[str, list[float]], small) -> dict[Job, Result]:
    """Made-up results: a setting's mel errors over clips."""
    clips, _ = small
    some = {"musicnn": torch.zeros(2, 3)}
    found = {Job(table.Setting("real music", "real"), clip, 0): Result({}, some) for clip in clips}
    for number, (name, values) in enumerate(figures.items()):
        for clip, value in zip(clips, values, strict=True):
            setting = table.Setting(name, "vamp", Prompt())
            found[Job(setting, clip, 0)] = Result({"mel": value, "bits_per_s": number}, some)
    return found


def test_relations_hold_fail_or_are_open(small):
    def verdict(eight, sixteen, thirty_two):
        figures = {"periodic 8": eight, "periodic 16": sixteen, "periodic 32": thirty_two}
        found = relations(Scores(results_of(figures, small)))
        return next(r.verdict for r in found if r.claim.startswith("Mel error: periodic"))

    low, middle, high = [0.5, 0.6, 0.4, 0.5], [0.7, 0.8, 0.6, 0.71], [0.9, 1.0, 0.8, 0.9]
    assert verdict(low, middle, high) == "holds"
    assert verdict(high, middle, low) == "fails"
    assert verdict(low, [0.3, 0.9, 0.6, 0.4], high) == "open"
    assert verdict([math.nan] * 4, middle, high) == "open"


def test_bitrates_are_compared_along_lines(small):
    def verdict(*means: float) -> str:
        """Of settings with rising bitrate."""
        names = ["every 16. frame, 1 codebook", "every 16. frame, 4 codebooks",
                 "every 1. frame, 1 codebook", "every 1. frame, 4 codebooks"]  # fmt: skip
        spread = (-0.01, 0.0, 0.01, 0.005)
        made = {n: [m + d for d in spread] for n, m in zip(names, means, strict=True)}
        found = relations(Scores(results_of(made, small)))
        return next(r.verdict for r in found if r.claim.startswith("Mel error falls"))

    assert verdict(1.2, 0.7, 0.8, 0.5) == "holds"  # 4 codebooks of few frames beat 1 of all
    assert verdict(1.2, 1.3, 0.8, 0.5) == "fails"
    assert verdict(0.8, 0.7, 1.2, 0.5) == "fails"
    assert verdict(1.2, 0.7, 0.8, 0.8) == "fails"


def test_the_floor_is_that_of_halves_of_the_real_music():
    rng = torch.Generator().manual_seed(1)
    setting, sound = table.Setting("real music", "real"), torch.zeros(3)
    results = {
        Job(setting, Clip(n, "", sound, RATE), 0): Result(
            {}, {"musicnn": torch.randn(3, 4, generator=rng)}
        )
        for n in range(40)
    }
    scores = Scores(results)
    for measure in ("frechet:musicnn", "kernel:musicnn"):
        floor = scores.estimate("real music", measure)
        assert floor.half > 0 and floor.low < 0.3 and abs(floor.value) < 1, measure


def test_seeds_of_a_clip_count_as_one(small):
    clips, _ = small
    results = results_of({"x": [1.0, 2.0, 3.0, 4.0]}, small)
    setting = next(job.setting for job in results if job.setting.name == "x")
    doubled = {**results, **{
        replace(job, seed=1): result for job, result in results.items() if job.setting == setting
    }}  # fmt: skip
    one, two = (Scores(r).estimate("x", "mel") for r in (results, doubled))
    assert one == two and one.value == 2.5
    assert math.isnan(Scores(results).estimate("absent", "mel").value)
    assert Estimate(1.0, 0.5).low == 0.5


@pytest.fixture(scope="module")
def tiny_folder(tiny_pipeline, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "tiny"
    parts = tiny_pipeline.codec, tiny_pipeline.coarse, tiny_pipeline.c2f
    return checkpoints.save_folder(folder, *parts)


@pytest.mark.slow
def test_the_command_writes_a_report_that_stands_alone(
    music, tiny_folder, tmp_path, capsys, monkeypatch
):
    quick, few = (
        table.quick,
        {"anchors": 9, "steps": 2, "bitrates": 3, "prompts": 2, "baselines": 2},
    )
    monkeypatch.setattr(
        table, "quick", lambda e: replace(quick(e), settings=quick(e).settings[: few[e.name]])
    )
    line = ["evaluate", str(music), str(tmp_path), "--model", str(tiny_folder), "--quick",
            "--clips", "4", "--seconds", "3", "--jobs", "2"]  # fmt: skip
    assert cli.main(line) == cli.OK, capsys.readouterr().err
    said = capsys.readouterr()
    assert "Mel error falls with bitrate" in said.err and "report.html" in said.out
    text = (tmp_path / "report.md").read_text()
    for heading in ("Sampling steps", "Prompts", "Bitrates", "same masks", "codec and chance"):
        assert heading in text
    assert "command: vampnet evaluate" in text and "outside the ranges 0 (must be 0)" in text
    assert str(music.parent) not in text  # folders by their names alone
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/png;base64,") >= 4 and page.count("data:audio/ogg;base64,") > 6
    assert not re.search(r"(src|href)=['\"](?!data:)", page)  # nothing from elsewhere
    for name in ("steps", "prompts", "bitrates"):
        assert (tmp_path / "figures" / f"{name}.png").stat().st_size > 5000


def test_the_report_tells_of_embeddings_that_were_asked_for(
    music, tiny_folder, tiny_clap, tmp_path, capsys, monkeypatch
):
    names = ("real music", "1 steps", "12 steps")
    monkeypatch.setattr(
        table,
        "quick",
        lambda e: replace(e, settings=tuple(s for s in e.settings if s.name in names), share=1.0),
    )
    save_file(vggish_state(), tmp_path / "small.safetensors")
    plain = ["evaluate", str(music), str(tmp_path / "out"), "--model", str(tiny_folder), "--quick",
             "--experiments", "steps", "--clips", "4", "--seconds", "3"]  # fmt: skip
    asked = [f"clap={tiny_clap[0]}", f"vggish={tmp_path / 'small.safetensors'}"]
    line = [*plain, "--embedding", asked[0], "--embedding", asked[1]]
    assert cli.main(line) == cli.OK, capsys.readouterr().err
    said, text = capsys.readouterr().err, (tmp_path / "out" / "report.md").read_text()
    told = re.search(r"embeddings: musicnn, levels, (clap-\w{8}), (vggish-\w{8})\n", text)
    assert told is not None
    clap, vggish = told.groups()
    assert "--embedding clap=tiny --embedding vggish=small.safetensors" in text
    for name in ("musicnn", clap, vggish):
        assert f"Frechet, {name} ↓ | kernel, {name} ↓" in text
    for name in ("", f" by {clap}", f" by {vggish}"):
        assert f"Frechet distance{name}: 1 step clearly worse than 12" in said
    page = (tmp_path / "out" / "report.html").read_text()
    assert f"<em>{clap}</em> is that of an embedding" in page and str(tmp_path) not in page + text

    monkeypatch.setattr(Bench, "measure", None)  # all is there
    assert cli.main(plain) == cli.OK, capsys.readouterr().err
    text = (tmp_path / "out" / "report.md").read_text()
    assert "clap" not in text and "Frechet, full band" in text
    assert cli.main([*plain, "--embedding", "mert=x"]) == cli.MISTAKE
    assert "allowed are clap=FOLDER or NAME, vggish=FILE" in capsys.readouterr().err


@pytest.mark.parametrize(
    "told",
    ["", "--clips 10", "--seconds 1.0", "--seeds 10", "--experiments steps", "--clips 12 --quick"],
)
def test_the_command_told_is_the_one_that_was_given(told):
    parser = ArgumentParser()
    command.add(lambda *_: parser)
    args = parser.parse_args(["folder/music", "some/out", *told.split()])
    assert command._command(args) == f"vampnet evaluate music out {told}".strip()


def test_mistakes_are_told_before_the_work(music, tmp_path, capsys):
    assert cli.main(["evaluate", str(tmp_path), str(tmp_path / "out")]) == cli.MISTAKE
    assert "at least 4" in capsys.readouterr().err
    assert cli.main(["evaluate", str(music), str(tmp_path), "--experiments", "x"]) == cli.MISTAKE
    assert "no experiment 'x'" in capsys.readouterr().err
    assert cli.main(["evaluate", str(music), str(tmp_path), "--clips", "0"]) == cli.MISTAKE
    assert "clips is 0; allowed is 4 and up" in capsys.readouterr().err
    for wrong in ({"seeds": 0}, {"clips": 3}, {"seconds": 1.0}, {"workers": 0}):
        with pytest.raises(ValueError, match="allowed is"):
            Plan(**wrong)
    with pytest.raises(ValueError, match="no experiment"):
        evaluate(music, tmp_path, plan=Plan(names=("x",)))


def test_the_beats_of_a_grid_are_found_again():
    grid = beat_grid(120, 4.0)
    assert compare(
        replace(hear(chord(4.0)[0], RATE, beats=False), beats=grid),
        replace(hear(chord(4.0)[0], RATE, beats=False), beats=beat_grid(120, 4.0, 0.25)),
    )["beat_f"] == pytest.approx(0.0)
