"""Model folders and weight files: read, write, convert, download."""

from __future__ import annotations

from vampnet.checkpoints.folders import (
    ATTRIBUTION,
    CONFIG,
    CheckpointError,
    ModelParts,
    is_model_folder,
    load_codec,
    load_folder,
    load_vampnet,
    models,
    read_metadata,
    recommended_of,
    resolve,
)
from vampnet.checkpoints.saving import convert, save_folder

__all__ = [
    "ATTRIBUTION",
    "CONFIG",
    "CheckpointError",
    "ModelParts",
    "convert",
    "is_model_folder",
    "load_codec",
    "load_folder",
    "load_vampnet",
    "read_metadata",
    "models",
    "recommended_of",
    "resolve",
    "save_folder",
]
