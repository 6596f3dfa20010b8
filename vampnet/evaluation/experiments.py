"""The paper's experiments (arXiv 2307.04686, sections 4 and 5) as tables of settings.

A setting is one way to generate audio from a clip: the model with a prompt, or a baseline for
comparison. Bitrates are counted from the tokens that a mask keeps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from vampnet.model import Sampling
from vampnet.model.recommended import FAMILY, RecommendedSampling
from vampnet.presets import Preset
from vampnet.prompt import Prompt
from vampnet.system.errors import UserError

STEPS = (1, 4, 8, 12, 24, 36, 64, 72)
PERIODS = (8, 16, 32)
BITRATE_PERIODS = (1, 4, 16)
RATIOS = (0.1, 0.25, 0.5, 0.75, 1.0)
STEPS_PERIOD = 16
PROMPT_KINDS = ("compression ", "periodic ", "inpaint ", "beat-driven ")  # prefixes of names

Source = Literal["real", "codec", "vamp", "hold", "random"]


@dataclass(frozen=True)
class Setting:
    """One way to generate audio from a clip.

    Attributes:
        name: unique name, shown in the tables.
        source: the real clip, the codec alone, the model, or a baseline at the masked positions.
        prompt: what is kept, for all but "real" and "codec".
        sampling: of the model.
        ratio: share of all tokens that "random" replaces where it has no prompt, 0 to 1.
        depth: number of codebooks decoded, None = all.
        beats: whether beats are tracked in the result, which takes as long as all other measures.
    """

    name: str
    source: Source
    prompt: Prompt | None = None
    sampling: Sampling | None = None
    ratio: float | None = None
    depth: int | None = None
    beats: bool = False

    @property
    def is_random(self) -> bool:
        """Whether the result depends on the seed."""
        return self.source in ("vamp", "random")


@dataclass(frozen=True)
class Experiment:
    """Settings that answer one question, and the share (0 to 1) of the clips they run on."""

    name: str
    title: str
    question: str
    settings: tuple[Setting, ...]
    share: float = 1.0


def prompts(n_coarse: int) -> dict[str, Prompt]:
    """The paper's prompts by name; kept frames keep their ``n_coarse`` coarse codebooks."""
    found = {"compression 1": Prompt(compression=1)}
    for period in PERIODS:
        found[f"periodic {period}"] = Prompt(period=period, codebooks_kept=n_coarse)
    for seconds in (1.0, 2.0):
        found[f"inpaint {seconds:g} s"] = Prompt(
            prefix_s=seconds, suffix_s=seconds, codebooks_kept=n_coarse
        )
    found["beat-driven 75 ms"] = Prompt(beat_ms=75.0, codebooks_kept=n_coarse)
    return found


def experiments(
    n_coarse: int,
    n_codebooks: int,
    sampling: Sampling,
    presets: Mapping[str, Preset],
    recommended: RecommendedSampling = FAMILY,
) -> dict[str, Experiment]:
    """Build every experiment.

    Args:
        n_coarse: codebooks of the coarse model.
        n_codebooks: codebooks of the codec.
        sampling: of the model in the paper's experiments.
        presets: presets to evaluate, by name.
        recommended: the model's recommended sampling, which presets are relative to.

    Returns:
        The experiments by name, in the order of the report.
    """
    made = (
        _anchors(n_coarse, n_codebooks, sampling),
        _prompts(n_coarse, sampling),
        _baselines(n_coarse),
        _steps(n_coarse, sampling),
        _bitrates(n_coarse, sampling),
        _presets(presets, recommended),
    )
    return {experiment.name: experiment for experiment in made}


def _anchors(n_coarse: int, n_codebooks: int, sampling: Sampling) -> Experiment:
    settings = [
        Setting("real music", "real"),
        Setting(f"codec, {n_codebooks} codebooks", "codec", beats=True),
        Setting(f"codec, {n_coarse} codebooks", "codec", depth=n_coarse, beats=True),
        Setting("coarse-to-fine alone", "vamp", Prompt(compression=n_coarse), sampling, beats=True),
    ]
    settings += [Setting(f"random tokens {r:.0%}", "random", ratio=r, beats=True) for r in RATIOS]
    question = "What does the codec alone score, and what does noise?"
    return Experiment("anchors", "Between the codec and chance", question, tuple(settings), 0.4)


def _prompts(n_coarse: int, sampling: Sampling) -> Experiment:
    settings = [
        Setting(name, "vamp", prompt, sampling, beats=True)
        for name, prompt in prompts(n_coarse).items()
    ]
    question = "What does each prompt keep of the input, and does the result sound like music?"
    return Experiment("prompts", "Prompts (the paper's figure 4)", question, tuple(settings), 0.6)


