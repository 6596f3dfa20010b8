"""The report: the same content as Markdown and as one self-contained HTML page."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vampnet.evaluation.audio_examples import AudioExample
from vampnet.evaluation.embeddings import LevelEmbedding
from vampnet.evaluation.experiments import Experiment
from vampnet.evaluation.intervals import Estimate
from vampnet.evaluation.range_checks import RangeCheck
from vampnet.evaluation.relations import Relation
from vampnet.evaluation.round_trip import HIT_HEADS, QUESTION, TITLE, TONE_HEADS, RoundTrip
from vampnet.evaluation.scores import FRECHET, KERNEL, Scores

Column = tuple[str, str, int, int]
# Measure, heading, decimals, and whether lower (-1), higher (+1) or neither (0) is better.
BITS: Column = ("bits_per_s", "bit/s", 0, 0)
FULL_BAND: Column = (FRECHET + LevelEmbedding.name, "Frechet, full band", 3, -1)
OF_PAIRS: tuple[Column, ...] = (
    ("mel", "mel error", 3, -1),
    ("chroma", "chroma", 2, 1),
    ("onsets", "onsets", 2, 1),
    ("level", "level", 2, 1),
    ("onset_f", "onset F", 2, 1),
    ("beat_f", "beat F", 2, 1),
    ("tempo_drift", "tempo drift %", 1, -1),
    ("loudness_lu", "loudness LU", 2, -1),
    ("peak_db", "peak dB", 1, -1),
    ("seam_db", "seams dB", 1, -1),
)
FRECHET_DECIMALS = {"musicnn": 2}  # of others: 3
NOTES = """\
Every value is a mean over clips, or a distance between generated audio and real music, with half
of its 95 % interval (jackknife over clips, all seeds of a clip together). *Frechet*: distance in
the {axes} of the real music, extrapolated to infinitely many clips; *kernel*: unbiased, in
hundredths; both compare audio only with clips other than its own, so the real music itself scores
about 0. *musicnn* ignores everything above 8 kHz, *full band* uses levels alone.
*mel error*: the paper's, log10, summed over two scales. *chroma*, *onsets*: correlation of chroma
frames, of onset envelopes; *level*: of level envelopes. *onset F*, *beat F*: 50 and 70 ms.
*tempo drift*: half and double tempo count as the same. *loudness*, *peak*: absolute difference to
the input, before the endpoint matches them. *seams*: how much sharper the waveform bends than the
input does where windows meet and prompts end; a click is 20 dB or more."""
OTHERS = """\
 A name such as *{name}* is that of an embedding loaded for this run, with the beginning of its
weights' hash."""


@dataclass(frozen=True)
class RunMetadata:
    """Metadata of a run as (name, value): command, model and hash, music, machine, duration."""

    lines: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Report:
    """Content of the report.

    Attributes:
        metadata: how the evaluation was run.
        experiments: what was run.
        scores: results.
        relations: the paper's findings with verdicts.
        ranges: result of the range check, None where it was not made.
        plots: path of the plot by experiment.
        round_trip: tones and hits through the codec.
    """

    metadata: RunMetadata
    experiments: Sequence[Experiment]
    scores: Scores
    relations: Sequence[Relation]
    ranges: RangeCheck | None
    plots: Mapping[str, Path]
    round_trip: RoundTrip | None = None

    def columns(self) -> list[Column]:
        """Columns: bitrate, distances by each embedding, measures of pairs."""
        distances = [
            column
            for name in self.scores.networks
            for column in (
                (FRECHET + name, f"Frechet, {name}", FRECHET_DECIMALS.get(name, 3), -1),
                (KERNEL + name, f"kernel, {name}", 2, -1),
            )
        ]
        return [BITS, *distances, FULL_BAND, *OF_PAIRS]

    def notes(self) -> str:
        """Explanation of the columns."""
        others = [name for name in self.scores.networks if name not in FRECHET_DECIMALS]
        notes = NOTES.format(axes=_axes(self.scores.n_axes))
        return notes + (OTHERS.format(name=others[0]) if others else "")

    def table(self, experiment: Experiment) -> tuple[list[str], list[list[str]]]:
        """Headings and rows of an experiment, without columns that are empty."""
        names = [s.name for s in experiment.settings if self.scores.n_clips(s.name)]
        cells = {
            measure: [_cell(self.scores.estimate(n, measure), digits, measure) for n in names]
            for measure, _, digits, _ in self.columns()
        }
        shown = [c for c in self.columns() if any(cells[c[0]])]
        heads = ["", "clips", *(head + _arrow(better) for _, head, _, better in shown)]
        rows = [
            [name, str(self.scores.n_clips(name)), *(cells[c[0]][i] for c in shown)]
            for i, name in enumerate(names)
        ]
        return heads, rows

    def range_sentence(self) -> str:
        """Result of the range check as a sentence, "" where it was not made."""
        if self.ranges is None:
            return ""
        r = self.ranges
        return (
            f"Two ranges of {r.n_clips} clips regenerated in place: largest change outside the "
            f"ranges {r.outside:g} (must be 0); at their edges the waveform bends "
            f"{r.click_db:+.1f} dB sharper than the input does."
        )


def _axes(counts: Mapping[str, int]) -> str:
    """Number of axes of the distances, by embedding where it differs."""
    if len(set(counts.values())) == 1:
        n = next(iter(counts.values()))
        return f"{n} main ax{'i' if n == 1 else 'e'}s"
    heads = {LevelEmbedding.name: "full band"}
    return ", ".join(f"{n} ({heads.get(name, name)})" for name, n in counts.items()) + " main axes"


def _arrow(better: int) -> str:
    return {-1: " ↓", 0: "", 1: " ↑"}[better]


