"""Training of the embedded codec's decoder: codes to STFT magnitudes.

Phase plays no part here; ``SpectralCodec.decode`` restores it afterwards. Losses are L1 on the
log10 magnitude of every bin and on log10 mel bands (as in arXiv 2306.06546, section 3.4).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vampnet.audio.mel import mel_bands
from vampnet.codec import Codec
from vampnet.codec.spectral import MAGNITUDE_FLOOR, SpectralCodec
from vampnet.codec.synthesis import magnitudes
from vampnet.training.data import Pack
from vampnet.training.loop import Plan, run
from vampnet.training.tokens import Tokens

N_MELS = 150  # over the whole axis, for a window of 2048 samples
BAND_WEIGHTS = (0.3, 0.3, 0.4)  # about the share of mel bands that each band holds
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


class CodecWindows:
    """Random windows of audio with their codes, for the decoder's training, where it is."""

    def __init__(self, pieces: Pack, codec: Codec, tokens: Tokens):
        self.pieces, self.hop, self.tokens = pieces, codec.hop_length, tokens
        self.device = codec.codebooks.device

    def __call__(self, n_items: int, n_frames: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Audio, float (B, 1, T * hop), and codes, int64 (B, N, T).

        Raises ValueError when no piece is ``n_frames`` long.
        """
        room = self.tokens.room(n_frames)
        sounds, codes = [], []
        drawn = torch.multinomial(room.double(), n_items, replacement=True, generator=rng)
        for piece in drawn.tolist():
            start = int(torch.randint(int(room[piece]), (), generator=rng))
            sounds.append(self.pieces.cut(piece, start * self.hop, n_frames * self.hop))
            first = int(self.tokens.starts[piece]) + start
            codes.append(self.tokens.codes[:, first : first + n_frames].long())
        return torch.stack(sounds)[:, None].to(self.device), torch.stack(codes).to(self.device)


def target_magnitudes(codec: SpectralCodec, audio: Tensor) -> list[Tensor]:
    """What the decoder should give for float (B, 1, T * hop): see ``synthesis.magnitudes``."""
    return [magnitudes(audio[:, 0], band, codec.hop_length) for band in codec.bands]


def band_loss(log_magnitude: Tensor, target: Tensor, mel: Tensor) -> Tensor:
    """L1 in log10, over bins and over mel bands. Both (B, columns, bins); mel (bins, mels).

    Bins that stand out of their column count more: they carry pitch.
    """
    peak = target.amax(-1, keepdim=True).clamp(min=MAGNITUDE_FLOOR)
    weight = 0.5 + 2 * (target / peak).sqrt()
    bins = (weight * (log_magnitude - (target + MAGNITUDE_FLOOR).log10()).abs()).mean()
    ours = (10.0**log_magnitude) @ mel + MAGNITUDE_FLOOR * 1e-3
    theirs = (target + MAGNITUDE_FLOOR) @ mel + MAGNITUDE_FLOOR * 1e-3
    return bins + MEL_WEIGHT * (ours.log10() - theirs.log10()).abs().mean()


def mel_tables(codec: SpectralCodec) -> list[Tensor]:
    """For each band the mel bands its bins reach, (bins, mels)."""
    found = []
    for band in codec.bands:
        n_mels = N_MELS * band.n_fft // 2048
        table = mel_bands(band.n_fft, codec.sample_rate, n_mels)[band.first : band.last]
        found.append(table[:, table.sum(0) > 0])
    return found


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
    tables = [table.to(codec.codebooks.device) for table in mel_tables(codec)]

    def loss(rng: torch.Generator) -> Tensor:
        audio, codes = windows(plan.batch, plan.frames, rng)
        with torch.autocast(codes.device.type, enabled=False):  # as they are when it decodes
            levels = codec.dequantize(codes[:, : codebooks_heard(codec, rng)])
        found = codec.spectra(levels)
        total = torch.zeros(())
        parts = zip(codec.bands, found, target_magnitudes(codec, audio), tables, strict=True)
        for weight, (band, ours, theirs, table) in zip(BAND_WEIGHTS, parts, strict=True):
            # columns at the cut edges of a window see silence that the music does not have
            edge = (band.n_fft // codec.hop_length + 1) * band.per_frame
            inner = slice(edge, -edge)
            total = total + weight * band_loss(ours[:, inner], theirs[:, inner], table)
        return total

    run(codec.decoder, loss, plan, folder, log=log)
    return codec
