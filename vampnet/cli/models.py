"""``vampnet presets``, ``models``, ``models pull`` and ``convert``: list, download and convert."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable
from pathlib import Path

from vampnet.cli.outputs import print_status, staging_folder
from vampnet.cli.progress import Progress
from vampnet.system.errors import UserError

CONFIG_NAME = "config.json"  # of a model's folder; the module that has it imports torch
_MODEL_FILE = re.compile(r"[^.].*\.(json|safetensors|pth)|(ATTRIBUTION|LICENSE|README)(\..*)?")


def add(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the commands of this file; ``command(name, run, text)`` creates a parser."""
    listed = command("presets", _presets, "list the presets")
    listed.add_argument("--presets-dir", metavar="FOLDER", help="your own presets, *.toml")
    models = command("models", _models, "list the local models, or pull the official weights")
    text = "fetch the official VampNet weights (about 3 GB; not for commercial use)"
    fetch = models.add_subparsers(metavar="pull").add_parser("pull", help=text, description=text)
    fetch.add_argument("name", metavar="NAME", nargs="?", default="original", help="(original)")
    fetch.add_argument("--lora", metavar="NAME", help="also fetch weights fine-tuned on a genre")
    fetch.set_defaults(run=_pull)
    convert = command("convert", _convert, "convert a model's weights to this program's own format")
    convert.add_argument("source", metavar="SRC", help="a model folder, the original's .pth too")
    convert.add_argument("target", metavar="DST", help="the folder to write")
    convert.add_argument("--fp16", action="store_true", help="half the size; rounds the weights")
    convert.add_argument("--force", action="store_true", help="replace an existing model")


def _presets(args: argparse.Namespace) -> None:
    from vampnet.presets import presets

    known = presets(Path(args.presets_dir) if args.presets_dir else None)
    width = max(map(len, known))
    for name, preset in known.items():
        print(f"{name:{width}}  {preset.description}")


def _models(args: argparse.Namespace) -> None:
    from vampnet.checkpoints.folders import models

    for name, folder in models().items():
        weights = [*folder.glob("*.safetensors"), *folder.glob("*.pth")]
        size = sum(file.stat().st_size for file in weights)
        print(f"{name}  {size / 1e6:.1f} MB  {folder}")


def _pull(args: argparse.Namespace) -> None:
    from vampnet.checkpoints.download import pull

    with Progress() as bar:
        name = pull(args.name, args.lora, on_bytes=bar, say=print_status)
    print(f"use it with --model {name}")


def _convert(args: argparse.Namespace) -> None:
    import torch

    from vampnet import checkpoints

    source, target = checkpoints.resolve(checked_model(args.source)), _folder(args.target)
    config = target / checkpoints.CONFIG
    if config.exists() and not args.force:
        raise UserError(f"'{target}' already contains a model; --force overwrites it")
    old = _old_model(target) if target.is_dir() else []
    dtype = torch.float16 if args.fp16 else torch.float32
    with staging_folder(config if target.is_dir() else target) as folder:
        made = sorted(checkpoints.convert(source, folder, dtype=dtype).iterdir())
        target.mkdir(exist_ok=True)
        # A folder without config is not a model, so none ever contains parts of two.
        config.unlink(missing_ok=True)
        for file in old:
            file.unlink(missing_ok=True)
        for file in sorted(made, key=lambda file: file.name == checkpoints.CONFIG):
            os.replace(file, target / file.name)
    print(f"wrote {target}: {', '.join(file.name for file in made)}")


def _old_model(target: Path) -> list[Path]:
    """List the files of the model in a folder, all of which a new one replaces.

    Raises UserError where the folder contains anything else, which must not be deleted.
    """
    if not (target / CONFIG_NAME).exists():
        return []
    files = sorted(target.iterdir())
    foreign = [f.name for f in files if not f.is_file() or not _MODEL_FILE.fullmatch(f.name)]
    if foreign:
        raise UserError(
            f"'{target}' contains more than a model ({', '.join(foreign[:5])}); move that "
            "elsewhere, or choose another folder"
        )
    return files


def checked_model(typed: str) -> str:
    """Check a model's name or folder as typed, and return it.

    Raises:
        UserError: it is empty, which would be the current folder, or the work folder of a training
            instead of the model in it.
    """
    from vampnet.checkpoints.folders import is_model_folder, models

    if not typed.strip():
        raise UserError(
            f"the model is '{typed}'; a name (see: vampnet models) or a folder is needed"
        )
    folder = Path(typed).expanduser()
    known = typed in models() or is_model_folder(folder)
    if not known and is_model_folder(folder / "model"):
        raise UserError(
            f"'{typed}' is not a model folder, but contains one: {Path(typed) / 'model'}"
        )
    return typed


def _folder(typed: str) -> Path:
    """The folder to write, with its parents created; raises UserError where it cannot be one."""
    target = Path(typed)
    if not typed.strip() or (target.exists() and not target.is_dir()):
        raise UserError(f"cannot write '{typed}': it is not a folder")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write '{typed}': {error.strerror or error}") from None
    return target
