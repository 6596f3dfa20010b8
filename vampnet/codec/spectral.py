"""The small embedded codec: tokens of a log-magnitude spectrum, phase restored by the decoder.

Its tokens are made to be predicted. Magnitudes move slowly and do not care about phase or small
shifts, so a masked frame resembles its neighbours. The frame's spectrum (semitone-like bands, long
windows below and short ones above) is split along its principal axes into groups, each quantised
by a codebook of its own (product quantisation, Jegou et al., TPAMI 2011); a second product
quantiser takes what the first leaves. The first groups are the coarse codebooks: level and tilt,
spectral shape, then finer and finer structure.

The decoder is a stack of ConvNeXt blocks (arXiv 2201.03545) at frame rate that turns the bands into
an STFT magnitude, and fast Griffin-Lim (Perraudin et al., WASPAA 2013) from a fixed, local starting
phase: the same codes give the same samples wherever a window begins.
"""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vampnet.codec.codec import Codec

LEVEL_FLOOR = 3e-5  # amplitude of a sine below which the bands stop listening (-90 dBFS)
MAGNITUDE_FLOOR = 1e-6  # the same for the decoder's STFT
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
        self.width = sum(n * t.shape[1] for (_, n), t in zip(self.plans, tables, strict=True))

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


def nearest(x: Tensor, rows: Tensor) -> Tensor:
    """Index of the nearest row for each vector: float (..., D), (V, D) -> int64 (...)."""
    return (x @ rows.T - rows.square().sum(-1) / 2).argmax(-1)


def three_frame_mean(levels: Tensor) -> Tensor:
    """Levels averaged over time with weights (1, 2, 1) / 4: (B, T, F) in, (B, T, F) out."""
    edges = F.pad(levels.transpose(1, 2), (1, 1), mode="replicate").transpose(1, 2)
    return (edges[:, :-2] + 2 * levels + edges[:, 2:]) / 4


