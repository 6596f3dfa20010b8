"""The small embedded codec: tokens of a log-magnitude spectrum, phase restored by the decoder.

Its tokens are made to be predicted. Magnitudes move slowly and do not care about phase or small
shifts, so a masked frame resembles its neighbours. The frame's spectrum (semitone-like bands, long
windows below and short ones above) is split along its principal axes into groups, each quantised
by a codebook of its own (product quantisation, Jegou et al., TPAMI 2011); a second product
quantiser takes what the first leaves. The first groups are the coarse codebooks: level and tilt,
spectral shape, then finer and finer structure.

The decoder spreads the levels over the bins of three short-time spectra (``synthesis``) and
corrects them with a stack of ConvNeXt blocks (arXiv 2201.03545) at frame rate; phase is restored
from the magnitudes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vampnet.codec.codec import Codec, check_sizes
from vampnet.codec.quantizer import ProductQuantizer
from vampnet.codec.synthesis import REPEAT, Band, sound, three_bands
from vampnet.system.errors import UserError

LEVEL_FLOOR = 3e-5  # amplitude of a sine below which the bands stop listening (-90 dBFS)
MAGNITUDE_FLOOR = 1e-6  # the same for the spectra that the decoder makes
RATES_HZ = (9_600, 96_000)  # below, its bands reach past half the rate; above, they hold no bin
HOP_UNIT = 16  # samples; a frame of the lowest band at its decimated rate
LONGEST_HOP = 4096  # samples, the longest window: a longer frame would have gaps
PITCHED_PLANS = 3  # the first so many of an Analysis's plans tile the frequency axis
WIDE_EDGES_HZ = (20.0, 180.0, 450.0, 1000.0, 2200.0, 5000.0)  # short-window bands for the attacks


def log_bands(n_fft: int, rate: int, low_hz: float, high_hz: float, per_octave: int) -> Tensor:
    """Triangular bands, even in log frequency: (n_fft // 2 + 1, bands), columns sum to <= 1."""
    n_bands = int(math.floor(math.log2(high_hz / low_hz) * per_octave)) + 1
    centres = low_hz * 2.0 ** (torch.arange(-1, n_bands + 1, dtype=torch.float64) / per_octave)
    frequency = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * rate / n_fft
    octave = frequency.clamp(min=1e-3).log2()[:, None]
    below, centre, above = (c.log2() for c in (centres[:-2], centres[1:-1], centres[2:]))
    rising = (octave - below) / (centre - below)
    falling = (above - octave) / (above - centre)
    weight = torch.minimum(rising, falling).clamp(min=0)
    return (weight / weight.sum(0).clamp(min=1.0)).float()


def single_bins(n_fft: int, rate: int, low_hz: float, high_hz: float) -> Tensor:
    """One band a bin within ``low_hz``..``high_hz``: (n_fft // 2 + 1, bands)."""
    frequency = torch.arange(n_fft // 2 + 1) * rate / n_fft
    keep = (frequency >= low_hz) & (frequency < high_hz)
    return torch.eye(n_fft // 2 + 1)[:, keep]


def wide_bands(n_fft: int, rate: int, edges_hz: tuple[float, ...]) -> Tensor:
    """Mean power between consecutive edges: (n_fft // 2 + 1, len(edges) - 1)."""
    frequency = (torch.arange(n_fft // 2 + 1) * rate / n_fft)[:, None]
    edges = torch.tensor(edges_hz)
    inside = ((frequency >= edges[:-1]) & (frequency < edges[1:])).float()
    return inside / inside.sum(0).clamp(min=1.0)


class Analysis(nn.Module):
    """Waveform to log band levels, a vector a frame.

    Long windows where pitch lives, short ones (two a frame) where attacks live.
    """

    def __init__(self, rate: int, hop: int):
        super().__init__()
        self.hop = hop
        top = min(19500.0, 0.44 * rate)
        low = torch.cat(
            [single_bins(4096, rate, 16.0, 510.0), log_bands(4096, rate, 510.0, 1450.0, 24)], dim=1
        )
        # (window length in samples, vectors a frame, bands)
        self.plans: list[tuple[int, int]] = [(4096, 1), (2048, 1), (1024, 2), (1024, 2)]
        tables = [
            low,
            log_bands(2048, rate, 1450.0, 5000.0, 24),
            log_bands(1024, rate, 5000.0, top, 12),
            wide_bands(1024, rate, WIDE_EDGES_HZ),
        ]
        for i, ((n_fft, _), table) in enumerate(zip(self.plans, tables, strict=True)):
            self.register_buffer(f"window_{i}", torch.hann_window(n_fft), persistent=False)
            self.register_buffer(f"bands_{i}", table, persistent=False)
        widths = [n * t.shape[1] for (_, n), t in zip(self.plans, tables, strict=True)]
        self.width, self.rate = sum(widths), rate
        self.starts = [sum(widths[:i]) for i in range(len(widths))]

    def pitched(self, moment: float) -> tuple[Tensor, Tensor]:
        """Centres in Hz, ascending, and places in the level vector of the bands that tile the axis.

        moment: 0..1, where in the frame; of several vectors a frame, the one that stands there.
        """
        centres, places = [], []
        for i, (n_fft, per_frame) in enumerate(self.plans[:PITCHED_PLANS]):
            table = cast(Tensor, getattr(self, f"bands_{i}"))
            frequency = torch.arange(table.shape[0]) * (self.rate / n_fft)
            centres.append((table * frequency[:, None]).sum(0) / table.sum(0))
            first = self.starts[i] + int(moment * per_frame) * table.shape[1]
            places.append(torch.arange(first, first + table.shape[1]))
        return torch.cat(centres), torch.cat(places)

    def forward(self, audio: Tensor) -> Tensor:
        """audio: float (B, T * hop). Returns log10 levels, float (B, T, width)."""
        n_items, n_frames = audio.shape[0], audio.shape[1] // self.hop
        parts = []
        for i, (n_fft, per_frame) in enumerate(self.plans):
            hop = self.hop // per_frame
            side = n_fft // 2 - hop // 2
            window = cast(Tensor, getattr(self, f"window_{i}"))
            padded = F.pad(audio, (side, n_fft - hop - side))
            spectrum = torch.stft(
                padded, n_fft, hop, window=window, center=False, return_complex=True
            )
            # scaled so that a sine of amplitude a has level a, whatever the window's length
            power = torch.view_as_real(spectrum).square().sum(-1) * (2.0 / window.sum()).square()
            levels = power.transpose(1, 2) @ cast(Tensor, getattr(self, f"bands_{i}"))
            parts.append((levels.sqrt() + LEVEL_FLOOR).log10().reshape(n_items, n_frames, -1))
        return torch.cat(parts, dim=-1)


def three_frame_mean(levels: Tensor) -> Tensor:
    """Levels averaged over time with weights (1, 2, 1) / 4: (B, T, F) in, (B, T, F) out."""
    edges = F.pad(levels.transpose(1, 2), (1, 1), mode="replicate").transpose(1, 2)
    return (edges[:, :-2] + 2 * levels + edges[:, 2:]) / 4


class Block(nn.Module):
    """ConvNeXt block: depthwise convolution over time, then a widened pointwise network."""

    def __init__(self, dim: int, kernel: int):
        super().__init__()
        self.depthwise = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim)
        self.norm = nn.LayerNorm(dim)
        self.up = nn.Linear(dim, 3 * dim)
        self.down = nn.Linear(3 * dim, dim)
        self.scale = nn.Parameter(torch.full((dim,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        """x: float (B, T, D), same out."""
        y = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        y = self.down(F.gelu(self.up(self.norm(y))))
        return x + self.scale * y


class MagnitudeDecoder(nn.Module):
    """What the levels' interpolation lacks: (B, T, width) at unit variance to (B, T, n_out)."""

    def __init__(self, width: int, n_out: int, dim: int, blocks: int, kernel: int):
        super().__init__()
        self.input = nn.Conv1d(width, dim, kernel, padding=kernel // 2)
        self.blocks = nn.ModuleList(Block(dim, kernel) for _ in range(blocks))
        self.norm = nn.LayerNorm(dim)
        self.output = nn.Linear(dim, n_out)

    def forward(self, levels: Tensor) -> Tensor:
        """levels: float (B, T, width). Returns float (B, T, n_out), in log10."""
        x = self.input(levels.transpose(1, 2)).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        return self.output(self.norm(x))


class Spread(nn.Module):
    """Levels to log10 magnitudes: each bin lies between two levels, linearly in frequency.

    A column takes the levels of the part of the frame it stands in.
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
                centres, places = analysis.pitched((column + 0.5) / band.per_frame)
                above = torch.searchsorted(centres, frequency).clamp(1, len(centres) - 1)
                below = above - 1
                gap = centres[above] - centres[below]
                left.append(places[below])
                right.append(places[above])
                share.append(((frequency - centres[below]) / gap).clamp(0, 1))
        for name, parts in (("left", left), ("right", right), ("share", share)):
            self.register_buffer(name, torch.cat(parts), persistent=False)

    def forward(self, levels: Tensor) -> Tensor:
        """levels: log10, float (B, T, width). Returns float (B, T, n_out)."""
        return torch.lerp(levels[..., self.left], levels[..., self.right], self.share)


class SpectralCodec(Codec):
    """Product-quantised log spectrum with a ConvNeXt and Griffin-Lim decoder.

    iterations: rounds of Griffin-Lim in the highest band; momentum: of its fast form.

    coarse_sizes, fine_sizes: principal axes each codebook quantises. smooth_from: coarse groups
    from this one on describe spectra averaged over three frames, (1, 2, 1) / 4. Raises ValueError
    for values that the analysis or the decoder cannot work with.
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
        self.spread = Spread(self.analysis, self.bands, sample_rate)
        self.decoder = MagnitudeDecoder(width, sum(self.outputs), dim, blocks, kernel)
        self.encode_context = -(-4096 // (2 * hop_length)) + 2
        # frames that a round of Griffin-Lim reaches, in its widest band, and the blocks before
        reach = max(-(-b.n_fft // hop_length) * (iterations * b.effort + 1) for b in self.bands)
        self.decode_context = (blocks + 1) * (kernel // 2) + math.ceil(reach)
        self.window_multiple = REPEAT
        self.max_window = 1280  # larger ones leave the processor's cache and take longer

    @property
    def codebooks(self) -> Tensor:
        """Codebook rows on their main axes, unit mean norm, (N, V, latent_dim)."""
        return self.latent_rows

    def levels(self, audio: Tensor) -> Tensor:
        """Centred log levels of whole frames: float (B, 1, T * hop) to (B, T, width)."""
        return self.analysis(audio[:, 0]) - self.mean

    def coarse_codes(self, sharp: Tensor, smooth: Tensor) -> Tensor:
        """Coarse codes of levels and of their three-frame mean: (..., F) twice to (..., groups)."""
        n = self.smooth_from
        first, rest = self.coarse.encode(sharp)[..., :n], self.coarse.encode(smooth)[..., n:]
        return torch.cat([first, rest], dim=-1)

    def quantize(self, levels: Tensor) -> Tensor:
        """levels: float (B, T, width), centred. Returns codes, int64 (B, N, T)."""
        coarse = self.coarse_codes(levels, three_frame_mean(levels))
        fine = self.fine.encode(levels - self.coarse.decode(coarse))
        return torch.cat([coarse, fine], dim=-1).transpose(1, 2)

    def dequantize(self, codes: Tensor) -> Tensor:
        """codes: int64 (B, N', T). Returns centred log levels, float (B, T, width)."""
        n = len(self.coarse_sizes)
        codes = codes.transpose(1, 2)
        levels = self.coarse.decode(codes[..., :n])
        if codes.shape[-1] > n:
            levels = levels + self.fine.decode(codes[..., n:])
        return levels

    def magnitude(self, codes: Tensor) -> list[Tensor]:
        """Codes (B, N', T) to log10 magnitudes of each band, (B, T * per_frame, bins)."""
        return self.spectra(self.dequantize(codes))

    def spectra(self, levels: Tensor) -> list[Tensor]:
        """Centred levels (B, T, width) to log10 magnitudes of each band."""
        found = self.spread(levels + self.mean) + self.decoder(levels / self.deviation)
        parts = found.split(self.outputs, dim=-1)
        return [
            part.reshape(part.shape[0], -1, band.n_bins)
            for part, band in zip(parts, self.bands, strict=True)
        ]

    def render(self, spectra: list[Tensor]) -> Tensor:
        """log10 magnitudes of each band to sound, float (B, T * hop)."""
        parts = [
            sound(
                (10.0**part - MAGNITUDE_FLOOR).clamp(min=0.0),
                band,
                self.hop_length,
                self.iterations,
                self.momentum,
            )
            for part, band in zip(spectra, self.bands, strict=True)
        ]
        return torch.stack(parts).sum(0)

    def _encode_window(self, audio: Tensor) -> Tensor:
        return self.quantize(self.levels(audio))

    def _decode_window(self, codes: Tensor) -> Tensor:
        return self.render(self.magnitude(codes))[:, None]


def _check(kwargs: Mapping[str, Any]) -> None:
    sizes = {name: value for name, value in kwargs.items() if name != "momentum"}
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
        ("momentum", is_number and 0 <= momentum < 1, "a number from 0 up, below 1"),
    ):  # fmt: skip
        if not fits:
            raise UserError(f"{name} is {kwargs[name]!r}; it must be {allowed}")
