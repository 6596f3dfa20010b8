"""Training of the embedded codec's envelope: where within a frame an attack stands.

The decoder is trained before and left alone, so what it gives for each piece is computed once, and
the small network that reads it sees many windows a second.
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

ATTACK_WEIGHT = 4.0  # of a block around an attack, beside 1 of any other
EDGE = 6  # frames at either end of a piece, that see the silence around it
LENGTH = 600  # frames of a piece that are computed at once


@dataclass(frozen=True)
class EnvelopeTraining(TrainingPlan):
    """The numbers of the envelope's training; see ``TrainingPlan``."""

    steps: int = 6000
    batch: int = 32
    frames: int = 48
    learning_rate: float = 2e-3
    warmup: int = 100
    weight_decay: float = 0.01
    save_every: int = 1000
    report_every: int = 500


class Examples:
    """What the envelope is found from, and what it should be, frame by frame of many pieces.

    features: (F, dim), coarse: (F, blocks) and target: (F, blocks) float16, weight: (F, blocks)
    float16, starts: int64, where each stretch begins.
    """

    def __init__(self, codec: SpectralCodec, pieces: Pack, n_codebooks: int):
        parts: list[tuple[Tensor, ...]] = []
        for i in range(len(pieces.pieces)):
            parts += _stretches(codec, pieces.samples(i), n_codebooks)
        self.features, self.coarse, self.target, self.weight = (
            torch.cat([part[k] for part in parts]) for k in range(4)
        )
        self.starts = torch.tensor([0] + [len(part[0]) for part in parts]).cumsum(0)

    def windows(self, n_items: int, n_frames: int, rng: torch.Generator) -> list[Tensor]:
        """Random windows of all four, float (B, T, ...); none crosses from stretch to stretch."""
        room = (self.starts.diff() - n_frames + 1).clamp(min=0)
        drawn = torch.multinomial(room.double(), n_items, replacement=True, generator=rng)
        start = (torch.rand(n_items, generator=rng) * room[drawn]).long() + self.starts[drawn]
        index = start[:, None] + torch.arange(n_frames)
        return [x[index].float() for x in (self.features, self.coarse, self.target, self.weight)]


@torch.no_grad()
def _stretches(codec: SpectralCodec, samples: Tensor, n_codebooks: int) -> list[tuple[Tensor, ...]]:
    """Features, coarse envelope, target and weight of each stretch of a piece, float (S,)."""
    hop, found = codec.hop_length, []
    for sound in samples[: len(samples) // hop * hop].split(LENGTH * hop):
        if len(sound) < (3 * EDGE) * hop:
            continue
        wave = sound[None]
        levels = codec.dequantize(codec.encode(wave[None])[:, :n_codebooks])
        spectra, _ = codec.spectra(levels)
        features = codec.decoder.features(levels / codec.deviation)
        targets, weights = [], []
        for band, n in zip(codec.bands, codec.envelope_blocks, strict=True):
            target = block_levels(band_wave(wave, band, hop), hop // n)
            weight = 1 + ATTACK_WEIGHT * attacks(target, hop // n, codec.sample_rate)
            targets.append(target.unflatten(-1, (-1, n)))
            weights.append(weight.unflatten(-1, (-1, n)))
        all_of = (features, codec.coarse_envelope(spectra), torch.cat(targets, -1),
                  torch.cat(weights, -1))  # fmt: skip
        found.append(tuple(x[0, EDGE:-EDGE].half() for x in all_of))
    return found


def train_envelope(
    codec: SpectralCodec,
    examples: list[Examples],
    plan: EnvelopeTraining,
    folder: str | Path,
    log: Callable[[dict], None] | None = None,
) -> SpectralCodec:
    """Train ``codec.envelope`` in place; resumes from ``folder/state.pt``.

    examples: of one or more numbers of codebooks; each step draws from the next of them.
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
        found = coarse + network(features).float()
        near = F.smooth_l1_loss(found, target, reduction="none", beta=0.05)
        return (weight * near).sum() / weight.sum()

    run(network, loss, plan, folder, log=log)
    return codec
