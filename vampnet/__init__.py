"""VampNet: masked acoustic token modelling for music; audio in, its variation out.

The names below are imported from their files on first use, so that `import vampnet` costs nothing:

    import vampnet

    pipeline = vampnet.Pipeline.load("default")
    audio = vampnet.read("loop.wav")
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
    "Sampling": "vampnet.model.sampling",
    "Vamp": "vampnet.pipeline",
    "VampNet": "vampnet.model",
    "VampNetConfig": "vampnet.model",
    "beat_grid": "vampnet.prompt.beats",
    "generate": "vampnet.model.sampling",
    "load_preset": "vampnet.presets",
    "read": "vampnet.audio",
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
