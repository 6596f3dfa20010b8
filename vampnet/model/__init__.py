"""The masked transformer, its layers for inference, and iterative parallel decoding."""

from __future__ import annotations

from vampnet.model.sampling import Sampling, generate
from vampnet.model.vampnet import VampNet, VampNetConfig

__all__ = ["Sampling", "VampNet", "VampNetConfig", "generate"]