def _baselines(n_coarse: int) -> Experiment:
    settings = [
        setting
        for name, prompt in prompts(n_coarse).items()
        for setting in _without_model(name, prompt)
    ]
    question = "What do holding the last kept frame and random tokens score under the same masks?"
    return Experiment("baselines", "The same masks, no model", question, tuple(settings), 0.4)


def _without_model(name: str, prompt: Prompt) -> tuple[Setting, Setting]:
    """The baselines of a prompt: holding the last kept frame, and random tokens."""
    return (
        Setting(f"{name}: hold", "hold", prompt, beats=True),
        Setting(f"{name}: random", "random", prompt, beats=True),
    )


def _steps(n_coarse: int, sampling: Sampling) -> Experiment:
    prompt = Prompt(period=STEPS_PERIOD, codebooks_kept=n_coarse)
    settings = tuple(
        Setting(f"{n} steps", "vamp", prompt, replace(sampling, steps=n)) for n in STEPS
    )
    question = "How many passes does the coarse model need?"
    return Experiment("steps", "Sampling steps (the paper's figure 3)", question, settings, 0.35)


def _bitrates(n_coarse: int, sampling: Sampling) -> Experiment:
    depths = sorted({1, max(1, n_coarse // 2), n_coarse})
    settings = tuple(
        Setting(
            f"every {period}. frame, {kept} codebook{'s' * (kept > 1)}",
            "vamp",
            Prompt(period=period, codebooks_kept=kept),
            sampling,
        )
        for period in BITRATE_PERIODS
        for kept in depths
    )
    question = "Used as a codec: how does the error fall with the bitrate?"
    return Experiment("bitrates", "Bitrates (the paper's figure 5)", question, settings, 0.35)


def _presets(presets: Mapping[str, Preset], recommended: RecommendedSampling) -> Experiment:
    seventh = Preset("every 7th frame", "", Prompt(period=7))
    settings = []
    for name, preset in {seventh.name: seventh, **presets}.items():
        sampling = recommended.resolve(preset.profile, preset.sampling)
        settings.append(Setting(name, "vamp", preset.prompt, sampling, beats=True))
        settings += _without_model(name, preset.prompt)
    question = "What do the presets keep, compared with holding the last kept frame and noise?"
    return Experiment("presets", "The presets", question, tuple(settings), 0.35)


OPTIONAL = ("presets",)  # run only when named: many settings, and not part of the paper
QUICK = {
    "anchors": ("real", "codec", "coarse", "random tokens 50", "random tokens 100"),
    "prompts": ("compression", "periodic", "inpaint 2", "beat"),
    "baselines": ("periodic 16", "compression", "beat"),
    "steps": ("1 ", "12 ", "36 "),
    "bitrates": ("every 1.", "every 16."),
    "presets": ("",),
}


def quick(experiment: Experiment) -> Experiment:
    """A short version of an experiment: fewer settings on fewer clips."""
    few = tuple(s for s in experiment.settings if s.name.startswith(QUICK[experiment.name]))
    if experiment.name == "bitrates":
        few = tuple(s for s in few if "2 codebooks" not in s.name)
    return replace(experiment, settings=few, share=0.4)


def bits_per_second(mask: Tensor, frame_rate_hz: float, vocab_size: int) -> float:
    """Bitrate of the kept tokens, log2(vocab_size) bits each.

    Args:
        mask: bool (N, T), True = masked.
        frame_rate_hz: frames per second.
        vocab_size: tokens per codebook.

    Returns:
        Bits per second.
    """
    kept = int((~mask).sum()) * math.log2(vocab_size)
    return kept * frame_rate_hz / mask.shape[-1]


def ratio_mask(codes: Tensor, ratio: float, rng: torch.Generator) -> Tensor:
    """Sample a mask, bool of the shape of ``codes``, each token True with probability ``ratio``."""
    return torch.rand(codes.shape, generator=rng) < ratio


def select(available: dict[str, Experiment], names: Sequence[str]) -> list[Experiment]:
    """Select experiments by name.

    Args:
        available: all experiments by name.
        names: names to select; none selects the paper's.

    Returns:
        The experiments in the order of ``available``, always with "anchors", their reference.

    Raises:
        UserError: a name is unknown.
    """
    for name in names:
        if name not in available:
            raise UserError(f"no experiment '{name}'; there are {', '.join(available)}")
    wanted = set(names or set(available) - set(OPTIONAL)) | {"anchors"}
    return [experiment for name, experiment in available.items() if name in wanted]
