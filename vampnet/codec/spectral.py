"""The small embedded codec: tokens of a log-magnitude spectrum, phase restored by the decoder.

Its tokens are designed to be predictable. Magnitudes change slowly and do not depend on phase or
small shifts, so a masked frame resembles its neighbours. The frame's spectrum (semitone-like bands,
long windows at low and short ones at high frequencies) is split along its principal axes into
groups, each quantised by its own codebook (product quantisation, Jegou et al., TPAMI 2011); a
second product quantiser encodes the residual. The first groups are the coarse codebooks: level and
tilt, spectral shape, then finer structure.

The decoder interpolates the levels over the bins of three short-time spectra (``synthesis``) and
corrects them with a stack of ConvNeXt blocks (arXiv 2201.03545) at frame rate; phase is estimated
from the magnitudes. An optional second network predicts a level envelope per band, to which attacks
are attenuated (``envelope``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vampnet.codec.band_analysis import Analysis, three_frame_mean
from vampnet.codec.codec import Codec, check_sizes
from vampnet.codec.envelope import LEVEL_FLOOR as ENVELOPE_FLOOR
from vampnet.codec.envelope import reach as attack_reach
from vampnet.codec.envelope import shape_attacks
from vampnet.codec.quantizer import ProductQuantizer
from vampnet.codec.synthesis import REPEAT, Band, synthesize_band, three_bands
from vampnet.system.errors import UserError

MAGNITUDE_FLOOR = 1e-6  # amplitude that is added to the spectra of the decoder
RATES_HZ = (9_600, 96_000)  # below, bands exceed half the rate; above, some contain no bin
HOP_UNIT = 16  # samples; a frame of the lowest band at its decimated rate
ENVELOPE_DIM, ENVELOPE_DEPTH = 128, 2  # width and ConvNeXt blocks of the envelope's network
LONGEST_HOP = 4096  # samples, the longest window: longer frames would have gaps


class ConvNeXtBlock(nn.Module):
    """ConvNeXt block: depthwise convolution over time, then a widened pointwise network."""

    def __init__(self, dim: int, kernel: int):
        super().__init__()
        self.depthwise = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim)
        self.norm = nn.LayerNorm(dim)
        self.up = nn.Linear(dim, 3 * dim)
        self.down = nn.Linear(3 * dim, dim)
        self.scale = nn.Parameter(torch.full((dim,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        """Map float (B, T, D) to the same shape."""
        y = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        y = self.down(F.gelu(self.up(self.norm(y))))
        return x + self.scale * y


def column_levels(magnitude: Tensor) -> Tensor:
    """Return log10 RMS levels of columns.

    The squared bins of a sine of amplitude a under a Hann window sum to 1.5 a ** 2.

    Args:
        magnitude: float (B, columns, bins), log10.

    Returns:
        float (B, columns).
    """
    power = (10.0 ** (2 * magnitude)).sum(-1) / 3
    return 0.5 * (power + ENVELOPE_FLOOR**2).log10()


class MagnitudeDecoder(nn.Module):
    """Predicts the correction of the interpolated levels with ConvNeXt blocks."""

    def __init__(self, width: int, n_out: int, dim: int, blocks: int, kernel: int):
        super().__init__()
        self.input = nn.Conv1d(width, dim, kernel, padding=kernel // 2)
        self.blocks = nn.ModuleList(ConvNeXtBlock(dim, kernel) for _ in range(blocks))
        self.norm = nn.LayerNorm(dim)
        self.output = nn.Linear(dim, n_out)

    def features(self, levels: Tensor) -> Tensor:
        """Map normalised levels, float (B, T, width), to the output layer's input (B, T, dim)."""
        x = self.input(levels.transpose(1, 2)).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def forward(self, levels: Tensor) -> Tensor:
        """Map normalised levels, float (B, T, width), to log10 values, float (B, T, n_out)."""
        return self.output(self.features(levels))


class LevelInterpolation(nn.Module):
    """Levels to log10 magnitudes: each bin is interpolated linearly in frequency.

    A column takes the levels of its part of the frame.
    """

    left: Tensor
    right: Tensor
    share: Tensor

    def __init__(self, analysis: Analysis, bands: Sequence[Band], rate: int):
        super().__init__()
        left, right, share = [], [], []
        for band in bands:
            frequency = torch.arange(band.first, band.last) * (rate / band.n_fft)
            for column in range(band.per_frame):
                centres, places = analysis.pitch_bands((column + 0.5) / band.per_frame)
                above = torch.searchsorted(centres, frequency).clamp(1, len(centres) - 1)
                below = above - 1
                gap = centres[above] - centres[below]
                left.append(places[below])
                right.append(places[above])
                share.append(((frequency - centres[below]) / gap).clamp(0, 1))
        for name, parts in (("left", left), ("right", right), ("share", share)):
            self.register_buffer(name, torch.cat(parts), persistent=False)

    def forward(self, levels: Tensor) -> Tensor:
        """Interpolate log10 levels, float (B, T, width), to float (B, T, n_out)."""
        return torch.lerp(levels[..., self.left], levels[..., self.right], self.share)


