"""The page of benchmarks/showcase.py: pieces with audio and spectrograms, measures and claims."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from showcase_pieces import Piece

from vampnet.evaluation.preset_checks import (
    AUDIBLE,
    ClipMeasures,
    claims,
    judge,
    mean_of,
)
from vampnet.evaluation.relations import Relation
from vampnet.evaluation.report import markdown_table

INPUT, CODEC = "input", "codec alone"
PEAK_DBFS = -0.1  # the endpoint's limiter
NOTES, NOTES_END = "<!-- kept when this page is regenerated -->", "<!-- end of what is kept -->"
NOT_YET = "No listening notes yet."
# Measure, heading, decimals: means over the clips.
COLUMNS = (
    ("mel", "mel error", 3),
    ("chroma", "chroma", 2),
    ("onset_f", "onset F", 2),
    ("beat_f", "beat F", 2),
    ("on_beats", "mel on beats", 3),
    ("off_beats", "mel off beats", 3),
)
HEAD = """\
# Sound examples

{pieces} by artists whose music the model was not trained on. One command chose them, by attacks
and clear harmony, generated all audio, pictures and numbers, and wrote this page; MUSIC is a folder
with the held-out files of the [manifest](../training-data.csv):

```sh
{command}
```

Model: {model}. Each variation is what `vampnet vamp IN OUT --preset NAME --seed {seed}` generates
from the excerpt, before both are encoded as Ogg Vorbis 2 dB softer; its level is matched to the
input's, as by the command. *{codec}* is the input encoded and decoded, with nothing generated: the
best possible quality of a variation. Pictures: one row per semitone, 55 Hz to 16 kHz, one colour
scale for all panels. The excerpts and their variations remain under the licence of their piece.

## What is still wrong

{begin}
{notes}
{end}
"""
CHECKS = """\
## Do two seeds differ, and do the presets?

{n} clips of {seconds:g} s, from different files where possible, mono at -24 LUFS,
seeds {seed} and {other}.

- *Two takes*: mel error between the outputs of the two seeds, mean and lowest clip. From
  {audible:g} they count as audibly different: **{verdict}**.
- The next columns compare with the input (first seed): *mel error* is the paper's, log10, added
  over two scales; *chroma*: correlation; *onset F* and *beat F* within 50 and 70 ms; *on beats*:
  in the 50 ms after the beats that the beat presets keep, *off beats*: at least 150 ms from any.
- *Lowest LUFS*, *peak dBFS*: over all takes, before the level is matched. The written files never
  peak above {most:g} dBFS.
"""


@dataclass(frozen=True)
class PageMetadata:
    """How the page was generated.

    Attributes:
        command: command line.
        model: name and hash.
        seed: the first of two seeds.
        clip_s: length of a clip in seconds.
    """

    command: str
    model: str
    seed: int
    clip_s: float


def file_name(piece: Piece, what: str) -> str:
    """Name of an audio file of a piece, such as "van_theme-codec.ogg"."""
    return f"{piece.stem}-{what.removesuffix(' alone')}.ogg"


def kept_notes(path: Path) -> str:
    """Read the listening notes from the page, which are kept when it is regenerated."""
    if path.is_file():
        found = re.search(
            f"{re.escape(NOTES)}\n(.*?)\n{re.escape(NOTES_END)}", path.read_text("utf-8"), re.S
        )
        if found:
            return found.group(1)
    return NOT_YET


def linked_files(path: Path) -> list[Path]:
    """List the audio files and pictures that a page links to."""
    text = path.read_text("utf-8") if path.is_file() else ""
    return [path.parent / name for name in re.findall(r"\]\(([^/)]+\.(?:ogg|png))\)", text)]


def page(
    metadata: PageMetadata,
    pieces: Sequence[Piece],
    shown: Sequence[str],
    clips: Sequence[ClipMeasures],
    notes: str,
) -> str:
    """Format the page as Markdown.

    Args:
        metadata: how it was generated.
        pieces: the pieces.
        shown: names of the audio files of each piece, the input first.
        clips: measures of the clips; none leaves the checks out.
        notes: listening notes.
    """
    head = HEAD.format(
        command=metadata.command, model=metadata.model, seed=metadata.seed, codec=CODEC,
        notes=notes, begin=NOTES, end=NOTES_END, pieces=_count(len(pieces)),
    )  # fmt: skip
    parts = [head, "## The pieces\n", *(_piece(piece, shown) for piece in pieces)]
    if clips:
        parts.append(checks(metadata, clips))
    return "\n".join(parts)


def _count(n: int) -> str:
    words = ("No pieces", "One piece", "Two pieces", "Three pieces", "Four pieces", "Five pieces",
             "Six pieces")  # fmt: skip
    return words[n] if n < len(words) else f"{n} pieces"


def _piece(piece: Piece, shown: Sequence[str]) -> str:
    links = [f"[listen]({file_name(piece, what)})" for what in shown]
    rows = table(shown, [links])
    return (
        f"### {piece.credit.title}\n\n{piece.credit.line()}, {piece.place()}.\n\n{rows}\n"
        f"![Spectrograms of {', '.join(shown)}]({piece.stem}.png)\n"
    )


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a Markdown table."""
    return "".join(f"{line}\n" for line in markdown_table(heads, rows))


