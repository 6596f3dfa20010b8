"""Stacked log-frequency spectrograms of several signals with a common colour scale."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vampnet.plot import pitch_ticks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOWEST_HZ, HIGHEST_HZ = 55.0, 16000.0
ROWS = 98  # one per semitone
COLUMNS = 440
CELL_PX = 2  # whole pixels per cell keep the picture sharp and its file small
RANGE_DB, STEP_DB = 70.0, 2.5  # shown below the input's maximum; dB per shade
N_SHADES = int(RANGE_DB / STEP_DB)
# Long windows resolve low tones, short ones keep attacks sharp: (FFT length, centre in Hz).
WINDOWS = ((8192, 60.0), (4096, 250.0), (2048, 1000.0), (1024, 5000.0))
POINTS = 16  # frequencies per row, of which the maximum counts
LEFT_PX, RIGHT_PX, TOP_PX, BOTTOM_PX, GAP_PX = 62, 76, 52, 48, 26
DPI = 100


def log_frequency_spectrogram(sound: Tensor, rate_hz: int) -> Tensor:
    """Spectrogram with a row per semitone from 55 Hz to 16 kHz, of several window lengths.

    Args:
        sound: mono audio, float (S,).
        rate_hz: its sample rate in Hz.

    Returns:
        Levels in dBFS, float (98, 440), columns evenly spaced in time; a full-scale sine is about
        0 dB.
    """
    edges = LOWEST_HZ * (HIGHEST_HZ / LOWEST_HZ) ** torch.linspace(0, 1, ROWS * POINTS)
    centre = (torch.arange(COLUMNS) + 0.5) * len(sound) / COLUMNS
    total = torch.zeros(ROWS, COLUMNS)
    shares = _shares(edges.view(ROWS, POINTS).mean(1))
    for (n_fft, _), share in zip(WINDOWS, shares, strict=True):
        window = torch.hann_window(n_fft)
        padded = torch.nn.functional.pad(sound.float(), (n_fft // 2, n_fft))
        frames = padded.unfold(0, n_fft, 1)[centre.long().clamp(max=len(sound))] * window
        power = (torch.fft.rfft(frames).abs() * 2 / window.sum()).square()  # (columns, bins)
        place = (edges * n_fft / rate_hz).clamp(max=n_fft // 2 - 1.001)
        low = place.long()
        part = place - low
        found = power[:, low] * (1 - part) + power[:, low + 1] * part
        level = found.view(COLUMNS, ROWS, POINTS).amax(-1).T
        total += share[:, None] * 10 * torch.log10(level.clamp(min=1e-12))
    return total


def _shares(rows_hz: Tensor) -> list[Tensor]:
    """Weights of the windows in each row, summing to 1: one float (rows,) per window."""
    place = torch.log2(rows_hz)
    centres = [torch.log2(torch.tensor(hz)) for _, hz in WINDOWS]
    found, rest = [], torch.ones_like(place)
    for here, there in zip(centres[:-1], centres[1:], strict=True):
        beyond = ((place - here) / (there - here)).clamp(0, 1)
        found.append(rest * (1 - beyond))
        rest = rest * beyond
    return [*found, rest]


def save_spectrograms(
    path: Path, sounds: Sequence[tuple[str, Tensor]], rate_hz: int, title: str
) -> None:
    """Write a png with one spectrogram panel per signal.

    Args:
        path: of the png.
        sounds: (name, mono audio float (S,)), all of one length; the first is the input, whose
            maximum is the top of the common scale.
        rate_hz: sample rate in Hz, at least 32 kHz.
        title: above the panels.

    Raises:
        ValueError: the lengths differ, or the sample rate is too low.
    """
    lengths = {len(sound) for _, sound in sounds}
    if len(lengths) != 1 or rate_hz < 2 * HIGHEST_HZ:
        raise ValueError(
            f"the signals have lengths {sorted(lengths)} at {rate_hz} Hz; "
            "allowed are one length and at least 32000 Hz"
        )
    panels = [(name, log_frequency_spectrogram(sound, rate_hz)) for name, sound in sounds]
    top = float(torch.ceil(panels[0][1].max() / STEP_DB)) * STEP_DB
    figure = _figure(panels, top, lengths.pop() / rate_hz, title)
    _save_small(path, figure)


def _figure(panels: Sequence[tuple[str, Tensor]], top: float, seconds: float, title: str) -> Figure:
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panel_w, panel_h = COLUMNS * CELL_PX, ROWS * CELL_PX
    width = LEFT_PX + panel_w + RIGHT_PX
    height = TOP_PX + len(panels) * (panel_h + GAP_PX) + BOTTOM_PX - GAP_PX
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    FigureCanvasAgg(figure)
    colours = colormaps["magma"].resampled(N_SHADES)
    image = None
    for i, (name, level) in enumerate(panels):
        bottom = height - TOP_PX - panel_h - i * (panel_h + GAP_PX)
        place = (LEFT_PX / width, bottom / height, panel_w / width, panel_h / height)
        axes = figure.add_axes(place)
        image = axes.imshow(
            level.numpy(), origin="lower", aspect="auto", extent=(0, seconds, 0, ROWS),
            cmap=colours, vmin=top - RANGE_DB, vmax=top, interpolation="nearest",
        )  # fmt: skip
        pitch_ticks(axes, LOWEST_HZ, HIGHEST_HZ, ROWS)
        axes.tick_params(labelsize=8)
        axes.set_title(name, fontsize=10, loc="left", pad=3)
        axes.set_ylabel("Hz", fontsize=8, labelpad=1)
        if i < len(panels) - 1:
            axes.set_xticklabels([])
        else:
            axes.set_xlabel("seconds", fontsize=9)
    bar_w = 14
    bar = figure.add_axes(
        ((LEFT_PX + panel_w + 14) / width, (height - TOP_PX - panel_h) / height,
         bar_w / width, panel_h / height)
    )  # fmt: skip
    assert image is not None
    figure.colorbar(image, cax=bar).ax.tick_params(labelsize=8)
    bar.set_title("dBFS", fontsize=8, pad=4)
    figure.text(LEFT_PX / width, 1 - 20 / height, title, fontsize=11, weight="bold")
    return figure


def _save_small(path: Path, figure: Figure) -> None:
    """Save as a png with a palette of the scale's shades and some greys: a third of the size."""
    from matplotlib import colormaps
    from PIL import Image

    raw = BytesIO()
    figure.savefig(raw, format="png", dpi=DPI)
    shades = colormaps["magma"].resampled(N_SHADES)
    colours = [shades(i, bytes=True)[:3] for i in range(N_SHADES)]
    colours += [(grey, grey, grey) for grey in range(0, 256, 17)]
    palette = Image.new("P", (1, 1))
    palette.putpalette([int(part) for colour in colours for part in colour])
    picture = Image.open(raw).convert("RGB").quantize(palette=palette, dither=Image.Dither.NONE)
    picture.save(path, format="PNG", optimize=True)
