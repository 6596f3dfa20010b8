"""Audio examples of an evaluation: input, mask picture and what each prompt made of it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from vampnet import audio, plot
from vampnet.evaluation.experiments import PROMPT_KINDS, Setting
from vampnet.evaluation.runs import Bench, Job, Result

# Pictures weigh most: only one clip gets them, and of these settings.
PICTURED_CLIPS, PICTURED = 1, ("compression 1", "periodic 16", "inpaint 2 s", "beat-driven 75 ms")
PLAYED = ("codec", "random tokens 100%", *PROMPT_KINDS)


@dataclass(frozen=True)
class Example:
    """A sound to play: its clip's number and title, its name, ogg and (for some) png as text for a
    page."""

    number: int
    clip: str
    name: str
    ogg: str
    png: str = ""


@torch.inference_mode()
def examples(bench: Bench, results: Mapping[Job, Result]) -> list[Example]:
    """The input and the outputs of the clips whose tokens were kept, clip by clip."""
    found: list[Example] = []
    chosen = [job for job in results if results[job].codes is not None and job.seed == 0]
    for number in sorted({job.clip.number for job in chosen}):
        mine = [job for job in chosen if job.clip.number == number and _played(job.setting)]
        clip = mine[0].clip if mine else None
        if clip is None:
            continue
        found.append(Example(number, clip.title, "input", _ogg(clip.sound, clip.rate_hz)))
        for job in sorted(mine, key=lambda job: _rank(job.setting)):
            codes = results[job].codes
            assert codes is not None
            sound = bench.decoded(codes[None], len(clip.sound))
            drawn = number < PICTURED_CLIPS and job.setting.name in PICTURED
            png = _png(bench, job, sound) if drawn else ""
            found.append(
                Example(number, clip.title, job.setting.name, _ogg(sound, clip.rate_hz), png)
            )
    return found


def _played(setting: Setting) -> bool:
    return setting.name.startswith(PLAYED) and ":" not in setting.name


def _rank(setting: Setting) -> int:
    return next(i for i, start in enumerate(PLAYED) if setting.name.startswith(start))


def _ogg(sound: Tensor, rate_hz: int) -> str:
    with TemporaryDirectory() as folder:
        path = Path(folder, "example.ogg")
        audio.write(path, audio.Audio(sound[None].clamp(-1, 1), rate_hz))
        return base64.b64encode(path.read_bytes()).decode()


def _png(bench: Bench, job: Job, sound: Tensor) -> str:
    """The picture of input, mask and output; nothing where no mask was."""
    codes, heard = bench.heard(job.clip)
    mask = bench.mask(job, codes, heard)
    if mask is None or job.setting.prompt is None:
        return ""
    beats = bench.grid(job.clip) if job.setting.prompt.needs_beats else None
    with TemporaryDirectory() as folder:
        path = Path(folder, "mask.png")
        plot.save(
            path,
            job.clip.sound[None],
            sound[None],
            job.clip.rate_hz,
            mask,
            bench.pipeline.frame_rate_hz,
            beats,
            job.setting.name,
        )
        return base64.b64encode(path.read_bytes()).decode()
