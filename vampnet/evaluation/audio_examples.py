"""Audio examples of an evaluation: input, mask picture and the output of each prompt."""

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
from vampnet.evaluation.runs import EvaluationRunner, Result, Trial

# Pictures are the largest part of the page: only one clip gets them, for these settings.
PICTURED_CLIPS, PICTURED = 1, ("compression 1", "periodic 16", "inpaint 2 s", "beat-driven 75 ms")
PLAYED = ("codec", "random tokens 100%", *PROMPT_KINDS)


@dataclass(frozen=True)
class AudioExample:
    """An audio example for the page.

    Attributes:
        number: of the clip.
        clip: title of the clip.
        name: of the setting, or "input".
        ogg: Ogg file in base64.
        png: picture of the mask in base64, "" for none.
    """

    number: int
    clip: str
    name: str
    ogg: str
    png: str = ""


@torch.inference_mode()
def examples(runner: EvaluationRunner, results: Mapping[Trial, Result]) -> list[AudioExample]:
    """Collect the input and the outputs of the clips whose tokens were returned.

    Args:
        runner: decodes the tokens.
        results: of the trials.

    Returns:
        The examples, grouped by clip.
    """
    found: list[AudioExample] = []
    chosen = [trial for trial in results if results[trial].codes is not None and trial.seed == 0]
    for number in sorted({trial.clip.number for trial in chosen}):
        mine = [trial for trial in chosen if trial.clip.number == number and _played(trial.setting)]
        clip = mine[0].clip if mine else None
        if clip is None:
            continue
        found.append(AudioExample(number, clip.title, "input", _ogg(clip.sound, clip.rate_hz)))
        for trial in sorted(mine, key=lambda trial: _rank(trial.setting)):
            codes = results[trial].codes
            assert codes is not None
            sound = runner.decode(codes[None], len(clip.sound))
            pictured = number < PICTURED_CLIPS and trial.setting.name in PICTURED
            png = _png(runner, trial, sound) if pictured else ""
            found.append(
                AudioExample(number, clip.title, trial.setting.name, _ogg(sound, clip.rate_hz), png)
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


def _png(runner: EvaluationRunner, trial: Trial, sound: Tensor) -> str:
    """Picture of input, mask and output in base64, "" where there is no mask."""
    codes, features = runner.encoded_features(trial.clip)
    mask = runner.mask(trial, codes, features)
    if mask is None or trial.setting.prompt is None:
        return ""
    beats = runner.prompt_beats(trial.clip) if trial.setting.prompt.needs_beats else None
    with TemporaryDirectory() as folder:
        path = Path(folder, "mask.png")
        plot.save(
            path,
            trial.clip.sound[None],
            sound[None],
            trial.clip.rate_hz,
            mask,
            runner.pipeline.frame_rate_hz,
            beats,
            trial.setting.name,
        )
        return base64.b64encode(path.read_bytes()).decode()
