"""What a distance between sets of sounds is measured in: each patch of sound as a point.

Two ways to hear that need nothing but the package: MusiCNN (what kind of music, below 8 kHz) and
level statistics (how much of what, over the whole band). CLAP and VGGish are read from weights that
the user has, and anything else with the attributes of :class:`Embedding` can be handed to the same
measures.
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
PATCH_HOP_S = 3.0  # side by side, as the network's authors do
LEVELS_FFT, LEVELS_MELS = 2048, 40
KINDS = {"clap": ClapEmbedding, "vggish": VggishEmbedding}  # those whose weights are not shipped


class Embedding(Protocol):
    """A way to hear: its ``name``, the rate it hears at, its dimensions.

    Results are kept by the name, so it tells whatever they depend on: a version, a hash of weights.
    """

    @property
    def name(self) -> str:
        """Under which results are kept."""
        ...

    @property
    def rate_hz(self) -> int:
        """Samples a second that it hears."""
        ...

    @property
    def dims(self) -> int:
        """Numbers of a point."""
        ...

    def __call__(self, audio: Tensor) -> Tensor:
        """Sound float (S,) at ``rate_hz`` to points float (patches, dims), at least one."""
        ...


class MusicnnEmbedding:
    """The layer before the tags of MusiCNN: 200 numbers for each 3 s, nothing above 8 kHz."""

    name, rate_hz, dims = "musicnn", musicnn.RATE_HZ, musicnn.WIDTH

    @torch.inference_mode()
    def __call__(self, audio: Tensor) -> Tensor:
        """Sound float (S,) at 16 kHz to points float (patches, 200)."""
        return musicnn.load()(musicnn.log_mel_patches(audio, PATCH_HOP_S)).clone()


class LevelEmbedding:
    """Mean, spread and restlessness of 40 log-mel bands over 3 s, up to half the rate.

    No network and no taste, but it hears the top octave, hiss and dullness.
    """

    name, dims = "levels", 3 * LEVELS_MELS

    def __init__(self, rate_hz: int = 44100):
        self.rate_hz = rate_hz

    def __call__(self, audio: Tensor) -> Tensor:
        """Sound float (S,) at ``rate_hz`` to points float (patches, 120)."""
        levels = log_mel(audio.float(), self.rate_hz, LEVELS_FFT, LEVELS_MELS)
        frames_a_s = self.rate_hz / (LEVELS_FFT // 4)
        size = min(levels.shape[-1], round(PATCH_S * frames_a_s))
        patches = levels.unfold(-1, size, round(PATCH_HOP_S * frames_a_s)).transpose(0, 1)
        restless = patches.diff(dim=-1).abs().mean(-1)
        return torch.cat([patches.mean(-1), patches.std(-1), restless], 1)


def offline(rate_hz: int) -> tuple[Embedding, ...]:
    """The embeddings that need no download, for sounds at ``rate_hz``."""
    return MusicnnEmbedding(), LevelEmbedding(rate_hz)


def named(text: str) -> Embedding:
    """The embedding of "clap=FOLDER", "clap=OWNER/NAME" (on the hub) or "vggish=FILE".

    Raises ValueError where it is none of these, or its weights cannot be read.
    """
    kind, _, weights = text.partition("=")
    if kind not in KINDS or not weights:
        raise UserError(
            f"embedding '{text}'; allowed are clap=FOLDER or NAME, vggish=FILE "
            "(musicnn and levels are always measured)"
        )
    return KINDS[kind](weights)


def embed(audio: Tensor, rate_hz: int, embeddings: Sequence[Embedding]) -> dict[str, Tensor]:
    """Points of a mono sound float (S,) in each embedding, by its name: float (patches, dims)."""
    found = {}
    for embedding in embeddings:
        heard = resample(audio[None], rate_hz, embedding.rate_hz)[0]
        found[embedding.name] = embedding(heard)
    return found