def checks(metadata: PageMetadata, clips: Sequence[ClipMeasures]) -> str:
    """Format measures and claims of the presets as Markdown."""
    names = list(clips[0].takes)
    judged = [judge(claim, clips) for claim in claims(names)]
    takes = {n: mean_of(clips, lambda c, n=n: c.takes[n]) for n in names}
    different = sum(value >= AUDIBLE for value in takes.values())
    always = sum(min(c.takes[n] for c in clips) >= AUDIBLE for n in names)
    head = CHECKS.format(
        n=len(clips), seconds=metadata.clip_s, seed=metadata.seed, other=metadata.seed + 1,
        audible=AUDIBLE, most=PEAK_DBFS,
        verdict=f"{different} of {len(names)} presets differ on average, {always} in every clip",
    )  # fmt: skip
    return "\n".join([head, _figures(clips, takes), _claims(judged), _pairs(clips)])


def _figures(clips: Sequence[ClipMeasures], takes: dict[str, float]) -> str:
    rows = []
    for name in clips[0].figures:
        both = ["", ""]
        if name in takes:
            both = [f"{takes[name]:.3f}", f"{min(c.takes[name] for c in clips):.3f}"]
        means = [
            f"{mean_of(clips, lambda c, n=name, m=m: c.figures[n][m]):.{digits}f}"
            for m, _, digits in COLUMNS
        ]
        quiet = min(c.figures[name]["lowest_lufs"] for c in clips)
        peak = max(c.figures[name]["peak_dbfs"] for c in clips)
        rows.append([name, *both, *means, f"{quiet:.1f}", f"{peak:.1f}"])
    heads = [
        "",
        "two takes",
        "lowest",
        *(head for _, head, _ in COLUMNS),
        "lowest LUFS",
        "peak dBFS",
    ]
    return table(heads, rows)


def _claims(judged: Sequence[Relation]) -> str:
    counts = [sum(one.verdict == v for one in judged) for v in ("holds", "open", "fails")]
    summary = "{} hold, {} are open (the interval includes 0), {} fail".format(*counts)
    rows = [[one.claim, f"**{one.verdict}**", one.figures] for one in judged]
    text = "The promises of the presets' names, with the 95 % interval of the clips' differences"
    return f"{text}: {summary}.\n\n{table(['promise', '', 'figures'], rows)}"


def _pairs(clips: Sequence[ClipMeasures]) -> str:
    pairs = {p: mean_of(clips, lambda c, p=p: c.pairs[p]) for p in clips[0].pairs}
    names = list(clips[0].takes)
    rows = []
    for i, name in enumerate(names):
        cells = [f"{pairs[name, other]:.2f}" for other in names[i + 1 :]]
        rows.append([f"{i + 1} {name}", *[""] * i, *cells])
    heads = ["", *(str(i) for i in range(2, len(names) + 1))]
    nearest = min(pairs, key=lambda p: pairs[p])
    text = (
        "Mel error between the outputs of two presets, same seed, mean over the clips. "
        f"Nearest: {nearest[0]} and {nearest[1]}, {pairs[nearest]:.3f}."
    )
    return f"{text}\n\n{table(heads, rows[:-1] + [[rows[-1][0], *[''] * (len(names) - 1)]])}"
