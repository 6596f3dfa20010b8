"""The complete evaluation: clips, trials, scores, plots, report."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import torch

from vampnet.evaluation import experiments as table
from vampnet.evaluation.audio_examples import examples
from vampnet.evaluation.clips import MusicClip, cut_clips
from vampnet.evaluation.embeddings import Embedding, bundled_embeddings
from vampnet.evaluation.plots import save_plots
from vampnet.evaluation.range_checks import InPlace, check_ranges
from vampnet.evaluation.relations import relations
from vampnet.evaluation.report import Report, RunMetadata, markdown, page
from vampnet.evaluation.round_trip import measure_round_trip
from vampnet.evaluation.runs import EvaluationRunner, Result, Trial, model_hash, run_all, trials_of
from vampnet.evaluation.scores import Scores
from vampnet.model import Sampling
from vampnet.pipeline import Pipeline
from vampnet.presets import presets
from vampnet.system.errors import UserError
from vampnet.system.optional import require

CACHE, FIGURES, PAGE, TEXT = "cache", "figures", "report.html", "report.md"
SAMPLING_PRESET = "large-variation"  # provides the sampling: it keeps as little as the prompts


@dataclass(frozen=True)
class EvaluationPlan:
    """Size of an evaluation.

    Attributes:
        names: experiments, none = the paper's.
        quick: fewer settings and clips.
        seeds: takes per clip.
        clips: number of clips at most.
        seconds: length of a clip.
        workers: trials that run at once.
        sampling: of the model, None = its recommended sampling.
    """

    names: tuple[str, ...] = ()
    quick: bool = False
    seeds: int = 1
    clips: int = 60
    seconds: float = 10.0
    workers: int = 1
    sampling: Sampling | None = None

    def __post_init__(self) -> None:
        for name, value, least in (
            ("seeds", self.seeds, 1),
            ("clips", self.clips, 4),
            ("seconds", self.seconds, 3),
            ("workers", self.workers, 1),
        ):
            if not value >= least:
                raise UserError(f"{name} is {value}; allowed is {least} and up")


def evaluate(
    music: str | Path,
    out: str | Path,
    model: str | Path = "default",
    plan: EvaluationPlan | None = None,
    *,
    embeddings: Sequence[Embedding] = (),
    device: str = "auto",
    command: str = "",
    in_place: InPlace | None = None,
    on_trial: Callable[[int, int], None] | None = None,
    on_stage: Callable[[str], None] | None = None,
) -> Report:
    """Evaluate a model on a folder of held-out music; a stopped evaluation resumes.

    Args:
        music: folder of audio files that the model was not trained on.
        out: folder to write: report.html, report.md, figures/ and cache/.
        model: name or folder of a model.
        plan: size of the evaluation.
        embeddings: further embeddings for distances, besides the bundled ones.
        device: torch device, or "auto".
        command: command line, shown in the report.
        in_place: writes a variation into a region as the endpoint does; without it, range edits
            are not checked.
        on_trial: called as ``on_trial(done, total)`` after each trial.
        on_stage: called with the name of each stage after the trials.

    Returns:
        The report.

    Raises:
        UserError: the music, the model or an experiment's name cannot be used.
    """
    require("matplotlib", "PIL", extra="eval", purpose="an evaluation's report")
    plan, out, start = plan or EvaluationPlan(), Path(out), time.monotonic()
    pipeline = Pipeline.from_pretrained(model, device=device, keep_weights=False)
    known = presets()
    sampling = plan.sampling or pipeline.sampling_for(known[SAMPLING_PRESET])
    n_coarse = pipeline.coarse.config.n_codebooks
    available = table.experiments(
        n_coarse, pipeline.codec.n_codebooks, sampling, known, pipeline.recommended
    )
    chosen = table.select(available, plan.names)
    if plan.quick:
        chosen = [table.quick(experiment) for experiment in chosen]
    clips = cut_clips(music, pipeline.codec.sample_rate, plan.clips, plan.seconds)
    digest = model_hash(model)
    every = {e.name: e for e in (*bundled_embeddings(pipeline.codec.sample_rate), *embeddings)}
    runner = EvaluationRunner(pipeline, digest, out / CACHE, tuple(every.values()))
    results = run_all(runner, trials_of(chosen, clips, plan.seeds), plan.workers, on_trial)
    report = _build_report(pipeline, chosen, results, clips, sampling, in_place, out, on_stage)
    sounds = examples(runner, results)
    markdown(report)  # computes the remaining distances, so that the duration includes them
    took_s = time.monotonic() - start
    metadata = _metadata(runner, music, clips, plan, sampling, command, took_s)
    report = replace(report, metadata=metadata)
    (out / TEXT).write_text(markdown(report), encoding="utf-8")
    (out / PAGE).write_text(page(report, sounds), encoding="utf-8")
    return report


def _build_report(
    pipeline: Pipeline,
    chosen: Sequence[table.Experiment],
    results: Mapping[Trial, Result],
    clips: Sequence[MusicClip],
    sampling: Sampling,
    in_place: InPlace | None,
    out: Path,
    on_stage: Callable[[str], None] | None,
) -> Report:
    """Build the report without its metadata, which contain the total duration."""
    notify = on_stage or (lambda stage: None)
    notify("computing distances")
    scores = Scores(results)
    found = relations(scores)
    notify("drawing plots")
    plots = save_plots(scores, out / FIGURES)
    ranges = None
    if in_place:
        notify("checking ranges")
        ranges = check_ranges(pipeline, clips, sampling, in_place)
    notify("measuring tones and hits")
    round_trip = measure_round_trip(pipeline.codec)
    notify("writing the report")
    return Report(RunMetadata(()), chosen, scores, found, ranges, plots, round_trip)


def _metadata(
    runner: EvaluationRunner,
    music: str | Path,
    clips: Sequence[MusicClip],
    plan: EvaluationPlan,
    sampling: Sampling,
    command: str,
    took_s: float,
) -> RunMetadata:
    minutes = sum(len(c.sound) / c.rate_hz for c in clips) / 60
    n_files = len({c.title.rpartition(",")[0] for c in clips})
    machine = f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}"
    return RunMetadata((
        ("command", command or "evaluate(...)"),
        ("model", f"{runner.pipeline.name or 'unnamed'} (files {runner.model})"),
        ("music", f"{Path(music).name}: {len(clips)} clips of {plan.seconds:g} s from {n_files} "
                  f"files, {minutes:.1f} minutes, mono at -24 LUFS"),
        ("sampling", f"{sampling.steps} steps except where stated, temperature "
                     f"{sampling.temperature:g}, mask temperature {sampling.mask_temperature:g}"
                     + ", codebook after codebook" * sampling.by_codebook
                     + f", mean pull {sampling.mean_pull:g}" * bool(sampling.mean_pull)),
        ("seeds", str(plan.seeds)),
        ("embeddings", ", ".join(e.name for e in runner.embeddings)),
        ("machine", machine),
        ("took", f"{took_s / 60:.1f} minutes, without results from the cache"),
        ("date", date.today().isoformat()),
    ))  # fmt: skip
