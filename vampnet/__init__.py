"""VampNet: masked acoustic token modelling for music; audio in, its variation out.

The names below are imported on first use, so that `import vampnet` costs nothing:

    import vampnet

    pipe = vampnet.Pipeline.from_pretrained("default")
    pipe.vary_file("loop.wav", "variation.wav", preset="loop-variation", seed=1)
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "Audio": "vampnet.audio",
    "AudioError": "vampnet.audio",
    "AudioFormat": "vampnet.audio",
    "Beats": "vampnet.prompt.beats",
    "Codec": "vampnet.codec",
    "Pipeline": "vampnet.pipeline",
    "Preset": "vampnet.presets",
    "Prompt": "vampnet.prompt",
    "Region": "vampnet.audio",
    "Sampling": "vampnet.model",
    "UserError": "vampnet.system.errors",
    "Vamp": "vampnet.pipeline",
    "VampNet": "vampnet.model",
    "VampNetConfig": "vampnet.model",
    "Variation": "vampnet.pipeline",
    "beat_grid": "vampnet.prompt.beats",
    "generate": "vampnet.model",
    "load_preset": "vampnet.presets",
    "parse_ranges": "vampnet.prompt.time_ranges",
    "read": "vampnet.audio",
    "track": "vampnet.prompt.beats",
    "write": "vampnet.audio",
}

__all__ = ["__version__", *sorted(_PUBLIC)]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    """Import the file of a public name when it is first asked for (PEP 562)."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'vampnet' has no attribute {name!r}")
    value = getattr(import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Public names first used later are listed too."""
    return sorted({*globals(), *_PUBLIC})
