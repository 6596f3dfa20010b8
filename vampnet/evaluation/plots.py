"""Plots of the paper's three figures from our own results."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vampnet.evaluation.experiments import BITRATE_PERIODS, PROMPT_KINDS, STEPS
from vampnet.evaluation.relations import PLAIN
from vampnet.evaluation.scores import FRECHET, Scores

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DPI = 130
MODEL, HOLD, RANDOM, GREY = "#1f5f99", "#e0a13a", "#b5483a", "#777777"
SHADES = ("#12344f", "#1f7a8c", "#e0a13a")
MIN_TICK_RATIO = 1.2  # closer step counts get no label, which would overlap
FRECHET_LABEL, MEL_LABEL = f"Frechet distance ({PLAIN})", "mel error"


def save_plots(scores: Scores, folder: Path) -> dict[str, Path]:
    """Write a plot for each experiment that was run.

    Args:
        scores: results of the evaluation.
        folder: where the plots are written; created if missing.

    Returns:
        Path of the png by the experiment's name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for name, plot in (("steps", _steps), ("prompts", _prompts), ("bitrates", _bitrates)):
        figure, axes = _figure()
        if plot(scores, axes):
            found[name] = folder / f"{name}.png"
            figure.savefig(found[name], dpi=DPI)
    return found


def _figure() -> tuple[Any, list[Axes]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(1, 2))
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.grid(axis="y", color="#dddddd", linewidth=0.6)
        one.set_axisbelow(True)
    return figure, axes


def _curve(
    axes: Axes, scores: Scores, x: dict[str, float], measure: str, colour: str, label: str = ""
) -> None:
    """Plot a line through the settings' scores, with error bars."""
    found = [(at, scores.estimate(name, measure)) for name, at in x.items() if scores.n_clips(name)]
    found = [(at, e) for at, e in found if not math.isnan(e.value)]
    axes.errorbar(
        [at for at, _ in found],
        [e.value for _, e in found],
        yerr=[0.0 if math.isnan(e.half) else e.half for _, e in found],
        color=colour,
        marker="o",
        markersize=4,
        capsize=3,
        linewidth=1.4,
        label=label or None,
    )


def _level(axes: Axes, scores: Scores, setting: str, measure: str, colour: str) -> None:
    """Plot a dashed line at the score of a reference setting."""
    value = scores.estimate(setting, measure).value
    if not math.isnan(value):
        axes.axhline(value, color=colour, linestyle="--", linewidth=1, label=setting)


def _anchors(axes: Axes, scores: Scores, measure: str) -> None:
    codecs = [name for name in scores.made if name.startswith("codec")]
    if measure.startswith(FRECHET):
        _level(axes, scores, "real music", measure, "#3a7d44")
    if codecs:
        _level(axes, scores, codecs[0], measure, GREY)
    _level(axes, scores, "random tokens 100%", measure, RANDOM)


def _legend(axes: Axes) -> None:
    """Put the legend above both plots."""
    handles, labels = axes.get_legend_handles_labels()
    axes.figure.legend(  # pyright: ignore[reportCallIssue]
        handles, labels, loc="outside upper center", ncols=len(labels), fontsize=8, frameon=False
    )


def _steps(scores: Scores, axes: list[Axes]) -> bool:
    x = {f"{n} steps": float(n) for n in STEPS if scores.n_clips(f"{n} steps")}
    if not x:
        return False
    for one, measure, label in zip(
        axes, (FRECHET + PLAIN, "mel"), (FRECHET_LABEL, MEL_LABEL), strict=True
    ):
        _curve(one, scores, x, measure, MODEL, "model, periodic 16")
        _anchors(one, scores, measure)
        one.set_xscale("log")
        before = (0.0, *x.values())
        named = [
            f"{v:g}" if v > MIN_TICK_RATIO * b else ""
            for b, v in zip(before, x.values(), strict=False)
        ]
        one.set_xticks(list(x.values()), named)
        one.minorticks_off()
        one.set_xlabel("sampling steps")
        one.set_ylabel(label)
        one.set_ylim(bottom=min(0.0, one.get_ylim()[0]))
    _legend(axes[0])
    return True


def _prompts(scores: Scores, axes: list[Axes]) -> bool:
    kinds = (("", MODEL, "model"), (": hold", HOLD, "hold"), (": random", RANDOM, "random"))
    names = [
        n for n in scores.made if scores.n_clips(n) and n.startswith(PROMPT_KINDS) and ":" not in n
    ]
    if not names:
        return False
    for one, measure, label in zip(
        axes, (FRECHET + PLAIN, "mel"), (FRECHET_LABEL, MEL_LABEL), strict=True
    ):
        for shift, (suffix, colour, kind) in enumerate(kinds):
            found = [scores.estimate(name + suffix, measure) for name in names]
            places = [at + 0.27 * (shift - 1) for at in range(len(names))]
            shown = [(p, e) for p, e in zip(places, found, strict=True) if not math.isnan(e.value)]
            one.bar(
                [p for p, _ in shown],
                [e.value for _, e in shown],
                width=0.25,
                yerr=[0.0 if math.isnan(e.half) else e.half for _, e in shown],
                color=colour,
                error_kw={"elinewidth": 0.8, "capsize": 2},
                label=kind,
            )
        one.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize=8)
        one.set_ylabel(label)
    _legend(axes[0])
    return True


def _bitrates(scores: Scores, axes: list[Axes]) -> bool:
    names = [n for n in scores.made if n.startswith("every ") and scores.n_clips(n)]
    if not names:
        return False
    for one, measure, label in zip(
        axes, (FRECHET + PLAIN, "mel"), (FRECHET_LABEL, MEL_LABEL), strict=True
    ):
        for period, colour in zip(BITRATE_PERIODS, SHADES, strict=True):
            mine = [n for n in names if n.startswith(f"every {period}. ")]
            if not mine:
                continue
            x = {n: scores.estimate(n, "bits_per_s").value for n in mine}
            what = "every frame" if period == 1 else f"every {period}. frame"
            _curve(one, scores, x, measure, colour, what)
        _anchors(one, scores, measure)
        one.set_xscale("log")
        one.set_xlabel("bit/s")
        one.set_ylabel(label)
        one.set_ylim(bottom=min(0.0, one.get_ylim()[0]))
    _legend(axes[0])
    return True
