"""Runs settings over clips and caches every result, so that a stopped evaluation can resume.

The cache key is a hash of everything a result depends on: the model's files, the clip's samples,
the setting, the seed, the measures; embeddings are stored under their names. What has changed is
measured again, the rest is read from the cache; a further embedding is computed from the audio of
the cached tokens.
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
from vampnet.evaluation.artifacts import click_db, mask_transitions
from vampnet.evaluation.baselines import hold_last, random_tokens
from vampnet.evaluation.clips import MusicClip
from vampnet.evaluation.embeddings import Embedding, bundled_embeddings, embed
from vampnet.evaluation.experiments import Experiment, Setting, bits_per_second, ratio_mask
from vampnet.evaluation.musical import AudioFeatures, compare, extract_features
from vampnet.model.windowed_generation import FINE_WINDOW
from vampnet.model.windows import split_windows
from vampnet.pipeline import Pipeline
from vampnet.prompt.beats import NO_BEATS, Beats, track
from vampnet.system.atomic_file import atomic_path

MEASURES = 4  # version of the measures; increasing it invalidates cached results
EXAMPLES = 2  # clips whose tokens are returned, for the report's audio examples
Found = TypeVar("Found")
EDGE_FRAMES = 20  # minimum length of both sides of a mask edge that is checked for clicks


@dataclass(frozen=True, eq=False)
class Result:
    """Result of a trial.

    Attributes:
        figures: measures by name.
        points: embeddings by name, float (patches, dims).
        codes: tokens, int64 (N, T); None for real music.
    """

    figures: dict[str, float]
    points: dict[str, Tensor]
    codes: Tensor | None = None


@dataclass(frozen=True)
class Trial:
    """A clip to vary under a setting with a seed, and to measure."""

    setting: Setting
    clip: MusicClip
    seed: int


def trials_of(
    experiments: Sequence[Experiment], clips: Sequence[MusicClip], seeds: int
) -> list[Trial]:
    """List every trial of the experiments, clip by clip.

    Args:
        experiments: each runs on its share of the clips, at least 3; real music on all of them.
        clips: the clips.
        seeds: number of seeds for settings that depend on one.
    """
    found = []
    for clip in clips:
        for experiment in experiments:
            n = max(3, math.ceil(experiment.share * len(clips)))
            for setting in experiment.settings:
                if setting.source == "real" or clip.number < n:
                    found += [
                        Trial(setting, clip, s) for s in range(seeds if setting.is_random else 1)
                    ]
    return found


def model_hash(name_or_folder: str | Path) -> str:
    """Hash of every file of a model, given by name or folder."""
    digest = hashlib.sha256()
    folder = checkpoints.resolve(name_or_folder)
    for path in sorted(
        p for p in folder.rglob("*") if p.suffix in (".safetensors", ".json", ".pth")
    ):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


class EvaluationRunner:
    """Runs trials of one model; every clip is encoded and analysed once.

    Args:
        pipeline: the model.
        model: hash of its files, part of the cache key.
        cache: folder of the results.
        embeddings: to compute, by default those that need no download.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        model: str,
        cache: Path,
        embeddings: Sequence[Embedding] | None = None,
    ):
        self.pipeline, self.model, self.cache = pipeline, model, cache
        self.rate_hz = pipeline.codec.sample_rate
        self.embeddings = tuple(embeddings or bundled_embeddings(self.rate_hz))
        self._inputs: dict[int, tuple[Tensor, AudioFeatures]] = {}
        self._grids: dict[int, Beats] = {}
        self._lock = Lock()

    def cache_path(self, trial: Trial) -> Path:
        """Path of a trial's result in the cache."""
        model = "" if trial.setting.source == "real" else self.model
        setting = repr(trial.setting).partition("source=")[2]  # without its name
        on = (MEASURES, model, setting, trial.clip.content, trial.seed)
        return self.cache / f"{hashlib.sha256(repr(on).encode()).hexdigest()[:32]}.safetensors"

    def run(self, trial: Trial) -> Result:
        """Return a trial's result, from the cache where possible, with this runner's embeddings."""
        path = self.cache_path(trial)
        kept = read_result(path)
        if kept is None:
            kept = self.measure(trial)
            write_result(path, kept)
        if missing := [e for e in self.embeddings if e.name not in kept.points]:
            added = embed(self.sound(trial, kept), self.rate_hz, missing)
            kept = replace(kept, points={**kept.points, **added})
            write_result(path, kept)
        points = {e.name: kept.points[e.name] for e in self.embeddings}
        return Result(kept.figures, points, kept.codes if trial.clip.number < EXAMPLES else None)

    @torch.inference_mode()
    def sound(self, trial: Trial, kept: Result) -> Tensor:
        """Decode the audio, float (S,), of a trial from its cached result."""
        if kept.codes is None:
            return trial.clip.sound
        return self.decode(kept.codes[None], len(trial.clip.sound))

    def decode(self, codes: Tensor, n_samples: int) -> Tensor:
        """Decode tokens int64 (1, N, T) to mono audio float (S,) on the CPU."""
        codec = self.pipeline.codec
        return codec.decode(codes.to(codec.codebooks.device), n_samples)[0, 0].cpu()

    def encoded_features(self, clip: MusicClip) -> tuple[Tensor, AudioFeatures]:
        """Encode a clip as tokens int64 (1, N, T), and extract its features; cached."""

        def make() -> tuple[Tensor, AudioFeatures]:
            codec = self.pipeline.codec
            codes = codec.encode(clip.sound[None, None].to(codec.codebooks.device)).cpu()
            return codes, extract_features(clip.sound, clip.rate_hz, beats=True)

        return self._once(self._inputs, clip, make)

    def prompt_beats(self, clip: MusicClip) -> Beats:
        """Beats for the prompt, tracked as by the pipeline; the measures use another tracker."""
        return self._once(self._grids, clip, lambda: track(clip.sound, clip.rate_hz))

    def _once(self, kept: dict[int, Found], clip: MusicClip, make: Callable[[], Found]) -> Found:
        """Return ``make()``, cached per clip."""
        with self._lock:
            found = kept.get(clip.number)
        if found is None:
            found = make()
            with self._lock:
                kept[clip.number] = found
        return found

    @torch.inference_mode()
    def measure(self, trial: Trial) -> Result:
        """Generate the audio of a trial and compute every measure."""
        if trial.setting.source == "real":
            return Result({}, embed(trial.clip.sound, self.rate_hz, self.embeddings))
        codes, before = self.encoded_features(trial.clip)
        mask = self.mask(trial, codes, before)
        sound, made = self.generate(trial, codes, mask)
        figures = compare(before, extract_features(sound, self.rate_hz, trial.setting.beats))
        if mask is not None:
            figures["bits_per_s"] = self.bits(mask)
            figures["generated"] = float(mask.float().mean())
        if trial.setting.source == "vamp":
            edges = self.edge_samples(mask)
            after = click_db(sound, edges, self.rate_hz)
            figures["seam_db"] = after - click_db(before.sound, edges, self.rate_hz)
        points = embed(sound, self.rate_hz, self.embeddings)
        return Result(figures, points, made[0])

    def mask(self, trial: Trial, codes: Tensor, before: AudioFeatures) -> Tensor | None:
        """Build the mask of a trial.

        Args:
            trial: the trial.
            codes: tokens of the clip, int64 (1, N, T).
            before: features of the clip, for prompts that use onsets.

        Returns:
            bool (N, T), True = generate; None where everything is kept.
        """
        setting = trial.setting
        if setting.prompt is not None:
            beats = self.prompt_beats(trial.clip) if setting.prompt.needs_beats else NO_BEATS
            return self.pipeline.mask(
                codes.shape[-1], setting.prompt, trial.seed, beats=beats, onsets_s=before.onsets_s
            )
        if setting.ratio is not None:
            return ratio_mask(codes, setting.ratio, torch.Generator().manual_seed(trial.seed))[0]
        return None

    def bits(self, mask: Tensor) -> float:
        """Bitrate of the tokens that a mask bool (N, T) keeps, in bits per second."""
        vocabulary = self.pipeline.codec.vocab_size
        return bits_per_second(mask, self.pipeline.frame_rate_hz, vocabulary)

    def generate(self, trial: Trial, codes: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Generate the audio of a trial by the model or a baseline.

        Args:
            trial: the trial.
            codes: tokens of the clip, int64 (1, N, T).
            mask: bool (N, T), True = generate; None where everything is kept.

        Returns:
            Mono audio, float (S,), and its tokens, int64 (1, N, T).
        """
        setting, sound, codec = trial.setting, trial.clip.sound, self.pipeline.codec
        if setting.source == "vamp":
            assert setting.prompt is not None and setting.sampling is not None
            beats = self.prompt_beats(trial.clip) if setting.prompt.needs_beats else None
            vamp = self.pipeline.vamp(
                sound[None, None], setting.prompt, setting.sampling, trial.seed, beats=beats
            )
            return vamp.audio[0, 0], vamp.codes
        made = codes
        if mask is not None and setting.source == "hold":
            made = hold_last(codes, mask[None])
        elif mask is not None:
            rng = torch.Generator().manual_seed(trial.seed + 1)
            made = random_tokens(codes, mask[None], codec.vocab_size, rng)
        made = made[:, : setting.depth]
        return self.decode(made, len(sound)), made

    def edge_samples(self, mask: Tensor | None) -> list[int]:
        """Positions that may click, in samples.

        Args:
            mask: bool (N, T), True = generate.

        Returns:
            Where windows of the coarse-to-fine model meet, and the mask's long-lasting edges.
        """
        if mask is None:
            return []
        fine = self.pipeline.c2f
        window = (fine.config.window_frames if fine else None) or FINE_WINDOW
        both = split_windows(mask.shape[-1], window)
        frames = {w.keep_from for some in both for w in some} - {0}
        frames |= set(mask_transitions(mask, EDGE_FRAMES))
        return [frame * self.pipeline.codec.hop_length for frame in sorted(frames)]


def read_result(path: Path) -> Result | None:
    """Read a cached result; None where it is missing or damaged."""
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            figures = json.loads((file.metadata() or {})["figures"])
    except (OSError, SafetensorError, KeyError, ValueError):
        return None
    codes = tensors.pop("codes", None)
    return Result(figures, tensors, None if codes is None else codes.long())


def write_result(path: Path, result: Result) -> None:
    """Write a result to the cache atomically; concurrent writers do not disturb each other."""
    tensors = {name: points.float().contiguous() for name, points in result.points.items()}
    if result.codes is not None:
        tensors["codes"] = result.codes.short().contiguous()
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as part:
        save_file(tensors, part, metadata={"figures": json.dumps(result.figures)})


def run_all(
    runner: EvaluationRunner,
    trials: Iterable[Trial],
    workers: int,
    on_trial: Callable[[int, int], None] | None = None,
) -> dict[Trial, Result]:
    """Run trials, or read their results from the cache.

    Trials whose settings are equal but for the name run once.

    Args:
        runner: runs a trial.
        trials: the trials.
        workers: number of threads.
        on_trial: called as ``on_trial(done, total)`` after each trial. An exception from it, or
            Ctrl-C, ends the run once the results of the trials in progress are cached.

    Returns:
        The result of each trial.
    """
    todo = list(dict.fromkeys(trials))
    alike: dict[tuple[Path, int], list[Trial]] = {}
    for trial in todo:
        alike.setdefault((runner.cache_path(trial), trial.clip.number), []).append(trial)
    found: dict[Trial, Result] = {}
    with ThreadPoolExecutor(workers) as pool:
        try:
            waiting = {pool.submit(runner.run, same[0]): same for same in alike.values()}
            while waiting:
                done, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    found |= dict.fromkeys(waiting.pop(future), future.result())
                if on_trial:
                    on_trial(len(found), len(todo))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return {trial: found[trial] for trial in todo}
