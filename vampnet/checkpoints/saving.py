"""Writing model folders: saving models, and converting the original's folders to our format."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from vampnet.checkpoints.folders import (
    ATTRIBUTION,
    CONFIG,
    STAGES,
    describe,
    find_file,
    load_folder,
)
from vampnet.checkpoints.weight_files import CheckpointError, to_storage
from vampnet.codec import Codec
from vampnet.model import VampNet
from vampnet.model.recommended import FAMILY, RecommendedSampling
from vampnet.system.atomic_file import atomic_path
from vampnet.system.errors import UserError
from vampnet.system.hashes import sha256


def save_folder(
    folder: str | Path,
    codec: Codec,
    coarse: VampNet | None = None,
    c2f: VampNet | None = None,
    *,
    metadata: Mapping[str, Any] | None = None,
    sampling: RecommendedSampling = FAMILY,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Write a model folder of our format, the config last, and return it.

    Args:
        folder: created if missing.
        codec, coarse, c2f: the models to write.
        metadata: plain JSON values: licence, attribution, hash of the training data.
        sampling: the recommended settings.
        dtype: float32 or float16 (half the size; rounds the weights).

    Raises:
        UserError: for another dtype.
        CheckpointError: where float16 overflows or a model's weights do not match its config.
        OSError: where the disk is full.
    """
    if dtype not in (torch.float32, torch.float16):
        raise UserError(f"dtype is {dtype}; it must be torch.float32 or torch.float16")
    for name, model in zip(STAGES, (coarse, c2f), strict=True):
        if model is not None:
            _check_plain(name, model)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in (("codec", codec), ("coarse", coarse), ("c2f", c2f)):
        if part is None:
            continue
        state = part.state_dict()
        if isinstance(part, VampNet):
            del state["codebooks"]  # copied from the codec at load
        state = {key: to_storage(f"{name} {key}", value, dtype) for key, value in state.items()}
        with atomic_path(folder / f"{name}.safetensors") as part_of_file:
            save_file(state, part_of_file)
    described = describe(codec, coarse, c2f, dict(metadata or {}))
    if sampling.source == "model":
        described["sampling"] = sampling.to_config()
    config = json.dumps(described, indent=2)
    with atomic_path(folder / CONFIG) as part_of_file:
        part_of_file.write_text(config + "\n", encoding="utf-8")
    return folder


def convert(
    source: str | Path,
    target: str | Path,
    *,
    metadata: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Convert a folder that :func:`load_folder` reads to our format, and return ``target``.

    The SHA-256 of each .pth file is added to the metadata; attribution and licence are copied.

    Args:
        source: a model folder.
        target: the folder to write.
        metadata: plain JSON values, such as the licence.
        dtype: float32 or float16.

    Raises:
        CheckpointError: where ``target`` has a model already, and as for :func:`load_folder`.
    """
    source, target = Path(source), Path(target)
    if (target / CONFIG).exists():
        raise CheckpointError(f"{target} has a model already")
    parts = load_folder(source)
    notes = dict(parts.config.get("metadata", {}))
    if not (source / CONFIG).is_file():
        files = [find_file(source, f"{name}.pth") for name in ("codec", *STAGES)]
        notes["source_sha256"] = {file.name: sha256(file) for file in files if file is not None}
    notes.update(metadata or {})
    written = save_folder(
        target, parts.codec, parts.coarse, parts.c2f, metadata=notes, dtype=dtype,
        sampling=parts.recommended,
    )  # fmt: skip
    for name in (ATTRIBUTION, "LICENSE"):
        file = find_file(source, name)
        if file is not None:
            shutil.copyfile(file, written / name)
    return written


def _check_plain(name: str, model: VampNet) -> None:
    with torch.device("meta"):
        plain = VampNet(model.config).state_dict().keys()
    if model.state_dict().keys() != plain:
        raise CheckpointError(
            f"the {name} model cannot be saved: it was optimised for inference, or has adapters; "
            "save it before, merge them, or use convert on its folder"
        )