class SpectralCodec(Codec):
    """Product-quantised log spectrum with a ConvNeXt and Griffin-Lim decoder.

    Args:
        sample_rate: Hz.
        hop_length: samples per frame.
        vocab_size: codes per codebook.
        coarse_sizes, fine_sizes: principal axes that each codebook quantises.
        smooth_from: coarse groups from this one on encode spectra averaged over three frames,
            (1, 2, 1) / 4.
        latent_dim: width of the rows of ``codebooks``.
        dim, blocks, kernel: of the decoder's ConvNeXt blocks.
        iterations: of Griffin-Lim in the highest band.
        momentum: of fast Griffin-Lim.
        envelope_blocks: blocks per frame of each band's level envelope, to which attacks are
            attenuated; empty = no envelope.

    Raises:
        ValueError: for values that the analysis or the decoder cannot use.
    """

    family = "spectral"
    mean: Tensor
    deviation: Tensor
    latent_rows: Tensor

    def __init__(
        self,
        sample_rate: int = 44100,
        hop_length: int = 768,
        vocab_size: int = 1024,
        coarse_sizes: tuple[int, ...] = (3, 6, 14, 57),
        fine_sizes: tuple[int, ...] = (8, 9, 10, 11, 12, 14, 16, 18, 22, 26),
        smooth_from: int = 2,
        latent_dim: int = 16,
        dim: int = 288,
        blocks: int = 6,
        kernel: int = 7,
        iterations: int = 10,
        momentum: float = 0.99,
        envelope_blocks: tuple[int, ...] = (),
    ):
        kwargs = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        super().__init__(**kwargs)
        _check(kwargs)
        self.sample_rate, self.hop_length, self.vocab_size = sample_rate, hop_length, vocab_size
        self.coarse_sizes, self.fine_sizes = list(coarse_sizes), list(fine_sizes)
        self.n_codebooks = len(self.coarse_sizes) + len(self.fine_sizes)
        self.smooth_from, self.iterations, self.momentum = smooth_from, iterations, momentum
        self.bands = three_bands(sample_rate)
        self.analysis = Analysis(sample_rate, hop_length)
        width = self.analysis.width
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))
        self.coarse = ProductQuantizer(width, self.coarse_sizes, vocab_size)
        self.fine = ProductQuantizer(width, self.fine_sizes, vocab_size)
        self.register_buffer("latent_rows", torch.zeros(self.n_codebooks, vocab_size, latent_dim))
        self.outputs = [band.per_frame * band.n_bins for band in self.bands]
        self.spread = LevelInterpolation(self.analysis, self.bands, sample_rate)
        self.decoder = MagnitudeDecoder(width, sum(self.outputs), dim, blocks, kernel)
        self.envelope_blocks = list(envelope_blocks)
        self.envelope: MagnitudeDecoder | None = None
        if envelope_blocks:
            n_blocks = sum(self.envelope_blocks)
            self.envelope = MagnitudeDecoder(dim, n_blocks, ENVELOPE_DIM, ENVELOPE_DEPTH, kernel)
            nn.init.zeros_(self.envelope.output.weight)  # untrained: the columns' levels
            nn.init.zeros_(self.envelope.output.bias)
        self.encode_context = -(-4096 // (2 * hop_length)) + 2
        # frames that the iterations of Griffin-Lim depend on, in the widest band, and the blocks
        reach = max(-(-b.n_fft // hop_length) * (iterations * b.effort + 1) for b in self.bands)
        self.decode_context = (blocks + 1) * (kernel // 2) + math.ceil(reach)
        if self.envelope_blocks:
            around = (ENVELOPE_DEPTH + 1) * (kernel // 2)
            self.decode_context += around + attack_reach(hop_length, sample_rate)
        self.window_multiple = REPEAT
        self.max_window = 1280  # larger ones exceed the processor's cache and are slower

    @property
    def codebooks(self) -> Tensor:
        """Codebook rows on their principal axes, unit mean norm, float (N, V, latent_dim)."""
        return self.latent_rows

    def levels(self, audio: Tensor) -> Tensor:
        """Return centred log levels of whole frames: float (B, 1, T * hop) to (B, T, width)."""
        return self.analysis(audio[:, 0]) - self.mean

    def coarse_codes(self, sharp: Tensor, smooth: Tensor) -> Tensor:
        """Return coarse codes, int64 (..., groups), of levels and of their three-frame mean."""
        n = self.smooth_from
        first, rest = self.coarse.encode(sharp)[..., :n], self.coarse.encode(smooth)[..., n:]
        return torch.cat([first, rest], dim=-1)

    def quantize(self, levels: Tensor) -> Tensor:
        """Quantise centred levels, float (B, T, width), to codes, int64 (B, N, T)."""
        coarse = self.coarse_codes(levels, three_frame_mean(levels))
        fine = self.fine.encode(levels - self.coarse.decode(coarse))
        return torch.cat([coarse, fine], dim=-1).transpose(1, 2)

    def dequantize(self, codes: Tensor) -> Tensor:
        """Return the centred log levels, float (B, T, width), of codes, int64 (B, N', T)."""
        n = len(self.coarse_sizes)
        codes = codes.transpose(1, 2)
        levels = self.coarse.decode(codes[..., :n])
        if codes.shape[-1] > n:
            levels = levels + self.fine.decode(codes[..., n:])
        return levels

    def spectra(self, levels: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return the magnitudes and the envelope of each band.

        Args:
            levels: float (B, T, width), centred.

        Returns:
            log10 magnitudes, float (B, T * per_frame, bins) per band, and log10 levels of blocks,
            float (B, T * blocks) per band; the second list is empty for a codec without envelope.
        """
        features = self.decoder.features(levels / self.deviation)
        found = self.spread(levels + self.mean) + self.decoder.output(features)
        parts = found.split(self.outputs, dim=-1)
        magnitudes = [
            part.reshape(part.shape[0], -1, band.n_bins)
            for part, band in zip(parts, self.bands, strict=True)
        ]
        if self.envelope is None:
            return magnitudes, []
        base = self.coarse_envelope(magnitudes)
        envelopes = (base + self.envelope(features)).split(self.envelope_blocks, dim=-1)
        return magnitudes, [envelope.flatten(1) for envelope in envelopes]

    def coarse_envelope(self, magnitudes: list[Tensor]) -> Tensor:
        """Return each column's level, repeated for its blocks.

        Args:
            magnitudes: float (B, T * per_frame, bins) per band, log10.

        Returns:
            float (B, T, sum(envelope_blocks)).
        """
        parts = []
        for part, band, n in zip(magnitudes, self.bands, self.envelope_blocks, strict=True):
            levels = column_levels(part).repeat_interleave(n // band.per_frame, -1)
            parts.append(levels.unflatten(-1, (-1, n)))
        return torch.cat(parts, dim=-1)

    def render(self, spectra: list[Tensor], envelopes: Sequence[Tensor] = ()) -> Tensor:
        """Synthesise audio.

        Args:
            spectra: log10 magnitudes per band, as :meth:`spectra` returns.
            envelopes: log10 block levels per band; empty = attacks are not shaped.

        Returns:
            float (B, T * hop).
        """
        waves = [
            synthesize_band(
                (10.0**part - MAGNITUDE_FLOOR).clamp(min=0.0),
                band,
                self.hop_length,
                self.iterations,
                self.momentum,
            )
            for part, band in zip(spectra, self.bands, strict=True)
        ]
        if envelopes:
            shaped = zip(waves, envelopes, strict=True)
            waves = [shape_attacks(wave, levels, self.sample_rate) for wave, levels in shaped]
        return torch.stack(waves).sum(0)

    def _encode_window(self, audio: Tensor) -> Tensor:
        return self.quantize(self.levels(audio))

    def _decode_window(self, codes: Tensor) -> Tensor:
        return self.render(*self.spectra(self.dequantize(codes)))[:, None]


def _check(kwargs: Mapping[str, Any]) -> None:
    others = ("momentum", "envelope_blocks")
    sizes = {name: value for name, value in kwargs.items() if name not in others}
    check_sizes(sizes, {"smooth_from": 0, "blocks": 0, "iterations": 0})
    (lowest, highest), hop, n_coarse = RATES_HZ, kwargs["hop_length"], len(kwargs["coarse_sizes"])
    momentum = kwargs["momentum"]
    is_number = isinstance(momentum, int | float) and not isinstance(momentum, bool)
    for name, fits, allowed in (
        ("sample_rate", lowest <= kwargs["sample_rate"] <= highest, f"{lowest} to {highest} Hz"),
        ("hop_length", hop % HOP_UNIT == 0 and hop <= LONGEST_HOP,
         f"a multiple of {HOP_UNIT} samples up to {LONGEST_HOP}"),
        ("smooth_from", kwargs["smooth_from"] <= n_coarse, f"0 to {n_coarse}"),
        ("kernel", kwargs["kernel"] % 2 == 1, "odd"),
        ("envelope_blocks", _fits_columns(kwargs["envelope_blocks"], hop, kwargs["sample_rate"]),
         "empty, or for each band a multiple of its columns per frame that divides hop_length"),
        ("momentum", is_number and 0 <= momentum < 1, "a number from 0 up, below 1"),
    ):  # fmt: skip
        if not fits:
            raise UserError(f"{name} is {kwargs[name]!r}; it must be {allowed}")


def _fits_columns(blocks: Any, hop: int, rate_hz: int) -> bool:
    bands = three_bands(rate_hz)
    if not isinstance(blocks, list | tuple) or len(blocks) not in (0, len(bands)):
        return False
    return all(
        type(n) is int and n > 0 and n % band.per_frame == 0 and hop % n == 0
        for n, band in zip(blocks, bands, strict=False)
    )