class ProductQuantizer(nn.Module):
    """Principal axes in groups, a codebook a group.

    ``basis`` (F, sum of sizes) holds orthonormal axes; group g quantises its own coordinates.
    """

    basis: Tensor

    def __init__(self, width: int, sizes: list[int], vocab_size: int):
        super().__init__()
        self.sizes = sizes
        self.register_buffer("basis", torch.zeros(width, sum(sizes)))
        for g, size in enumerate(sizes):
            self.register_buffer(f"rows_{g}", torch.zeros(vocab_size, size))

    def rows(self, group: int) -> Tensor:
        """The codebook of a group, (V, size)."""
        return cast(Tensor, getattr(self, f"rows_{group}"))

    def encode(self, x: Tensor) -> Tensor:
        """x: float (..., F). Returns int64 (..., groups), the nearest row of each group."""
        parts = (x @ self.basis).split(self.sizes, dim=-1)
        found = [nearest(part, self.rows(g)) for g, part in enumerate(parts)]
        return torch.stack(found, dim=-1)

    def decode(self, codes: Tensor) -> Tensor:
        """codes: int64 (..., g) with g <= groups. Returns float (..., F)."""
        n = codes.shape[-1]
        parts = [F.embedding(codes[..., g], self.rows(g)) for g in range(n)]
        axes = self.basis[:, : sum(self.sizes[:n])]
        return torch.cat(parts, dim=-1) @ axes.T


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
    """Band levels to the log10 magnitudes of an STFT with ``per_frame`` columns a frame."""

    def __init__(self, width: int, n_bins: int, per_frame: int, dim: int, blocks: int, kernel: int):
        super().__init__()
        self.per_frame, self.n_bins = per_frame, n_bins
        self.input = nn.Conv1d(width, dim, kernel, padding=kernel // 2)
        self.blocks = nn.ModuleList(Block(dim, kernel) for _ in range(blocks))
        self.norm = nn.LayerNorm(dim)
        self.output = nn.Linear(dim, per_frame * n_bins)

    def forward(self, levels: Tensor) -> Tensor:
        """levels: float (B, T, width), unit variance. Returns float (B, T * per_frame, bins)."""
        x = self.input(levels.transpose(1, 2)).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        y = self.output(self.norm(x))
        return y.reshape(y.shape[0], y.shape[1] * self.per_frame, self.n_bins)


def local_phase(n_columns: int, n_fft: int, hop: int, device: torch.device) -> Tensor:
    """Starting phase for Griffin-Lim, complex (columns, bins): a steady sine in every bin.

    It repeats every ``n_fft / gcd(n_fft, hop)`` columns, so windows that start at a multiple of
    that agree.
    """
    bins = torch.arange(n_fft // 2 + 1, device=device)[None]
    moved = torch.arange(n_columns, device=device)[:, None] * hop % n_fft
    angle = (bins * moved % n_fft).float() * (2 * math.pi / n_fft)
    return torch.polar(torch.ones_like(angle), angle)


def overlap_add(columns: Tensor, hop: int) -> Tensor:
    """Sum columns, float (B, C, n_fft), into (B, (C + ceil(n_fft / hop) - 1) * hop)."""
    n_items, n_columns, n_fft = columns.shape
    n_parts = -(-n_fft // hop)
    wave = columns.new_zeros(n_items, n_columns + n_parts - 1, hop)
    for part in range(n_parts):
        piece = columns[..., part * hop : (part + 1) * hop]
        wave[:, part : part + n_columns, : piece.shape[-1]] += piece
    return wave.flatten(1)


def griffin_lim(
    magnitude: Tensor, window: Tensor, hop: int, iterations: int, momentum: float
) -> Tensor:
    """Fast Griffin-Lim from :func:`local_phase`.

    magnitude: float (B, columns, bins), column c centred at sample c * hop + hop / 2. Returns
    float (B, columns * hop).
    """
    n_fft, n_columns = window.shape[0], magnitude.shape[1]
    start = n_fft // 2 - hop // 2  # column 0 is centred half a hop into the signal
    weight = overlap_add(window.square().expand(1, n_columns, n_fft), hop).clamp(min=1e-3)

    def to_wave(spectrum: Tensor) -> Tensor:
        return overlap_add(torch.fft.irfft(spectrum, n=n_fft) * window, hop) / weight

    spectrum = magnitude * local_phase(n_columns, n_fft, hop, magnitude.device)
    previous: Tensor | None = None
    for _ in range(iterations):
        columns = to_wave(spectrum).unfold(-1, n_fft, hop)[:, :n_columns]
        rebuilt = torch.view_as_real(torch.fft.rfft(columns * window))
        pushed = rebuilt if previous is None else torch.lerp(previous, rebuilt, 1 + momentum)
        previous = rebuilt
        scale = magnitude * (pushed.square().sum(-1) + 1e-20).rsqrt()
        spectrum = torch.view_as_complex(pushed * scale[..., None])
    return to_wave(spectrum)[:, start : start + n_columns * hop]


class SpectralCodec(Codec):
    """Product-quantised log spectrum with a ConvNeXt and Griffin-Lim decoder.

    coarse_sizes, fine_sizes: principal axes each codebook quantises. smooth_from: coarse groups
    from this one on describe spectra averaged over three frames, (1, 2, 1) / 4.
    """

    family = "spectral"
    mean: Tensor
    deviation: Tensor
    latent_rows: Tensor
    window: Tensor

    def __init__(
        self,
        sample_rate: int = 44100,
        hop_length: int = 768,
        vocab_size: int = 1024,
        coarse_sizes: tuple[int, ...] = (3, 6, 14, 57),
        fine_sizes: tuple[int, ...] = (8, 9, 10, 11, 12, 14, 16, 18, 22, 26),
        smooth_from: int = 2,
        latent_dim: int = 16,
        n_fft: int = 2048,
        dim: int = 288,
        blocks: int = 6,
        kernel: int = 7,
        iterations: int = 16,
        momentum: float = 0.99,
    ):
        kwargs = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        super().__init__(**kwargs)
        self.sample_rate, self.hop_length, self.vocab_size = sample_rate, hop_length, vocab_size
        self.coarse_sizes, self.fine_sizes = list(coarse_sizes), list(fine_sizes)
        self.n_codebooks = len(self.coarse_sizes) + len(self.fine_sizes)
        self.smooth_from, self.iterations, self.momentum = smooth_from, iterations, momentum
        self.per_frame, self.n_fft = 2, n_fft
        self.analysis = Analysis(sample_rate, hop_length)
        width = self.analysis.width
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))
        self.coarse = ProductQuantizer(width, self.coarse_sizes, vocab_size)
        self.fine = ProductQuantizer(width, self.fine_sizes, vocab_size)
        self.register_buffer("latent_rows", torch.zeros(self.n_codebooks, vocab_size, latent_dim))
        self.decoder = MagnitudeDecoder(width, n_fft // 2 + 1, self.per_frame, dim, blocks, kernel)
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        column_hop = hop_length // self.per_frame
        reach = -(-n_fft // hop_length)  # frames that one analysis or synthesis window touches
        self.encode_context = -(-4096 // (2 * hop_length)) + 2
        self.decode_context = (blocks + 1) * (kernel // 2) + reach * (iterations + 1)
        self.window_multiple = n_fft // math.gcd(n_fft, column_hop) // self.per_frame
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

    def magnitude(self, codes: Tensor) -> Tensor:
        """Codes (B, N', T) to log10 STFT magnitudes (B, T * 2, bins), before any phase."""
        return self.decoder(self.dequantize(codes) / self.deviation)

    def _encode_window(self, audio: Tensor) -> Tensor:
        return self.quantize(self.levels(audio))

    def _decode_window(self, codes: Tensor) -> Tensor:
        magnitude = (10.0 ** self.magnitude(codes) - MAGNITUDE_FLOOR).clamp(min=0.0)
        # from a sine's amplitude to the STFT's own scale
        magnitude = magnitude * self.window.sum() / 2
        hop = self.hop_length // self.per_frame
        return griffin_lim(magnitude, self.window, hop, self.iterations, self.momentum)[:, None]
