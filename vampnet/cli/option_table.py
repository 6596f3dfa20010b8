"""Options of ``vampnet vamp``, ``serve`` and ``train``, one table row per option.

Those of a prompt and of sampling come from the dataclasses. Nothing here imports torch, so that
help appears at once. Defaults stay in the dataclasses; an option that is not given is absent.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from vampnet.model.settings import Sampling
from vampnet.prompt.prompt import Prompt
from vampnet.system.settings_table import Option, options_of

PROMPT, SAMPLING = options_of(Prompt), options_of(Sampling)
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
        "model to fine-tune, or 'none' to train from scratch (default); not with a data pack",
    ),
    Option(
        "held_out",
        str,
        "WORDS",
        "comma-separated; files whose path has one only test; not with a set or data pack",
    ),
    Option("licence", str, "TEXT", "licence of the weights, stored with them"),
    Option("device", str, "DEVICE", "cpu, cuda, cuda:1 (auto)"),
    Option("minutes", float, "MINUTES", "duration of the training, instead of a number of steps"),
    Option("steps", int, "N", "steps of each masked model"),
    Option("decoder_steps", int, "N", "steps of the codec's decoder, with --base none"),
    Option("batch", int, "N", "windows per step"),
    Option("frames", int, "FRAMES", "frames per window (1/57 s each)"),
    Option("learning_rate", float, "X", "highest learning rate"),
)


def add(parser: Any, options: Sequence[Option]) -> None:
    """Add options to a parser; those not given are absent from the namespace."""
    for option in options:
        how: dict[str, Any] = {"dest": option.name, "default": argparse.SUPPRESS}
        if option.kind is bool:
            how["action"] = argparse.BooleanOptionalAction
        else:
            how |= {"type": option.kind, "metavar": option.unit}
        parser.add_argument("--" + option.name.replace("_", "-"), help=option.help, **how)


def given(args: argparse.Namespace, options: Sequence[Option]) -> dict[str, Any]:
    """Return the options that were given, by field name."""
    return {o.name: getattr(args, o.name) for o in options if hasattr(args, o.name)}
