"""Audio embeddings in which distances between sets of audio are measured.

Two of them need only this package: MusiCNN (kind of music, below 8 kHz) and level statistics (full
band). CLAP and VGGish are read from weights that the user supplies; any other object with the
attributes of :class:`Embedding` works with the same measures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from vampnet.audio import resample
from vampnet.evaluation import musicnn
from vampnet.evaluation.clap import ClapEmbedding
from vampnet.evaluation.mel_distance import log_mel
from vampnet.evaluation.vggish import VggishEmbedding
from vampnet.system.errors import UserError

PATCH_S = 3.0
PATCH_HOP_S = 3.0  # patches do not overlap, as the network's authors do it
LEVELS_FFT, LEVELS_MELS = 2048, 40
KINDS = {"clap": ClapEmbedding, "vggish": VggishEmbedding}  # those whose weights are not shipped


class Embedding(Protocol):
    """An audio embedding.

    Results are cached under the name, which must therefore identify everything they depend on, such
    as a version or a hash of the weights.
    """

    @property
    def name(self) -> str:
        """Unique name, the cache key of results."""
        ...

    @property
    def rate_hz(self) -> int:
        """Sample rate of its input in Hz."""
        ...

    @property
    def dims(self) -> int:
        """Dimensions of an embedding."""
        ...

    def __call__(self, audio: Tensor) -> Tensor:
        """Embed mono audio float (S,) at ``rate_hz``: float (patches, dims), at least 1 patch."""
        ...


class MusicnnEmbedding:
    """Penultimate layer of MusiCNN: 200 dimensions per 3 s, nothing above 8 kHz."""

    name, rate_hz, dims = "musicnn", musicnn.RATE_HZ, musicnn.WIDTH

    @torch.inference_mode()
    def __call__(self, audio: Tensor) -> Tensor:
        """Embed mono audio float (S,) at 16 kHz: float (patches, 200)."""
        return musicnn.load()(musicnn.log_mel_patches(audio, PATCH_HOP_S)).clone()


class LevelEmbedding:
    """Mean, standard deviation and mean absolute delta of 40 log-mel bands over 3 s.

    It is not a neural network, but covers the full band: the top octave, hiss and dullness count.
    """

    name, dims = "levels", 3 * LEVELS_MELS

    def __init__(self, rate_hz: int = 44100):
        self.rate_hz = rate_hz

    def __call__(self, audio: Tensor) -> Tensor:
        """Embed mono audio float (S,) at ``rate_hz``: float (patches, 120)."""
        levels = log_mel(audio.float(), self.rate_hz, LEVELS_FFT, LEVELS_MELS)
        frames_per_s = self.rate_hz / (LEVELS_FFT // 4)
        size = min(levels.shape[-1], round(PATCH_S * frames_per_s))
        patches = levels.unfold(-1, size, round(PATCH_HOP_S * frames_per_s)).transpose(0, 1)
        delta = patches.diff(dim=-1).abs().mean(-1)
        return torch.cat([patches.mean(-1), patches.std(-1), delta], 1)


def bundled_embeddings(rate_hz: int) -> tuple[Embedding, ...]:
    """The embeddings that need no download, for audio at ``rate_hz``."""
    return MusicnnEmbedding(), LevelEmbedding(rate_hz)


def parse_embedding(text: str) -> Embedding:
    """Load an embedding named on the command line.

    Args:
        text: "clap=FOLDER", "clap=OWNER/NAME" (on the hub) or "vggish=FILE".

    Raises:
        UserError: the text is none of these, or the weights cannot be read.
    """
    kind, _, weights = text.partition("=")
    if kind not in KINDS or not weights:
        raise UserError(
            f"embedding '{text}'; allowed are clap=FOLDER or NAME, vggish=FILE "
            "(musicnn and levels are always measured)"
        )
    return KINDS[kind](weights)


def embed(audio: Tensor, rate_hz: int, embeddings: Sequence[Embedding]) -> dict[str, Tensor]:
    """Embed mono audio with several embeddings.

    Args:
        audio: float (S,).
        rate_hz: its sample rate in Hz; it is resampled for each embedding.
        embeddings: the embeddings to compute.

    Returns:
        By the embedding's name, float (patches, dims).
    """
    found = {}
    for embedding in embeddings:
        resampled = resample(audio[None], rate_hz, embedding.rate_hz)[0]
        found[embedding.name] = embedding(resampled)
    return found
