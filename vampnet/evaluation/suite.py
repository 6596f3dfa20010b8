"""The whole evaluation: clips, runs, figures, report."""

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
from vampnet.evaluation.clips import Clip, cut
from vampnet.evaluation.embeddings import Embedding, offline
from vampnet.evaluation.listening import examples
from vampnet.evaluation.plots import draw
from vampnet.evaluation.range_checks import InPlace, check_ranges
from vampnet.evaluation.relations import relations
from vampnet.evaluation.report import Facts, Report, markdown, page
from vampnet.evaluation.runs import Bench, Job, Result, jobs_of, model_hash, run_all
from vampnet.evaluation.scores import Scores
from vampnet.model import Sampling
from vampnet.pipeline import Pipeline
from vampnet.presets import presets
from vampnet.system.errors import UserError
from vampnet.system.optional import require

CACHE, FIGURES, PAGE, TEXT = "cache", "figures", "report.html", "report.md"
SAMPLING_OF = "large-variation"  # whose sampling is evaluated: it keeps as little as the prompts do


@dataclass(frozen=True)
class Plan:
    """What to run.

    names: experiments, none = the paper's. quick: fewer settings and clips. seeds: takes of each
    clip. clips: at most so many; seconds: their length. workers: sounds made at once. sampling: of
    the model, None = the one the presets are tuned to.
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
    plan: Plan | None = None,
    *,
    embeddings: Sequence[Embedding] = (),
    device: str = "auto",
    command: str = "",
    in_place: InPlace | None = None,
    on_job: Callable[[int, int], None] | None = None,
    on_stage: Callable[[str], None] | None = None,
) -> Report:
    """Evaluate a model on a folder of music it was not trained on; goes on where it was stopped.

    Writes report.html, report.md and figures/ into ``out`` and keeps every result in out/cache.
    embeddings: to take distances in, beside the offline ones. command: told in the report.
    in_place: how a variation is put into the place of a region (the endpoint's way); without it
    ranges are not checked. ``on_job(done, total)``: progress of the sounds; ``on_stage``: is told
    what follows them. Raises ValueError for music, a model or experiments that cannot be used.
    """
    require("matplotlib", "PIL", extra="eval", purpose="an evaluation's report")
    plan, out, start = plan or Plan(), Path(out), time.monotonic()
    pipeline = Pipeline.from_pretrained(model, device=device, keep_weights=False)
    known = presets()
    sampling = plan.sampling or pipeline.sampling_for(known[SAMPLING_OF])
    n_coarse = pipeline.coarse.config.n_codebooks
    available = table.experiments(
        n_coarse, pipeline.codec.n_codebooks, sampling, known, pipeline.recommended
    )
    chosen = table.chosen(available, plan.names)
    if plan.quick:
        chosen = [table.quick(experiment) for experiment in chosen]
    clips = cut(music, pipeline.codec.sample_rate, plan.clips, plan.seconds)
    digest = model_hash(model)
    every = {e.name: e for e in (*offline(pipeline.codec.sample_rate), *embeddings)}
    bench = Bench(pipeline, digest, out / CACHE, tuple(every.values()))
    results = run_all(bench, jobs_of(chosen, clips, plan.seeds), plan.workers, on_job)
    report = _told(pipeline, chosen, results, clips, sampling, in_place, out, on_stage)
    sounds = examples(bench, results)
    markdown(report)  # takes the distances that are left: then it is known how long all took
    took_s = time.monotonic() - start
    facts = _facts(bench, music, clips, plan, sampling, command, took_s)
    report = replace(report, facts=facts)
    (out / TEXT).write_text(markdown(report), encoding="utf-8")
    (out / PAGE).write_text(page(report, sounds), encoding="utf-8")
    return report


def _told(
    pipeline: Pipeline,
    chosen: Sequence[table.Experiment],
    results: Mapping[Job, Result],
    clips: Sequence[Clip],
    sampling: Sampling,
    in_place: InPlace | None,
    out: Path,
    on_stage: Callable[[str], None] | None,
) -> Report:
    """The report without its facts, which tell how long it took."""
    tell = on_stage or (lambda stage: None)
    tell("taking distances")
    scores = Scores(results)
    found = relations(scores)
    tell("drawing plots")
    plots = draw(scores, out / FIGURES)
    ranges = None
    if in_place:
        tell("checking ranges")
        ranges = check_ranges(pipeline, clips, sampling, in_place)
    tell("writing the report")
    return Report(Facts(()), chosen, scores, found, ranges, plots)


def _facts(
    bench: Bench,
    music: str | Path,
    clips: Sequence[Clip],
    plan: Plan,
    sampling: Sampling,
    command: str,
    took_s: float,
) -> Facts:
    minutes = sum(len(c.sound) / c.rate_hz for c in clips) / 60
    n_files = len({c.title.rpartition(",")[0] for c in clips})
    machine = f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}"
    return Facts((
        ("command", command or "evaluate(...)"),
        ("model", f"{bench.pipeline.name or 'unnamed'} (files {bench.model})"),
        ("music", f"{Path(music).name}: {len(clips)} clips of {plan.seconds:g} s from {n_files} "
                  f"files, {minutes:.1f} minutes, mono at -24 LUFS"),
        ("sampling", f"{sampling.steps} steps but where told, temperature "
                     f"{sampling.temperature:g}, mask temperature {sampling.mask_temperature:g}"
                     + ", codebook after codebook" * sampling.by_codebook
                     + f", mean pull {sampling.mean_pull:g}" * bool(sampling.mean_pull)),
        ("seeds", str(plan.seeds)),
        ("embeddings", ", ".join(e.name for e in bench.embeddings)),
        ("machine", machine),
        ("took", f"{took_s / 60:.1f} minutes, what was kept from before not counted"),
        ("date", date.today().isoformat()),
    ))  # fmt: skip
