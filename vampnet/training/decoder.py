"""Training of the embedded codec's decoder: codes to STFT magnitudes.

Phase is not trained; ``SpectralCodec.decode`` estimates it afterwards. Losses are L1 on the
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
from vampnet.training.loop import TrainingPlan, run
from vampnet.training.tokens import Tokens

N_MELS = 150  # over the whole frequency axis, for a window of 2048 samples
BAND_WEIGHTS = (0.3, 0.3, 0.4)  # about the share of mel bands in each band
MEL_WEIGHT = 2.0
FULL_DEPTH_SHARE = 0.6  # of the steps that decode all codebooks
COARSE_DEPTH_SHARE = 0.25  # of the steps that decode the coarse codebooks only


@dataclass(frozen=True)
class DecoderTraining(TrainingPlan):
    """Settings of the decoder's training; see ``TrainingPlan``."""

    steps: int = 6000
    batch: int = 8
    frames: int = 96
    learning_rate: float = 1e-3
    warmup: int = 100
    weight_decay: float = 0.01
    save_every: int = 500
    report_every: int = 500


class CodecWindows:
    """Samples windows of audio with their codes, on the codec's device."""

    def __init__(self, pieces: Pack, codec: Codec, tokens: Tokens):
        self.pieces, self.hop, self.tokens = pieces, codec.hop_length, tokens
        self.device = codec.codebooks.device

    def __call__(self, n_items: int, n_frames: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Sample ``n_items`` windows of ``n_frames`` frames.

        Returns:
            Audio, float (B, 1, T * hop), and codes, int64 (B, N, T).

        Raises:
            UserError: when no piece is ``n_frames`` long.
        """
        counts = self.tokens.windows_per_piece(n_frames)
        sounds, codes = [], []
        chosen = torch.multinomial(counts.double(), n_items, replacement=True, generator=rng)
        for piece in chosen.tolist():
            start = int(torch.randint(int(counts[piece]), (), generator=rng))
            sounds.append(self.pieces.cut(piece, start * self.hop, n_frames * self.hop))
            first = int(self.tokens.starts[piece]) + start
            codes.append(self.tokens.codes[:, first : first + n_frames].long())
        return torch.stack(sounds)[:, None].to(self.device), torch.stack(codes).to(self.device)


def target_magnitudes(codec: SpectralCodec, audio: Tensor) -> list[Tensor]:
    """Return the decoder's targets for audio, float (B, 1, T * hop), one per band."""
    return [magnitudes(audio[:, 0], band, codec.hop_length) for band in codec.bands]


def band_loss(log_magnitude: Tensor, target: Tensor, mel: Tensor) -> Tensor:
    """L1 loss in log10, over bins and over mel bands.

    Bins that are large within their column have a larger weight: they carry pitch.

    Args:
        log_magnitude: float (B, columns, bins), log10.
        target: float (B, columns, bins), linear magnitudes.
        mel: float (bins, mels).
    """
    peak = target.amax(-1, keepdim=True).clamp(min=MAGNITUDE_FLOOR)
    weight = 0.5 + 2 * (target / peak).sqrt()
    bins = (weight * (log_magnitude - (target + MAGNITUDE_FLOOR).log10()).abs()).mean()
    ours = (10.0**log_magnitude) @ mel + MAGNITUDE_FLOOR * 1e-3
    theirs = (target + MAGNITUDE_FLOOR) @ mel + MAGNITUDE_FLOOR * 1e-3
    return bins + MEL_WEIGHT * (ours.log10() - theirs.log10()).abs().mean()


def mel_tables(codec: SpectralCodec) -> list[Tensor]:
    """Return the mel bands of each band, float (bins, mels), without empty ones."""
    found = []
    for band in codec.bands:
        n_mels = N_MELS * band.n_fft // 2048
        table = mel_bands(band.n_fft, codec.sample_rate, n_mels)[band.first : band.last]
        found.append(table[:, table.sum(0) > 0])
    return found


def n_decoded_codebooks(codec: SpectralCodec, rng: torch.Generator) -> int:
    """Sample how many codebooks a step decodes: all, the coarse ones, or any number."""
    share = float(torch.rand((), generator=rng))
    if share < FULL_DEPTH_SHARE:
        return codec.n_codebooks
    if share < FULL_DEPTH_SHARE + COARSE_DEPTH_SHARE:
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

    Args:
        codec: its quantisers must be fitted.
        windows: ``windows(n_items, n_frames, rng)`` returns audio, float (B, 1, T * hop), and its
            codes, int64 (B, N, T); see :class:`CodecWindows`.
        plan: steps and rates.
        folder: where state and log are written.
        log: see ``loop.run``.

    Returns:
        ``codec``.
    """
    tables = [table.to(codec.codebooks.device) for table in mel_tables(codec)]

    def loss(rng: torch.Generator) -> Tensor:
        audio, codes = windows(plan.batch, plan.frames, rng)
        with torch.autocast(codes.device.type, enabled=False):  # as in decoding
            levels = codec.dequantize(codes[:, : n_decoded_codebooks(codec, rng)])
        found, _ = codec.spectra(levels)
        total = torch.zeros(())
        parts = zip(codec.bands, found, target_magnitudes(codec, audio), tables, strict=True)
        for weight, (band, ours, theirs, table) in zip(BAND_WEIGHTS, parts, strict=True):
            # columns at the edges of a window contain zero padding
            edge = (band.n_fft // codec.hop_length + 1) * band.per_frame
            inner = slice(edge, -edge)
            total = total + weight * band_loss(ours[:, inner], theirs[:, inner], table)
        return total

    run(codec.decoder, loss, plan, folder, log=log)
    return codec
