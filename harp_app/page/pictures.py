"""Pictures for the page, as HTML: a sound's waveform and spectrogram, and the mask over time.

All are drawn at any width, on the same dark screen in light and dark. Colours of what lies over
them are in ``page.css``.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from harp_app.labels import Mark
from vampnet.plot import RANGE_DB, spectrogram_db
from vampnet.prompt.beats import Beats

WAVE_COLUMNS = 480
SPECTRUM_SIZE = (900, 128)  # at most, columns and rows
LEVELS = 48  # shades of the spectrogram
MASK_WIDTH = 1440  # pixels, about
CELL_HEIGHT = 12  # pixels of one codebook
KEPT, NEW, SCREEN = (64, 201, 169), (74, 58, 78), (24, 20, 31)
# From silence to the loudest: the screen's own colour, plum, ember, cream.
SHADES = ((24, 20, 31), (72, 28, 84), (178, 44, 84), (241, 126, 60), (255, 236, 184))
TICKS_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0)
MOST_TICKS = 8
MOST_LINES = 400  # beats drawn; more would be a grey field


def sound(samples: Tensor, sample_rate: int, marks: Sequence[Mark] = ()) -> str:
    """Return a sound's picture: waveform over spectrogram, with marks and a place for the playhead.

    samples: float (C, S), full scale 1, at ``sample_rate`` (Hz). marks: times in seconds.
    """
    duration_s = samples.shape[-1] / sample_rate
    bars = "".join(_bar(mark, duration_s) for mark in marks)
    return (
        '<div class="screen sound" title="Click to play from here">'
        f'<div class="view">{_waveform(samples)}{_spectrum(samples, sample_rate)}'
        f'<div class="marks">{bars}</div><div class="playhead"></div></div>'
        f"{_axis(duration_s)}</div>"
    )


def mask(holes: Tensor, frame_rate_hz: float, duration_s: float, beats: Beats | None) -> str:
    """Return the mask's picture, the coarsest codebook lowest, beats as lines over it.

    holes: bool (N, T), True = regenerated; ``frame_rate_hz`` frames a second. duration_s: of the
    clip, the picture's width in time.
    """
    lines = ""
    if beats is not None and 0 < len(beats.times_s) <= MOST_LINES:
        strong = set(beats.downbeats_s)
        lines = "".join(
            f'<i class="beat{" down" if time_s in strong else ""}" '
            f'style="left:{100 * time_s / duration_s:.3f}%"></i>'
            for time_s in beats.times_s
        )
    # The last frame may reach a little past the clip's end.
    width = 100 * holes.shape[1] / frame_rate_hz / duration_s
    return (
        '<div class="screen mask"><div class="view">'
        f'<img alt="Kept and new places, {holes.shape[0]} codebooks over time" '
        f'style="width:{width:.3f}%" src="{_png(_cells(holes.cpu().numpy()))}">{lines}'
        '<span class="fine">fine</span><span class="coarse">coarse</span>'
        f"</div>{_axis(duration_s)}</div>"
    )


def _waveform(samples: Tensor) -> str:
    """An SVG whose one shape runs along the highest samples and back along the lowest."""
    data = samples.detach().cpu().float()
    columns = min(WAVE_COLUMNS, data.shape[-1])
    edges = torch.linspace(0, data.shape[-1], columns + 1).long().tolist()
    parts = [data[:, a : max(b, a + 1)] for a, b in zip(edges[:-1], edges[1:], strict=True)]
    tops = [50 - 48 * min(1.0, float(part.max())) for part in parts]
    lows = [50 - 48 * max(-1.0, float(part.min())) for part in parts]
    there = [f"{x} {top - 0.4:.1f}" for x, top in enumerate(tops)]
    back = [f"{x} {low + 0.4:.1f}" for x, low in reversed(list(enumerate(lows)))]
    return (
        f'<svg class="wave" viewBox="0 0 {max(1, columns - 1)} 100" preserveAspectRatio="none" '
        f'aria-hidden="true"><path d="M{"L".join(there + back)}Z"/></svg>'
    )


def _spectrum(samples: Tensor, sample_rate: int) -> str:
    level = spectrogram_db(samples, sample_rate).flip(0).numpy() / RANGE_DB + 1  # 0 to 1
    image = Image.fromarray((level * 255).astype(np.uint8))
    size = (min(SPECTRUM_SIZE[0], image.width), min(SPECTRUM_SIZE[1], image.height))
    shades = np.round(np.asarray(image.resize(size, Image.Resampling.BOX)) / 255 * (LEVELS - 1))
    picture = Image.fromarray(shades.astype(np.uint8), "P")
    picture.putpalette(_palette())
    return f'<img class="spectrum" alt="Spectrogram" src="{_png(picture)}">'


def _palette() -> list[int]:
    places = np.linspace(0, len(SHADES) - 1, LEVELS)
    columns = [
        np.interp(places, range(len(SHADES)), column) for column in zip(*SHADES, strict=True)
    ]
    return np.stack(columns, axis=1).round().astype(int).flatten().tolist()


def _cells(holes: np.ndarray) -> Image.Image:
    """Cells with gaps between them while there is room; then the share that is kept, as a mix."""
    n_codebooks, n_frames = holes.shape
    kept = 1.0 - holes[::-1].astype(np.float32)
    if n_frames > MASK_WIDTH:
        edges = np.linspace(0, n_frames, MASK_WIDTH + 1).astype(int)
        kept = np.add.reduceat(kept, edges[:-1], axis=1) / np.diff(edges)
    mixed = kept[..., None] * np.array(KEPT) + (1 - kept[..., None]) * np.array(NEW)
    wide = max(1, min(24, MASK_WIDTH // kept.shape[1]))
    pixels = mixed.repeat(CELL_HEIGHT, axis=0).repeat(wide, axis=1)
    pixels[::CELL_HEIGHT] = SCREEN
    if wide >= 4:
        pixels[:, wide - 1 :: wide] = SCREEN
    return Image.fromarray(pixels.round().astype(np.uint8), "RGB")


def _png(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _bar(mark: Mark, duration_s: float) -> str:
    red, green, blue = mark.color >> 16 & 255, mark.color >> 8 & 255, mark.color & 255
    left = 100 * mark.t / duration_s
    width = min(100 - left, 100 * mark.duration / duration_s)
    return (
        f'<i style="left:{left:.3f}%;width:{width:.3f}%;background:rgb({red},{green},{blue})"></i>'
    )


def _axis(duration_s: float) -> str:
    step_s = next((step for step in TICKS_S if duration_s / step < MOST_TICKS), TICKS_S[-1])
    count = math.floor(duration_s / step_s * 0.97)  # none that would stick out on the right
    ticks = "".join(
        f'<span style="left:{100 * n * step_s / duration_s:.3f}%">{_time(n * step_s)}</span>'
        for n in range(count + 1)
    )
    return f'<div class="axis" aria-hidden="true">{ticks}</div>'


def _time(time_s: float) -> str:
    if time_s < 60:
        return f"{time_s:g} s" if time_s == 0 else f"{time_s:.3g}"
    return f"{int(time_s // 60)}:{int(time_s % 60):02d}"
