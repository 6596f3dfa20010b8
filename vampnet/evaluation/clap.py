"""CLAP: embeddings of a network trained to match audio with its text description.

Source: Wu et al., "Large-scale contrastive language-audio pretraining" (arXiv 2211.06687). The
network is that of the library transformers (the extra `clap`); the weights are a folder in its
layout, or a repository on the hub. Only safetensors are read, and only the audio encoder.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor

from vampnet.checkpoints.download import fetch_repository
from vampnet.system.errors import UserError
from vampnet.system.hashes import sha256
from vampnet.system.optional import require

WEIGHTS, CONFIG = "model*.safetensors", "config.json"
CONFIGS = (CONFIG, "preprocessor_config.json", "processor_config.json")
FILES = (WEIGHTS, "model.safetensors.index.json", *CONFIGS)  # fetched from a repository
MIN_TAIL = 0.1  # of a window: a shorter remainder at the end does not get a window of its own
HASH_DIGITS = 8


class ClapEmbedding:
    """A unit-length embedding per 10 s window, up to 14 kHz; its name holds the weights' hash.

    Longer audio is cut into windows here, because transformers would pick a random one of them.
    """

    def __init__(self, source: str | Path):
        """Load the audio encoder.

        Args:
            source: a folder, or OWNER/NAME or OWNER/NAME@REVISION on the hub.

        Raises:
            UserError: transformers is not installed, or the source does not hold CLAP weights.
        """
        library = _library()
        folder = Path(source).expanduser()
        if not folder.is_dir():
            folder = fetch_repository(str(source), FILES)
        _check(folder, str(source))
        self._network, self._extractor = _load(library, folder, str(source))
        self.rate_hz = int(self._extractor.sampling_rate)
        self.window = int(self._extractor.nb_max_samples)
        self.name = f"clap-{_hash(folder)}"
        try:
            self.dims = self(torch.zeros(self.rate_hz)).shape[1]
        except (ValueError, RuntimeError) as error:
            raise UserError(
                f"'{source}' has a network and a {CONFIGS[1]} that do not fit: {error}"
            ) from error

    @torch.inference_mode()
    def __call__(self, audio: Tensor) -> Tensor:
        """Embed mono audio.

        Args:
            audio: float (S,) at ``rate_hz``; audio shorter than a window is repeated.

        Returns:
            One embedding per window, float (windows, dims), each of norm 1.
        """
        sounds = [sound.numpy() for sound in windows(audio.float().cpu(), self.window)]
        features = self._extractor(sounds, sampling_rate=self.rate_hz, return_tensors="pt")
        # No window is too long, but for models with fusion transformers marks a random one as such.
        longer = torch.zeros(len(sounds), 1, dtype=torch.bool)
        made = self._network(input_features=features["input_features"], is_longer=longer)
        return F.normalize(made.audio_embeds, dim=-1).clone()


def windows(audio: Tensor, size: int) -> list[Tensor]:
    """Cut audio into evenly spaced windows.

    Args:
        audio: float (S,).
        size: window length in samples.

    Returns:
        Windows, each float (size,); one of (S,) where the audio is shorter than a window.
    """
    n = max(1, math.ceil(len(audio) / size - MIN_TAIL))
    last_start = max(0, len(audio) - size)
    starts = [round(last_start * i / (n - 1)) for i in range(n)] if n > 1 else [0]
    return [audio[start : start + size] for start in starts]


def _check(folder: Path, source: str) -> None:
    """Raise UserError unless the folder holds a CLAP config and safetensors weights."""
    try:
        kind = json.loads((folder / CONFIG).read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"'{source}' is not CLAP: its {CONFIG} cannot be read") from error
    if kind != "clap":
        raise UserError(f"'{source}' is not CLAP: its {CONFIG} names the model_type {kind!r}")
    if not list(folder.glob(WEIGHTS)):
        raise UserError(
            f"'{source}' has no {WEIGHTS}, and weights in a pickle are not read; on the hub their "
            "conversion is often at NAME@refs/pr/1; docs/evaluation.md describes how to make one"
        )


def _library() -> Any:
    """Import transformers, or raise UserError where it is not installed."""
    require("transformers", extra="clap", purpose="CLAP")
    import transformers

    return transformers


def _load(library: Any, folder: Path, source: str) -> tuple[Any, Any]:
    """Load audio encoder and feature extractor, or raise UserError."""
    try:
        with _quiet(library.utils.logging):
            network, found = library.ClapAudioModelWithProjection.from_pretrained(
                folder,
                use_safetensors=True,
                local_files_only=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
            extractor = library.ClapFeatureExtractor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"'{source}' cannot be loaded as CLAP: {reason}") from error
    if found["missing_keys"]:
        raise UserError(f"'{source}' is an incomplete CLAP: it lacks {min(found['missing_keys'])}")
    return network.eval().requires_grad_(False), extractor


def _hash(folder: Path) -> str:
    digest = hashlib.sha256()
    configs = [folder / name for name in CONFIGS if (folder / name).is_file()]
    for path in sorted([*folder.glob(WEIGHTS), *configs]):
        digest.update(f"{path.name} {sha256(path)} ".encode())
    return digest.hexdigest()[:HASH_DIGITS]


@contextmanager
def _quiet(log: Any) -> Iterator[None]:
    """Silence transformers' progress bar and its report of unused text weights."""
    level, bar = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bar:
            log.enable_progress_bar()
