"""The masked transformer, its layers for inference, and iterative parallel decoding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vampnet.system.lazy import lazy_names

if TYPE_CHECKING:
    from vampnet.model.sampling import generate
    from vampnet.model.settings import Sampling
    from vampnet.model.vampnet import VampNet, VampNetConfig

__all__ = ["Sampling", "VampNet", "VampNetConfig", "generate"]

__getattr__, __dir__ = lazy_names(
    __name__,
    globals(),
    {
        "Sampling": "vampnet.model.settings",
        "VampNet": "vampnet.model.vampnet",
        "VampNetConfig": "vampnet.model.vampnet",
        "generate": "vampnet.model.sampling",
    },
)
