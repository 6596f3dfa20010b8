"""Training of the embedded codec's decoder: codes to STFT magnitudes.

Phase plays no part here; ``SpectralCodec.decode`` restores it afterwards. Losses are L1 on the
log10 magnitude of every bin and on log10 mel bands (as in arXiv 2306.06546, section 3.4).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from vampnet.codec.spectral import MAGNITUDE_FLOOR, SpectralCodec
from vampnet.mel import mel_bands
from vampnet.training.loop import Plan, run

N_MELS = 150
MEL_WEIGHT = 2.0
FULL_DEPTH_SHARE = 0.6  # of the steps that hear all codebooks
COARSE_DEPTH_SHARE = 0.25  # of the steps that hear the coarse codebooks alone


@dataclass(frozen=True)
class DecoderTraining(Plan):
    """The numbers of the decoder's training; see ``Plan``."""

    steps: int = 6000
    batch: int = 8
    frames: int = 96
    learning_rate: float = 1e-3
    warmup: int = 100
    weight_decay: float = 0.01
    save_every: int = 500
    report_every: int = 500


def target_magnitude(codec: SpectralCodec, audio: Tensor) -> Tensor:
    """STFT magnitudes the decoder should give: float (B, 1, T * hop) to (B, T * 2, bins).

    In units of a sine's amplitude, one column centred in each half frame.
    """
    window = codec.window
    hop = codec.hop_length // codec.per_frame
    side = codec.n_fft // 2 - hop // 2
    padded = F.pad(audio[:, 0], (side, codec.n_fft - hop - side))
    spectrum = torch.stft(
        padded, codec.n_fft, hop, window=window, center=False, return_complex=True
    )
    return spectrum.abs().transpose(1, 2) * 2 / window.sum()


def magnitude_loss(log_magnitude: Tensor, target: Tensor, mel: Tensor) -> Tensor:
    """L1 in log10, over bins and over mel bands. Both (B, columns, bins); mel (bins, mels)."""
    bins = (log_magnitude - (target + MAGNITUDE_FLOOR).log10()).abs().mean()
    # the narrowest bands may hold no bin at all: they count as equal
    ours = (10.0**log_magnitude) @ mel + MAGNITUDE_FLOOR * 1e-3
    theirs = (target + MAGNITUDE_FLOOR) @ mel + MAGNITUDE_FLOOR * 1e-3
    return bins + MEL_WEIGHT * (ours.log10() - theirs.log10()).abs().mean()


def codebooks_heard(codec: SpectralCodec, rng: torch.Generator) -> int:
    """How many codebooks a step decodes: all, the coarse ones, or any number."""
    draw = float(torch.rand((), generator=rng))
    if draw < FULL_DEPTH_SHARE:
        return codec.n_codebooks
    if draw < FULL_DEPTH_SHARE + COARSE_DEPTH_SHARE:
        return len(codec.coarse_sizes)
    return int(torch.randint(1, codec.n_codebooks, (), generator=rng))


def train_decoder(
    codec: SpectralCodec,
    windows: Callable[[int, int, torch.Generator], tuple[Tensor, Tensor]],
    plan: DecoderTraining,
    folder: str | Path,
    log: Callable[[dict], None] | None = None,
) -> SpectralCodec:
    """Train ``codec.decoder`` in place; resumes from ``folder/state.pt``.

    windows(n_items, n_frames, rng) gives audio, float (B, 1, T * hop), and its codes, int64
    (B, N, T).
    """
    mel = mel_bands(codec.n_fft, codec.sample_rate, N_MELS)

    def loss(rng: torch.Generator) -> Tensor:
        audio, codes = windows(plan.batch, plan.frames, rng)
        heard = codes[:, : codebooks_heard(codec, rng)]
        target = target_magnitude(codec, audio)
        # columns at the cut edges of a window see silence that the music does not have
        edge = codec.n_fft // codec.hop_length + 1
        inner = slice(edge * codec.per_frame, -edge * codec.per_frame)
        return magnitude_loss(codec.magnitude(heard)[:, inner], target[:, inner], mel)

    run(codec.decoder, loss, plan, folder, log=log)
    return codec
