"""VampNet: masked acoustic token modelling for music; audio in, its variation out.

The names below are imported on first use, so that `import vampnet` costs nothing:

    import vampnet

    pipe = vampnet.Pipeline.from_pretrained("default")
    pipe.vary_file("loop.wav", "variation.wav", preset="loop-variation", seed=1)
"""

from __future__ import annotations

from vampnet.system.lazy import lazy_names

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


__getattr__, __dir__ = lazy_names(__name__, globals(), _PUBLIC)
