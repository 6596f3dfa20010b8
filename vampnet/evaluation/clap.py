"""CLAP: a network that was trained to bring music and its description together.

Source: Wu et al., "Large-scale contrastive language-audio pretraining" (arXiv 2211.06687). The
network is that of the library transformers (the extra `clap`); the weights are a folder in its
layout, or a repository on the hub. Only safetensors are read, and only the half that hears.
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
FILES = (WEIGHTS, "model.safetensors.index.json", *CONFIGS)  # all that is fetched of a repository
SPARE = 0.1  # of a window: what is longer than whole windows by less is not heard
HASH_DIGITS = 8


class ClapEmbedding:
    """One point on the unit sphere for each 10 s, up to 14 kHz; the name tells the weights' hash.

    A longer sound is cut into windows here: the library would hear a random one of them.
    """

    def __init__(self, source: str | Path):
        """Weights from a folder, or OWNER/NAME or OWNER/NAME@REVISION on the hub.

        Raises ValueError where transformers is missing, or the weights are missing or no CLAP.
        """
        library = _library()
        folder = Path(source).expanduser()
        if not folder.is_dir():
            folder = fetch_repository(str(source), FILES)
        _check(folder, str(source))
        self._network, self._ear = _load(library, folder, str(source))
        self.rate_hz = int(self._ear.sampling_rate)
        self.window = int(self._ear.nb_max_samples)
        self.name = f"clap-{_hash(folder)}"
        try:
            self.dims = self(torch.zeros(self.rate_hz)).shape[1]
        except (ValueError, RuntimeError) as error:
            raise UserError(
                f"'{source}' has a network and a {CONFIGS[1]} that do not fit: {error}"
            ) from error

    @torch.inference_mode()
    def __call__(self, audio: Tensor) -> Tensor:
        """Sound float (S,) at ``rate_hz`` to points float (windows, dims); shorter: repeated."""
        sounds = [sound.numpy() for sound in windows(audio.float().cpu(), self.window)]
        heard = self._ear(sounds, sampling_rate=self.rate_hz, return_tensors="pt")
        # None is longer than a window, though for models with fusion the library marks one by lot.
        longer = torch.zeros(len(sounds), 1, dtype=torch.bool)
        made = self._network(input_features=heard["input_features"], is_longer=longer)
        return F.normalize(made.audio_embeds, dim=-1).clone()


def windows(audio: Tensor, size: int) -> list[Tensor]:
    """A sound float (S,) as windows of ``size`` samples, spread evenly; a shorter one as it is."""
    n = max(1, math.ceil(len(audio) / size - SPARE))
    room = max(0, len(audio) - size)
    starts = [round(room * i / (n - 1)) for i in range(n)] if n > 1 else [0]
    return [audio[start : start + size] for start in starts]


def _check(folder: Path, source: str) -> None:
    """That a folder says it holds CLAP, in safetensors. Raises ValueError."""
    try:
        kind = json.loads((folder / CONFIG).read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"'{source}' is no CLAP: it has no {CONFIG} that can be read") from error
    if kind != "clap":
        raise UserError(f"'{source}' is no CLAP: its {CONFIG} names the model_type {kind!r}")
    if not list(folder.glob(WEIGHTS)):
        raise UserError(
            f"'{source}' has no {WEIGHTS}, and weights in a pickle are not read; on the hub their "
            "conversion is often at NAME@refs/pr/1, and docs/evaluation.md tells how to make one"
        )


def _library() -> Any:
    """The package transformers. Raises UserError where it is missing."""
    require("transformers", extra="clap", purpose="CLAP")
    import transformers

    return transformers


def _load(library: Any, folder: Path, source: str) -> tuple[Any, Any]:
    """The network that hears, and what makes its input. Raises ValueError."""
    try:
        with _quiet(library.utils.logging):
            network, found = library.ClapAudioModelWithProjection.from_pretrained(
                folder,
                use_safetensors=True,
                local_files_only=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
            ear = library.ClapFeatureExtractor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"'{source}' cannot be loaded as CLAP: {reason}") from error
    if found["missing_keys"]:
        raise UserError(f"'{source}' is no whole CLAP: it lacks {min(found['missing_keys'])}")
    return network.eval().requires_grad_(False), ear


def _hash(folder: Path) -> str:
    digest = hashlib.sha256()
    configs = [folder / name for name in CONFIGS if (folder / name).is_file()]
    for path in sorted([*folder.glob(WEIGHTS), *configs]):
        digest.update(f"{path.name} {sha256(path)} ".encode())
    return digest.hexdigest()[:HASH_DIGITS]


@contextmanager
def _quiet(log: Any) -> Iterator[None]:
    """Without the library's progress bar and its report of the weights for text, left unread."""
    level, bar = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bar:
            log.enable_progress_bar()
