"""Training of the embedded codec's envelope: the position of an attack within a frame.

The decoder is already trained and stays unchanged. Its outputs for each piece are computed once, so
that a step of the small envelope network is fast.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from vampnet.codec.envelope import attacks, block_levels
from vampnet.codec.spectral import SpectralCodec
from vampnet.codec.synthesis import band_wave
from vampnet.training.data import Pack
from vampnet.training.loop import TrainingPlan, run

ATTACK_WEIGHT = 4.0  # added to the weight 1 of a block that belongs to an attack
EDGE = 6  # frames at each end of a segment that depend on the zero padding; not used
LENGTH = 600  # frames per segment of a piece


@dataclass(frozen=True)
class EnvelopeTraining(TrainingPlan):
    """Settings of the envelope's training; see ``TrainingPlan``."""

    steps: int = 6000
    batch: int = 32
    frames: int = 48
    learning_rate: float = 2e-3
    warmup: int = 100
    weight_decay: float = 0.01
    save_every: int = 1000
    report_every: int = 500


class Examples:
    """Inputs and targets of the envelope network, for all frames of a set of pieces.

    Args:
        codec: has an envelope and a trained decoder.
        pieces: audio at the codec's sample rate.
        n_codebooks: codebooks that are decoded.

    Attributes:
        features: float16 (F, dim), input of the decoder's output layer.
        coarse: float16 (F, blocks), see ``SpectralCodec.coarse_envelope``.
        target: float16 (F, blocks), log10 block levels of the audio.
        weight: float16 (F, blocks), of a block in the loss.
        starts: int64 (segments + 1,), first frame of each segment, and F.
    """

    def __init__(self, codec: SpectralCodec, pieces: Pack, n_codebooks: int):
        parts: list[tuple[Tensor, ...]] = []
        for i in range(len(pieces.pieces)):
            parts += _segments(codec, pieces.samples(i), n_codebooks)
        self.features, self.coarse, self.target, self.weight = (
            torch.cat([part[k] for part in parts]) for k in range(4)
        )
        self.starts = torch.tensor([0] + [len(part[0]) for part in parts]).cumsum(0)

    def windows(self, n_items: int, n_frames: int, rng: torch.Generator) -> list[Tensor]:
        """Sample windows, each within one segment.

        Returns:
            Features, coarse, target and weight, float (n_items, n_frames, ...).
        """
        counts = (self.starts.diff() - n_frames + 1).clamp(min=0)
        chosen = torch.multinomial(counts.double(), n_items, replacement=True, generator=rng)
        start = (torch.rand(n_items, generator=rng) * counts[chosen]).long() + self.starts[chosen]
        index = start[:, None] + torch.arange(n_frames)
        return [x[index].float() for x in (self.features, self.coarse, self.target, self.weight)]


@torch.no_grad()
def _segments(codec: SpectralCodec, samples: Tensor, n_codebooks: int) -> list[tuple[Tensor, ...]]:
    """Features, coarse envelope, target and weight per segment of a piece, float (S,)."""
    hop, found = codec.hop_length, []
    for segment in samples[: len(samples) // hop * hop].split(LENGTH * hop):
        if len(segment) < (3 * EDGE) * hop:
            continue
        wave = segment[None]
        levels = codec.dequantize(codec.encode(wave[None])[:, :n_codebooks])
        spectra, _ = codec.spectra(levels)
        features = codec.decoder.features(levels / codec.deviation)
        targets, weights = [], []
        for band, n in zip(codec.bands, codec.envelope_blocks, strict=True):
            target = block_levels(band_wave(wave, band, hop), hop // n)
            weight = 1 + ATTACK_WEIGHT * attacks(target, hop // n, codec.sample_rate)
            targets.append(target.unflatten(-1, (-1, n)))
            weights.append(weight.unflatten(-1, (-1, n)))
        coarse = codec.coarse_envelope(spectra)
        parts = (features, coarse, torch.cat(targets, -1), torch.cat(weights, -1))
        found.append(tuple(x[0, EDGE:-EDGE].half() for x in parts))
    return found


def train_envelope(
    codec: SpectralCodec,
    examples: list[Examples],
    plan: EnvelopeTraining,
    folder: str | Path,
    log: Callable[[dict], None] | None = None,
) -> SpectralCodec:
    """Train ``codec.envelope`` in place; resumes from ``folder/state.pt``.

    Args:
        codec: has an envelope; its decoder is trained.
        examples: for one or more numbers of codebooks; the steps use them in turn.
        plan: steps and rates.
        folder: where state and log are written.
        log: see ``loop.run``.

    Returns:
        ``codec``.

    Raises:
        ValueError: for a codec without envelope.
    """
    network = codec.envelope
    if network is None:
        raise ValueError("the codec has no envelope; build it with envelope_blocks")
    turn = 0

    def loss(rng: torch.Generator) -> Tensor:
        nonlocal turn
        some = examples[turn % len(examples)]
        turn += 1
        features, coarse, target, weight = some.windows(plan.batch, plan.frames, rng)
        predicted = coarse + network(features).float()
        error = F.smooth_l1_loss(predicted, target, reduction="none", beta=0.05)
        return (weight * error).sum() / weight.sum()

    run(network, loss, plan, folder, log=log)
    return codec
