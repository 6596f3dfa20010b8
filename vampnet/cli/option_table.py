"""What can be typed after ``vampnet vamp``, ``serve`` and ``train``: a table row an option.

The rows stand for fields of dataclasses (a test holds them equal) and are told here without
importing those, whose files import torch: help has to come at once. Defaults stay in the
dataclasses; an option that is not given is absent.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple


class Option(NamedTuple):
    """An option that sets the field of this name: how its text is read, its unit, its help."""

    name: str
    kind: Callable[[str], Any]
    unit: str
    help: str


def _phase(text: str) -> int | None:
    return None if text == "random" else int(text)


def _kept(text: str) -> int | None:
    return None if text == "all" else int(text)


_phase.__name__, _kept.__name__ = "whole number or 'random'", "whole number or 'all'"

# Fields of vampnet.prompt.Prompt (ranges_s is --ranges) and vampnet.model.sampling.Sampling.
PROMPT = (
    Option("period", int, "FRAMES", "keep every n-th frame (1/57 s each); 0 = none"),
    Option("period_width", int, "FRAMES", "frames kept at each period"),
    Option("period_phase", _phase, "FRAMES", "shift of the pattern, or 'random'"),
    Option(
        "codebooks_kept", _kept, "N", "only the first n codebooks of kept frames stay, or 'all'"
    ),
    Option("compression", int, "N", "the first n codebooks stay in every frame"),
    Option("prefix_s", float, "SECONDS", "kept at the start"),
    Option("suffix_s", float, "SECONDS", "kept at the end"),
    Option("beat_ms", float, "MS", "milliseconds kept after each beat; 0 = none"),
    Option("beat_before_ms", float, "MS", "milliseconds kept before each beat; 0 = none"),
    Option("beat_every", int, "N", "only each n-th beat counts"),
    Option("downbeats_only", bool, "", "only the first beat of each bar counts"),
    Option("onset_ms", float, "MS", "milliseconds kept on either side of each onset; 0 = none"),
    Option("dropout", float, "SHARE", "0 to 1: share of kept frames given up at random"),
    Option("loop", bool, "", "the end hears the start, so that the result loops"),
)
SAMPLING = (
    Option("steps", int, "N", "passes of the coarse model; more: slower, often cleaner"),
    Option("fine_steps", int, "N", "passes of the coarse-to-fine model"),
    Option("temperature", float, "X", "below 1 tamer, above 1 wilder; 0 = the likeliest token"),
    Option("mask_temperature", float, "X", "how random the order is in which tokens are fixed"),
    Option("typical_mass", float, "SHARE", "0 to 1: mass of typical filtering; 0 = off"),
    Option("typical_min_tokens", int, "N", "typical filtering leaves at least so many tokens"),
    Option("top_p", float, "SHARE", "0 to 1: only the likeliest tokens of this mass; 0 = off"),
    Option("sample_cutoff", float, "SHARE", "0 to 1: passes after this share take the likeliest"),
    Option("by_codebook", bool, "", "one codebook after the other, each refining those before"),
    Option(
        "mean_pull", float, "SHARE", "0 to 1: steadier, tokens are nearer to the expected sound"
    ),
)
# Fields of harp_app.options.Options.
SERVE = (
    Option("host", str, "ADDRESS", "where it listens; 0.0.0.0 = the whole network (127.0.0.1)"),
    Option("port", int, "N", "port; 0 = any free one (7860)"),
    Option("model", str, "MODEL", "name or folder of the default model"),
    Option("models", str, "FOLDER", "a folder of model folders to choose from"),
    Option("device", str, "DEVICE", "cpu, cuda, cuda:1, mps (auto)"),
    Option("presets", str, "FOLDER", "your own presets"),
    Option("takes", int, "N", "output tracks, 1 to 4 (1)"),
    Option("secret", str, "WORD", "everything then lies under this word of the address"),
    Option("root_path", str, "PATH", "path or address under which a reverse proxy shows it"),
    Option("tls_cert", str, "FILE", "certificate; with --tls-key"),
    Option("tls_key", str, "FILE", "key of the certificate"),
    Option("at_once", int, "N", "jobs that run at once (1)"),
    Option("waiting", int, "N", "jobs that may wait (8)"),
    Option("keep_s", float, "SECONDS", "until uploads and results are deleted (3600)"),
    Option("max_seconds", float, "SECONDS", "longest clip (600)"),
    Option("max_mb", float, "MIB", "largest file (256)"),
    Option("max_total_mb", float, "MIB", "all uploads and results together (8192)"),
)
# Arguments of vampnet.training.end_to_end.train, and fields of its plans.
TRAIN = (
    Option(
        "base",
        str,
        "MODEL",
        "model to go on from, or 'none' for one of its own (default); not with a data pack",
    ),
    Option(
        "held_out",
        str,
        "WORDS",
        "paths with one of these words, a comma between, only test; not with a set or data pack",
    ),
    Option("licence", str, "TEXT", "what others may do with the weights, written into them"),
    Option("device", str, "DEVICE", "cpu, cuda, cuda:1 (auto)"),
    Option("minutes", float, "MINUTES", "train for so long and not for a number of steps"),
    Option("steps", int, "N", "steps of each masked model"),
    Option("decoder_steps", int, "N", "steps of the codec's decoder, with --base none"),
    Option("batch", int, "N", "windows a step"),
    Option("frames", int, "FRAMES", "frames a window (1/57 s each)"),
    Option("learning_rate", float, "X", "highest learning rate"),
)


def add(parser: Any, options: Sequence[Option]) -> None:
    """Add options that are absent from the namespace where they are not given."""
    for option in options:
        how: dict[str, Any] = {"dest": option.name, "default": argparse.SUPPRESS}
        if option.kind is bool:
            how["action"] = argparse.BooleanOptionalAction
        else:
            how |= {"type": option.kind, "metavar": option.unit}
        parser.add_argument("--" + option.name.replace("_", "-"), help=option.help, **how)


def given(args: argparse.Namespace, options: Sequence[Option]) -> dict[str, Any]:
    """The fields that were given, with their values."""
    return {o.name: getattr(args, o.name) for o in options if hasattr(args, o.name)}
