"""The pipeline: codec, coarse and coarse-to-fine model as one call."""

from __future__ import annotations

from vampnet.pipeline.arguments import MAX_SEED, RANDOM_SEED_LIMIT, checked_seed, take_files
from vampnet.pipeline.pipeline import Pipeline
from vampnet.pipeline.results import Vamp, Variation
from vampnet.pipeline.vamp_pipeline import optimize_for_inference

__all__ = [
    "RANDOM_SEED_LIMIT",
    "MAX_SEED",
    "Pipeline",
    "Vamp",
    "Variation",
    "checked_seed",
    "optimize_for_inference",
    "take_files",
]
