"""The pipeline: codec, coarse and coarse-to-fine model as one call."""

from __future__ import annotations

from vampnet.pipeline.arguments import DRAWN_SEEDS, MAX_SEED, checked_seed, take_files
from vampnet.pipeline.pipeline import Pipeline
from vampnet.pipeline.results import Vamp, Variation
from vampnet.pipeline.vamp_pipeline import make_ready

__all__ = [
    "DRAWN_SEEDS",
    "MAX_SEED",
    "Pipeline",
    "Vamp",
    "Variation",
    "checked_seed",
    "make_ready",
    "take_files",
]