def _cell(estimate: Estimate, digits: int, measure: str) -> str:
    if math.isnan(estimate.value):
        return ""
    value = f"{estimate.value:.{digits}f}"
    if measure == "bits_per_s" or math.isnan(estimate.half):
        return value
    return f"{value} ± {estimate.half:.{digits}f}"


def markdown(report: Report) -> str:
    """Format the report as Markdown, with relative links to the plots."""
    parts = [
        "# Evaluation",
        "",
        *(f"- {name}: {value}" for name, value in report.metadata.lines),
        "",
    ]
    parts += ["## The paper's findings, and the results here", ""]
    parts += markdown_table(["relation", "here", "figures"],
                   [[r.claim, r.verdict, r.figures] for r in report.relations])  # fmt: skip
    if report.ranges is not None:
        parts += ["", report.range_sentence()]
    for experiment in report.experiments:
        parts += ["", f"## {experiment.title}", "", experiment.question, ""]
        if experiment.name in report.plots:
            parts += [f"![{experiment.title}](figures/{report.plots[experiment.name].name})", ""]
        parts += markdown_table(*report.table(experiment))
    if report.round_trip is not None:
        parts += ["", f"## {TITLE}", "", QUESTION, ""]
        parts += markdown_table(TONE_HEADS, report.round_trip.tone_rows())
        parts += ["", *markdown_table(HIT_HEADS, report.round_trip.hit_rows())]
    return "\n".join([*parts, "", "## The measures", "", report.notes(), ""])


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Format a Markdown table, one string per line."""
    lines = [heads, ["---"] * len(heads), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def page(report: Report, examples: Sequence[AudioExample]) -> str:
    """Format the report as one HTML page with embedded plots and audio."""
    metadata = "".join(f"<dt>{_text(k)}</dt><dd>{_text(v)}</dd>" for k, v in report.metadata.lines)
    verdicts = "".join(
        f"<tr><td>{_text(r.claim)}</td><td class='{r.verdict}'>{r.verdict}</td>"
        f"<td>{_text(r.figures)}</td></tr>"
        for r in report.relations
    )
    parts = [
        f"<h1>Evaluation</h1><dl>{metadata}</dl>",
        "<h2>The paper's findings, and the results here</h2><div class='wide'><table><thead><tr>"
        "<th>relation</th><th>here</th><th>figures</th></tr></thead>"
        f"<tbody>{verdicts}</tbody></table></div>",
        f"<p>{_text(report.range_sentence())}</p>",
    ]
    for experiment in report.experiments:
        parts.append(f"<h2>{_text(experiment.title)}</h2><p>{_text(experiment.question)}</p>")
        if experiment.name in report.plots:
            data = base64.b64encode(report.plots[experiment.name].read_bytes()).decode()
            parts.append(
                f"<img alt='{_text(experiment.title)}' src='data:image/png;base64,{data}'>"
            )
        parts.append(_html_table(*report.table(experiment)))
    if report.round_trip is not None:
        parts.append(f"<h2>{TITLE}</h2><p>{_emphasis(QUESTION)}</p>")
        parts.append(_html_table(TONE_HEADS, report.round_trip.tone_rows()))
        parts.append(_html_table(HIT_HEADS, report.round_trip.hit_rows()))
    parts += [_audio_section(examples), f"<h2>The measures</h2><p>{_emphasis(report.notes())}</p>"]
    return PAGE.replace("BODY", "\n".join(part for part in parts if part))


def _html_table(heads: list[str], rows: list[list[str]]) -> str:
    head = "".join(f"<th>{_text(h)}</th>" for h in heads)
    body = "".join("<tr>" + "".join(f"<td>{_text(c)}</td>" for c in row) + "</tr>" for row in rows)
    return (
        f"<div class='wide'><table class='figures'><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def _audio_section(examples: Sequence[AudioExample]) -> str:
    if not examples:
        return ""
    parts = ["<h2>Audio examples</h2>"]
    for number, clip in dict.fromkeys((e.number, e.clip) for e in examples):
        parts.append(f"<h3>{_text(clip)}</h3><div class='sounds'>")
        for e in [e for e in examples if e.number == number]:
            image = (
                f"<details><summary>mask</summary><img alt='mask of {_text(e.name)}'"
                f" src='data:image/png;base64,{e.png}'></details>"
                if e.png
                else ""
            )
            parts.append(
                f"<figure><figcaption>{_text(e.name)}</figcaption><audio controls preload='none' "
                f"aria-label='{_text(e.name)}' src='data:audio/ogg;base64,{e.ogg}'></audio>"
                f"{image}</figure>"
            )
        parts.append("</div>")
    return "".join(parts)


def _text(value: str) -> str:
    return html.escape(value, quote=True)


def _emphasis(text: str) -> str:
    pieces = _text(text).split("*")
    return "".join(f"<em>{p}</em>" if i % 2 else p for i, p in enumerate(pieces))


PAGE = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Evaluation</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2, h3 { line-height: 1.2; } h2 { margin-top: 2.5rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; }
dt { opacity: .7; } dd { margin: 0; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: left; }
.figures td { font-variant-numeric: tabular-nums; white-space: nowrap; }
tbody tr:hover { background: var(--soft); }
.holds { color: #2e7d32; font-weight: 600; } .fails { color: #c62828; font-weight: 600; }
.open { opacity: .7; }
img { max-width: 100%; background: #fff; border-radius: 4px; }
.sounds { display: grid; grid-template-columns: repeat(auto-fill, minmax(19rem, 1fr)); gap: 1rem; }
figure { margin: 0; } audio { width: 100%; }
@media (prefers-color-scheme: dark) { .holds { color: #81c784; } .fails { color: #ef9a9a; } }
</style></head><body>
BODY
</body></html>
"""
