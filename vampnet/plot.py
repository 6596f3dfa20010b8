"""Plot of a variation: spectrogram of the input, mask, spectrogram of the output."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vampnet.prompt.beats import Beats
from vampnet.system.errors import UserError
from vampnet.system.optional import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".png", ".svg", ".pdf")
SIZE_INCHES = (10.0, 7.0)
DPI = 110
N_FFT = 2048
MIN_HOP = 256  # samples
MAX_COLUMNS = 1600  # of a spectrogram; longer audio gets a larger hop
N_ROWS = 256  # of a spectrogram, evenly spaced in log frequency
LOWEST_HZ = 40.0
RANGE_DB = 80.0  # shown below the maximum
TICKS_HZ = (50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000)
KEPT, GENERATED, BEAT = "#1f3b57", "#f2b661", "#c0392b"


def check_name(path: str | Path) -> None:
    """Check that a picture can be written under this name.

    Raises:
        UserError: for a suffix that is not one of :data:`SUFFIXES`, and without matplotlib.
    """
    require("matplotlib", extra="plot", purpose="a picture")
    if Path(path).suffix.lower() not in SUFFIXES:
        name = Path(path).name
        raise UserError(f"the picture's name '{name}' must end in {', '.join(SUFFIXES)}")


def spectrogram_db(samples: Tensor, sample_rate: int) -> Tensor:
    """Log-frequency spectrogram.

    Args:
        samples: float (C, S), at least one sample; channels are averaged.
        sample_rate: in Hz.

    Returns:
        Levels in dB relative to the maximum, float (rows, columns); rows are evenly spaced in log
        frequency from 40 Hz to half the sample rate. Silence is -80 dB everywhere.
    """
    mono = torch.nn.functional.pad(samples.detach().cpu().float().mean(0), (N_FFT // 2, N_FFT))
    hop = max(MIN_HOP, -(-(len(mono) - N_FFT) // MAX_COLUMNS))
    frames = mono.unfold(0, N_FFT, hop) * torch.hann_window(N_FFT)
    power = torch.fft.rfft(frames).abs().square().T  # (bins, columns)
    edges_hz = LOWEST_HZ * (sample_rate / 2 / LOWEST_HZ) ** torch.linspace(0, 1, N_ROWS + 1)
    edges = edges_hz * N_FFT / sample_rate
    first = edges[:-1].round().long().clamp(max=power.shape[0] - 1)
    last = torch.maximum(edges[1:].round().long(), first + 1)
    rows = [
        power[start:end].amax(0) for start, end in zip(first.tolist(), last.tolist(), strict=True)
    ]
    level = torch.stack(rows)
    floor = 10 ** (-RANGE_DB / 10)
    return 10 * torch.log10((level / level.max().clamp(min=1e-20)).clamp(min=floor))


def generated_share(mask: Tensor) -> Tensor:
    """Downsample a mask bool (N, T) to shares of generated frames, float (N, at most 1600)."""
    columns = min(mask.shape[-1], MAX_COLUMNS)
    return torch.nn.functional.adaptive_avg_pool1d(mask.cpu().float(), columns)


def save(
    path: str | Path,
    before: Tensor,
    after: Tensor,
    sample_rate: int,
    mask: Tensor,
    frame_rate_hz: float,
    beats: Beats | None = None,
    title: str = "",
) -> None:
    """Write the plot of a variation.

    Args:
        path: file to write; its suffix is .png, .svg or .pdf.
        before: input, float (C, S).
        after: output, float (C, S).
        sample_rate: of both, in Hz.
        mask: bool (N, T), True = generated.
        frame_rate_hz: frames per second of the mask.
        beats: drawn over the mask, downbeats with thicker lines.
        title: above the plot.

    Raises:
        UserError: the suffix is unknown.
        OSError: the file cannot be written.
    """
    check_name(path)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE_INCHES, dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=(3, 2, 3))
    _draw_spectrogram(top, before, sample_rate, "input")
    _draw_mask(middle, mask, frame_rate_hz, beats)
    _draw_spectrogram(bottom, after, sample_rate, "output")
    bottom.set_xlabel("seconds")
    bottom.set_xlim(0, before.shape[-1] / sample_rate)
    if title:
        figure.suptitle(title, fontsize=11)
    figure.savefig(path, format=Path(path).suffix.lower()[1:])


def _draw_spectrogram(axes: Axes, samples: Tensor, sample_rate: int, name: str) -> None:
    level = spectrogram_db(samples, sample_rate)
    n_octaves = torch.log2(torch.tensor(sample_rate / 2 / LOWEST_HZ)).item()
    extent = (0.0, samples.shape[-1] / sample_rate, 0.0, n_octaves)
    axes.imshow(
        level.numpy(), origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=-RANGE_DB
    )
    pitch_ticks(axes, LOWEST_HZ, sample_rate / 2, n_octaves)
    axes.set_ylabel(f"{name}, Hz")


def pitch_ticks(axes: Axes, lowest_hz: float, highest_hz: float, height: float) -> None:
    """Label frequencies along a logarithmic y axis.

    Args:
        axes: of the plot.
        lowest_hz: frequency at 0.
        highest_hz: frequency at ``height``.
        height: upper end of the axis in its own units.
    """
    ticks = [hz for hz in TICKS_HZ if lowest_hz < hz < highest_hz]
    octaves = torch.log2(torch.tensor([highest_hz, *ticks]) / lowest_hz)
    places = (octaves[1:] / octaves[0] * height).tolist()
    axes.set_yticks(places, [f"{hz // 1000}k" if hz >= 1000 else str(hz) for hz in ticks])


def _draw_mask(axes: Axes, mask: Tensor, frame_rate_hz: float, beats: Beats | None) -> None:
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.patches import Patch

    n_codebooks, n_frames = mask.shape
    axes.imshow(
        generated_share(mask).numpy(),
        origin="lower",
        aspect="auto",
        extent=(0.0, n_frames / frame_rate_hz, 0.5, n_codebooks + 0.5),
        cmap=LinearSegmentedColormap.from_list("mask", [KEPT, GENERATED]),
        vmin=0,
        vmax=1,
        interpolation="nearest",
    )
    shown: list[Any] = [Patch(color=KEPT, label="kept"), Patch(color=GENERATED, label="generated")]
    if beats is not None and beats.times_s:
        for time_s in beats.times_s:
            strong = time_s in beats.downbeats_s
            axes.axvline(time_s, color=BEAT, linewidth=2.0 if strong else 0.8)
        shown.append(Patch(color=BEAT, label="beat"))
    axes.legend(handles=shown, loc="upper right", fontsize=8, ncols=len(shown))
    axes.set_ylabel("codebook")
