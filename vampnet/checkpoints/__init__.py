"""Model folders and weight files: read, write, convert, download."""

from __future__ import annotations

from vampnet.checkpoints.folders import (
    ATTRIBUTION,
    CONFIG,
    CheckpointError,
    Parts,
    convert,
    is_model_folder,
    load_codec,
    load_folder,
    load_vampnet,
    metadata_of,
    models,
    recommended_of,
    resolve,
    save_folder,
)

__all__ = [
    "ATTRIBUTION",
    "CONFIG",
    "CheckpointError",
    "Parts",
    "convert",
    "is_model_folder",
    "load_codec",
    "load_folder",
    "load_vampnet",
    "metadata_of",
    "models",
    "recommended_of",
    "resolve",
    "save_folder",
]
