"""Runs settings over clips and keeps every result, so that a stopped evaluation goes on.

A result is kept under a hash of all it depends on: the model's files, the clip's samples, the
setting, the seed, the measures; its points, under the names of the embeddings. Whatever changes is
measured anew, the rest is read back; another embedding hears the sound of the tokens kept.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vampnet import checkpoints
from vampnet.evaluation.baselines import hold_last, random_tokens
from vampnet.evaluation.clips import Clip
from vampnet.evaluation.embeddings import Embedding, embed, offline
from vampnet.evaluation.experiments import Experiment, Setting, bits_per_second, ratio_mask
from vampnet.evaluation.musical import Heard, compare, hear
from vampnet.evaluation.seams import click_db, turns
from vampnet.model.windowed_generation import FINE_WINDOW
from vampnet.model.windows import stretches
from vampnet.pipeline import Pipeline
from vampnet.prompt.beats import NO_BEATS, Beats, track
from vampnet.system.atomic_file import whole_path

MEASURES = 3  # counted up when a measure changes: older results are then made anew
EXAMPLES = 2  # clips whose tokens are given back, so that the report can play them
Found = TypeVar("Found")
EDGE_FRAMES = 20  # kept and generated for so long on both sides: an edge that may click


@dataclass(frozen=True)
class Result:
    """What was measured on one sound: figures and points by name, tokens if it has any."""

    figures: dict[str, float]
    points: dict[str, Tensor]
    codes: Tensor | None = None


@dataclass(frozen=True)
class Job:
    """One sound to make and measure."""

    setting: Setting
    clip: Clip
    seed: int


def jobs_of(experiments: Sequence[Experiment], clips: Sequence[Clip], seeds: int) -> list[Job]:
    """Every sound that the experiments ask for, clip by clip; the real music of all the clips."""
    found = []
    for clip in clips:
        for experiment in experiments:
            n = max(3, math.ceil(experiment.share * len(clips)))
            for setting in experiment.settings:
                if setting.source == "real" or clip.number < n:
                    found += [Job(setting, clip, s) for s in range(seeds if setting.draws else 1)]
    return found


def model_hash(name_or_folder: str | Path) -> str:
    """A hash of every file of a model."""
    digest = hashlib.sha256()
    folder = checkpoints.resolve(name_or_folder)
    for path in sorted(
        p for p in folder.rglob("*") if p.suffix in (".safetensors", ".json", ".pth")
    ):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


class Bench:
    """A model and the ways to hear, ready to run jobs; inputs are encoded and heard once."""

    def __init__(
        self,
        pipeline: Pipeline,
        model: str,
        cache: Path,
        embeddings: Sequence[Embedding] | None = None,
    ):
        self.pipeline, self.model, self.cache = pipeline, model, cache
        self.rate_hz = pipeline.codec.sample_rate
        self.embeddings = tuple(embeddings or offline(self.rate_hz))
        self._inputs: dict[int, tuple[Tensor, Heard]] = {}
        self._grids: dict[int, Beats] = {}
        self._lock = Lock()

    def place(self, job: Job) -> Path:
        """Where the result of a job is kept."""
        model = "" if job.setting.source == "real" else self.model
        setting = repr(job.setting).partition("source=")[2]  # its name is no part of the content
        on = (MEASURES, model, setting, job.clip.content, job.seed)
        return self.cache / f"{hashlib.sha256(repr(on).encode()).hexdigest()[:32]}.safetensors"

    def run(self, job: Job) -> Result:
        """The result of a job, read back where it was made before; with these embeddings alone."""
        path = self.place(job)
        kept = read(path)
        if kept is None:
            kept = self.measure(job)
            write(path, kept)
        if missing := [e for e in self.embeddings if e.name not in kept.points]:
            heard = embed(self.sound(job, kept), self.rate_hz, missing)
            kept = replace(kept, points={**kept.points, **heard})
            write(path, kept)
        points = {e.name: kept.points[e.name] for e in self.embeddings}
        return Result(kept.figures, points, kept.codes if job.clip.number < EXAMPLES else None)

    @torch.inference_mode()
    def sound(self, job: Job, kept: Result) -> Tensor:
        """The sound float (S,) of a job that was measured before."""
        if kept.codes is None:
            return job.clip.sound
        return self.decoded(kept.codes[None], len(job.clip.sound))

    def decoded(self, codes: Tensor, n_samples: int) -> Tensor:
        """Tokens int64 (1, N, T) as sound, float (S,), on the CPU."""
        codec = self.pipeline.codec
        return codec.decode(codes.to(codec.codebooks.device), n_samples)[0, 0].cpu()

    def heard(self, clip: Clip) -> tuple[Tensor, Heard]:
        """A clip's tokens int64 (1, N, T) and what is heard in it."""

        def make() -> tuple[Tensor, Heard]:
            codec = self.pipeline.codec
            codes = codec.encode(clip.sound[None, None].to(codec.codebooks.device)).cpu()
            return codes, hear(clip.sound, clip.rate_hz, beats=True)

        return self._once(self._inputs, clip, make)

    def grid(self, clip: Clip) -> Beats:
        """The beats that a prompt goes by, as the pipeline hears them; not those of the measure."""
        return self._once(self._grids, clip, lambda: track(clip.sound, clip.rate_hz))

    def _once(self, kept: dict[int, Found], clip: Clip, make: Callable[[], Found]) -> Found:
        """What ``make`` makes of a clip, kept for the clip's next jobs."""
        with self._lock:
            found = kept.get(clip.number)
        if found is None:
            found = make()
            with self._lock:
                kept[clip.number] = found
        return found

    @torch.inference_mode()
    def measure(self, job: Job) -> Result:
        """Make the sound of a job and take every measure of it."""
        if job.setting.source == "real":
            return Result({}, embed(job.clip.sound, self.rate_hz, self.embeddings))
        codes, before = self.heard(job.clip)
        mask = self.mask(job, codes, before)
        sound, made = self.make(job, codes, mask)
        figures = compare(before, hear(sound, self.rate_hz, job.setting.beats))
        if mask is not None:
            figures["bits_per_s"] = self.bits(job, mask)
            figures["generated"] = float(mask.float().mean())
        if job.setting.source == "vamp":
            edges = self.edges(mask)
            after = click_db(sound, edges, self.rate_hz)
            figures["seam_db"] = after - click_db(before.sound, edges, self.rate_hz)
        points = embed(sound, self.rate_hz, self.embeddings)
        return Result(figures, points, made[0])

    def mask(self, job: Job, codes: Tensor, before: Heard) -> Tensor | None:
        """What a job generates, bool (N, T), True = generate; None where it keeps all."""
        setting = job.setting
        if setting.prompt is not None:
            beats = self.grid(job.clip) if setting.prompt.needs_beats else NO_BEATS
            return self.pipeline.mask(
                codes.shape[-1], setting.prompt, job.seed, beats=beats, onsets_s=before.onsets_s
            )
        if setting.ratio is not None:
            return ratio_mask(codes, setting.ratio, torch.Generator().manual_seed(job.seed))[0]
        return None

    def bits(self, job: Job, mask: Tensor) -> float:
        """Bits a second of the tokens a job keeps."""
        vocabulary = self.pipeline.codec.vocab_size
        return bits_per_second(mask, self.pipeline.frame_rate_hz, vocabulary)

    def make(self, job: Job, codes: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """The sound of a job, float (S,), and its tokens int64 (1, N, T)."""
        setting, sound, codec = job.setting, job.clip.sound, self.pipeline.codec
        if setting.source == "vamp":
            assert setting.prompt is not None and setting.sampling is not None
            beats = self.grid(job.clip) if setting.prompt.needs_beats else None
            vamp = self.pipeline.vamp(
                sound[None, None], setting.prompt, setting.sampling, job.seed, beats=beats
            )
            return vamp.audio[0, 0], vamp.codes
        made = codes
        if mask is not None and setting.source == "hold":
            made = hold_last(codes, mask[None])
        elif mask is not None:
            rng = torch.Generator().manual_seed(job.seed + 1)
            made = random_tokens(codes, mask[None], codec.vocab_size, rng)
        made = made[:, : setting.depth]
        return self.decoded(made, len(sound)), made

    def edges(self, mask: Tensor | None) -> list[int]:
        """Samples where windows of the fine model meet, and where the mask turns for long."""
        if mask is None:
            return []
        fine = self.pipeline.c2f
        window = (fine.config.window_frames if fine else None) or FINE_WINDOW
        both = stretches(mask.shape[-1], window)
        frames = {w.keep_from for some in both for w in some} - {0}
        frames |= set(turns(mask, EDGE_FRAMES))
        return [frame * self.pipeline.codec.hop_length for frame in sorted(frames)]


def read(path: Path) -> Result | None:
    """A kept result; None where there is none, or none that can be read."""
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            figures = json.loads((file.metadata() or {})["figures"])
    except (OSError, SafetensorError, KeyError, ValueError):
        return None
    codes = tensors.pop("codes", None)
    return Result(figures, tensors, None if codes is None else codes.long())


def write(path: Path, result: Result) -> None:
    """Keep a result; whoever stops in between, or keeps the same at once, leaves no half of it."""
    tensors = {name: points.float().contiguous() for name, points in result.points.items()}
    if result.codes is not None:
        tensors["codes"] = result.codes.short().contiguous()
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_path(path) as part:
        save_file(tensors, part, metadata={"figures": json.dumps(result.figures)})


def run_all(
    bench: Bench,
    jobs: Iterable[Job],
    workers: int,
    on_job: Callable[[int, int], None] | None = None,
) -> dict[Job, Result]:
    """Every job's result. ``on_job(done, total)`` is called after each; what it raises, and Ctrl-C,
    ends the run once the jobs under way are kept.

    Settings of several experiments may be one and the same by another name: it is made once.
    """
    todo = list(dict.fromkeys(jobs))
    alike: dict[tuple[Path, int], list[Job]] = {}
    for job in todo:
        alike.setdefault((bench.place(job), job.clip.number), []).append(job)
    found: dict[Job, Result] = {}
    with ThreadPoolExecutor(workers) as pool:
        try:
            waiting = {pool.submit(bench.run, same[0]): same for same in alike.values()}
            while waiting:
                done, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    found |= dict.fromkeys(waiting.pop(future), future.result())
                if on_job:
                    on_job(len(found), len(todo))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return {job: found[job] for job in todo}
