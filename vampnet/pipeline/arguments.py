"""Checks of the pipeline's arguments; each error has the value seen and the values allowed."""

from __future__ import annotations

import operator
import os
import secrets
from numbers import Real
from pathlib import Path

import torch
from torch import Tensor

from vampnet.audio import all_finite
from vampnet.model import Sampling
from vampnet.prompt import Prompt
from vampnet.system.errors import UserError

MAX_SEED = 2**63 - 1
RANDOM_SEED_LIMIT = 2**31  # random seeds are short enough to be typed again


def checked_seed(seed: int | None) -> int:
    """Return the seed, 0 to 2^63 - 1, or a random one for None; UserError for any other value."""
    if seed is None:
        return secrets.randbelow(RANDOM_SEED_LIMIT)
    if not 0 <= whole_number("seed", seed) <= MAX_SEED:
        raise UserError(f"seed is {seed}; allowed is 0 to {MAX_SEED}")
    return seed


def whole_number(name: str, value: object, least: int | None = None) -> int:
    """Return a whole number of any integer type as an int; UserError for anything else."""
    try:
        whole = None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        whole = None
    if whole is None or (least is not None and whole < least):
        more = "" if least is None else f", at least {least}"
        raise UserError(f"{name} is {value!r}; it must be a whole number{more}")
    return whole


def check_types(
    audio: object, prompt: object, sampling: object, bpm: object, beat_offset_s: object
) -> None:
    """Raise UserError for arguments of another type."""
    for name, value, kind in (
        ("audio", audio, Tensor),
        ("prompt", prompt, Prompt),
        ("sampling", sampling, Sampling),
    ):
        if not isinstance(value, kind):
            raise UserError(f"{name} is of {type(value)}; it must be a {kind.__name__}")
    for name, value in (("bpm", 0 if bpm is None else bpm), ("beat_offset_s", beat_offset_s)):
        if isinstance(value, bool) or not isinstance(value, Real):
            raise UserError(f"{name} is {value!r}; it must be a number")


def check_audio(audio: Tensor) -> None:
    """Raise UserError for audio that is not finite float32 (C, 1, S)."""
    if audio.dim() != 3 or audio.shape[1] != 1 or 0 in audio.shape:
        raise UserError(f"audio has shape {tuple(audio.shape)}; allowed is (channels, 1, samples)")
    if audio.dtype != torch.float32:
        raise UserError(f"audio is {audio.dtype}; it must be torch.float32")
    if not all_finite(audio):
        raise UserError("the audio has values that are not finite numbers (NaN or infinity)")


def check_codebooks(prompt: Prompt, n_codebooks: int) -> None:
    """Raise UserError for a prompt that keeps more codebooks than the codec has."""
    for name in ("codebooks_kept", "compression"):
        value = getattr(prompt, name)
        if value is not None and value > n_codebooks:
            raise UserError(f"{name} is {value}; allowed is 0 to {n_codebooks}, the codec's")


def take_files(target: str | os.PathLike[str], takes: int) -> list[Path]:
    """Return the file of each take: the target itself, or NAME-1.EXT, NAME-2.EXT, ..."""
    file = Path(target)
    if takes == 1 or not file.name:
        return [file]
    return [file.with_name(f"{file.stem}-{n}{file.suffix}") for n in range(1, takes + 1)]
