"""The paper's experiments (arXiv 2307.04686, sections 4 and 5) as tables of settings.

A setting is one way to make sound from a clip: the model under a prompt, or one of the baselines
that every figure stands beside. Bitrates are counted from the tokens that a mask keeps.
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
PROMPT_KINDS = ("compression ", "periodic ", "inpaint ", "beat-driven ")  # names begin so

Source = Literal["real", "codec", "vamp", "hold", "random"]


@dataclass(frozen=True)
class Setting:
    """One way to make sound.

    source: the real clip, the codec alone, the model, or a baseline in the places of the mask.
    prompt: what is kept, for all but "real" and "codec". ratio: share of all tokens that "random"
    replaces where it has no prompt. depth: codebooks that are decoded, None = all. beats: whether
    beats are heard in the result, which takes as long as all other measures.
    """

    name: str
    source: Source
    prompt: Prompt | None = None
    sampling: Sampling | None = None
    ratio: float | None = None
    depth: int | None = None
    beats: bool = False

    @property
    def draws(self) -> bool:
        """Whether another seed gives another result."""
        return self.source in ("vamp", "random")


@dataclass(frozen=True)
class Experiment:
    """Settings that answer a question together, and the share of the clips they are run on."""

    name: str
    title: str
    question: str
    settings: tuple[Setting, ...]
    share: float = 1.0


def prompts(n_coarse: int) -> dict[str, Prompt]:
    """The paper's prompts by name; of kept frames the coarse codebooks stay, as there."""
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
    """Every experiment by name, for a model of so many coarse and of so many codebooks in all."""
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
    question = "What can the codec do, and what does nothing but noise score?"
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
    question = "What would holding the last kept frame, or noise, score in the model's place?"
    return Experiment("baselines", "The same masks, no model", question, tuple(settings), 0.4)


def _without_model(name: str, prompt: Prompt) -> tuple[Setting, Setting]:
    """What stands beside every prompt: holding the last kept frame, and noise."""
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
    question = "As a codec: how does the error fall with what is sent?"
    return Experiment("bitrates", "Bitrates (the paper's figure 5)", question, settings, 0.35)


def _presets(presets: Mapping[str, Preset], recommended: RecommendedSampling) -> Experiment:
    seventh = Preset("every 7th frame", "", Prompt(period=7))
    settings = []
    for name, preset in {seventh.name: seventh, **presets}.items():
        sampling = recommended.resolve(preset.profile, preset.sampling)
        settings.append(Setting(name, "vamp", preset.prompt, sampling, beats=True))
        settings += _without_model(name, preset.prompt)
    question = "What do the presets keep, beside holding the last kept frame and noise?"
    return Experiment("presets", "The presets", question, tuple(settings), 0.35)


ASKED_FOR = ("presets",)  # run only where named: they are no part of the paper, and many
QUICK = {
    "anchors": ("real", "codec", "coarse", "random tokens 50", "random tokens 100"),
    "prompts": ("compression", "periodic", "inpaint 2", "beat"),
    "baselines": ("periodic 16", "compression", "beat"),
    "steps": ("1 ", "12 ", "36 "),
    "bitrates": ("every 1.", "every 16."),
    "presets": ("",),
}


def quick(experiment: Experiment) -> Experiment:
    """The same question with fewer settings, on fewer of the clips."""
    few = tuple(s for s in experiment.settings if s.name.startswith(QUICK[experiment.name]))
    if experiment.name == "bitrates":
        few = tuple(s for s in few if "2 codebooks" not in s.name)
    return replace(experiment, settings=few, share=0.4)


def bits_per_second(mask: Tensor, frame_rate_hz: float, vocab_size: int) -> float:
    """What the kept tokens of a mask bool (N, T) weigh, log2(vocabulary) bits each."""
    kept = int((~mask).sum()) * math.log2(vocab_size)
    return kept * frame_rate_hz / mask.shape[-1]


def ratio_mask(codes: Tensor, ratio: float, rng: torch.Generator) -> Tensor:
    """A mask of independent tokens, each True with probability ``ratio``: bool like ``codes``."""
    return torch.rand(codes.shape, generator=rng) < ratio


def chosen(available: dict[str, Experiment], names: Sequence[str]) -> list[Experiment]:
    """The experiments of these names, in the order of the table; for none the paper's.

    "anchors" is always among them: the others are read against it. Raises ValueError for a name
    that there is not.
    """
    for name in names:
        if name not in available:
            raise UserError(f"no experiment '{name}'; there are {', '.join(available)}")
    wanted = set(names or set(available) - set(ASKED_FOR)) | {"anchors"}
    return [experiment for name, experiment in available.items() if name in wanted]
